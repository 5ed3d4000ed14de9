import * as jose from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { OAuthClient, Profile, ProfileCommon } from '../../src/profile/profile.ts'
import { jwkThumbprint } from '../../src/source/dpop.ts'
import { revoke } from '../../src/source/revoke.ts'
import { createSend } from '../../src/source/send.ts'
import type { FetchRequest, Kept, SourcePorts } from '../../src/source/source.ts'
import { createSource } from '../../src/source/sources.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { fakePerson } from '../support/person.ts'
import {
  ciProfile,
  jwtBearerProfile,
  refreshTokenProfile,
  tokenExchangeProfile,
} from '../support/profiles.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'
import { webPerson } from '../support/web-person.ts'

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

const signature = (alg: string, claims: object): Promise<string> =>
  jose
    .importPKCS8(server.privateKeys[alg] ?? '', alg)
    .then(key =>
      new jose.SignJWT({ jti: crypto.randomUUID(), ...claims })
        .setProtectedHeader({ alg })
        .setIssuedAt()
        .setExpirationTime('5 min')
        .sign(key),
    )

function portsWith(secrets: Record<string, string> = {}, more: Partial<SourcePorts> = {}): SourcePorts {
  const environment = bareEnvironment()
  const known: Record<string, string> = {
    SECRET: server.clientSecret,
    CERT: certificates.client.cert,
    CERT_KEY: certificates.client.key,
    OTHER_CERT: certificates.other.cert,
    OTHER_KEY: certificates.other.key,
    ...server.privateKeys,
    ...secrets,
  }
  const send = createSend({ environment, clock: systemClock, directWire })
  return sourcePorts({ environment, send, secrets: known, ...more })
}

const keptWith = (given: Partial<Kept>): Kept => ({
  refreshToken: undefined,
  dpopKey: undefined,
  seed: undefined,
  ...given,
})

async function fetchToken(
  profile: Profile,
  ports: SourcePorts = portsWith(),
  request: Partial<FetchRequest> = {},
): Promise<Token> {
  return (await createSource(profile, ports)).fetch({ timeoutMs: 20_000, signal: undefined, ...request })
}

type Client = Partial<ProfileCommon & OAuthClient>
const secret = { client_secret: { env: 'SECRET' } }
const certificate = { client_certificate: { env: 'CERT' }, client_key: { env: 'CERT_KEY' } }
const basic = { client_id: 'basic', client_auth: 'client_secret_basic', ...secret } as const

const clients: [client: string, given: Client][] = [
  ['basic', { client_auth: 'client_secret_basic', ...secret }],
  ['post', { client_auth: 'client_secret_post', ...secret }],
  ['hs-HS256', { client_auth: 'client_secret_jwt', ...secret }],
  ['pk-ES256', { client_auth: 'private_key_jwt', private_key: { env: 'ES256' } }],
  ['mtls', { client_auth: 'tls_client_auth', ...certificate }],
  ['public', { client_auth: 'none' }],
]

/** Gets a token by each grant, as that client, from nothing. */
const grants: Record<string, (client: Client, issuer: string) => Promise<Token>> = {
  client_credentials: client => fetchToken(clientProfile(client)),
  refresh_token: async (client, issuer) => {
    const seed = await server.refreshTokenFor(client.client_id ?? '', 'openid', issuer)
    return fetchToken(refreshTokenProfile(client), portsWith({ SEED: seed }))
  },
  jwt_bearer: (client, issuer) => {
    // The key of the grant and that of the client are one in a profile.
    const { signing_alg: _, ...rest } = client
    const own = { private_key: client.private_key ?? { env: 'RS256' }, iss: 'robot', aud: issuer }
    return fetchToken(jwtBearerProfile({ ...rest, ...own }))
  },
  token_exchange: async (client, issuer) => {
    const trusting = { ca_file: certificates.caFile, token_endpoint: `${issuer}/token` }
    const subject = await fetchToken(clientProfile({ ...basic, ...trusting }))
    return fetchToken(tokenExchangeProfile(client), portsWith({}, { tokenOf: async () => subject }))
  },
  authorization_code: async (client, issuer) => {
    const browser = webPerson({ ca: certificates.ca })
    const person = fakePerson(url => browser.visit(url))
    const profile = {
      ...clientProfile(client),
      issuer,
      scope: 'openid',
      source: 'authorization_code',
    } as const
    const { authorization_endpoint } = { authorization_endpoint: `${issuer}/auth` }
    return fetchToken({ ...profile, authorization_endpoint }, portsWith(), { person })
  },
  device_code: async (client, issuer) => {
    // Nobody has to wait for the five seconds between two questions.
    const clock = fakeClock(Date.now())
    const profile = { ...clientProfile(client), scope: 'openid', source: 'device_code' } as const
    const person = fakePerson()
    const endpoint = { device_authorization_endpoint: `${issuer}/device/auth` }
    let ended = false
    const token = fetchToken({ ...profile, ...endpoint }, portsWith({}, { clock }), {
      person,
      timeoutMs: 300_000,
    }).finally(() => {
      ended = true
    })
    token.catch(() => {})
    const shown = /open (\S+) on any device[^:]*:\s+(\S+)/
    await expect.poll(() => shown.test(person.told) || ended).toBe(true)
    const [, page = '', code = ''] = shown.exec(person.told) ?? []
    await webPerson({ ca: certificates.ca }).visit(page, { typed: { user_code: code } })
    await clock.advance(5000)
    return token
  },
}

const table = Object.keys(grants).flatMap(grant =>
  clients.map(([client, given]) => [grant, client, given] as [string, string, Client]),
)
test.each(table)('oidc-provider gives a token by %s to the client %s', async (grant, client_id, given) => {
  const isTls = given.client_auth === 'tls_client_auth'
  const issuer = isTls ? server.tlsIssuer : server.issuer
  const { client_secret: _, source: __, ...bare } = clientProfile()
  const client: Client = {
    ...bare,
    client_id,
    token_endpoint: `${issuer}/token`,
    ...(isTls ? { ca_file: certificates.caFile } : {}),
    ...given,
  }
  // `clientProfile` brings a secret of its own, which these clients must not need.
  const token = await grants[grant]!(client.client_secret ? client : { ...client, ...secret }, issuer)
  expect(await server.clientOf(token.accessToken.expose())).toBe(client_id)
  expect(token.tokenType).toBe('Bearer')
  expect(((token.expiresAt ?? 0) - token.obtainedAt) / 1000).toBe(600)
})

const renewing = () => refreshTokenProfile({ ...basic, token_endpoint: `${server.issuer}/token` })

test('a chain of refresh tokens is kept to, and one that is used twice ends all of it', async () => {
  const seed = await server.refreshTokenFor('basic', 'openid api.read api.write')
  const ports = portsWith({ SEED: seed })
  const first = await fetchToken(renewing(), ports)
  const second = await fetchToken(renewing(), ports, { kept: keptWith(first) })
  const third = await fetchToken(renewing(), ports, { kept: keptWith(second) })
  expect(new Set([seed, ...[first, second, third].map(token => token.refreshToken?.expose())]).size).toBe(4)
  expect(await server.find(third.accessToken.expose())).toBeDefined()

  // Somebody else has a copy of an earlier one.
  await expect(fetchToken(renewing(), ports, { kept: keptWith(second) })).rejects.toMatchObject({
    code: 'login_required',
    message: 'profile "corp" needs a new refresh token: the last one was refused (invalid_grant)',
  })
  expect(await server.find(third.accessToken.expose())).toBeUndefined()
  await expect(fetchToken(renewing(), ports, { kept: keptWith(third) })).rejects.toMatchObject({
    code: 'login_required',
  })
  const again = portsWith({ SEED: await server.refreshTokenFor('basic', 'openid') })
  expect((await fetchToken(renewing(), again, { kept: keptWith(third) })).seed).not.toBe(third.seed)
})

test('asks for less when it renews, and can have all of it again', async () => {
  const seed = await server.refreshTokenFor('basic', 'openid api.read api.write')
  const ports = portsWith({ SEED: seed })
  const narrow = await fetchToken({ ...renewing(), refresh_scope: 'api.read' }, ports)
  expect(narrow.scope).toBe('api.read')
  const wide = await fetchToken(renewing(), ports, { kept: keptWith(narrow) })
  expect(wide.scope).toBe('openid api.read api.write')
})

test('an exchange that leaves a refresh token is renewed by it, and begins again when that is refused', async () => {
  const subject = await fetchToken(clientProfile({ ...basic, token_endpoint: `${server.issuer}/token` }))
  const ports = portsWith({ SUBJECT: subject.accessToken.expose() })
  const profile = tokenExchangeProfile({
    ...basic,
    subject_token: { env: 'SUBJECT' },
    token_endpoint: `${server.issuer}/token`,
    scope: 'openid offline_access',
  })
  const first = await fetchToken(profile, ports)
  expect(first.refreshToken).toBeDefined()
  const alone = portsWith()
  const second = await fetchToken(profile, alone, { kept: keptWith(first) })
  expect(second.refreshToken?.expose()).not.toBe(first.refreshToken?.expose())
  const third = await fetchToken(profile, ports, { kept: keptWith(first) })
  expect(await server.find(third.accessToken.expose())).toBeDefined()
})

test('an exchange of another profile’s token leaves no session that would outlive that one', async () => {
  const subject = await fetchToken(clientProfile({ ...basic, token_endpoint: `${server.issuer}/token` }))
  const token = await fetchToken(
    tokenExchangeProfile({
      ...basic,
      subject_token: { profile: 'subject' },
      token_endpoint: `${server.issuer}/token`,
      scope: 'openid offline_access',
    }),
    portsWith({}, { tokenOf: async () => subject }),
  )
  expect(await server.find(token.accessToken.expose())).toBeDefined()
  expect(token.refreshToken).toBeUndefined()
})

test('an assertion is enough where the server wants no client', async () => {
  const keyFile = {
    type: 'service_account',
    private_key: server.privateKeys['RS256'],
    client_email: 'robot@example.com',
    token_uri: `${server.issuer}/anonymous/token`,
  }
  const { token_endpoint: _, ...profile } = jwtBearerProfile({ key_file: { env: 'FILE' }, sub: 'jane' })
  const token = await fetchToken(profile, portsWith({ FILE: JSON.stringify(keyFile) }))
  expect(await server.find(token.accessToken.expose())).toMatchObject({
    clientId: 'anonymous',
    accountId: 'jane',
  })
  const wrong = { ...profile, aud: 'https://other.example.com' }
  await expect(fetchToken(wrong, portsWith({ FILE: JSON.stringify(keyFile) }))).rejects.toMatchObject({
    code: 'invalid_grant',
  })
})

test.each(['nonce', 'dpop'])(
  'tokens of the client %s are bound to a key, which renews them',
  async client_id => {
    const client = { ...basic, client_id, dpop: true, token_endpoint: `${server.issuer}/token` }
    const before = (await server.requests()).length
    const own = await fetchToken(clientProfile(client))
    expect(own.tokenType).toBe('DPoP')
    const known = await server.find(own.accessToken.expose())
    expect(known?.jkt).toBe(jwkThumbprint(own.dpopKey ?? new Secret('')))
    // The first of this process is without a nonce; those that follow know it.
    await fetchToken(clientProfile(client))
    expect((await server.requests()).slice(before)).toHaveLength(client_id === 'nonce' ? 3 : 2)

    const seed = await server.refreshTokenFor(client_id, 'openid')
    const profile = refreshTokenProfile(client)
    const first = await fetchToken(profile, portsWith({ SEED: seed }))
    const second = await fetchToken(profile, portsWith({ SEED: seed }), { kept: keptWith(first) })
    expect(second.dpopKey?.expose()).toBe(first.dpopKey?.expose())
    expect((await server.find(second.accessToken.expose()))?.jkt).toBe(
      jwkThumbprint(first.dpopKey ?? new Secret('')),
    )
  },
)

test('a client that must prove a key is refused without one', async () => {
  const client = { ...basic, client_id: 'dpop', token_endpoint: `${server.issuer}/token` }
  await expect(fetchToken(clientProfile(client))).rejects.toMatchObject({ code: 'invalid_grant' })
})

test('the refresh token of a public client is bound to its key', async () => {
  const browser = webPerson()
  const person = fakePerson(url => browser.visit(url))
  const { client_secret: _, token_endpoint: __, ...client } = clientProfile({ client_id: 'public' })
  const common = {
    ...client,
    client_auth: 'none',
    dpop: true,
    issuer: server.issuer,
    scope: 'openid',
  } as const
  const profile = { ...common, source: 'authorization_code' } as const
  const token = await fetchToken(profile, portsWith(), { person })
  const { refreshToken } = token
  const another = fetchToken(profile, portsWith(), { kept: keptWith({ refreshToken }) })
  await expect(another).rejects.toMatchObject({ code: 'login_required', hint: 'run: tokctl login corp' })
  const renewed = await fetchToken(profile, portsWith(), { kept: keptWith(token) })
  expect(renewed.tokenType).toBe('DPoP')
})

test('tokens that are bound to a certificate are renewed with it alone', async () => {
  const client = {
    client_id: 'bound',
    client_auth: 'tls_client_auth',
    token_endpoint: `${server.tlsIssuer}/token`,
    ca_file: certificates.caFile,
    ...certificate,
  } as const
  const thumbprint = async (token: Token) => (await server.find(token.accessToken.expose()))?.['x5t#S256']
  const own = await fetchToken(clientProfile(client))
  expect(await thumbprint(own)).toMatch(/^[\w-]{43}$/)
  const ports = portsWith({ SEED: await server.refreshTokenFor('bound', 'openid', server.tlsIssuer) })
  const first = await fetchToken(refreshTokenProfile(client), ports)
  expect(await thumbprint(first)).toBe(await thumbprint(own))
  const another = { client_certificate: { env: 'OTHER_CERT' }, client_key: { env: 'OTHER_KEY' } }
  await expect(
    fetchToken(refreshTokenProfile({ ...client, ...another }), ports, { kept: keptWith(first) }),
  ).rejects.toMatchObject({ code: 'invalid_client' })
  expect(await fetchToken(refreshTokenProfile(client), ports, { kept: keptWith(first) })).toBeDefined()
})

/** The identity service of a runner, whose tokens the provider trusts as those of `pk-ES256`. */
async function startRunner() {
  const service = await startRawServer(({ text, socket }) => {
    const audience = new URL(`http://x${text.split(' ')[1]}`).searchParams.get('audience')
    const claims = { iss: 'pk-ES256', sub: 'pk-ES256', aud: audience }
    void signature('ES256', claims).then(value =>
      socket.end(rawAnswer(200, { 'Content-Type': 'application/json' }, JSON.stringify({ value }))),
    )
  })
  const environment = bareEnvironment({
    ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${service.port}/idtoken?v=1`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-token',
  })
  const tokenOf: SourcePorts['tokenOf'] = async name =>
    fetchToken(ciProfile({ name, audience: server.issuer }), portsWith({}, { environment }))
  return { tokenOf, requests: service.requests, close: service.close }
}

test('a runner’s identity proves a client, without any secret', async () => {
  const runner = await startRunner()
  const { client_secret: _, ...profile } = clientProfile({
    client_id: 'pk-ES256',
    client_auth: 'private_key_jwt',
    client_assertion: { profile: 'runner' },
    token_endpoint: `${server.issuer}/token`,
  })
  const ports = portsWith({}, { tokenOf: runner.tokenOf })
  for (const _ of [1, 2]) {
    const token = await fetchToken(profile, ports)
    expect(await server.clientOf(token.accessToken.expose())).toBe('pk-ES256')
  }
  expect(runner.requests).toHaveLength(2)
  expect(runner.requests[0]).toContain(`audience=${encodeURIComponent(server.issuer)}`)
  await expect(
    fetchToken({ ...profile, client_id: 'pk-ES384' }, portsWith({}, { tokenOf: runner.tokenOf })),
  ).rejects.toMatchObject({ code: 'invalid_request' })
  await runner.close()
})

test('a runner’s identity is exchanged for a token', async () => {
  const runner = await startRunner()
  const profile = tokenExchangeProfile({
    ...basic,
    token_endpoint: `${server.issuer}/token`,
    subject_token: { profile: 'runner' },
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    actor_token: { env: 'ACTOR' },
    actor_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  })
  const ACTOR = await signature('RS256', { iss: 'actor', sub: 'actor', aud: server.issuer })
  const token = await fetchToken(profile, portsWith({ ACTOR }, { tokenOf: runner.tokenOf }))
  expect(await server.find(token.accessToken.expose())).toMatchObject({ accountId: 'pk-ES256' })
  await expect(
    fetchToken(profile, portsWith({ ACTOR: `${ACTOR}x` }, { tokenOf: runner.tokenOf })),
  ).rejects.toMatchObject({ code: 'invalid_grant' })
  await runner.close()
})

test.each(clients)(
  'revokes both tokens of the client %s, and the family with them',
  async (client_id, given) => {
    const isTls = given.client_auth === 'tls_client_auth'
    const issuer = isTls ? server.tlsIssuer : server.issuer
    const { token_endpoint: _, ...common } = refreshTokenProfile({
      client_id,
      issuer,
      ...(isTls ? { ca_file: certificates.caFile } : {}),
      ...given,
    })
    const ports = portsWith({ SEED: await server.refreshTokenFor(client_id, 'openid', issuer) })
    const { accessToken, refreshToken } = await fetchToken(common, ports)
    expect(await server.find(accessToken.expose())).toBeDefined()
    const before = (await server.requests()).length
    await revoke(common, { accessToken, refreshToken }, ports, 10_000, undefined)
    expect((await server.requests()).slice(before)).toEqual([
      'POST /token/revocation',
      'POST /token/revocation',
    ])
    expect(await server.find(accessToken.expose())).toBeUndefined()
    expect(await server.find(refreshToken?.expose() ?? '')).toBeUndefined()
  },
)

test('a server that does not know the client revokes nothing, and says so', async () => {
  const { token_endpoint: _, ...profile } = refreshTokenProfile({ ...basic, issuer: server.issuer })
  const refreshToken = new Secret(await server.refreshTokenFor('basic', 'openid'))
  const ports = portsWith({ SECRET: 'wrong' })
  await expect(revoke(profile, { refreshToken }, ports, 10_000, undefined)).rejects.toMatchObject({
    code: 'invalid_client',
  })
  expect(await server.find(refreshToken.expose())).toBeDefined()
})
