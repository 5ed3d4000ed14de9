import type { Secret } from './secret.ts'
import type { EpochMs } from './time.ts'
import type { Token } from './token.ts'

/** What a caller may ask of one token. */
export interface TokensAsk {
  /** Milliseconds that the token must live at least. */
  readonly minValidityMs?: number | undefined
  /** Refuses every token that was there when it was asked. */
  readonly force?: boolean | undefined
  /** The caller leaves when it fires, with its reason; what runs goes on for the others. */
  readonly signal?: AbortSignal | undefined
}

/** Access tokens by profile, for a process that stays: what is in memory is served from there. */
export interface Tokens {
  /**
   * The token in memory, if it may be handed out now. Costs no promise; one that is stale is renewed in the background.
   *
   * @param minValidityMs - 0 for one that is merely not over.
   * @returns `undefined`: ask `get`.
   */
  peek(profile: string, minValidityMs?: number): Token | undefined
  /** @throws {TokctlError} whatever kept the token from being there */
  get(profile: string, ask?: TokensAsk): Promise<Token>
  /**
   * The token, renewed first where it is stale; for whoever keeps it fresh.
   *
   * @returns With it, when it becomes stale; `undefined` for one of unknown lifetime.
   * @throws {TokctlError} what the renewal failed with, also while an old token is still valid
   */
  fresh(profile: string): Promise<{ readonly token: Token; readonly refreshAt: EpochMs | undefined }>
  /** A service refused that very token (401): it is not served again; any other stays. @throws {TokctlError} */
  reject(profile: string, refused: Secret): Promise<void>
  /**
   * Rejects a token and gets the one that takes its place, once for all who hold the same one.
   *
   * @returns `undefined` where a new one was refused just now too: the token is not what the service minds.
   * @throws {TokctlError} as `get`
   */
  replace(profile: string, refused: Secret, signal?: AbortSignal): Promise<Token> | undefined
  /** Revokes where the server offers that, and forgets. @throws {TokctlError} */
  forget(profile: string): Promise<void>
}
