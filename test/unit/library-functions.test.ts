import { inspect } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import {
  createTokctl,
  type SourceContext,
  type SourceToken,
  sourceFrom,
  TokctlError,
} from '../../src/index.ts'
import { processLock } from '../../src/library/process-lock.ts'
import { fakeClock } from '../support/clock.ts'

function tokens(fetch: (context: SourceContext, n: number) => Promise<SourceToken>, options = {}) {
  let n = 0
  const made = createTokctl({ sources: sourceFrom(context => fetch(context, ++n)), ...options })
  onTestFinished(() => made.close())
  return made
}

const given = async (_: SourceContext, n: number): Promise<SourceToken> => ({
  accessToken: `t${n}`,
  expiresInMs: 3_600_000,
})

test('a function is told the key, and every key has a token of its own', async () => {
  const made = tokens(async ({ profile }) => ({
    accessToken: `${profile}-token`,
    tokenType: 'bot',
    scope: 'a b',
  }))
  expect((await made.get('one')).accessToken).toBe('one-token')
  expect(await made.get('two')).toMatchObject({
    accessToken: 'two-token',
    tokenType: 'bot',
    scope: 'a b',
    expiresAt: undefined,
  })
})

test('10,000 calls at once are one call of the function, and later ones none', async () => {
  let calls = 0
  const made = tokens(async () => ({ accessToken: `t${++calls}` }))
  const all = await Promise.all(Array.from({ length: 10_000 }, () => made.get('a')))
  expect(new Set(all.map(token => token.accessToken))).toEqual(new Set(['t1']))
  expect((await made.get('a')).accessToken).toBe('t1')
  expect(calls).toBe(1)
})

test('neither JSON nor inspection shows the token', async () => {
  const token = await tokens(given).get('a')
  expect(
    `${JSON.stringify(token)}${inspect(token, { showHidden: true, getters: true, depth: 9 })}`,
  ).not.toContain('t1')
})

test('force and reject lead to a new call, and a token that was rejected is not taken again', async () => {
  const made = tokens(given)
  expect((await made.get('a')).accessToken).toBe('t1')
  expect((await made.get('a', { force: true })).accessToken).toBe('t2')
  await made.reject('a', await made.get('a'))
  expect((await made.get('a')).accessToken).toBe('t3')
  const stubborn = tokens(async () => ({ accessToken: 'same' }))
  await stubborn.reject('a', (await stubborn.get('a')).accessToken)
  await expect(stubborn.get('a')).rejects.toMatchObject({ code: 'token_rejected' })
})

test('forgetting leads to a new call', async () => {
  const made = tokens(given)
  await made.get('a')
  await made.forget('a')
  expect((await made.get('a')).accessToken).toBe('t2')
})

test('a TokctlError is the answer as it is, and is remembered as its code says', async () => {
  let calls = 0
  const made = tokens(async () => {
    calls++
    throw new TokctlError('rate_limited', 'come back later', { retryAfterMs: 60_000 })
  })
  await expect(made.get('a')).rejects.toMatchObject({ code: 'rate_limited', message: 'come back later' })
  await expect(made.get('a')).rejects.toMatchObject({ code: 'rate_limited' })
  expect(calls).toBe(1)
})

test.each<[name: string, token: unknown, message: RegExp]>([
  ['nothing', undefined, /gave no accessToken/],
  ['a token with a line break', { accessToken: 'a\nb' }, /gave no accessToken/],
  [
    'a lifetime that is no number',
    { accessToken: 'a', expiresInMs: '5' },
    /gave an expiresInMs that is no number/,
  ],
])('a function that gives %s has failed', async (_, token, message) => {
  const failure = tokens(async () => token as SourceToken).get('a')
  await expect(failure).rejects.toMatchObject({
    code: 'command_failed',
    message: expect.stringMatching(message),
  })
})

test('a function that never ends is left behind when time is up, and told so', async () => {
  let told: AbortSignal | undefined
  const made = tokens(
    ({ signal }) => {
      told = signal
      return new Promise(() => {})
    },
    { timeoutMs: 20 },
  )
  await expect(made.get('a')).rejects.toMatchObject({ code: 'timeout' })
  expect(told?.aborted).toBe(true)
})

test.each<[options: object, message: RegExp]>([
  [{ store: 'nope' }, /^store must be "auto", "keychain", "file" or "memory"$/],
  [{ config: 5 }, /^config must be a path$/],
  [{ timeoutMs: Number.NaN }, /^timeoutMs must be a number of milliseconds, not below 0$/],
])('an option that is none of what it may be is refused: %j', (options, message) => {
  expect(() => createTokctl(options)).toThrow(expect.objectContaining({ code: 'usage' }))
  expect(() => createTokctl(options)).toThrow(message)
})

test.each([Number.NaN, -1, '5'])('minValidityMs %j is refused, and serves nothing', async minValidityMs => {
  const tokens = createTokctl({ sources: sourceFrom(async () => ({ accessToken: 't', expiresInMs: 1000 })) })
  await tokens.get('a')
  const refused = tokens.get('a', { minValidityMs: minValidityMs as number })
  await expect(refused).rejects.toMatchObject({
    code: 'usage',
    message: 'minValidityMs must be a number of milliseconds, not below 0',
  })
})

test('a key that no function has is a profile of the configuration', async () => {
  const made = createTokctl({ config: '/nowhere/config.toml', sources: { a: sourceFrom(c => given(c, 1)) } })
  onTestFinished(() => made.close())
  expect((await made.get('a')).accessToken).toBe('t1')
  await expect(made.get('b')).rejects.toMatchObject({ code: 'config_not_found' })
  await expect(made.get('toString')).rejects.toMatchObject({ code: 'config_not_found' })
})

const wait = { purpose: 'refresh', timeoutMs: 1000, signal: undefined } as const

test('the lock of a process lets one in after the other, and tells who holds it', async () => {
  const clock = fakeClock()
  const lock = processLock(clock, 7)
  const log: string[] = []
  let free!: () => void
  const holding = lock.withLock('a', wait, async () => {
    log.push('first')
    await new Promise<void>(resolve => {
      free = resolve
    })
  })
  const waiting = lock.withLock(
    'a',
    { ...wait, onWait: holder => log.push(`${holder?.pid} ${holder?.purpose}`) },
    async last => log.push(`second after ${last?.purpose}, released: ${last?.released}`),
  )
  await lock.withLock('b', wait, async () => log.push('another key'))
  await clock.advance(10)
  free()
  await Promise.all([holding, waiting])
  expect(log).toEqual(['first', '7 refresh', 'another key', 'second after refresh, released: true'])
  expect(clock.sleepers).toBe(0)
})

test('the lock of a process is waited for no longer than was said, and freed by a failure', async () => {
  const clock = fakeClock()
  const lock = processLock(clock, 7)
  let fail!: (error: Error) => void
  const holding = lock.withLock('a', wait, () => new Promise<void>((_, reject) => (fail = reject)))
  const late = lock.withLock('a', wait, async () => 'in')
  await clock.advance(1000)
  expect(await late).toMatchObject({ kind: 'timeout', holder: { pid: 7 } })
  const leave = new AbortController()
  const left = lock.withLock('a', { ...wait, signal: leave.signal }, async () => 'in')
  leave.abort(new Error('enough'))
  await expect(left).rejects.toThrow('enough')
  fail(new Error('broken'))
  await expect(holding).rejects.toThrow('broken')
  expect(await lock.withLock('a', wait, async () => 'in')).toEqual({ kind: 'held', value: 'in' })
})
