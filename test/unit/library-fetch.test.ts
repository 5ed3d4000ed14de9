import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, Client, interceptors, Pool, request, fetch as undiciFetch } from 'undici'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import { createTokctl, sourceFrom, type Tokctl } from '../../src/index.ts'
import { authorizedFetch } from '../../src/library/authorized-fetch.ts'
import { createAuthorizer } from '../../src/library/authorizer.ts'
import type { TokenCache } from '../../src/library/token-cache.ts'
import { makeDpopKey } from '../../src/source/dpop.ts'

interface Seen {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly body: string
  readonly headers: IncomingMessage['headers']
}

interface Service {
  readonly url: string
  readonly seen: Seen[]
  /** Tokens that are refused. */
  readonly revoked: Set<string>
}

/** A service that wants a token; `/to?URL` redirects there with the status of the path. */
async function service(): Promise<Service> {
  const seen: Seen[] = []
  const revoked = new Set<string>()
  const server: Server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { method = '', url = '', headers } = request
    const { authorization } = headers
    seen.push({ method, url, authorization, body: Buffer.concat(chunks).toString(), headers })
    const redirect = /^\/.*(30\d)\?(.*)$/.exec(url)
    if (redirect !== null)
      response.writeHead(Number(redirect[1]), { location: decodeURIComponent(redirect[2]!) })
    else if (revoked.has(authorization ?? '')) response.writeHead(401, { 'www-authenticate': 'Bearer' })
    response.end(`${method} ${url}`)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, revoked }
}

interface Made {
  readonly tokens: Tokctl
  readonly calls: () => number
}

/** Tokens `t1`, `t2`, … for what is matched. */
function tokensFor(...match: string[]): Made {
  let calls = 0
  const tokens = createTokctl({
    sources: sourceFrom(async () => ({ accessToken: `t${++calls}`, expiresInMs: 3_600_000 }), { match }),
  })
  onTestFinished(() => tokens.close())
  return { tokens, calls: () => calls }
}

type Ask = (
  url: string,
  init?: { method?: string; headers?: Record<string, string>; body?: unknown },
) => Promise<{
  readonly status: number
  readonly text: string
}>

/** The ways in which a program makes a request, each with a token. */
const ways: [name: string, make: (made: Made, service: Service) => Ask][] = [
  [
    'fetch',
    ({ tokens }) => {
      const fetch = tokens.fetch('api')
      return async (url, init) => {
        const response = await fetch(url, init as RequestInit)
        return { status: response.status, text: await response.text() }
      }
    },
  ],
  ['undici request', ({ tokens }) => undiciRequest(new Agent().compose(tokens.interceptor('api')))],
  [
    'undici request through a pool',
    ({ tokens }, { url }) => undiciRequest(new Pool(url).compose(tokens.interceptor('api'))),
  ],
  [
    "undici's fetch",
    ({ tokens }) => {
      const dispatcher = disposed(new Agent().compose(tokens.interceptor('api')))
      return async (url, init) => {
        const response = await undiciFetch(url, { ...(init as object), dispatcher })
        return { status: response.status, text: await response.text() }
      }
    },
  ],
  [
    "Node's own fetch, through a dispatcher of the undici package",
    ({ tokens }) => {
      const dispatcher = disposed(new Agent().compose(tokens.interceptor('api')))
      return async (url, init) => {
        const response = await fetch(url, { ...(init as object), dispatcher } as unknown as RequestInit)
        return { status: response.status, text: await response.text() }
      }
    },
  ],
]

function disposed<D extends { close(): Promise<void> }>(dispatcher: D): D {
  onTestFinished(() => dispatcher.close())
  return dispatcher
}

function undiciRequest(dispatcher: import('undici').Dispatcher): Ask {
  disposed(dispatcher)
  return async (url, init) => {
    const { statusCode, body } = await request(url, { ...(init as object), dispatcher })
    return { status: statusCode, text: await body.text() }
  }
}

describe.each(ways)('%s', (_, make) => {
  test('adds the token where the profile matches, in place of what the caller sent', async () => {
    const api = await service()
    const made = tokensFor(`${api.url}/v1`)
    const ask = make(made, api)
    expect(
      await ask(`${api.url}/v1/a?b=c`, { headers: { Authorization: 'Basic x', 'X-More': 'y' } }),
    ).toEqual({
      status: 200,
      text: 'GET /v1/a?b=c',
    })
    expect(api.seen).toMatchObject([{ authorization: 'Bearer t1', headers: { 'x-more': 'y' } }])
  })

  test('adds none elsewhere, and asks for none', async () => {
    const api = await service()
    const other = await service()
    const made = tokensFor(`${api.url}/v1`)
    const ask = make(made, other)
    await ask(`${other.url}/v1/a`)
    await make(made, api)(`${api.url}/v10`)
    await make(made, api)(`${api.url}/v1/%2e%2e/v2`)
    expect([...api.seen, ...other.seen].map(({ authorization }) => authorization)).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    expect(made.calls()).toBe(0)
  })

  test('on a 401 rejects that token and repeats once with a new one, its body too', async () => {
    const api = await service()
    const made = tokensFor(api.url)
    const ask = make(made, api)
    api.revoked.add('Bearer t1')
    expect(await ask(`${api.url}/a`)).toEqual({ status: 200, text: 'GET /a' })
    api.revoked.add('Bearer t2')
    expect(api.seen.map(({ authorization }) => authorization)).toEqual(['Bearer t1', 'Bearer t2'])
  })

  test('a second 401 is the answer', async () => {
    const api = await service()
    const made = tokensFor(api.url)
    const ask = make(made, api)
    for (const token of ['t1', 't2', 't3']) api.revoked.add(`Bearer ${token}`)
    expect((await ask(`${api.url}/a`)).status).toBe(401)
    // What is refused at once when it is new is not renewed for every request.
    expect((await ask(`${api.url}/a`)).status).toBe(401)
    expect(api.seen.map(({ authorization }) => authorization)).toEqual([
      'Bearer t1',
      'Bearer t2',
      'Bearer t2',
    ])
    expect(made.calls()).toBe(2)
  })

  test('fails with the code of the source where there is no token', async () => {
    const api = await service()
    const tokens = createTokctl({
      sources: sourceFrom(
        async () => {
          throw new Error('secret-canary')
        },
        { match: [api.url] },
      ),
    })
    const failure = await make({ tokens, calls: () => 0 }, api)(`${api.url}/a`).catch(error => error)
    const error = failure.cause ?? failure
    expect(error).toMatchObject({
      code: 'command_failed',
      message: 'the function behind "api" threw an error',
    })
    expect(api.seen).toEqual([])
  })
})

describe('a repeated request', () => {
  const bodies: [name: string, body: () => NonNullable<RequestInit['body']>, want: RegExp][] = [
    ['a text', () => 'text', /^text$/],
    ['bytes', () => new TextEncoder().encode('bytes'), /^bytes$/],
    ['a form', () => new URLSearchParams({ a: 'b' }), /^a=b$/],
    ['a form with parts', () => form(), /name="a"\r\n\r\nb/],
    ['a blob', () => new Blob(['blob']), /^blob$/],
  ]
  function form(): FormData {
    const made = new FormData()
    made.set('a', 'b')
    return made
  }

  test.each(bodies)('carries its body again: %s', async (_, body, want) => {
    const api = await service()
    const { tokens } = tokensFor(api.url)
    api.revoked.add('Bearer t1')
    const response = await tokens.fetch('api')(`${api.url}/a`, { method: 'POST', body: body() })
    expect(response.status).toBe(200)
    expect(api.seen).toHaveLength(2)
    for (const { body } of api.seen) expect(body).toMatch(want)
  })

  test('is not sent where its body was a stream; the token is replaced all the same', async () => {
    const api = await service()
    const { tokens } = tokensFor(api.url)
    api.revoked.add('Bearer t1')
    const fetch = tokens.fetch('api')
    const body = new Blob(['stream']).stream()
    const refused = await fetch(`${api.url}/a`, { method: 'POST', body, duplex: 'half' })
    expect([refused.status, await refused.text()]).toEqual([401, 'POST /a'])
    expect((await fetch(`${api.url}/a`)).status).toBe(200)
    expect(api.seen.map(({ authorization }) => authorization)).toEqual(['Bearer t1', 'Bearer t2'])
  })

  test('carries its body again through undici, and a stream is not sent twice there either', async () => {
    const api = await service()
    const { tokens } = tokensFor(api.url)
    const ask = undiciRequest(new Agent().compose(tokens.interceptor('api')))
    api.revoked.add('Bearer t1')
    expect((await ask(`${api.url}/a`, { method: 'POST', body: Buffer.from('again') })).status).toBe(200)
    expect(api.seen.map(({ body }) => body)).toEqual(['again', 'again'])
    api.revoked.add('Bearer t2')
    const stream = new Blob(['once']).stream()
    expect((await ask(`${api.url}/a`, { method: 'POST', body: stream })).status).toBe(401)
    expect(api.seen).toHaveLength(3)
  })

  test('is one renewal for all in flight', async () => {
    const api = await service()
    const { tokens, calls } = tokensFor(api.url)
    api.revoked.add('Bearer t1')
    const fetch = tokens.fetch('api')
    const answers = await Promise.all(Array.from({ length: 64 }, () => fetch(`${api.url}/a`)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(calls()).toBe(2)
  })
})

describe('a redirect', () => {
  test('gets the token only where the profile matches again', async () => {
    const api = await service()
    const other = await service()
    const made = tokensFor(`${api.url}/v1`)
    const fetch = made.tokens.fetch('api')
    const to = (url: string): string => `${api.url}/v1/302?${encodeURIComponent(url)}`
    for (const url of [`${api.url}/v1/b`, `${api.url}/v2/b`, `${other.url}/v1/b`]) {
      const response = await fetch(to(url), { headers: { authorization: 'Basic own', cookie: 'own=1' } })
      expect([response.status, response.redirected, response.url]).toEqual([200, true, url])
    }
    expect(api.seen.map(({ url, authorization }) => [url.slice(0, 8), authorization])).toEqual([
      ['/v1/302?', 'Bearer t1'],
      ['/v1/b', 'Bearer t1'],
      ['/v1/302?', 'Bearer t1'],
      ['/v2/b', 'Basic own'],
      ['/v1/302?', 'Bearer t1'],
    ])
    expect(other.seen).toMatchObject([{ url: '/v1/b', authorization: undefined }])
    expect(other.seen[0]!.headers.cookie).toBeUndefined()
  })

  test('through undici, composed as told: the same', async () => {
    const api = await service()
    const other = await service()
    const { tokens } = tokensFor(`${api.url}/v1`)
    const ask = undiciRequest(
      new Agent().compose(tokens.interceptor('api'), interceptors.redirect({ maxRedirections: 5 })),
    )
    for (const url of [`${api.url}/v1/b`, `${api.url}/v2/b`, `${other.url}/v1/b`]) {
      expect((await ask(`${api.url}/v1/302?${encodeURIComponent(url)}`)).status).toBe(200)
    }
    expect(api.seen.map(({ authorization }) => authorization)).toEqual([
      'Bearer t1',
      'Bearer t1',
      'Bearer t1',
      undefined,
      'Bearer t1',
    ])
    expect(other.seen).toMatchObject([{ authorization: undefined }])
  })

  const turns: [status: number, method: string, then: string, body: string][] = [
    [301, 'POST', 'GET', ''],
    [302, 'POST', 'GET', ''],
    [302, 'PUT', 'PUT', 'text'],
    [303, 'PUT', 'GET', ''],
    [303, 'HEAD', 'HEAD', ''],
    [307, 'POST', 'POST', 'text'],
    [308, 'PUT', 'PUT', 'text'],
  ]
  test.each(turns)('%i turns a %s into a %s, as without us', async (status, method, then, body) => {
    const api = await service()
    const { tokens } = tokensFor(api.url)
    const init = method === 'HEAD' ? { method } : { method, body: 'text' }
    const url = `${api.url}/${status}?${encodeURIComponent('/b')}`
    await fetch(url, init)
    await tokens.fetch('api')(url, init)
    const [, plain, , ours] = api.seen
    expect(ours).toMatchObject({ method: then, body, url: '/b', authorization: 'Bearer t1' })
    expect(plain).toMatchObject({ method: then, body, url: '/b' })
    expect(ours!.headers['content-type']).toBe(plain!.headers['content-type'])
  })

  test('is followed twenty times', async () => {
    const { tokens } = tokensFor()
    let requests = 0
    const again = createServer((_, response) => {
      requests++
      response.writeHead(302, { location: '/' }).end()
    })
    await new Promise<void>(resolve => again.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      again.closeAllConnections()
      again.close()
    })
    const endless = tokens.fetch('api')(`http://127.0.0.1:${(again.address() as AddressInfo).port}/`)
    await expect(endless).rejects.toMatchObject({
      message: 'fetch failed',
      cause: { message: 'too many redirects' },
    })
    expect(requests).toBe(21)
  })

  test.each(['manual', 'error'] as const)('is %s where the caller says so', async redirect => {
    const api = await service()
    const { tokens } = tokensFor(api.url)
    const answer = tokens.fetch('api')(`${api.url}/302?/b`, { redirect })
    if (redirect === 'manual') expect((await answer).status).toBe(302)
    else await expect(answer).rejects.toThrow('fetch failed')
    expect(api.seen).toHaveLength(1)
  })
})

test('a Request is taken as it is', async () => {
  const api = await service()
  const { tokens } = tokensFor(api.url)
  const asked = new Request(`${api.url}/a#part`, { method: 'POST', body: 'text', headers: { 'x-more': 'y' } })
  expect((await tokens.fetch('api')(asked)).status).toBe(200)
  expect(api.seen).toMatchObject([
    { method: 'POST', url: '/a', body: 'text', authorization: 'Bearer t1', headers: { 'x-more': 'y' } },
  ])
})

test('a token bound to a key goes with a proof, and a nonce that is asked for is no refusal of the token', async () => {
  const seen: { authorization: string | undefined; proof: Record<string, unknown> }[] = []
  const server = createServer(({ headers }, response) => {
    const proof = JSON.parse(Buffer.from(String(headers['dpop']).split('.')[1]!, 'base64url').toString())
    seen.push({ authorization: headers.authorization, proof })
    if (proof.nonce !== 'n1') response.writeHead(401, { 'dpop-nonce': 'n1' })
    response.end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a`
  const token = { accessToken: new Secret('bound'), tokenType: 'DPoP', dpopKey: makeDpopKey() } as Token
  const cache = {
    profile: async () => ({ name: 'api', source: 'client_credentials', match: [url] }),
    get: async () => token,
  } as unknown as TokenCache
  const fetch = authorizedFetch(createAuthorizer(cache, 'api', systemClock), () => globalThis.fetch)
  expect((await fetch(`${url}?b=c`)).status).toBe(200)
  expect(seen).toMatchObject([
    { authorization: 'DPoP bound', proof: { htm: 'GET', htu: url } },
    { authorization: 'DPoP bound', proof: { nonce: 'n1' } },
  ])
  expect(seen[0]!.proof['ath']).toBe(createHash('sha256').update('bound').digest('base64url'))
})

test('a caller who leaves while the token is awaited gets its own reason', async () => {
  const api = await service()
  const tokens = createTokctl({
    sources: sourceFrom(() => new Promise(() => {}), { match: [api.url] }),
    timeoutMs: 50,
  })
  const leave = new AbortController()
  const answer = tokens.fetch('api')(`${api.url}/a`, { signal: leave.signal })
  leave.abort(new Error('enough'))
  await expect(answer).rejects.toThrow('enough')
  expect(api.seen).toEqual([])
})

test.each<[kind: string, signals: () => { signal: AbortSignal | EventEmitter; leave: () => void }]>([
  [
    'an AbortSignal',
    () => {
      const controller = new AbortController()
      return { signal: controller.signal, leave: () => controller.abort(new Error('enough')) }
    },
  ],
  [
    'an emitter',
    () => {
      const signal = new EventEmitter()
      return { signal, leave: () => signal.emit('abort') }
    },
  ],
])('a request of undici leaves while the token is awaited, by %s', async (_, signals) => {
  const api = await service()
  const asked = new EventEmitter()
  const isAsked = once(asked, 'asked')
  const never = sourceFrom(
    () => {
      asked.emit('asked')
      return new Promise(() => {})
    },
    { match: [api.url] },
  )
  const tokens = createTokctl({ sources: never, timeoutMs: 60_000 })
  const { signal, leave } = signals()
  const dispatcher = disposed(new Agent().compose(tokens.interceptor('api')))
  const answer = dispatcher.request({ origin: api.url, path: '/a', method: 'GET', signal })
  await isAsked
  leave()
  await expect(answer).rejects.toThrow(/enough|aborted/)
  expect(api.seen).toEqual([])
})

test('a client whose requests name no origin is told it', async () => {
  const api = await service()
  const { tokens } = tokensFor(api.url)
  const client = disposed(new Client(api.url).compose(tokens.interceptor('api', { origin: api.url })))
  const { statusCode, body } = await client.request({ path: '/a', method: 'GET' } as never)
  await body.dump()
  expect(statusCode).toBe(200)
  expect(api.seen).toMatchObject([{ authorization: 'Bearer t1' }])
})

test.each<[name: string, headers: unknown]>([
  ['names and values in turn', ['X-More', 'y', 'AUTHORIZATION', 'Basic x']],
  ['an object', { 'X-More': 'y', authorization: 'Basic x' }],
  ['a map', new Map([['X-More', 'y']])],
  ['Headers', new Headers({ 'X-More': 'y', authorization: 'Basic x' })],
  ['nothing', undefined],
])('undici headers may be %s', async (_, headers) => {
  const api = await service()
  const { tokens } = tokensFor(api.url)
  await undiciRequest(new Agent().compose(tokens.interceptor('api')))(`${api.url}/a`, { headers } as never)
  expect(api.seen).toMatchObject([{ authorization: 'Bearer t1' }])
  if (headers !== undefined) expect(api.seen[0]!.headers['x-more']).toBe('y')
})
