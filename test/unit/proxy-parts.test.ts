import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { type ListenAddress, parseListen, parseSize } from '../../src/profile/proxy-settings.ts'
import { hostsOf, isPlainPath, refusalOf } from '../../src/proxy/admission.ts'
import { answerFields, requestFields } from '../../src/proxy/header-fields.ts'
import { countRequest, createRouteMetrics, prometheusText } from '../../src/proxy/metrics.ts'
import { createPeerLookup } from '../../src/proxy/peer-user.ts'
import { createProxyReader } from '../support/fuzz-proxy.ts'

const hosts = hostsOf('127.0.0.1', 7777)

function request(fields: readonly [string, string][], method = 'GET', url = '/v1/me'): IncomingMessage {
  const headers: Record<string, string> = {}
  for (const [name, value] of fields) headers[name.toLowerCase()] ??= value
  return {
    method,
    url,
    headers,
    rawHeaders: fields.flat(),
    httpVersionMajor: 1,
  } as unknown as IncomingMessage
}

const here: [string, string] = ['Host', '127.0.0.1:7777']
const admissions: [what: string, request: IncomingMessage, want: string | undefined][] = [
  ['its own address', request([here]), undefined],
  ['localhost', request([['Host', 'LocalHost:7777']]), undefined],
  ['a name that a web page resolves to us', request([['Host', 'evil.test']]), '421 host'],
  ['a name that begins like us', request([['Host', '127.0.0.1.evil.test:7777']]), '421 host'],
  ['another port', request([['Host', '127.0.0.1:80']]), '421 host'],
  ['no port where ours is not 80', request([['Host', '127.0.0.1']]), '421 host'],
  ['a trailing dot', request([['Host', 'localhost.:7777']]), '421 host'],
  ['no Host', request([]), '400 host'],
  ['two of them', request([here, ['Host', 'evil.test']]), '400 host'],
  ['its own origin', request([here, ['Origin', 'http://127.0.0.1:7777']]), undefined],
  ['a page elsewhere', request([here, ['Origin', 'https://evil.test']]), '403 origin'],
  ['a page without an origin', request([here, ['Origin', 'null']]), '403 origin'],
  [
    'a page at another port of this machine',
    request([here, ['Origin', 'http://127.0.0.1:3000']]),
    '403 origin',
  ],
  ['our origin, by https', request([here, ['Origin', 'https://127.0.0.1:7777']]), '403 origin'],
  ['a browser, from another site', request([here, ['Sec-Fetch-Site', 'cross-site']]), '403 origin'],
  ['a browser, from another port', request([here, ['Sec-Fetch-Site', 'same-site']]), '403 origin'],
  ['a browser, from here', request([here, ['Sec-Fetch-Site', 'same-origin']]), undefined],
  ['a browser, by hand', request([here, ['Sec-Fetch-Site', 'none']]), undefined],
  ['TRACE', request([here], 'TRACE'), '405 method'],
  ['CONNECT', request([here], 'CONNECT', 'evil.test:443'), '405 method'],
  ['an absolute target', request([here], 'GET', 'http://evil.test/'), '400 target'],
  ['a target without a slash', request([here], 'GET', 'http:evil.test'), '400 target'],
  ['an asterisk', request([here], 'OPTIONS', '*'), '400 target'],
]
test.each(admissions)('lets in, or refuses, %s', (_, asked, want) => {
  const refusal = refusalOf(asked, { hosts, clientSecret: undefined })
  expect(refusal && `${refusal.status} ${refusal.reason}`).toBe(want)
})

test('what frames a request in two ways, or ends a line in another, is never let in, whatever follows it', () => {
  const proxy = createProxyReader()
  const head = 'POST /a HTTP/1.1\r\nHost: 127.0.0.1:7777\r\n'
  const inside = 'GET /admin HTTP/1.1\r\nHost: 127.0.0.1:7777\r\n\r\n'
  const good = `${head}Content-Length: ${inside.length}\r\n\r\n${inside}`
  expect(proxy.read(Buffer.from(good))).toBe(1)
  for (const framing of [
    `Content-Length: ${inside.length}\r\nTransfer-Encoding: chunked`,
    `Transfer-Encoding: chunked\r\nContent-Length: ${inside.length}`,
    'Transfer-Encoding: chunked, identity',
    'Transfer-Encoding: gzip, chunked',
    'Transfer-Encoding: identity, chunked\r\nTransfer-Encoding: x',
    'Transfer-Encoding: \x0bchunked',
    'Transfer-Encoding : chunked',
    'Transfer-Encoding:\r\n chunked',
    'Content-Length: 1\r\nContent-Length: 2',
    'Content-Length: 1, 1',
    'Content-Length: 0x10',
    'Content-Length: -1',
    'X-A: b\nContent-Length: 1',
    'X-A: b\rContent-Length: 1',
    'X-A: b\r\n c',
    'X-A: b\0c',
  ]) {
    expect([framing, proxy.read(Buffer.from(`${head}${framing}\r\n\r\n${inside}`, 'latin1'))]).toEqual([
      framing,
      0,
    ])
  }
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`
  for (const body of [
    '1;\n\r\na\r\n0\r\n\r\n',
    '1\na\n0\n\n',
    '0x1\r\na\r\n0\r\n\r\n',
    '1 \r\naa\r\n0\r\n\r\n',
  ]) {
    expect([body, proxy.read(Buffer.from(`${chunked}${body}${inside}`))]).toEqual([body, 1])
  }
})

const secrets: [what: string, fields: [string, string][], isIn: boolean][] = [
  ['as a field of its own', [['X-Tokctl-Auth', 'client-canary']], true],
  ['as a bearer token', [['Authorization', 'bearer client-canary']], true],
  ['not at all', [], false],
  ['a wrong one', [['X-Tokctl-Auth', 'client-canarz']], false],
  ['a longer one', [['X-Tokctl-Auth', 'client-canary,client-canary']], false],
  ['as Basic', [['Authorization', 'Basic client-canary']], false],
]
test.each(secrets)('the secret of the clients is shown %s', (_, fields, isIn) => {
  const refusal = refusalOf(request([here, ...fields]), { hosts, clientSecret: new Secret('client-canary') })
  expect(refusal?.status).toBe(isIn ? undefined : 401)
  expect(refusal?.message ?? '').not.toContain('canary')
})

const targets: [target: string, isPlain: boolean][] = [
  ['/', true],
  ['/v1/items?next=//x&up=../..', true],
  ['/a.b/.hidden/...', true],
  ['/@evil.test/x', true],
  ['/x:y', true],
  ['/caf%C3%A9/a%2Fb', true],
  ['//evil.test/x', false],
  ['/\\evil.test/x', false],
  ['/x#@evil.test', false],
  ['/a/../b', false],
  ['/..', false],
  ['/.', false],
  ['/a/%2e%2E/b', false],
  ['/a/.%2e', false],
  ['/a%2f..%2fb', false],
  ['/a/..;x/b', false],
  ['/a b', false],
  ['/a\tb', false],
  ['/é', false],
  ['', false],
  ['a', false],
]
test.each(targets)('the target %j is a plain path: %s', (target, isPlain) => {
  expect(isPlainPath(target)).toBe(isPlain)
})

test('a plain path stays below the path of its upstream, however it is read', () => {
  const step = fc.constantFrom(
    '.',
    '..',
    '%2e',
    '%2E.',
    '/',
    '//',
    '%2f',
    '\\',
    'a',
    ';',
    '?',
    '#',
    '@',
    ':',
    'é',
    ' ',
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), steps => {
      const target = `/${steps.join('')}`
      if (!isPlainPath(target)) return
      const read = new URL(`https://api.example.com/base${target}`)
      expect(read.host).toBe('api.example.com')
      expect(read.pathname.startsWith('/base/')).toBe(true)
    }),
    { numRuns: 3000 },
  )
})

test('what a client says of itself, of its way and of its connection does not reach the upstream', () => {
  const given = [
    ['Host', '127.0.0.1:7777'],
    ['Authorization', 'Bearer attacker'],
    ['authorization', 'Basic x'],
    ['X-Tokctl-Auth', 'client-canary'],
    ['Connection', 'close, Authorization, X-Secret, Content-Length'],
    ['X-Secret', 'only for this hop'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Authorization', 'Basic p'],
    ['Transfer-Encoding', 'chunked'],
    ['TE', 'trailers'],
    ['Expect', '100-continue'],
    ['Forwarded', 'host=evil.test'],
    ['X-Forwarded-Host', 'evil.test'],
    ['X-Original-URL', 'https://evil.test/'],
    ['Accept', 'a'],
    ['Accept', 'b'],
    ['Content-Length', '2'],
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ].flat()
  expect(
    requestFields({ rawHeaders: given, headers: { te: 'trailers' } }, 'api.example.com', 'Bearer ours'),
  ).toEqual(
    [
      ['host', 'api.example.com'],
      ['authorization', 'Bearer ours'],
      ['te', 'trailers'],
      ['Accept', 'a'],
      ['Accept', 'b'],
      ['Content-Length', '2'],
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ].flat(),
  )
})

test('what would open an answer to web pages, or lead a client elsewhere, is left out; the rest keeps its order and case', () => {
  const given = [
    ['Server', 'x'],
    ['Access-Control-Allow-Origin', '*'],
    ['access-control-allow-credentials', 'true'],
    ['Proxy-Authenticate', 'Basic'],
    ['Alt-Svc', 'h3=":443"'],
    ['Strict-Transport-Security', 'max-age=1'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
    ['Connection', 'keep-alive, X-Hop'],
    ['X-Hop', '1'],
    ['Location', 'https://elsewhere.example.com/'],
  ].flat()
  expect(answerFields(given)).toEqual(
    [
      ['Server', 'x'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
      ['Location', 'https://elsewhere.example.com/'],
    ].flat(),
  )
})

const tables: [what: string, remote: string, row: string, want: number | undefined][] = [
  [
    'IPv4',
    '127.0.0.1',
    '   1: 0100007F:D431 0100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 71 1 0',
    1000,
  ],
  [
    'a socket of IPv6 that is connected by IPv4',
    '127.0.0.1',
    '   1: 0000000000000000FFFF00000100007F:D431 0000000000000000FFFF00000100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 71 1 0',
    1000,
  ],
  [
    'one of IPv4 at a server of both',
    '::ffff:127.0.0.1',
    '   1: 0100007F:D431 0100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 71 1 0',
    1000,
  ],
  [
    'IPv6',
    '::1',
    '   1: 00000000000000000000000001000000:D431 00000000000000000000000001000000:1E61 01 00000000:00000000 00:00000000 00000000  1001        0 1 1 0',
    1001,
  ],
  [
    'a connection that is over, which is listed as root’s',
    '127.0.0.1',
    '   1: 0100007F:D431 0100007F:1E61 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0',
    undefined,
  ],
  [
    'another connection',
    '127.0.0.1',
    '   1: 0100007F:D432 0100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 0',
    undefined,
  ],
]
test.each(tables)('reads whose a socket is: %s', async (_, remote, row, want) => {
  const ends = { localAddress: remote, localPort: 7777, remoteAddress: remote, remotePort: 54_321 }
  const isV6 = row.indexOf(':', 6) > 30
  const peerUser = createPeerLookup(async path =>
    path.endsWith('6') === isV6 ? `  sl  local_address rem_address   st\n${row}\n` : '  sl\n',
  )
  expect(await peerUser(ends)).toBe(want)
})

test('one reading of the table tells of all connections that wait for it; a row that slipped through is looked for again', async () => {
  const readings: ((table: string) => void)[] = []
  const peerUser = createPeerLookup(async path =>
    path.endsWith('6') ? 'head\n' : new Promise(resolve => readings.push(resolve)),
  )
  const row = (port: number): string =>
    `   1: 0100007F:${port.toString(16).toUpperCase()} 0100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 7 1 0\n`
  const ends = { localAddress: '127.0.0.1', localPort: 7777, remoteAddress: '127.0.0.1' }
  const ask = (remotePort: number) => peerUser({ ...ends, remotePort })
  const next = async (n: number): Promise<(table: string) => void> => {
    while (readings.length < n) await Promise.resolve()
    return readings[n - 1] as (table: string) => void
  }
  const first = ask(50_001)
  const read = await next(1)
  const others = Promise.all([ask(50_002), ask(50_003)])
  read(`head\n${row(50_001)}${row(50_002)}`)
  expect(await first).toBe(1000)
  ;(await next(2))(`head\n${row(50_002)}`)
  ;(await next(3))(`head\n${row(50_003)}`)
  expect(await others).toEqual([1000, 1000])
  expect(readings).toHaveLength(3)
})

test('the table of IPv6 is read for what is not in the other, and either may be missing', async () => {
  const row = (address: string): string =>
    `head\n   1: ${address}:C351 ${address}:1E61 01 00000000:00000000 00:00000000 00000000  1000        0 7 1 0\n`
  const v4 = row('0100007F')
  const v6 = row('0000000000000000FFFF00000100007F')
  const ends = {
    localAddress: '127.0.0.1',
    localPort: 7777,
    remoteAddress: '127.0.0.1',
    remotePort: 50_001,
  }
  const cases: [
    first: string | undefined,
    second: string | undefined,
    user: number | undefined,
    reads: string,
  ][] = [
    [v4, v6, 1000, '4'],
    ['head\n', v6, 1000, '46'],
    [undefined, v6, 1000, '46'],
    ['head\n', undefined, undefined, '464646'],
    [undefined, undefined, undefined, '46'],
  ]
  for (const [first, second, user, reads] of cases) {
    let read = ''
    const peerUser = createPeerLookup(async path => {
      const isV6 = path.endsWith('6')
      read += isV6 ? '6' : '4'
      const table = isV6 ? second : first
      if (table === undefined) throw new Error('ENOENT')
      return table
    })
    expect([await peerUser(ends), read]).toEqual([user, reads])
  }
})

test('where the kernel has no such table nobody is known', async () => {
  const ends = { localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1', remotePort: 2 }
  const peerUser = createPeerLookup(() => Promise.reject(new Error('ENOENT')))
  expect(await peerUser(ends)).toBeUndefined()
})

test.runIf(process.platform === 'linux').each(['127.0.0.1', '::ffff:127.0.0.1'])(
  'a real connection of ours to %s is ours',
  async place => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = connect((server.address() as AddressInfo).port, place)
    const [socket] = await once(server, 'connection')
    const { localAddress, localPort, remoteAddress, remotePort } = socket
    const peerUser = createPeerLookup()
    expect(await peerUser({ localAddress, localPort, remoteAddress, remotePort })).toBe(process.getuid?.())
    expect(readFileSync('/proc/net/tcp', 'utf8')).toContain('local_address')
    client.destroy()
    socket.destroy()
    server.close()
  },
)

const addresses: [text: string, want: ListenAddress | undefined][] = [
  ['127.0.0.1:8080', { kind: 'tcp', host: '127.0.0.1', port: 8080 }],
  ['127.1.2.3:0', { kind: 'tcp', host: '127.1.2.3', port: 0 }],
  ['[::1]:8080', { kind: 'tcp', host: '::1', port: 8080 }],
  ['[0:0:0:0:0:0:0:1]:8080', { kind: 'tcp', host: '::1', port: 8080 }],
  ['unix:/run/api.sock', { kind: 'unix', path: '/run/api.sock' }],
  ['systemd', { kind: 'inherited' }],
  ['localhost:8080', undefined],
  ['0.0.0.0:8080', undefined],
  ['[::]:8080', undefined],
  ['[::11]:8080', undefined],
  ['[fe80::1]:8080', undefined],
  ['[::ffff:127.0.0.1]:8080', undefined],
  ['192.168.1.1:8080', undefined],
  ['127.0.0.1.evil.test:8080', undefined],
  ['127.1:8080', undefined],
  ['127.0.0.1:65536', undefined],
  ['127.0.0.1', undefined],
  [':8080', undefined],
  ['8080', undefined],
  ['unix:api.sock', undefined],
  ['', undefined],
]
test.each(addresses)('listens at %j: %j', (text, want) => {
  const found = parseListen(text)
  expect(typeof found === 'string' ? undefined : found).toEqual(want)
})

test.each([
  ['64KiB', 65_536],
  ['10MiB', 10_485_760],
  ['2GiB', 2_147_483_648],
  ['10', undefined],
  ['1.5GiB', undefined],
  ['10MB', undefined],
  ['-1KiB', undefined],
])('the size %j is %j bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})

test('metrics are the text that Prometheus reads, and their buckets add up', () => {
  const metrics = createRouteMetrics()
  for (const [status, seconds] of [
    [200, 0.001],
    [200, 0.3],
    [401, 60],
  ] as const) {
    countRequest(metrics, status, seconds)
  }
  const text = prometheusText(new Map([['api', metrics]]))
  expect(text).toContain('tokctl_proxy_requests_total{route="api",code="200"} 2\n')
  expect(text).toContain('tokctl_proxy_request_duration_seconds_bucket{route="api",le="0.005"} 1\n')
  expect(text).toContain('tokctl_proxy_request_duration_seconds_bucket{route="api",le="0.5"} 2\n')
  expect(text).toContain('tokctl_proxy_request_duration_seconds_bucket{route="api",le="+Inf"} 3\n')
  expect(text).toContain('tokctl_proxy_request_duration_seconds_count{route="api"} 3\n')
  for (const line of text.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) tokctl_proxy_\w+ \S.*|tokctl_proxy_\w+\{[^{}]*\} [\d.]+)$/)
  }
})
