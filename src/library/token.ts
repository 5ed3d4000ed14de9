import type { EpochMs } from '../core/time.ts'

/** A token in hand. Neither `JSON.stringify` nor `util.inspect` shows the access token. */
export interface Token {
  readonly accessToken: string
  /** As the server spelled it, mostly `Bearer`. */
  readonly tokenType: string
  /** Space-separated (RFC 6749 §3.3). */
  readonly scope: string | undefined
  /** Milliseconds since the epoch; `undefined` where the lifetime is not known. */
  readonly expiresAt: EpochMs | undefined
}
