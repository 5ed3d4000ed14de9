import type { Environment } from '../core/environment.ts'
import type { RunProgram } from '../core/program.ts'
import type { Secret } from '../core/secret.ts'
import type { Clock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { SecretRef } from '../profile/profile.ts'
import type { Send } from './transport.ts'

/** One call for a token. */
export interface FetchRequest {
  /** Milliseconds for the whole call, retries and pauses included. */
  readonly timeoutMs: number
  /** The caller left. */
  readonly signal: AbortSignal | undefined
  /** What the last token left behind to renew it with. */
  readonly kept?: Kept
  /** Who signs in; a source that needs somebody raises `login_required` without one. */
  readonly person?: Person
}

/** What outlives an access token. */
export interface Kept {
  readonly refreshToken: Secret | undefined
  /** As a JWK in JSON (RFC 9449). */
  readonly dpopKey: Secret | undefined
  /** SHA-256 (hex) of the handed-over refresh token it began with. */
  readonly seed: string | undefined
}

/** A person at a sign-in, as a source sees one. */
export interface Person {
  /** Shows text on the terminal, or on stderr where there is none; lines end with LF. Never on stdout. */
  tell(text: string): void
  /** Whether text may be redrawn and coloured. */
  readonly isTerminal: boolean
  /**
   * Opens a page in the person's browser.
   *
   * @returns False where none is to be opened, or none could be: the source then shows the address.
   */
  open(url: string): Promise<boolean>
  /** The next line that the person pastes; never resolves where nobody can paste. */
  pasted(signal: AbortSignal): Promise<string>
}

/** Anything that can give a token. */
export interface TokenSource {
  /** @throws {TokctlError} */
  fetch(request: FetchRequest): Promise<Token>
}

/** What sources stand on. */
export interface SourcePorts {
  readonly environment: Environment
  readonly clock: Clock
  readonly send: Send
  /** @throws {TokctlError} `secret_unresolved`, `secret_not_kept`, or a store error */
  resolve(ref: SecretRef, signal?: AbortSignal): Promise<Secret>
  /** The access token of another profile, from the same cache. @throws {TokctlError} whatever kept it from being there */
  tokenOf(profile: string, timeoutMs: number, signal?: AbortSignal): Promise<Token>
  /** Small files kept for a day, such as discovery documents; never a secret. Failing to keep is not an error. */
  readonly cache: {
    read(name: string): string | undefined
    write(name: string, content: string): void
  }
  /** Runs a program without a shell. */
  readonly run: RunProgram
  /** Says what was decided, for `--verbose`; never a secret. */
  trace(message: string): void
}
