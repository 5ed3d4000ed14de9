import { redactQuoted } from './redaction.ts'

/**
 * What a failure means for others: nothing, the answer of those who wait for it, besides a pause before the next attempt, or
 * no attempt until something changed.
 */
export type Remembered = 'never' | 'waiters' | 'pause' | 'until_changed'

/**
 * Every way to fail: its exit code, and how long it is remembered for all callers of a profile.
 * What depends on the caller alone (its command line, its environment, its keychain session) is never remembered.
 */
const table = {
  internal_error: [1, 'never'],
  output_failed: [1, 'never'],
  usage: [2, 'never'],
  config_not_found: [3, 'never'],
  config_invalid: [3, 'never'],
  unknown_profile: [3, 'never'],
  secret_unresolved: [3, 'never'],
  secret_command_failed: [3, 'waiters'],
  login_required: [4, 'until_changed'],
  login_timeout: [5, 'never'],
  network_error: [5, 'pause'],
  timeout: [5, 'pause'],
  server_error: [5, 'pause'],
  rate_limited: [5, 'pause'],
  lock_timeout: [5, 'never'],
  not_cached: [5, 'never'],
  invalid_client: [6, 'until_changed'],
  invalid_grant: [6, 'until_changed'],
  invalid_scope: [6, 'until_changed'],
  invalid_target: [6, 'until_changed'],
  unauthorized_client: [6, 'until_changed'],
  unsupported_grant_type: [6, 'until_changed'],
  access_denied: [6, 'pause'],
  invalid_request: [6, 'pause'],
  request_refused: [6, 'pause'],
  invalid_response: [6, 'pause'],
  discovery_failed: [6, 'pause'],
  command_failed: [6, 'pause'],
  token_rejected: [6, 'pause'],
  lifetime_too_short: [6, 'never'],
  store_unavailable: [7, 'never'],
  store_locked: [7, 'never'],
  store_denied: [7, 'never'],
  store_timeout: [7, 'never'],
  store_failed: [7, 'never'],
  secret_not_kept: [7, 'never'],
  state_dir_unsafe: [7, 'never'],
  program_not_executable: [126, 'never'],
  program_not_found: [127, 'never'],
  interrupted: [130, 'never'],
  terminated: [143, 'never'],
} as const satisfies Record<string, readonly [exit: number, remembered: Remembered]>

/** The closed union of failures. */
export type ErrorCode = keyof typeof table

/** Tells whether a text, read from a file perhaps, is one of the codes. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(table, text)
}

/** The exit code of a failure, as the contract has it. */
export function exitCodeOf(code: ErrorCode): number {
  return table[code][0]
}

/** How long a failure is remembered. */
export function rememberedOf(code: ErrorCode): Remembered {
  return table[code][1]
}

/** What an error carries beside its code and message. */
export interface ErrorDetails {
  /** One line that can be run or copied. */
  readonly hint?: string | undefined
  readonly profile?: string | undefined
  /** Milliseconds that the other side asked to wait. */
  readonly retryAfterMs?: number | undefined
  /** More problems of the same kind, each a whole message: every fault of one file is told in one run. */
  readonly more?: readonly string[] | undefined
}

/**
 * A failure that was foreseen. Its message is lower case, without a full stop, and holds no secret and no raw answer.
 * Anything else that is thrown is a bug.
 */
export class TokctlError extends Error {
  override readonly name = 'TokctlError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly profile: string | undefined
  readonly retryAfterMs: number | undefined
  readonly more: readonly string[]

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message)
    this.code = code
    this.hint = details.hint
    this.profile = details.profile
    this.retryAfterMs = details.retryAfterMs
    this.more = details.more ?? []
  }

  /** The same failure, told of a profile; one that names a profile already keeps it. */
  of(profile: string): TokctlError {
    if (this.profile !== undefined) return this
    const { hint, retryAfterMs, more } = this
    return new TokctlError(this.code, this.message, { hint, profile, retryAfterMs, more })
  }
}

// C0, DEL, C1, the bidirectional controls and marks, zero-width characters, line and paragraph separators, lone surrogates.
const unprintable =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

/**
 * Makes text from elsewhere fit to be shown: no live secret, one line, at most 200 characters, no control, bidi or escape
 * characters.
 */
export function printable(text: string): string {
  const line = redactQuoted(text).slice(0, 2000).replace(unprintable, ' ').replace(/ {2,}/g, ' ').trim()
  return line.length <= 200
    ? line
    : `${[...line.slice(0, 198)].filter(c => c.length > 1 || !/[\ud800-\udfff]/.test(c)).join('')}…`
}
