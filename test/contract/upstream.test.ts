import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { openUpstream } from '../../src/source/upstream-pool.ts'
import { makeCertificates } from '../support/certificates.ts'
import { type ProxyOptions, startProxy } from '../support/proxy-server.ts'
import { startRawServer } from '../support/raw-server.ts'

/** A server that speaks TLS, and the way to it through a proxy that wants to know who asks. */
async function behindProxy(authorization?: string, options: ProxyOptions = {}, connectMs?: number) {
  const certificates = makeCertificates()
  const server = await startRawServer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', certificates.server)
  const proxy = await startProxy({ authorization: 'Basic dTpw', ...options })
  const origin = `https://127.0.0.1:${server.port}`
  const env = { https_proxy: `http://${authorization ?? ''}127.0.0.1:${proxy.port}` }
  const environment = { env } as unknown as Environment
  const ca = readFileSync(certificates.caFile, 'utf8')
  const upstream = await openUpstream(origin, { ca, cert: undefined, key: undefined }, environment, connectMs)
  onTestFinished(async () => {
    await upstream.dispatcher.destroy()
    await proxy.close()
    server.close()
    certificates.remove()
  })
  const ask = (headers: string[]) =>
    new Promise<string>(resolve => {
      upstream.dispatcher.dispatch(
        { origin, path: '/a', method: 'GET', headers },
        {
          onResponseStart() {},
          onRequestStart() {},
          onResponseEnd: () => resolve('answered'),
          onResponseError: (_, error) => resolve((error as NodeJS.ErrnoException).code ?? error.message),
        },
      )
    })
  return { server, proxy, upstream, ask }
}

test('through a proxy the upstream is reached by a tunnel: it hears each header field as it was sent, the proxy none', async () => {
  const { server, proxy, upstream, ask } = await behindProxy('u:p@')
  expect(await ask(['accept', 'a', 'accept', 'b', 'authorization', 'Bearer canary'])).toBe('answered')
  expect(server.requests[0]).toMatch(/\r\naccept: a\r\naccept: b\r\nauthorization: Bearer canary\r\n/)
  const socket = await upstream.connect()
  socket.end('GET / HTTP/1.1\r\n\r\n')
  expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 /)
  socket.destroy()
  expect(proxy.requests.map(({ method, target }) => `${method} ${target}`)).toEqual(
    Array(2).fill(`CONNECT 127.0.0.1:${server.port}`),
  )
  expect(JSON.stringify(proxy.requests)).not.toContain('canary')
})

test('a proxy that refuses the tunnel is told by its status, and the upstream hears nothing', async () => {
  const { server, ask } = await behindProxy()
  expect(await ask([])).toBe('PROXY_407')
  expect(server.requests).toEqual([])
})

test('a proxy that closes the connection in the place of an answer is asked once', async () => {
  const { proxy, ask } = await behindProxy('u:p@', { closes: true })
  expect(await ask([])).toBe('ECONNRESET')
  expect(proxy.requests).toHaveLength(1)
})

test('tunnels are opened beside each other: one that the proxy keeps waiting keeps no other', async () => {
  const waiting: (() => void)[] = []
  const { proxy, ask } = await behindProxy('u:p@', {
    hold: go => {
      if (waiting.push(go) === 3) for (const each of waiting) each()
    },
  })
  expect(await Promise.all([ask([]), ask([]), ask([])])).toEqual(Array(3).fill('answered'))
  expect(proxy.requests).toHaveLength(3)
})

test.each([
  ['answers no CONNECT', { silent: true }],
  ['opens a tunnel in which nobody speaks', { deaf: true }],
])('a proxy that %s is given up in the time that any connection has', async (_, options) => {
  const { server, ask } = await behindProxy('u:p@', options, 100)
  expect(await ask([])).toBe('UND_ERR_CONNECT_TIMEOUT')
  expect(server.requests).toEqual([])
})

test.each(['100 Continue', '102 Processing', '103 Early Hints', '199 Whatever'])(
  'an interim answer is passed over, unasked and repeated: %s',
  async status => {
    const interim = `HTTP/1.1 ${status}\r\nLink: </x>\r\n\r\n`
    const server = await startRawServer(({ socket }) => {
      // In one piece with the answer, in several, and split within.
      socket.write(interim)
      socket.write(interim.slice(0, 15))
      socket.write(`${interim.slice(15)}${interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`)
    })
    const origin = `http://127.0.0.1:${server.port}`
    const { dispatcher } = await openUpstream(origin, undefined, { env: {} } as unknown as Environment)
    onTestFinished(async () => {
      await dispatcher.destroy()
      await server.close()
    })
    const statuses: number[] = []
    const body = await new Promise<string>((resolve, reject) => {
      let text = ''
      dispatcher.dispatch(
        { origin, path: '/', method: 'POST', headers: [], body: 'a body' },
        {
          onRequestStart() {},
          onResponseStart: (_, said) => void statuses.push(said),
          onResponseData: (_, chunk) => {
            text += chunk
          },
          onResponseEnd: () => resolve(text),
          onResponseError: (_, error) => reject(error),
        },
      )
    })
    expect(body).toBe('ok')
    expect(statuses.at(-1)).toBe(200)
    expect(statuses.slice(0, -1).every(said => said < 200)).toBe(true)
  },
)
