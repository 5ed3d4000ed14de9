import { beforeEach, expect, test } from 'vitest'
import type { ClientCredentialsProfile } from '../../src/profile/profile.ts'
import { documentUrls } from '../../src/source/discovery.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const issuer = 'https://idp.example.com'
const document = { issuer, token_endpoint: `${issuer}/token`, authorization_endpoint: `${issuer}/authorize` }
const token = jsonAnswer({ access_token: 'token-1' })

let kept: Map<string, string>
let clock: FakeClock
beforeEach(() => {
  kept = new Map()
  clock = fakeClock()
})

async function fetchWith(answers: (HttpResponse | Error)[], given: Partial<ClientCredentialsProfile> = {}) {
  const { send, requests } = scriptedSend(...answers)
  const { token_endpoint: _, ...common } = clientProfile({ issuer })
  const profile = { ...common, ...given }
  const cache = {
    read: (name: string) => kept.get(name),
    write: (name: string, text: string) => void kept.set(name, text),
  }
  const ports = sourcePorts({ clock, send, cache, secrets: { SECRET: 's', CERT: 'cert', KEY: 'key' } })
  const fetched = (await createSource(profile, ports)).fetch({ timeoutMs: 60_000, signal: undefined })
  let done = false
  const outcome = fetched.then(
    value => ({ token: value.accessToken.expose() }),
    error => ({ error }),
  )
  void outcome.then(() => {
    done = true
  })
  while (!done) await clock.advance(500)
  return { ...((await outcome) as { token?: string; error?: Error }), asked: requests.map(urlOf), requests }
}

function urlOf({ method, url }: HttpRequest): string {
  return `${method} ${url}`
}

const places: [issuer: string, openid: string, rfc8414: string][] = [
  [
    'https://h',
    'https://h/.well-known/openid-configuration',
    'https://h/.well-known/oauth-authorization-server',
  ],
  [
    'https://h/',
    'https://h/.well-known/openid-configuration',
    'https://h/.well-known/oauth-authorization-server',
  ],
  [
    'https://h:8443/a/b',
    'https://h:8443/a/b/.well-known/openid-configuration',
    'https://h:8443/.well-known/oauth-authorization-server/a/b',
  ],
  [
    'https://h/a/',
    'https://h/a/.well-known/openid-configuration',
    'https://h/.well-known/oauth-authorization-server/a',
  ],
]
test.each(places)('looks for the document of %s in both places', (from, openid, rfc8414) => {
  expect(documentUrls(from)).toEqual([openid, rfc8414])
})

test('asks the issuer once, and for a day only the token endpoint', async () => {
  const first = await fetchWith([jsonAnswer(document), token])
  expect(first.token).toBe('token-1')
  expect(first.asked).toEqual([`GET ${issuer}/.well-known/openid-configuration`, `POST ${issuer}/token`])
  await clock.advance(86_399_000)
  expect((await fetchWith([token])).asked).toEqual([`POST ${issuer}/token`])
  await clock.advance(2000)
  expect((await fetchWith([jsonAnswer(document), token])).asked).toHaveLength(2)
})

test('takes the document of RFC 8414 where there is none of OpenID', async () => {
  const { token: got, asked } = await fetchWith([jsonAnswer('', 404), jsonAnswer(document), token])
  expect(got).toBe('token-1')
  expect(asked[1]).toBe(`GET ${issuer}/.well-known/oauth-authorization-server`)
})

test('a named token endpoint is not looked for', async () => {
  const { asked } = await fetchWith([token], { token_endpoint: 'https://other.example.com/token' })
  expect(asked).toEqual(['POST https://other.example.com/token'])
})

test('a client that shows a certificate goes where the server wants those', async () => {
  const aliases = { ...document, mtls_endpoint_aliases: { token_endpoint: 'https://mtls.example.com/token' } }
  const certificate = { client_certificate: { env: 'CERT' }, client_key: { env: 'KEY' } }
  const given = { client_auth: 'tls_client_auth', ...certificate } as const
  const first = await fetchWith([jsonAnswer(aliases), token], given)
  expect(first.asked[1]).toBe('POST https://mtls.example.com/token')
  expect(first.requests[0]?.tls).toBeUndefined()
  expect(first.requests[1]?.tls).toMatchObject({ cert: 'cert' })
  expect((await fetchWith([token], given)).asked).toEqual(['POST https://mtls.example.com/token'])
  expect((await fetchWith([token])).asked).toEqual([`POST ${issuer}/token`])
})

const lies: [name: string, document: object, words: string][] = [
  [
    'another issuer',
    { ...document, issuer: 'https://evil.test' },
    'has a discovery document of another issuer, "https://evil.test"',
  ],
  [
    'a slash more',
    { ...document, issuer: `${issuer}/` },
    `has a discovery document of another issuer, "${issuer}/"`,
  ],
  ['no issuer', { ...document, issuer: undefined }, 'has a discovery document that names no issuer'],
  [
    'an issuer that is a list',
    { ...document, issuer: [issuer] },
    'has a discovery document that names no issuer',
  ],
  ['no token endpoint', { issuer }, 'has a discovery document without token_endpoint'],
  [
    'plain http',
    { ...document, token_endpoint: 'http://idp.example.com/token' },
    'has a discovery document with an unusable token_endpoint: plain http goes to localhost and loopback addresses only',
  ],
  [
    'a port of this machine',
    { ...document, token_endpoint: 'http://127.0.0.1:631/' },
    'has a discovery document with an unusable token_endpoint: it is not an https URL',
  ],
  [
    'a backslash',
    { ...document, token_endpoint: 'https://idp.example.com\\@evil.test/' },
    'has a discovery document with an unusable token_endpoint: a backslash does not belong in a URL',
  ],
  [
    'a user',
    { ...document, revocation_endpoint: 'https://idp%2eexample@evil.test/' },
    'has a discovery document with an unusable revocation_endpoint: a user name or password does not belong in a URL',
  ],
  [
    'another scheme',
    { ...document, authorization_endpoint: 'javascript:alert(1)' },
    'has a discovery document with an unusable authorization_endpoint: expected a URL such as "https://api.example.com"',
  ],
  [
    'a number',
    { ...document, token_endpoint: 42 },
    'has a discovery document with an unusable token_endpoint: it is not a text',
  ],
]
test.each(lies)('refuses a document with %s, keeps nothing and sends no secret', async (_, body, words) => {
  const { error, asked } = await fetchWith([jsonAnswer(body)])
  expect(error).toMatchObject({ code: 'discovery_failed', message: `issuer ${issuer} ${words}` })
  expect(asked).toHaveLength(1)
  expect(kept.size).toBe(0)
})

test('a document may name loopback http where the issuer is just that', async () => {
  const local = 'http://127.0.0.1:8080'
  const body = { issuer: local, token_endpoint: `${local}/token` }
  expect((await fetchWith([jsonAnswer(body), token], { issuer: local })).token).toBe('token-1')
})

test('says where it looked when there is no document', async () => {
  const { error } = await fetchWith([jsonAnswer('<html>Sign in to WiFi'), jsonAnswer('', 404)])
  expect(error).toMatchObject({
    code: 'discovery_failed',
    message: `issuer ${issuer} has no discovery document: /.well-known/openid-configuration is not JSON, /.well-known/oauth-authorization-server answered 404`,
    hint: 'set token_endpoint in the profile',
  })
})

test('a redirect is not followed', async () => {
  const away = jsonAnswer('', 302, { location: 'https://evil.test/' })
  const { error, asked } = await fetchWith([away, away])
  expect(error?.message).toContain('answered 302')
  expect(asked.every(url => url.startsWith(`GET ${issuer}/`))).toBe(true)
})

test('asks again where the issuer is unavailable, and then says so', async () => {
  expect((await fetchWith([jsonAnswer('', 503), jsonAnswer(document), token])).token).toBe('token-1')
  kept.clear()
  const limited = jsonAnswer('', 429, { 'retry-after': '60' })
  expect((await fetchWith([limited])).error).toMatchObject({
    code: 'rate_limited',
    message: 'discovery at idp.example.com answered 429',
    retryAfterMs: 60_000,
  })
})

const spoiled: [name: string, spoil: (text: string) => string][] = [
  ['torn', text => text.slice(0, text.length / 2)],
  ['empty', () => ''],
  ['not an object', () => '[]'],
  ['of another issuer', text => text.replace(issuer, 'https://evil.test')],
  ['pointing to plain http', text => text.replace(`${issuer}/token`, 'http://idp.example.com/token')],
  ['without a time', text => text.replace('fetched_at', 'when')],
  ['from the future', text => text.replace(/"fetched_at":\d+/, '"fetched_at":9999999999999')],
]
test.each(spoiled)('a kept copy that is %s is ignored', async (_, spoil) => {
  await fetchWith([jsonAnswer(document), token])
  for (const [name, text] of kept) kept.set(name, spoil(text))
  const { token: got, asked } = await fetchWith([jsonAnswer(document), token])
  expect(got).toBe('token-1')
  expect(asked).toHaveLength(2)
})

test('two issuers of one host do not share a copy', async () => {
  await fetchWith([jsonAnswer(document), token])
  const other = { issuer: `${issuer}/b`, token_endpoint: `${issuer}/b/token` }
  expect((await fetchWith([jsonAnswer(other), token], { issuer: `${issuer}/b` })).asked[1]).toBe(
    `POST ${issuer}/b/token`,
  )
  expect([...kept.keys()].every(name => /^[a-z0-9._-]+$/.test(name))).toBe(true)
  expect(kept.size).toBe(2)
})
