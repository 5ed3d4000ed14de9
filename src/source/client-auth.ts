import { TokctlError } from '../core/errors.ts'
import { rememberSecret, type Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'
import type { OAuthClient, SecretRef } from '../profile/profile.ts'
import type { SourcePorts } from './source.ts'
import { readTokenRef } from './token-ref.ts'

/** What a request carries so that the server knows its client. */
export interface ClientProof {
  readonly headers: Readonly<Record<string, string>>
  /** Form fields. */
  readonly fields: Readonly<Record<string, string>>
}

/** Proves the client, anew for each request: an assertion serves once. */
export interface ClientAuthentication {
  /** Whether it signs an assertion, which a server refuses when the clocks differ. */
  readonly signs: boolean
  /**
   * @param endpoint - The token endpoint.
   * @param now - The server's time, as far as it is known.
   * @throws {TokctlError} `config_invalid`
   */
  prove(endpoint: string, now: EpochMs): Promise<ClientProof>
}

/** Before now, for servers whose clock is behind; and after now, which is how long an assertion lives. */
const issuedBeforeMs = 30_000
const expiresAfterMs = 120_000

/** The claims that say when an assertion serves: `iat` and `exp`, together less than the three minutes that some allow. */
export function assertionTimes(now: EpochMs): { readonly iat: number; readonly exp: number } {
  return {
    iat: Math.floor((now - issuedBeforeMs) / 1000),
    exp: Math.floor((now + expiresAfterMs) / 1000),
  }
}

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Reads the credentials of a client, once, for as many requests as follow. A `client_assertion` stands in the place of
 * whatever `client_auth` would make.
 *
 * @param timeoutMs - For an assertion that is another profile's token.
 * @throws {TokctlError} `config_invalid` where a key is missing, or what `resolve` throws
 * @see RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2.1
 */
export async function clientAuthentication(
  client: OAuthClient,
  ports: Pick<SourcePorts, 'resolve' | 'tokenOf'>,
  signal: AbortSignal | undefined,
  timeoutMs = 30_000,
): Promise<ClientAuthentication> {
  const { resolve } = ports
  const method = client.client_auth
  const id = client.client_id
  const needed = (ref: SecretRef | undefined, name: string): Promise<Secret> => {
    if (ref === undefined) throw missing(method, name)
    return resolve(ref, signal)
  }
  if (client.client_assertion !== undefined) {
    const ready = await readTokenRef(client.client_assertion, ports, timeoutMs, signal)
    const fields = { client_assertion_type: assertionType, client_assertion: ready.expose() }
    // RFC 7521 §4.2: the assertion itself says who the client is.
    const named = id === undefined ? fields : { client_id: id, ...fields }
    return constant({ headers: {}, fields: named })
  }
  if (id === undefined) {
    if (method === 'none') return constant({ headers: {}, fields: {} })
    throw missing(method, 'client_id')
  }
  if (method === 'client_secret_basic') {
    const secret = await needed(client.client_secret, 'client_secret')
    const authorization = basicCredentials(id, secret, client.basic_encoding)
    return constant({ headers: { authorization }, fields: {} })
  }
  if (method === 'client_secret_post') {
    const secret = await needed(client.client_secret, 'client_secret')
    return constant({ headers: {}, fields: { client_id: id, client_secret: secret.expose() } })
  }
  if (method === 'none' || method === 'tls_client_auth') {
    return constant({ headers: {}, fields: { client_id: id } })
  }
  const keyName = method === 'client_secret_jwt' ? 'client_secret' : 'private_key'
  const key = await needed(client[keyName], keyName)
  return { signs: true, prove: (endpoint, now) => assertion(client, id, keyName, key, endpoint, now) }
}

function constant(proof: ClientProof): ClientAuthentication {
  return { signs: false, prove: async () => proof }
}

async function assertion(
  client: OAuthClient,
  id: string,
  keyName: 'client_secret' | 'private_key',
  key: Secret,
  endpoint: string,
  now: EpochMs,
): Promise<ClientProof> {
  const [{ signJwt }, { randomUUID }] = await Promise.all([import('./jwt.ts'), import('node:crypto')])
  const claims = {
    iss: id,
    sub: id,
    aud: client.assertion_audience ?? endpoint,
    ...assertionTimes(now),
    jti: randomUUID(),
  }
  const signed = signJwt(claims, { alg: client.signing_alg, key, kid: client.kid, keyName })
  return {
    headers: {},
    fields: {
      client_id: id,
      client_assertion_type: assertionType,
      client_assertion: signed.expose(),
    },
  }
}

/**
 * Makes the value of an `Authorization` header.
 *
 * @param encoding - `rfc6749` form-encodes both halves, as the standard says; `raw` is for servers that do not decode them.
 * @see RFC 6749 §2.3.1
 */
export function basicCredentials(id: string, secret: Secret, encoding: 'rfc6749' | 'raw'): string {
  const halves = [id, secret.expose()]
  const encoded = encoding === 'raw' ? halves : halves.map(formEncode)
  const authorization = `Basic ${Buffer.from(encoded.join(':')).toString('base64')}`
  rememberCredentials(authorization)
  return authorization
}

/** Keeps what follows the scheme in an `Authorization` header from being shown: who quotes it may leave out the padding. */
export function rememberCredentials(authorization: string): void {
  rememberSecret(authorization.replace(/^\S+ +/, '').replace(/=+$/, ''))
}

// Leaves `* - . _` alone, unlike encodeURIComponent with a stricter reading: servers that do not decode take those too.
function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1)
}

function missing(method: string, name: string): TokctlError {
  return new TokctlError('config_invalid', `client_auth ${method} needs ${name}`, {
    hint: `set ${name} in the profile, or choose another client_auth`,
  })
}
