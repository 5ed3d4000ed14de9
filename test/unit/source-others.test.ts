import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ProgramCall, ProgramResult } from '../../src/core/program.ts'
import { Secret } from '../../src/core/secret.ts'
import type { CommandProfile, HttpProfile, StaticProfile } from '../../src/profile/profile.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import {
  bareEnvironment,
  clientProfile,
  jsonAnswer,
  scriptedSend,
  sourcePorts,
} from '../support/source-ports.ts'

const now = fakeClock().now()
const common = { name: 'p', match: [], binding: 'b' }
const ask = { timeoutMs: 30_000, signal: undefined }

function jwt(claims: object): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
}

// command

async function runCommand(result: Partial<ProgramResult> | string, given: Partial<CommandProfile> = {}) {
  const calls: ProgramCall[] = []
  const profile: CommandProfile = {
    ...common,
    source: 'command',
    command: ['/opt/bin/op', 'read'],
    timeout_ms: 5000,
    ...given,
  }
  const ports = sourcePorts({
    clock: fakeClock(),
    environment: bareEnvironment({ PATH: '/bin', HOME: '/h' }),
    run: async call => {
      calls.push(call)
      const { stdout, ...rest } =
        typeof result === 'string' ? { stdout: new Secret(result) } : { stdout: undefined, ...result }
      return { exitCode: 0, killedBy: undefined, stderr: '', stdout: stdout ?? new Secret(''), ...rest }
    },
  })
  const source = await createSource(profile, ports)
  const outcome = await source.fetch(ask).then(
    token => ({ token, error: undefined }),
    error => ({ token: undefined, error }),
  )
  return { ...outcome, calls }
}

const outputs: [name: string, stdout: string, token: string, type: string, expiresAt: number | undefined][] =
  [
    ['a token on one line', 'abc\n', 'abc', 'Bearer', undefined],
    ['without a line end', 'abc', 'abc', 'Bearer', undefined],
    ['with a Windows line end', 'abc\r\n', 'abc', 'Bearer', undefined],
    [
      'a JWT with exp',
      `${jwt({ exp: now / 1000 + 60 })}\n`,
      jwt({ exp: now / 1000 + 60 }),
      'Bearer',
      now + 60_000,
    ],
    ['JSON', '{"access_token":"abc"}', 'abc', 'Bearer', undefined],
    ['JSON over several lines', '{\n "access_token": "abc"\n}\n', 'abc', 'Bearer', undefined],
    ['JSON with expires_in', '{"access_token":"abc","expires_in":60}', 'abc', 'Bearer', now + 60_000],
    [
      'JSON with expires_in as a text',
      '{"access_token":"abc","expires_in":"60"}',
      'abc',
      'Bearer',
      now + 60_000,
    ],
    [
      'JSON with expires_at',
      '{"access_token":"abc","expires_at":"2027-01-15T10:00:00+01:00"}',
      'abc',
      'Bearer',
      now + 3_600_000,
    ],
    [
      'JSON with expires_at in seconds',
      `{"access_token":"abc","expires_at":${now / 1000 + 60}}`,
      'abc',
      'Bearer',
      now + 60_000,
    ],
    [
      'JSON with an expires_at that is none',
      '{"access_token":"abc","expires_at":"tomorrow"}',
      'abc',
      'Bearer',
      undefined,
    ],
    ['JSON with token_type', '{"access_token":"abc","token_type":"bearer"}', 'abc', 'bearer', undefined],
  ]
test.each(outputs)('a command may print %s', async (_, stdout, text, type, expiresAt) => {
  const { token, error } = await runCommand(stdout)
  expect(error).toBeUndefined()
  expect([token?.accessToken.expose(), token?.tokenType, token?.expiresAt]).toEqual([text, type, expiresAt])
})

test('a command’s token lives as long as default_ttl says where it says nothing itself', async () => {
  expect((await runCommand('abc', { default_ttl_ms: 60_000 })).token?.expiresAt).toBe(now + 60_000)
  expect((await runCommand('{"access_token":"abc"}', { default_ttl_ms: 60_000 })).token?.expiresAt).toBe(
    now + 60_000,
  )
})

test('a command gets the environment, no longer than its timeout, and no longer than the caller waits', async () => {
  const { calls } = await runCommand('abc')
  expect(calls).toMatchObject([
    { command: ['/opt/bin/op', 'read'], env: { PATH: '/bin', HOME: '/h' }, timeoutMs: 5000 },
  ])
  expect((await runCommand('abc', { timeout_ms: 60_000 })).calls[0]?.timeoutMs).toBe(30_000)
})

const badOutputs: [name: string, result: Partial<ProgramResult> | string, words: string][] = [
  ['nothing', '', 'printed nothing'],
  ['blank lines', '\n \n', 'printed nothing'],
  ['two lines', 'canary\nsecond', 'printed more than one line'],
  ['a sentence', 'canary is the token', 'printed something that is not a token'],
  ['an escape', 'canary\u001b[2K', 'printed something that is not a token'],
  ['JSON without a token', '{"token":"canary"}', 'printed JSON without access_token'],
  ['broken JSON', '{"access_token":"canary"', 'printed JSON that cannot be read'],
  [
    'a token with a line break',
    '{"access_token":"canary\\nx"}',
    'printed a token that holds characters no token may have',
  ],
  [
    'a DPoP token',
    '{"access_token":"canary","token_type":"DPoP"}',
    'printed a token of a type that tokctl cannot use',
  ],
  ['an exit code', { exitCode: 3, stdout: new Secret('canary') }, 'ended with exit code 3'],
  [
    'an exit code and stderr',
    { exitCode: 1, stderr: 'first\r\nnot signed\u001b[2K in\u202e\n\n', stdout: new Secret('canary') },
    'ended with exit code 1: not signed [2K in',
  ],
  ['a signal', { exitCode: undefined, killedBy: 'SIGKILL' }, 'was ended by SIGKILL'],
]
test.each(badOutputs)('a command that gives %s has failed', async (_, result, words) => {
  const { error } = await runCommand(result)
  expect([error.code, error.message]).toEqual(['command_failed', `command "op" ${words}`])
  expect(JSON.stringify(error)).not.toContain('canary')
})

// static

async function fetchStatic(text: string, given: Partial<StaticProfile> = {}) {
  const profile: StaticProfile = { ...common, source: 'static', token: { env: 'TOKEN' }, ...given }
  const source = await createSource(profile, sourcePorts({ clock: fakeClock(), secrets: { TOKEN: text } }))
  return source.fetch(ask).catch(error => error)
}

test('a static token ends when its profile says, else with its exp, else with default_ttl, else nobody knows', async () => {
  const long = jwt({ exp: now / 1000 + 3600 })
  expect(await fetchStatic('abc')).toMatchObject({
    tokenType: 'Bearer',
    obtainedAt: now,
    expiresAt: undefined,
  })
  expect((await fetchStatic('abc')).accessToken.expose()).toBe('abc')
  expect((await fetchStatic('abc', { default_ttl_ms: 1000 })).expiresAt).toBe(now + 1000)
  expect((await fetchStatic(long, { default_ttl_ms: 1000 })).expiresAt).toBe(now + 3_600_000)
  expect((await fetchStatic(long, { expires_at: now + 5000 })).expiresAt).toBe(now + 5000)
})

test.each([
  ['has expired', 'canary', { expires_at: now - 60_000 }, 'token has expired at 2027-01-15T07:59:00Z'],
  ['expires right now', 'canary', { expires_at: now }, 'token has expired'],
  ['has an exp in the past', jwt({ exp: 1 }), {}, 'token has expired'],
  ['is empty', '', {}, 'token is empty or holds characters no token may have'],
  ['has a line break', 'canary\nx', {}, 'token is empty or holds characters no token may have'],
] as const)('a static token that %s is refused', async (_, text, given, message) => {
  const error = await fetchStatic(text, given)
  expect([error.code, error.message]).toEqual(['config_invalid', message])
  expect(JSON.stringify(error)).not.toContain('canary')
})

// http

async function fetchHttp(
  given: Partial<HttpProfile>,
  ...answers: (HttpResponse | ((request: HttpRequest) => HttpResponse))[]
) {
  const profile: HttpProfile = {
    ...common,
    source: 'http',
    method: 'POST',
    url: 'https://api.example.com/tokens?x=1',
    headers: {},
    token_path: 'token',
    ...given,
  }
  const { send, requests } = scriptedSend(...answers)
  const secrets = {
    KEY: 'canary-key',
    PASS: 'canary-pass',
    BAD: 'line\nbreak',
    HARD: 'c4n4ry+/=% "(!)\\',
    SCHEME: 'Custom c4n4ry-scheme-key',
  }
  const source = await createSource(profile, sourcePorts({ clock: fakeClock(), send, secrets }))
  const outcome = await source.fetch(ask).then(
    token => ({ token, error: undefined }),
    error => ({ token: undefined, error }),
  )
  return { ...outcome, request: requests[0], count: requests.length }
}

test('reads an answer like GitHub’s: 201, expires_at as an instant, by the server’s clock', async () => {
  const date = new Date(now + 600_000).toUTCString()
  const body = { token: 'ghs_x', expires_at: '2027-01-15T09:10:00Z' }
  const { token, request } = await fetchHttp(
    {
      expires_at_path: 'expires_at',
      bearer: { env: 'KEY' },
      headers: { Accept: 'application/vnd.github+json' },
    },
    jsonAnswer(body, 201, { date }),
  )
  expect([token?.accessToken.expose(), token?.tokenType, token?.expiresAt]).toEqual([
    'ghs_x',
    'Bearer',
    now + 3_600_000,
  ])
  expect(request).toMatchObject({
    method: 'POST',
    url: 'https://api.example.com/tokens?x=1',
    body: undefined,
  })
  expect(request?.headers).toEqual({
    accept: 'application/vnd.github+json',
    'user-agent': 'tokctl',
    authorization: 'Bearer canary-key',
  })
})

test('reads an answer like Docker Hub’s: GET with a user, expires_in or its default', async () => {
  const given = {
    method: 'GET',
    basic: { username: 'me', password: { env: 'PASS' } },
    expires_in_path: 'expires_in',
    default_ttl_ms: 60_000,
  } as const
  const { token, request } = await fetchHttp(given, jsonAnswer({ token: 'dckr', expires_in: 300 }))
  expect(token?.expiresAt).toBe(now + 300_000)
  expect(request?.headers['authorization']).toBe(`Basic ${Buffer.from('me:canary-pass').toString('base64')}`)
  expect((await fetchHttp(given, jsonAnswer({ token: 'dckr' }))).token?.expiresAt).toBe(now + 60_000)
})

test('finds token and expiry by path, also in lists', async () => {
  const body = { data: { items: [{ t: 'wrong' }, { t: 'right', left: '120' }] } }
  const given = { token_path: 'data.items.1.t', expires_in_path: 'data.items.1.left' }
  const { token } = await fetchHttp(given, jsonAnswer(body))
  expect([token?.accessToken.expose(), token?.expiresAt]).toEqual(['right', now + 120_000])
})

test('without a path to the expiry nothing is guessed', async () => {
  expect((await fetchHttp({}, jsonAnswer({ token: 'x', expires_in: 60 }))).token?.expiresAt).toBeUndefined()
})

test.each(['missing', 'token.deeper', 'list', 'list.length', 'toString', '__proto__', 'list.0.0'])(
  'a path that leads to no text is an unusable answer: %s',
  async token_path => {
    const { error } = await fetchHttp({ token_path }, jsonAnswer({ token: 'canary', list: ['canary'] }))
    expect([error.code, error.message]).toEqual([
      'invalid_response',
      `api.example.com answered 200 without ${token_path}`,
    ])
    expect(JSON.stringify(error)).not.toContain('canary')
  },
)

test('puts secrets where the JSON body refers to them', async () => {
  const json = {
    key: { env: 'KEY' },
    deep: [{ pass: { env: 'PASS' }, env: 'plain', n: 1 }, null, true],
    plain: 'x',
  }
  const { request } = await fetchHttp({ json }, jsonAnswer({ token: 'x' }))
  expect(JSON.parse(request?.body ?? '')).toEqual({
    key: 'canary-key',
    deep: [{ pass: 'canary-pass', env: 'plain', n: 1 }, null, true],
    plain: 'x',
  })
  expect(request?.headers['content-type']).toBe('application/json')
})

test('sends a form, and lets a header of the profile win', async () => {
  const form = { key: { env: 'KEY' }, plain: 'a b&c' }
  const { request } = await fetchHttp(
    { form, headers: { 'User-Agent': 'me', 'X-Key': { env: 'KEY' } } },
    jsonAnswer({ token: 'x' }),
  )
  expect(request?.body).toBe('key=canary-key&plain=a+b%26c')
  expect(request?.headers).toMatchObject({
    'content-type': 'application/x-www-form-urlencoded',
    'user-agent': 'me',
    'x-key': 'canary-key',
  })
})

const badHeaders: [name: string, given: Partial<HttpProfile>, message: string][] = [
  [
    'a value that would start another header',
    { headers: { 'X-Key': { env: 'BAD' } } },
    'header x-key holds characters that HTTP cannot send',
  ],
  [
    'a bearer that would',
    { bearer: { env: 'BAD' } },
    'header authorization holds characters that HTTP cannot send',
  ],
  ['a name that is none', { headers: { 'X Key': 'x' } }, 'headers has a name that HTTP cannot send'],
  [
    'a user name with a colon',
    { basic: { username: 'a:b', password: { env: 'PASS' } } },
    'basic.username holds a colon (RFC 7617 §2)',
  ],
]
test.each(badHeaders)('sends nothing with %s', async (_, given, message) => {
  const { error, count } = await fetchHttp(given)
  expect([error.code, error.message, count]).toEqual(['config_invalid', message, 0])
  expect(JSON.stringify(error)).not.toMatch(/canary|break/)
})

test('shows why an API refused, without the secrets it repeats', async () => {
  const refusal = jsonAnswer({ message: 'key canary-key and canary-pass are wrong' }, 401)
  const basic = { username: 'me', password: { env: 'PASS' } }
  const { error } = await fetchHttp({ form: { key: { env: 'KEY' } }, basic }, refusal)
  expect([error.code, error.message]).toEqual([
    'request_refused',
    'api.example.com answered 401: key [redacted] and [redacted] are wrong',
  ])
})

const apiQuotes: [name: string, given: Partial<HttpProfile>, quote: (request: HttpRequest) => string][] = [
  [
    'a Basic header',
    { basic: { username: 'me', password: { env: 'HARD' } } },
    ({ headers }) => `${headers['authorization']?.slice(6).replace(/=+$/, '')}`,
  ],
  ['a bearer', { bearer: { env: 'HARD' } }, ({ headers }) => `${headers['authorization']}`],
  [
    'what follows the scheme of a header of its own',
    { headers: { Authorization: { env: 'SCHEME' } } },
    ({ headers }) => `${headers['authorization']?.split(' ')[1]}`,
  ],
  ['a form', { form: { key: { env: 'HARD' } } }, ({ body }) => `${body}`],
  ['a JSON body', { json: { key: { env: 'HARD' } } }, ({ body }) => `${body}`],
]
test.each(apiQuotes)('an API that quotes %s does not make us print the secret', async (_, given, quote) => {
  let quoted = ''
  const { error } = await fetchHttp(given, request => {
    quoted = quote(request)
    return jsonAnswer({ message: `bad ${quoted}` }, 401)
  })
  expect(error.code).toBe('request_refused')
  expect(error.message).toContain('[redacted]')
  expect(error.message).not.toContain(quoted)
  expect(error.message).not.toContain('c4n4ry')
})

// TLS material

test('reads the TLS material of a profile, and hands it to the request', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-tls-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const ca = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'
  writeFileSync(join(dir, 'ca.pem'), ca)
  writeFileSync(join(dir, 'empty.pem'), 'nothing')
  const { send, requests } = scriptedSend(jsonAnswer({ access_token: 'x' }))
  const ports = sourcePorts({ send, secrets: { CERT: 'cert', KEY: 'key', SECRET: 's' } })
  const keys = { client_certificate: { env: 'CERT' }, client_key: { env: 'KEY' } }
  await (await createSource(clientProfile({ ca_file: join(dir, 'ca.pem'), ...keys }), ports)).fetch(ask)
  expect(requests[0]?.tls).toMatchObject({ ca, cert: 'cert' })
  expect(requests[0]?.tls?.key?.expose()).toBe('key')
  for (const [name, words] of [
    ['absent.pem', 'cannot be read (ENOENT)'],
    ['empty.pem', 'holds no certificate in PEM'],
  ] as const) {
    const path = join(dir, name)
    const failing = (await createSource(clientProfile({ ca_file: path }), ports)).fetch(ask)
    await expect(failing).rejects.toMatchObject({
      code: 'config_invalid',
      message: `ca_file ${path} ${words}`,
    })
  }
})
