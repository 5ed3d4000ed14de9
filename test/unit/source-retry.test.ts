import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { retry } from '../../src/source/retry.ts'
import { createSource } from '../../src/source/sources.ts'
import { type HttpResponse, TransportError } from '../../src/source/transport.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const token = jsonAnswer({ access_token: 'token-1', expires_in: 60 })
const reset = new TransportError(
  'network_error',
  'idp.example.com closed the connection without an answer',
  true,
)
const unconnected = new TransportError('timeout', 'idp.example.com cannot be connected to within 10 s', true)
const untrusted = new TransportError('network_error', 'certificate of idp.example.com has expired', false)
const unavailable = (headers = {}): HttpResponse =>
  jsonAnswer({ error: 'temporarily_unavailable' }, 503, headers)
const limited = (headers = {}): HttpResponse => jsonAnswer('', 429, headers)

/** Runs the clock for as long as somebody sleeps; tells how long that was. */
async function toTheEnd<T>(
  clock: FakeClock,
  promise: Promise<T>,
): Promise<{ value?: T; error?: TokctlError; tookMs: number }> {
  const startedAt = clock.monotonic()
  let done = false
  const settled = promise.then(
    value => ({ value }),
    error => ({ error }),
  )
  void settled.then(() => {
    done = true
  })
  while (!done) await clock.advance(done ? 0 : 10)
  const tookMs = clock.monotonic() - startedAt
  return { ...(await settled), tookMs }
}

async function fetchWith(answers: (HttpResponse | Error)[], timeoutMs = 30_000) {
  const clock = fakeClock()
  const { send, requests } = scriptedSend(...answers)
  const source = await createSource(clientProfile(), sourcePorts({ clock, send, secrets: { SECRET: 's' } }))
  const outcome = await toTheEnd(clock, source.fetch({ timeoutMs, signal: undefined }))
  return { ...outcome, requests }
}

const mends: [name: string, answers: (HttpResponse | Error)[], min: number, max: number][] = [
  ['one reset', [reset, token], 125, 385],
  ['a connection that timed out', [unconnected, token], 125, 385],
  ['one 503', [unavailable(), token], 125, 385],
  ['one 429', [limited(), token], 125, 385],
  ['a 502 of a gateway', [jsonAnswer('<html>', 502), token], 125, 385],
  ['two failures, the pause growing', [reset, unavailable(), token], 625, 1890],
  ['Retry-After of 2 s', [unavailable({ 'retry-after': '2' }), token], 2000, 2020],
  ['Retry-After of 5 s', [limited({ 'retry-after': '5' }), token], 5000, 5020],
]
test.each(mends)('asks again after %s', async (_, answers, min, max) => {
  const { value, tookMs, requests } = await fetchWith(answers)
  expect(value?.accessToken.expose()).toBe('token-1')
  expect(requests).toHaveLength(answers.length)
  expect(tookMs).toBeGreaterThanOrEqual(min)
  expect(tookMs).toBeLessThanOrEqual(max)
})

const ends: [
  name: string,
  answers: (HttpResponse | Error)[],
  timeoutMs: number,
  want: Partial<TokctlError>,
][] = [
  ['three failures', [reset, reset, unavailable()], 30_000, { code: 'server_error' }],
  [
    'Retry-After of 6 s, at once',
    [unavailable({ 'retry-after': '6' })],
    30_000,
    { code: 'server_error', retryAfterMs: 6000 },
  ],
  [
    'Retry-After of 2 s with 1.5 s left',
    [limited({ 'retry-after': '2' })],
    1500,
    { code: 'rate_limited', retryAfterMs: 2000 },
  ],
  ['a pause longer than what is left', [reset], 100, { code: 'network_error' }],
  ['a certificate that is not trusted', [untrusted], 30_000, { code: 'network_error' }],
  ['a refusal', [jsonAnswer({ error: 'invalid_client' }, 401)], 30_000, { code: 'invalid_client' }],
  ['an answer that cannot be used', [jsonAnswer('{}')], 30_000, { code: 'invalid_response' }],
]
test.each(ends)('gives up after %s', async (_, answers, timeoutMs, want) => {
  const { error, requests } = await fetchWith(answers, timeoutMs)
  expect(error).toMatchObject(want)
  expect(requests).toHaveLength(answers.length)
})

test('does not ask again when the whole time has passed', async () => {
  const clock = fakeClock()
  let asked = 0
  const budget = { clock, signal: undefined, deadline: 30_000 }
  const outcome = toTheEnd(
    clock,
    retry(
      budget,
      async timeoutMs => {
        asked++
        await clock.sleep(timeoutMs)
        throw new TransportError('timeout', 'idp.example.com did not answer within 30 s', true)
      },
      () => {},
    ),
  )
  expect((await outcome).error).toMatchObject({
    code: 'timeout',
    message: 'idp.example.com did not answer within 30 s',
  })
  expect(asked).toBe(1)
})

test('each attempt gets what is left of one deadline', async () => {
  const { requests } = await fetchWith([reset, unavailable({ 'retry-after': '2' }), token], 10_000)
  const [first = 0, second = 0, third = 0] = requests.map(request => request.timeoutMs)
  expect(first).toBe(10_000)
  expect(second).toBeLessThanOrEqual(10_000 - 125)
  expect(Math.floor(third)).toBeLessThanOrEqual(Math.floor(second - 2000))
})

test('the pause is about a quarter of a second and then about one, give or take half', async () => {
  for (const [random, pauses] of [
    [0, [125, 500]],
    [0.5, [250, 1000]],
    [0.999, [374.75, 1499]],
  ] as const) {
    const slept: number[] = []
    const clock = { now: () => 0, monotonic: () => 0, sleep: async (ms: number) => void slept.push(ms) }
    const budget = { clock, signal: undefined, deadline: 30_000 }
    const failing = retry(
      budget,
      async () => {
        throw reset
      },
      () => {},
      { random: () => random },
    )
    await expect(failing).rejects.toBe(reset)
    expect(slept).toEqual(pauses)
  }
})

test('a caller that leaves during a pause leaves at once, with its own reason', async () => {
  const clock = fakeClock()
  const leaving = new AbortController()
  const { send, requests } = scriptedSend(reset, token)
  const source = await createSource(clientProfile(), sourcePorts({ clock, send, secrets: { SECRET: 's' } }))
  const fetched = source.fetch({ timeoutMs: 30_000, signal: leaving.signal })
  const caught = fetched.catch((error: unknown) => error)
  await clock.advance(1)
  const reason = new TokctlError('interrupted', 'interrupted')
  leaving.abort(reason)
  expect(await caught).toBe(reason)
  expect(requests).toHaveLength(1)
})

test('nothing is asked once no time is left', async () => {
  const { error, requests } = await fetchWith([token], 0)
  expect(error).toMatchObject({ code: 'timeout', message: 'no time is left to ask for a token' })
  expect(requests).toEqual([])
})

test('says what it waits for, for --verbose', async () => {
  const traced: string[] = []
  const clock = fakeClock()
  const { send } = scriptedSend(unavailable({ 'retry-after': '2' }), token)
  const ports = sourcePorts({ clock, send, secrets: { SECRET: 's' }, trace: line => traced.push(line) })
  await toTheEnd(
    clock,
    (await createSource(clientProfile(), ports)).fetch({ timeoutMs: 30_000, signal: undefined }),
  )
  expect(traced).toEqual([
    'token endpoint idp.example.com answered 503 (temporarily_unavailable); asking again in 2000 ms',
  ])
})
