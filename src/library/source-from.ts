import type { EpochMs } from '../core/time.ts'

/** What a function is told when a token is wanted. */
export interface SourceContext {
  /** The key that was asked for. */
  readonly profile: string
  /** Fires when time is up; nobody waits any longer then. */
  readonly signal: AbortSignal
  /** Milliseconds that the call may take. */
  readonly timeoutMs: number
}

/** What a function gives: a token of this library, or anything that has its text. */
export interface SourceToken {
  /** One or more visible ASCII characters. */
  readonly accessToken: string
  /** `Bearer` where it is not set. */
  readonly tokenType?: string | undefined
  readonly scope?: string | undefined
  /** Milliseconds since the epoch; of a token without it a JWT's `exp` is not read: it is served until it is rejected. */
  readonly expiresAt?: EpochMs | undefined
  /** Milliseconds from the moment of the call, where `expiresAt` is not known. */
  readonly expiresInMs?: number | undefined
}

/** How the tokens of a function are handled; what is left out is as for a profile of the configuration. */
export interface SourceOptions {
  /** URLs that get its tokens by `fetch` and `interceptor`: scheme, host, optional port and path. */
  readonly match?: readonly string[]
  /** Renewed, and served meanwhile, when less life than this is left. */
  readonly refreshBeforeMs?: number
  /** Never handed out with less life than this. */
  readonly minValidityMs?: number
}

/** A function that gives tokens, and how they are handled. */
export interface Source extends SourceOptions {
  readonly fetch: (context: SourceContext) => Promise<SourceToken>
}

/**
 * Makes a source of any function. Its tokens stay in this process: no other program could know that it means the same
 * function. A `TokctlError` that it throws is the caller's answer as it is and is remembered as its code says; anything else
 * that is thrown is told as `command_failed`, without its message, which may hold a secret.
 *
 * @example
 * const vault = sourceFrom(async ({ profile, signal }) => {
 *   const answer = await fetch(`https://vault.example.com/${profile}`, { signal })
 *   const { token, ttl } = await answer.json()
 *   return { accessToken: token, expiresInMs: ttl * 1000 }
 * })
 * const tokens = createTokctl({ sources: { payments: vault, orders: vault } })
 */
export function sourceFrom(fetch: Source['fetch'], options: SourceOptions = {}): Source {
  return { ...options, fetch }
}
