import { TokctlError } from '../core/errors.ts'
import { type Clock, type EpochMs, formatDuration } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { Tokens } from '../core/tokens.ts'

// Keeps one profile fresh. Rules:
//  - It renews when the token becomes stale, which is this machine's jitter apart from others, and at no other time.
//  - It sleeps for ten seconds at most: a machine that slept, a clock that was set, a token that another process rejected or a
//    person who signed in is noticed then, by two stats and no request. All watchers of a process wake together for it.
//  - What was published is taken back once it is over, and not before. What is over when it comes is a failure.

/** Where tokens go. */
export interface Sink {
  /** A new token. Called again for the same one only after it failed. */
  publish(token: Token): Promise<void>
  /** The token that was published last, if any, is over, and there is no other. */
  withdraw(): Promise<void>
}

/** What a watcher stands on. */
export interface WatcherPorts {
  readonly clock: Clock
  readonly tokens: Pick<Tokens, 'fresh' | 'get' | 'peek'>
  readonly sink: Sink
  /** A person must sign in; told once, until there is a token again. */
  onLoginRequired(profile: string): Promise<void>
  /** One line. */
  warn(message: string): void
}

const recheckMs = 10_000
const shortestMs = 1000
const longestPauseMs = 60_000

/**
 * Keeps a profile fresh until the signal fires.
 *
 * @throws What the signal gives as its reason
 */
export async function watchProfile(name: string, ports: WatcherPorts, signal: AbortSignal): Promise<void> {
  const { clock, tokens, sink, warn } = ports
  let shown: Token | undefined
  let failures = 0
  let told = ''
  let complaint = ''
  // A file of a watch before this one may still be there.
  let isOut = true

  for (;;) {
    const waitMs = await turn()
    // What is due already and was not done waits a moment, so that nothing turns in a circle.
    await clock.sleep(waitMs > 0 ? waitMs : shortestMs, signal)
    signal.throwIfAborted()
  }

  /** @returns How long nothing has to be done. */
  async function turn(): Promise<number> {
    let waitMs = untilLook()
    try {
      const { token, refreshAt } = await tokens.fresh(name)
      refuseOver(name, token, clock.now())
      failures = 0
      told = ''
      await publish(token)
      if (refreshAt !== undefined) waitMs = Math.min(waitMs, Math.ceil(refreshAt - clock.now()) + 1)
    } catch (error) {
      signal.throwIfAborted()
      waitMs = await afterFailure(error)
    }
    // One that is over and could not be taken back is no reason to turn faster.
    if (shown?.expiresAt !== undefined && isAlive(shown, clock.now()))
      waitMs = Math.min(waitMs, shown.expiresAt - clock.now())
    return waitMs
  }

  /** The same moment for all: one wake of the processor for five hundred profiles. */
  function untilLook(): number {
    // Timers may be early by part of a millisecond.
    return Math.floor(recheckMs - (clock.monotonic() % recheckMs)) + 1
  }

  async function afterFailure(error: unknown): Promise<number> {
    const failure = error instanceof TokctlError ? error : undefined
    await tell(failure?.code ?? 'unexpected', failure?.message ?? 'unexpected failure')
    // It may still be good for a while. Who gave one that was over is not asked for another at once.
    const valid = isOverOnArrival(error)
      ? undefined
      : (tokens.peek(name, 0) ?? (await tokens.get(name).catch(() => undefined)))
    if (valid !== undefined && isAlive(valid, clock.now())) await publish(valid)
    else if (shown === undefined || !isAlive(shown, clock.now())) await withdraw()
    const pauseMs = Math.min(longestPauseMs, shortestMs * 2 ** Math.min(failures++, 10))
    // Somebody may sign in at any time.
    if (failure?.code === 'login_required') return untilLook()
    return Math.min(longestPauseMs, failure?.retryAfterMs ?? pauseMs)
  }

  async function tell(code: string, message: string): Promise<void> {
    if (told === code) return
    told = code
    const { expiresAt } = shown ?? {}
    const leftMs = expiresAt === undefined ? 0 : expiresAt - clock.now()
    const left =
      expiresAt === undefined
        ? ''
        : `; its token ${leftMs > 0 ? `expires in ${formatDuration(leftMs)}` : 'has expired'}`
    warn(`profile "${name}" is not renewed: ${message}${left}`)
    if (code === 'login_required') await ports.onLoginRequired(name)
  }

  async function publish(token: Token): Promise<void> {
    if (shown?.accessToken.equals(token.accessToken) === true && shown.expiresAt === token.expiresAt) return
    try {
      isOut = true
      await sink.publish(token)
      shown = token
      complaint = ''
    } catch (error) {
      complain('the new token could not be handed on', error)
    }
  }

  async function withdraw(): Promise<void> {
    if (!isOut) return
    try {
      await sink.withdraw()
      shown = undefined
      isOut = false
      complaint = ''
    } catch (error) {
      complain('the old token could not be taken back', error)
    }
  }

  // It is tried again at every look: what is said once stands until it is something else, or well again.
  function complain(what: string, error: unknown): void {
    const message = `profile "${name}": ${what}: ${reasonOf(error)}`
    if (message !== complaint) warn(message)
    complaint = message
  }
}

/** A source that gave a token which nobody can use any more. */
class OverOnArrival extends TokctlError {}

/**
 * Refuses a token that is over: neither a file nor a program has a use for it.
 *
 * @throws {TokctlError} `lifetime_too_short`
 */
export function refuseOver(profile: string, token: Token, now: EpochMs): void {
  if (isAlive(token, now)) return
  const message = `the token that profile "${profile}" got was over when it came`
  throw new OverOnArrival('lifetime_too_short', message, {
    hint: `see what its source says of its end: tokctl get ${profile} -o json`,
    profile,
  })
}

/** Tells whether that is why something failed: then the source has been asked just now. */
export function isOverOnArrival(error: unknown): boolean {
  return error instanceof OverOnArrival
}

/** Tells whether a token is not over yet; one of unknown lifetime never is. */
export function isAlive({ expiresAt }: Pick<Token, 'expiresAt'>, now: EpochMs): boolean {
  return expiresAt === undefined || expiresAt > now
}

/** Says why something failed, without what it held. */
export function reasonOf(error: unknown): string {
  if (error instanceof TokctlError) return error.message
  return (error as NodeJS.ErrnoException)?.code ?? 'unexpected failure'
}
