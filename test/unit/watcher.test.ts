import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { type Jitter, stableJitter } from '../../src/core/freshness.ts'
import type { Token } from '../../src/core/token.ts'
import { createFunctionManager, functionProfile } from '../../src/library/function-manager.ts'
import { type Source, sourceFrom } from '../../src/library/source-from.ts'
import { createTokenCache, type TokenCache } from '../../src/library/token-cache.ts'
import { watchProfile } from '../../src/watch/watcher.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'

const minute = 60_000

// What is loaded at the first request takes real time, in which a fake clock would run ahead.
beforeAll(() => import('../../src/core/attempt.ts'))

interface Made {
  readonly clock: FakeClock
  readonly tokens: TokenCache
  /** When each key was asked for, in milliseconds from the start. */
  readonly calls: { readonly profile: string; readonly at: number }[]
}

function made(give: (n: number) => Promise<number>): Made {
  const clock = fakeClock()
  const start = clock.now()
  const calls: { profile: string; at: number }[] = []
  const source: Source = sourceFrom(async ({ profile }) => {
    calls.push({ profile, at: clock.now() - start })
    const n = calls.length
    return { accessToken: `${profile}-${n}`, expiresInMs: await give(n) }
  })
  const timing = (profile: { name: string }) => ({
    refreshBeforeMs: undefined,
    minValidityMs: undefined,
    jitter: (of: Jitter) => stableJitter('a machine', profile.name, of),
  })
  const manager = createFunctionManager({
    clock,
    pid: 1,
    notices: { warn() {}, trace() {}, hold: () => () => {}, onMiss() {}, waiting() {} },
    source: () => source,
    timing,
    renew: name => tokens.renew(name),
  })
  const tokens: TokenCache = createTokenCache({
    clock,
    profile: async name => functionProfile(name, source),
    managerOf: () => manager,
    timing,
    stamp: () => ({ config: '', outcome: '' }),
    outcome: () => undefined,
    warn() {},
    timeoutMs: 30_000,
  })
  return { clock, tokens, calls }
}

interface Watched {
  readonly log: string[]
  readonly warnings: string[]
  failSink(error: Error | undefined): void
}

function watchOne(name: string, { clock, tokens }: Made): Watched {
  const log: string[] = []
  const warnings: string[] = []
  let sinkError: Error | undefined
  const stop = new AbortController()
  onTestFinished(() => stop.abort(new Error('over')))
  watchProfile(
    name,
    {
      clock,
      tokens,
      sink: {
        async publish(token: Token) {
          if (sinkError !== undefined) throw sinkError
          log.push(token.accessToken.expose())
        },
        async withdraw() {
          log.push('withdrawn')
        },
      },
      onLoginRequired: async profile => void log.push(`sign in: ${profile}`),
      warn: message => warnings.push(message),
    },
    stop.signal,
  ).catch(() => {})
  return {
    log,
    warnings,
    failSink(error) {
      sinkError = error
    },
  }
}

test('500 profiles of 60 s for ten minutes: none runs out, none is renewed twice, and nothing happens between', async () => {
  const m = made(async () => minute)
  const names = Array.from({ length: 500 }, (_, i) => `p${i}`)
  const watched = names.map(name => watchOne(name, m))
  const wakes = new Set<number>()
  const { sleep } = m.clock
  const start = m.clock.now()
  m.clock.sleep = (ms, signal) => {
    wakes.add(m.clock.now() - start)
    return sleep(ms, signal)
  }
  for (let second = 0; second < 600; second += 5) {
    await m.clock.advance(5000)
    for (const name of names) expect(m.tokens.peek(name, 0)).toBeDefined()
  }
  for (const name of names) {
    const at = m.calls.filter(call => call.profile === name).map(call => call.at)
    // The window is a fifth of the life, 12 s, less up to a fifth of it for the jitter: from 48 s to 50.4 s apart; the first
    // renewal comes earlier, by up to half of that.
    const [first, ...gaps] = at.slice(1).map((time, i) => time - at[i]!)
    expect(first).toBeGreaterThanOrEqual(24_000)
    expect(first).toBeLessThanOrEqual(50_500)
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(48_000)
      expect(gap).toBeLessThanOrEqual(50_500)
    }
    // The last one is no longer ago than that either.
    expect(600_000 - at.at(-1)!).toBeLessThan(50_500)
  }
  expect(watched.flatMap(({ warnings }) => warnings)).toEqual([])
  expect(watched.flatMap(({ log }) => log)).toHaveLength(m.calls.length)
  // Machines, or profiles, are apart: not all of them are renewed at one moment.
  expect(new Set(m.calls.filter(({ at }) => at > 0 && at < 60_000).map(({ at }) => at)).size).toBeGreaterThan(
    400,
  )
  // Between them all wake together, every ten seconds.
  const renewed = new Set(m.calls.map(({ at }) => at))
  expect([...wakes].filter(at => !renewed.has(at)).length).toBeLessThanOrEqual(61)
}, 120_000)

test('a new token is published once, when it is there', async () => {
  const m = made(async () => 10 * minute)
  const { log } = watchOne('a', m)
  // Half of the 8 minutes until the window opens: no first renewal is earlier.
  await m.clock.advance(4 * minute)
  expect(log).toEqual(['a-1'])
  await m.clock.advance(4.5 * minute)
  expect(log).toEqual(['a-1', 'a-2'])
})

test('while renewals fail the old token stays until it is over; then it is taken back, and the next one published', async () => {
  let down = false
  const m = made(async () => {
    if (down) throw new TokctlError('server_error', 'token endpoint answered 503')
    return 10 * minute
  })
  const { log, warnings } = watchOne('a', m)
  await m.clock.advance(1000)
  down = true
  await m.clock.advance(9.5 * minute)
  expect(log).toEqual(['a-1'])
  expect(warnings).toEqual([
    expect.stringMatching(
      /^profile "a" is not renewed: token endpoint answered 503; its token expires in \d+[ms]$/,
    ),
  ])
  // It backs off: 1, 2, 4, … 60 s.
  expect(m.calls.length).toBeLessThan(12)
  await m.clock.advance(minute)
  expect(log).toEqual(['a-1', 'withdrawn'])
  down = false
  await m.clock.advance(2 * minute)
  expect(log).toEqual(['a-1', 'withdrawn', `a-${m.calls.length}`])
})

test('a sign-in that is needed is told once, and its end is noticed within ten seconds', async () => {
  let signedOut = true
  const m = made(async () => {
    if (signedOut) throw new TokctlError('login_required', 'profile "a" needs a sign-in')
    return 10 * minute
  })
  const { log, warnings } = watchOne('a', m)
  await m.clock.advance(5 * minute)
  expect(log.filter(line => line !== 'withdrawn')).toEqual(['sign in: a'])
  expect(warnings).toEqual(['profile "a" is not renewed: profile "a" needs a sign-in'])
  expect(m.calls).toHaveLength(1)
  signedOut = false
  await m.tokens.get('a', { force: true })
  await m.clock.advance(10_000)
  expect(log.at(-1)).toBe('a-2')
})

test('a token that was rejected is replaced within ten seconds', async () => {
  const m = made(async () => 60 * minute)
  const { log } = watchOne('a', m)
  await m.clock.advance(1000)
  const { accessToken } = await m.tokens.get('a')
  await m.tokens.reject('a', accessToken)
  await m.clock.advance(10_000)
  expect(log).toEqual(['a-1', 'a-2'])
})

test('a machine that slept past the end of its token has a new one ten seconds after it woke', async () => {
  const m = made(async () => 10 * minute)
  const { log } = watchOne('a', m)
  await m.clock.advance(1000)
  m.clock.set(m.clock.now() + 8 * 60 * minute)
  await m.clock.advance(10_000)
  expect(log).toEqual(['a-1', 'a-2'])
})

test('a token that could not be written is written at the next look, and why is told once, until it is something else', async () => {
  const m = made(async () => 60 * minute)
  const { log, warnings, failSink } = watchOne('a', m)
  const told = (why: string) => `profile "a": the new token could not be handed on: ${why}`
  failSink(new TokctlError('output_failed', 'file /a cannot be written (ENOSPC)'))
  await m.clock.advance(25_000)
  expect([log, warnings]).toEqual([[], [told('file /a cannot be written (ENOSPC)')]])
  failSink(new TokctlError('output_failed', 'file /a cannot be written (EACCES)'))
  await m.clock.advance(10_000)
  expect(warnings.slice(1)).toEqual([told('file /a cannot be written (EACCES)')])
  failSink(undefined)
  await m.clock.advance(10_000)
  expect(log).toEqual(['a-1'])
  // What went wrong, was well and is wrong again is told again.
  failSink(new TokctlError('output_failed', 'file /a cannot be written (EACCES)'))
  await m.clock.advance(60 * minute)
  expect(warnings.slice(2)).toEqual([told('file /a cannot be written (EACCES)')])
})

test('a token that is over when it comes is a failure: told once, never published, and less and less often asked for', async () => {
  let lifeMs = 0
  const m = made(async () => lifeMs)
  const { log, warnings } = watchOne('a', m)
  await m.clock.advance(5 * minute)
  expect(log).toEqual(['withdrawn'])
  expect(warnings).toEqual([
    'profile "a" is not renewed: the token that profile "a" got was over when it came',
  ])
  const seconds = m.calls.map(({ at }) => Math.floor(at / 1000))
  expect(seconds).toEqual([0, 1, 3, 7, 15, 31, 63, 123, 183, 243])
  lifeMs = 10 * minute
  await m.clock.advance(minute)
  expect(log.slice(1)).toEqual([`a-${m.calls.length}`])
})

test('a token that is over when it comes leaves the one before it until that is over', async () => {
  let lifeMs = 10 * minute
  const m = made(async () => lifeMs)
  const { log } = watchOne('a', m)
  await m.clock.advance(1000)
  lifeMs = 0
  await m.clock.advance(9.9 * minute)
  expect(log).toEqual(['a-1'])
  await m.clock.advance(0.2 * minute)
  expect(log).toEqual(['a-1', 'withdrawn'])
})
