import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { RefreshTokenProfile } from '../../src/profile/profile.ts'
import { exchange } from '../../src/source/exchange.ts'
import { mayBeSpent } from '../../src/source/retry.ts'
import { createSend } from '../../src/source/send.ts'
import type { Kept, Renewal, TokenSource } from '../../src/source/source.ts'
import { createSource } from '../../src/source/sources.ts'
import { type HttpRequest, type HttpResponse, TransportError } from '../../src/source/transport.ts'
import { type RefreshableProfile, withRefresh } from '../../src/source/with-refresh.ts'
import { makeCertificates } from '../support/certificates.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { jwtBearerProfile, refreshTokenProfile, signInProfile } from '../support/profiles.ts'
import { startProxy } from '../support/proxy-server.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const renewed = jsonAnswer({ access_token: 'token-2', token_type: 'Bearer', expires_in: 60 })
const kept = (refreshToken: string | undefined, seed?: string): Kept => ({
  refreshToken: refreshToken === undefined ? undefined : new Secret(refreshToken),
  dpopKey: undefined,
  seed,
})
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const formOf = (request: HttpRequest | undefined): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(request?.body))

const wrapped: Token = {
  accessToken: new Secret('from-the-beginning'),
  tokenType: 'Bearer',
  scope: undefined,
  obtainedAt: 0,
  expiresAt: undefined,
  refreshToken: undefined,
}

/** Runs withRefresh around a source that counts its calls, on a clock that never has to be waited for. */
async function renew(
  profile: RefreshableProfile,
  answers: (HttpResponse | Error)[],
  request: { kept?: Kept; person?: object; renewal?: Renewal } = { kept: kept('refresh-1') },
) {
  const slept: number[] = []
  const clock = { ...fakeClock(), sleep: async (ms: number) => void slept.push(ms) }
  const { send, requests } = scriptedSend(...answers)
  const asked: unknown[] = []
  const source: TokenSource = {
    fetch: async given => {
      asked.push(given)
      return wrapped
    },
  }
  const made = withRefresh(source, profile, sourcePorts({ clock, send }))
  const outcome = await made.fetch({ timeoutMs: 30_000, signal: undefined, ...request } as never).then(
    token => ({ token }),
    (error: TokctlError) => ({ error }),
  )
  return { ...outcome, requests, asked, slept } as {
    token?: Token
    error?: TokctlError
    requests: readonly HttpRequest[]
    asked: { kept?: Kept }[]
    slept: number[]
  }
}

test('renews with the refresh token that was kept, and says nothing of the scope', async () => {
  const { token, requests, asked } = await renew(signInProfile({ scope: 'openid api' }), [renewed])
  expect(formOf(requests[0])).toEqual({
    grant_type: 'refresh_token',
    refresh_token: 'refresh-1',
    client_id: 'build-bot',
  })
  expect(token?.accessToken.expose()).toBe('token-2')
  expect(token?.scope).toBe('openid api')
  expect(asked).toEqual([])
})

test('keeps the old refresh token where the answer brings none, and takes the new one where it does', async () => {
  expect((await renew(signInProfile(), [renewed])).token?.refreshToken?.expose()).toBe('refresh-1')
  const rotated = jsonAnswer({ access_token: 't', refresh_token: 'refresh-2' })
  expect((await renew(signInProfile(), [rotated])).token?.refreshToken?.expose()).toBe('refresh-2')
})

test('asks for less where refresh_scope, audience and resource say so', async () => {
  const given = {
    scope: 'a b',
    refresh_scope: 'a',
    audience: 'https://api',
    resource: ['https://r'],
  }
  const { token, requests } = await renew(signInProfile(given), [renewed])
  expect(formOf(requests[0])).toMatchObject({ scope: 'a', audience: 'https://api', resource: 'https://r' })
  expect(token?.scope).toBe('a')
})

test('params of a sign-in are not repeated, those of a handed-over refresh token are', async () => {
  const params = { access_type: 'offline' }
  const signedIn = await renew(signInProfile({ params }), [renewed])
  expect(formOf(signedIn.requests[0])).not.toHaveProperty('access_type')
  const handedOver = await renew(refreshTokenProfile({ params }), [renewed])
  expect(formOf(handedOver.requests[0])).toMatchObject(params)
})

test.each([
  ['nothing is kept', {}],
  ['no refresh token is kept', { kept: kept(undefined) }],
  ['a person signs in', { kept: kept('refresh-1'), person: {} }],
])('asks the source itself where %s', async (_, request) => {
  const { token, requests, asked } = await renew(signInProfile(), [], request)
  expect(token).toBe(wrapped)
  expect(requests).toEqual([])
  expect(asked).toHaveLength(1)
})

/** A renewal that writes down what it is told. */
function watched(knows = false): { told: string[]; renewal: Renewal } {
  const told: string[] = []
  return {
    told,
    renewal: {
      answerTimeoutMs: 60_000,
      intend: async ({ refreshToken }) => void told.push(`intend ${refreshToken.expose()}`),
      sent: () => void told.push('sent'),
      answered: ({ status, headers, body }) =>
        void told.push(`answered ${status} ${Object.keys(headers)} ${body}`),
      pending: () => {},
      untouched: () => void told.push('untouched'),
      refused: async refreshToken => void told.push(`refused ${refreshToken.expose()}`),
      knowsSeed: async () => knows,
    },
  }
}

test('a renewal is told before each request, with each answer, and what became of the refresh token', async () => {
  const { told, renewal } = watched()
  const again = jsonAnswer('', 503)
  const done = jsonAnswer({ access_token: 't' }, 200, { 'set-cookie': 'c', date: 'd' })
  await renew(signInProfile(), [again, done], { kept: kept('refresh-1'), renewal })
  expect(told).toEqual([
    'intend refresh-1',
    'answered 503 content-type ',
    'intend refresh-1',
    'answered 200 content-type,date {"access_token":"t"}',
  ])
})

test.each([
  ['untouched', jsonAnswer({ error: 'invalid_client' }, 401)],
  ['left open', jsonAnswer('', 500)],
  ['left open', new TransportError('network_error', 'idp closed the connection', true)],
  ['untouched', new TransportError('network_error', 'certificate of idp has expired', false).unsent()],
])('a refresh token is %s by %o', async (what, answer) => {
  const { told, renewal } = watched()
  await renew(signInProfile(), [answer], { kept: kept('refresh-1'), renewal })
  expect(told.includes('untouched')).toBe(what === 'untouched')
})

test('a robot tells that its refresh token is refused before it begins again', async () => {
  const { told, renewal } = watched()
  const gone = jsonAnswer({ error: 'invalid_grant' }, 400)
  await renew(jwtBearerProfile(), [gone], { kept: kept('refresh-1'), renewal })
  expect(told.at(-1)).toBe('refused refresh-1')
})

test('nothing is sent where the intent cannot be kept', async () => {
  const { renewal } = watched()
  const intend = () => Promise.reject(new TokctlError('store_failed', 'the disk is full'))
  const { error, requests } = await renew(signInProfile(), [], {
    kept: kept('refresh-1'),
    renewal: { ...renewal, intend },
  })
  expect(error).toMatchObject({ code: 'store_failed' })
  expect(requests).toEqual([])
})

test('a seed that was used is not sent again because the record was lost; another one is', async () => {
  const { renewal } = watched(true)
  const { send, requests } = scriptedSend(renewed)
  const source = await createSource(refreshTokenProfile(), sourcePorts({ send, secrets: { SEED: 'seed' } }))
  const request = { timeoutMs: 30_000, signal: undefined, renewal } as const
  await expect(source.fetch({ ...request, kept: kept(undefined) })).rejects.toMatchObject({
    code: 'login_required',
    message:
      'profile "corp" needs a new refresh token: the one that was handed over is used up, and what came of it cannot be read any more',
  })
  expect(requests).toEqual([])
  await source.fetch({ ...request, kept: kept(undefined, sha256('another seed')) })
  expect(formOf(requests[0])).toMatchObject({ refresh_token: 'seed' })
})

test('a seed that cannot be read any more is done without where what came of it is kept, and nowhere else', async () => {
  const { send, requests } = scriptedSend(renewed)
  const gone = new TokctlError('secret_unresolved', 'environment variable "SEED" is not set')
  const resolve = () => Promise.reject(gone)
  const source = await createSource(refreshTokenProfile(), sourcePorts({ send, resolve }))
  const request = { timeoutMs: 30_000, signal: undefined } as const
  for (const without of [{}, { kept: kept(undefined, sha256('seed')) }, { kept: kept('of a sign-in') }]) {
    await expect(source.fetch({ ...request, ...without })).rejects.toMatchObject({
      code: 'secret_unresolved',
    })
  }
  const left = AbortSignal.abort(new TokctlError('interrupted', 'interrupted'))
  const kept1 = { kept: kept('refresh-1', sha256('seed')) }
  await expect(source.fetch({ ...request, ...kept1, signal: left })).rejects.toMatchObject({
    code: 'secret_unresolved',
  })
  expect(requests).toEqual([])
  const token = await source.fetch({ ...request, ...kept1 })
  expect(formOf(requests[0])).toMatchObject({ refresh_token: 'refresh-1' })
  expect(token.seed).toBe(sha256('seed'))
})

test('the first answer of a seed that does not rotate leads back to the seed', async () => {
  const source = await createSource(refreshTokenProfile(), sourcePorts({ secrets: { SEED: 'seed' } }))
  const answer = {
    from: 'the server',
    headers: {},
    status: 200,
    body: '{"access_token":"t"}',
    sentAt: 1,
    receivedAt: 2,
  }
  const token = await source.readRenewal?.(answer, kept(undefined, sha256('seed')))
  expect(token?.refreshToken?.expose()).toBe('seed')
  expect(token?.seed).toBe(sha256('seed'))
})

const unsent = new TransportError('network_error', 'idp refuses connections', true).unsent()
const slow = new TransportError('timeout', 'idp cannot be connected to within 10 s', true).unsent()
const untrusted = new TransportError('network_error', 'certificate of idp has expired', false).unsent()
const lost = new TransportError('network_error', 'idp closed the connection without an answer', true)
const late = new TransportError('timeout', 'idp did not answer within 30 s', true)

const policy: [
  name: string,
  answer: HttpResponse | Error,
  again: boolean,
  spent: boolean,
  code: TokctlError['code'],
][] = [
  ['a refused connection', unsent, true, false, 'network_error'],
  ['a connection that timed out', slow, true, false, 'timeout'],
  ['a certificate that is not trusted', untrusted, false, false, 'network_error'],
  ['429', jsonAnswer('', 429), true, false, 'rate_limited'],
  ['503', jsonAnswer({ error: 'temporarily_unavailable' }, 503), true, false, 'server_error'],
  ['503 that wants a minute', jsonAnswer('', 503, { 'retry-after': '60' }), false, false, 'server_error'],
  ['a connection that broke off', lost, false, true, 'network_error'],
  ['no answer in time', late, false, true, 'timeout'],
  ['500', jsonAnswer('', 500), false, true, 'server_error'],
  ['a 502 of a gateway', jsonAnswer('<html>', 502), false, true, 'server_error'],
  ['a 504 of a gateway', jsonAnswer('<html>', 504), false, true, 'server_error'],
  ['an answer without a token', jsonAnswer('{}'), false, true, 'invalid_response'],
  ['slow_down with 400', jsonAnswer({ error: 'slow_down' }, 400), false, false, 'rate_limited'],
  ['invalid_client', jsonAnswer({ error: 'invalid_client' }, 401), false, false, 'invalid_client'],
]
test.each(policy)('a refresh token after %s: sent again %s', async (_, answer, again, spent, code) => {
  const { token, error, requests, asked } = await renew(signInProfile(), [answer, renewed])
  expect(requests).toHaveLength(again ? 2 : 1)
  expect(asked).toEqual([])
  if (again) expect(token?.accessToken.expose()).toBe('token-2')
  else expect(error).toMatchObject({ code })
  const thrown = again ? (await renew(signInProfile(), [answer, answer, answer])).error : error
  expect(mayBeSpent(thrown)).toBe(spent)
})

test('what came and was no answer may have used the refresh token up; a mistake of the profile has not', () => {
  expect(mayBeSpent(new TokctlError('invalid_response', 'answer of idp is larger than 1 MiB'))).toBe(true)
  expect(mayBeSpent(new TokctlError('config_invalid', 'x'))).toBe(false)
  expect(mayBeSpent(new Error('x'))).toBe(false)
})

test('a lost answer to a repeatable grant is still asked for again', async () => {
  const { send, requests } = scriptedSend(lost, renewed)
  const clock = { ...fakeClock(), sleep: async () => {} }
  const profile = { ...jwtBearerProfile(), private_key: { env: 'K' }, iss: 'me' }
  const { privateKey } = (await import('node:crypto')).generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const secrets = { K: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string }
  await (await createSource(profile, sourcePorts({ clock, send, secrets }))).fetch({
    timeoutMs: 30_000,
    signal: undefined,
  })
  expect(requests).toHaveLength(2)
})

test('a refresh token that was received is not sent again over a real connection; one that was not is', async () => {
  const server = await startRawServer(({ socket }) => socket.destroy())
  const environment = bareEnvironment()
  const ports = sourcePorts({
    environment,
    send: createSend({ environment, clock: systemClock, directWire }),
  })
  const ask = (port: number) =>
    withRefresh(
      { fetch: async () => wrapped },
      signInProfile({ token_endpoint: `http://127.0.0.1:${port}/t` }),
      ports,
    )
      .fetch({ timeoutMs: 5000, signal: undefined, kept: kept('refresh-1') })
      .catch((error: unknown) => error)
  const error = await ask(server.port)
  expect(error).toMatchObject({ code: 'network_error', sent: true })
  expect(server.requests).toHaveLength(1)
  await server.close()

  // The port is free for a moment and then taken, as where a server is started again.
  const probe = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => probe.once('listening', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise(resolve => probe.close(resolve))
  expect(await ask(port)).toMatchObject({ code: 'network_error', sent: false })
})

test.each([
  ['before the connection stood', false],
  ['after it stood', true],
])('time that ran out %s: sent %s', async (_, sent) => {
  const clock = fakeClock()
  const request: HttpRequest = {
    method: 'POST',
    url: 'https://idp.example.com/token',
    headers: {},
    body: '',
    tls: undefined,
    timeoutMs: 5000,
    signal: undefined,
  }
  const asked = exchange(request, new URL(request.url), undefined, clock, async () => events => {
    if (sent) events.connected()
    return () => {}
  }).catch((error: unknown) => error)
  await clock.advance(5000)
  expect(await asked).toMatchObject({ code: 'timeout', sent })
})

test('through a proxy as well: what a tunnel refused was not sent, and what it carried was', async () => {
  const certificates = makeCertificates()
  const server = await startRawServer(({ socket }) => socket.destroy(), certificates.server)
  const ask = async (proxyPort: number) => {
    const environment = bareEnvironment({ https_proxy: `http://127.0.0.1:${proxyPort}` })
    const ports = sourcePorts({
      environment,
      send: createSend({ environment, clock: systemClock, directWire }),
    })
    const profile = signInProfile({
      token_endpoint: `https://localhost:${server.port}/t`,
      ca_file: certificates.caFile,
    })
    return withRefresh({ fetch: async () => wrapped }, profile, ports)
      .fetch({ timeoutMs: 5000, signal: undefined, kept: kept('refresh-1') })
      .catch((error: unknown) => error)
  }
  const refusing = await startProxy({ refuse: 403 })
  expect(await ask(refusing.port)).toMatchObject({ code: 'network_error', sent: false })
  const open = await startProxy()
  expect(await ask(open.port)).toMatchObject({ code: 'network_error', sent: true })
  expect(server.requests).toHaveLength(1)
  await Promise.all([refusing.close(), open.close(), server.close()])
  certificates.remove()
})

test('a certificate that is refused was no request', async () => {
  const server = await startRawServer(rawAnswer(200, {}, ''))
  const environment = bareEnvironment()
  const send = createSend({ environment, clock: systemClock, directWire })
  const url = `https://127.0.0.1:${server.port}/`
  const common = { method: 'GET', url, headers: {}, body: undefined, tls: undefined } as const
  await expect(send({ ...common, timeoutMs: 2000, signal: undefined })).rejects.toMatchObject({ sent: false })
  await server.close()
})

test.each(['authorization_code', 'device_code'] as const)(
  'a refused refresh token of %s says to sign in, and asks nothing more',
  async source => {
    const refused = jsonAnswer({ error: 'invalid_grant', error_description: 'refresh-1 was reused' }, 400)
    const { error, requests, asked } = await renew({ ...signInProfile(), source }, [refused])
    expect(error).toMatchObject({
      code: 'login_required',
      message: 'profile "corp" needs a sign-in: the refresh token was refused (invalid_grant)',
      hint: 'run: tokctl login corp',
    })
    expect(requests).toHaveLength(1)
    expect(asked).toEqual([])
  },
)

test('a refused refresh token of a robot sends it back to its beginning, with its key', async () => {
  const dpopKey = new Secret('{}')
  const refused = jsonAnswer({ error: 'invalid_grant' }, 400)
  const given = { kept: { ...kept('refresh-1'), dpopKey } }
  const { token, asked } = await renew(jwtBearerProfile(), [refused], given)
  expect(token).toBe(wrapped)
  expect(asked[0]?.kept).toEqual({ refreshToken: undefined, dpopKey, seed: undefined })
})

test('the refresh token never comes back in a message', async () => {
  const refused = jsonAnswer({ error: 'invalid_request', error_description: 'no such token: refresh-1' }, 400)
  const { error } = await renew(signInProfile(), [refused])
  expect(error).toMatchObject({
    code: 'invalid_request',
    message: 'token endpoint idp.example.com answered 400: no such token: [redacted] (invalid_request)',
  })
})

async function fromSeed(
  seed: string,
  before: Kept | undefined,
  answers: HttpResponse[],
  profile: RefreshTokenProfile = refreshTokenProfile(),
) {
  const { send, requests } = scriptedSend(...answers)
  const traced: string[] = []
  const ports = sourcePorts({ send, secrets: { SEED: seed }, trace: line => traced.push(line) })
  const source = await createSource(profile, ports)
  const request = { timeoutMs: 5000, signal: undefined, ...(before === undefined ? {} : { kept: before }) }
  const outcome = await source.fetch(request).then(
    token => ({ token }),
    (error: TokctlError) => ({ error }),
  )
  return { ...outcome, requests, traced } as {
    token?: Token
    error?: TokctlError
    requests: readonly HttpRequest[]
    traced: string[]
  }
}

const rotated = jsonAnswer({ access_token: 'token-2', refresh_token: 'refresh-2' })
const seeds: [name: string, before: Kept | undefined, sent: string][] = [
  ['nothing is kept', undefined, 'seed-1'],
  ['a record without a seed is kept', kept(undefined), 'seed-1'],
  ['a successor of it is kept', kept('refresh-9', sha256('seed-1')), 'refresh-9'],
  ['a successor of another is kept', kept('refresh-9', sha256('seed-0')), 'seed-1'],
  ['another one was used and forgotten', kept(undefined, sha256('seed-0')), 'seed-1'],
]
test.each(seeds)('a handed-over refresh token, where %s: %# sends the right one', async (_, before, sent) => {
  const { token, requests } = await fromSeed('seed-1', before, [rotated])
  expect(formOf(requests[0])).toMatchObject({ grant_type: 'refresh_token', refresh_token: sent })
  expect(token?.refreshToken?.expose()).toBe('refresh-2')
  expect(token?.seed).toBe(sha256('seed-1'))
})

test('a handed-over refresh token goes with the scope of the profile', async () => {
  const { requests, token } = await fromSeed('s', undefined, [rotated], refreshTokenProfile({ scope: 'a b' }))
  expect(formOf(requests[0])).toMatchObject({ scope: 'a b' })
  expect(token?.scope).toBe('a b')
  const narrow = refreshTokenProfile({ scope: 'a b', refresh_scope: 'a' })
  expect(formOf((await fromSeed('s', undefined, [rotated], narrow)).requests[0])).toMatchObject({
    scope: 'a',
  })
})

test('says that another refresh token was handed over', async () => {
  const { traced } = await fromSeed('seed-1', kept('r', sha256('seed-0')), [rotated])
  expect(traced).toEqual(['another refresh token was handed over: starting from that one'])
})

test('a handed-over refresh token that was used and then forgotten is not used again', async () => {
  const { error, requests } = await fromSeed('seed-1', kept(undefined, sha256('seed-1')), [])
  expect(requests).toEqual([])
  expect(error).toMatchObject({
    code: 'login_required',
    message:
      'profile "corp" needs a new refresh token: the one that was handed over is used up, and its session was forgotten',
    hint: 'put a new refresh token in the place that refresh_token names, then run: tokctl refresh corp',
  })
})

test('a refused refresh token of a robot that was handed one asks for a new one, not for the old seed', async () => {
  const refused = jsonAnswer({ error: 'invalid_grant' }, 400)
  const { error, requests } = await fromSeed('seed-1', kept('refresh-9', sha256('seed-1')), [refused])
  expect(requests).toHaveLength(1)
  expect(error).toMatchObject({
    code: 'login_required',
    message: 'profile "corp" needs a new refresh token: the last one was refused (invalid_grant)',
  })
})
