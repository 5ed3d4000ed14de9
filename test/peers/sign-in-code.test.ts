import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { AuthorizationCodeProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { directWire } from '../support/direct-wire.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type FakePerson, fakePerson } from '../support/person.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'
import { type Visit, webPerson } from '../support/web-person.ts'

let certificates: Certificates
let server: OidcProvider
beforeAll(async () => {
  certificates = makeCertificates()
  server = await startOidcProvider(certificates)
})
afterAll(async () => {
  await server.close()
  certificates.remove()
})

let visit: Promise<Visit> | undefined
beforeEach(() => {
  visit = undefined
})

function signsIn(choose: { click?: string } = {}, ca?: string): FakePerson {
  const browser = webPerson(ca === undefined ? {} : { ca })
  return fakePerson(url => {
    visit = browser.visit(url, choose)
  })
}

function profileFor(given: Partial<AuthorizationCodeProfile>): AuthorizationCodeProfile {
  const { source: _, token_endpoint: __, client_secret: ___, ...common } = clientProfile()
  return { ...common, source: 'authorization_code', issuer: server.issuer, ...given }
}

function portsFor() {
  const environment = bareEnvironment()
  const secrets: Record<string, string> = {
    SECRET: server.clientSecret,
    CERT: certificates.client.cert,
    CERT_KEY: certificates.client.key,
    ...server.privateKeys,
  }
  return sourcePorts({
    environment,
    secrets,
    send: createSend({ environment, clock: systemClock, directWire }),
  })
}

async function signIn(
  given: Partial<AuthorizationCodeProfile>,
  person: FakePerson,
  ports = portsFor(),
): Promise<Token> {
  const source = await createSource(profileFor(given), ports)
  return source.fetch({ timeoutMs: 20_000, signal: undefined, person })
}

const secret = { client_secret: { env: 'SECRET' } }
const methods: [client: string, given: Partial<AuthorizationCodeProfile>][] = [
  ['public', { client_auth: 'none' }],
  ['basic', { client_auth: 'client_secret_basic', ...secret }],
  ['odd:id%+ /', { client_auth: 'client_secret_basic', ...secret }],
  ['post', { client_auth: 'client_secret_post', ...secret }],
  ['hs-HS256', { client_auth: 'client_secret_jwt', ...secret }],
  ['pk-ES256', { client_auth: 'private_key_jwt', private_key: { env: 'ES256' } }],
  ['public-par', { client_auth: 'none' }],
  ['par', { client_auth: 'client_secret_basic', ...secret }],
]
test.each(methods)('a person signs in as client %s: %j', async (client_id, given) => {
  const before = (await server.requests()).length
  const pushed = client_id.endsWith('par')
  const token = await signIn(
    {
      client_id,
      ...given,
      scope: 'openid profile email api.read',
      ...(pushed ? { pushed_authorization_request_endpoint: `${server.issuer}/request` } : {}),
    },
    signsIn(),
  )
  expect(await server.clientOf(token.accessToken.expose())).toBe(client_id)
  expect(token.refreshToken).toBeDefined()
  expect(((token.expiresAt ?? 0) - token.obtainedAt) / 1000).toBe(600)

  const ended = await visit
  expect(ended?.status).toBe(200)
  expect(ended?.text).toContain('You are signed in')
  expect(ended?.text).toContain('jane Doe (jane@example.com)')

  const ours = (await server.requests()).slice(before).filter(each => !/\/(auth|interaction)/.test(each))
  expect(ours).toEqual([
    'GET /.well-known/openid-configuration',
    ...(pushed ? ['POST /request'] : []),
    'POST /token',
  ])
  if (pushed) {
    const asked = new URL(ended?.way[0] ?? '')
    expect([...asked.searchParams.keys()]).toEqual(['client_id', 'request_uri'])
  }
})

test('a person signs in as a client that shows a certificate', async () => {
  const given = {
    client_id: 'mtls',
    client_auth: 'tls_client_auth',
    issuer: server.tlsIssuer,
    ca_file: certificates.caFile,
    scope: 'openid',
  } as const
  const certificate = { client_certificate: { env: 'CERT' }, client_key: { env: 'CERT_KEY' } }
  const token = await signIn({ ...given, ...certificate }, signsIn({}, certificates.ca))
  expect(await server.clientOf(token.accessToken.expose())).toBe('mtls')
  await expect(signIn(given, signsIn({}, certificates.ca))).rejects.toMatchObject({ code: 'invalid_client' })
  expect((await visit)?.text).toContain('The sign-in did not work')
})

test('the resource that was asked for is the audience of the token', async () => {
  const token = await signIn(
    { client_id: 'public', client_auth: 'none', scope: 'api.read', resource: ['https://api.example.com'] },
    signsIn(),
  )
  const claims = JSON.parse(
    Buffer.from(token.accessToken.expose().split('.')[1] ?? '', 'base64url').toString(),
  )
  expect(claims).toMatchObject({ aud: 'https://api.example.com', scope: 'api.read' })
  expect(token.scope).toBe('api.read')
})

test('a person who cancels is told so, and so is the caller', async () => {
  const failed = signIn({ client_id: 'public', client_auth: 'none' }, signsIn({ click: 'Cancel' }))
  await expect(failed).rejects.toMatchObject({
    code: 'access_denied',
    message: `sign-in at ${new URL(server.issuer).host} was refused: End-User aborted interaction (access_denied)`,
  })
  const ended = await visit
  expect(ended?.status).toBe(400)
  expect(ended?.text).toContain('The sign-in did not work')
  expect(ended?.text).toContain('End-User aborted interaction')
})

test('nobody there: a sign-in is needed, and nothing is asked', async () => {
  const before = (await server.requests()).length
  const source = await createSource(profileFor({ client_id: 'public', client_auth: 'none' }), portsFor())
  await expect(source.fetch({ timeoutMs: 20_000, signal: undefined })).rejects.toMatchObject({
    code: 'login_required',
    message: 'profile "corp" needs a sign-in',
    hint: 'run: tokctl login corp',
  })
  expect(await server.requests()).toHaveLength(before)
})

test('a second sign-in asks for no discovery, and its token is renewed with rotation', async () => {
  const ports = portsFor()
  const given = { client_id: 'public', client_auth: 'none', scope: 'openid' } as const
  await signIn(given, signsIn(), ports)
  const before = (await server.requests()).length
  const token = await signIn(given, signsIn(), ports)
  expect((await server.requests()).slice(before).filter(each => each.includes('well-known'))).toEqual([])

  const source = await createSource(profileFor(given), ports)
  const kept = { refreshToken: token.refreshToken, dpopKey: undefined, seed: undefined }
  const renewed = await source.fetch({ timeoutMs: 20_000, signal: undefined, kept })
  expect(await server.clientOf(renewed.accessToken.expose())).toBe('public')
  expect(renewed.refreshToken?.expose()).not.toBe(token.refreshToken?.expose())
})

test('tokens of a sign-in are bound to a key where the profile says so', async () => {
  const token = await signIn(
    { client_id: 'public', client_auth: 'none', scope: 'openid', dpop: true },
    signsIn(),
  )
  expect(token.tokenType).toBe('DPoP')
  expect(token.dpopKey).toBeDefined()
})
