import type { Source } from './source-from.ts'
import type { Token } from './token.ts'

/** How the library is set up; what is left out is as for the program. */
export interface TokctlOptions {
  /** The configuration file. */
  readonly config?: string
  /** The store, by name; stands above the configuration and `TOKCTL_STORE`. */
  readonly store?: 'auto' | 'keychain' | 'file' | 'memory'
  /**
   * Functions that give tokens, by key, or one for every key. A key that is not here is a profile of the configuration; with
   * one function for all, no configuration is read.
   */
  readonly sources?: Source | Readonly<Record<string, Source>>
  /** Milliseconds that a call may wait; 30,000 where it is not set. */
  readonly timeoutMs?: number
  /** Gets one line where a token is served although something went wrong. Never a secret. */
  readonly onWarning?: (message: string) => void
}

/** What a caller may ask of one token. */
export interface GetOptions {
  /** Milliseconds that the token must live at least. */
  readonly minValidityMs?: number | undefined
  /** Asks for a new token, however good the kept one is; ten at once make one request. */
  readonly force?: boolean | undefined
  /** The caller leaves when it fires, with its reason; a request that runs goes on for others. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Adds tokens to requests of an undici dispatcher: `agent.compose(tokens.interceptor('corp'))`. Takes the dispatchers of
 * undici 6 and later, the one inside Node among them.
 */
// biome-ignore lint/suspicious/noExplicitAny: undici's own types differ from one version to the next, and the user has one of them.
export type Interceptor = <D extends (options: any, handler: any) => boolean>(dispatch: D) => D

/**
 * Access tokens by profile, from the cache that the program and every other process of this user share.
 *
 * What is in memory is served from there without looking elsewhere, for a second at most: then the configuration and the
 * profile's outcome are looked at by `stat`. So a `tokctl reject`, a logout or a changed configuration is noticed
 * within a second.
 */
export interface Tokctl {
  /**
   * Gives a token. A stale one is served at once and renewed in the background; callers who wait share one request and its
   * outcome, value or error.
   *
   * @throws {TokctlError} with the code of whatever kept the token from being there
   */
  get(profile: string, options?: GetOptions): Promise<Token>
  /**
   * Tells that a service refused this very token (401): no process is served it again. Any other stays.
   *
   * @throws {TokctlError} `lock_timeout`, or what the store throws
   */
  reject(profile: string, token: Token | string): Promise<void>
  /**
   * Revokes the session where the server offers that, and forgets it for all processes, as `tokctl logout` does.
   *
   * @throws {TokctlError} `lock_timeout`, or what the store throws
   */
  forget(profile: string): Promise<void>
  /**
   * A `fetch` that adds the token to requests whose URL the profile's `match` covers, and to no other: each redirect is looked
   * at anew. On a 401 that token is rejected and the request repeated once with a new one, unless its body is a stream.
   */
  fetch(profile: string): typeof globalThis.fetch
  /**
   * The same for an undici dispatcher. Compose it before undici's `redirect`, so that each redirect passes through it:
   * `agent.compose(tokens.interceptor('corp'), interceptors.redirect())`.
   *
   * @param options - `origin`: where requests go that do not name one, as those of a `Client` or a `Pool` need not.
   */
  interceptor(profile: string, options?: { readonly origin?: string }): Interceptor
  /** Lets go of connections and forgets what is in memory. What is kept in the store stays. */
  close(): void
}
