import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Clock, systemClock } from '../../src/core/time.ts'
import { proxyBefore, scriptedTokens, startUpstream, type Upstream } from '../support/proxy-route.ts'

// Several requests on one connection, sent before the first is answered.

/** An upstream whose answers a test gives by itself, by path. */
async function heldUpstream() {
  const held = new Map<string, ServerResponse>()
  const upstream = await startUpstream((incoming, outgoing) => {
    incoming.resume().on('error', () => {})
    held.set(incoming.url ?? '', outgoing)
    upstream.server.emit('held')
  })
  /** Resolves once all of these were asked for. */
  const asked = async (...paths: string[]): Promise<ServerResponse[]> => {
    while (!paths.every(path => held.has(path))) await once(upstream.server, 'held')
    return paths.map(path => held.get(path) as ServerResponse)
  }
  return { ...upstream, asked }
}

/** A client's connection and what came on it. */
function client(port: number) {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  onTestFinished(() => void socket.destroy())
  let text = ''
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
    socket.emit('more')
  })
  return {
    socket,
    text: () => text,
    /** Resolves once that came. */
    async has(what: RegExp | ((text: string) => boolean)): Promise<void> {
      const isThere = typeof what === 'function' ? what : (all: string) => what.test(all)
      while (!isThere(text)) await once(socket, 'more')
    },
    /** Resolves once the connection is over. */
    async end(): Promise<string> {
      if (!socket.closed) await once(socket, 'close')
      return text
    },
  }
}

const get = (port: number, path: string): string => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`

async function inFlight(port: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/.tokctl/health`)
  return ((await answer.json()) as { in_flight: number }).in_flight
}

const closed = ({ req }: ServerResponse): Promise<unknown> =>
  req.socket.closed ? Promise.resolve() : once(req.socket, 'close')

test('whoever leaves takes the requests along that waited their turn', async () => {
  const upstream = await heldUpstream()
  const { port } = await proxyBefore(upstream.origin, scriptedTokens())
  const { socket } = client(port)
  socket.write(get(port, '/1') + get(port, '/2') + get(port, '/3'))
  const answers = await upstream.asked('/1', '/2', '/3')
  answers[1]?.end('early')
  await once(answers[1] as ServerResponse, 'finish')
  expect(await inFlight(port)).toBe(3)
  socket.destroy()
  await Promise.all([closed(answers[0] as ServerResponse), closed(answers[2] as ServerResponse)])
  expect(await inFlight(port)).toBe(0)
})

test('many that wait on one connection are no reason for a warning, and each is answered in its turn', async () => {
  const upstream = await heldUpstream()
  const { port } = await proxyBefore(upstream.origin, scriptedTokens())
  const warned: Error[] = []
  const note = (warning: Error): void => void warned.push(warning)
  process.on('warning', note)
  onTestFinished(() => void process.off('warning', note))
  const { socket, has } = client(port)
  const paths = Array.from({ length: 30 }, (_, i) => `/${i}`)
  socket.write(paths.map(path => get(port, path)).join(''))
  const answers = await upstream.asked(...paths)
  for (const [i, answer] of answers.reverse().entries()) answer.end(`<${29 - i}>`)
  await has(/<29>/)
  await has(text => paths.every((_, i) => i === 0 || text.indexOf(`<${i - 1}>`) < text.indexOf(`<${i}>`)))
  expect(await inFlight(port)).toBe(0)
  expect(warned).toEqual([])
})

/** The machine's clock, put forward at will; `looked` resolves once the proxy has looked for stalled clients since. */
function lookedClock() {
  let ahead = 0
  let looks = 0
  let wake = (): void => {}
  const clock: Clock = {
    ...systemClock,
    monotonic() {
      looks++
      wake()
      return systemClock.monotonic() + ahead
    },
  }
  return {
    clock,
    async skip(ms: number): Promise<void> {
      ahead += ms
      const enough = looks + 3
      while (looks < enough)
        await new Promise<void>(resolve => {
          wake = resolve
        })
    },
  }
}

test('one that waits its turn with more than fits is not taken for stalled, and the first goes on', async () => {
  const upstream = await heldUpstream()
  const { clock, skip } = lookedClock()
  const limits = { watchMs: 10 }
  const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { clock, limits })
  const { socket, has, end } = client(port)
  socket.write(get(port, '/1') + get(port, '/2').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
  const [first, second] = (await upstream.asked('/1', '/2')) as [ServerResponse, ServerResponse]
  first.write('<1')
  await has(/<1/)
  // More than is kept on the way: the upstream has to wait.
  const large = 'x'.repeat(16_777_216)
  second.end(large)
  for (let i = 0; i < 10; i++) await skip(10_000)
  first.end('>')
  const text = await end()
  expect(text).toContain('<1')
  expect(text.slice(text.indexOf('\r\n\r\n')).replaceAll(/[^x]/g, '').length).toBeGreaterThanOrEqual(
    large.length,
  )
})

describe('what follows a request and is no request', () => {
  const streaming = async (
    limits = {},
  ): Promise<{ upstream: Upstream; port: number } & ReturnType<typeof client>> => {
    const upstream = await startUpstream((_: IncomingMessage, outgoing: ServerResponse) => {
      outgoing.write('<begun')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens(), { limits })
    const all = client(port)
    all.socket.write(get(port, '/stream'))
    await all.has(/<begun/)
    return { upstream, port, ...all }
  }

  test.each([
    ['is not HTTP', () => '\x16\x03\x01\r\n\r\n'],
    [
      'is not whole in time',
      (port: number) => `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`,
      { headerMs: 400, watchMs: 20 },
    ],
    [
      'frames itself twice',
      (port: number) =>
        get(port, '/').replace('\r\n\r\n', '\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'),
    ],
    ['is a CONNECT', () => 'CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n'],
    [
      'is an upgrade',
      (port: number) => get(port, '/').replace('\r\n\r\n', '\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n'),
    ],
    [
      'is a WebSocket',
      (port: number) =>
        get(port, '/').replace('\r\n\r\n', '\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
    ],
  ])('ends the running answer without a word where it %s', async (_, bytes, more?: object) => {
    const { port, socket, end, upstream } = await streaming(more)
    socket.write(bytes(port))
    const text = await end()
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(text).toMatch(/<begun\r\n$/)
    expect(upstream.seen).toHaveLength(1)
  })

  test('is not taken for the answer of one that has none yet', async () => {
    const upstream = await heldUpstream()
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const { socket, end } = client(port)
    socket.write(`${get(port, '/1')}\x16\x03\x01\r\n\r\n`)
    expect(await end()).toBe('')
  })

  test('is answered where nothing runs', async () => {
    const upstream = await startUpstream((_, outgoing) => outgoing.end('ok'))
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const { socket, has, end } = client(port)
    socket.write(get(port, '/1'))
    await has(/ok/)
    socket.write('\x16\x03\x01\r\n\r\n')
    expect((await end()).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400'])
  })

  test('ends an upload whose chunks are none, after its answer began', async () => {
    const upstream = await startUpstream((incoming, outgoing) => {
      incoming.resume().on('error', () => {})
      outgoing.write('<begun')
    })
    const { port } = await proxyBefore(upstream.origin, scriptedTokens())
    const { socket, has, end } = client(port)
    socket.write(
      get(port, '/')
        .replace('GET', 'POST')
        .replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'),
    )
    await has(/<begun/)
    socket.write('no chunk\r\n')
    expect((await end()).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
  })
})
