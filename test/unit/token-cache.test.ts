import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { openOutcomes } from '../../src/core/outcome.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import { stampOf } from '../../src/library/resident-tokens.ts'
import { checkMs, createTokenCache, type TokenCache } from '../../src/library/token-cache.ts'
import type { Profile, StaticProfile } from '../../src/profile/profile.ts'
import type { Store } from '../../src/store/store.ts'
import { corp, type Machine, machine, minute, tokenOf } from '../support/machine.ts'
import { proxyBefore, startUpstream } from '../support/proxy-route.ts'

const down = new TokctlError('server_error', 'token endpoint answered 503')

interface Resident {
  readonly cache: TokenCache
  readonly warnings: string[]
  /** How often the configuration and the outcome were looked at. */
  readonly looks: { stamps: number; reads: number }
  profile: Profile
  config: string
}

/** The memory of a process on that machine. */
function resident(m: Machine, store: Partial<Store> = {}): Resident {
  const outcomes = openOutcomes(
    stateDir({
      env: { TOKCTL_STATE_DIR: m.dir },
      platform: 'linux',
      uid: process.geteuid?.(),
    } as unknown as Environment),
    process.pid,
  )
  const manager = m.manager({
    async get(key) {
      made.looks.reads++
      const text = m.items.get(`${key.kind}/${key.name}`)
      return text === undefined ? undefined : new Secret(text)
    },
    ...store,
  })
  const warnings: string[] = []
  const made: Resident = {
    warnings,
    looks: { stamps: 0, reads: 0 },
    profile: corp,
    config: 'one',
    cache: createTokenCache({
      clock: m.clock,
      profile: async name => ({ ...made.profile, name }),
      managerOf: () => manager,
      timing: profile => ({
        refreshBeforeMs: profile.refresh_before_ms,
        minValidityMs: profile.min_validity_ms,
        jitter: () => 0,
      }),
      stamp(name) {
        made.looks.stamps++
        return { config: made.config, outcome: stampOf(join(m.dir, 'outcomes', `${name}.json`)) }
      },
      outcome: name => outcomes.read(name),
      warn: message => warnings.push(message),
      timeoutMs: 30_000,
    }),
  }
  return made
}

function held(): { answer: Promise<number>; release(ms: number): void; fail(error: Error): void } {
  let release!: (ms: number) => void
  let fail!: (error: Error) => void
  const answer = new Promise<number>((resolve, reject) => {
    release = resolve
    fail = reject
  })
  return { answer, release, fail }
}

async function text(cache: TokenCache, ask?: Parameters<TokenCache['get']>[1]): Promise<string> {
  return tokenOf(cache.get('corp', ask))
}

test('10,000 callers at once with nothing kept make one call, and all get its token', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(gate.answer)
  const callers = Array.from({ length: 10_000 }, () => cache.get('corp'))
  await m.clock.advance(500)
  gate.release(60 * minute)
  await m.clock.advance(500)
  const tokens = new Set(await Promise.all(callers))
  expect(tokens.size).toBe(1)
  expect([...tokens][0]!.accessToken.expose()).toBe('token-1')
  expect(m.fetches).toBe(1)
})

test('callers who wait share a failure too, and the next one after its pause asks again', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(gate.answer, 60 * minute)
  const callers = Array.from({ length: 100 }, () => cache.get('corp').catch(error => error))
  await m.clock.advance(500)
  gate.fail(down)
  await m.clock.advance(500)
  for (const error of await Promise.all(callers)) expect(error).toMatchObject({ code: 'server_error' })
  expect(m.fetches).toBe(1)
  await expect(cache.get('corp')).rejects.toMatchObject({ code: 'server_error' })
  expect(m.fetches).toBe(1)
  await m.clock.advance(1000)
  expect(await text(cache)).toBe('token-2')
})

test('a caller whose signal fires leaves alone, with its reason', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(gate.answer)
  const impatient = new AbortController()
  const first = cache.get('corp', { signal: impatient.signal })
  const others = Array.from({ length: 20 }, () => cache.get('corp', { signal: new AbortController().signal }))
  await m.clock.advance(500)
  impatient.abort(new Error('enough'))
  await expect(first).rejects.toThrow('enough')
  gate.release(60 * minute)
  await m.clock.advance(500)
  for (const other of await Promise.all(others)) expect(other.accessToken.expose()).toBe('token-1')
  expect(m.fetches).toBe(1)
})

test('a caller whose time is up leaves a refresh token that was sent, and whoever comes then gets what came of it', async () => {
  const m = machine()
  const { cache } = resident(m)
  m.answer(async (_, n) => {
    if (n > 1) await m.clock.sleep(45_000)
    const expiresAt = m.clock.now() + 60 * minute
    const token = { accessToken: new Secret(`token-${n}`), tokenType: 'Bearer', scope: undefined }
    return { ...token, obtainedAt: m.clock.now(), expiresAt, refreshToken: new Secret(`refresh-${n}`) }
  })
  expect(await text(cache)).toBe('token-1')
  await m.clock.advance(61 * minute)
  const impatient = cache.get('corp').catch(error => error)
  await m.clock.advance(31_000)
  expect(await impatient).toMatchObject({
    code: 'timeout',
    message: 'no token within 30s; its request goes on',
  })
  const next = text(cache)
  await m.clock.advance(14_000)
  expect(await next).toBe('token-2')
  expect(m.fetches).toBe(2)
})

test('a caller whose signal has fired already starts nothing', async () => {
  const m = machine()
  const { cache } = resident(m)
  await expect(cache.get('corp', { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone')
  await m.clock.advance(1000)
  expect(m.fetches).toBe(0)
})

test('a fresh token is served from memory: no store, no file, no promise', async () => {
  const m = machine()
  const { cache, looks } = resident(m)
  await cache.get('corp')
  const before = { ...looks }
  for (let i = 0; i < 100; i++) expect(cache.peek('corp')?.accessToken.expose()).toBe('token-1')
  expect(looks).toEqual(before)
})

test('files are looked at once a second, and not read while nobody wrote them', async () => {
  const m = machine()
  const { cache, looks } = resident(m)
  await cache.get('corp')
  await m.clock.advance(checkMs)
  // This process wrote the outcome itself, which still tells of the token in memory.
  cache.peek('corp')
  const before = { ...looks }
  for (let second = 1; second <= 5; second++) {
    await m.clock.advance(checkMs)
    for (let i = 0; i < 50; i++) expect(cache.peek('corp')).toBeDefined()
    expect(looks).toEqual({ stamps: before.stamps + second, reads: before.reads })
  }
})

test('while a renewal runs everyone is served the old token at once; then the new one, after one request', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(60 * minute, gate.answer)
  await cache.get('corp')
  await m.clock.advance(56 * minute)
  const served = await Promise.all(Array.from({ length: 1000 }, () => text(cache)))
  expect(new Set(served)).toEqual(new Set(['token-1']))
  await m.clock.advance(500)
  expect(m.fetches).toBe(2)
  expect(await text(cache)).toBe('token-1')
  gate.release(60 * minute)
  await m.clock.advance(0)
  expect(await text(cache)).toBe('token-2')
  expect(m.fetches).toBe(2)
})

test('the proxy sends the old token while a renewal runs, and the new one from then on', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(60 * minute, gate.answer)
  const upstream = await startUpstream((_, outgoing) => outgoing.end())
  const { port } = await proxyBefore(upstream.origin, cache)
  const ask = (): Promise<Response> => fetch(`http://127.0.0.1:${port}/`)
  await cache.get('corp')
  await m.clock.advance(56 * minute)
  await ask()
  await m.clock.advance(500)
  await ask()
  expect(m.fetches).toBe(2)
  gate.release(60 * minute)
  await m.clock.advance(0)
  await ask()
  expect(upstream.seen.map(({ headers }) => headers.authorization)).toEqual([
    'Bearer token-1',
    'Bearer token-1',
    'Bearer token-2',
  ])
  expect(m.fetches).toBe(2)
})

test('callers who come after the old token ran out wait for the renewal that runs', async () => {
  const m = machine()
  const { cache } = resident(m)
  const gate = held()
  m.answer(60 * minute, gate.answer)
  await cache.get('corp')
  await m.clock.advance(58.9 * minute)
  await cache.get('corp')
  await m.clock.advance(7000)
  const waiting = text(cache)
  await m.clock.advance(3000)
  gate.release(60 * minute)
  await m.clock.advance(500)
  expect(await waiting).toBe('token-2')
  expect(m.fetches).toBe(2)
})

test('a failed renewal leaves the old token in place, warns once, and is tried again after its pause', async () => {
  const m = machine()
  const { cache, warnings } = resident(m)
  const busy = new TokctlError('rate_limited', 'token endpoint answered 429', { retryAfterMs: 20_000 })
  m.answer(60 * minute, busy, 60 * minute)
  await cache.get('corp')
  await m.clock.advance(56 * minute)
  cache.peek('corp')
  await m.clock.advance(10)
  expect(m.fetches).toBe(2)
  for (let second = 0; second < 19; second++) {
    expect(await text(cache)).toBe('token-1')
    await m.clock.advance(1000)
  }
  expect(m.fetches).toBe(2)
  expect(warnings).toEqual(['using a token that expires in 4m; refresh failed: token endpoint answered 429'])
  await m.clock.advance(2000)
  expect(await text(cache)).toBe('token-1')
  await m.clock.advance(10)
  // The source gave nothing the second time.
  expect(await text(cache)).toBe('token-3')
  expect(m.fetches).toBe(3)
})

test('a forced call never gets the token that was there; ten at once make one request', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  const forced = await Promise.all(Array.from({ length: 10 }, () => text(cache, { force: true })))
  expect(new Set(forced)).toEqual(new Set(['token-2']))
  expect(m.fetches).toBe(2)
  expect(await text(cache)).toBe('token-2')
})

test('a caller who needs more life than is left gets a new token, and a shorter need is met from memory', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  await m.clock.advance(30 * minute)
  expect(await text(cache, { minValidityMs: 20 * minute })).toBe('token-1')
  expect(await text(cache, { minValidityMs: 40 * minute })).toBe('token-2')
  await expect(cache.get('corp', { minValidityMs: 61 * minute })).rejects.toMatchObject({
    code: 'lifetime_too_short',
  })
  expect(m.fetches).toBe(2)
})

test('a token that this process rejected is not served again, and not asked for twice', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  await cache.reject('corp', new Secret('token-1'))
  expect(cache.peek('corp')).toBeUndefined()
  expect(await text(cache)).toBe('token-2')
  await cache.reject('corp', new Secret('token-1'))
  expect(await text(cache)).toBe('token-2')
  expect(m.fetches).toBe(2)
})

test('a token that was read before it was rejected and arrives after is not kept', async () => {
  const m = machine()
  const { cache } = resident(m)
  await m.manager().get(corp)
  const reading = cache.get('corp')
  await cache.reject('corp', new Secret('token-1'))
  await reading
  expect(await text(cache)).toBe('token-2')
})

test.each<[name: string, elsewhere: (m: Machine) => Promise<unknown>, want: string]>([
  ['rejected', m => m.manager().reject(corp, new Secret('token-1'), 1000), 'token-2'],
  ['signed out', m => m.manager().logout(corp, 1000), 'token-2'],
  ['renewed', m => m.manager().get(corp, { force: true }), 'token-2'],
  [
    'refused',
    m =>
      m
        .manager()
        .get(corp, { force: true })
        .catch(() => {}),
    'token-1',
  ],
])('what another process %s is known here a second later', async (what, elsewhere, want) => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  await m.clock.advance(10)
  if (what === 'refused') m.answer(down)
  await elsewhere(m)
  expect(await text(cache)).toBe('token-1')
  await m.clock.advance(checkMs)
  const then = text(cache)
  await m.clock.advance(100)
  expect(await then).toBe(want)
})

test('a changed configuration is known a second later, and the token of the old one is not served', async () => {
  const m = machine()
  const made = resident(m)
  await made.cache.get('corp')
  made.profile = { ...corp, binding: 'b2' }
  made.config = 'two'
  await m.clock.advance(checkMs)
  expect(await text(made.cache)).toBe('token-2')
})

test('a token that the store would not take is served from memory all the same', async () => {
  const m = machine()
  const full = async (): Promise<void> => {
    throw new TokctlError('store_failed', 'the disk is full')
  }
  const { cache } = resident(m, { set: full })
  expect(await text(cache)).toBe('token-1')
  await m.clock.advance(5 * checkMs)
  expect(await text(cache)).toBe('token-1')
  expect([m.fetches, m.items.size, m.warnings]).toEqual([1, 0, ['the token is not kept: the disk is full']])
})

test('a token that lies on this machine is read where it lies, once a second', async () => {
  const m = machine()
  const made = resident(m)
  const lying: StaticProfile = {
    name: 'corp',
    source: 'static',
    token: { env: 'X' },
    match: [],
    binding: 'b1',
  }
  made.profile = lying
  expect(await text(made.cache)).toBe('token-1')
  expect(await text(made.cache)).toBe('token-1')
  await m.clock.advance(checkMs)
  expect(await text(made.cache)).toBe('token-2')
})

test('256 requests in flight with a revoked token get one new token between them', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  const replaced = Array.from({ length: 256 }, () => cache.replace('corp', new Secret('token-1')))
  await m.clock.advance(100)
  for (const token of await Promise.all(replaced)) expect(token?.accessToken.expose()).toBe('token-2')
  // One whose answer was late.
  expect((await cache.replace('corp', new Secret('token-1')))?.accessToken.expose()).toBe('token-2')
  expect(m.fetches).toBe(2)
})

test('a service that refuses the new token too gets no third one, until half a minute has passed', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  await cache.replace('corp', new Secret('token-1'))
  expect(cache.replace('corp', new Secret('token-2'))).toBeUndefined()
  expect(await text(cache)).toBe('token-2')
  await m.clock.advance(31_000)
  expect((await cache.replace('corp', new Secret('token-2')))?.accessToken.expose()).toBe('token-3')
  expect(m.fetches).toBe(3)
})

test('forgetting revokes, and the next call begins anew', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  await cache.forget('corp')
  expect(m.revoked).toEqual(['undefined token-1'])
  expect(m.items.size).toBe(0)
  expect(await text(cache)).toBe('token-2')
})

test('expired entries are dropped on a timer, and what another timer could not hold is cut', async () => {
  const m = machine()
  const { cache } = resident(m)
  const year = 365 * 24 * 60 * minute
  m.answer(year, 10 * minute)
  await cache.get('year')
  expect(m.clock.timers).toEqual([2_147_483_647])
  await cache.get('corp')
  expect(m.clock.timers).toEqual([10 * minute])
  await m.clock.advance(10 * minute)
  // What is left is the year, looked at again when the longest timer ends.
  expect(m.clock.timers).toEqual([2_147_483_647])
  expect(cache.peek('year')).toBeDefined()
  await m.clock.advance(year)
  expect(m.clock.timers).toEqual([])
})

test('a machine that slept past the expiry serves nothing that is over, whatever its timers did', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  // The wall clock goes on while the machine sleeps; what timers count does not.
  m.clock.set(m.clock.now() + 8 * 60 * minute)
  expect(cache.peek('corp')).toBeUndefined()
  expect(await text(cache)).toBe('token-2')
})

test.each<[name: string, byMs: number, fetches: number]>([
  ['by half an hour ahead: the token still lives', 30 * minute, 1],
  ['by a day ahead: it is over', 24 * 60 * minute, 2],
  ['by half a minute back', -0.5 * minute, 1],
  ['by a day back: how long it lives cannot be told', -24 * 60 * minute, 2],
])('a clock that is set %s', async (_, byMs, fetches) => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  m.clock.set(m.clock.now() + byMs)
  await text(cache)
  expect(m.fetches).toBe(fetches)
  await text(cache)
  expect(m.fetches).toBe(fetches)
})

test('what was cleared is read again, without a request', async () => {
  const m = machine()
  const { cache } = resident(m)
  await cache.get('corp')
  cache.clear()
  expect(m.clock.timers).toEqual([])
  expect(cache.peek('corp')).toBeUndefined()
  expect(await text(cache)).toBe('token-1')
  expect(m.fetches).toBe(1)
})
