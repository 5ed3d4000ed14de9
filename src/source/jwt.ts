import {
  constants,
  createHmac,
  createPrivateKey,
  type JsonWebKeyInput,
  type KeyObject,
  type SignKeyObjectInput,
  sign,
} from 'node:crypto'
import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { SigningAlg } from '../profile/profile.ts'

/** How a JWT is signed. */
export interface Signing {
  /** Fits the key where it is not set: RS256, PS256, ES256/384/512, EdDSA. */
  readonly alg: SigningAlg | undefined
  /** A PEM private key (PKCS #8, PKCS #1, SEC 1) or a private JWK; for HS, the shared secret. */
  readonly key: Secret
  readonly kid: string | undefined
  /** The profile's name for the key, for messages. */
  readonly keyName: 'private_key' | 'key_file' | 'client_secret'
  /** Further members of the header; they stand above its usual ones. */
  readonly header?: Readonly<Record<string, unknown>>
}

const curves: Readonly<Record<string, SigningAlg>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}

/**
 * Makes a signed JWT with `node:crypto`.
 *
 * @throws {TokctlError} `config_invalid`: the key cannot be read, or does not fit the algorithm
 * @see RFC 7515 §3, RFC 7518 §3, RFC 8037 §3.1
 */
export function signJwt(claims: Readonly<Record<string, unknown>>, signing: Signing): Secret {
  const { kid } = signing
  if (signing.keyName === 'client_secret') return signShared(claims, signing)
  const key = readPrivateKey(signing)
  const alg = signing.alg ?? defaultAlg(key, signing)
  const input = signingInput(
    { alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }), ...signing.header },
    claims,
  )
  const signature = sign(hashOf(alg), Buffer.from(input), options(key, alg, signing))
  return new Secret(`${input}.${signature.toString('base64url')}`)
}

function signShared(claims: Readonly<Record<string, unknown>>, { alg = 'HS256', key, kid }: Signing): Secret {
  if (!alg.startsWith('HS'))
    throw misfit(`signing_alg ${alg} does not fit client_secret, which signs with HS256, HS384 or HS512`)
  const input = signingInput({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) }, claims)
  const digest = createHmac(`sha${alg.slice(2)}`, key.expose())
    .update(input)
    .digest('base64url')
  return new Secret(`${input}.${digest}`)
}

function signingInput(header: object, claims: object): string {
  return [header, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
}

function readPrivateKey({ key, keyName }: Signing): KeyObject {
  const text = key.expose().trim()
  try {
    if (!text.startsWith('{')) return createPrivateKey(text)
    return createPrivateKey({ key: JSON.parse(text), format: 'jwk' } as JsonWebKeyInput)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERR_MISSING_PASSPHRASE' || /-----BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED/.test(text)) {
      throw misfit(
        `${keyName} is protected by a passphrase, which tokctl does not ask for`,
        'give the key without one',
      )
    }
    if (/-----BEGIN (RSA )?PUBLIC KEY|-----BEGIN CERTIFICATE/.test(text)) {
      throw misfit(`${keyName} is a public key or a certificate, which cannot sign`, 'give the private key')
    }
    if (code === 'ERR_OSSL_EVP_UNSUPPORTED_ALGORITHM') {
      throw misfit(
        `${keyName} is a key of a type that this program cannot use`,
        'one that is bound to RSA-PSS works with tokctl on Node; a plain RSA key with signing_alg = "PS256" here too',
      )
    }
    throw misfit(`${keyName} is not a private key (PEM or JWK)`)
  }
}

function defaultAlg(key: KeyObject, signing: Signing): SigningAlg {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'rsa') return 'RS256'
  if (type === 'rsa-pss') return `PS${details?.hashAlgorithm?.replace(/^sha/, '') ?? '256'}` as SigningAlg
  if (type === 'ed25519' || type === 'ed448') return 'EdDSA'
  const alg = type === 'ec' ? curves[details?.namedCurve ?? ''] : undefined
  if (alg === undefined) throw misfit(`${signing.keyName} is ${keyInWords(key)}, which no signing_alg is for`)
  return alg
}

function hashOf(alg: SigningAlg): string | undefined {
  return alg === 'EdDSA' ? undefined : `sha${alg.slice(2)}`
}

function options(key: KeyObject, alg: SigningAlg, { keyName }: Signing): SignKeyObjectInput {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  const family = alg.slice(0, 2)
  const fits =
    family === 'RS'
      ? type === 'rsa'
      : family === 'PS'
        ? type === 'rsa' || (type === 'rsa-pss' && (details?.hashAlgorithm ?? hashOf(alg)) === hashOf(alg))
        : family === 'ES'
          ? type === 'ec' && curves[details?.namedCurve ?? ''] === alg
          : family === 'Ed' && (type === 'ed25519' || type === 'ed448')
  if (!fits) throw misfit(`signing_alg ${alg} does not fit ${keyName}, which is ${keyInWords(key)}`)
  if (family === 'RS' || family === 'PS') {
    // RFC 7518 §3.3 and §3.5 demand it, and servers refuse less with an error that does not say so.
    if ((details?.modulusLength ?? 0) < 2048)
      throw misfit(`${keyName} is ${keyInWords(key)}; ${alg} needs 2048 bits`)
    if (family === 'RS') return { key, padding: constants.RSA_PKCS1_PADDING }
    return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
  }
  // JWS wants r and s side by side, not DER (RFC 7518 §3.4).
  return family === 'ES' ? { key, dsaEncoding: 'ieee-p1363' } : { key }
}

function keyInWords({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string {
  if (type === 'rsa') return `an RSA key of ${details?.modulusLength} bits`
  if (type === 'rsa-pss') return `an RSA-PSS key (${details?.hashAlgorithm ?? 'any hash'})`
  if (type === 'ec') return `an EC key on ${details?.namedCurve}`
  return `a key of type ${type}`
}

function misfit(message: string, hint?: string): TokctlError {
  return new TokctlError('config_invalid', message, { hint })
}
