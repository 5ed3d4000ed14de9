import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Profile, StaticProfile } from '../../src/profile/profile.ts'
import { corp, machine, minute, tokenOf } from '../support/machine.ts'

const down = new TokctlError('server_error', 'token endpoint answered 503')
const refused = new TokctlError('invalid_client', 'token endpoint refused the client (invalid_client)')

test('a hit takes no lock, asks no source and writes nothing', async () => {
  const m = machine()
  await m.manager().get(corp)
  const before = { opened: { ...m.opened }, files: readdirSync(m.dir, { recursive: true }) }
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  expect({ opened: m.opened, files: readdirSync(m.dir, { recursive: true }) }).toEqual(before)
})

test('forty managers with nothing kept make one request, and all get its token', async () => {
  const m = machine()
  let release!: (ms: number) => void
  m.answer(new Promise(resolve => (release = resolve)))
  const callers = Array.from({ length: 40 }, () => tokenOf(m.manager().get(corp)))
  await m.clock.advance(500)
  expect(m.fetches).toBe(1)
  release(60 * minute)
  await m.clock.advance(500)
  expect(new Set(await Promise.all(callers))).toEqual(new Set(['token-1']))
  expect(m.fetches).toBe(1)
})

test('forty who wait while the request fails get that failure, and nobody asks again', async () => {
  const m = machine()
  let release!: (error: Error) => void
  m.answer(new Promise<number>((_, reject) => (release = reject)))
  const callers = Array.from({ length: 40 }, () =>
    m
      .manager()
      .get(corp)
      .catch(error => error),
  )
  await m.clock.advance(500)
  release(down)
  await m.clock.advance(500)
  for (const error of await Promise.all(callers)) {
    expect(error).toMatchObject({ code: 'server_error', profile: 'corp' })
    expect(error.message).toContain('token endpoint answered 503')
  }
  expect(m.fetches).toBe(1)
})

test('callers in one process share a flight', async () => {
  const m = machine()
  const one = m.manager()
  const got = await Promise.all(Array.from({ length: 100 }, () => tokenOf(one.get(corp))))
  expect(new Set(got)).toEqual(new Set(['token-1']))
  expect(m.opened.lock).toBe(1)
})

test('a temporary failure is answered from memory while its pause lasts, and the pauses grow to a minute', async () => {
  const m = machine()
  m.answer(down)
  const pauses: number[] = []
  for (let attempt = 1; attempt <= 9; attempt++) {
    await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'server_error' })
    expect(m.fetches).toBe(attempt)
    const error = await m
      .manager()
      .get(corp)
      .catch(e => e)
    expect(m.fetches).toBe(attempt)
    pauses.push(error.retryAfterMs)
    await m.clock.advance(error.retryAfterMs)
  }
  expect(pauses[0]).toBe(1000)
  for (const [i, pause] of pauses.entries()) {
    expect(pause).toBeGreaterThanOrEqual(Math.min(60_000, 1000 * 2 ** i) * 0.75)
    expect(pause).toBeLessThanOrEqual(Math.min(60_000, 1000 * 2 ** i))
  }
})

test('a remembered failure says when it happened and when the next attempt is', async () => {
  const m = machine()
  m.answer(new TokctlError('rate_limited', 'token endpoint answered 429', { retryAfterMs: 30_000 }))
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  await m.clock.advance(10_000)
  await expect(m.manager().get(corp)).rejects.toMatchObject({
    code: 'rate_limited',
    message: 'token endpoint answered 429 (10s ago; the next attempt is in 20s)',
    retryAfterMs: 20_000,
  })
  await m.clock.advance(20_000)
  m.answer(60 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a failure that does not mend by itself is remembered until it is forced, and says how', async () => {
  const m = machine()
  m.answer(refused)
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  await m.clock.advance(30 * 86_400_000)
  await expect(m.manager().get(corp)).rejects.toMatchObject({
    code: 'invalid_client',
    hint: 'run: tokctl refresh corp',
  })
  expect(m.fetches).toBe(1)
  m.answer(60 * minute)
  expect(await tokenOf(m.manager().get(corp, { force: true }))).toBe('token-2')
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a failure that does not mend by itself ends with a change of configuration', async () => {
  const m = machine()
  m.answer(refused)
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  m.answer(60 * minute)
  expect(await tokenOf(m.manager().get({ ...corp, binding: 'b2' }))).toBe('token-2')
})

test('a failure that depends on the caller alone is told to nobody else', async () => {
  const m = machine()
  m.answer(new TokctlError('secret_unresolved', 'variable T is not set'), 60 * minute)
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'secret_unresolved' })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a bug in a source is told to nobody else', async () => {
  const m = machine()
  m.answer(new RangeError('bug'), 60 * minute)
  await expect(m.manager().get(corp)).rejects.toThrow(RangeError)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a stale token is served at once, and one renewal is started, by one of all', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(56 * minute)
  for (let i = 0; i < 10; i++) expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  expect(m.renewals).toEqual(['corp'])
  expect(m.fetches).toBe(1)
})

test('a renewal that never came is started again after ten seconds', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(56 * minute)
  await m.manager().get(corp)
  await m.clock.advance(9000)
  await m.manager().get(corp)
  expect(m.renewals).toHaveLength(1)
  await m.clock.advance(1000)
  await m.manager().get(corp)
  expect(m.renewals).toHaveLength(2)
})

test('no renewal is started while one runs', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(56 * minute)
  let release!: (ms: number) => void
  m.answer(new Promise(resolve => (release = resolve)))
  const renewal = m.manager().get(corp, { renew: true })
  await m.clock.advance(0)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  expect(m.renewals).toEqual([])
  release(60 * minute)
  await renewal
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a renewal that fails while the token is valid leaves it served, with one warning', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(56 * minute)
  m.answer(down)
  await m
    .manager()
    .get(corp, { renew: true })
    .catch(() => {})
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  expect(m.warnings).toEqual([
    'using a token that expires in 4m; refresh failed: token endpoint answered 503',
  ])
  expect(m.renewals).toEqual([])
})

test('ten forced calls at once make one request, and none takes the old token', async () => {
  const m = machine()
  await m.manager().get(corp)
  let release!: (ms: number) => void
  m.answer(new Promise(resolve => (release = resolve)))
  const forced = Array.from({ length: 10 }, () => tokenOf(m.manager().get(corp, { force: true })))
  await m.clock.advance(500)
  release(60 * minute)
  await m.clock.advance(500)
  expect(new Set(await Promise.all(forced))).toEqual(new Set(['token-2']))
  expect(m.fetches).toBe(2)
})

test('a forced call fails when its attempt fails, even while the old token is valid', async () => {
  const m = machine()
  await m.manager().get(corp)
  m.answer(down)
  await expect(m.manager().get(corp, { force: true })).rejects.toMatchObject({ code: 'server_error' })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
})

test('a forced call that comes after an attempt has ended makes its own', async () => {
  const m = machine()
  await m.manager().get(corp, { force: true })
  await m.manager().get(corp, { force: true })
  expect(m.fetches).toBe(2)
})

test('a token is bound to what shaped it: another binding is not served it', async () => {
  const m = machine()
  await m.manager().get(corp)
  const other: Profile = { ...corp, binding: 'b2' }
  expect(await tokenOf(m.manager().get(other))).toBe('token-2')
})

test('a rejected token is not served again, and a source that gives it again is not believed', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.manager().reject(corp, new Secret('token-1'), 1000)
  await expect(m.manager().get(corp, { cached: true })).rejects.toMatchObject({ code: 'not_cached' })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  await m.manager().reject(corp, new Secret('token-2'), 1000)
  expect(readFileSync(join(m.dir, 'outcomes', 'corp.json'), 'utf8')).not.toContain('expires_at')
})

test('a rejected token that is not the kept one changes nothing', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.manager().reject(corp, new Secret('token-0'), 1000)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
})

test('a source that gives a rejected token again is refused, whichever of the last it is', async () => {
  const m = machine()
  for (const n of [1, 2, 3]) await m.manager().reject(corp, new Secret(`token-${n}`), 1000)
  for (const n of [1, 2, 3]) {
    await expect(m.manager().get(corp, { force: true })).rejects.toMatchObject({
      code: 'token_rejected',
      message: 'the source gave the token that was rejected before',
    })
    expect(m.fetches).toBe(n)
  }
  expect(await tokenOf(m.manager().get(corp, { force: true }))).toBe('token-4')
})

test('a rejected token stays rejected when another configuration wrote the record in between', async () => {
  const m = machine()
  await m.manager().get(corp)
  await m.manager().reject(corp, new Secret('token-2'), 1000)
  await m
    .manager()
    .get({ ...corp, binding: 'b2' })
    .catch(() => {})
  const record = JSON.parse(m.items.get('profile/corp')!)
  expect(record.rejected).toEqual([createHash('sha256').update('token-2').digest('hex')])
})

test('a token that lies on this machine is read where it lies, so a new one is served at once', async () => {
  const m = machine()
  const local: StaticProfile = {
    name: 'corp',
    source: 'static',
    token: { env: 'T' },
    match: [],
    binding: 'b1',
  }
  expect(await tokenOf(m.manager().get(local))).toBe('token-1')
  expect(await tokenOf(m.manager().get(local))).toBe('token-2')
  expect([...m.items.keys()]).toEqual([])
  await m.manager().reject(local, new Secret('token-3'), 1000)
  await expect(m.manager().get(local)).rejects.toMatchObject({ code: 'token_rejected' })
  expect(await tokenOf(m.manager().get(local))).toBe('token-4')
  const asked: StaticProfile = { ...local, token: { command: ['op', 'read', 'x'] } }
  await m.manager().get(asked)
  expect(await tokenOf(m.manager().get(asked))).toBe('token-5')
})

test('a secret’s program that fails is the answer of those who wait, and of nobody later', async () => {
  const m = machine()
  let fail!: (error: Error) => void
  m.answer(new Promise<number>((_, reject) => (fail = reject)), 60 * minute)
  const callers = Array.from({ length: 6 }, () =>
    m
      .manager()
      .get(corp)
      .catch(e => e),
  )
  await m.clock.advance(500)
  fail(new TokctlError('secret_command_failed', 'op read ended with exit code 1'))
  await m.clock.advance(500)
  for (const error of await Promise.all(callers))
    expect(error).toMatchObject({ code: 'secret_command_failed' })
  expect(m.fetches).toBe(1)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('what auto took is recorded at the first write alone, and a store chosen by name for once does not change it', async () => {
  const m = machine()
  const recorded = (): object => JSON.parse(readFileSync(join(m.dir, 'outcomes', 'corp.json'), 'utf8'))
  m.answer(down, 60 * minute)
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  expect(recorded()).not.toHaveProperty('auto')
  await m.manager({ kind: 'keychain' }).get(corp, { force: true })
  expect(recorded()).toMatchObject({ auto: 'keychain', store: 'keychain' })
  m.auto(false)
  await m.manager({ kind: 'file' }).get(corp, { force: true })
  expect(recorded()).toMatchObject({ auto: 'keychain', store: 'file' })
  m.answer(down)
  await m
    .manager({ kind: 'file' })
    .get(corp, { force: true })
    .catch(() => {})
  expect(recorded()).toMatchObject({ auto: 'keychain', store: 'file' })
})

test('a renewal that has ended does not keep the next one from starting, however short tokens live', async () => {
  const m = machine()
  m.answer(6000)
  await m.manager().get(corp)
  for (let n = 1; n <= 3; n++) {
    await m.clock.advance(5000)
    await m.manager().get(corp)
    expect(m.renewals).toHaveLength(n)
    await m.clock.advance(1)
    await m.manager().get(corp, { renew: true })
  }
})

test('a store that cannot be written costs a warning, not the token', async () => {
  const m = machine()
  const full = { set: () => Promise.reject(new TokctlError('store_failed', 'no space left')) }
  expect(await tokenOf(m.manager(full).get(corp))).toBe('token-1')
  expect(m.warnings).toEqual(['the token is not kept: no space left'])
})

test('a store that cannot be read fails before anything is asked', async () => {
  const m = machine()
  const locked = { get: () => Promise.reject(new TokctlError('store_locked', 'the keychain is locked')) }
  await expect(m.manager(locked).get(corp)).rejects.toMatchObject({ code: 'store_locked' })
  expect(m.fetches).toBe(0)
})

test('a store that only this process sees needs no lock and leaves no trace', async () => {
  const m = machine()
  expect(await tokenOf(m.manager({ shared: false }).get(corp))).toBe('token-1')
  expect(m.opened.lock).toBe(0)
  expect(readdirSync(m.dir)).toEqual([])
})

test('who waits for a holder that does not end gives up in its own time and names it', async () => {
  const m = machine()
  m.answer(new Promise(() => {}))
  void m.manager().get(corp, { timeoutMs: 60_000 })
  await m.clock.advance(0)
  const waiter = m
    .manager()
    .get(corp, { timeoutMs: 2000 })
    .catch(e => e)
  await m.clock.advance(2000)
  expect(await waiter).toMatchObject({
    code: 'lock_timeout',
    message: `profile "corp" is being renewed by process ${process.pid}, which did not finish within 2s`,
  })
  expect(m.fetches).toBe(1)
})

test('a source that does not end is left behind when the time of the call is over', async () => {
  const m = machine()
  m.answer(new Promise(() => {}))
  const caller = m
    .manager()
    .get(corp, { timeoutMs: 2000 })
    .catch(e => e)
  await m.clock.advance(2500)
  expect(await caller).toMatchObject({ code: 'timeout', message: 'the source gave no token within 2s' })
  expect(m.clock.sleepers).toBe(0)
})

test.each([
  ['nothing in it', ''],
  ['half a line', '{"etag":"a","bind'],
  ['another shape', '[1,2]'],
  ['no etag', '{"binding":"b1","store":"file"}'],
  [
    'an unknown failure',
    '{"etag":"a","binding":"b1","store":"file","failure":{"code":"constructor","message":"m","at":1,"until":"changed"}}',
  ],
])('an outcome file with %s is no outcome', async (_, content) => {
  const m = machine()
  await m.manager().get(corp)
  await m.clock.advance(90 * minute)
  writeFileSync(join(m.dir, 'outcomes', 'corp.json'), content)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a record that another program wrote is nothing kept, and one of a newer tokctl is left alone', async () => {
  const m = machine()
  m.items.set('profile/corp', 'hello')
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  m.items.set('profile/corp', JSON.stringify({ v: 2, anything: true }))
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'store_failed', hint: 'upgrade tokctl' })
  expect(JSON.parse(m.items.get('profile/corp')!)).toEqual({ v: 2, anything: true })
})
