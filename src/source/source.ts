import type { Environment } from '../core/environment.ts'
import type { RunProgram } from '../core/program.ts'
import type { Secret } from '../core/secret.ts'
import type { Clock, EpochMs } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { SecretRef } from '../profile/profile.ts'
import type { Send } from './transport.ts'

/** One call for a token. */
export interface FetchRequest {
  /** Milliseconds for the whole call, retries and pauses included; what `renewal` watches over goes on once it was sent. */
  readonly timeoutMs: number
  /** The caller left. */
  readonly signal: AbortSignal | undefined
  /** What the last token left behind to renew it with. */
  readonly kept?: Kept
  /** Who signs in; a source that needs somebody raises `login_required` without one. */
  readonly person?: Person
  /** Watches over a refresh token that is used up by being sent. */
  readonly renewal?: Renewal
}

/** What is told of a renewal, or of a sign-in that is redeemed, so that it survives whatever becomes of this process. */
export interface Renewal {
  /** Milliseconds that an answer is waited for once its request went out, however little time the caller had. */
  readonly answerTimeoutMs: number
  /**
   * Called before each request that may use up a refresh token.
   *
   * @returns When the store has shown that it keeps things and the intent is on disk.
   * @throws {TokctlError} whatever the store or the disk refuses: nothing is sent then
   */
  intend(spent: Spent): Promise<void>
  /** The first byte goes out: from here on nothing cancels it. */
  sent(): void
  /**
   * The answer is there, whole. When this returns it is on disk, as far as the disk takes it; only then is it read.
   *
   * @param headAt - When its first byte came, on the monotonic clock.
   */
  answered(answer: RenewalAnswer, headAt: number | undefined): void
  /** The server gave nothing yet: until the next request goes out there is nothing to lose. */
  pending(): void
  /** The refresh token was certainly not used up. */
  untouched(): void
  /** The server refused that refresh token, and the source begins again without it. */
  refused(refreshToken: Secret): Promise<void>
  /** Whether a handed-over refresh token was used before, although nothing is kept of it. @param seed - SHA-256 (hex). */
  knowsSeed(seed: string): Promise<boolean>
}

/** What a renewal uses up. */
export interface Spent {
  readonly refreshToken: Secret
  readonly seed: string | undefined
  readonly dpopKey: Secret | undefined
}

/** The answer of a renewal, as it came. */
export interface RenewalAnswer {
  /** Who answered, as messages name it. */
  readonly from: string
  readonly status: number
  /** Names in lower case; those alone that matter for reading it. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly sentAt: EpochMs
  readonly receivedAt: EpochMs
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
  /**
   * Reads the answer of a renewal whose process ended before it could.
   *
   * @param kept - As that process had it.
   * @throws {TokctlError} what the server refused, or why it is no answer
   */
  readRenewal?(answer: RenewalAnswer, kept: Kept): Promise<Token>
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
