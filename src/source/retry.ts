import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import { AnswerError } from './answer.ts'
import { TransportError } from './transport.ts'

/** What one call may still spend. */
export interface Budget {
  readonly clock: Clock
  readonly signal: AbortSignal | undefined
  /** On the monotonic clock. */
  readonly deadline: number
}

const maxAttempts = 3
/** Before the second attempt and before the third, give or take half. */
const pausesMs = [250, 1000] as const
const maxRetryAfterMs = 5000

/** Milliseconds that are left, never less than nothing. */
export function timeLeft({ clock, deadline }: Budget): number {
  return Math.max(0, deadline - clock.monotonic())
}

/** How a request is repeated. */
export interface Repeating {
  /** False for what is spent by being used, such as a refresh token: it is asked for again only where it certainly was not. */
  readonly repeatable?: boolean
  /** In [0, 1). */
  readonly random?: () => number
}

/**
 * Asks up to three times within one deadline: again after a network failure, 429 or 5xx, after a jittered pause of about
 * 0.25 s and 1 s, or the `Retry-After` of the server. A server that wants more than 5 s, or more than is left, is not waited
 * for: its failure is thrown at once.
 *
 * @param ask - Gets the milliseconds that are left for it.
 * @throws The last failure.
 */
export async function retry<T>(
  budget: Budget,
  ask: (timeoutMs: number) => Promise<T>,
  trace: (message: string) => void,
  { repeatable = true, random = Math.random }: Repeating = {},
): Promise<T> {
  const mayRepeat = repeatable ? isPassing : isUntouched
  for (let attempt = 1; ; attempt++) {
    if (timeLeft(budget) <= 0) throw new TokctlError('timeout', 'no time is left to ask for a token')
    try {
      return await ask(timeLeft(budget))
    } catch (error) {
      const pauseMs =
        attempt < maxAttempts && mayRepeat(error) ? pauseAfter(error, attempt, random) : undefined
      if (pauseMs === undefined || pauseMs >= timeLeft(budget)) throw error
      trace(`${(error as TokctlError).message}; asking again in ${Math.round(pauseMs)} ms`)
      await budget.clock.sleep(pauseMs, budget.signal)
      if (budget.signal?.aborted) throw budget.signal.reason
    }
  }
}

function pauseAfter(error: TokctlError, attempt: number, random: () => number): number | undefined {
  if (error.retryAfterMs !== undefined)
    return error.retryAfterMs <= maxRetryAfterMs ? error.retryAfterMs : undefined
  return (pausesMs[attempt - 1] ?? 1000) * (0.5 + random())
}

// A request that ran out of the whole call's time is not asked again because nothing is left; one that could not connect is.
function isPassing(error: unknown): error is TokctlError {
  if (error instanceof TransportError) return error.passing
  return error instanceof TokctlError && (error.code === 'server_error' || error.code === 'rate_limited')
}

// A gateway's 502 or 504 says nothing of what the server behind it did; 429 and 503 turn a request away.
function isUntouched(error: unknown): error is TokctlError {
  if (error instanceof TransportError) return error.passing && !error.sent
  return error instanceof AnswerError && (error.status === 429 || error.status === 503)
}

/**
 * Tells whether a failure leaves open what the server did: it may have used up what was sent, and its answer is lost.
 * A refresh token that was sent may then have been replaced by one that nobody has.
 */
export function mayBeSpent(error: unknown): boolean {
  if (error instanceof TransportError) return error.sent
  if (error instanceof AnswerError)
    return error.status < 300
      ? error.code === 'invalid_response'
      : error.status >= 500 && error.status !== 503
  // Too large, or not text: it did come.
  return error instanceof TokctlError && error.code === 'invalid_response'
}
