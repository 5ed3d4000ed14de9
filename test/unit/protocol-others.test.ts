import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { Grant, Input, Outcome, Protocol } from '../../src/protocol/protocol.ts'
import { protocols } from '../../src/protocol/protocols.ts'
import { ask, failure, grant, inputOf, said } from '../support/wire.ts'

const load = async (name: string): Promise<Protocol> => (await protocols[name]!()).protocol

interface Case {
  readonly what: string
  readonly protocol: string
  readonly given: Partial<Input>
  /** The grant without it. */
  readonly outcome?: Outcome
  readonly stdout: string
  readonly exitCode?: number
}

const lasting: Grant = grant({ expiresAt: undefined })
const api = 'client.authentication.k8s.io'
const info = (version: string, interactive = false): string =>
  JSON.stringify({ apiVersion: `${api}/${version}`, kind: 'ExecCredential', spec: { interactive } })
const cargoAsk = (kind: string, more = {}): string =>
  JSON.stringify({
    v: 1,
    registry: { 'index-url': 'sparse+https://git.example.com/index/', name: 'my' },
    kind,
    ...more,
  })
const plugin = { args: ['--cargo-plugin'] }
const urn = 'urn:ietf:params:oauth:token-type:'

const cases: Case[] = [
  {
    what: 'v1, ten seconds early',
    protocol: 'kubectl',
    given: { args: ['corp'], env: { KUBERNETES_EXEC_INFO: info('v1', true) } },
    stdout: `{"apiVersion":"${api}/v1","kind":"ExecCredential","status":{"token":"token-1","expirationTimestamp":"2029-12-31T23:59:50Z"}}\n`,
  },
  {
    what: 'v1beta1',
    protocol: 'kubectl',
    given: { args: ['corp'], env: { KUBERNETES_EXEC_INFO: info('v1beta1') } },
    outcome: lasting,
    stdout: `{"apiVersion":"${api}/v1beta1","kind":"ExecCredential","status":{"token":"token-1"}}\n`,
  },
  {
    what: 'a client that does not say',
    protocol: 'kubectl',
    given: { args: ['corp'] },
    outcome: lasting,
    stdout: `{"apiVersion":"${api}/v1","kind":"ExecCredential","status":{"token":"token-1"}}\n`,
  },
  {
    what: 'a client that does not say, and a flag that does',
    protocol: 'kubectl',
    given: { args: ['corp', '--api-version', 'v1beta1'] },
    outcome: lasting,
    stdout: `{"apiVersion":"${api}/v1beta1","kind":"ExecCredential","status":{"token":"token-1"}}\n`,
  },
  {
    what: 'a token of ten seconds loses one of them',
    protocol: 'kubectl',
    given: { args: ['corp'] },
    outcome: grant({ obtainedAt: 1_893_455_990_000 }),
    stdout: `{"apiVersion":"${api}/v1","kind":"ExecCredential","status":{"token":"token-1","expirationTimestamp":"2029-12-31T23:59:59Z"}}\n`,
  },
  {
    what: 'a header, whole seconds',
    protocol: 'bazel',
    given: { args: ['get'], stdin: '{"uri":"https://git.example.com/x","future":1}' },
    outcome: grant({ expiresAt: 1_893_456_000_999 }),
    stdout: '{"headers":{"Authorization":["Bearer token-1"]},"expires":"2030-01-01T00:00:00Z"}\n',
  },
  {
    what: 'no end',
    protocol: 'bazel',
    given: { args: ['get'], stdin: '{"uri":"grpcs://git.example.com/p.S/M"}' },
    outcome: lasting,
    stdout: '{"headers":{"Authorization":["Bearer token-1"]}}\n',
  },
  {
    what: 'not ours',
    protocol: 'bazel',
    given: { args: ['get'], stdin: '{"uri":"https://other.example.com/x"}' },
    outcome: 'not_mine',
    stdout: '{}\n',
  },
  {
    what: 'get',
    protocol: 'cargo',
    given: { ...plugin, stdin: cargoAsk('get', { operation: 'read' }) },
    stdout:
      '{"Ok":{"kind":"get","token":"Bearer token-1","cache":"expires","expiration":1893456000,"operation_independent":true}}\n',
  },
  {
    what: 'get without an end',
    protocol: 'cargo',
    given: { ...plugin, stdin: cargoAsk('get', { operation: 'publish', name: 'x' }) },
    outcome: lasting,
    stdout: '{"Ok":{"kind":"get","token":"Bearer token-1","cache":"session","operation_independent":true}}\n',
  },
  {
    what: 'not ours',
    protocol: 'cargo',
    given: { ...plugin, stdin: cargoAsk('get') },
    outcome: 'not_mine',
    stdout: '{"Err":{"kind":"not-found"}}\n',
  },
  {
    what: 'a failure',
    protocol: 'cargo',
    given: { ...plugin, stdin: cargoAsk('get') },
    outcome: failure,
    stdout:
      '{"Err":{"kind":"other","message":"profile \\"corp\\" needs a sign-in","caused-by":["run: tokctl login corp"]}}\n',
  },
  ...[
    cargoAsk('login'),
    cargoAsk('logout'),
    cargoAsk('frobnicate'),
    cargoAsk('get', { operation: 'x' }),
  ].flatMap(stdin =>
    (['done', 'not_mine'] as const).map(outcome => ({
      what: `${stdin} where a registry is ${outcome === 'done' ? 'ours' : 'not ours'}`,
      protocol: 'cargo',
      given: { ...plugin, stdin },
      outcome,
      stdout: `{"Err":{"kind":"${outcome === 'done' ? 'operation' : 'url'}-not-supported"}}\n`,
    })),
  ),
  {
    what: 'login to no registry',
    protocol: 'cargo',
    given: { ...plugin, stdin: '{"v":1,"kind":"login"}' },
    stdout: '{"Err":{"kind":"operation-not-supported"}}\n',
  },
  {
    what: 'another version',
    protocol: 'cargo',
    given: { ...plugin, stdin: '{"v":2}' },
    stdout: '{"Err":{"kind":"other","message":"expected a request of version 1"}}\n',
  },
  {
    what: 'no index',
    protocol: 'cargo',
    given: { ...plugin, stdin: '{"v":1,"registry":[],"kind":"get"}' },
    stdout: '{"Err":{"kind":"other","message":"expected an index-url"}}\n',
  },
  {
    what: 'token from stdout',
    protocol: 'cargo',
    given: { env: { CARGO_REGISTRY_INDEX_URL: 'sparse+https://git.example.com/index/' } },
    stdout: 'Bearer token-1\n',
  },
  {
    what: 'get',
    protocol: 'terraform',
    given: { args: ['get', 'git.example.com'] },
    stdout: '{"token":"token-1"}\n',
  },
  {
    what: 'get after words of the configuration',
    protocol: 'terraform',
    given: { args: ['--x', 'store', 'get', 'git.example.com:8443'] },
    outcome: 'not_mine',
    stdout: '{}\n',
  },
  {
    what: 'store of our own',
    protocol: 'terraform',
    given: { args: ['store', 'git.example.com'], stdin: '{"token":"token-1"}' },
    outcome: 'done',
    stdout: '',
  },
  { what: 'forget', protocol: 'terraform', given: { args: ['forget', 'git.example.com'] }, stdout: '' },
  {
    what: 'get',
    protocol: 'goauth',
    given: { args: ['https://git.example.com/x'], stdin: 'HTTP/1.1 401 Unauthorized\n\n' },
    stdout: 'https://git.example.com/x\nhttps://git.example.com\n\nAuthorization: Bearer token-1\n\n',
  },
  {
    what: 'get of what stands in match already',
    protocol: 'goauth',
    given: { args: ['https://git.example.com'] },
    stdout: 'https://git.example.com\n\nAuthorization: Bearer token-1\n\n',
  },
  {
    what: 'all that is at hand',
    protocol: 'goauth',
    given: {},
    outcome: grant({ match: ['a.example', 'https://b.example/x/', 'http://localhost'] }),
    stdout: 'https://a.example\nhttps://b.example/x\n\nAuthorization: Bearer token-1\n\n',
  },
  {
    what: 'what is at hand is of no use',
    protocol: 'goauth',
    given: {},
    outcome: grant({ match: ['http://localhost'] }),
    stdout: '',
  },
  {
    what: 'not ours',
    protocol: 'goauth',
    given: { args: ['https://other.example.com/'] },
    outcome: 'not_mine',
    stdout: '',
  },
  {
    what: 'a password',
    protocol: 'keyring',
    given: { args: ['get', 'https://git.example.com/simple', 'alice'] },
    stdout: 'token-1\n',
  },
  {
    what: 'what stands behind it',
    protocol: 'keyring',
    given: { args: ['diagnose'] },
    stdout: 'backend: tokctl 1.2.3, which answers get alone, for what a profile matches\n',
  },
  {
    what: 'user and password',
    protocol: 'keyring',
    given: { args: ['--mode', 'creds', 'get', 'git.example.com'] },
    stdout: 'oauth2\ntoken-1\n',
  },
  {
    what: 'user and password as JSON',
    protocol: 'keyring',
    given: { args: ['-b', 'x.Y', 'get', 'git.example.com', 'alice', '--mode=creds', '--output', 'json'] },
    stdout: '{"username":"alice","password":"token-1"}\n',
  },
  {
    what: 'a password as JSON',
    protocol: 'keyring',
    given: { args: ['get', 'git.example.com', 'alice', '--output=json'] },
    stdout: '{"password":"token-1"}\n',
  },
  {
    what: 'not ours',
    protocol: 'keyring',
    given: { args: ['get', 'other.example.com', 'alice'] },
    outcome: 'not_mine',
    stdout: '',
    exitCode: 1,
  },
  { what: 'a header value', protocol: 'pnpm', given: { args: ['corp'] }, stdout: 'Bearer token-1\n' },
  {
    what: 'get',
    protocol: 'vault',
    given: { args: ['get'], env: { VAULT_ADDR: 'https://git.example.com:8200' } },
    stdout: 'token-1',
  },
  { what: 'not ours', protocol: 'vault', given: { args: ['get'] }, outcome: 'not_mine', stdout: '' },
  { what: 'erase', protocol: 'vault', given: { args: ['erase'] }, stdout: '' },
  {
    what: 'store of our own',
    protocol: 'vault',
    given: { args: ['store'], stdin: 'token-1' },
    outcome: 'done',
    stdout: '',
  },
  ...(['id_token', 'jwt'] as const).map(type => ({
    what: type,
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE: `${urn}${type}` } },
    stdout: `{"version":1,"success":true,"token_type":"${urn}${type}","id_token":"token-1","expiration_time":1893456000}\n`,
  })),
  {
    what: 'saml2 without an end',
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE: `${urn}saml2` } },
    outcome: lasting,
    stdout: `{"version":1,"success":true,"token_type":"${urn}saml2","saml_response":"token-1"}\n`,
  },
  {
    what: 'a failure',
    protocol: 'gcp',
    given: { args: ['corp'] },
    outcome: failure,
    stdout:
      '{"version":1,"success":false,"code":"login_required","message":"profile \\"corp\\" needs a sign-in (run: tokctl login corp)"}\n',
  },
  {
    what: 'another type',
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE: `${urn}x` } },
    stdout:
      '{"version":1,"success":false,"code":"usage","message":"of this token type nothing is offered: set subject_token_type to id_token, jwt, saml2 or access_token"}\n',
  },
  {
    what: 'an access token',
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE: `${urn}access_token` } },
    stdout: `{"version":1,"success":true,"token_type":"${urn}access_token","access_token":"token-1","expiration_time":1893456000}\n`,
  },
  {
    what: 'an output file, and no end of the token',
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE: '/o' } },
    outcome: lasting,
    stdout:
      '{"version":1,"success":false,"code":"usage","message":"output_file needs to know when the token ends, and it does not tell: set default_ttl"}\n',
  },
  {
    what: 'a revocation',
    protocol: 'gcp',
    given: { args: ['corp'], env: { GOOGLE_EXTERNAL_ACCOUNT_REVOKE: '1' } },
    stdout: '{"version":1,"success":false,"code":"usage","message":"run: tokctl logout"}\n',
  },
]
test.each(cases)('$protocol: $what', async ({ protocol, given, outcome, stdout, exitCode = 0 }) => {
  expect(said(await load(protocol), given, outcome)).toEqual({ stdout, exitCode })
})

test.each<[protocol: string, given: Partial<Input>, url: string]>([
  [
    'bazel',
    { args: ['get'], stdin: '{"uri":"grpcs://git.example.com/p.S/M"}' },
    'https://git.example.com/p.S/M',
  ],
  ['cargo', { ...plugin, stdin: cargoAsk('get') }, 'https://git.example.com/index/'],
  ['cargo', { args: ['get', 'https://git.example.com/index'] }, 'https://git.example.com/index'],
  ['terraform', { args: ['get', 'git.example.com:8443'] }, 'https://git.example.com:8443/'],
  ['goauth', { args: ['https://git.example.com/x'] }, 'https://git.example.com/x'],
  ['keyring', { args: ['get', 'git.example.com', 'u'] }, 'git.example.com'],
  [
    'vault',
    { args: ['--client', 'bao', 'get'], env: { BAO_ADDR: 'https://b.example/' } },
    'https://b.example',
  ],
  ['vault', { args: ['get'] }, 'https://127.0.0.1:8200'],
])('%s asks for the profile of %j by %s', async (protocol, given, url) => {
  expect(ask(await load(protocol), given, 'get').of).toEqual({ url })
})

test.each(['kubectl', 'pnpm', 'gcp', 'aws'])('%s takes the profile by its name', async name => {
  expect(ask(await load(name), { args: ['corp'] }, 'get').of).toEqual({ profile: 'corp' })
})

test.each<[protocol: string, given: Partial<Input>, message: string]>([
  ['kubectl', {}, 'helper kubectl: expected the name of one profile'],
  ['kubectl', { args: ['a', 'b'] }, 'helper kubectl: expected the name of one profile'],
  [
    'kubectl',
    { args: ['a'], env: { KUBERNETES_EXEC_INFO: info('v1alpha1') } },
    'kubectl asks for a version of ExecCredential that is not known here',
  ],
  [
    'kubectl',
    { args: ['a'], env: { KUBERNETES_EXEC_INFO: '{' } },
    'KUBERNETES_EXEC_INFO holds no ExecCredential',
  ],
  ['bazel', {}, 'helper bazel: expected the verb get'],
  [
    'bazel',
    { args: ['get'], stdin: '{"uri":"s3://x"}' },
    'helper bazel: standard input names no http, https, grpc or grpcs URI',
  ],
  ['cargo', {}, 'helper cargo: no registry was named'],
  ['terraform', { args: ['frob', 'h'] }, 'helper terraform: expected get, store or forget, and a host name'],
  ['terraform', { args: ['get', 'h/x'] }, 'helper terraform get: malformed host name'],
  [
    'terraform',
    { args: ['store', 'h'], stdin: '{"token":"t","more":1}' },
    'helper terraform store: expected an object with a token and nothing else',
  ],
  ['goauth', { args: ['http://h/'] }, 'helper goauth: expected an https URL'],
  ['goauth', { args: ['https://h/\nhttps://other/'] }, 'helper goauth: expected an https URL'],
  ['keyring', { args: ['set', 's', 'u'] }, 'helper keyring: only get is offered'],
  ['keyring', { args: ['get', 's'] }, 'helper keyring get: expected a user'],
  ['keyring', { args: ['get', 's', 'u', '--mode', 'x'] }, '--mode: expected password or creds'],
  ['vault', { args: ['list'] }, 'helper vault: expected get, store or erase'],
  ['vault', { args: ['--client', 'bao'] }, 'helper vault: expected get, store or erase'],
  ['vault', { args: ['--client', 'x', 'get'] }, 'helper vault: --client is vault or bao'],
  ['vault', { args: ['store'], stdin: 'a\r\n' }, 'standard input holds no token'],
])('%s refuses %j', async (name, given, message) => {
  const protocol = await load(name)
  expect(() => protocol.decode(inputOf(given))).toThrow(expect.objectContaining({ code: 'usage', message }))
})

describe('the server that vault and bao send the token to', () => {
  const [v, b] = ['https://v.example', 'https://b.example']
  const usual = 'https://127.0.0.1:8200'
  const agent = 'http://127.0.0.1:8100'
  const unclear = 'it is not known which of them asks'
  const empty = 'differs among versions of bao'
  // As api/client.go of both, and api/env.go of OpenBao, read their environment.
  const rows: [env: Record<string, string>, byVault: string, byBao: string, notTold: string][] = [
    [{}, usual, usual, usual],
    [{ VAULT_ADDR: v }, v, v, v],
    [{ BAO_ADDR: b }, usual, b, unclear],
    [{ VAULT_ADDR: v, BAO_ADDR: b }, v, b, unclear],
    [{ VAULT_ADDR: `${v}/`, BAO_ADDR: v }, v, v, v],
    [{ VAULT_ADDR: '' }, usual, usual, usual],
    [{ VAULT_ADDR: v, BAO_ADDR: '' }, v, empty, unclear],
    [{ BAO_ADDR: '' }, usual, usual, usual],
    [{ VAULT_ADDR: v, VAULT_AGENT_ADDR: agent }, agent, agent, agent],
    [{ VAULT_ADDR: v, BAO_AGENT_ADDR: agent }, v, agent, unclear],
    [{ VAULT_ADDR: v, BAO_ADDR: b, VAULT_AGENT_ADDR: agent, BAO_AGENT_ADDR: '' }, agent, empty, unclear],
    // Both read one file then, and so run what either of them was told.
    [{ VAULT_ADDR: v, BAO_ADDR: b, VAULT_CONFIG_PATH: '/c' }, unclear, unclear, unclear],
    [{ VAULT_ADDR: v, VAULT_CONFIG_PATH: '/c' }, v, v, v],
    [{ VAULT_ADDR: v, BAO_ADDR: b, VAULT_CONFIG_PATH: '/c', BAO_CONFIG_PATH: '/b' }, v, b, unclear],
  ]
  test.each(rows)('%j', async (env, byVault, byBao, notTold) => {
    const protocol = await load('vault')
    for (const [client, want] of [
      [['--client', 'vault'], byVault],
      [['--client', 'bao'], byBao],
      [[], notTold],
    ] as const) {
      const given = { args: [...client, 'get'], env }
      if (want.startsWith('http')) expect(ask(protocol, given, 'get').of).toEqual({ url: want })
      else {
        expect(() => protocol.decode(inputOf(given))).toThrow(
          expect.objectContaining({
            code: 'usage',
            message: expect.stringContaining(want),
            hint: expect.stringMatching(/run: (?:tokctl setup bao|unset )|run again .*tokctl setup vault/),
          }),
        )
      }
    }
  })
})

describe('what cannot be said in the words of a protocol is told in the usual way', () => {
  const asks: [protocol: string, given: Partial<Input>][] = [
    ['kubectl', { args: ['corp'] }],
    ['bazel', { args: ['get'], stdin: '{"uri":"https://h"}' }],
    ['cargo', { args: ['https://h'] }],
    ['terraform', { args: ['get', 'h'] }],
    ['goauth', { args: ['https://h'] }],
    ['keyring', { args: ['get', 'h', 'u'] }],
    ['pnpm', { args: ['corp'] }],
    ['vault', { args: ['get'] }],
  ]
  test.each(asks)('%s: a failure', async (name, given) => {
    const protocol = await load(name)
    expect(() => said(protocol, given, failure)).toThrow(failure)
  })

  test.each([...asks, ['gcp', { args: ['corp'] }] as (typeof asks)[number]])(
    '%s: a token with a line break in it',
    async (name, given) => {
      const protocol = await load(name)
      expect(() => said(protocol, given, grant({ accessToken: new Secret('a\nb') }))).toThrow(
        expect.objectContaining({ code: 'invalid_response' }),
      )
    },
  )
})

test('a foreign token is kept by none of them', async () => {
  for (const [name, given, hint] of [
    ['terraform', { args: ['store', 'h'], stdin: '{"token":"t"}' }, 'credentials_helper'],
    ['vault', { args: ['store'], stdin: 't' }, 'export VAULT_TOKEN="$(vault login -token-only)"'],
    [
      'vault',
      { args: ['--client', 'bao', 'store'], stdin: 't' },
      'export BAO_TOKEN="$(bao login -token-only)"',
    ],
  ] as const) {
    const protocol = await load(name)
    expect(() => said(protocol, given, 'not_mine'), name).toThrow(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringMatching(/^no profile matches this /),
        hint: expect.stringContaining(hint),
      }),
    )
  }
})

test('only Cargo speaks first, and only as a plugin', async () => {
  for (const name of Object.keys(protocols)) {
    const { greeting } = await load(name)
    expect(greeting?.(['--cargo-plugin'])).toBe(name === 'cargo' ? '{"v":[1]}\n' : undefined)
    expect(greeting?.([])).toBe(undefined)
  }
})

test.each([
  ['0', true],
  ['1', false],
])(
  'gcp: with INTERACTIVE=%s the answer stands in the output file, and on stdout: %s',
  async (flag, onStdout) => {
    const env = {
      GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE: '/o/cache.json',
      GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE: flag,
    }
    const content = `{"version":1,"success":true,"token_type":"${urn}id_token","id_token":"token-1","expiration_time":1893456000}\n`
    expect(said(await load('gcp'), { args: ['corp'], env })).toEqual({
      stdout: onStdout ? content : '',
      exitCode: 0,
      file: { path: '/o/cache.json', content, needed: !onStdout },
    })
  },
)

test('named members are given to none that asks for one token', async () => {
  const members = { A: new Secret('a') }
  for (const [name, given] of [
    ['pnpm', { args: ['corp'] }],
    ['kubectl', { args: ['corp'] }],
    ['gcp', { args: ['corp'] }],
    ['terraform', { args: ['get', 'h'] }],
  ] as const) {
    const protocol = await load(name)
    expect(() => said(protocol, given, grant({ members })), name).toThrow(
      expect.objectContaining({
        code: 'usage',
        message: 'this profile yields named members, and the tool asks for one token',
      }),
    )
  }
})
