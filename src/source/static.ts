import { TokctlError } from '../core/errors.ts'
import { formatInstant } from '../core/time.ts'
import { isTokenText } from '../core/token.ts'
import type { StaticProfile } from '../profile/profile.ts'
import { expiryOf } from './lifetime.ts'
import type { SourcePorts, TokenSource } from './source.ts'

/**
 * A token that was handed over and is kept as a secret.
 *
 * `fetch` throws `config_invalid` for one that has expired or is no token, and what `resolve` throws.
 */
export function staticToken(profile: StaticProfile, { clock, resolve }: SourcePorts): TokenSource {
  return {
    async fetch({ signal }) {
      const accessToken = await resolve(profile.token, signal)
      const text = accessToken.expose()
      if (!isTokenText(text)) {
        throw new TokctlError('config_invalid', 'token is empty or holds characters no token may have')
      }
      const now = clock.now()
      const expiresAt = profile.expires_at ?? expiryOf({ accessToken: text }, now, 0, profile.default_ttl_ms)
      if (expiresAt !== undefined && expiresAt <= now) {
        const since = expiresAt < now ? ` at ${formatInstant(expiresAt)}` : ''
        throw new TokctlError('config_invalid', `token has expired${since}`, {
          hint: 'put a new token in its place, and its expires_at with it',
        })
      }
      return {
        accessToken,
        tokenType: 'Bearer',
        scope: undefined,
        obtainedAt: now,
        expiresAt,
        refreshToken: undefined,
      }
    },
  }
}
