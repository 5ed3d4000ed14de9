import { type EpochMs, maxTimerMs, type ResidentClock } from '../../src/core/time.ts'

/** A clock that stands still until it is advanced; sleepers wake when their time has come, earliest first. */
export interface FakeClock extends ResidentClock {
  advance(ms: number): Promise<void>
  /** Moves both clocks on where nobody sleeps, and waits for nothing. */
  skip(ms: number): void
  /** Moves the wall clock alone, as a person or a time server does. */
  set(now: EpochMs): void
  readonly sleepers: number
  /** Milliseconds of each call of `after` that is yet to come. */
  readonly timers: readonly number[]
}

/** Makes one that starts at a round instant. */
export function fakeClock(start: EpochMs = 1_800_000_000_000): FakeClock {
  let wall = start
  let elapsed = 0
  const sleepers = new Set<{ at: number; wake(): void }>()
  const timers = new Set<{ at: number; wake(): void }>()
  return {
    now: () => Math.round(wall),
    monotonic: () => elapsed,
    sleep: (ms, signal) =>
      new Promise(resolve => {
        if (signal?.aborted) return resolve()
        const wake = (): void => {
          sleepers.delete(sleeper)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        const sleeper = { at: elapsed + Math.max(0, ms), wake }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', wake)
      }),
    async advance(ms) {
      const end = elapsed + ms
      for (;;) {
        await settled()
        const next = [...sleepers, ...timers].filter(s => s.at <= end).sort((a, b) => a.at - b.at)[0]
        if (next === undefined) break
        wall += next.at - elapsed
        elapsed = next.at
        sleepers.delete(next)
        timers.delete(next)
        next.wake()
      }
      wall += end - elapsed
      elapsed = end
      await settled()
    },
    skip(ms) {
      wall += ms
      elapsed += ms
    },
    set(now) {
      wall = now
    },
    after(ms, call) {
      const timer = { at: elapsed + Math.min(Math.max(0, ms), maxTimerMs), wake: call }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    get sleepers() {
      return sleepers.size
    },
    get timers() {
      return [...timers].map(({ at }) => at - elapsed)
    },
  }
}

// Lets every promise that can settle do so; setImmediate runs after all of them.
function settled(): Promise<void> {
  return new Promise(resolve => setImmediate(() => setImmediate(resolve)))
}
