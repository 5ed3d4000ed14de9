import * as jose from 'jose'
import { beforeAll, expect, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { GithubAppProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { type HttpRequest, type HttpResponse, TransportError } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { githubAppProfile } from '../support/profiles.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const now = 1_800_000_000
const made = jsonAnswer({ token: 'ghs_1', expires_at: '2027-01-15T09:00:00Z', permissions: {} }, 201)

let publicKey: jose.CryptoKey
let pem: string
beforeAll(async () => {
  const pair = await jose.generateKeyPair('RS256', { extractable: true })
  publicKey = pair.publicKey
  pem = await jose.exportPKCS8(pair.privateKey)
})

async function fetchWith(answers: (HttpResponse | Error)[], given: Partial<GithubAppProfile> = {}) {
  const { send, requests } = scriptedSend(...answers)
  const clock = { ...fakeClock(now * 1000), sleep: async () => {} }
  const source = await createSource(
    githubAppProfile(given),
    sourcePorts({ clock, send, secrets: { KEY: pem } }),
  )
  const outcome = await source.fetch({ timeoutMs: 30_000, signal: undefined }).then(
    token => ({ token }),
    (error: TokctlError) => ({ error }),
  )
  return { ...outcome, requests } as { token?: Token; error?: TokctlError; requests: readonly HttpRequest[] }
}

const jwtOf = (request: HttpRequest | undefined): string =>
  request?.headers['authorization']?.replace('Bearer ', '') ?? ''

test('asks as the app for a token of its installation', async () => {
  const { token, requests } = await fetchWith([made])
  expect(requests[0]).toMatchObject({
    method: 'POST',
    url: 'https://api.github.com/app/installations/42/access_tokens',
    body: undefined,
  })
  expect(requests[0]?.headers).toEqual({
    accept: 'application/vnd.github+json',
    authorization: expect.stringMatching(/^Bearer /),
    'user-agent': 'tokctl',
    'x-github-api-version': '2022-11-28',
  })
  const { payload, protectedHeader } = await jose.jwtVerify(jwtOf(requests[0]), publicKey, {
    currentDate: new Date(now * 1000),
  })
  expect(protectedHeader).toEqual({ alg: 'RS256', typ: 'JWT' })
  expect(payload).toEqual({ iss: 'Iv1.abc', iat: now - 60, exp: now + 300 })
  expect(token).toMatchObject({ tokenType: 'Bearer', scope: undefined, refreshToken: undefined })
  expect(token?.accessToken.expose()).toBe('ghs_1')
  expect(token?.expiresAt).toBe((now + 3600) * 1000)
})

test('asks for some repositories and permissions alone, by the number of the app, at a server of one’s own', async () => {
  const { client_id: _, ...profile } = githubAppProfile()
  const { send, requests } = scriptedSend(made)
  const given = {
    ...profile,
    app_id: '123',
    api_url: 'https://git.example.com/api/v3',
    repositories: ['a', 'b'],
    permissions: { contents: 'read' },
  }
  const ports = sourcePorts({ clock: fakeClock(now * 1000), send, secrets: { KEY: pem } })
  await (await createSource(given, ports)).fetch({ timeoutMs: 1000, signal: undefined })
  expect(requests[0]?.url).toBe('https://git.example.com/api/v3/app/installations/42/access_tokens')
  expect(JSON.parse(requests[0]?.body ?? '')).toEqual({
    repositories: ['a', 'b'],
    permissions: { contents: 'read' },
  })
  expect(requests[0]?.headers['content-type']).toBe('application/json')
  expect(jose.decodeJwt(jwtOf(requests[0])).iss).toBe('123')
})

const failures: [name: string, answer: HttpResponse, want: Partial<TokctlError>][] = [
  [
    'a key it does not know',
    jsonAnswer({ message: 'A JSON web token could not be decoded' }, 401),
    {
      code: 'invalid_client',
      message: 'GitHub at api.github.com answered 401: A JSON web token could not be decoded',
      hint: 'check private_key, and client_id or app_id, of the profile',
    },
  ],
  [
    'an unknown installation',
    jsonAnswer({ message: 'Not Found' }, 404),
    {
      code: 'request_refused',
      message: 'GitHub at api.github.com answered 404: Not Found',
      hint: 'check installation_id of the profile, and that the app is still installed there',
    },
  ],
  [
    'permissions it was not given',
    jsonAnswer({ message: 'The permissions requested are not granted to this installation.' }, 422),
    {
      code: 'invalid_scope',
      hint: 'check repositories and permissions of the profile against what the app was given',
    },
  ],
  [
    'a suspended installation',
    jsonAnswer({ message: 'This installation has been suspended' }, 403),
    {
      code: 'request_refused',
      message: 'GitHub at api.github.com answered 403: This installation has been suspended',
    },
  ],
  [
    'a secondary limit',
    jsonAnswer({ message: 'You have exceeded a secondary rate limit' }, 403, { 'retry-after': '60' }),
    { code: 'rate_limited', retryAfterMs: 60_000 },
  ],
  [
    'the limit of the hour',
    jsonAnswer({ message: 'API rate limit exceeded' }, 403, {
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(now + 600),
    }),
    { code: 'rate_limited', retryAfterMs: 600_000 },
  ],
  [
    'the limit of the hour, by a clock that is ahead',
    jsonAnswer({}, 429, {
      date: new Date((now + 300) * 1000).toUTCString(),
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(now + 600),
    }),
    { code: 'rate_limited', retryAfterMs: 300_000 },
  ],
  [
    'a limit that is reset long from now',
    jsonAnswer({}, 429, { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '99999999999' }),
    { code: 'rate_limited', retryAfterMs: 3_600_000 },
  ],
]
test.each(failures)('says what to do about %s', async (_, answer, want) => {
  const { error, requests } = await fetchWith([answer])
  expect(requests).toHaveLength(1)
  expect(error).toMatchObject(want)
})

test('asks again where the way or the service fails, with a signature of its own', async () => {
  const reset = new TransportError('network_error', 'closed', true)
  const { token, requests } = await fetchWith([reset, jsonAnswer('', 502), made])
  expect(token?.accessToken.expose()).toBe('ghs_1')
  expect(requests).toHaveLength(3)
})

test('signs again with GitHub’s time where the clocks differ, once', async () => {
  const date = new Date((now - 900) * 1000).toUTCString()
  const refused = jsonAnswer({ message: "'Issued at' claim ('iat') must be in the past" }, 401, { date })
  const { token, requests } = await fetchWith([refused, made])
  expect(token?.accessToken.expose()).toBe('ghs_1')
  expect(requests.map(request => jose.decodeJwt(jwtOf(request)).iat)).toEqual([now - 60, now - 960])
  const { error, requests: twice } = await fetchWith([refused, refused])
  expect(twice).toHaveLength(2)
  expect(error?.code).toBe('invalid_client')
})

test('needs an app', async () => {
  const { client_id: _, ...profile } = githubAppProfile()
  const source = await createSource(profile, sourcePorts({ secrets: { KEY: pem } }))
  await expect(source.fetch({ timeoutMs: 1000, signal: undefined })).rejects.toMatchObject({
    code: 'config_invalid',
    message: 'source github_app needs client_id or app_id',
  })
})

test('an installation is a part of the path, whatever it is called', async () => {
  const { requests } = await fetchWith([made], { installation_id: '../x' })
  expect(requests[0]?.url).toBe('https://api.github.com/app/installations/..%2Fx/access_tokens')
})

test('a POST without a body says so over a real connection', async () => {
  const body = JSON.stringify({ token: 'ghs_1', expires_at: '2099-01-01T00:00:00Z' })
  const server = await startRawServer(rawAnswer(201, { 'Content-Type': 'application/json' }, body))
  const environment = bareEnvironment()
  const ports = sourcePorts({
    environment,
    send: createSend({ environment, clock: systemClock, directWire }),
    secrets: { KEY: pem },
  })
  const source = await createSource(githubAppProfile({ api_url: `http://127.0.0.1:${server.port}` }), ports)
  expect((await source.fetch({ timeoutMs: 5000, signal: undefined })).accessToken.expose()).toBe('ghs_1')
  expect(server.requests[0]).toMatch(/^content-length: 0\r$/im)
  await server.close()
})
