import { EventEmitter, once } from 'node:events'
import { Agent, type IncomingMessage, request, ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { queryObjects } from 'node:v8'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import { Exchange, type Forwarding } from '../../src/proxy/forward.ts'
import { proxyLimits } from '../../src/proxy/proxy.ts'
import { proxyBefore, scriptedTokens, sendRaw, startUpstream } from '../support/proxy-route.ts'

// Clients that are many, slow, or gone.

/** Connections that stay open until the test has ended. */
async function open(port: number, n: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  // No more at once than the kernel keeps for a server that is busy: it would let the others wait for seconds.
  while (sockets.length < n) {
    const some = Array.from({ length: Math.min(100, n - sockets.length) }, () =>
      connect(port, '127.0.0.1').on('error', () => {}),
    )
    sockets.push(...some)
    await Promise.all(some.map(socket => once(socket, 'connect')))
  }
  return sockets
}

const get = (port: number): string => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`

test('a thousand idle connections do not keep others from being served; more than allowed are ended at once', async () => {
  const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits: { connections: 1002 } })
  await open(port, 1000)
  expect(await sendRaw(port, get(port))).toMatch(/^HTTP\/1\.1 200 /)
  const ended = new EventEmitter()
  let left = 5
  for (let i = 0; i < 5; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    socket.on('close', () => --left <= 2 && ended.emit('enough'))
    onTestFinished(() => void socket.destroy())
  }
  await once(ended, 'enough')
})

test('who sends no whole header in time is told so and let go; who asks no more after an answer is let go too', async () => {
  const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
  const limits = { headerMs: 50, idleMs: 50, watchMs: 20 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits })
  expect(await sendRaw(port, '')).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
  expect(await sendRaw(port, 'GET / HTTP/1.1\r\nHost: ')).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
  expect(await sendRaw(port, get(port).replace('close', 'keep-alive'))).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok$/)
})

test('a client that stops sending in mid-body is given up, and so is its request', async () => {
  let gone = 0
  const upstream = await startUpstream(incoming => {
    incoming.resume().on('error', () => {})
    incoming.socket.on('close', () => upstream.server.emit('gone', ++gone))
  })
  const limits = { clientStallMs: 50, watchMs: 20 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits })
  const head = `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`
  expect(await sendRaw(port, `${head}Content-Length: 10\r\n\r\nhalf`)).toBe('')
  expect(await sendRaw(port, `${head}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`)).toBe('')
  // The first one was not whole, and never went out.
  if (gone === 0) await once(upstream.server, 'gone')
})

test('a client that stops reading is given up; meanwhile no more is read from the upstream than fits in between', async () => {
  let sent = 0
  const upstream = await startUpstream((incoming, outgoing) => {
    incoming.socket.on('close', () => upstream.server.emit('gone'))
    const more = (): void => {
      while (outgoing.write(Buffer.alloc(65_536))) sent += 65_536
      outgoing.once('drain', more)
    }
    more()
  })
  const limits = { clientTakeMs: 100, watchMs: 20 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits })
  const [client] = await open(port, 1)
  client!.pause()
  const gone = once(upstream.server, 'gone')
  client!.write(get(port))
  await gone
  expect(sent).toBeLessThan(64 * 1_048_576)
})

test('a client that sends without end and takes nothing of what comes back is given up', async () => {
  const upstream = await startUpstream((incoming, outgoing) => {
    incoming.socket.on('close', () => upstream.server.emit('gone'))
    incoming.on('error', () => {})
    incoming.pipe(outgoing)
  })
  const limits = { clientTakeMs: 100, watchMs: 20 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits, maxBodyBytes: 2 ** 40 })
  const [client] = await open(port, 1)
  client!.pause()
  const gone = once(upstream.server, 'gone')
  client!.write(
    get(port)
      .replace('GET', 'POST')
      .replace('\r\n\r\n', `\r\nContent-Length: ${2 ** 40}\r\n\r\n`),
  )
  const more = (): void => {
    while (client!.write(Buffer.alloc(65_536)));
    client!.once('drain', more)
  }
  more()
  await gone
})

test('a stream both ways goes on, however long its client has nothing to say', async () => {
  const upstream = await startUpstream((incoming, outgoing) => {
    outgoing.write('begun')
    incoming.on('error', () => {})
    incoming.pipe(outgoing)
  })
  let skipped = 0
  const looks = new EventEmitter()
  const monotonic = (): number => {
    looks.emit('look')
    return systemClock.monotonic() + skipped
  }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), {
    limits: { watchMs: 20 },
    clock: { ...systemClock, monotonic },
  })
  const [client] = await open(port, 1)
  let text = ''
  const heard = async (word: string): Promise<void> => {
    while (!text.includes(word)) text += (await once(client!, 'data')).toString()
  }
  const chunked = '\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n'
  client!.write(get(port).replace('GET', 'POST').replace('\r\n\r\n', chunked))
  await heard('ping')
  skipped = 3_600_000
  // By now it is nobody but the watch that looks.
  for (let look = 0; look < 3; look++) await once(looks, 'look')
  client!.write('4\r\nlast\r\n0\r\n\r\n')
  await heard('\r\n0\r\n\r\n')
  expect(text).toContain('last')
})

test('a client that takes little at a time is given more of it than one that sends nothing', async () => {
  let now = 0
  const exchange = new Exchange(
    { complete: false } as IncomingMessage,
    { socket: {}, headersSent: true } as ServerResponse,
    { clock: { ...systemClock, monotonic: () => now } } as unknown as Forwarding,
  )
  exchange.isToTake(true)
  // 15 kB a second, and 4 MiB of the kernel's before us.
  now = 101_000
  expect(exchange.isStalled(now, proxyLimits)).toBe(false)
  now = 300_001
  expect(exchange.isStalled(now, proxyLimits)).toBe(true)
  exchange.isToTake(false)
  expect(exchange.isStalled(now, proxyLimits)).toBe(false)
})

test('an upstream that takes its time is waited for, however long the body was in coming', async () => {
  const upstream = await startUpstream(async (incoming, outgoing) => {
    for await (const _ of incoming);
    setTimeout(() => outgoing.end('late'), 200)
  })
  const limits = { clientStallMs: 50, watchMs: 20 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits })
  const body = 'Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'
  const text = await sendRaw(port, get(port).replace('GET', 'POST').replace('\r\n\r\n', `\r\n${body}`))
  expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*late/)
})

test('who waits for 100 before the body gets it once the header was let in, and not before', async () => {
  const upstream = await startUpstream(async (incoming, outgoing) => {
    let body = ''
    for await (const chunk of incoming) body += chunk
    outgoing.end(`${incoming.headers.expect} ${body}`)
  })
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { maxBodyBytes: 100 })
  const ask = (host: string, length: number) =>
    request({
      port,
      agent: false,
      method: 'POST',
      headers: { host, expect: '100-continue', 'content-length': length },
    })
  const good = ask(`127.0.0.1:${port}`, 4)
  good.flushHeaders()
  await once(good, 'continue')
  good.end('body')
  const [answer] = (await once(good, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of answer) text += chunk
  expect(text).toBe('undefined body')
  for (const [host, length, status] of [
    ['evil.test', 4, 421],
    [`127.0.0.1:${port}`, 101, 413],
  ] as const) {
    const refused = ask(host, length)
    refused.on('continue', () => expect.unreachable()).on('error', () => {})
    refused.flushHeaders()
    const [{ statusCode }] = (await once(refused, 'response')) as [IncomingMessage]
    expect(statusCode).toBe(status)
    refused.destroy()
  }
  expect(upstream.seen).toHaveLength(1)
})

test('an answer to HTTP/1.0 whose end is the end of the connection is seen to be broken where it is', async () => {
  const upstream = await startUpstream((incoming, outgoing) => {
    outgoing.write('half', () => incoming.socket.destroy())
  })
  const { port } = await proxyBefore(upstream.origin, scriptedTokens())
  const [client] = await open(port, 1)
  let text = ''
  client!.on('data', chunk => {
    text += chunk
  })
  const failed = once(client!, 'error').catch(error => [error])
  client!.write(`GET / HTTP/1.0\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
  expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
  expect(text).not.toMatch(/transfer-encoding/i)
})

test('an upload that is refused early is answered, and the client can read the answer while it still sends', async () => {
  const upstream = await startUpstream((_, outgoing) => outgoing.writeHead(403).end('no'))
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { maxBodyBytes: 100_000_000 })
  const [client] = await open(port, 1)
  let text = ''
  client!.on('data', chunk => {
    text += chunk
  })
  client!.write(
    `${get(port).replace('GET', 'POST').trimEnd()}\r\nContent-Length: 800000\r\n\r\n${'x'.repeat(100_000)}`,
  )
  while (!text.includes('no')) await once(client!, 'data')
  expect(text).toMatch(/^HTTP\/1\.1 403 /)
  client!.write('x'.repeat(700_000))
  await once(client!, 'close')
})

test('of three hundred requests nothing stays behind', async () => {
  const upstream = await startUpstream((_, outgoing) => outgoing.end('x'.repeat(1024)))
  const { port } = await proxyBefore(upstream.origin, scriptedTokens())
  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  onTestFinished(() => agent.destroy())
  const ask = async (i: number): Promise<void> => {
    const body = i % 3 === 0 ? 'body' : ''
    const [answer] = await once(
      request({ host: '127.0.0.1', port, agent, method: body ? 'POST' : 'GET' }).end(body),
      'response',
    )
    await once(answer.resume(), 'end')
  }
  await Promise.all(Array.from({ length: 300 }, (_, i) => ask(i)))
  upstream.seen.length = 0
  // Whatever a connection that is kept still holds is of its last request.
  for (const kind of [Exchange, ServerResponse]) {
    expect(queryObjects(kind, { format: 'count' })).toBeLessThanOrEqual(16)
  }
})
