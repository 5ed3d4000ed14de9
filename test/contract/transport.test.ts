import { execFile } from 'node:child_process'
import dns from 'node:dns'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import { createSend } from '../../src/source/send.ts'
import type { HttpRequest, HttpResponse, Send } from '../../src/source/transport.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { type ProxyServer, startProxy } from '../support/proxy-server.ts'
import { type RawRequest, type RawServer, rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment } from '../support/source-ports.ts'

const mebibyte = 1_048_576

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

async function server(
  answer: string | Uint8Array | ((request: RawRequest) => void),
  secure = false,
): Promise<RawServer> {
  const started = await startRawServer(answer, secure ? certificates.server : undefined)
  onTestFinished(() => started.close())
  return started
}

/** A server, and the names that it was asked for in handshakes. */
async function serverTellingNames(): Promise<{ port: number; asked: string[] }> {
  const asked: string[] = []
  const { port, close } = await startRawServer(rawAnswer(200, {}, 'hello'), {
    ...certificates.server,
    SNICallback(name, done) {
      asked.push(name)
      done(null)
    },
  })
  onTestFinished(close)
  return { port, asked }
}

function ask(port: number, given: Partial<HttpRequest> = {}, scheme = 'http'): HttpRequest {
  return {
    method: 'POST',
    url: `${scheme}://127.0.0.1:${port}/token?secret=in-the-query`,
    headers: { accept: 'application/json' },
    body: 'a=1',
    tls: undefined,
    timeoutMs: 5000,
    signal: undefined,
    ...given,
  }
}

async function failure(promise: Promise<unknown>): Promise<TokctlError> {
  const error = await promise.then(
    value => {
      throw new Error(`expected a failure, got ${JSON.stringify(value)}`)
    },
    (error: TokctlError) => error,
  )
  expect(`${error.message} ${error.hint}`).not.toMatch(/in-the-query|hunter2/)
  return error
}

const ways = ['directly', 'through a proxy'] as const

describe.each(ways)('%s', way => {
  let proxy: ProxyServer | undefined
  let env: Record<string, string> = {}
  let send: Send
  const reached = (port: number): string =>
    way === 'directly' ? `127.0.0.1:${port}` : `127.0.0.1:${port} (through proxy 127.0.0.1:${proxy?.port})`

  beforeEach(async () => {
    if (way === 'through a proxy') {
      proxy = await startProxy()
      env = { ALL_PROXY: `http://127.0.0.1:${proxy.port}` }
    }
    send = createSend({ environment: bareEnvironment(env), clock: systemClock, directWire })
    return () => proxy?.close()
  })

  test('carries method, path, headers and body, asks for no encoding, and gives status, headers and body', async () => {
    const { port, requests } = await server(
      rawAnswer(201, { 'Content-Type': 'application/json', 'X-Twice': 'a', 'x-twice': 'b' }, '{"ok":"é"}'),
    )
    const response = await send(ask(port, { body: 'grant=ü', headers: { accept: 'x/y', 'x-own': '1' } }))
    expect(response).toMatchObject({ status: 201, body: '{"ok":"é"}' } satisfies Partial<HttpResponse>)
    expect({ ...response.headers }).toMatchObject({ 'content-type': 'application/json', 'x-twice': 'a, b' })
    const [seen = ''] = requests
    expect(seen).toMatch(/^POST \/token\?secret=in-the-query HTTP\/1\.1\r\n/)
    expect(seen).toMatch(/^accept-encoding: identity\r$/im)
    expect(seen).toMatch(/^accept: x\/y\r$/im)
    expect(seen).toMatch(/^x-own: 1\r$/im)
    expect(seen).toMatch(/^content-length: 8\r$/im)
    expect(Buffer.from(seen, 'latin1').toString()).toMatch(/grant=ü$/)
    expect(proxy?.requests.map(r => r.method) ?? ['POST']).toEqual(['POST'])
  })

  test('sends GET without a body', async () => {
    const { port, requests } = await server(rawAnswer(200, {}, 'x'))
    await send(ask(port, { method: 'GET', body: undefined }))
    expect(requests[0]).toMatch(/^GET /)
    expect(requests[0]).not.toMatch(/^content-length|^transfer-encoding/im)
  })

  test('takes a new connection for each request and asks to close it', async () => {
    const { port, requests } = await server(({ socket }) => socket.write(rawAnswer(200, {}, 'kept open')))
    for (const _ of [1, 2]) expect(await send(ask(port))).toMatchObject({ body: 'kept open' })
    expect(requests).toHaveLength(2)
    for (const request of requests) expect(request).toMatch(/^connection: close\r$/im)
  })

  test('sends a body of any size whole, and hears an answer that comes bit by bit', async () => {
    const answer = rawAnswer(200, { 'Transfer-Encoding': 'chunked', 'X-Long': 'y'.repeat(9000) }, '')
    const chunks = '1;name="v"\r\n{\r\n00A\r\n"a":"b123"\r\n01\r\n}\r\n0\r\nX-Trailer: 1\r\n\r\n'
    const text = `${Buffer.from(answer)
      .toString('latin1')
      .replace(/Content-Length: 0\r\n/, '')}${chunks}`
    const { port, requests } = await server(({ socket }) => {
      socket.setNoDelay(true)
      const next = (at: number): void => {
        if (at >= text.length) return
        socket.write(text.slice(at, at + 7), () => next(at + 7))
      }
      next(0)
    })
    const body = 'x'.repeat(3_000_000)
    expect(await send(ask(port, { body }))).toMatchObject({ status: 200, body: '{"a":"b123"}' })
    expect(requests[0]?.length).toBeGreaterThan(body.length)
  })

  test('takes an answer that ends with the connection, and none where there can be none', async () => {
    const open = await server('HTTP/1.0 200\r\nX-Own:\t a \r\n\r\nto the end')
    const { headers, body } = await send(ask(open.port))
    expect([headers['x-own'], body]).toEqual(['a', 'to the end'])
    const none = await server(({ socket }) => socket.write('HTTP/1.1 204 No Content\r\n\r\n'))
    expect(await send(ask(none.port))).toMatchObject({ status: 204, body: '' })
  })

  test('says that the request goes out once the connection stands, and then does not hear its caller leave', async () => {
    let told = 0
    const leaving = new AbortController()
    const onSent = (): void => {
      told++
    }
    const { port } = await server(({ socket }) => {
      leaving.abort(new Error('gone'))
      socket.end(rawAnswer(200, {}, 'done'))
    })
    expect(await send(ask(port, { onSent, signal: leaving.signal }))).toMatchObject({ body: 'done' })
    expect(told).toBe(1)
    const cut = await server(({ socket }) => socket.destroy())
    expect(await failure(send(ask(cut.port, { onSent })))).toMatchObject({ sent: true })
    const strange = await server(rawAnswer(200, {}, 'hello'), true)
    expect(await failure(send(ask(strange.port, { onSent }, 'https')))).toMatchObject({ sent: false })
    expect(told).toBe(2)
  })

  test.each([302, 307, 308])('gives a %i as it is and follows it nowhere', async status => {
    const elsewhere = await server(rawAnswer(200, {}, 'reached'))
    const location = `http://127.0.0.1:${elsewhere.port}/`
    const { port } = await server(rawAnswer(status, { Location: location }))
    const response = await send(ask(port))
    expect(response.status).toBe(status)
    expect(response.headers['location']).toBe(location)
    expect(elsewhere.requests).toEqual([])
  })

  test('waits for the real answer after an informational one', async () => {
    const early = Buffer.from('HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n')
    const { port } = await server(Buffer.concat([early, rawAnswer(200, { 'X-Real': '1' }, 'real')]))
    const response = await send(ask(port))
    expect(response).toMatchObject({ status: 200, body: 'real' })
    expect(response.headers['x-real']).toBe('1')
  })

  test('takes a body of exactly 1 MiB and refuses one byte more', async () => {
    const full = await server(rawAnswer(200, {}, 'x'.repeat(mebibyte)))
    expect((await send(ask(full.port))).body).toHaveLength(mebibyte)
    const over = await server(rawAnswer(200, {}, 'x'.repeat(mebibyte + 1)))
    const error = await failure(send(ask(over.port)))
    expect([error.code, error.message]).toEqual([
      'invalid_response',
      `answer of 127.0.0.1:${over.port} is larger than 1 MiB`,
    ])
  })

  test('stops reading a body that never ends', async () => {
    const { port } = await server(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      const chunk = Buffer.alloc(65_536, 'x')
      const more = (): void => {
        while (!socket.destroyed && socket.write(chunk)) {}
      }
      socket.on('drain', more)
      more()
    })
    expect((await failure(send(ask(port)))).code).toBe('invalid_response')
  })

  const encodings: [name: string, encode: (text: string) => Uint8Array][] = [
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['identity', Buffer.from],
  ]
  test.each(encodings)('decodes %s though it was not asked for', async (name, encode) => {
    const { port } = await server(rawAnswer(200, { 'Content-Encoding': name }, encode('{"a":"ä"}')))
    expect((await send(ask(port))).body).toBe('{"a":"ä"}')
  })

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ] as const)('refuses a %s bomb at 1 MiB of what it unpacks to', async (name, encode) => {
    const { port } = await server(
      rawAnswer(200, { 'Content-Encoding': name }, encode(Buffer.alloc(8 * mebibyte))),
    )
    const error = await failure(send(ask(port)))
    expect([error.code, error.message]).toEqual([
      'invalid_response',
      `answer of 127.0.0.1:${port} is larger than 1 MiB`,
    ])
  })

  test.each([
    ['gzip, gzip', gzipSync(gzipSync('x')), 'is encoded in a way that was not asked for'],
    ['compress', 'x', 'is encoded in a way that was not asked for'],
    ['gzip', 'not gzip', 'cannot be decompressed (gzip)'],
    ['gzip', gzipSync('cut short').subarray(0, 15), 'cannot be decompressed (gzip)'],
    ['identity', Buffer.from([0x7b, 0xc3, 0x28]), 'is not UTF-8'],
  ])('refuses a body in %s that cannot be read: %#', async (name, body, words) => {
    const { port } = await server(rawAnswer(200, { 'Content-Encoding': name }, body))
    const error = await failure(send(ask(port)))
    expect([error.code, error.message]).toEqual(['invalid_response', `answer of 127.0.0.1:${port} ${words}`])
  })

  test('gives up when the whole time has passed without an answer', async () => {
    const clock = fakeClock()
    const raw = await server(() => {})
    const arrived = raw.arrived()
    const asked = failure(
      createSend({ environment: bareEnvironment(env), clock, directWire })(
        ask(raw.port, { timeoutMs: 30_000 }),
      ),
    )
    await arrived
    await clock.advance(29_999)
    expect(clock.sleepers).toBe(1)
    await clock.advance(1)
    const error = await asked
    expect([error.code, error.message]).toEqual([
      'timeout',
      `127.0.0.1:${raw.port} did not answer within 30 s`,
    ])
    expect(clock.sleepers).toBe(0)
  })

  test('gives what must not be cancelled its own time from the first byte on, and that alone', async () => {
    const clock = fakeClock()
    const sending = createSend({ environment: bareEnvironment(env), clock, directWire })
    let answerNow = (): void => {}
    const raw = await server(({ socket }) => {
      answerNow = () => socket.end(rawAnswer(200, {}, 'late'))
    })
    const asking = { timeoutMs: 12_000, answerTimeoutMs: 60_000, onSent() {} }
    for (const isAnswered of [true, false]) {
      const arrived = raw.arrived()
      const asked = sending(ask(raw.port, asking)).catch(error => error)
      await arrived
      await clock.advance(59_999)
      if (isAnswered) answerNow()
      else await clock.advance(1)
      expect(await asked).toMatchObject(
        isAnswered
          ? { status: 200, body: 'late' }
          : { code: 'timeout', message: `127.0.0.1:${raw.port} did not answer within 60 s`, sent: true },
      )
    }
    // Who allows more has more.
    const arrived = raw.arrived()
    const patient = failure(sending(ask(raw.port, { ...asking, timeoutMs: 120_000 })))
    await arrived
    await clock.advance(119_999)
    expect(clock.sleepers).toBe(1)
    await clock.advance(1)
    expect((await patient).message).toContain('within 120 s')
  })

  test('gives up on a body that trickles past the whole time', async () => {
    const clock = fakeClock()
    let trickle = (): void => {}
    const began = new Promise<void>(resolve => {
      trickle = resolve
    })
    const raw = await server(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{')
      trickle()
    })
    const asked = failure(
      createSend({ environment: bareEnvironment(env), clock, directWire })(
        ask(raw.port, { timeoutMs: 4000 }),
      ),
    )
    await began
    // Whether the head has come yet or not: both are the same end.
    await clock.advance(4000)
    const error = await asked
    expect(error.code).toBe('timeout')
    expect(error.message).toMatch(/^127\.0\.0\.1:\d+ did not (answer|finish its answer) within 4 s$/)
  })

  test('lets the caller leave, with its own reason', async () => {
    const raw = await server(() => {})
    const arrived = raw.arrived()
    const leaving = new AbortController()
    const asked = send(ask(raw.port, { signal: leaving.signal }))
    await arrived
    const reason = new Error('gone')
    leaving.abort(reason)
    await expect(asked).rejects.toBe(reason)
    await expect(send(ask(raw.port, { signal: leaving.signal }))).rejects.toBe(reason)
    expect(raw.requests).toHaveLength(1)
  })

  describe('over TLS', () => {
    const secure = (port: number, given: Partial<HttpRequest> = {}): HttpRequest => ask(port, given, 'https')
    const trusting = (): Pick<HttpRequest, 'tls'> => ({
      tls: { ca: certificates.ca, cert: undefined, key: undefined },
    })

    test('trusts the authority of the profile', async () => {
      const { port } = await server(rawAnswer(200, {}, 'hello'), true)
      expect((await send(secure(port, trusting()))).body).toBe('hello')
      expect(proxy?.requests.map(r => [r.method, r.target])).toEqual(
        way === 'directly' ? undefined : [['CONNECT', `127.0.0.1:${port}`]],
      )
    })

    test('refuses an authority it does not know, and says what to do', async () => {
      const raw = await server(rawAnswer(200, {}, 'hello'), true)
      const error = await failure(send(secure(raw.port)))
      expect([error.code, error.message, error.hint]).toEqual([
        'network_error',
        `certificate of ${reached(raw.port)} is signed by an authority that is not trusted here (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`,
        'set ca_file in the profile, or NODE_EXTRA_CA_CERTS, to a PEM file with the authority',
      ])
      expect(raw.requests).toEqual([])
    })

    test.each([
      ['that names the protocol', 'Upgrade: websocket\r\nConnection: Upgrade\r\n'],
      ['that names none', ''],
    ])('does not wait for an answer after a 101 %s', async (_, headers) => {
      let closed: Promise<unknown> | undefined
      const { port } = await server(({ socket }) => {
        closed = new Promise(resolve => socket.on('close', resolve))
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${headers}\r\n`)
      }, true)
      const error = await failure(send(secure(port, trusting())))
      expect([error.code, error.message]).toEqual([
        'invalid_response',
        `127.0.0.1:${port} answered 101: it switches to a protocol that was not asked for`,
      ])
      await closed
    })

    test('takes headers named like the members of every object', async () => {
      const raw =
        'HTTP/1.1 200 OK\r\n__proto__: a\r\n__proto__: b\r\nconstructor: c\r\nContent-Length: 4\r\n\r\nfine'
      const { port } = await server(raw, true)
      const { headers, body } = await send(secure(port, trusting()))
      expect([body, headers['constructor'], headers['__proto__']]).toEqual(['fine', 'c', 'a, b'])
    })

    test('refuses headers that are too large', async () => {
      const { port } = await server(rawAnswer(200, { 'X-Large': 'x'.repeat(20_000) }), true)
      const error = await failure(send(secure(port, trusting())))
      const message = `headers of the answer of ${reached(port)} are too large`
      expect([error.code, error.message]).toEqual(['invalid_response', message])
    })

    test('says so when the connection ends without an answer', async () => {
      const { port } = await server(({ socket }) => socket.destroy(), true)
      const error = await failure(send(secure(port, trusting())))
      expect(error.code).toBe('network_error')
      expect(error.message).toContain(`${reached(port)} closed the connection without an answer (`)
    })

    test('says so when the answer breaks off', async () => {
      const half = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token":"hunter2'
      const { port } = await server(({ socket }) => socket.end(half), true)
      const error = await failure(send(secure(port, trusting())))
      expect(error.code).toBe('network_error')
      expect(error.message).toContain(`${reached(port)} broke off in the middle of its answer (`)
    })

    test('refuses an answer that is not HTTP', async () => {
      const { port } = await server('SSH-2.0-OpenSSH_9.2\r\n', true)
      const error = await failure(send(secure(port, trusting())))
      expect(error.code).toBe('invalid_response')
      expect(error.message).toContain(`answer of ${reached(port)} is not HTTP (HPE_`)
    })

    test('names the host in the handshake, and never an address', async () => {
      const { port, asked } = await serverTellingNames()
      await send(secure(port, trusting()))
      await send({ ...secure(port, trusting()), url: `https://localhost:${port}/` })
      expect(asked).toEqual(['localhost'])
    })

    test.each([
      ['other', 'is for another host (ERR_TLS_CERT_ALTNAME_INVALID)'],
      ['expired', 'has expired (CERT_HAS_EXPIRED)'],
    ] as const)('refuses a certificate that is wrong: %s', async (which, words) => {
      const raw = await startRawServer(rawAnswer(200, {}, 'hello'), certificates[which])
      onTestFinished(() => raw.close())
      const error = await failure(send(secure(raw.port, trusting())))
      expect([error.code, error.message]).toEqual([
        'network_error',
        `certificate of ${reached(raw.port)} ${words}`,
      ])
      expect(raw.requests).toEqual([])
    })

    test('shows its certificate to the server, and to nobody in between', async () => {
      const raw = await startRawServer(
        ({ socket }) => {
          const { subject } = (socket as unknown as import('node:tls').TLSSocket).getPeerCertificate()
          socket.end(rawAnswer(200, {}, String(subject?.CN)))
        },
        { ...certificates.server, ca: certificates.ca, requestCert: true, rejectUnauthorized: false },
      )
      onTestFinished(() => raw.close())
      const { cert, key } = certificates.client
      const tls = { ca: certificates.ca, cert, key: new Secret(key) }
      expect((await send(secure(raw.port, { tls }))).body).toBe('tokctl-client')
      expect((await send(secure(raw.port, trusting()))).body).toBe('undefined')
    })

    test('says so when the server wants a certificate', async () => {
      const raw = await startRawServer(rawAnswer(200, {}, 'no'), {
        ...certificates.server,
        ca: certificates.ca,
        requestCert: true,
        rejectUnauthorized: true,
      })
      onTestFinished(() => raw.close())
      const error = await failure(send(secure(raw.port, trusting())))
      expect(error.code).toBe('network_error')
      expect(error.message).toMatch(
        /refuses the client certificate \(|closed the connection without an answer/,
      )
    })

    test('says so when certificate and key do not belong together', async () => {
      const raw = await server(rawAnswer(200, {}, 'no'), true)
      const tls = {
        ca: certificates.ca,
        cert: certificates.client.cert,
        key: new Secret(certificates.other.key),
      }
      const error = await failure(send(secure(raw.port, { tls })))
      expect(error.code).toBe('config_invalid')
      expect(error.message).toMatch(/^client_certificate and client_key do not belong together \(/)
    })

    test('says so when the other side speaks plain http', async () => {
      // A server that waits for a whole HTTP request would wait for ever.
      const plain = createServer(socket => {
        socket.on('error', () => {})
        socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
        onTestFinished(() => void socket.destroy())
      })
      await new Promise<void>(resolve => plain.listen(0, '127.0.0.1', resolve))
      onTestFinished(() => void plain.close())
      const at = (plain.address() as import('node:net').AddressInfo).port
      const error = await failure(send(secure(at)))
      expect([error.code, error.hint]).toEqual(['network_error', 'the port may speak plain http'])
      expect(error.message).toBe(`TLS handshake with ${reached(at)} failed (ERR_SSL_WRONG_VERSION_NUMBER)`)
    })
  })
})

describe('directly', () => {
  const send = createSend({ environment: bareEnvironment(), clock: systemClock, directWire })

  test('says who refuses connections', async () => {
    const raw = await startRawServer('')
    await raw.close()
    const error = await failure(send(ask(raw.port)))
    expect([error.code, error.message]).toEqual([
      'network_error',
      `127.0.0.1:${raw.port} refuses connections (ECONNREFUSED)`,
    ])
  })

  test.each([
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc'],
    ['a length that is no number', 'Content-Length: -2\r\n\r\nabc'],
    ['a length beside chunks', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a chunk whose size is no number', 'Transfer-Encoding: chunked\r\n\r\nabc_\r\n\r\n'],
    ['a chunk that is longer than it says', 'Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n'],
    ['a name with a space behind it', 'Content-Length : 3\r\n\r\nabc'],
    ['a line that ends with a return alone', 'X-A: b\rContent-Length: 3\r\n\r\nabc'],
    ['a null in a value', 'X-A: b\0\r\n\r\nabc'],
    ['a length beside a coding that is none', 'Content-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc'],
    ['a blank behind the size of a chunk', 'Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n'],
    ['a chunk beyond 64 bits', `Transfer-Encoding: chunked\r\n\r\n1${'0'.repeat(16)}\r\nabc`],
    [
      'a chunk whose extension is too long',
      `Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\na\r\n0\r\n\r\n`,
    ],
  ])('refuses an answer with %s', async (_, rest) => {
    const { port } = await server(`HTTP/1.1 200 OK\r\n${rest}`)
    const error = await failure(send(ask(port)))
    expect(error.code).toBe('invalid_response')
    expect(error.message).toContain(`answer of 127.0.0.1:${port} is not HTTP (HPE_`)
  })

  const early = `HTTP/1.1 103 Early Hints\r\nLink: <${'x'.repeat(15_000)}>\r\n\r\n`
  test.each([
    ['an empty line before it', '\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc'],
    ['a coding that is none', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: Identity\r\n\r\nabc'],
    [
      'informational ones before it that are together longer than a head may be',
      `${early}${early}HTTP/1.1 200 OK\r\nX-Long: ${'y'.repeat(15_000)}\r\nContent-Length: 3\r\n\r\nabc`,
    ],
    [
      'a size of a chunk with many noughts',
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'0'.repeat(40)}3\r\nabc\r\n${'0'.repeat(40)}\r\n\r\n`,
    ],
  ])('takes an answer with %s', async (_, answer) => {
    const { port } = await server(answer)
    expect(await send(ask(port))).toMatchObject({ status: 200, body: 'abc' })
  })

  test('refuses an informational answer whose own headers are too large', async () => {
    const { port } = await server(`HTTP/1.1 103 Early Hints\r\nLink: <${'x'.repeat(17_000)}>\r\n\r\n`)
    expect((await failure(send(ask(port)))).message).toBe(
      `headers of the answer of 127.0.0.1:${port} are too large`,
    )
  })

  test.each(['http', 'https'])(
    'takes no answer that ends with the connection where that was cut off, over %s',
    async scheme => {
      const cut = await server(({ socket }) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\naccess_token=hunter2', () => cut.reset())
      }, scheme === 'https')
      const { port } = cut
      const tls = { ca: certificates.ca, cert: undefined, key: undefined }
      const error = await failure(send(ask(port, { tls }, scheme)))
      expect(error.code).toBe('network_error')
      expect(error.message).toMatch(
        /(broke off in the middle of its|closed the connection without an) answer \(ECONNRESET\)$/,
      )
    },
  )

  test('says that an answer broke off whose chunk was to be longer than all that is taken', async () => {
    const { port } = await server(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nabc',
    )
    const { code, message } = await failure(send(ask(port)))
    expect([code, message]).toEqual([
      'network_error',
      `127.0.0.1:${port} broke off in the middle of its answer (ECONNRESET)`,
    ])
  })

  test('names the host in the handshake without the dot at its end', async () => {
    const lookup = dns.lookup as (name: string, ...rest: unknown[]) => void
    // The system's name service knows no such localhost.
    vi.spyOn(dns, 'lookup').mockImplementation(((name: string, ...rest: unknown[]) =>
      lookup(name.replace(/\.$/, ''), ...rest)) as never)
    const { port, asked } = await serverTellingNames()
    const tls = { ca: certificates.ca, cert: undefined, key: undefined }
    const { body } = await send(ask(0, { tls, url: `https://localhost.:${port}/` }))
    expect([body, asked]).toEqual(['hello', ['localhost']])
  })

  test('gives up connecting after 10 s, though there is more time', async () => {
    const clock = fakeClock()
    // Accepts the connection and never shakes hands.
    let taken = (): void => {}
    const took = new Promise<void>(resolve => {
      taken = resolve
    })
    const mute = createServer(socket => {
      socket.on('error', () => {})
      taken()
    })
    await new Promise<void>(resolve => mute.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void mute.close())
    const { port } = mute.address() as import('node:net').AddressInfo
    const asked = failure(
      createSend({ environment: bareEnvironment(), clock, directWire })(
        ask(port, { timeoutMs: 30_000 }, 'https'),
      ),
    )
    await took
    await clock.advance(10_000)
    const error = await asked
    expect([error.code, error.message]).toEqual([
      'timeout',
      `127.0.0.1:${port} cannot be connected to within 10 s`,
    ])
  })

  test.each([
    ['http://idp.example.com/', 'plain http goes to localhost and loopback addresses only'],
    ['https://user:hunter2@idp.example.com/', 'a user name or password does not belong in a URL'],
    ['file:///etc/passwd', 'expected an https URL, got another scheme'],
    ['https://127.0.0.1\\@evil.test/', 'a backslash does not belong in a URL'],
  ])('asks no address that must not be asked: %s', async (url, words) => {
    const error = await failure(send(ask(1, { url })))
    expect([error.code, error.message]).toEqual(['config_invalid', `an address cannot be asked: ${words}`])
  })

  test('traces method, place and status, and no query', async () => {
    const traced: string[] = []
    const { port } = await server(rawAnswer(200, {}, 'x'))
    const environment = bareEnvironment()
    await createSend({ environment, clock: systemClock, directWire, trace: line => traced.push(line) })(
      ask(port),
    )
    expect(traced).toHaveLength(1)
    expect(traced[0]).toMatch(
      new RegExp(`^POST http://127\\.0\\.0\\.1:${port}/token directly: 200 in \\d+ ms$`),
    )
  })
})

describe('through a proxy', () => {
  async function proxied(options: Parameters<typeof startProxy>[0], userinfo = '', scheme = 'http') {
    const proxy = await startProxy(options)
    onTestFinished(() => proxy.close())
    const env = {
      https_proxy: `${scheme}://${userinfo}localhost:${proxy.port}`,
      http_proxy: `http://${userinfo}localhost:${proxy.port}`,
    }
    return { proxy, send: createSend({ environment: bareEnvironment(env), clock: systemClock, directWire }) }
  }
  const tls = () => ({ ca: certificates.ca, cert: undefined, key: undefined })

  test.each(['http', 'https'])(
    'gives the credentials of the variable, decoded, to the proxy alone (%s)',
    async scheme => {
      const authorization = `Basic ${Buffer.from('us er:hunter2:%').toString('base64')}`
      const { proxy, send } = await proxied({ authorization }, 'us%20er:hunter2:%25@')
      const raw = await server(rawAnswer(200, {}, 'hello'), scheme === 'https')
      expect((await send(ask(raw.port, { tls: tls() }, scheme))).body).toBe('hello')
      expect(proxy.requests).toHaveLength(1)
      expect(raw.requests[0]).not.toMatch(/proxy-authorization/i)
    },
  )

  test('says so when the proxy wants credentials', async () => {
    const { proxy, send } = await proxied({ authorization: 'Basic x' })
    const raw = await server(rawAnswer(200, {}, 'hello'), true)
    const error = await failure(send(ask(raw.port, { tls: tls() }, 'https')))
    expect([error.code, error.message, error.hint]).toEqual([
      'network_error',
      `proxy localhost:${proxy.port} refuses to connect to 127.0.0.1:${raw.port}: it answered 407`,
      'put user and password into the proxy variable: http://USER:PASSWORD@HOST:PORT',
    ])
  })

  test('says so when the proxy refuses', async () => {
    const { proxy, send } = await proxied({ refuse: 403 })
    const error = await failure(send(ask(9, {}, 'https')))
    expect(error.message).toBe(
      `proxy localhost:${proxy.port} refuses to connect to 127.0.0.1:9: it answered 403`,
    )
  })

  test('says that it is the proxy that cannot be connected to', async () => {
    const { proxy, send } = await proxied({})
    await proxy.close().catch(() => {})
    for (const scheme of ['http', 'https']) {
      const error = await failure(send(ask(9, {}, scheme)))
      expect([error.code, error.message]).toEqual([
        'network_error',
        `proxy localhost:${proxy.port} refuses connections (ECONNREFUSED)`,
      ])
    }
  })

  test('asks a proxy once that closes the connection in the place of an answer', async () => {
    const { proxy, send } = await proxied({ closes: true })
    const error = await failure(send(ask(9, {}, 'https')))
    expect([error.code, error.message]).toEqual([
      'network_error',
      `proxy localhost:${proxy.port} cannot be connected to (ECONNRESET)`,
    ])
    expect(error).toMatchObject({ sent: false })
    expect(proxy.requests).toHaveLength(1)
  })

  test('gives up on a proxy that says nothing, after 10 s', async () => {
    const clock = fakeClock()
    const proxy = await startProxy({ silent: true })
    onTestFinished(() => proxy.close())
    const environment = bareEnvironment({ https_proxy: `127.0.0.1:${proxy.port}` })
    const asked = failure(
      createSend({ environment, clock, directWire })(ask(9, { timeoutMs: 30_000 }, 'https')),
    )
    await expect.poll(() => proxy.requests.length).toBe(1)
    await clock.advance(10_000)
    const error = await asked
    expect([error.code, error.message]).toEqual([
      'timeout',
      `127.0.0.1:${proxy.port} cannot be connected to within 10 s`,
    ])
  })

  test('speaks TLS to a proxy that wants it', async () => {
    const { proxy, send } = await proxied({ tls: certificates.server }, '', 'https')
    const raw = await server(rawAnswer(200, {}, 'hello'), true)
    expect((await send(ask(raw.port, { tls: tls() }, 'https'))).body).toBe('hello')
    expect(proxy.requests.map(r => r.method)).toEqual(['CONNECT'])
    expect((await failure(send(ask(raw.port, {}, 'https')))).message).toMatch(/^certificate of /)
  })

  test('goes directly where NO_PROXY says so', async () => {
    const proxy = await startProxy()
    onTestFinished(() => proxy.close())
    const raw = await server(rawAnswer(200, {}, 'direct'))
    const environment = bareEnvironment({ http_proxy: `127.0.0.1:${proxy.port}`, NO_PROXY: '127.0.0.0/8' })
    expect((await createSend({ environment, clock: systemClock, directWire })(ask(raw.port))).body).toBe(
      'direct',
    )
    expect(proxy.requests).toEqual([])
  })
})

describe('in a process of its own', () => {
  let bundle = ''
  let dir = ''
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tokctl-transport-'))
    bundle = join(dir, 'main.mjs')
    const script = `
      import { createSend } from './src/source/send.ts'
      import { systemClock } from './src/core/time.ts'
      const [url, ca] = process.argv.slice(2)
      const environment = { env: process.env, platform: process.platform, arch: '', pid: 1, uid: 0, cwd: '/', home: '/', self: [] }
      const tls = ca ? { ca, cert: undefined, key: undefined } : undefined
      const isBun = 'bun' in process.versions
      const directWire = isBun ? (await import('./src/source/send-by-socket.ts')).socketWire : undefined
      const ask = { method: 'GET', url, headers: {}, body: undefined, tls, timeoutMs: 5000, signal: undefined }
      const outcome = await createSend({ environment, clock: systemClock, directWire })(ask).then(r => r.body, e => e.code + ': ' + e.message)
      const loaded = process.moduleLoadList.filter(name => /^NativeModule (https?|crypto|tls|zlib|child_process|internal\\/deps\\/undici)/.test(name))
      console.log(JSON.stringify({ outcome, loaded }))
    `
    await build({
      stdin: { contents: script, resolveDir: process.cwd(), loader: 'ts' },
      bundle: true,
      splitting: true,
      platform: 'node',
      format: 'esm',
      outdir: dir,
      outExtension: { '.js': '.mjs' },
      entryNames: 'main',
      logLevel: 'silent',
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
    })
    return () => rmSync(dir, { recursive: true, force: true })
  })

  async function run(
    url: string,
    env: Record<string, string>,
    ca?: string,
  ): Promise<{ outcome: string; loaded: string[] }> {
    const args = [bundle, url, ...(ca === undefined ? [] : [ca])]
    const { stdout } = await promisify(execFile)(process.execPath, args, { env })
    return JSON.parse(stdout)
  }

  test('verifies the server though NODE_TLS_REJECT_UNAUTHORIZED says not to', async () => {
    const proxy = await startProxy()
    onTestFinished(() => proxy.close())
    const { port } = await server(rawAnswer(200, {}, 'hello'), true)
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' }
    for (const way of [{}, { https_proxy: `127.0.0.1:${proxy.port}` }]) {
      const { outcome } = await run(`https://127.0.0.1:${port}/`, { ...env, ...way })
      expect(outcome).toMatch(
        /^network_error: certificate of .* is signed by an authority that is not trusted here/,
      )
    }
  })

  test('trusts NODE_EXTRA_CA_CERTS, also beside an authority of the profile', async () => {
    const proxy = await startProxy()
    onTestFinished(() => proxy.close())
    const { port } = await server(rawAnswer(200, {}, 'hello'), true)
    const another = makeCertificates()
    onTestFinished(() => another.remove())
    const env = { NODE_EXTRA_CA_CERTS: certificates.caFile }
    for (const way of [{}, { https_proxy: `127.0.0.1:${proxy.port}` }]) {
      expect((await run(`https://127.0.0.1:${port}/`, { ...env, ...way })).outcome).toBe('hello')
      expect((await run(`https://127.0.0.1:${port}/`, { ...env, ...way }, another.ca)).outcome).toBe('hello')
      expect((await run(`https://127.0.0.1:${port}/`, way, another.ca)).outcome).toMatch(/^network_error: /)
    }
  })

  test('a direct request over http loads neither TLS, undici, zlib nor child processes', async () => {
    const { port } = await server(rawAnswer(200, {}, 'hello'))
    const { outcome, loaded } = await run(`http://127.0.0.1:${port}/`, {})
    expect(outcome).toBe('hello')
    expect(loaded.filter(name => !/NativeModule http$/.test(name))).toEqual([])
  })

  test('undici sits in a chunk that a direct request does not reach', () => {
    expect(readFileSync(bundle, 'utf8')).not.toContain('Proxy uri is mandatory')
  })
})
