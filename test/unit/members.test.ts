import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { membersText, type Token } from '../../src/core/token.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import type { CommandProfile, HttpProfile } from '../../src/profile/profile.ts'
import { protocol as aws } from '../../src/protocol/aws.ts'
import { createSource } from '../../src/source/sources.ts'
import { type CacheRecord, decodeRecord, encodeRecord } from '../../src/store/record.ts'
import { fakeClock } from '../support/clock.ts'
import { bareEnvironment, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'
import { failure, grant, said } from '../support/wire.ts'

// A source that yields named members in the place of one token, such as a pair of keys.

const now = fakeClock().now()
const common = { name: 'keys', match: [], binding: 'b' }
const ask = { timeoutMs: 30_000, signal: undefined }
const members = {
  AccessKeyId: 'Credentials.AccessKeyId',
  SecretAccessKey: 'Credentials.SecretAccessKey',
  SessionToken: 'Credentials.SessionToken',
}
const answer = {
  Credentials: {
    AccessKeyId: 'AKIA1',
    SecretAccessKey: 'canary/+=',
    SessionToken: 'canary-session',
    Expiration: '2027-01-15T09:00:00+00:00',
  },
}
const text = '{"AccessKeyId":"AKIA1","SecretAccessKey":"canary/+=","SessionToken":"canary-session"}'

async function fromCommand(stdout: string, given: Partial<CommandProfile> = {}): Promise<Token> {
  const profile: CommandProfile = {
    ...common,
    source: 'command',
    command: ['sts'],
    timeout_ms: 5000,
    members,
    expires_at_path: 'Credentials.Expiration',
    ...given,
  }
  const run = async () => ({
    exitCode: 0,
    killedBy: undefined,
    stdout: new Secret(stdout),
    stderr: '',
  })
  const ports = sourcePorts({ clock: fakeClock(), environment: bareEnvironment(), run })
  return (await createSource(profile, ports)).fetch(ask)
}

async function fromHttp(body: object): Promise<Token> {
  const profile: HttpProfile = {
    ...common,
    source: 'http',
    method: 'GET',
    url: 'https://keys.example.com/',
    headers: {},
    members,
    expires_at_path: 'Credentials.Expiration',
  }
  const { send } = scriptedSend(jsonAnswer(body))
  return (await createSource(profile, sourcePorts({ clock: fakeClock(), send }))).fetch(ask)
}

test.each([
  ['a command', () => fromCommand(JSON.stringify(answer, null, 2))],
  ['a request', () => fromHttp(answer)],
])('%s yields members, their end, and one line that stands for them all', async (_, fetch) => {
  const token = await fetch()
  expect(token.accessToken.expose()).toBe(text)
  expect(Object.entries(token.members ?? {}).map(([name, value]) => [name, value.expose()])).toEqual(
    Object.entries(JSON.parse(text)),
  )
  expect(token.expiresAt).toBe(now + 3_600_000)
  expect(JSON.stringify(token)).not.toContain('canary')
})

test('where the end stands can be told of a command that prints one token too', async () => {
  const { members: _, ...one } = { members: undefined, expires_in_path: 'left' }
  const profile: CommandProfile = { ...common, source: 'command', command: ['x'], timeout_ms: 5000, ...one }
  const run = async () => ({
    exitCode: 0,
    killedBy: undefined,
    stdout: new Secret('{"access_token":"abc","left":60,"expires_in":7}'),
    stderr: '',
  })
  const source = await createSource(profile, sourcePorts({ clock: fakeClock(), run }))
  expect((await source.fetch(ask)).expiresAt).toBe(now + 60_000)
})

test.each<[name: string, change: object, words: string]>([
  ['lacks one', { SecretAccessKey: undefined }, 'without Credentials.SecretAccessKey'],
  ['holds an empty one', { SessionToken: '' }, 'without Credentials.SessionToken'],
  [
    'holds one with a line break',
    { SessionToken: 'canary\nx' },
    'with characters in Credentials.SessionToken that no credential may have',
  ],
])('an answer that %s is unusable, and told without its values', async (_, change, words) => {
  const body = { Credentials: { ...answer.Credentials, ...change } }
  const command = await fromCommand(JSON.stringify(body)).catch(error => error)
  expect([command.code, command.message]).toEqual(['command_failed', `command "sts" printed JSON ${words}`])
  const http = await fromHttp(body).catch(error => error)
  expect([http.code, http.message]).toEqual(['invalid_response', `keys.example.com answered 200 ${words}`])
  expect(JSON.stringify([command, http])).not.toContain('canary')
})

test('a command with members that prints no JSON has failed', async () => {
  const error = await fromCommand('canary').catch(error => error)
  expect([error.code, error.message]).toEqual([
    'command_failed',
    'command "sts" printed something that is not a JSON object',
  ])
})

const record: CacheRecord = {
  etag: 'e',
  binding: 'b',
  token: {
    accessToken: membersText({ A: new Secret('1'), B: new Secret('"\\') }),
    members: { A: new Secret('1'), B: new Secret('"\\') },
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: now,
    expiresAt: undefined,
    refreshToken: undefined,
  },
  refreshToken: undefined,
  rejected: [],
}

test('a record keeps members once, and gives the line that stands for them with them', () => {
  const written = encodeRecord(record)
  expect(JSON.parse(written.expose())).toMatchObject({ members: { A: '1', B: '"\\' } })
  expect(JSON.parse(written.expose())).not.toHaveProperty('access_token')
  const read = decodeRecord(written)
  if (read === undefined || read === 'newer') throw new Error('not read')
  expect(read.token?.accessToken.expose()).toBe('{"A":"1","B":"\\"\\\\"}')
  expect(read.token?.members?.['B']?.expose()).toBe('"\\')
})

test.each([[{}], [[]], [{ A: 1 }], [{ A: 'a\nb' }], [null], ['x']])(
  'a record with the members %j holds no token',
  members => {
    const json = { ...JSON.parse(encodeRecord(record).expose()), members }
    expect(decodeRecord(new Secret(JSON.stringify(json)))).toMatchObject({ etag: 'e', token: undefined })
  },
)

// The configuration

function problems(toml: string): string[] {
  const source = { file: '/c/config.toml', bytes: Buffer.from(toml) }
  try {
    parseConfig(source, 'c.toml', bareEnvironment())
    return []
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    return [error.message, ...error.more]
  }
}
const command = '[profile.keys]\nsource = "command"\ncommand = ["sts"]\n'
const http = '[profile.keys]\nsource = "http"\nurl = "https://keys.example.com/"\n'

test.each<[toml: string, want: string[]]>([
  [`${command}members = { A = "a.b" }\nexpires_at_path = "c"\n`, []],
  [`${http}members = { A = "a.0" }\n`, []],
  [`${http}members = {}`, ['c.toml:4: profile.keys.members: must not be empty']],
  [http, ['c.toml:1: profile.keys: token_path is missing: where the token stands in the answer']],
  [`${command}members = "A"`, ['c.toml:4: profile.keys.members: expected a table, got a string']],
  [
    `${command}members = { "a-b" = "x" }`,
    ['c.toml:4: profile.keys.members.a-b: a member has a name of letters, digits and "_"'],
  ],
  [
    `${command}members = { A = "a..b" }`,
    ['c.toml:4: profile.keys.members.A: expected a path such as "data.token" or "items.0.token"'],
  ],
  [
    `${http}members = { A = "a" }\ntoken_path = "t"`,
    [
      'c.toml:5: profile.keys.token_path: members and token_path exclude each other: a source yields one token or named members',
    ],
  ],
  [
    `${command}members = { A = "a" }\nmatch = ["https://a.example"]`,
    ['c.toml:5: profile.keys.match: named members are no token for a URL'],
  ],
  [
    `${command}members = { A = "a" }\n[profile.x]\nsource = "token_exchange"\ntoken_endpoint = "https://i.example/t"\nsubject_token = { profile = "keys" }`,
    ['c.toml:8: profile.x.subject_token.profile: profile "keys" yields named members, not one token'],
  ],
  [
    '[profile.x]\nsource = "static"\ntoken = { env = "T" }\nmembers = { A = "a" }',
    ['c.toml:4: profile.x.members: source "static" has no such key'],
  ],
])('%j has the problems %j', (toml, want) => {
  expect(problems(toml)).toEqual(want)
})

test('members shape the token: with other ones its binding is another', () => {
  const of = (lines: string): string =>
    [
      ...parseConfig(
        { file: '/c/config.toml', bytes: Buffer.from(`${command}${lines}`) },
        'c.toml',
        bareEnvironment(),
      ).profiles.values(),
    ][0]!.binding
  expect(of('members = { A = "a" }')).not.toBe(of(''))
  expect(of('members = { A = "a" }')).not.toBe(of('members = { A = "b" }'))
})

// The AWS protocol

const secrets = (names: Record<string, string>): Record<string, Secret> =>
  Object.fromEntries(Object.entries(names).map(([name, value]) => [name, new Secret(value)]))
const keys = secrets({ SessionToken: 's', SecretAccessKey: 'k', AccessKeyId: 'AKIA1', Other: 'x' })

test('aws: keys, in the order of the reference, with their end', () => {
  expect(said(aws, { args: ['keys'] }, grant({ members: keys }))).toEqual({
    stdout:
      '{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"k","SessionToken":"s","Expiration":"2030-01-01T00:00:00Z"}\n',
    exitCode: 0,
  })
})

test('aws: keys without a session and without an end, and an account', () => {
  const lasting = secrets({ AccessKeyId: 'AKIA1', SecretAccessKey: 'k', AccountId: '123456789012' })
  expect(said(aws, { args: ['keys'] }, grant({ members: lasting, expiresAt: undefined })).stdout).toBe(
    '{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"k","AccountId":"123456789012"}\n',
  )
})

test('aws: a failure is told in the usual way, and so is a profile that yields no keys', () => {
  expect(() => said(aws, { args: ['keys'] }, failure)).toThrow(failure)
  for (const [members, what] of [
    [undefined, 'AccessKeyId and no SecretAccessKey'],
    [secrets({ AccessKeyId: 'a' }), 'SecretAccessKey'],
  ] as const) {
    const outcome = members === undefined ? grant() : grant({ members })
    expect(() => said(aws, { args: ['keys'] }, outcome)).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: `the profile yields no ${what}` }),
    )
  }
})
