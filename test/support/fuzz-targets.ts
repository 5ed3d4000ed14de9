import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Environment } from '../../src/core/environment.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { openOutcomes } from '../../src/core/outcome.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir as stateDirOf } from '../../src/core/state-dir.ts'
import { isTokenText } from '../../src/core/token.ts'
import { match } from '../../src/profile/match.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import { protocols } from '../../src/protocol/protocols.ts'
import { oauthShape, readAnswer } from '../../src/source/answer.ts'
import { readMetadata } from '../../src/source/discovery.ts'
import { httpReader } from '../../src/source/http-reader.ts'
import { readIdToken } from '../../src/source/id-token.ts'
import { DBusError, decodeMessage, decodeValues, encodeMessage, Frames } from '../../src/store/dbus-codec.ts'
import { openJournal } from '../../src/store/journal-file.ts'
import { decodeRecord } from '../../src/store/record.ts'
import { newSealingKey, seal, unseal } from '../../src/store/seal.ts'
import { createProxyReader } from './fuzz-proxy.ts'
import { createRedirectReader } from './fuzz-redirect.ts'

// Everything that reads bytes from elsewhere, one function each: `test/unit/fuzz.test.ts` feeds them by fast-check,
// `npm run fuzz` by what the code has not yet run.

/** One reader of bytes. */
export interface FuzzTarget {
  readonly name: string
  /** Inputs that are good, or nearly: what is tried is made from them. */
  readonly seeds: readonly (string | Uint8Array)[]
  /** @throws What was not foreseen, or a broken promise. */
  feed(bytes: Buffer): void
}

const config = `[defaults]
refresh_before = "5m"
[store]
kind = "auto"
[profile.corp]
source = "client_credentials"
issuer = "https://idp.example.com"
client_id = "build-bot"
client_secret = { env = "S" }
match = ["https://git.example.com/team/"]
params = { a = "b" }
[profile.api]
source = "http"
url = "https://api.example.com/t"
headers = { x-key = { file = "k" } }
json = { a = [1, { b = { secret = "c" } }] }
token_path = "data.0.token"
`

const here = 'Host: 127.0.0.1:7777\r\n'
const proxyRequests = [
  `GET /v1/me?x=1 HTTP/1.1\r\n${here}Authorization: Bearer mine\r\nX-A: b\r\nTE: trailers\r\n\r\n`,
  `POST /a HTTP/1.1\r\n${here}Transfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close, X-A\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n`,
  `POST /a HTTP/1.1\r\n${here}Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabcGET /b HTTP/1.1\r\n${here}\r\n`,
  `GET /chat HTTP/1.1\r\n${here}Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://127.0.0.1:7777\r\n\r\nearly`,
  `GET /a/%2e%2e/b;x//c HTTP/1.0\r\n${here}Forwarded: host=evil.test\r\nX-Forwarded-Host: evil.test\r\n\r\n`,
]

/** Makes the targets; `close` removes what they wrote. */
export async function fuzzTargets(): Promise<{ readonly targets: readonly FuzzTarget[]; close(): void }> {
  const home = mkdtempSync(join(tmpdir(), 'tokctl-fuzz-'))
  const environment: Environment = {
    env: { TOKCTL_STATE_DIR: join(home, 'state') },
    platform: 'linux',
    arch: process.arch,
    pid: process.pid,
    uid: process.getuid?.(),
    cwd: home,
    home,
    self: [],
  }
  const state = stateDirOf(environment)
  const key = newSealingKey()
  const label = { kind: 'profile', name: 'corp' } as const
  const sealed = seal(key, label, new Secret('what was sealed'))

  const outcomes = openOutcomes(state, process.pid)
  mkdirSync(state.ensure('outcomes'), { recursive: true })
  const outcome = {
    etag: 'e',
    binding: 'b',
    finished_at: 1,
    store: 'file',
    failure: { code: 'timeout', message: 'm', at: 1, until: 2, attempts: 1 },
  }

  const journal = openJournal(state, environment)
  const journalKey = journal.newKey()
  state.ensure('journal')
  const journalFile = state.file('journal', 'corp.journal')

  const message = encodeMessage({
    type: 1,
    serial: 1,
    destination: 'org.freedesktop.secrets',
    path: '/a',
    interface: 'a.b',
    member: 'C',
    signature: 'a{sv}s',
    body: [new Map([['k', { signature: 's', value: 'v' }]]), 'text'],
  } as unknown as Parameters<typeof encodeMessage>[0])

  const redirectReader = createRedirectReader()
  const targets: FuzzTarget[] = [
    {
      name: 'configuration',
      seeds: [config],
      feed(bytes) {
        foreseen(['config_invalid'], () =>
          parseConfig({ file: '/home/config.toml', bytes }, 'config.toml', environment),
        )
      },
    },
    {
      name: 'token answer',
      seeds: [
        '{"access_token":"a.e30.c","token_type":"Bearer","expires_in":3600,"refresh_token":"r","scope":["a","b"]}',
        '{"error":{"code":"invalid_grant","message":"m"},"error_description":"d","interval":5}',
        'access_token=a&token_type=bearer&expires_in=60',
      ],
      feed(bytes) {
        const body = bytes.toString()
        for (const status of [200, 400, 503]) {
          const response = {
            status,
            headers: { 'content-type': 'application/json', date: body.slice(0, 40) },
            body,
          }
          const answered = { response, from: 'token endpoint', sentAt: 1e12, receivedAt: 1e12 + 100 }
          const token = foreseen(undefined, () =>
            readAnswer(answered, { ...oauthShape, scope: undefined, defaultTtlMs: undefined }),
          )
          if (token === undefined) continue
          promise(isTokenText(token.accessToken.expose()), 'a token is visible ASCII')
          promise(
            token.expiresAt === undefined || Number.isSafeInteger(token.expiresAt),
            'an expiry is a time',
          )
        }
      },
    },
    {
      name: 'discovery document',
      seeds: [
        '{"issuer":"https://i.example","token_endpoint":"https://i.example/t","mtls_endpoint_aliases":{}}',
      ],
      feed(bytes) {
        const json = object(bytes)
        if (json === undefined) return
        const found = foreseen(['discovery_failed'], () => readMetadata('https://i.example', json))
        promise(found?.token_endpoint?.startsWith('https://') ?? true, 'an endpoint has TLS')
      },
    },
    {
      name: 'id token',
      seeds: ['eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIiwiYXVkIjpbImMiXSwiZXhwIjo0MTAyNDQ0ODAwfQ.x'],
      feed: bytes => void foreseen(undefined, () => readIdToken(bytes.toString())),
    },
    {
      name: 'redirect callback',
      seeds: [
        'code=c&state=s',
        'error=access_denied&error_description=no',
        'code=c&iss=https://idp.example.com',
      ].map(query => `GET /callback?${query} HTTP/1.1\r\n${here}\r\n`),
      feed: bytes => void foreseen(undefined, () => redirectReader.read(bytes)),
    },
    {
      name: 'http answer',
      seeds: [
        'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
        'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204\r\n\r\n',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n',
        'HTTP/1.0 401 No\r\nWWW-Authenticate: Bearer\r\n\r\nto the end',
      ],
      feed(bytes) {
        const whole = readHttp([bytes])
        const cut = readHttp([...bytes].map(byte => Buffer.of(byte)))
        promise(whole === cut, 'an answer is the same however it is cut')
      },
    },
    {
      name: 'address',
      seeds: [
        'https://git.example.com/team/a.git?x=1',
        'git.example.com:443',
        'https://[::1]/%2e%2e/',
        'https://me@x/',
      ],
      feed(bytes) {
        const profile = { name: 'corp', match: ['https://git.example.com/team/'] } as unknown as Parameters<
          typeof match
        >[1] extends Iterable<infer P>
          ? P
          : never
        const url = bytes.toString()
        if (match(url, [profile]) === undefined) return
        const parsed = new URL(url.includes('://') ? url : `https://${url}/`)
        promise(parsed.origin === 'https://git.example.com', `${JSON.stringify(url)} got a token`)
      },
    },
    {
      name: 'sealed file',
      seeds: [sealed],
      feed(bytes) {
        const found = unseal(key, label, bytes)
        promise(
          !(found instanceof Secret) || found.expose() === 'what was sealed',
          'what opens is what was sealed',
        )
      },
    },
    {
      name: 'record',
      seeds: [
        '{"v":1,"etag":"e","binding":"b","access_token":"a","token_type":"Bearer","obtained_at":1,"expires_at":2,"rejected":["x"]}',
      ],
      feed(bytes) {
        const record = decodeRecord(new Secret(bytes.toString()))
        if (typeof record !== 'object' || record.token === undefined) return
        promise(isTokenText(record.token.accessToken.expose()), 'a kept token is visible ASCII')
      },
    },
    {
      name: 'outcome file',
      seeds: [JSON.stringify(outcome)],
      feed(bytes) {
        writeFileSync(state.file('outcomes', 'corp.json'), bytes, { mode: 0o600 })
        const { failure } = outcomes.read('corp') ?? {}
        if (failure === undefined) return
        promise(failure.until === 'changed' || failure.until - failure.at <= 3_600_000, 'a pause ends')
        promise(!/[\u0000-\u001f\u007f-\u009f]/.test(failure.message), 'a message is one clean line')
      },
    },
    {
      name: 'journal',
      seeds: [Buffer.concat([Buffer.from([0, 0, 0, sealed.length]), sealed]), Buffer.alloc(5000)],
      feed(bytes) {
        writeFileSync(journalFile, bytes, { mode: 0o600 })
        promise(journal.read('corp', journalKey) === undefined, 'a journal that nobody wrote says nothing')
      },
    },
    {
      name: 'D-Bus message',
      seeds: [message, message.subarray(16)],
      feed(bytes) {
        const reads = [
          () => decodeMessage(bytes),
          () => decodeValues('a{sv}(ayv)', bytes),
          () => [...new Frames().push(bytes)],
        ]
        for (const read of reads) {
          try {
            read()
          } catch (error) {
            // A stream that is no D-Bus: the connection ends, with a plain reason.
            if (!(error instanceof DBusError) && (error as Error).constructor !== Error) throw error
          }
        }
      },
    },
  ]
  const proxy = createProxyReader()
  targets.push({
    name: 'request to the proxy',
    seeds: proxyRequests,
    feed: bytes => void proxy.read(bytes),
  })
  const asks: Readonly<Record<string, readonly string[]>> = {
    git: [
      'protocol=https\nhost=h\npath=p\nusername=u\npassword=p\ncapability[]=state\nstate[]=tokctl.x=1\n\n',
    ],
    docker: ['https://r.example', '{"ServerURL":"https://r","Username":"u","Secret":"s"}'],
    cargo: [
      '{"v":1,"registry":{"index-url":"sparse+https://r/","name":"n"},"kind":"get","operation":"read"}',
    ],
    terraform: ['{"token":"t"}'],
    vault: ['token'],
    bazel: ['{"uri":"https://b.example/x"}'],
  }
  for (const [name, seeds] of Object.entries(asks)) {
    const { protocol } = await protocols[name]!()
    const operations = ['get', 'store', 'erase', 'list', '--cargo-plugin', 'h.example']
    targets.push({
      name: `what ${name} says`,
      seeds,
      feed(bytes) {
        for (const operation of operations) {
          const input = { args: [operation], stdin: bytes.toString(), env: {}, version: '0' }
          const ask = foreseen(undefined, () => protocol.decode(input))
          if (ask?.kind === 'answered') promise(!ask.reply.stdout.includes('\u0000'), 'an answer is text')
        }
      },
    })
  }
  return { targets, close: () => rmSync(home, { recursive: true, force: true }) }
}

/** Runs a reader; a failure of the kinds that it may have is no finding. */
function foreseen<T>(codes: readonly string[] | undefined, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof TokctlError && (codes?.includes(error.code) ?? error.code !== 'internal_error')) {
      promise(
        !/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(error.message),
        'a message is clean',
      )
      return undefined
    }
    throw error
  }
}

function promise(kept: boolean, what: string): void {
  if (!kept) throw new Error(`broken: ${what}`)
}

function object(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(bytes.toString())
    return typeof json === 'object' && json !== null && !Array.isArray(json)
      ? (json as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

function readHttp(chunks: readonly Buffer[]): string {
  const told: string[] = []
  const body: Uint8Array[] = []
  const reader = httpReader({
    head: (status, rawHeaders) => told.push(JSON.stringify([status, rawHeaders])),
    data: chunk => body.push(chunk),
    end: () => told.push('end'),
  })
  try {
    for (const chunk of chunks) reader.take(chunk)
    reader.close()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || !/^HPE_|^ECONNRESET$/.test(code)) throw error
    told.push(code)
  }
  return `${told.join()} ${Buffer.concat(body).toString('latin1')}`
}
