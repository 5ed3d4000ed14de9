/** An instant: milliseconds since the Unix epoch, on the local clock. */
export type EpochMs = number

/** The clock as everything here sees it, so that tests can set and advance it. */
export interface Clock {
  /** The wall clock; decides expiry. */
  now(): EpochMs
  /** Milliseconds from an arbitrary start that never jump; measures deadlines. */
  monotonic(): number
  /** Resolves after `ms`, or at once when the signal fires; never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The clock of a process that stays. */
export interface ResidentClock extends Clock {
  /**
   * Calls after `ms`, once, without keeping the process alive. More than the largest timer is cut to it, and a machine that
   * slept or whose clock was set calls at another time: whoever is called looks at the clock again.
   *
   * @returns What takes it back.
   */
  after(ms: number, call: () => void): () => void
}

/** A larger delay makes Node fire at once (it overflows a signed 32-bit number). */
export const maxTimerMs = 2_147_483_647

/** The machine's clock. */
export const systemClock: ResidentClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise(resolve => {
      if (signal?.aborted) return resolve()
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, Math.min(Math.max(0, ms), maxTimerMs))
      signal?.addEventListener('abort', done)
    }),
  after(ms, call) {
    const timer = setTimeout(call, Math.min(Math.max(0, ms), maxTimerMs)).unref()
    return () => clearTimeout(timer)
  },
}

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/**
 * Reads a duration such as `500ms`, `90s`, `5m`, `1h` or `2d`.
 *
 * @returns Milliseconds; `undefined` for anything else, a fraction, a sign or a missing unit included, and beyond ten years.
 */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text)
  if (match === null) return undefined
  const ms = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]
  return ms <= 3650 * unitMs.d ? ms : undefined
}

/** Says a duration for people, in the largest unit that fits: `40s`, `5m`, `2h`, `3d`. Less than nothing is `0s`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return ms <= 0 ? '0s' : `${Math.round(ms)}ms`
  const seconds = Math.floor(ms / 1000)
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** An instant as `2026-11-20T10:00:00Z`: UTC, whole seconds, rounded down. */
export function formatInstant(at: EpochMs): string {
  return `${new Date(Math.floor(at / 1000) * 1000).toISOString().slice(0, 19)}Z`
}

/**
 * Reads an RFC 3339 instant with an offset; one without an offset is refused, because it means another time on each machine.
 *
 * @returns `undefined` for anything else.
 */
export function parseInstant(text: string): EpochMs | undefined {
  if (!/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/.test(text)) return undefined
  const at = Date.parse(text.replace(' ', 'T').toUpperCase())
  return Number.isNaN(at) ? undefined : at
}
