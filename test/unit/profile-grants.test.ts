import { describe, expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import type { Config, Profile } from '../../src/profile/profile.ts'
import { bareEnvironment } from '../support/source-ports.ts'

const environment = { ...bareEnvironment(), home: '/home/ada', platform: 'linux' as const }

function parse(toml: string): Config {
  return parseConfig({ file: '/etc/tokctl/c.toml', bytes: Buffer.from(toml) }, 'c.toml', environment)
}

function failure(toml: string): TokctlError {
  try {
    parse(toml)
  } catch (error) {
    if (error instanceof TokctlError) return error
    throw error
  }
  throw new Error('expected the configuration to be refused')
}

function problems(toml: string): string[] {
  const { code, message, more } = failure(toml)
  expect(code).toBe('config_invalid')
  return [message, ...more]
}

function only(toml: string): Profile {
  const [profile] = parse(toml).profiles.values()
  return profile!
}

// Profiles that are complete, each on lines of its own.
const issuer = 'issuer = "https://idp.example.com"'
const rest = {
  cc: `source = "client_credentials"\n${issuer}\nclient_id = "a"`,
  code: `source = "authorization_code"\n${issuer}\nclient_id = "a"`,
  device: `source = "device_code"\n${issuer}\nclient_id = "a"`,
  refresh: `source = "refresh_token"\n${issuer}\nrefresh_token = { env = "R" }`,
  jwt: `source = "jwt_bearer"\n${issuer}\nprivate_key = { env = "K" }\niss = "a"`,
  file: 'source = "jwt_bearer"\nkey_file = "sa.json"',
  exchange: `source = "token_exchange"\n${issuer}\nsubject_token = { env = "S" }`,
  ci: 'source = "ci"',
  github: 'source = "github_app"\nclient_id = "Iv1.a"\ninstallation_id = 1\nprivate_key = { env = "K" }',
} as const

const without = (lines: string, key: string): string =>
  lines
    .split('\n')
    .filter(line => !line.startsWith(`${key} =`))
    .join('\n')

test('an assertion is signed by the client where nobody else is named', () => {
  const lines = without(rest.jwt, 'iss')
  expect(only(`[profile.p]\n${lines}\nclient_id = "a"`)).toMatchObject({
    client_id: 'a',
    client_auth: 'none',
  })
})

test.each(Object.entries(rest))('the smallest profile of %s is complete', (_, lines) => {
  expect(only(`[profile.p]\n${lines}`).binding).toMatch(/^[0-9a-f]{64}$/)
})

describe('one problem', () => {
  const cases: [name: string, lines: string, want: string, hint?: RegExp][] = [
    [
      'a sign-in without a client',
      without(rest.code, 'client_id'),
      ': client_id is missing: the server has to know who asks for the sign-in',
    ],
    [
      'a sign-in on another device without a client',
      without(rest.device, 'client_id'),
      ': client_id is missing: the server has to know who asks for the sign-in',
    ],
    [
      'a sign-in with nothing to ask',
      without(rest.code, 'issuer'),
      ': issuer or authorization_endpoint and token_endpoint are missing: nothing says where people sign in and where tokens are asked for',
      /^write issuer = "https:\/\/…", or authorization_endpoint = "https:\/\/…" and token_endpoint = "https:\/\/…"$/,
    ],
    [
      'a sign-in with half of what it needs',
      `${without(rest.code, 'issuer')}\ntoken_endpoint = "https://a.example/t"`,
      ': issuer or authorization_endpoint is missing: nothing says where people sign in',
    ],
    [
      'codes from nowhere',
      `${without(rest.device, 'issuer')}\ntoken_endpoint = "https://a.example/t"`,
      ': issuer or device_authorization_endpoint is missing: nothing says where codes are given out',
    ],
    [
      'a port of none',
      `${rest.code}\nredirect_port = 0`,
      '.redirect_port: expected a port: a whole number from 1 to 65535, without quotes',
    ],
    [
      'a port beyond the last',
      `${rest.code}\nredirect_port = 65536`,
      '.redirect_port: expected a port: a whole number from 1 to 65535, without quotes',
    ],
    [
      'a port in quotes',
      `${rest.code}\nredirect_port = "8400"`,
      '.redirect_port: expected a port: a whole number from 1 to 65535, without quotes',
    ],
    [
      'half a port',
      `${rest.code}\nredirect_port = 8400.5`,
      '.redirect_port: expected a port: a whole number from 1 to 65535, without quotes',
    ],
    [
      'a sign-in page over plain http',
      `${rest.code}\nauthorization_endpoint = "http://idp.example.com/a"`,
      '.authorization_endpoint: http is only for localhost and loopback addresses: expected an https URL',
    ],
    [
      "a state of one's own",
      `${rest.code}\nparams = { state = "x" }`,
      '.params.state: belongs to the protocol and is not set here',
    ],
    [
      'a prompt as a plain field',
      `${rest.code}\nparams = { prompt = "login" }`,
      '.params.prompt: belongs to the protocol and is not set here',
      /^write prompt in the profile itself$/,
    ],
    [
      'a misspelt key of a sign-in',
      `${rest.code}\nredirectport = 1`,
      '.redirectport: unknown key; did you mean redirect_port?',
    ],
    [
      'a key of another grant',
      `${rest.device}\nredirect_port = 1`,
      '.redirect_port: source "device_code" has no such key',
    ],
    [
      'a seed that stands there',
      `${without(rest.refresh, 'refresh_token')}\nrefresh_token = "hunter2"`,
      '.refresh_token: expected a reference, got a string',
      /^write refresh_token = \{ env = "P_REFRESH_TOKEN" \}/,
    ],
    [
      'no seed',
      without(rest.refresh, 'refresh_token'),
      ': refresh_token is missing: the refresh token to begin with',
      /\{ secret = "p\.refresh_token" \}$/,
    ],
    ['DPoP as text', `${rest.code}\ndpop = "yes"`, '.dpop: expected true or false, got a string'],
    [
      'no key to sign with',
      without(rest.jwt, 'private_key'),
      ': private_key or key_file is missing: the assertion is signed with it',
      /key_file = "service-account\.json"$/,
    ],
    [
      'two keys to sign with',
      `${rest.jwt}\nkey_file = "sa.json"`,
      '.key_file: private_key and key_file exclude each other: one key signs the assertion',
    ],
    ['nobody who signs', without(rest.jwt, 'iss'), ': iss is missing: the assertion says who signed it'],
    [
      "a service account in the file's place",
      `${without(rest.file, 'key_file')}\nkey_file = '{"private_key":"hunter2"}'`,
      '.key_file: expected the path of a file, got what stands in one',
    ],
    [
      'a key file that is a number',
      `${without(rest.file, 'key_file')}\nkey_file = 1`,
      '.key_file: expected a reference, got a number',
    ],
    [
      'a claim with a key of its own',
      `${rest.jwt}\nclaims = { sub = "x" }`,
      '.claims.sub: belongs to the assertion and is not set here',
      /^write sub in the profile itself$/,
    ],
    [
      "an end of one's own",
      `${rest.jwt}\nclaims = { exp = 1 }`,
      '.claims.exp: belongs to the assertion and is not set here',
    ],
    [
      'a secret as a claim',
      `${rest.jwt}\nclaims = { api_key = "hunter2" }`,
      '.claims.api_key: a secret is not sent as a plain claim',
    ],
    [
      'a claim that is a list',
      `${rest.jwt}\nclaims = { a = [1] }`,
      '.claims.a: expected a string, a number, true or false, got a list',
    ],
    [
      'a claim without end',
      `${rest.jwt}\nclaims = { a = inf }`,
      '.claims.a: JSON has no infinity and no nan',
    ],
    [
      'a shared secret for the grant',
      `${rest.jwt}\nsigning_alg = "HS256"`,
      '.signing_alg: "HS256" is signed with a shared secret, not with a private key',
    ],
    [
      'no scope for the assertion',
      `${rest.jwt}\nscope_in_assertion = true`,
      '.scope_in_assertion: there is no scope that could stand in the assertion',
    ],
    [
      'nothing to exchange',
      without(rest.exchange, 'subject_token'),
      ': subject_token is missing: token that is exchanged',
      /^write subject_token = \{ profile = "name" \}, \{ env = "P_SUBJECT_TOKEN" \}/,
    ],
    [
      'a token that stands there',
      `${without(rest.exchange, 'subject_token')}\nsubject_token = "hunter2"`,
      '.subject_token: expected a reference, got a string',
      /\{ profile = "name" \}/,
    ],
    [
      'a misspelt form of token',
      `${without(rest.exchange, 'subject_token')}\nsubject_token = { profil = "x" }`,
      '.subject_token.profil: unknown form of reference; did you mean profile?',
    ],
    [
      'a token of two forms',
      `${without(rest.exchange, 'subject_token')}\nsubject_token = { profile = "x", env = "Y" }`,
      '.subject_token: a reference has one form, got profile and env',
    ],
    [
      'a profile where only a secret may stand',
      `${rest.cc}\nclient_secret = { profile = "x" }`,
      '.client_secret.profile: unknown form of reference',
    ],
    [
      'a misspelt type of token',
      `${rest.exchange}\nsubject_token_type = "idtoken"`,
      '.subject_token_type: unknown token type "idtoken"; did you mean id_token?',
    ],
    [
      'a type of token like no other',
      `${rest.exchange}\nrequested_token_type = "x"`,
      '.requested_token_type: unknown token type "x"; expected access_token, refresh_token, id_token, saml1, saml2, jwt or a URI',
    ],
    [
      'the type of an actor who is not there',
      `${rest.exchange}\nactor_token_type = "jwt"`,
      '.actor_token_type: actor_token_type says what actor_token is, and there is none',
    ],
    [
      'a ready assertion and a shared secret',
      `${rest.cc}\nclient_assertion = { env = "A" }\nclient_secret = { env = "S" }\nclient_auth = "client_secret_post"`,
      '.client_auth: "client_secret_post" and client_assertion exclude each other: the assertion is the proof',
      /^leave client_auth out$/,
    ],
    [
      'a ready assertion and a key',
      `${rest.cc}\nclient_assertion = { env = "A" }\nprivate_key = { env = "K" }`,
      '.private_key: client_assertion and private_key exclude each other: a ready-made assertion is not signed',
    ],
    [
      'a ready assertion of nobody',
      `${without(rest.cc, 'client_id')}\nclient_assertion = { env = "A" }`,
      ': client_id is missing: the client proves who it is, and has to say it',
    ],
    [
      'a CI system that is none',
      `${rest.ci}\nprovider = "jenkins"`,
      '.provider: unknown value "jenkins"; expected auto, github, gitlab, azure, circleci, buildkite, bitbucket or kubernetes',
    ],
    [
      'a misspelt CI system',
      `${rest.ci}\nprovider = "git-lab"`,
      '.provider: unknown value "git-lab"; did you mean gitlab?',
    ],
    [
      'a variable for a runner that has none',
      `${rest.ci}\nprovider = "github"\ntoken_env = "T"`,
      '.token_env: provider "github" has no such key; it belongs to gitlab, circleci or bitbucket',
    ],
    [
      'a file for a runner that has none',
      `${rest.ci}\nprovider = "gitlab"\ntoken_file = "/t"`,
      '.token_file: provider "gitlab" has no such key; it belongs to kubernetes',
    ],
    [
      'a variable with its dollar sign',
      `${rest.ci}\ntoken_env = "$T"`,
      '.token_env: expected the name of an environment variable, without "$"',
    ],
    [
      'no app',
      without(rest.github, 'client_id'),
      ': client_id or app_id is missing: GitHub has to know which app asks',
    ],
    [
      'two apps',
      `${rest.github}\napp_id = 1`,
      '.app_id: client_id and app_id exclude each other: either names the app',
    ],
    [
      'no installation',
      without(rest.github, 'installation_id'),
      ': installation_id is missing: number of the installation',
    ],
    [
      'an app without its key',
      without(rest.github, 'private_key'),
      ': private_key is missing: the app proves with it who it is',
      /^write private_key = \{ env = /,
    ],
    [
      'an installation that is a path',
      `${without(rest.github, 'installation_id')}\ninstallation_id = "1/../2"`,
      '.installation_id: expected a whole number greater than nothing',
    ],
    [
      'half an installation',
      `${without(rest.github, 'installation_id')}\ninstallation_id = 1.5`,
      '.installation_id: expected a whole number, got a number',
    ],
    [
      'a repository with its owner',
      `${rest.github}\nrepositories = ["a", "octo/hello"]`,
      '.repositories.1: expected the name of a repository, without its owner',
      /^write "hello"$/,
    ],
    [
      'a level that is none',
      `${rest.github}\npermissions = { contents = "wirte" }`,
      '.permissions.contents: unknown level "wirte"; did you mean write?',
    ],
    [
      'a level like no other',
      `${rest.github}\npermissions = { contents = "x" }`,
      '.permissions.contents: unknown level "x"; expected read, write or admin',
    ],
    [
      'a permission as people spell it',
      `${rest.github}\npermissions = { Pull-Requests = "read" }`,
      '.permissions.Pull-Requests: not the name of a permission',
      /^write pull_requests = "read"$/,
    ],
    [
      'a permission that is true',
      `${rest.github}\npermissions = { contents = true }`,
      '.permissions.contents: expected read, write or admin, got a boolean',
    ],
    [
      'an API over plain http',
      `${rest.github}\napi_url = "http://ghe.example"`,
      '.api_url: http is only for localhost and loopback addresses: expected an https URL',
    ],
    [
      'an API with a query',
      `${rest.github}\napi_url = "https://ghe.example/?x=1"`,
      '.api_url: a query does not belong in this URL',
    ],
  ]
  test.each(cases)('%s', (_, lines, want, hint) => {
    const { code, message, more, hint: given } = failure(`[profile.p]\n${lines}\n`)
    expect(code).toBe('config_invalid')
    expect(more).toEqual([])
    expect(message.replace(/^c\.toml:\d+: /, '')).toBe(`profile.p${want}`)
    expect(message + given).not.toContain('hunter2')
    if (hint !== undefined) expect(given).toMatch(hint)
  })
})

describe('what is not written is filled in', () => {
  const cases: [name: string, lines: string, want: Record<string, unknown>][] = [
    ['a sign-in is a public client', rest.code, { client_auth: 'none', resource: [], params: {} }],
    [
      'a sign-in with a secret proves itself',
      `${rest.code}\nclient_secret = { env = "S" }`,
      { client_auth: 'client_secret_basic' },
    ],
    [
      'a ready assertion is the proof',
      `${rest.cc}\nclient_assertion = { env = "A" }`,
      { client_auth: 'private_key_jwt' },
    ],
    [
      'a ready assertion stands above a secret',
      `${rest.cc}\nclient_assertion = { env = "A" }\nclient_secret = { env = "S" }`,
      { client_auth: 'private_key_jwt' },
    ],
    [
      'the key of a grant proves no client',
      rest.jwt,
      { client_auth: 'none', claims: {}, scope_in_assertion: false },
    ],
    [
      'a service account has its scope in the assertion',
      `${rest.file}\nscope = "a"`,
      { scope_in_assertion: true, key_file: { file: '/etc/tokctl/sa.json' } },
    ],
    ['a service account without scope has none there', rest.file, { scope_in_assertion: false }],
    [
      'a service account may come from a program',
      'source = "jwt_bearer"\nkey_file = { command = ["op"] }',
      { key_file: { command: ['op'] } },
    ],
    ['the runner is found out', rest.ci, { provider: 'auto' }],
    [
      'the API is that of GitHub',
      rest.github,
      { api_url: 'https://api.github.com', repositories: [], permissions: {}, installation_id: '1' },
    ],
    [
      'a token that was handed over is taken as a JWT',
      rest.exchange,
      { subject_token_type: 'urn:ietf:params:oauth:token-type:jwt' },
    ],
  ]
  test.each(cases)('%s', (_, lines, want) => {
    expect(only(`[profile.p]\n${lines}`)).toMatchObject(want)
  })

  const givers: [name: string, lines: string, want: string][] = [
    ['an access token', rest.cc, 'access_token'],
    ['an id token', `${rest.code}\ntoken_path = "id_token"`, 'id_token'],
    ['the identity of a runner', rest.ci, 'jwt'],
  ]
  test.each(givers)('%s of another profile is called so', (_, giver, type) => {
    const swap = `${without(rest.exchange, 'subject_token')}\nsubject_token = { profile = "x" }\nactor_token = { profile = "x" }`
    const urn = `urn:ietf:params:oauth:token-type:${type}`
    // Also where the giver comes later in the file.
    for (const toml of [
      `[profile.p]\n${swap}\n[profile.x]\n${giver}`,
      `[profile.x]\n${giver}\n[profile.p]\n${swap}`,
    ]) {
      expect(parse(toml).profiles.get('p')).toMatchObject({ subject_token_type: urn, actor_token_type: urn })
    }
  })
})

describe('profiles that need others', () => {
  const needs = (name: string, needed: string, key = 'subject_token'): string =>
    key === 'client_assertion'
      ? `[profile.${name}]\n${rest.cc}\nclient_assertion = { profile = "${needed}" }\n`
      : `[profile.${name}]\n${key === 'subject_token' ? without(rest.exchange, key) : rest.exchange}\n${key} = { profile = "${needed}" }\n`

  test('a chain is no circle, and two may need the same one', () => {
    const toml = needs('a', 'b') + needs('b', 'c') + needs('d', 'c') + `[profile.c]\n${rest.ci}`
    expect([...parse(toml).profiles.keys()]).toEqual(['a', 'b', 'd', 'c'])
  })

  test('one that does not exist is told, with the nearest name', () => {
    expect(problems(`${needs('a', 'runer')}[profile.runner]\n${rest.ci}`)).toEqual([
      'c.toml:4: profile.a.subject_token.profile: unknown profile "runer"; did you mean "runner"?',
    ])
    expect(problems(needs('a', 'elsewhere', 'actor_token'))).toEqual([
      'c.toml:5: profile.a.actor_token.profile: unknown profile "elsewhere"',
    ])
  })

  const circles: [name: string, toml: string, want: string[]][] = [
    [
      'of one',
      needs('a', 'a'),
      ['c.toml:4: profile.a.subject_token.profile: a cycle of profiles: "a" needs "a"'],
    ],
    [
      'of two',
      needs('a', 'b') + needs('b', 'a', 'client_assertion'),
      ['c.toml:9: profile.b.client_assertion.profile: a cycle of profiles: "a" needs "b" needs "a"'],
    ],
    [
      'of three, with a way into it',
      needs('in', 'a') + needs('a', 'b') + needs('b', 'c', 'actor_token') + needs('c', 'a'),
      ['c.toml:17: profile.c.subject_token.profile: a cycle of profiles: "a" needs "b" needs "c" needs "a"'],
    ],
    [
      'two of them',
      needs('a', 'a') + needs('b', 'c') + needs('c', 'b'),
      [
        'c.toml:4: profile.a.subject_token.profile: a cycle of profiles: "a" needs "a"',
        'c.toml:12: profile.c.subject_token.profile: a cycle of profiles: "b" needs "c" needs "b"',
      ],
    ],
  ]
  test.each(circles)('a circle %s is an error that names it', (_, toml, want) => {
    expect(problems(toml)).toEqual(want)
  })

  test('a circle is told beside the other problems of the file', () => {
    expect(problems(`${needs('a', 'a')}colour = 1\n`)).toEqual([
      'c.toml:4: profile.a.subject_token.profile: a cycle of profiles: "a" needs "a"',
      'c.toml:5: profile.a.colour: unknown key',
    ])
  })

  test('their binding changes with that of what they need, however far away', () => {
    const of = (lines: string): string | undefined =>
      parse(
        `${needs('a', 'b', 'client_assertion')}${needs('b', 'c')}[profile.c]\n${rest.ci}\n${lines}`,
      ).profiles.get('a')?.binding
    expect(of('audience = "x"')).not.toBe(of('audience = "y"'))
    expect(of('refresh_before = "1m"')).toBe(of(''))
  })
})

describe('the binding', () => {
  const shaping: [source: keyof typeof rest, lines: string][] = [
    ['cc', 'dpop = true'],
    ['cc', 'refresh_scope = "a"'],
    ['cc', 'client_assertion = { env = "A" }'],
    ['code', 'authorization_endpoint = "https://a.example"'],
    ['code', 'login_hint = "ada"'],
    ['jwt', 'sub = "a"'],
    ['jwt', 'claims = { a = 1 }'],
    ['exchange', 'requested_token_type = "jwt"'],
    ['exchange', 'actor_token = { env = "A" }'],
    ['ci', 'audience = "a"'],
    ['github', 'repositories = ["a"]'],
    ['github', 'permissions = { contents = "read" }'],
  ]
  test.each(shaping)('of %s changes with %s', (source, lines) => {
    const of = (more: string): string => only(`[profile.p]\n${rest[source]}\n${more}`).binding
    expect(of(lines)).not.toBe(of(''))
  })

  const handling: [lines: string][] = [
    ['redirect_port = 8400'],
    ['prompt = "login"'],
    ['revocation_endpoint = "https://a.example"'],
  ]
  test.each(handling)('does not change with %s, and a sign-in outlives it', lines => {
    const of = (more: string): string => only(`[profile.p]\n${rest.code}\n${more}`).binding
    expect(of(lines)).toBe(of(''))
  })
})
