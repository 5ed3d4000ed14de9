import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import {
  firstRenewalAt,
  type Jitter,
  refreshAt,
  stableJitter,
  type Timing,
} from '../../src/core/freshness.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import { corp, type Machine, machine, minute } from '../support/machine.ts'

const down = new TokctlError('network_error', 'idp.example.com refuses connections')

interface Outage {
  readonly requests: number[]
  readonly served: number
  readonly failed: number
}

/** Ten minutes in which fifty calls a second come, each from a process of its own. */
async function tenMinutes(m: Machine): Promise<Outage> {
  const requests: number[] = []
  const start = m.clock.now()
  let [served, failed, before] = [0, 0, m.fetches]
  for (let call = 0; call < 10 * 60 * 50; call++) {
    await m
      .manager()
      .get(corp)
      .then(
        () => served++,
        () => failed++,
      )
    // What was left to the background is done by one process of all.
    for (const _ of m.renewals.splice(0)) {
      await m
        .manager()
        .get(corp, { renew: true })
        .catch(() => {})
    }
    if (m.fetches > before) requests.push(m.clock.now() - start)
    before = m.fetches
    m.clock.skip(20)
  }
  return { requests, served, failed }
}

test('ten minutes of outage at fifty calls a second: one probe for each pause, 1 s to 60 s apart, and 30,000 answers', async () => {
  const m = machine()
  m.answer(down)
  const { requests, served, failed } = await tenMinutes(m)
  expect([served, failed]).toEqual([0, 30_000])
  // 1 2 4 8 16 32 and then 60 s, each shortened by up to a quarter.
  expect(requests.length).toBeGreaterThanOrEqual(15)
  expect(requests.length).toBeLessThanOrEqual(21)
  const gaps = requests.slice(1).map((at, i) => at - requests[i]!)
  for (const [i, gap] of gaps.entries())
    expect(gap).toBeGreaterThanOrEqual(Math.max(1000, Math.min(60_000, 1000 * 2 ** i) * 0.75))
}, 60_000)

test('a token that is still valid is served throughout an outage', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(49 * minute)
  m.answer(down)
  const { requests, served, failed } = await tenMinutes(m)
  expect([served, failed]).toEqual([30_000, 0])
  expect(requests.length).toBeLessThanOrEqual(12)
  expect(requests.length).toBeGreaterThan(3)
}, 60_000)

test('Retry-After is kept to by every process, and what comes after it is one request', async () => {
  const m = machine()
  m.answer(
    ...[45_000, 100_000, 30_000, 120_000, 90_000, 60_000, 110_000, 80_000].map(
      retryAfterMs => new TokctlError('rate_limited', 'token endpoint answered 429', { retryAfterMs }),
    ),
  )
  const { requests } = await tenMinutes(m)
  expect(requests).toEqual([0, 45_000, 145_000, 175_000, 295_000, 385_000, 445_000, 555_000])
}, 60_000)

/**
 * Token requests for each minute of a day, of machines that are always busy and renew as soon as they are to.
 *
 * @param down - No request is answered before that moment, from `downFrom` on.
 */
function dayOfFleet(
  machines: number,
  jitterOf: (machine: number, of: Jitter) => number,
  { downFrom = 0, down = 0 } = {},
): number[] {
  const minutes = Array<number>(24 * 60).fill(0)
  for (let machine = 0; machine < machines; machine++) {
    const timing: Timing = {
      refreshBeforeMs: undefined,
      minValidityMs: undefined,
      jitter: of => jitterOf(machine, of),
    }
    let at = (machine / machines) * minute
    let isFirst = true
    while (at < 24 * 60 * minute) {
      minutes[Math.floor(at / minute)]!++
      const token = { ...hour, obtainedAt: at, expiresAt: at + 60 * minute }
      const renewAt = isFirst ? firstRenewalAt(token, timing)! : undefined
      at = refreshAt(renewAt === undefined ? token : { ...token, renewAt }, timing)!
      isFirst = at >= downFrom && at < down
      // They all come back within a minute.
      if (isFirst) at = down + (machine / machines) * minute
    }
  }
  return minutes
}

const hour: Token = {
  accessToken: new Secret('t'),
  tokenType: 'Bearer',
  scope: undefined,
  obtainedAt: 0,
  expiresAt: 0,
  refreshToken: undefined,
}

function peakToMean(minutes: number[]): number {
  return Math.max(...minutes) / (minutes.reduce((sum, n) => sum + n, 0) / minutes.length)
}

const own = (machine: number, of: Jitter) => stableJitter(`machine-${machine}`, 'corp', of)

test('ten thousand machines that signed in within a minute part at their first renewal: peak ÷ mean is at most 3 from then on', () => {
  const day = dayOfFleet(10_000, own)
  expect(peakToMean(day.slice(1))).toBeLessThanOrEqual(3)
  expect(peakToMean(dayOfFleet(10_000, () => 0).slice(1))).toBeGreaterThan(40)
  // It costs each of them one request more in a day, and no more.
  const sum = (minutes: number[]) => minutes.reduce((total, n) => total + n, 0)
  expect(sum(day) - sum(dayOfFleet(10_000, () => 0))).toBeLessThanOrEqual(10_000)
})

test('ten thousand machines that come back together after two hours of outage part again', () => {
  const back = 14 * 60
  const day = dayOfFleet(10_000, own, { downFrom: 12 * 60 * minute, down: back * minute })
  expect(day.slice(12 * 60, back)).toEqual(Array(2 * 60).fill(0))
  expect(day[back]).toBe(10_000)
  expect(peakToMean(day.slice(back + 1))).toBeLessThanOrEqual(3)
})

test('only a token that follows no good one is renewed early, and it is served until its end all the same', async () => {
  const m = machine({ jitter: 1 })
  await m.manager().get(corp)
  // Its window would open four minutes before the end of the hour; all of the jitter is half of the time until then.
  await m.clock.advance(27 * minute)
  await m.manager().get(corp)
  expect(m.renewals).toEqual([])
  await m.clock.advance(2 * minute)
  await m.manager().get(corp)
  expect(m.renewals).toEqual(['corp'])
  expect(m.fetches).toBe(1)
  await m.manager().get(corp, { renew: true })
  expect(m.fetches).toBe(2)
  m.renewals.splice(0)
  await m.clock.advance(55 * minute)
  await m.manager().get(corp)
  expect(m.renewals).toEqual([])
  await m.clock.advance(2 * minute)
  await m.manager().get(corp)
  expect(m.renewals).toEqual(['corp'])
})
