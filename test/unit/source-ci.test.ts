import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import type { ProgramCall, ProgramResult } from '../../src/core/program.ts'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { CiProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { ciProfile } from '../support/profiles.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const now = 1_800_000_000
const jwt = (claims: object): string =>
  ['{}', JSON.stringify({ exp: now + 300, ...claims }), 'signature']
    .map(part => Buffer.from(part).toString('base64url'))
    .join('.')
const identity = jwt({ sub: 'job', aud: 'https://me' })

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'tokctl-ci-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Run = (call: ProgramCall) => Promise<ProgramResult>

async function fetchWith(
  given: Partial<CiProfile>,
  env: Record<string, string>,
  answers: (HttpResponse | Error)[] = [],
  run?: Run,
) {
  const { send, requests } = scriptedSend(...answers)
  const traced: string[] = []
  const clock = { ...fakeClock(now * 1000), sleep: async () => {} }
  const environment = bareEnvironment(env)
  const ports = sourcePorts({
    clock,
    send,
    environment,
    trace: line => traced.push(line),
    ...(run === undefined ? {} : { run }),
  })
  const source = await createSource(ciProfile(given), ports)
  const outcome = await source.fetch({ timeoutMs: 5000, signal: undefined }).then(
    token => ({ token }),
    (error: TokctlError) => ({ error }),
  )
  return { ...outcome, requests, traced } as {
    token?: Token
    error?: TokctlError
    requests: readonly HttpRequest[]
    traced: string[]
  }
}

const github = {
  GITHUB_ACTIONS: 'true',
  ACTIONS_ID_TOKEN_REQUEST_URL: 'https://run.example.com/idtoken?api-version=2.0',
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-token',
}
const azure = {
  TF_BUILD: 'True',
  SYSTEM_OIDCREQUESTURI: 'https://dev.example.com/org/_apis/oidctoken',
  SYSTEM_ACCESSTOKEN: 'access-token',
}

test('GitHub Actions: asks for the audience behind the query that the address has', async () => {
  const given = { audience: 'https://me' }
  const { token, requests, traced } = await fetchWith(given, github, [
    jsonAnswer({ value: identity, count: 1 }),
  ])
  expect(requests).toEqual([
    expect.objectContaining({
      method: 'GET',
      url: 'https://run.example.com/idtoken?api-version=2.0&audience=https%3A%2F%2Fme',
      body: undefined,
      headers: expect.objectContaining({ authorization: 'Bearer request-token' }),
    }),
  ])
  expect(token).toMatchObject({ tokenType: 'Bearer', expiresAt: (now + 300) * 1000, refreshToken: undefined })
  expect(token?.accessToken.expose()).toBe(identity)
  expect(traced).toEqual(["runner's identity: GitHub Actions (found)"])
})

test('GitHub Actions: an address without a query gets one, and no audience leaves it alone', async () => {
  const url = 'https://run.example.com/idtoken'
  const env = { ...github, ACTIONS_ID_TOKEN_REQUEST_URL: url }
  const answer = jsonAnswer({ value: identity })
  expect((await fetchWith({ audience: 'https://me' }, env, [answer])).requests[0]?.url).toBe(
    `${url}?audience=https%3A%2F%2Fme`,
  )
  expect((await fetchWith({}, env, [answer])).requests[0]?.url).toBe(url)
})

test.each(['http://run.example.com/x', 'file:///etc/passwd', 'nonsense'])(
  'GitHub Actions: does not ask %s',
  async url => {
    const { error, requests } = await fetchWith({}, { ...github, ACTIONS_ID_TOKEN_REQUEST_URL: url })
    expect(error?.code).toBe('config_invalid')
    expect(error?.message).toMatch(/^environment variable ACTIONS_ID_TOKEN_REQUEST_URL cannot be asked: /)
    expect(requests).toEqual([])
  },
)

test('GitHub Actions: tries again when the service is ill, and tells its refusal without the request token', async () => {
  const ill = await fetchWith({}, github, [jsonAnswer('', 503), jsonAnswer({ value: identity })])
  expect(ill.token?.accessToken.expose()).toBe(identity)
  const refused = jsonAnswer({ message: 'request-token is not allowed' }, 403)
  expect((await fetchWith({}, github, [refused])).error).toMatchObject({
    code: 'request_refused',
    message: "runner's identity service run.example.com answered 403: [redacted] is not allowed",
  })
})

test('GitHub Actions over a real connection', async () => {
  const server = await startRawServer(
    rawAnswer(200, { 'Content-Type': 'application/json' }, JSON.stringify({ value: jwt({ exp: 4e9 }) })),
  )
  const environment = bareEnvironment({
    ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${server.port}/idtoken?a=b`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-token',
  })
  const ports = sourcePorts({
    environment,
    send: createSend({ environment, clock: systemClock, directWire }),
  })
  const source = await createSource(ciProfile({ provider: 'github' }), ports)
  await source.fetch({ timeoutMs: 5000, signal: undefined })
  expect(server.requests[0]).toMatch(/^GET \/idtoken\?a=b HTTP\/1\.1\r\n/)
  expect(server.requests[0]).toMatch(/^authorization: Bearer request-token\r$/im)
  await server.close()
})

test('Azure Pipelines: posts for a token, for its service connection where one is known', async () => {
  const { token, requests } = await fetchWith({}, azure, [jsonAnswer({ oidcToken: identity })])
  expect(requests).toEqual([
    expect.objectContaining({
      method: 'POST',
      url: 'https://dev.example.com/org/_apis/oidctoken?api-version=7.1',
      headers: expect.objectContaining({
        authorization: 'Bearer access-token',
        'content-type': 'application/json',
      }),
    }),
  ])
  expect(token?.accessToken.expose()).toBe(identity)
  const env = { ...azure, AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: 'id 1' }
  const connected = await fetchWith({}, env, [jsonAnswer({ oidcToken: identity })])
  expect(connected.requests[0]?.url).toBe(
    'https://dev.example.com/org/_apis/oidctoken?api-version=7.1&serviceConnectionId=id+1',
  )
})

const variables: [provider: CiProfile['provider'], env: Record<string, string>, given: Partial<CiProfile>][] =
  [
    ['gitlab', { GITLAB_CI: 'true', ID_TOKEN: identity }, {}],
    ['gitlab', { GITLAB_CI: 'true', GITLAB_OIDC_TOKEN: identity }, {}],
    ['gitlab', { GITLAB_CI: 'true', MINE: identity, ID_TOKEN: 'x' }, { token_env: 'MINE' }],
    ['circleci', { CIRCLECI: 'true', CIRCLE_OIDC_TOKEN: 'x', CIRCLE_OIDC_TOKEN_V2: identity }, {}],
    ['circleci', { CIRCLECI: 'true', CIRCLE_OIDC_TOKEN: identity }, {}],
    ['bitbucket', { BITBUCKET_BUILD_NUMBER: '7', BITBUCKET_STEP_OIDC_TOKEN: identity }, {}],
  ]
test.each(variables)('%s: the token of %j with %j, found or named', async (provider, env, given) => {
  for (const each of ['auto', provider] as const) {
    const { token, traced } = await fetchWith({ ...given, provider: each }, env)
    expect(token?.accessToken.expose()).toBe(identity)
    expect(token?.expiresAt).toBe((now + 300) * 1000)
    expect(traced[0]).toMatch(each === 'auto' ? /\(found\)$/ : /\(configured\)$/)
  }
})

test('GitLab: of several tokens, the one for the audience', async () => {
  const other = jwt({ aud: 'https://other' })
  const listed = jwt({ aud: ['https://x', 'https://me'] })
  const env = { GITLAB_CI: 'true', ID_TOKEN: other, GITLAB_ID_TOKEN: listed }
  expect((await fetchWith({ audience: 'https://me' }, env)).token?.accessToken.expose()).toBe(listed)
  expect((await fetchWith({}, env)).token?.accessToken.expose()).toBe(other)
})

test('auto takes a variable that the profile names where no runner is known', async () => {
  const { token } = await fetchWith({ token_env: 'MINE' }, { MINE: identity })
  expect(token?.accessToken.expose()).toBe(identity)
})

test('a token for another audience is told from the right one', async () => {
  const { error } = await fetchWith({ audience: 'https://you' }, { GITLAB_CI: 'true', ID_TOKEN: identity })
  expect(error).toMatchObject({
    code: 'config_invalid',
    message: 'identity token of GitLab is for "https://me", not for audience "https://you"',
    hint: 'give the job id_tokens: ID_TOKEN: aud: …, or name its variable by token_env',
  })
  const opaque = { GITLAB_CI: 'true', ID_TOKEN: 'opaque' }
  expect((await fetchWith({ audience: 'https://you' }, opaque)).token?.accessToken.expose()).toBe('opaque')
})

test('a token of a variable that has expired is not given', async () => {
  const env = { GITLAB_CI: 'true', ID_TOKEN: jwt({ exp: now - 60 }) }
  expect((await fetchWith({}, env)).error).toMatchObject({
    code: 'config_invalid',
    message: 'identity token in environment variable ID_TOKEN has expired at 2027-01-15T07:59:00Z',
  })
})

test('Buildkite: asks the agent, which does not get the keys of the store', async () => {
  const calls: ProgramCall[] = []
  const run: Run = async call => {
    calls.push(call)
    return { exitCode: 0, killedBy: undefined, stdout: new Secret(`${identity}\n`), stderr: '' }
  }
  const env = { BUILDKITE: 'true', PATH: '/bin', TOKCTL_STORE_KEY: 'k' }
  const { token } = await fetchWith({ audience: 'https://me' }, env, [], run)
  expect(token?.accessToken.expose()).toBe(identity)
  expect(calls[0]?.command).toEqual(['buildkite-agent', 'oidc', 'request-token', '--audience', 'https://me'])
  expect(calls[0]?.env).toEqual({ BUILDKITE: 'true', PATH: '/bin' })
  await fetchWith({}, env, [], run)
  expect(calls[1]?.command).toEqual(['buildkite-agent', 'oidc', 'request-token'])
})

test('Buildkite: tells why the agent gave none', async () => {
  const stderr = 'fatal\nno job token\u001b[31m\n'
  const run: Run = async () => ({ exitCode: 1, killedBy: undefined, stdout: new Secret(''), stderr })
  expect((await fetchWith({}, { BUILDKITE: 'true' }, [], run)).error).toMatchObject({
    code: 'command_failed',
    message: 'buildkite-agent gave no identity token (exit code 1): no job token [31m',
  })
  const silent: Run = async () => ({ exitCode: 0, killedBy: undefined, stdout: new Secret('\n'), stderr: '' })
  expect((await fetchWith({}, { BUILDKITE: 'true' }, [], silent)).error).toMatchObject({
    code: 'config_invalid',
    message: 'what buildkite-agent printed is not a token',
  })
})

test('Kubernetes: reads the projected token anew each time, through the links it is mounted by', async () => {
  writeFileSync(join(dir, 'data'), `${identity}\n`)
  const token_file = join(dir, 'token')
  symlinkSync('data', token_file)
  const source = await createSource(
    ciProfile({ provider: 'kubernetes', token_file }),
    sourcePorts({ clock: fakeClock(now * 1000) }),
  )
  const request = { timeoutMs: 5000, signal: undefined }
  expect((await source.fetch(request)).accessToken.expose()).toBe(identity)
  const next = jwt({ exp: now + 900 })
  writeFileSync(join(dir, 'data'), next)
  expect(await source.fetch(request)).toMatchObject({ expiresAt: (now + 900) * 1000 })
  const { token, traced } = await fetchWith({ token_file }, {})
  expect(token?.accessToken.expose()).toBe(next)
  expect(traced).toEqual(["runner's identity: Kubernetes (found)"])
})

test('Kubernetes: says what is wrong with the file', async () => {
  const given = { provider: 'kubernetes', token_file: join(dir, 'none') } as const
  expect((await fetchWith(given, {})).error).toMatchObject({
    code: 'config_invalid',
    message: `file ${join(dir, 'none')} does not exist`,
    hint: 'mount a projected serviceAccountToken, and name it by token_file',
  })
  expect((await fetchWith({ ...given, token_file: dir }, {})).error?.message).toBe(
    `file ${dir} is not a regular file`,
  )
})

const lacking: [name: string, env: Record<string, string>, message: string, hint: string][] = [
  [
    'GitHub Actions without permission',
    { GITHUB_ACTIONS: 'true' },
    'GitHub Actions gives this job no identity token: ACTIONS_ID_TOKEN_REQUEST_URL is not set',
    'give the job permissions: id-token: write',
  ],
  [
    'GitLab without id_tokens',
    { GITLAB_CI: 'true' },
    'GitLab gives this job no identity token: none of ID_TOKEN, GITLAB_ID_TOKEN, GITLAB_OIDC_TOKEN, OIDC_TOKEN is set',
    'give the job id_tokens: ID_TOKEN: aud: …, or name its variable by token_env',
  ],
  [
    'Azure Pipelines without its access token',
    { TF_BUILD: 'True', SYSTEM_OIDCREQUESTURI: 'https://dev.example.com/' },
    'Azure Pipelines gives this job no identity token: SYSTEM_ACCESSTOKEN is not set',
    'give the step env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)',
  ],
  [
    'Bitbucket without oidc',
    { BITBUCKET_BUILD_NUMBER: '7' },
    'Bitbucket gives this job no identity token: BITBUCKET_STEP_OIDC_TOKEN is not set',
    'give the step oidc: true, or oidc: audiences: …',
  ],
]
test.each(lacking)(
  'says what %s lacks, and takes no other identity for it',
  async (_, env, message, hint) => {
    const { error } = await fetchWith({}, env)
    expect(error).toMatchObject({ code: 'config_invalid', message, hint })
  },
)

test('a runner in a Kubernetes pod is that runner', async () => {
  const token_file = join(dir, 'pod')
  writeFileSync(token_file, jwt({ sub: 'pod' }))
  const { token } = await fetchWith({ token_file }, github, [jsonAnswer({ value: identity })])
  expect(token?.accessToken.expose()).toBe(identity)
})

test('lists what it looked for where nothing is found', async () => {
  const token_file = join(dir, 'none')
  const { error, requests } = await fetchWith({ token_file }, { PATH: '/bin' })
  expect(requests).toEqual([])
  expect(error).toMatchObject({
    code: 'config_invalid',
    message: `no CI runner was found here: neither ACTIONS_ID_TOKEN_REQUEST_URL, GITLAB_CI, SYSTEM_OIDCREQUESTURI, CIRCLE_OIDC_TOKEN_V2, BUILDKITE_AGENT_ACCESS_TOKEN, BITBUCKET_STEP_OIDC_TOKEN nor ${token_file}`,
    hint: 'this profile works in a CI job; elsewhere, name a provider to see what it lacks',
  })
})
