import { Secret } from './secret.ts'
import type { EpochMs } from './time.ts'

/** A token as a source gives it and a caller gets it. */
export interface Token {
  /** Of a source that yields named members: all of them, as `membersText` writes them. */
  readonly accessToken: Secret
  /** What a source yields that has no one token, such as a pair of keys: each value by the name it was given. */
  readonly members?: Readonly<Record<string, Secret>>
  /** As the server spelled it, `Bearer` where it said nothing (RFC 6749 §7.1). */
  readonly tokenType: string
  /** The granted scope, space-separated (RFC 6749 §3.3); `undefined` when neither asked for nor told. */
  readonly scope: string | undefined
  /** When the request was sent: lifetimes count from there. */
  readonly obtainedAt: EpochMs
  /** `undefined`: unknown lifetime, served until refused. */
  readonly expiresAt: EpochMs | undefined
  /** When it is to be renewed although its window is not open yet: see `firstRenewalAt`. Set as it is kept. */
  readonly renewAt?: EpochMs
  readonly refreshToken: Secret | undefined
  /** The private key, as a JWK in JSON, that the tokens are bound to (RFC 9449). */
  readonly dpopKey?: Secret
  /** SHA-256 (hex) of the handed-over refresh token that all this began with. */
  readonly seed?: string
}

/**
 * Tells whether a text can be an access token: one or more of `%x21-7E`, so it fits a header and a terminal.
 *
 * @see RFC 6750 §2.1
 */
export function isTokenText(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text)
}

/** Writes named members as one line of JSON, which stands for them wherever a token would: in `get`, in `reject`. */
export function membersText(members: Readonly<Record<string, Secret>>): Secret {
  const values = Object.entries(members).map(([name, value]) => [name, value.expose()])
  return new Secret(JSON.stringify(Object.fromEntries(values)))
}
