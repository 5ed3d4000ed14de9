import { createHash, createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import type { Tokens } from '../../src/core/tokens.ts'
import { proxyLimits } from '../../src/proxy/proxy.ts'
import { keepNonce, makeDpopKey } from '../../src/source/dpop.ts'
import { proxyBefore, scriptedTokens, sendRaw, startUpstream } from '../support/proxy-route.ts'
import { startRawServer } from '../support/raw-server.ts'

interface Said {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly trailers: Record<string, string | undefined>
}

async function ask(
  port: number,
  path = '/v1/me',
  {
    method = 'GET',
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Said> {
  const outgoing = request({ host: '127.0.0.1', port, path, method, headers, agent: false })
  outgoing.end(body)
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk)
  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    body: Buffer.concat(chunks).toString(),
    trailers: incoming.trailers,
  }
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

describe('a request', () => {
  test('goes to the upstream with our token in the place of the client’s, and its answer comes back as it is', async () => {
    const upstream = await startUpstream((_, outgoing) => {
      outgoing.writeHead(203, 'Fine', ['X-One', '1', 'X-One', '2', 'Content-Length', '5'])
      outgoing.end('hello')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const said = await ask(port, '/v1/me?x=%20y', { headers: { authorization: 'Bearer mine', 'x-a': 'b' } })
    expect(said).toMatchObject({
      status: 203,
      body: 'hello',
      headers: { 'x-one': '1, 2', 'content-length': '5' },
    })
    expect(upstream.seen[0]?.url).toBe('/v1/me?x=%20y')
    expect(upstream.seen[0]?.rawHeaders.filter(field => /^authorization$/i.test(field))).toHaveLength(1)
    expect(upstream.seen[0]?.headers).toMatchObject({
      authorization: 'Bearer token-1',
      'x-a': 'b',
      host: new URL(upstream.origin).host,
    })
  })

  test('is put below the path of the upstream', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { origin } = upstream
    const route = { upstream: { origin, host: new URL(origin).host, path: '/base' } }
    const { port } = await proxyBefore(origin, scriptedTokens(), route)
    await ask(port, '/a/b')
    expect((await ask(port, '/../secret')).status).toBe(400)
    expect(upstream.seen.map(({ url }) => url)).toEqual(['/base/a/b'])
  })

  test('of 4 MiB is passed on while it comes in, with its length or in chunks', async () => {
    const bodies: string[] = []
    const upstream = await startUpstream(async (incoming, outgoing) => {
      bodies.push(await bodyOf(incoming))
      outgoing.end('ok')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { maxBodyBytes: 8_388_608 })
    const body = 'x'.repeat(4_194_304)
    await ask(port, '/', { method: 'PUT', body, headers: { 'content-length': String(body.length) } })
    await ask(port, '/', { method: 'PUT', body, headers: { 'transfer-encoding': 'chunked' } })
    expect(bodies.map(text => text.length)).toEqual([body.length, body.length])
    expect(
      upstream.seen.map(({ headers }) => headers['content-length'] ?? headers['transfer-encoding']),
    ).toEqual([String(body.length), 'chunked'])
  })

  test.each(['content-length', 'transfer-encoding'])(
    'that is too long is refused with 413, told by its %s',
    async field => {
      const upstream = await startUpstream((incoming, outgoing) => {
        incoming.resume()
        incoming.on('end', () => outgoing.end())
        incoming.on('error', () => {})
      })
      const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { maxBodyBytes: 100_000 })
      const head = `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`
      const bytes =
        field === 'content-length'
          ? `${head}Content-Length: 100001\r\n\r\n${'x'.repeat(100_001)}`
          : `${head}Transfer-Encoding: chunked\r\n\r\n186a1\r\n${'x'.repeat(100_001)}\r\n0\r\n\r\n`
      expect(await sendRaw(port, bytes, /413/)).toMatch(/^HTTP\/1\.1 413 [\s\S]*tokctl-error: body/)
    },
  )

  test('events, trailers and interim answers: each part arrives as it is sent', async () => {
    let release = (): void => {}
    const upstream = await startUpstream((_, outgoing) => {
      outgoing.writeEarlyHints({ link: '</x>; rel=preload' })
      outgoing.writeHead(200, { 'content-type': 'text/event-stream', trailer: 'x-sum' })
      outgoing.write('data: 1\n\n')
      release = () => {
        outgoing.addTrailers({ 'x-sum': '42' })
        outgoing.end('data: 2\n\n')
      }
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const outgoing = request({ host: '127.0.0.1', port, path: '/events', agent: false }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    const parts: string[] = []
    for await (const part of incoming) {
      parts.push(part.toString())
      if (parts.length === 1) release()
    }
    expect(parts).toEqual(['data: 1\n\n', 'data: 2\n\n'])
    expect(incoming.trailers).toEqual({ 'x-sum': '42' })
  })

  test('trailers go up too, with TE and what announces them, also when a 401 makes it be sent again', async () => {
    const seen: unknown[] = []
    const upstream = await startUpstream(async (incoming, outgoing) => {
      const body = await bodyOf(incoming)
      const { te, trailer, authorization } = incoming.headers
      seen.push({ te, trailer, authorization, body, trailers: incoming.trailers })
      const isOld = authorization === 'Bearer token-1'
      outgoing.writeHead(isOld ? 401 : 200, { trailer: 'x-sum' })
      outgoing.write('got it')
      outgoing.addTrailers({ 'x-sum': '43' })
      outgoing.end()
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const outgoing = request({
      host: '127.0.0.1',
      port,
      method: 'POST',
      agent: false,
      headers: { te: 'trailers', trailer: 'x-sum, authorization', 'transfer-encoding': 'chunked' },
    })
    outgoing.write('a')
    outgoing.addTrailers({ 'x-sum': '42', authorization: 'Bearer mine' })
    outgoing.end('b')
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(await bodyOf(incoming)).toBe('got it')
    expect([incoming.headers.trailer, incoming.trailers]).toEqual(['x-sum', { 'x-sum': '43' }])
    const sent = { te: 'trailers', trailer: 'x-sum, authorization', body: 'ab', trailers: { 'x-sum': '42' } }
    expect(seen).toEqual([
      { ...sent, authorization: 'Bearer token-1' },
      { ...sent, authorization: 'Bearer token-2' },
    ])
  })

  test('with trailers, an upstream that changes to another protocol unasked is a failure at once', async () => {
    const upstream = await startRawServer(({ socket }) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    )
    onTestFinished(() => upstream.close())
    const { port } = await proxyBefore(`http://127.0.0.1:${upstream.port}`, scriptedTokens())
    const outgoing = request({
      host: '127.0.0.1',
      port,
      method: 'POST',
      agent: false,
      headers: { trailer: 'x-sum', te: 'trailers' },
    })
    outgoing.write('a')
    outgoing.addTrailers({ 'x-sum': '1' })
    outgoing.end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(incoming.statusCode).toBe(502)
  })

  test('redirects are for the client, and what would open an answer to web pages is taken out of it', async () => {
    const upstream = await startUpstream((_, outgoing) => {
      outgoing.writeHead(302, { location: 'https://evil.test/', 'access-control-allow-origin': '*' }).end()
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const said = await ask(port)
    expect(said.status).toBe(302)
    expect(said.headers.location).toBe('https://evil.test/')
    expect(said.headers['access-control-allow-origin']).toBeUndefined()
    expect(upstream.seen).toHaveLength(1)
  })

  test('many on one connection use few connections to the upstream', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
    let connections = 0
    upstream.server.on('connection', () => connections++)
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < 20; i++) {
      const outgoing = request({ host: '127.0.0.1', port, agent }).end()
      const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
      expect(await bodyOf(incoming)).toBe('ok')
    }
    agent.destroy()
    expect(connections).toBe(1)
  })
})

describe('a token that the upstream refuses', () => {
  /** Takes any token but those. */
  const refusing = (...refused: string[]) =>
    startUpstream(async (incoming, outgoing) => {
      const body = await bodyOf(incoming).catch(() => '')
      const isRefused = refused.some(token => incoming.headers.authorization === `Bearer ${token}`)
      outgoing
        .writeHead(isRefused ? 401 : 200)
        .end(isRefused ? 'who?' : `${incoming.headers.authorization} ${body}`)
    })

  test('is replaced, and the request is sent once more: the client sees no failure', async () => {
    const upstream = await refusing('token-1')
    const tokens = scriptedTokens()
    const { port } = await proxyBefore(upstream.origin, tokens)
    expect(await ask(port, '/', { method: 'POST', body: '{"a":1}' })).toMatchObject({
      status: 200,
      body: 'Bearer token-2 {"a":1}',
    })
    expect(tokens.replaced()).toBe(1)
    expect(upstream.seen).toHaveLength(2)
  })

  test('is replaced once for 256 requests in flight, and none of them fails', async () => {
    let valid = 'token-1'
    const held: (() => void)[] = []
    const upstream = await startUpstream((incoming, outgoing) => {
      const answer = (): void => {
        outgoing.writeHead(incoming.headers.authorization === `Bearer ${valid}` ? 200 : 401).end()
      }
      if (held.length === 256) answer()
      else if (held.push(answer) === 256) {
        valid = 'token-2'
        for (const one of held) one()
      }
    })
    const tokens = scriptedTokens()
    const Pool = (await import('undici/lib/dispatcher/pool.js')).default
    const { port } = await proxyBefore(upstream.origin, tokens, {
      dispatcher: new Pool(upstream.origin, { connections: 256, pipelining: 1 }),
    })
    const all = await Promise.all(Array.from({ length: 256 }, (_, i) => ask(port, `/${i}`)))
    expect(all.filter(({ status }) => status !== 200)).toEqual([])
    expect(tokens.replaced()).toBe(1)
    expect((await ask(port, '/.tokctl/metrics')).body).toContain(
      'tokctl_proxy_tokens_rejected_total{route="api"} 1\n',
    )
  })

  test('is replaced for the others too when the client that met it leaves meanwhile', async () => {
    const upstream = await refusing('token-1')
    const scripted = scriptedTokens()
    let renewed = (): void => {}
    const renewal = new Promise<void>(resolve => {
      renewed = resolve
    })
    let asked = (): void => {}
    const isAsked = new Promise<void>(resolve => {
      asked = resolve
    })
    const tokens = {
      ...scripted,
      async replace(name: string, refused: Secret) {
        asked()
        await renewal
        return scripted.replace(name, refused)
      },
    }
    const { port } = await proxyBefore(upstream.origin, tokens as typeof scripted)
    const leaver = request({ host: '127.0.0.1', port, agent: false }).end()
    leaver.on('error', () => {})
    await isAsked
    const other = ask(port)
    leaver.destroy()
    renewed()
    expect(await other).toMatchObject({ status: 200, body: 'Bearer token-2 ' })
    expect(scripted.replaced()).toBe(1)
    expect(await ask(port)).toMatchObject({ status: 200 })
  })

  test('in chunks of 64 KiB at most the body is sent again; a longer one is not, and the 401 is the answer', async () => {
    const upstream = await refusing('token-1', 'token-2')
    const tokens = scriptedTokens()
    const { port } = await proxyBefore(upstream.origin, tokens)
    const headers = { 'transfer-encoding': 'chunked' }
    const long = await ask(port, '/', { method: 'POST', headers, body: 'x'.repeat(65_537) })
    expect(long).toMatchObject({ status: 401, body: 'who?' })
    expect(upstream.seen).toHaveLength(1)
    const short = await ask(port, '/', { method: 'POST', headers, body: 'x'.repeat(65_536) })
    expect(short.status).toBe(200)
    expect(short.body).toHaveLength('Bearer token-3 '.length + 65_536)
    expect(tokens.replaced()).toBe(2)
  })

  test('when the next one is refused too, the client gets the 401, after two requests', async () => {
    const upstream = await refusing('token-1', 'token-2')
    const tokens = scriptedTokens()
    const { port } = await proxyBefore(upstream.origin, tokens)
    expect(await ask(port)).toMatchObject({ status: 401, body: 'who?' })
    expect(upstream.seen).toHaveLength(2)
  })

  test('when no other is worth asking for, the 401 is passed on at once', async () => {
    const upstream = await refusing('token-1')
    const tokens = scriptedTokens()
    tokens.stopReplacing()
    const { port } = await proxyBefore(upstream.origin, tokens)
    expect(await ask(port)).toMatchObject({ status: 401, body: 'who?' })
    expect(upstream.seen).toHaveLength(1)
  })
})

describe('without a token', () => {
  test.each([
    ['temporary', new TokctlError('rate_limited', 'the server is busy', { retryAfterMs: 1500 }), 503, '2'],
    [
      'lasting',
      new TokctlError('login_required', 'profile "corp" needs a sign-in', { hint: 'run: tokctl login corp' }),
      502,
      undefined,
    ],
  ] as const)(
    'a %s failure is answered here, says what to do, and the upstream hears nothing',
    async (_, error, status, retryAfter) => {
      const upstream = await startUpstream((_, outgoing) => outgoing.end())
      const tokens = scriptedTokens()
      tokens.fail(error)
      const { port } = await proxyBefore(upstream.origin, tokens)
      const said = await ask(port)
      expect(said).toMatchObject({ status, headers: { 'tokctl-error': error.code } })
      expect(said.headers['retry-after']).toBe(retryAfter)
      expect(said.body).toBe(`tokctl: ${error.message}${error.hint === undefined ? '' : `; ${error.hint}`}\n`)
      expect(upstream.seen).toEqual([])
    },
  )
})

describe('an upstream', () => {
  test('that is not there is 502', async () => {
    const { port } = await proxyBefore('http://127.0.0.1:1', scriptedTokens())
    const said = await ask(port)
    expect(said).toMatchObject({ status: 502, headers: { 'tokctl-error': 'upstream_failed' } })
    expect(said.body).toBe('tokctl: the upstream cannot be reached (ECONNREFUSED)\n')
  })

  test('that closes a kept connection just then is asked once more what has no effect, and nothing else', async () => {
    const upstream = await startUpstream((incoming, outgoing) => {
      if (incoming.url === '/first') return void outgoing.end('ok')
      if (upstream.seen.filter(({ url }) => url === incoming.url).length > 1)
        return void outgoing.end('again')
      incoming.socket.destroy()
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    await ask(port, '/first')
    expect((await ask(port, '/get')).body).toBe('again')
    expect(await ask(port, '/post', { method: 'POST', body: 'x' })).toMatchObject({
      status: 502,
      headers: { 'tokctl-error': 'upstream_closed' },
    })
    expect(upstream.seen.filter(({ url }) => url === '/post')).toHaveLength(1)
  })

  /** Each request is answered as this says, in its order. */
  const scripted = (...answers: ('closed' | 401 | 200)[]) =>
    startUpstream((incoming, outgoing) => {
      const answer = answers.shift()
      if (answer === 'closed') incoming.socket.destroy()
      else outgoing.writeHead(answer ?? 500).end(incoming.headers.authorization)
    })

  test.each([
    ['once and then refuses the token', ['closed', 401, 200], 200, 'Bearer token-2'],
    ['once, having refused the token', [401, 'closed', 200], 200, 'Bearer token-2'],
    ['twice', ['closed', 'closed'], 502, 'tokctl: the upstream cannot be reached (UND_ERR_SOCKET)\n'],
    ['once and refuses two tokens', [401, 'closed', 401], 401, 'Bearer token-2'],
  ] as const)('that closes a connection %s: each is made good once', async (_, answers, status, body) => {
    const upstream = await scripted(...answers)
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    expect(await ask(port)).toMatchObject({ status, body })
    expect(upstream.seen).toHaveLength(answers.length)
  })

  test.each([
    [204, 'GET'],
    [304, 'GET'],
    [304, 'HEAD'],
  ])(
    'that says how long the body of a %i would be gets the next request all the same (%s)',
    async (status, method) => {
      const upstream = await startUpstream((incoming, outgoing) => {
        if (incoming.url === '/next') outgoing.end('next')
        else incoming.socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 5\r\n\r\n`)
      })
      let connections = 0
      upstream.server.on('connection', () => connections++)
      const Pool = (await import('undici/lib/dispatcher/pool.js')).default
      const { port } = await proxyBefore(upstream.origin, scriptedTokens(), {
        dispatcher: new Pool(upstream.origin, { connections: 1, bodyTimeout: 0 }),
      })
      expect((await ask(port, '/', { method })).status).toBe(status)
      expect((await ask(port, '/next')).body).toBe('next')
    },
  )

  test('that refuses a token at endless length is let go', async () => {
    let gone: Promise<unknown> | undefined
    const upstream = await startUpstream((incoming, outgoing) => {
      if (incoming.headers.authorization === 'Bearer token-2') return void outgoing.end('fine')
      gone = once(incoming.socket, 'close')
      outgoing.writeHead(401)
      outgoing.write('who?')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    expect(await ask(port)).toMatchObject({ status: 200, body: 'fine' })
    await gone
  })

  test.each([
    [
      '204, with a length that it should not have',
      'HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n',
      /^HTTP\/1\.1 204 (?![\s\S]*content-length)/i,
    ],
    [
      '304, with the length of what it stands for',
      'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n',
      /^HTTP\/1\.1 304 /,
    ],
    ['a reason that is none', 'HTTP/1.1 200 \x01\r\nContent-Length: 2\r\n\r\nok', /^HTTP\/1\.1 200 /],
    [
      'two ways of framing',
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      /^HTTP\/1\.1 502 /,
    ],
    [
      'an upgrade that nobody asked for',
      'HTTP/1.1 101 Now\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      /^HTTP\/1\.1 502 /,
    ],
    ['no HTTP', 'SSH-2.0-x\r\n\r\n', /^HTTP\/1\.1 502 /],
  ])('that answers %s does no harm', async (_, answer, said) => {
    const upstream = await startRawServer(answer)
    onTestFinished(() => upstream.close())
    const { port } = await proxyBefore(`http://127.0.0.1:${upstream.port}`, scriptedTokens())
    const asked = `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`
    expect(await sendRaw(port, asked)).toMatch(said)
  })

  test('that dies in mid-body ends the client’s connection too, so that nobody takes a part for the whole', async () => {
    const upstream = await startUpstream((incoming, outgoing) => {
      outgoing.writeHead(200)
      outgoing.write('half', () => incoming.socket.destroy())
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    await expect(ask(port)).rejects.toThrow(/aborted|hang up|ECONNRESET/)
  })

  test('is let go when the client leaves', async () => {
    let left: Promise<unknown> | undefined
    const upstream = await startUpstream((incoming, outgoing) => {
      left = once(incoming.socket, 'close')
      outgoing.writeHead(200)
      outgoing.write('x')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const outgoing = request({ host: '127.0.0.1', port, agent: false }).end()
    await once(outgoing, 'response')
    outgoing.destroy()
    await left
  })
})

describe('a WebSocket', () => {
  const handshake = (port: number, more = ''): string =>
    `GET /chat HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`

  test('is passed on with our token, early bytes included, both ways until one side ends', async () => {
    const upstream = await startUpstream(() => {})
    const seen: (string | undefined)[] = []
    upstream.server.on('upgrade', (incoming, socket) => {
      seen.push(incoming.headers.authorization, incoming.headers['sec-websocket-key'])
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n',
      )
      socket.on('data', (chunk: Buffer) =>
        chunk.toString() === 'bye' ? socket.end() : socket.write(`<${chunk}>`),
      )
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('data', chunk => {
      text += chunk
      if (text.endsWith('<early>')) socket.write('late')
      if (text.endsWith('<late>')) socket.write('bye')
    })
    socket.write(`${handshake(port)}early`)
    await once(socket, 'close')
    expect(text).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/)
    expect(text).toMatch(/sec-websocket-accept: a\r\n/i)
    expect(text).toMatch(/connection: upgrade\r\nupgrade: websocket\r\n\r\n<early><late>$/)
    expect(seen).toEqual(['Bearer token-1', 'k'])
  })

  test('with a token that is refused gets the next one', async () => {
    const upstream = await startUpstream(() => {})
    upstream.server.on('upgrade', (incoming, socket) => {
      const isGood = incoming.headers.authorization === 'Bearer token-2'
      socket.end(
        `HTTP/1.1 ${isGood ? '101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket' : '401 No\r\nContent-Length: 0'}\r\n\r\n`,
      )
    })
    const tokens = scriptedTokens()
    const { port } = await proxyBefore(upstream.origin, tokens)
    expect(await sendRaw(port, handshake(port))).toMatch(/^HTTP\/1\.1 101 /)
    expect(tokens.replaced()).toBe(1)
  })

  test.each([
    ['from a web page', 'Origin: https://evil.test\r\n', 403],
    ['of another protocol', '', 400],
  ])('%s is refused, and the upstream hears nothing', async (what, more, status) => {
    const upstream = await startUpstream(() => {})
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const bytes =
      what === 'of another protocol'
        ? handshake(port).replace('Upgrade: websocket', 'Upgrade: h2c')
        : handshake(port, more)
    expect(await sendRaw(port, bytes)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(upstream.seen).toEqual([])
  })
})

describe('closed to everyone else', () => {
  const shapes: [what: string, bytes: (port: number) => string, status: RegExp][] = [
    ['another Host', () => 'GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n', /^HTTP\/1\.1 421 /],
    [
      'two Hosts',
      port => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nHost: evil.test\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'an absolute target',
      port => `GET http://evil.test/ HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a form of a web page',
      port =>
        `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: https://evil.test\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}`,
      /^HTTP\/1\.1 403 /,
    ],
    ['TRACE', port => `TRACE / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, /^HTTP\/1\.1 405 /],
    [
      'CONNECT',
      port => `CONNECT evil.test:443 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`,
      /^HTTP\/1\.1 405 /,
    ],
    ['bare line feeds', port => `GET / HTTP/1.1\nHost: 127.0.0.1:${port}\n\n`, /^HTTP\/1\.1 400 /],
    [
      'a folded field',
      port => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-A: b\r\n c\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a space before the colon',
      port => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-B : d\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'two ways of framing',
      port =>
        `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'two lengths',
      port =>
        `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a length with a sign',
      port => `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: +2\r\n\r\nab`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'another transfer coding',
      port => `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a header without end',
      port => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${'X-A: aaaaaaaaaa\r\n'.repeat(5000)}\r\n`,
      /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/,
    ],
    ['something that is not HTTP', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', /^HTTP\/1\.1 400 /],
  ]
  test.each(shapes)('%s gets no further than here', async (_, bytes, status) => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    expect(await sendRaw(port, bytes(port))).toMatch(status)
    expect(upstream.seen).toEqual([])
  })

  test('a flood is one refusal, however many pieces it comes in', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const head = `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`
    await sendRaw(port, `${head}${'X-A: aaaaaaaaaa\r\n'.repeat(100_000)}\r\n`)
    const { body } = await ask(port, '/.tokctl/metrics')
    expect(body).toContain('tokctl_proxy_refused_total{route="api",reason="framing"} 1\n')
  })

  test('the connection of another user is ended without a word', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens(), {
      uid: (process.getuid?.() ?? 0) + 1,
    })
    const bytes = `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`
    expect(await sendRaw(port, bytes)).toBe('')
    expect(await sendRaw(port, bytes, undefined, '::ffff:127.0.0.1')).toBe('')
    expect(upstream.seen).toEqual([])
  })

  test('a client whose sockets are of IPv6, as those of Java, reaches an address of IPv4', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const bytes = `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`
    expect(await sendRaw(port, bytes, undefined, '::ffff:127.0.0.1')).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('where nothing says whose a connection is, a port is open to those alone who show a secret', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    await expect(proxyBefore(upstream.origin, scriptedTokens(), { uid: 'unknown' })).rejects.toMatchObject({
      code: 'config_invalid',
      message:
        'proxy "api": this system does not say whose a connection is, so every user of this machine could use 127.0.0.1',
      hint: 'add --client-auth FILE (client_auth in [proxy.api]), or listen at unix:/path',
    })
    const asking = await proxyBefore(upstream.origin, scriptedTokens(), {
      uid: 'unknown',
      clientSecret: new Secret('client-canary'),
    })
    expect((await ask(asking.port)).status).toBe(401)
    const directory = mkdtempSync(join(tmpdir(), 'tokctl-socket-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    await proxyBefore(upstream.origin, scriptedTokens(), {
      uid: 'unknown',
      listen: { kind: 'unix', path: join(directory, 'api.sock') },
    })
  })

  test('a secret is asked of clients where one is set, and is not passed on', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens(), {
      clientSecret: new Secret('client-canary'),
    })
    expect((await ask(port)).status).toBe(401)
    expect((await ask(port, '/.tokctl/metrics')).status).toBe(401)
    expect((await ask(port, '/', { headers: { 'x-tokctl-auth': 'client-canary' } })).status).toBe(200)
    expect((await ask(port, '/', { headers: { authorization: 'Bearer client-canary' } })).status).toBe(200)
    expect(JSON.stringify(upstream.seen.map(({ rawHeaders }) => rawHeaders))).not.toContain('client-canary')
  })

  test('a unix socket is its owner’s alone from the first moment, a dead one is replaced, a live one and a file are not', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tokctl-socket-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const path = join(directory, 'api.sock')
    const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
    const listen = { listen: { kind: 'unix', path } } as const
    const proxy = await proxyBefore(upstream.origin, scriptedTokens(), listen)
    expect(proxy.addresses).toEqual([`unix:${path}`])
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const outgoing = request({ socketPath: path, path: '/', headers: { host: 'localhost' } }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(await bodyOf(incoming)).toBe('ok')
    await expect(proxyBefore(upstream.origin, scriptedTokens(), listen)).rejects.toMatchObject({
      code: 'config_invalid',
      message: `cannot listen at the socket ${path} (somebody listens there)`,
    })
    await proxy.close()
    expect(() => statSync(path)).toThrow()
    writeFileSync(path, 'precious')
    await expect(proxyBefore(upstream.origin, scriptedTokens(), listen)).rejects.toMatchObject({
      code: 'config_invalid',
      message: `cannot listen at the socket ${path} (there is something else)`,
    })
    expect(statSync(path).size).toBe(8)
  })

  test('a unix socket has a path that its clients can name, to the last byte of it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tokctl-socket-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
    const max = process.platform === 'linux' ? 107 : 103
    const longest = join(directory, 's'.repeat(max)).slice(0, max)
    await proxyBefore(upstream.origin, scriptedTokens(), { listen: { kind: 'unix', path: longest } })
    const outgoing = request({ socketPath: longest, path: '/', headers: { host: 'localhost' } }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    expect(await bodyOf(incoming)).toBe('ok')
    const below = join(directory, 'd'.repeat(max - 17 - directory.length))
    for (const path of [`${longest}s`, join(below, 's')]) {
      const listen = { kind: 'unix', path } as const
      await expect(proxyBefore(upstream.origin, scriptedTokens(), { listen })).rejects.toMatchObject({
        code: 'config_invalid',
        message: `cannot listen at the socket ${path} (the path is too long)`,
        hint: `choose one of at most ${max} bytes, ${max - 17} for its directory: unix:/run/user/1000/api.sock`,
      })
    }
    expect(readdirSync(directory)).toEqual([longest.slice(directory.length + 1)])
  })
})

describe('a token that is bound to a key', () => {
  test('goes with a proof for each request, and the nonce that the upstream wants costs no token', async () => {
    const key = makeDpopKey()
    const bound: Token = {
      accessToken: new Secret('bound'),
      tokenType: 'DPoP',
      scope: undefined,
      obtainedAt: 0,
      expiresAt: undefined,
      refreshToken: undefined,
      dpopKey: key,
    }
    const given = scriptedTokens()
    const tokens: Tokens = { ...given, peek: () => bound, get: async () => bound }
    const ids = new Set<string>()
    const proofs: object[] = []
    const waiting: (() => void)[] = []
    const isTaken = ({ headers }: IncomingMessage): boolean => {
      const [head = '', body = '', signature = ''] = String(headers['dpop']).split('.')
      const read = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString())
      const { jwk, typ } = read(head)
      const signer = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' } as const
      expect(
        verify('sha256', Buffer.from(`${head}.${body}`), signer, Buffer.from(signature, 'base64url')),
      ).toBe(true)
      const { jti, iat, ...claims } = read(body)
      expect([typ, headers.authorization, ids.has(jti)]).toEqual(['dpop+jwt', 'DPoP bound', false])
      ids.add(jti)
      if (claims.nonce !== 'n1') return false
      proofs.push(claims)
      return true
    }
    const upstream = await startUpstream((incoming, outgoing) => {
      const isGood = isTaken(incoming)
      const answer = (): void => void outgoing.writeHead(isGood ? 200 : 401, { 'dpop-nonce': 'n1' }).end()
      if (isGood) return answer()
      // None is answered before all are here: each was sent without it.
      waiting.push(answer)
      if (waiting.length === 3) for (const each of waiting) each()
    })
    upstream.server.on('upgrade', (incoming, socket) => {
      const isGood = isTaken(incoming)
      socket.end(
        isGood
          ? 'HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
          : 'HTTP/1.1 401 Unauthorized\r\nDPoP-Nonce: n1\r\nContent-Length: 0\r\n\r\n',
      )
    })
    const { port } = await proxyBefore(upstream.origin, tokens, {
      upstream: { origin: upstream.origin, host: new URL(upstream.origin).host, path: '/base' },
      authorization: token => `DPoP ${token.accessToken.expose()}`,
    })
    const own = { dpop: 'of the client', authorization: 'DPoP of-the-client' }
    const answers = await Promise.all([
      ask(port, '/a?b=c', { headers: own }),
      ask(port, '/p', { method: 'POST', headers: own, body: 'kept' }),
      ask(port, '/p', { method: 'POST', headers: own, body: 'kept' }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    const path = (name: string) => `${upstream.origin}/base/${name}`
    const ath = createHash('sha256').update('bound').digest('base64url')
    const get = { htm: 'GET', htu: path('a'), nonce: 'n1', ath }
    const post = { htm: 'POST', htu: path('p'), nonce: 'n1', ath }
    expect(proofs).toHaveLength(3)
    expect(proofs).toEqual(expect.arrayContaining([get, post]))
    expect([upstream.seen.length, given.replaced()]).toEqual([6, 0])
    // Known from then on.
    expect((await ask(port, '/a')).status).toBe(200)
    expect(upstream.seen).toHaveLength(7)
    keepNonce(upstream.origin, 'old', undefined)
    const handshake = `GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nDPoP: of-the-client\r\n\r\n`
    expect(await sendRaw(port, handshake)).toMatch(/^HTTP\/1\.1 101 /)
    expect(proofs.at(-1)).toEqual({ htm: 'GET', htu: path('ws'), nonce: 'n1', ath })
    expect(given.replaced()).toBe(0)
  })

  test('whose key cannot be used is told of, and the proxy goes on', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens(), {
      authorization() {
        throw new TokctlError('config_invalid', 'the kept key cannot be used')
      },
    })
    for (const method of ['GET', 'POST']) {
      const { status, body, headers } = await ask(port, '/', { method })
      expect([status, headers['tokctl-error'], body]).toEqual([
        502,
        'config_invalid',
        'tokctl: the kept key cannot be used\n',
      ])
    }
    expect(upstream.seen).toEqual([])
  })
})

describe('what it says of itself', () => {
  test('health and metrics never reach the upstream and show no token', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    await ask(port)
    expect(JSON.parse((await ask(port, '/.tokctl/health')).body)).toEqual({
      status: 'ok',
      route: 'api',
      in_flight: 0,
    })
    const { body } = await ask(port, '/.tokctl/metrics')
    expect(body).toContain('tokctl_proxy_requests_total{route="api",code="200"} 1\n')
    expect(body).not.toContain('token-1')
    expect((await ask(port, '/.tokctl/else')).status).toBe(404)
    expect(upstream.seen).toHaveLength(1)
  })

  test('an address that is taken is said, with what to do', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end())
    const port = Number(new URL(upstream.origin).port)
    const listen = { listen: { kind: 'tcp', host: '127.0.0.1', port } } as const
    await expect(proxyBefore(upstream.origin, scriptedTokens(), listen)).rejects.toMatchObject({
      code: 'config_invalid',
      message: `proxy "api": cannot listen at 127.0.0.1:${port} (EADDRINUSE)`,
      hint: 'choose another port, or 0 for any that is free',
    })
  })

  test('closing lets what runs end, and takes nothing new', async () => {
    let release = (): void => {}
    const upstream = await startUpstream((_, outgoing) => {
      outgoing.writeHead(200)
      outgoing.write('a')
      release = () => outgoing.end('b')
    })
    const proxy = await proxyBefore(upstream.origin, scriptedTokens())
    const outgoing = request({ host: '127.0.0.1', port: proxy.port, agent: false }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    const closed = proxy.close()
    await expect(ask(proxy.port)).rejects.toThrow(/ECONNREFUSED|ECONNRESET|hang up/)
    release()
    expect(await bodyOf(incoming)).toBe('ab')
    await closed
  })

  test('closing waits for what never ends no longer than its limit', async () => {
    const upstream = await startUpstream((_, outgoing) => {
      outgoing.writeHead(200)
      outgoing.write('a')
    })
    const proxy = await proxyBefore(upstream.origin, scriptedTokens(), { limits: { drainMs: 100 } })
    const outgoing = request({ host: '127.0.0.1', port: proxy.port, agent: false }).end()
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
    await proxy.close()
    await expect(bodyOf(incoming)).rejects.toThrow('aborted')
  })

  test('closing ends a WebSocket too, once its limit is over', async () => {
    const upstream = await startUpstream(() => {})
    upstream.server.on('upgrade', (_, socket) => {
      socket
        .resume()
        .on('error', () => {})
        .on('end', () => upstream.server.emit('gone'))
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    })
    const proxy = await proxyBefore(upstream.origin, scriptedTokens(), { limits: { drainMs: 100 } })
    const socket = connect(proxy.port, '127.0.0.1').on('error', () => {})
    onTestFinished(() => void socket.destroy())
    socket.write(
      `GET / HTTP/1.1\r\nHost: 127.0.0.1:${proxy.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    )
    await once(socket, 'data')
    const gone = once(upstream.server, 'gone')
    await proxy.close()
    await gone
  })

  test('what runs has ten seconds to end', () => {
    expect(proxyLimits.drainMs).toBe(10_000)
  })
})
