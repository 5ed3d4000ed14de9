import { printable } from '../core/errors.ts'
import type { EpochMs } from '../core/time.ts'
import type { JsonObject } from './answer.ts'
import { readJwtClaims } from './lifetime.ts'

/** What an id token must say to be the answer to our sign-in. */
export interface ExpectedClaims {
  /** `undefined` where the profile names no issuer to hold it against. */
  readonly issuer: string | undefined
  readonly clientId: string
  readonly nonce: string
  /** By the server's clock, as far as it is known. */
  readonly now: EpochMs
}

// An id token lives for minutes at least, and clocks differ.
const toleratedMs = 300_000

/** Reads the claims of an id token. Its signature is not looked at. @returns `undefined` for what is not a signed JWT. */
export function readIdToken(text: unknown): JsonObject | undefined {
  return typeof text === 'string' ? readJwtClaims(text) : undefined
}

/**
 * Checks the claims of an id token that came straight from the token endpoint, where TLS vouches for its sender. Pure.
 *
 * @returns What is wrong with it, to follow `with an id token`; `undefined` where nothing is.
 * @see OpenID Connect Core §3.1.3.7
 */
export function claimsProblem(claims: JsonObject, expected: ExpectedClaims): string | undefined {
  const { iss, aud, azp, exp, nonce } = claims
  if (nonce !== expected.nonce) return 'that was made for another sign-in (nonce)'
  if (expected.issuer !== undefined && iss !== expected.issuer)
    return `of another issuer, "${typeof iss === 'string' ? printable(iss) : ''}"`
  const audience = Array.isArray(aud) ? aud : [aud]
  if (!audience.includes(expected.clientId)) return 'for another client (aud)'
  if (azp !== undefined && azp !== expected.clientId) return 'for another client (azp)'
  if (typeof exp !== 'number' || exp * 1000 <= expected.now - toleratedMs) return 'that has expired'
  return undefined
}

/** Says who signed in, by the friendliest claims there are: `Jane Doe (jane@example.com)`. Pure. */
export function personInClaims(claims: JsonObject): string | undefined {
  const text = (name: string): string | undefined => {
    const value = claims[name]
    return typeof value === 'string' ? printable(value).slice(0, 100) || undefined : undefined
  }
  const name = text('name')
  const account = text('email') ?? text('preferred_username') ?? text('upn') ?? text('sub')
  if (name === undefined || name === account) return account
  return account === undefined ? name : `${name} (${account})`
}
