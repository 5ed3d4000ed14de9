import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { match } from '../profile/match.ts'
import type { Profile } from '../profile/profile.ts'
import { scheme } from '../profile/scheme.ts'
import { dpopProof, keepNonce, nonceFor } from '../source/dpop.ts'
import type { TokenCache } from './token-cache.ts'

/** What one request is given. */
export interface Grant {
  readonly token: Token
  /** Header names in lower case, and their values. */
  readonly headers: Readonly<Record<string, string>>
  /** Of the proof among them. */
  readonly nonce?: string | undefined
}

/** One request, as far as a token depends on it. */
export interface Asked {
  readonly url: string
  readonly method: string
  readonly signal?: AbortSignal | undefined
}

/** Gives tokens of one profile to the requests that its `match` covers. */
export interface Authorizer {
  /** @returns `undefined` for a URL that is not covered. @throws {TokctlError} as `get` */
  grant(asked: Asked): Promise<Grant | undefined>
  /**
   * What a request that was answered 401 is given the second time.
   *
   * @param nonce - Of the answer's `DPoP-Nonce`: a server that wants it in the proof has nothing against the token (RFC 9449 §9).
   * @returns `undefined` where another token would be refused as well.
   * @throws {TokctlError} as `get`
   */
  again(asked: Asked, refused: Grant, nonce: string | undefined): Promise<Grant> | undefined
}

/** Makes one for a profile; nothing is read before the first request. */
export function createAuthorizer(cache: TokenCache, name: string, clock: Clock): Authorizer {
  return {
    async grant(asked) {
      const profile = await cache.profile(name)
      if (match(asked.url, [profile]) === undefined) return undefined
      const { signal } = asked
      return grantOf(asked, await cache.get(name, { signal }), profile)
    },
    again(asked, { token, nonce: sent }, nonce) {
      if (token.dpopKey !== undefined && keepNonce(asked.url, nonce, sent)) {
        return cache.profile(name).then(profile => grantOf(asked, token, profile))
      }
      const next = cache.replace(name, token.accessToken, asked.signal)
      return next?.then(async token => grantOf(asked, token, await cache.profile(name)))
    },
  }

  function grantOf({ url, method }: Asked, token: Token, profile: Profile): Grant {
    if (token.members !== undefined) {
      const message = `profile "${name}" yields named members, and a request takes one token`
      throw new TokctlError('usage', message, { profile: name })
    }
    const authorization = `${scheme(token, profile)} ${token.accessToken.expose()}`
    if (token.dpopKey === undefined) return { token, headers: { authorization } }
    const { accessToken } = token
    const nonce = nonceFor(url)
    const proof = { method, url, now: clock.now(), nonce, accessToken }
    return { token, nonce, headers: { authorization, dpop: dpopProof(token.dpopKey, proof) } }
  }
}
