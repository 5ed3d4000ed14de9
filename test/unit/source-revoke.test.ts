import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { Profile } from '../../src/profile/profile.ts'
import { type RevokedTokens, revoke } from '../../src/source/revoke.ts'
import { type HttpRequest, type HttpResponse, TransportError } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { githubAppProfile, signInProfile } from '../support/profiles.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const done: HttpResponse = { status: 200, headers: {}, body: '' }
const both = { refreshToken: new Secret('refresh-1'), accessToken: new Secret('token-1') }
const endpoint = { revocation_endpoint: 'https://idp.example.com/revoke' }

async function revokeWith(profile: Profile, answers: (HttpResponse | Error)[], tokens: RevokedTokens = both) {
  const { send, requests } = scriptedSend(...answers)
  const traced: string[] = []
  const clock = { ...fakeClock(), sleep: async () => {} }
  const ports = sourcePorts({ clock, send, secrets: { SECRET: 'pw' }, trace: line => traced.push(line) })
  const error = await revoke(profile, tokens, ports, 5000, undefined).catch((error: unknown) => error)
  return { error, requests, traced }
}
const formOf = (request: HttpRequest | undefined): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(request?.body))

test('revokes the refresh token first, then the access token', async () => {
  const { error, requests } = await revokeWith(signInProfile(endpoint), [done, done])
  expect(error).toBeUndefined()
  expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
    'POST https://idp.example.com/revoke',
    'POST https://idp.example.com/revoke',
  ])
  expect(requests.map(formOf)).toEqual([
    { token: 'refresh-1', token_type_hint: 'refresh_token', client_id: 'build-bot' },
    { token: 'token-1', token_type_hint: 'access_token', client_id: 'build-bot' },
  ])
})

test('asks as oauth4webapi does', async () => {
  let theirs: unknown
  await oauth.revocationRequest(
    { issuer: 'https://idp.example.com', ...endpoint },
    { client_id: 'build-bot' },
    oauth.ClientSecretPost('pw'),
    'refresh-1',
    {
      additionalParameters: { token_type_hint: 'refresh_token' },
      [oauth.customFetch]: async (url, { method, body }) => {
        theirs = { url, method, form: Object.fromEntries(body as URLSearchParams) }
        return new Response('')
      },
    },
  )
  const profile = clientProfile({ ...endpoint, client_auth: 'client_secret_post' })
  const { requests } = await revokeWith(profile, [done], { refreshToken: both.refreshToken })
  expect({ url: requests[0]?.url, method: requests[0]?.method, form: formOf(requests[0]) }).toEqual(theirs)
})

test('an assertion of the client is for the token endpoint', async () => {
  const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true })
  const { send, requests } = scriptedSend(done)
  const profile = signInProfile({ ...endpoint, client_auth: 'private_key_jwt', private_key: { env: 'KEY' } })
  const ports = sourcePorts({ send, secrets: { KEY: await jose.exportPKCS8(privateKey) } })
  await revoke(profile, { accessToken: both.accessToken }, ports, 5000, undefined)
  expect(jose.decodeJwt(formOf(requests[0])['client_assertion'] ?? '').aud).toBe(
    'https://idp.example.com/token',
  )
})

test('finds the endpoint by discovery, and does nothing where the server has none', async () => {
  const { token_endpoint: _, ...profile } = signInProfile({ issuer: 'https://idp.example.com' })
  const document = {
    issuer: 'https://idp.example.com',
    token_endpoint: 'https://idp.example.com/token',
    ...endpoint,
  }
  const found = await revokeWith(profile, [jsonAnswer(document), done, done])
  expect(found.requests.map(({ url }) => new URL(url).pathname)).toEqual([
    '/.well-known/openid-configuration',
    '/revoke',
    '/revoke',
  ])
  const { revocation_endpoint: __, ...without } = document
  const none = await revokeWith(profile, [jsonAnswer(without)])
  expect(none.error).toBeUndefined()
  expect(none.traced).toEqual(['the server offers no revocation'])
})

test.each([
  ['a source that is not OAuth', githubAppProfile(), both],
  ['a profile without issuer and endpoint', signInProfile(), both],
  ['a session without tokens', signInProfile({ ...endpoint, issuer: 'https://idp.example.com' }), {}],
])('sends nothing for %s', async (_, profile, tokens) => {
  const { error, requests } = await revokeWith(profile, [], tokens)
  expect(error).toBeUndefined()
  expect(requests).toEqual([])
})

test('a server that revokes no access tokens has done what it can', async () => {
  const unsupported = jsonAnswer({ error: 'unsupported_token_type' }, 400)
  expect((await revokeWith(signInProfile(endpoint), [done, unsupported])).error).toBeUndefined()
})

test('a refusal is told after both were tried, without the token', async () => {
  const refused = jsonAnswer({ error: 'invalid_request', error_description: 'refresh-1?' }, 400)
  const { error, requests } = await revokeWith(signInProfile(endpoint), [refused, done])
  expect(requests).toHaveLength(2)
  expect(error).toMatchObject({
    code: 'invalid_request',
    message: 'revocation endpoint idp.example.com answered 400: [redacted]? (invalid_request)',
  })
})

test('what is passing is tried again; a server that cannot be reached is not asked twice over', async () => {
  const again = await revokeWith(signInProfile(endpoint), [jsonAnswer('', 503), done, done])
  expect(again.error).toBeUndefined()
  const away = new TransportError('network_error', 'idp.example.com refuses connections', true).unsent()
  const { error, requests } = await revokeWith(signInProfile(endpoint), [away, away, away])
  expect(error).toMatchObject({ code: 'network_error' })
  expect(requests).toHaveLength(3)
})
