import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decide,
  firstRenewalAt,
  type GetAsk,
  refreshAt,
  stableJitter,
  type Timing,
  type View,
} from '../../src/core/freshness.ts'
import type { Failure, Outcome } from '../../src/core/outcome.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'

const now = 1_800_000_000_000
const hour = 3_600_000

const noJitter: Timing = { refreshBeforeMs: undefined, minValidityMs: undefined, jitter: () => 0 }
const plain: GetAsk = {
  force: false,
  cached: false,
  renew: false,
  minValidityMs: undefined,
  timeoutMs: 30_000,
  seen: undefined,
}

function token(leftMs: number, lifetimeMs = hour): Token {
  const expiresAt = now + leftMs
  return {
    accessToken: new Secret('token'),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: expiresAt - lifetimeMs,
    expiresAt,
    refreshToken: undefined,
  }
}

function view(held: Token | undefined, etag = 'e1', failure?: Partial<Failure>): View {
  return {
    record: held && { etag, binding: 'b', token: held, refreshToken: undefined, rejected: [] },
    outcome: outcome(etag, failure),
  }
}

function outcome(etag: string, failure?: Partial<Failure>): Outcome {
  return {
    etag,
    binding: 'b',
    finishedAt: now - 1000,
    store: 'file',
    auto: undefined,
    obtainedAt: undefined,
    expiresAt: undefined,
    refreshAt: undefined,
    renewable: undefined,
    failure: failure && {
      code: 'server_error',
      message: 'token endpoint answered 503',
      hint: undefined,
      at: now - 1000,
      until: now + 5000,
      attempts: 1,
      patienceMs: undefined,
      ...failure,
    },
  }
}

describe('rules 1 to 3: fresh is served, stale is served and renewed, expired is refreshed', () => {
  const cases: [name: string, leftMs: number, lifetimeMs: number, timing: Partial<Timing>, want: string][] = [
    ['an hour, 1 ms outside the 5 minutes', 300_001, hour, {}, 'serve'],
    ['an hour, exactly at the 5 minutes', 300_000, hour, {}, 'serve_and_refresh'],
    ['an hour, 1 ms outside the last minute', 60_001, hour, {}, 'serve_and_refresh'],
    ['an hour, exactly at the last minute', 60_000, hour, {}, 'refresh'],
    ['an hour, over', -1, hour, {}, 'refresh'],
    ['ten minutes: a fifth is 2 minutes', 120_001, 600_000, {}, 'serve'],
    ['ten minutes, inside the fifth', 120_000, 600_000, {}, 'serve_and_refresh'],
    ['ten minutes, the last tenth', 60_000, 600_000, {}, 'refresh'],
    ['a minute: a fifth is 12 s', 12_001, 60_000, {}, 'serve'],
    ['a minute, the last tenth', 6000, 60_000, {}, 'refresh'],
    ['a configured window', 600_000, hour, { refreshBeforeMs: 600_000 }, 'serve_and_refresh'],
    [
      'a configured window is at most half the lifetime',
      31_000,
      60_000,
      { refreshBeforeMs: 600_000 },
      'serve',
    ],
    ['a configured least validity', 120_000, hour, { minValidityMs: 120_000 }, 'refresh'],
    ['jitter shortens the default window by up to a fifth', 240_001, hour, { jitter: () => 1 }, 'serve'],
    [
      'full jitter, inside what is left of the window',
      240_000,
      hour,
      { jitter: () => 1 },
      'serve_and_refresh',
    ],
    [
      'jitter shortens a configured window too',
      480_001,
      hour,
      { refreshBeforeMs: 600_000, jitter: () => 1 },
      'serve',
    ],
  ]
  test.each(cases)('%s', (_, leftMs, lifetimeMs, timing, want) => {
    expect(decide(view(token(leftMs, lifetimeMs)), plain, { ...noJitter, ...timing }, now).kind).toBe(want)
  })

  test('a token of unknown lifetime is served until it is refused', () => {
    const endless = { ...token(0), expiresAt: undefined }
    expect(decide(view(endless), plain, noJitter, now)).toMatchObject({ kind: 'serve', because: 'fresh' })
  })

  test('nothing kept is refreshed', () => {
    expect(decide(view(undefined), plain, noJitter, now)).toMatchObject({
      kind: 'refresh',
      because: 'absent',
    })
  })

  test('a token made in the future is not believed: the clock was set back', () => {
    const early = { ...token(hour), obtainedAt: now + 61_000 }
    expect(decide(view(early), plain, noJitter, now).kind).toBe('refresh')
  })

  test('a hit far from its end never asks for the jitter', () => {
    const timing: Timing = {
      ...noJitter,
      jitter: () => {
        throw new Error('asked')
      },
    }
    expect(decide(view(token(hour)), plain, timing, now).kind).toBe('serve')
  })
})

describe('rules 4 and 5: failures are remembered, and never stand above a good token', () => {
  const cases: [name: string, leftMs: number, failure: Partial<Failure>, want: object][] = [
    ['fresh is served whatever failed', hour, { until: 'changed' }, { kind: 'serve', because: 'fresh' }],
    [
      'stale is served with the failure told',
      120_000,
      {},
      { kind: 'serve', failure: { code: 'server_error' } },
    ],
    [
      'expired fails at once while the pause lasts',
      -1,
      {},
      { kind: 'fail', failure: { code: 'server_error' } },
    ],
    ['expired is asked for again when the pause is over', -1, { until: now }, { kind: 'refresh' }],
    ['stale is renewed again when the pause is over', 120_000, { until: now }, { kind: 'serve_and_refresh' }],
    [
      'what does not mend by itself lasts',
      -1,
      { code: 'invalid_client', at: 0, until: 'changed' },
      { kind: 'fail' },
    ],
    ['a clock set back ends a pause', -1, { at: now + 2000, until: now + 9000 }, { kind: 'refresh' }],
  ]
  test.each(cases)('%s', (_, leftMs, failure, want) => {
    expect(decide(view(token(leftMs), 'e1', failure), plain, noJitter, now)).toMatchObject(want)
  })

  test('a caller who can wait much longer than the one who gave up asks for itself', () => {
    const gaveUp = view(undefined, 'e1', { code: 'timeout', patienceMs: 500 })
    expect(decide(gaveUp, plain, noJitter, now).kind).toBe('refresh')
    expect(decide(gaveUp, { ...plain, timeoutMs: 900 }, noJitter, now).kind).toBe('fail')
  })
})

describe('rule 6 and the rule for sharing: whatever finished after I looked is mine', () => {
  const seen = { outcome: 'e1', record: 'e1' }

  test('a failure that came since is the answer', () => {
    const since = { record: view(token(-1)).record, outcome: outcome('e2', { code: 'network_error' }) }
    expect(decide(since, { ...plain, seen }, noJitter, now)).toMatchObject({
      kind: 'fail',
      failure: { code: 'network_error' },
    })
  })

  test('a failure that came since is the answer to a forced call, even while the old token is good', () => {
    const since = { record: view(token(hour)).record, outcome: outcome('e2', {}) }
    expect(decide(since, { ...plain, force: true, seen }, noJitter, now).kind).toBe('fail')
  })

  test('a token that came since is the answer, however short it lives', () => {
    expect(decide(view(token(1000), 'e2'), { ...plain, seen }, noJitter, now).kind).toBe('serve')
    expect(decide(view(token(1000), 'e2'), { ...plain, force: true, seen }, noJitter, now).kind).toBe('serve')
  })

  test('a token that came since but lives less than the caller needs is not', () => {
    const ask = { ...plain, minValidityMs: 2 * hour, seen }
    expect(decide(view(token(hour), 'e2'), ask, noJitter, now)).toEqual({
      kind: 'too_short',
      lifetimeMs: hour,
    })
  })

  test('a forced call never takes the token that was there', () => {
    expect(decide(view(token(hour)), { ...plain, force: true }, noJitter, now).kind).toBe('refresh')
    expect(decide(view(token(hour)), { ...plain, force: true, seen }, noJitter, now).kind).toBe('refresh')
  })

  test('an outcome whose token is not there is no answer', () => {
    const gone: View = { record: undefined, outcome: outcome('e2') }
    expect(decide(gone, { ...plain, seen }, noJitter, now).kind).toBe('refresh')
    const other = { record: view(token(-1), 'e1').record, outcome: outcome('e2') }
    expect(decide(other, { ...plain, seen }, noJitter, now).kind).toBe('refresh')
  })

  test('a token whose outcome could not be written is an answer all the same', () => {
    const written: View = { record: view(token(hour), 'e2').record, outcome: undefined }
    const ask = { ...plain, force: true, seen: { outcome: undefined, record: 'e1' } }
    expect(decide(written, ask, noJitter, now).kind).toBe('serve')
  })
})

describe('what a caller may ask for', () => {
  test('more life than is left is refreshed', () => {
    expect(decide(view(token(hour / 2)), { ...plain, minValidityMs: hour / 2 }, noJitter, now).kind).toBe(
      'refresh',
    )
  })

  test('more life than these tokens ever have fails without a request', () => {
    const ask = { ...plain, minValidityMs: hour }
    expect(decide(view(token(hour / 2)), ask, noJitter, now)).toEqual({ kind: 'too_short', lifetimeMs: hour })
  })

  test('only the cache: what is valid is served, what is not fails, nothing is renewed', () => {
    const ask = { ...plain, cached: true }
    expect(decide(view(token(120_000)), ask, noJitter, now).kind).toBe('serve')
    expect(decide(view(token(60_000)), ask, noJitter, now).kind).toBe('not_cached')
    expect(decide(view(undefined), ask, noJitter, now).kind).toBe('not_cached')
  })

  test('the background renewal leaves a fresh token alone and takes a stale one for expired', () => {
    const ask = { ...plain, renew: true }
    expect(decide(view(token(hour)), ask, noJitter, now).kind).toBe('serve')
    expect(decide(view(token(120_000)), ask, noJitter, now).kind).toBe('refresh')
    expect(decide(view(token(120_000), 'e1', {}), ask, noJitter, now).kind).toBe('fail')
  })
})

describe('properties', () => {
  const lifetimes = fc.integer({ min: 1, max: 400 * 86_400_000 })
  const timings = fc.record({
    refreshBeforeMs: fc.option(fc.integer({ min: 0, max: 86_400_000 }), { nil: undefined }),
    minValidityMs: fc.option(fc.integer({ min: 0, max: 86_400_000 }), { nil: undefined }),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }).map(j => () => j),
  })

  test('without being forced, a token is never served with less life than its profile asks for', () => {
    fc.assert(
      fc.property(
        lifetimes,
        fc.integer({ min: -86_400_000, max: 400 * 86_400_000 }),
        timings,
        (lifetime, left, timing) => {
          const decision = decide(view(token(Math.min(left, lifetime), lifetime)), plain, timing, now)
          if (decision.kind !== 'serve' && decision.kind !== 'serve_and_refresh') return
          const least = timing.minValidityMs ?? Math.min(60_000, lifetime / 10)
          expect(Math.min(left, lifetime)).toBeGreaterThan(least)
        },
      ),
    )
  })

  test('a token just fetched is fresh, so that it is cached at all, unless the profile wants more than it has', () => {
    fc.assert(
      fc.property(lifetimes, timings, (lifetime, timing) => {
        fc.pre((timing.minValidityMs ?? 0) < lifetime)
        expect(decide(view(token(lifetime, lifetime)), plain, timing, now).kind).toBe('serve')
      }),
    )
  })

  test('life runs one way: fresh, then stale, then expired', () => {
    const order = { serve: 0, serve_and_refresh: 1, refresh: 2, too_short: 2 } as Record<string, number>
    fc.assert(
      fc.property(
        lifetimes,
        timings,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 2 }),
        (lifetime, timing, at) => {
          const kinds = at
            .sort((a, b) => a - b)
            .map(share => decide(view(token(lifetime * (1 - share), lifetime)), plain, timing, now).kind)
            .map(kind => order[kind]!)
          expect([...kinds].sort()).toEqual(kinds)
        },
      ),
    )
  })

  test('the moment of renewal lies where decide sees the token turn stale', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 86_400_000 }), timings, (lifetime, timing) => {
        const held = token(lifetime, lifetime)
        const at = refreshAt(held, timing)!
        expect(at).toBeGreaterThanOrEqual(now + lifetime / 2 - 1)
        const before = decide(view(held), plain, { ...timing, minValidityMs: 0 }, at - 1)
        expect(before.kind).toBe('serve')
      }),
    )
  })

  test('the first renewal of a token comes in the second half of the time until its window, and turns it stale', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 86_400_000 }), timings, (lifetime, timing) => {
        const held = token(lifetime, lifetime)
        const opensAt = refreshAt(held, timing)!
        const renewAt = firstRenewalAt(held, timing)!
        expect(renewAt).toBeGreaterThanOrEqual(Math.round((now + opensAt) / 2) - 1)
        expect(renewAt).toBeLessThanOrEqual(Math.round(opensAt))
        const early = { ...held, renewAt }
        expect(refreshAt(early, timing)).toBe(Math.min(renewAt, opensAt))
        const patient = { ...timing, minValidityMs: 0 }
        expect(decide(view(early), plain, patient, renewAt - 1).kind).toBe('serve')
        // Without a window it may be the very end.
        if (renewAt === held.expiresAt) return
        expect(decide(view(early), plain, patient, renewAt).kind).toBe('serve_and_refresh')
      }),
    )
  })

  test('jitter is stable, between 0 and 1, and spreads machines out', () => {
    const shares = Array.from({ length: 1000 }, (_, i) => stableJitter(`machine-${i}`, 'corp', 'window'))
    expect(stableJitter('machine-1', 'corp', 'window')).toBe(shares[1])
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...shares)).toBeLessThanOrEqual(1)
    for (let decile = 0; decile < 10; decile++) {
      const inIt = shares.filter(share => Math.floor(share * 10) === decile).length
      expect(inIt).toBeGreaterThan(50)
      expect(inIt).toBeLessThan(200)
    }
  })
})
