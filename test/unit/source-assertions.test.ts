import { generateKeyPairSync } from 'node:crypto'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { beforeAll, expect, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import type { JwtBearerProfile, Profile, TokenExchangeProfile } from '../../src/profile/profile.ts'
import type { SourcePorts } from '../../src/source/source.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { jwtBearerProfile, tokenExchangeProfile } from '../support/profiles.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const now = 1_800_000_000
const token = jsonAnswer({ access_token: 'token-1', expires_in: 60 })
const grantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const tokenType = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`

let rsa: { publicKey: jose.CryptoKey; pem: string }
let ec: { publicKey: jose.CryptoKey; pem: string }
let serviceAccount: string
beforeAll(async () => {
  const make = async (alg: string) => {
    const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true })
    return { publicKey, pem: await jose.exportPKCS8(privateKey) }
  }
  rsa = await make('RS256')
  ec = await make('ES256')
  serviceAccount = JSON.stringify({
    type: 'service_account',
    project_id: 'p',
    private_key_id: 'key-7',
    private_key: rsa.pem,
    client_email: 'robot@p.iam.example.com',
    token_uri: 'https://oauth2.example.com/token',
  })
})

async function fetchWith(
  profile: Profile,
  answers: (HttpResponse | Error)[],
  secrets: Record<string, string> = {},
  tokenOf?: SourcePorts['tokenOf'],
) {
  const { send, requests } = scriptedSend(...answers)
  const clock = { ...fakeClock(now * 1000), sleep: async () => {} }
  const ports = sourcePorts({ clock, send, secrets, ...(tokenOf === undefined ? {} : { tokenOf }) })
  const outcome = await (await createSource(profile, ports))
    .fetch({ timeoutMs: 30_000, signal: undefined })
    .then(
      token => ({ token }),
      (error: TokctlError) => ({ error }),
    )
  return { ...outcome, requests } as { token?: Token; error?: TokctlError; requests: readonly HttpRequest[] }
}

const formOf = (request: HttpRequest | undefined): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(request?.body))

async function assertionOf(request: HttpRequest | undefined, key: jose.CryptoKey) {
  const { payload, protectedHeader } = await jose.jwtVerify(formOf(request)['assertion'] ?? '', key, {
    currentDate: new Date(now * 1000),
  })
  return { payload, protectedHeader }
}

const fromFile = (given: Partial<JwtBearerProfile> = {}): JwtBearerProfile => {
  const { token_endpoint: _, ...profile } = jwtBearerProfile({
    key_file: { env: 'FILE' },
    scope_in_assertion: true,
    scope: 'https://www.example.com/auth/x',
    ...given,
  })
  return profile
}

test('a service account signs with its own key, for its own endpoint, and sends no client', async () => {
  const { token: got, requests } = await fetchWith(fromFile(), [token], { FILE: serviceAccount })
  expect(requests[0]?.url).toBe('https://oauth2.example.com/token')
  expect(requests[0]?.headers).not.toHaveProperty('authorization')
  expect(Object.keys(formOf(requests[0])).sort()).toEqual(['assertion', 'grant_type'])
  expect(formOf(requests[0])['grant_type']).toBe(grantType)
  const { payload, protectedHeader } = await assertionOf(requests[0], rsa.publicKey)
  expect(protectedHeader).toEqual({ alg: 'RS256', typ: 'JWT', kid: 'key-7' })
  expect(payload).toEqual({
    iss: 'robot@p.iam.example.com',
    aud: 'https://oauth2.example.com/token',
    scope: 'https://www.example.com/auth/x',
    iat: now - 30,
    exp: now + 120,
    jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
  })
  expect(got?.scope).toBe('https://www.example.com/auth/x')
})

test('what the profile says stands above the key file', async () => {
  const given = { sub: 'jane@example.com', iss: 'other', kid: 'k', aud: 'https://aud', claims: { org: 7 } }
  const profile = { ...fromFile(given), token_endpoint: 'https://mine.example.com/t' }
  const { requests } = await fetchWith(profile, [token], { FILE: serviceAccount })
  expect(requests[0]?.url).toBe('https://mine.example.com/t')
  const { payload, protectedHeader } = await assertionOf(requests[0], rsa.publicKey)
  expect(payload).toMatchObject({ sub: 'jane@example.com', iss: 'other', aud: 'https://aud', org: 7 })
  expect(protectedHeader.kid).toBe('k')
})

test('keys of one’s own: the subject is the issuer unless told otherwise, the scope goes into the form', async () => {
  const given = { private_key: { env: 'KEY' }, iss: 'consumer-key', scope: 'api', audience: 'https://api' }
  const { requests } = await fetchWith(jwtBearerProfile(given), [token], { KEY: ec.pem })
  const { assertion: _, ...form } = formOf(requests[0])
  expect(form).toEqual({ grant_type: grantType, scope: 'api', audience: 'https://api' })
  const { payload, protectedHeader } = await assertionOf(requests[0], ec.publicKey)
  expect(protectedHeader).toEqual({ alg: 'ES256', typ: 'JWT' })
  expect(payload).toMatchObject({ iss: 'consumer-key', sub: 'consumer-key' })
  expect(payload).not.toHaveProperty('scope')
})

test('configured claims cannot change what the assertion is', async () => {
  const claims = { iss: 'x', aud: 'x', exp: 1, jti: 'x', target_audience: 'https://run.example.com' }
  const given = { private_key: { env: 'KEY' }, iss: 'me', claims }
  const { requests } = await fetchWith(jwtBearerProfile(given), [token], { KEY: ec.pem })
  const { payload } = await assertionOf(requests[0], ec.publicKey)
  expect(payload).toMatchObject({ iss: 'me', exp: now + 120, target_audience: 'https://run.example.com' })
  expect(payload['jti']).not.toBe('x')
})

test('a client authenticates beside the assertion only where it is configured', async () => {
  const given = {
    private_key: { env: 'KEY' },
    client_id: 'app',
    client_secret: { env: 'SECRET' },
    client_auth: 'client_secret_post',
  } as const
  const { requests } = await fetchWith(jwtBearerProfile(given), [token], { KEY: ec.pem, SECRET: 'pw' })
  expect(formOf(requests[0])).toMatchObject({ client_id: 'app', client_secret: 'pw' })
  expect((await assertionOf(requests[0], ec.publicKey)).payload).toMatchObject({ iss: 'app', sub: 'app' })
})

test('an answer with an id_token alone serves where token_path says so, until its exp', async () => {
  const idToken = await new jose.SignJWT({})
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime(now + 900)
    .sign(Buffer.alloc(32))
  const answer = jsonAnswer({ id_token: idToken })
  const { token: got } = await fetchWith(fromFile({ token_path: 'id_token' }), [answer], {
    FILE: serviceAccount,
  })
  expect(got?.accessToken.expose()).toBe(idToken)
  expect(got?.expiresAt).toBe((now + 900) * 1000)
  const { error } = await fetchWith(fromFile(), [answer], { FILE: serviceAccount })
  expect(error).toMatchObject({
    code: 'invalid_response',
    message: 'token endpoint oauth2.example.com answered 200 without access_token',
  })
})

test('each attempt carries an assertion of its own, signed with the server’s time where the clocks differ', async () => {
  const date = new Date((now + 7200) * 1000).toUTCString()
  const refused = jsonAnswer(
    { error: 'invalid_grant', error_description: 'Token must be a short-lived token' },
    400,
    { date },
  )
  const { token: got, requests } = await fetchWith(fromFile(), [refused, token], { FILE: serviceAccount })
  expect(got?.accessToken.expose()).toBe('token-1')
  const claims = requests.map(request => jose.decodeJwt(formOf(request)['assertion'] ?? ''))
  expect(claims.map(({ iat }) => iat)).toEqual([now - 30, now - 30 + 7200])
  expect(claims[0]?.jti).not.toBe(claims[1]?.jti)
})

test('the assertion and the key never come back in a message', async () => {
  const echo = (request: HttpRequest) => {
    const { assertion } = formOf(request)
    return jsonAnswer({ error: 'invalid_grant', error_description: `bad: ${assertion}` }, 400)
  }
  const { send } = scriptedSend(echo)
  const ports = sourcePorts({ clock: fakeClock(now * 1000), send, secrets: { FILE: serviceAccount } })
  const source = await createSource(fromFile(), ports)
  await expect(source.fetch({ timeoutMs: 5000, signal: undefined })).rejects.toMatchObject({
    code: 'invalid_grant',
    message: 'token endpoint oauth2.example.com answered 400: bad: [redacted] (invalid_grant)',
  })
})

const badFiles: [name: string, text: () => string, message: string, hint: string | undefined][] = [
  ['no JSON', () => rsa.pem, 'key_file is not JSON', 'it is the file that the key was handed out in'],
  [
    'a person’s sign-in',
    () => JSON.stringify({ type: 'authorized_user', refresh_token: 'r' }),
    'key_file holds the sign-in of a person',
    'use source = "refresh_token" with its refresh_token',
  ],
  [
    'an external account',
    () => JSON.stringify({ type: 'external_account' }),
    'key_file is of type "external_account", not a service account',
    undefined,
  ],
  ['no key', () => JSON.stringify({ type: 'service_account' }), 'key_file has no private_key', undefined],
  [
    'a broken key',
    () => JSON.stringify({ private_key: 'x', client_email: 'a@b' }),
    'key_file is not a private key (PEM or JWK)',
    undefined,
  ],
  [
    'nobody’s key',
    () => JSON.stringify({ private_key: rsa.pem }),
    'source jwt_bearer needs iss, the issuer of its assertions',
    undefined,
  ],
]
test.each(badFiles)('says what is wrong with a key file that is %s', async (_, text, message, hint) => {
  const profile = { ...fromFile(), token_endpoint: 'https://idp.example.com/t' }
  const { error, requests } = await fetchWith(profile, [], { FILE: text() })
  expect(requests).toEqual([])
  expect(error).toMatchObject({ code: 'config_invalid', message })
  expect(error?.hint).toBe(hint)
})

test('says that neither key is there', async () => {
  const { error } = await fetchWith(jwtBearerProfile({ iss: 'me' }), [])
  expect(error).toMatchObject({
    code: 'config_invalid',
    message: 'source jwt_bearer needs private_key or key_file',
  })
})

const me: SourcePorts['tokenOf'] = async name => ({
  accessToken: new Secret(`token-of-${name}`),
  tokenType: 'Bearer',
  scope: undefined,
  obtainedAt: 0,
  expiresAt: undefined,
  refreshToken: undefined,
})

test('exchanges another profile’s token, and a kept one, as oauth4webapi would', async () => {
  const profile = tokenExchangeProfile({
    actor_token: { env: 'ACTOR' },
    actor_token_type: tokenType('jwt'),
    requested_token_type: tokenType('access_token'),
    scope: 'api',
    audience: 'target',
    resource: ['https://a', 'https://b'],
  })
  const { token: got, requests } = await fetchWith(profile, [token], { ACTOR: 'actor-token' }, me)
  expect(got?.accessToken.expose()).toBe('token-1')
  const parameters = new URLSearchParams({
    subject_token: 'token-of-me',
    subject_token_type: tokenType('access_token'),
    actor_token: 'actor-token',
    actor_token_type: tokenType('jwt'),
    requested_token_type: tokenType('access_token'),
    scope: 'api',
    audience: 'target',
  })
  for (const resource of ['https://a', 'https://b']) parameters.append('resource', resource)
  let theirs = new URLSearchParams()
  await oauth.genericTokenEndpointRequest(
    { issuer: 'https://idp.example.com', token_endpoint: 'https://idp.example.com/token' },
    { client_id: 'build-bot' },
    oauth.None(),
    'urn:ietf:params:oauth:grant-type:token-exchange',
    parameters,
    {
      [oauth.customFetch]: async (_, { body }) => {
        theirs = body as URLSearchParams
        return new Response('{}')
      },
    },
  )
  const sorted = (form: URLSearchParams) => [...form].sort((a, b) => (a.join() < b.join() ? -1 : 1))
  expect(sorted(new URLSearchParams(requests[0]?.body))).toEqual(sorted(theirs))
})

const issued: [requested: string | undefined, issued: unknown, objection: string | undefined][] = [
  [undefined, undefined, undefined],
  [undefined, tokenType('access_token'), undefined],
  [undefined, 'urn:example:own', undefined],
  [undefined, tokenType('refresh_token'), `with a token of type "${tokenType('refresh_token')}"`],
  [undefined, tokenType('saml2'), `with a token of type "${tokenType('saml2')}"`],
  [tokenType('access_token'), tokenType('jwt'), undefined],
  [tokenType('jwt'), tokenType('access_token'), undefined],
  [tokenType('id_token'), tokenType('id_token'), undefined],
  [tokenType('id_token'), undefined, undefined],
  [
    tokenType('id_token'),
    tokenType('access_token'),
    `with a token of type "${tokenType('access_token')}", not the requested "${tokenType('id_token')}"`,
  ],
]
test.each(issued)('asked for %s and given %s: %s', async (requested_token_type, type, objection) => {
  const answer = jsonAnswer({ access_token: 'token-1', token_type: 'N_A', issued_token_type: type })
  const given = requested_token_type === undefined ? {} : { requested_token_type }
  const { token: got, error } = await fetchWith(tokenExchangeProfile(given), [answer], {}, me)
  if (objection === undefined) expect(got?.accessToken.expose()).toBe('token-1')
  else {
    expect(error).toMatchObject({
      code: 'invalid_response',
      message: `token endpoint idp.example.com answered 200 ${objection}`,
    })
  }
})

test('neither token of an exchange comes back in a message', async () => {
  const profile: TokenExchangeProfile = tokenExchangeProfile({ actor_token: { env: 'ACTOR' } })
  const answer = jsonAnswer({ error: 'invalid_request', error_description: 'token-of-me, actor-token' }, 400)
  const { error } = await fetchWith(profile, [answer], { ACTOR: 'actor-token' }, me)
  expect(error?.message).toBe(
    'token endpoint idp.example.com answered 400: [redacted], [redacted] (invalid_request)',
  )
})

test('a client proves itself with another profile’s token, whatever client_auth says', async () => {
  const { client_secret: _, ...profile } = clientProfile({ client_assertion: { profile: 'runner' } })
  const { requests } = await fetchWith(profile, [token], {}, me)
  expect(requests[0]?.headers).not.toHaveProperty('authorization')
  expect(formOf(requests[0])).toEqual({
    grant_type: 'client_credentials',
    client_id: 'build-bot',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: 'token-of-runner',
  })
})

test('a ready-made assertion from a file needs no client_id, and stays out of messages', async () => {
  const { client_secret: _, client_id: __, ...profile } = clientProfile({ client_assertion: { env: 'JWT' } })
  const answer = jsonAnswer({ error: 'invalid_client', error_description: 'bad a.b.c' }, 401)
  const { requests, error } = await fetchWith(profile, [answer], { JWT: 'a.b.c' })
  expect(formOf(requests[0])).toMatchObject({ client_assertion: 'a.b.c' })
  expect(formOf(requests[0])).not.toHaveProperty('client_id')
  expect(error?.message).toBe('token endpoint idp.example.com answered 401: bad [redacted] (invalid_client)')
})

test('what kept the other token from being there is told', async () => {
  const failing: SourcePorts['tokenOf'] = async () => {
    throw new Error('no runner')
  }
  const { error, requests } = await fetchWith(tokenExchangeProfile(), [], {}, failing)
  expect(error?.message).toBe('no runner')
  expect(requests).toEqual([])
})

test('jose signs an assertion that has the same members', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const theirs = await new jose.SignJWT({ scope: 's' })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: 'k' })
    .setIssuer('i')
    .setAudience('a')
    .setIssuedAt(now)
    .setExpirationTime(now + 60)
    .setJti('j')
    .sign(privateKey)
  const { requests } = await fetchWith(fromFile(), [token], { FILE: serviceAccount })
  const ours = formOf(requests[0])['assertion'] ?? ''
  expect(Object.keys(jose.decodeJwt(ours)).sort()).toEqual(Object.keys(jose.decodeJwt(theirs)).sort())
  expect(Object.keys(jose.decodeProtectedHeader(ours)).sort()).toEqual(
    Object.keys(jose.decodeProtectedHeader(theirs)).sort(),
  )
})
