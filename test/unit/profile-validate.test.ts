import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import type { ClientCredentialsProfile, Config, HttpProfile, Profile } from '../../src/profile/profile.ts'
import { keyNames } from '../support/config-keys.ts'
import { bareEnvironment } from '../support/source-ports.ts'

const environment = { ...bareEnvironment(), home: '/home/ada', platform: 'linux' as const }
const file = '/home/ada/.config/tokctl/config.toml'

function parse(
  toml: string | Buffer,
  changes: Partial<typeof environment> | { platform: NodeJS.Platform } = {},
): Config {
  return parseConfig({ file, bytes: Buffer.from(toml) }, 'c.toml', { ...environment, ...changes })
}

function failure(toml: string | Buffer, changes?: Parameters<typeof parse>[1]): TokctlError {
  try {
    parse(toml, changes)
  } catch (error) {
    if (error instanceof TokctlError) return error
    throw error
  }
  throw new Error('expected the configuration to be refused')
}

function problems(toml: string | Buffer, changes?: Parameters<typeof parse>[1]): string[] {
  const { code, message, more } = failure(toml, changes)
  expect(code).toBe('config_invalid')
  return [message, ...more]
}

function only(toml: string): Profile {
  const [profile] = parse(toml).profiles.values()
  return profile!
}

// The rest of a profile that is complete but for what a case is about, on lines of its own below.
const rest = {
  cc: 'source = "client_credentials"\ntoken_endpoint = "https://idp.example.com/t"\nclient_id = "a"\nclient_secret = { env = "S" }',
  http: 'source = "http"\nurl = "https://api.example.com/t"\ntoken_path = "token"',
  command: 'source = "command"\ncommand = ["gh"]',
  static: 'source = "static"\ntoken = { env = "T" }',
} as const

describe('one problem', () => {
  const cases: [
    name: string,
    source: keyof typeof rest | 'none',
    lines: string,
    want: string,
    hint?: RegExp,
  ][] = [
    ['a misspelt key', 'cc', 'clientid = "x"', 'clientid: unknown key; did you mean client_id?'],
    [
      'a key in camel case',
      'cc',
      'tokenEndpoint = "x"',
      'tokenEndpoint: unknown key; did you mean token_endpoint?',
    ],
    ['a key that is like no other', 'cc', 'colour = "red"', 'colour: unknown key'],
    ['a key of another source', 'command', 'scope = "x"', 'scope: source "command" has no such key'],
    ['a key that JavaScript gives a meaning', 'cc', '__proto__ = { x = 1 }', '__proto__: unknown key'],
    ['another such key', 'cc', 'constructor.prototype.insecure = true', 'constructor: unknown key'],
    ['a key that needs quotes', 'cc', '"a b" = 1', '"a b": unknown key'],
    ['a control character in a key', 'cc', '"a\\u001b" = 1', '"a": unknown key'],
    [
      'a dot in a name without quotes',
      'command',
      'test = { source = "command" }',
      'test: unknown key',
      /\[profile\."p\.test"\]/,
    ],
    [
      'a secret that stands there',
      'static',
      'client_secret = "hunter2"',
      'client_secret: source "static" has no such key',
    ],
    [
      'a list of scopes',
      'cc',
      'scope = ["a", "b"]',
      'scope: expected a string, got a list',
      /write scope = "a b"/,
    ],
    ['an empty text', 'cc', 'audience = " "', 'audience: must not be empty'],
    [
      'a line break in a text',
      'cc',
      'scope = "a\\r\\nX: 1"',
      'scope: must not hold control characters or line breaks',
    ],
    ['NUL in a text', 'cc', 'kid = "a\\u0000"', 'kid: must not hold control characters or line breaks'],
    [
      'a C1 control in a user name',
      'cc',
      'username = "a\\u0085"',
      'username: must not hold control characters or line breaks',
    ],
    ['a number where a text belongs', 'cc', 'username = 7', 'username: expected a string, got a number'],
    ['a date where a text belongs', 'cc', 'username = 2027-01-01', 'username: expected a string, got a date'],
    [
      'an unknown method of authentication',
      'cc',
      'client_auth = "client_secret_base"',
      'client_auth: unknown value "client_secret_base"; did you mean client_secret_basic?',
    ],
    [
      'an encoding that does not exist',
      'cc',
      'basic_encoding = "utf-8"',
      'basic_encoding: unknown value "utf-8"; expected rfc6749 or raw',
    ],
    [
      'a duration without a unit',
      'cc',
      'refresh_before = "300"',
      'refresh_before: expected a duration such as "500ms", "90s", "5m", "1h" or "2d", at most ten years',
    ],
    [
      'a duration as a number',
      'cc',
      'refresh_before = 300',
      'refresh_before: expected a duration such as "90s" or "5m", got a number',
      /^write refresh_before = "300s"$/,
    ],
    [
      'a negative duration',
      'cc',
      'min_validity = "-1s"',
      'min_validity: expected a duration such as "500ms", "90s", "5m", "1h" or "2d", at most ten years',
    ],
    ['a lifetime of nothing', 'cc', 'default_ttl = "0s"', 'default_ttl: must be longer than nothing'],
    ['a time limit of nothing', 'command', 'timeout = "0ms"', 'timeout: must be longer than nothing'],
    ['a time limit that no timer can hold', 'command', 'timeout = "30d"', 'timeout: must be at most 24h'],
    [
      'plain http to elsewhere',
      'cc',
      'issuer = "http://idp.example.com"',
      'issuer: http is only for localhost and loopback addresses: expected an https URL',
    ],
    [
      'a host that only begins like localhost',
      'cc',
      'issuer = "http://localhost.evil.example"',
      'issuer: http is only for localhost and loopback addresses: expected an https URL',
    ],
    [
      'loopback in disguise',
      'cc',
      'issuer = "http://127.1/"',
      'issuer: the host is not written in its plain form',
      /write 127\.0\.0\.1/,
    ],
    [
      'another scheme',
      'cc',
      'issuer = "file:///etc/passwd"',
      'issuer: expected an https URL, got another scheme',
    ],
    [
      'no URL at all',
      'cc',
      'issuer = "idp.example.com"',
      'issuer: expected a URL such as "https://api.example.com"',
    ],
    [
      'a password in a URL',
      'cc',
      'issuer = "https://u:hunter2@idp.example.com"',
      'issuer: a user name or password does not belong in a URL',
    ],
    [
      'a backslash in a URL',
      'cc',
      'issuer = "https://idp.example.com\\\\@evil.example"',
      'issuer: a backslash does not belong in a URL',
    ],
    [
      'a line break in a URL',
      'cc',
      'issuer = "https://idp.example.com/\\nx"',
      'issuer: must not hold control characters or line breaks',
    ],
    [
      'a letter that only looks like ASCII',
      'cc',
      'issuer = "https://g\u0456thub.com"',
      'issuer: a letter outside ASCII',
      /xn--/,
    ],
    [
      'an issuer with a query',
      'cc',
      'issuer = "https://idp.example.com/?x=1"',
      'issuer: an issuer has no query',
    ],
    [
      'an issuer with a fragment',
      'cc',
      'issuer = "https://idp.example.com/#x"',
      'issuer: a fragment does not belong in this URL',
    ],
    [
      'a match for everything under http',
      'cc',
      'match = ["http://example.com"]',
      'match.0: http is only for localhost and loopback addresses: expected an https URL',
    ],
    [
      'a match that is no list',
      'cc',
      'match = "https://a.example"',
      'match: expected a list, got a string',
      /write match = \["https/,
    ],
    [
      'a match with a wildcard',
      'cc',
      'match = ["https://a.example", "https://*.example"]',
      'match.1: the host or its port is malformed',
    ],
    ['a match with a query', 'cc', 'match = ["https://a.example/?x"]', 'match.0: a query cannot be matched'],
    [
      'a match that climbs',
      'cc',
      'match = ["https://a.example/team/../x"]',
      'match.0: the path is not written in its plain form',
    ],
    [
      'a field of the protocol',
      'cc',
      'params = { grant_type = "password" }',
      'params.grant_type: belongs to the protocol and is not set here',
    ],
    [
      'a field with a key of its own',
      'cc',
      'params.scope = "x"',
      'params.scope: belongs to the protocol and is not set here',
      /write scope in the profile/,
    ],
    [
      'a secret as a plain field',
      'cc',
      'params = { api_key = "hunter2" }',
      'params.api_key: a secret is not sent as a plain field',
    ],
    ['a field that is no text', 'cc', 'params = { n = 1 }', 'params.n: expected a string, got a number'],
    [
      'a field called __proto__',
      'cc',
      'params = { __proto__ = "x" }',
      'params.__proto__: not the name of a field',
    ],
    [
      'a list of resources with a hole',
      'cc',
      'resource = ["https://a", ""]',
      'resource.1: must not be empty',
    ],
    [
      'a shared-secret algorithm for a private key',
      'cc',
      'client_auth = "private_key_jwt"\nprivate_key = { env = "K" }\nsigning_alg = "HS256"',
      'signing_alg: "HS256" is signed with a shared secret, not with a private key',
    ],
    [
      'a private-key algorithm for a shared secret',
      'cc',
      'client_auth = "client_secret_jwt"\nsigning_alg = "RS256"',
      'signing_alg: "RS256" needs a private key: client_secret_jwt is signed with HS256, HS384 or HS512',
    ],
    [
      'a local time',
      'static',
      'expires_at = 2027-01-31T12:00:00',
      'expires_at: expected an instant with its offset, such as 2027-01-31T12:00:00Z',
    ],
    [
      'a day',
      'static',
      'expires_at = 2027-01-31',
      'expires_at: expected an instant with its offset, such as 2027-01-31T12:00:00Z',
    ],
    [
      'a time as text without offset',
      'static',
      'expires_at = "2027-01-31T12:00:00"',
      'expires_at: expected an instant with its offset, such as 2027-01-31T12:00:00Z',
    ],
    [
      'seconds since the epoch',
      'static',
      'expires_at = 1800000000',
      'expires_at: expected an instant with its offset, such as 2027-01-31T12:00:00Z, got a number',
    ],
    [
      'a method that fetches nothing',
      'http',
      'method = "DELETE"',
      'method: unknown value "DELETE"; expected GET, POST or PUT',
    ],
    [
      'two bodies',
      'http',
      'json = {}\nform = {}',
      'form: json and form exclude each other: a request has one body',
    ],
    [
      'GET with a body',
      'http',
      'method = "GET"\nform = { a = "b" }',
      'form: a GET request has no body',
      /write method = "POST"/,
    ],
    [
      'two kinds of authorization',
      'http',
      'bearer = { env = "B" }\nbasic = { username = "u", password = { env = "P" } }',
      'bearer: basic and bearer exclude each other: a request has one Authorization header',
    ],
    [
      'an authorization header beside bearer',
      'http',
      'headers = { Authorization = { env = "A" } }\nbearer = { env = "B" }',
      'bearer: bearer and the header "authorization" exclude each other',
    ],
    [
      'a header of the transport',
      'http',
      'headers = { Host = "evil.example" }',
      'headers.Host: this header belongs to the transport and cannot be set',
    ],
    [
      'the framing of the request',
      'http',
      'headers = { Transfer-Encoding = "chunked" }',
      'headers.Transfer-Encoding: this header belongs to the transport and cannot be set',
    ],
    [
      'a header that is two',
      'http',
      'headers = { Accept = "a/b\\r\\nX: 1" }',
      'headers.Accept: must not hold control characters or line breaks',
    ],
    [
      'a header in another alphabet',
      'http',
      'headers = { X-Name = "\u00e4" }',
      'headers.X-Name: a header holds visible ASCII only',
    ],
    [
      'a header set twice',
      'http',
      'headers = { X-Team = "a", x-team = "b" }',
      'headers.x-team: set twice, in two letter cases',
    ],
    [
      'a name that no header has',
      'http',
      'headers = { "a b" = "c" }',
      'headers."a b": not the name of a header',
    ],
    [
      'a literal key in a header',
      'http',
      'headers = { X-Api-Key = "hunter2" }',
      'headers.X-Api-Key: expected a reference, got a string',
      /write X-Api-Key = \{ env = "P_X_API_KEY" \}/,
    ],
    [
      'a literal password in a form',
      'http',
      'form = { user = "u", password = "hunter2" }',
      'form.password: expected a reference, got a string',
    ],
    [
      'a literal password deep in a body',
      'http',
      'json = { a = [{ clientSecret = "hunter2" }] }',
      'json.a.0.clientSecret: expected a reference, got a string',
    ],
    ['a body that JSON cannot say', 'http', 'json = { a = inf }', 'json.a: JSON has no infinity and no nan'],
    [
      'a date in a body',
      'http',
      'json = { a = 2027-01-01 }',
      'json.a: expected something JSON has, got a date',
      /write it as a string/,
    ],
    [
      'a colon in a user name',
      'http',
      'basic = { username = "a:b", password = { env = "P" } }',
      'basic.username: must not hold a colon',
    ],
    ['half of the credentials', 'http', 'basic = { username = "a" }', 'basic: password is missing'],
    [
      'a misspelt half',
      'http',
      'basic = { username = "a", password = { env = "P" }, passwort = "x" }',
      'basic.passwort: unknown key; did you mean password?',
    ],
    [
      'a path with a hole',
      'http',
      'expires_in_path = "data..ttl"',
      'expires_in_path: expected a path such as "data.token" or "items.0.token"',
    ],
    [
      'half of mutual TLS',
      'http',
      'client_key = { file = "k" }',
      ': client_certificate is missing: client_key is of no use without it',
    ],
    [
      'an unknown source',
      'none',
      'source = "clientcredentials"',
      'source: unknown source "clientcredentials"; did you mean client_credentials?',
    ],
    [
      'a source of a later version',
      'none',
      'source = "spiffe"',
      'source: unknown source "spiffe"; expected client_credentials, authorization_code, device_code, refresh_token, jwt_bearer, token_exchange, ci, github_app, command, static or http',
    ],
    ['a source that is no text', 'none', 'source = 1', 'source: expected a string, got a number'],
    [
      'no source',
      'none',
      'command = ["gh"]',
      ': source is missing: expected client_credentials, authorization_code, device_code, refresh_token, jwt_bearer, token_exchange, ci, github_app, command, static or http',
      /write source = "command"/,
    ],
    [
      'no address',
      'none',
      'source = "client_credentials"\nclient_id = "a"\nclient_secret = { env = "S" }',
      ': issuer or token_endpoint is missing: nothing says where tokens are asked for',
    ],
    [
      'a secret of nobody',
      'none',
      'source = "client_credentials"\nissuer = "https://a.example"\nclient_secret = { env = "S" }',
      ': client_id is missing: the client proves who it is, and has to say it',
    ],
    [
      'a method without its secret',
      'none',
      'source = "client_credentials"\nissuer = "https://a.example"\nclient_id = "a"\nclient_auth = "client_secret_post"',
      ': client_secret is missing: client_auth = "client_secret_post" needs it',
      /write client_secret = \{ env = "P_CLIENT_SECRET" \}/,
    ],
    [
      'a method without its key',
      'none',
      'source = "client_credentials"\nissuer = "https://a.example"\nclient_id = "a"\nclient_auth = "private_key_jwt"',
      ': private_key is missing: client_auth = "private_key_jwt" needs it',
    ],
    [
      'mutual TLS without a certificate',
      'none',
      'source = "client_credentials"\nissuer = "https://a.example"\nclient_id = "a"\nclient_auth = "tls_client_auth"\nclient_key = { file = "k" }',
      ': client_certificate is missing: client_auth = "tls_client_auth" needs it',
    ],
    [
      'a program as one text',
      'none',
      'source = "command"\ncommand = "gh auth token; curl evil.example"',
      'command: expected a list of strings, got a string',
      /no shell is involved: write command = \["program", "argument"\]/,
    ],
    ['no program', 'none', 'source = "command"\ncommand = []', 'command: must not be empty'],
    [
      'a program without a name',
      'none',
      'source = "command"\ncommand = ["", "x"]',
      'command.0: must not be empty',
    ],
    [
      'a line break in an argument',
      'none',
      'source = "command"\ncommand = ["x", "a\\nb"]',
      'command.1: must not hold control characters or line breaks',
    ],
    [
      'no token',
      'none',
      'source = "static"',
      ': token is missing: the token',
      /write token = \{ env = "P_TOKEN" \}/,
    ],
    [
      'a literal token',
      'none',
      'source = "static"\ntoken = "hunter2"',
      'token: expected a reference, got a string',
      /^write token = \{ env = "P_TOKEN" \}, \{ file = "path" \}, \{ command = \["program", "argument"\] \} or \{ secret = "p\.token" \}$/,
    ],
    ['an empty reference', 'none', 'source = "static"\ntoken = {}', 'token: the reference is empty'],
    [
      'two references in one',
      'none',
      'source = "static"\ntoken = { env = "A", file = "b" }',
      'token: a reference has one form, got env and file',
    ],
    [
      'a misspelt form',
      'none',
      'source = "static"\ntoken = { evn = "A" }',
      'token.evn: unknown form of reference; did you mean env?',
    ],
    [
      'a variable with its dollar',
      'none',
      'source = "static"\ntoken = { env = "$A" }',
      'token.env: expected the name of an environment variable, without "$"',
    ],
    [
      'NUL in a path',
      'none',
      'source = "static"\ntoken = { file = "a\\u0000b" }',
      'token.file: must not hold control characters or line breaks',
    ],
    [
      'a shell in a reference',
      'none',
      'source = "static"\ntoken = { command = "cat x" }',
      'token.command: expected a list of strings, got a string',
    ],
    [
      'a name that nothing is kept under',
      'none',
      'source = "static"\ntoken = { secret = "../x" }',
      'token.secret: expected the name of a kept secret: letters, digits, ".", "_" and "-", at most 64',
    ],
    [
      'half of a keychain item',
      'none',
      'source = "static"\ntoken = { keychain = { service = "s" } }',
      'token.keychain: account is missing',
    ],
    [
      'a keychain item by name',
      'none',
      'source = "static"\ntoken = { keychain = "s" }',
      'token.keychain: expected a table with service and account, got a string',
    ],
    [
      'a misspelt part of it',
      'none',
      'source = "static"\ntoken = { keychain = { service = "s", account = "a", acount = "b" } }',
      'token.keychain.acount: unknown key; did you mean account?',
    ],
  ]
  test.each(cases)('%s', (_, source, lines, want, hint) => {
    const toml = `[profile.p]\n${lines}\n${source === 'none' ? '' : rest[source]}\n`
    const { code, message, more, hint: given } = failure(toml)
    const at = want.startsWith(':') ? 1 : toml.slice(0, toml.indexOf(lines)).split('\n').length
    expect(code).toBe('config_invalid')
    expect(more).toEqual([])
    const found = /^c\.toml:(\d+): profile\.p(.*)$/.exec(message)
    expect(found?.[2]).toBe(want.startsWith(':') ? want : `.${want}`)
    // The key that is at fault stands on the first or the last of the case's own lines.
    if (at === 1) expect(Number(found?.[1])).toBe(1)
    else
      expect(toml.split('\n')[Number(found?.[1]) - 1]).toContain(want.split(/[.:]/)[0]!.replaceAll('"', ''))
    expect(message + given).not.toContain('hunter2')
    if (hint !== undefined) expect(given).toMatch(hint)
  })
})

describe('the file around the profiles', () => {
  const cases: [name: string, toml: string, want: string][] = [
    [
      'a table in the plural',
      '\n[profiles.p]\nsource = "static"',
      'c.toml:2: profiles: unknown key; did you mean profile?',
    ],
    ['an unknown table', '[proxxy.x]', 'c.toml:1: proxxy: unknown key; did you mean proxy?'],
    [
      'an unknown store',
      '[store]\nkind = "redis"',
      'c.toml:2: store.kind: unknown store kind "redis"; expected auto, keychain, file or memory',
    ],
    [
      'a misspelt store',
      '[store]\nkind = "memmory"',
      'c.toml:2: store.kind: unknown store kind "memmory"; did you mean memory?',
    ],
    ['a store that is no table', 'store = "file"', 'c.toml:1: store: expected a table, got a string'],
    ['a default that is none', '[defaults]\nscope = "x"', 'c.toml:2: defaults.scope: unknown key'],
    [
      'a default of the wrong type',
      '[defaults]\nmin_validity = true',
      'c.toml:2: defaults.min_validity: expected a duration such as "90s" or "5m", got a boolean',
    ],
    ['a profile that is a text', '[profile]\np = "x"', 'c.toml:2: profile.p: expected a table, got a string'],
    ['a list of profiles', '[[profile]]\nname = "p"', 'c.toml:1: profile: expected a table, got a list'],
    [
      'a profile whose name is a path',
      `\n[profile."../../etc/passwd"]\n${rest.static}`,
      'c.toml:2: profile."../../etc/passwd": not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"',
    ],
    [
      'a profile whose name has NUL',
      `[profile."p\\u0000x"]\n${rest.static}`,
      'c.toml:1: profile."p x": not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"',
    ],
    [
      'a profile without a name',
      `[profile.""]\n${rest.static}`,
      'c.toml:1: profile."": not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"',
    ],
    [
      'a profile that would be an option',
      `[profile.-p]\n${rest.static}`,
      'c.toml:1: profile.-p: not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"',
    ],
    [
      'a profile named __proto__',
      `[profile.__proto__]\n${rest.static}`,
      'c.toml:1: profile.__proto__: not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"',
    ],
    [
      'two profiles that one file would hold',
      `[profile.corp]\n${rest.static}\n[profile.Corp]\n${rest.static}`,
      'c.toml:4: profile.Corp: differs from profile "corp" in letter case only',
    ],
    ['a string without its end', '[profile.p]\nsource = "static', 'c.toml:2: a string without its end'],
    [
      'a text without quotes',
      'a = 1\n[profile.p]\nsource = static',
      'c.toml:3: not a value: a string needs quotes',
    ],
    [
      'a key twice',
      '[profile.p]\nsource = "static"\n\nsource = "http"',
      'c.toml:4: this key or table is defined a second time',
    ],
    [
      'a table twice',
      '[store]\nkind = "file"\n[store]',
      'c.toml:3: this key or table is defined a second time',
    ],
    [
      'a list without its end',
      '[profile.p]\nmatch = [\n"https://a"\n',
      'c.toml:4: expected a comma, or the end of the table or list',
    ],
    ['a list that hardly begins', '\na = [', 'c.toml:2: a table or list without its end'],
    ['two on one line', '[store] kind = "file"', 'c.toml:1: expected the end of the line'],
    ['JSON', '{"profile": {}}', 'c.toml:1: not a key: expected key = value or [table]'],
    ['an unknown escape', 'a = "\\q"', 'c.toml:1: an escape in a string that TOML does not know'],
    ['a number that is none', 'a = 01', 'c.toml:1: not a number that TOML allows'],
    ['endless nesting', `a = ${'['.repeat(100)}`, 'c.toml:1: nested too deeply'],
  ]
  test.each(cases)('%s', (_, toml, want) => {
    expect(problems(toml)).toEqual([want])
  })

  test('a syntax error shows nothing of the line it is on', () => {
    const { message, hint } = failure('[profile.p]\ntoken = "hunter2" hunter2')
    expect(message).toBe('c.toml:2: expected the end of the line')
    expect(hint).toBeUndefined()
  })

  test('UTF-16 and Latin-1 are told by their first bad line, and a byte-order mark is not', () => {
    expect(problems(Buffer.from('\ufeff[store]', 'utf16le'))).toEqual(['c.toml:1: the file is not UTF-8'])
    expect(problems(Buffer.from('# a\n# \u00e4\n', 'latin1'))).toEqual(['c.toml:2: the file is not UTF-8'])
    expect(parse('\ufeff[store]\nkind = "file"').store).toBe('file')
    expect(problems('\ufeff[store]\nknd = "file"')).toEqual([
      'c.toml:2: store.knd: unknown key; did you mean kind?',
    ])
  })

  test('device names are refused on Windows, where they open the device', () => {
    const toml = `[profile."nul.x"]\n${rest.static}`
    expect(parse(toml).profiles.size).toBe(1)
    expect(problems(toml, { platform: 'win32' })).toEqual([
      'c.toml:1: profile."nul.x": Windows keeps this name for a device',
    ])
  })
})

test('every problem of a file is told in one run, in the order of its lines', () => {
  const toml = `# comment
stor = { kind = "file" }

[profile.corp]
source = "client_credentials"
clientid = "build-bot"
client_secret = "hunter2"
match = [
  "https://a.example",
  "http://b.example",
  "https://c.example/%2e",
]
[profile.corp.params]
client_id = "x"

[profile.gh]
source = "comand"
timeout = 5
tokn = { env = "A" }

[defaults]
refresh_befor = "5m"
`
  const { message, more, hint } = failure(toml)
  expect([message, ...more]).toEqual([
    'c.toml:2: stor: unknown key; did you mean store?',
    'c.toml:4: profile.corp: issuer or token_endpoint is missing: nothing says where tokens are asked for',
    'c.toml:4: profile.corp: client_id is missing: the client proves who it is, and has to say it',
    'c.toml:6: profile.corp.clientid: unknown key; did you mean client_id?',
    'c.toml:7: profile.corp.client_secret: expected a reference, got a string',
    'c.toml:10: profile.corp.match.1: http is only for localhost and loopback addresses: expected an https URL',
    'c.toml:11: profile.corp.match.2: the path is not written in its plain form',
    'c.toml:14: profile.corp.params.client_id: belongs to the protocol and is not set here',
    'c.toml:17: profile.gh.source: unknown source "comand"; did you mean command?',
    'c.toml:18: profile.gh.timeout: expected a duration such as "90s" or "5m", got a number',
    'c.toml:19: profile.gh.tokn: unknown key; did you mean token?',
    'c.toml:22: defaults.refresh_befor: unknown key; did you mean refresh_before?',
  ])
  expect(hint).toBe('write issuer = "https://…", or token_endpoint = "https://…"')
  expect(JSON.stringify([message, more, hint])).not.toContain('hunter2')
})

test('a file without profiles is a configuration', () => {
  expect(parse('')).toEqual({ file, store: 'auto', proxies: new Map(), profiles: new Map() })
})

test('what is not written is filled in', () => {
  expect(only(`[profile.p]\n${rest.cc}`)).toEqual({
    name: 'p',
    source: 'client_credentials',
    token_endpoint: 'https://idp.example.com/t',
    client_id: 'a',
    client_secret: { env: 'S' },
    client_auth: 'client_secret_basic',
    basic_encoding: 'rfc6749',
    match: [],
    resource: [],
    params: {},
    binding: expect.stringMatching(/^[0-9a-f]{64}$/),
  })
  expect(only(`[profile.p]\n${rest.command}`)).toMatchObject({ command: ['gh'], timeout_ms: 30_000 })
  expect(only(`[profile.p]\n${rest.http}`)).toMatchObject({ method: 'GET', headers: {} })
  expect(only(`[profile.p]\n${rest.http}\nform = { a = "b" }`)).toMatchObject({ method: 'POST' })
})

const methods: [name: string, lines: string, want: string][] = [
  ['a secret', 'client_secret = { env = "S" }', 'client_secret_basic'],
  ['a private key', 'private_key = { env = "S" }', 'private_key_jwt'],
  [
    'a secret and a private key',
    'client_secret = { env = "S" }\nprivate_key = { env = "S" }',
    'client_secret_basic',
  ],
  ['a certificate', 'client_certificate = { env = "S" }\nclient_key = { env = "S" }', 'none'],
  ['nothing', '', 'none'],
]
test.each(methods)('a client with %s proves itself by default in the way that fits', (_, lines, want) => {
  const toml = `[profile.p]\nsource = "client_credentials"\nissuer = "https://a.example"\nclient_id = "a"\n${lines}`
  expect((only(toml) as ClientCredentialsProfile).client_auth).toBe(want)
})

test('a public client may go without a name', () => {
  expect(only('[profile.p]\nsource = "client_credentials"\nissuer = "https://a.example"')).toMatchObject({
    client_auth: 'none',
  })
})

test('defaults hold for every profile that does not say otherwise', () => {
  const toml = `[defaults]\nrefresh_before = "5m"\nmin_validity = "60s"\ndefault_ttl = "1h"
[profile.a]\n${rest.static}\n[profile.b]\n${rest.static}\nrefresh_before = "0s"`
  const { profiles } = parse(toml)
  expect(profiles.get('a')).toMatchObject({
    refresh_before_ms: 300_000,
    min_validity_ms: 60_000,
    default_ttl_ms: 3_600_000,
  })
  expect(profiles.get('b')).toMatchObject({ refresh_before_ms: 0, min_validity_ms: 60_000 })
})

test('every key of every source is accepted with a value of its type', () => {
  const toml = `
[store]
kind = "keychain"
[profile.cc]
source = "client_credentials"
issuer = "https://idp.example.com/realms/x"
token_endpoint = "https://idp.example.com/t?p=1"
client_id = "a b"
client_secret = { secret = "corp.client_secret" }
client_auth = "tls_client_auth"
basic_encoding = "raw"
private_key = { file = "keys/k.pem" }
kid = "1"
signing_alg = "EdDSA"
assertion_audience = "https://idp.example.com"
scope = "a b"
audience = "https://api.example.com"
resource = ["https://api.example.com", "https://b.example.com"]
params = { tenant = "x", "weird.name" = "" }
token_path = "data.token"
ca_file = "~/ca.pem"
client_certificate = { file = "/etc/c.pem" }
client_key = { keychain = { service = "s", account = "a" } }
match = ["https://api.example.com", "https://git.example.com/team/", "registry.example.com:5000", "http://127.0.0.1:8080", "http://[::1]/x"]
username = "oauth2"
refresh_before = "5m"
min_validity = "60s"
default_ttl = "2d"
[profile.fed]
source = "client_credentials"
token_endpoint = "https://idp.example.com/t"
client_id = "a"
client_assertion = { profile = "runner" }
revocation_endpoint = "https://idp.example.com/revoke"
dpop = true
refresh_scope = "a"
[profile.me]
source = "authorization_code"
client_id = "a"
token_endpoint = "https://idp.example.com/t"
authorization_endpoint = "https://idp.example.com/a?p=1"
pushed_authorization_request_endpoint = "https://idp.example.com/par"
redirect_port = 8400
login_hint = "ada@example.com"
prompt = "login consent"
[profile.tv]
source = "device_code"
client_id = "a"
token_endpoint = "https://idp.example.com/t"
device_authorization_endpoint = "https://idp.example.com/d"
[profile.seeded]
source = "refresh_token"
issuer = "https://idp.example.com"
refresh_token = { secret = "seed" }
[profile.robot]
source = "jwt_bearer"
key_file = "keys/robot.json"
iss = "robot"
sub = "ada"
aud = "https://idp.example.com"
claims = { target_audience = "https://run.example.com", level = 2, offline = true }
scope = "a"
scope_in_assertion = false
[profile.swap]
source = "token_exchange"
issuer = "https://idp.example.com"
subject_token = { profile = "me" }
subject_token_type = "id_token"
actor_token = { env = "ACTOR" }
actor_token_type = "urn:example:actor"
requested_token_type = "access_token"
[profile.runner]
source = "ci"
provider = "gitlab"
audience = "https://sts.example.com"
token_env = "ID_TOKEN"
[profile.pod]
source = "ci"
token_file = "~/token"
[profile.app]
source = "github_app"
app_id = 123
installation_id = 456
private_key = { file = "app.pem" }
repositories = ["one", "two.js"]
permissions = { contents = "read", pull_requests = "write" }
api_url = "https://github.example.com/api/v3/"
[profile.cmd]
source = "command"
pass_env = ["HTTP_TOKEN"]
command = ["./bin/mint", "", "--x"]
timeout = "500ms"
[profile.st]
source = "static"
token = { command = ["op", "read", "op://vault/item"] }
expires_at = 2027-01-31T12:00:00+01:00
[profile.web]
source = "http"
method = "PUT"
url = "http://localhost:8080/t?x=%2F"
headers = { Accept = "application/json", X-Api-Key = { env = "K" } }
basic = { username = { env = "U" }, password = { env = "P" } }
json = { identifier = "me", secret = { env = "S" }, list = [1, 2.5, true, { file = "~/s" }], text = "a\\nb" }
token_path = "items.0.token"
expires_in_path = "ttl"
expires_at_path = "end"
ca_file = "ca.pem"
[profile.form]
source = "http"
url = "https://a.example"
bearer = { env = "B" }
form = { user = "u", password = { env = "P" } }
token_path = "t"
client_certificate = { env = "C" }
client_key = { env = "K" }
[profile.keys]
source = "command"
command = ["sts"]
members = { AccessKeyId = "Credentials.AccessKeyId", SecretAccessKey = "list.0.key" }
expires_at_path = "Credentials.Expiration"
`
  const { store, profiles } = parse(toml)
  expect(store).toBe('keychain')
  expect(profiles.get('cc')).toMatchObject({
    private_key: { file: '/home/ada/.config/tokctl/keys/k.pem' },
    ca_file: '/home/ada/ca.pem',
    client_certificate: { file: '/etc/c.pem' },
    client_key: { keychain: { service: 's', account: 'a' } },
    params: { tenant: 'x', 'weird.name': '' },
    default_ttl_ms: 172_800_000,
  })
  expect(profiles.get('fed')).toMatchObject({ client_assertion: { profile: 'runner' }, dpop: true })
  expect(profiles.get('me')).toMatchObject({ redirect_port: 8400 })
  expect(profiles.get('robot')).toMatchObject({
    key_file: { file: '/home/ada/.config/tokctl/keys/robot.json' },
    claims: { target_audience: 'https://run.example.com', level: 2, offline: true },
    scope_in_assertion: false,
  })
  expect(profiles.get('swap')).toMatchObject({
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    actor_token_type: 'urn:example:actor',
    requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  })
  expect(profiles.get('pod')).toMatchObject({ provider: 'auto', token_file: '/home/ada/token' })
  expect(profiles.get('app')).toMatchObject({
    app_id: '123',
    installation_id: '456',
    repositories: ['one', 'two.js'],
    permissions: { contents: 'read', pull_requests: 'write' },
    api_url: 'https://github.example.com/api/v3',
  })
  expect(profiles.get('cmd')).toMatchObject({
    command: ['/home/ada/.config/tokctl/bin/mint', '', '--x'],
    timeout_ms: 500,
  })
  expect(profiles.get('st')).toMatchObject({ expires_at: Date.UTC(2027, 0, 31, 11) })
  const web = profiles.get('web') as HttpProfile
  expect(web.headers).toEqual({ accept: 'application/json', 'x-api-key': { env: 'K' } })
  expect(web.json).toEqual({
    identifier: 'me',
    secret: { env: 'S' },
    list: [1, 2.5, true, { file: '/home/ada/s' }],
    text: 'a\nb',
  })
  // Nobody can use what this test leaves out.
  for (const key of keyNames()) expect(toml).toMatch(new RegExp(`^${key} = `, 'm'))
})

test('a body whose only field is called secret is told from a reference', () => {
  const body = (json: string): unknown =>
    (only(`[profile.p]\n${rest.http}\njson = ${json}`) as HttpProfile).json
  expect(body('{ secret = { env = "S" } }')).toEqual({ secret: { env: 'S' } })
  expect(body('{ a = { secret = "kept" } }')).toEqual({ a: { secret: 'kept' } })
})

describe('the binding', () => {
  const of = (lines: string): string => only(`[profile.p]\n${lines}`).binding

  const shaping: [key: string, lines: string][] = [
    ['issuer', 'issuer = "https://idp.example.com"'],
    ['scope', 'scope = "a"'],
    ['audience', 'audience = "a"'],
    ['resource', 'resource = "a"'],
    ['params', 'params = { a = "b" }'],
    ['client_auth', 'client_auth = "client_secret_post"'],
    ['basic_encoding', 'basic_encoding = "raw"'],
    ['private_key', 'private_key = { env = "K" }'],
    ['kid', 'kid = "1"'],
    ['token_path', 'token_path = "a"'],
  ]
  test.each(shaping)('changes with %s', (_, lines) => {
    expect(of(`${rest.cc}\n${lines}`)).not.toBe(of(rest.cc))
  })

  const handling: [key: string, lines: string][] = [
    ['match', 'match = ["https://a.example"]'],
    ['username', 'username = "x"'],
    ['refresh_before', 'refresh_before = "1m"'],
    ['min_validity', 'min_validity = "1m"'],
    ['default_ttl', 'default_ttl = "1m"'],
    ['a default that is written out', 'client_auth = "client_secret_basic"'],
    ['a resource list of none', 'resource = []'],
  ]
  test.each(handling)('does not change with %s', (_, lines) => {
    expect(of(`${rest.cc}\n${lines}`)).toBe(of(rest.cc))
  })

  test('does not change with the time limit of a program, but with its arguments', () => {
    expect(of(`${rest.command}\ntimeout = "1s"`)).toBe(of(rest.command))
    expect(of(rest.command.replace('"gh"', '"gh", "x"'))).not.toBe(of(rest.command))
  })

  test('takes a secret by its reference', () => {
    expect(of(rest.static.replace('"T"', '"U"'))).not.toBe(of(rest.static))
  })

  test('does not depend on the order of keys or on the name, but on that of a list', () => {
    const a = of(`${rest.http}\nform = { a = "1", b = "2" }\nheaders = { x = "1", y = "2" }`)
    const b = only(
      `[profile.other]\nheaders = { y = "2", x = "1" }\nform = { b = "2", a = "1" }\n${rest.http}`,
    )
    expect(b.binding).toBe(a)
    expect(of(`${rest.cc}\nresource = ["a", "b"]`)).not.toBe(of(`${rest.cc}\nresource = ["b", "a"]`))
  })
})

test('whatever stands in a file, the answer is a configuration or a list of problems', () => {
  const word = fc.constantFrom(
    'profile',
    'corp',
    'source',
    'http',
    'json',
    'match',
    '__proto__',
    'toString',
    'env',
  )
  const value: fc.Arbitrary<string> = fc.letrec<{ any: string }>(tie => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(
        '1',
        'true',
        '"x"',
        '2027-01-01',
        '1979-05-27 07:32:00Z',
        '{ env = "X" }',
        '""',
        'inf',
        '"https://a"',
      ),
      fc.array(tie('any'), { maxLength: 3 }).map(items => `[${items.join(', ')}]`),
      fc
        .array(fc.tuple(word, tie('any')), { maxLength: 3 })
        .map(pairs => `{ ${pairs.map(([key, item]) => `${key} = ${item}`).join(', ')} }`),
    ),
  })).any
  const line = fc.oneof(
    fc.tuple(word, value).map(([key, text]) => `${key} = ${text}`),
    fc.array(word, { minLength: 1, maxLength: 3 }).map(path => `[${path.join('.')}]`),
  )
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), lines => {
      try {
        parse(lines.join('\n'))
      } catch (error) {
        expect(error).toBeInstanceOf(TokctlError)
        const { code, message, more } = error as TokctlError
        expect(code).toBe('config_invalid')
        for (const text of [message, ...more]) expect(text).toMatch(/^c\.toml:\d+: [^\n]*[^.\n]$/)
      }
    }),
    { numRuns: 500 },
  )
})
