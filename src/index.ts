import { createApp } from './app.ts'
import { readEnvironment } from './cli/io.ts'
import { defaultTimeoutMs } from './core/manager.ts'
import { Secret } from './core/secret.ts'
import { type EpochMs, systemClock } from './core/time.ts'
import type { Token as CoreToken } from './core/token.ts'

export { type ErrorCode, TokctlError } from './core/errors.ts'

/** A token in hand. Neither `JSON.stringify` nor `util.inspect` shows the access token. */
export class Token {
  readonly #accessToken: string
  /** As the server spelled it, mostly `Bearer`. */
  readonly tokenType: string
  /** Space-separated (RFC 6749 §3.3). */
  readonly scope: string | undefined
  /** Milliseconds since the epoch; `undefined` where the lifetime is not known. */
  readonly expiresAt: EpochMs | undefined

  /** @internal */
  constructor(token: CoreToken) {
    this.#accessToken = token.accessToken.expose()
    this.tokenType = token.tokenType
    this.scope = token.scope
    this.expiresAt = token.expiresAt
  }

  get accessToken(): string {
    return this.#accessToken
  }
}

/** How the library is set up; what is left out is as for the program. */
export interface TokctlOptions {
  /** The configuration file. */
  readonly config?: string
  /** Gets one line where a token is served although something went wrong. */
  readonly onWarning?: (message: string) => void
}

/** What a caller may ask of one token. */
export interface GetOptions {
  /** Milliseconds that the token must live at least. */
  readonly minValidityMs?: number
  /** Asks for a new token, however good the kept one is. */
  readonly force?: boolean
  /** The caller leaves when it fires; a request that runs goes on for others. */
  readonly signal?: AbortSignal
}

/** Access tokens by profile, from the cache that the program and every other process of this user share. */
export interface Tokctl {
  /** @throws {TokctlError} with the code of whatever kept the token from being there */
  get(profile: string, options?: GetOptions): Promise<Token>
  /** Tells that a service refused this very token (401): it is not served again. */
  reject(profile: string, accessToken: string): Promise<void>
}

/**
 * Opens the token cache. Nothing is read before the first call.
 *
 * @example
 * const tokens = createTokctl()
 * const { accessToken } = await tokens.get('corp')
 */
export function createTokctl(options: TokctlOptions = {}): Tokctl {
  const app = createApp({
    environment: readEnvironment(''),
    clock: systemClock,
    configFlag: options.config,
    notices: {
      warn: options.onWarning ?? (() => {}),
      trace() {},
      hold: () => () => {},
      onMiss() {},
      waiting() {},
    },
    // This process stays: it renews by itself, and what fails is told by the outcome at the next call.
    async renewLater(_, name) {
      app
        .profile(name)
        .then(profile => app.manager.get(profile, { renew: true }))
        .catch(() => {})
    },
  })
  return {
    async get(name, { minValidityMs, force = false, signal } = {}) {
      return new Token(await app.manager.get(await app.profile(name), { minValidityMs, force }, signal))
    },
    async reject(name, accessToken) {
      await app.manager.reject(await app.profile(name), new Secret(accessToken), defaultTimeoutMs)
    },
  }
}
