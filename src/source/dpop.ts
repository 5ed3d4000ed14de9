import { createHash, generateKeyPairSync, type JsonWebKey, randomUUID } from 'node:crypto'
import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { Clock, EpochMs } from '../core/time.ts'
import { signJwt } from './jwt.ts'

/** What one proof speaks of. */
export interface ProofAsk {
  readonly method: string
  readonly url: string
  /** The server's time, as far as it is known. */
  readonly now: EpochMs
  /** What the server last gave to be put into proofs (RFC 9449 §8). */
  readonly nonce: string | undefined
  /** Of a request to a service: the token that goes with it. */
  readonly accessToken?: Secret
}

/** Clocks differ, and some servers take no proof from the future. */
const issuedBeforeMs = 5000

/** Makes a key on P-256. @returns The private JWK, as JSON. */
export function makeDpopKey(): Secret {
  // The generator exports it: a key object fresh from it that is asked for its JWK while the collector runs can make Node 20
  // wait for itself, for ever.
  const encoding: object = { format: 'jwk' }
  const options = { namedCurve: 'P-256', privateKeyEncoding: encoding, publicKeyEncoding: encoding }
  return new Secret(JSON.stringify(generateKeyPairSync('ec', options).privateKey))
}

/**
 * Proves that we hold the key, for one request.
 *
 * @param key - As `makeDpopKey` gives it.
 * @throws {TokctlError} `config_invalid` for a key that is none
 * @see RFC 9449 §4.2
 */
export function dpopProof(key: Secret, { method, url, now, nonce, accessToken }: ProofAsk): string {
  const { origin, pathname } = new URL(url)
  const claims = {
    jti: randomUUID(),
    htm: method,
    htu: `${origin}${pathname}`,
    iat: Math.floor((now - issuedBeforeMs) / 1000),
    ...(nonce === undefined ? {} : { nonce }),
    ...(accessToken === undefined ? {} : { ath: digestOf(accessToken) }),
  }
  const header = { typ: 'dpop+jwt', jwk: publicJwk(key) }
  return signJwt(claims, { alg: 'ES256', key, kid: undefined, keyName: 'private_key', header }).expose()
}

/**
 * Names a key for services that check what a token is bound to: SHA-256 of the public JWK, base64url (RFC 7638).
 *
 * @throws {TokctlError} `config_invalid` for a key that is none
 */
export function jwkThumbprint(key: Secret): string {
  return createHash('sha256')
    .update(JSON.stringify(publicJwk(key)))
    .digest('base64url')
}

function digestOf(token: Secret): string {
  return createHash('sha256').update(token.expose()).digest('base64url')
}

// The members in the order that RFC 7638 §3.2 hashes them in.
function publicJwk(key: Secret): { crv: string; kty: string; x: string; y: string } {
  const { crv, kty, x, y } = readJwk(key)
  if (kty === 'EC' && crv === 'P-256' && x !== undefined && y !== undefined) return { crv, kty, x, y }
  throw new TokctlError('config_invalid', 'the kept key that tokens are bound to cannot be used', {
    hint: 'sign in again, or refresh with --force',
  })
}

function readJwk(key: Secret): JsonWebKey {
  try {
    return JSON.parse(key.expose()) ?? {}
  } catch {
    return {}
  }
}

/**
 * Makes the proofs of requests to one server, as the proxy sends them.
 *
 * @param origin - Of the server.
 */
export function proverOf(origin: string, clock: Pick<Clock, 'now'>) {
  return {
    nonce: () => nonceFor(origin),
    keepNonce: (value: string | undefined, sent: string | undefined) => keepNonce(origin, value, sent),
    proof(key: Secret, accessToken: Secret, method: string, path: string): string {
      const url = `${origin}${path}`
      return dpopProof(key, { method, url, now: clock.now(), nonce: nonceFor(origin), accessToken })
    },
  }
}

/** The newest nonce of each server, for as long as this process lives (RFC 9449 §8.2). */
const nonces = new Map<string, string>()

/** Gives the nonce that a server wants in the next proof. */
export function nonceFor(url: string): string | undefined {
  return nonces.get(new URL(url).origin)
}

/**
 * Keeps the nonce of an answer.
 *
 * @param value - Of the header `DPoP-Nonce`.
 * @param sent - What the proof of that request had; others may have been answered meanwhile.
 * @returns Whether it is another one.
 */
export function keepNonce(url: string, value: string | undefined, sent: string | undefined): boolean {
  // RFC 9449 §8.1: NQCHAR; anything else would only be refused again.
  if (value === undefined || !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value)) return false
  nonces.set(new URL(url).origin, value)
  return value !== sent
}
