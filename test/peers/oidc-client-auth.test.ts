import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { ClientCredentialsProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { directWire } from '../support/direct-wire.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type ProxyServer, startProxy } from '../support/proxy-server.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'

let certificates: Certificates
let server: OidcProvider
let proxy: ProxyServer
beforeAll(async () => {
  certificates = makeCertificates()
  server = await startOidcProvider(certificates)
  proxy = await startProxy()
})
afterAll(async () => {
  await proxy.close()
  await server.close()
  certificates.remove()
})

async function fetchToken(
  given: Partial<ClientCredentialsProfile>,
  env: Record<string, string> = {},
): Promise<Token> {
  const environment = bareEnvironment(env)
  const secrets: Record<string, string> = {
    SECRET: server.clientSecret,
    CERT: certificates.client.cert,
    CERT_KEY: certificates.client.key,
    OTHER_CERT: certificates.other.cert,
    OTHER_KEY: certificates.other.key,
    ...server.privateKeys,
  }
  const ports = sourcePorts({
    environment,
    secrets,
    send: createSend({ environment, clock: systemClock, directWire }),
  })
  const profile = clientProfile({ token_endpoint: `${server.issuer}/token`, ...given })
  return (await createSource(profile, ports)).fetch({ timeoutMs: 10_000, signal: undefined })
}

const secret = { client_secret: { env: 'SECRET' } }
const certificate = { client_certificate: { env: 'CERT' }, client_key: { env: 'CERT_KEY' } }

const methods: [client: string, given: Partial<ClientCredentialsProfile>][] = [
  ['basic', { client_auth: 'client_secret_basic', ...secret }],
  ['odd:id%+ /', { client_auth: 'client_secret_basic', ...secret }],
  ['post', { client_auth: 'client_secret_post', ...secret }],
  ['public', { client_auth: 'none' }],
  ['hs-HS256', { client_auth: 'client_secret_jwt', ...secret }],
  ...(['HS256', 'HS384', 'HS512'] as const).map((alg): [string, Partial<ClientCredentialsProfile>] => [
    `hs-${alg}`,
    { client_auth: 'client_secret_jwt', signing_alg: alg, ...secret },
  ]),
  ...(['RS256', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const).map(
    (alg): [string, Partial<ClientCredentialsProfile>] => [
      `pk-${alg}`,
      { client_auth: 'private_key_jwt', private_key: { env: alg } },
    ],
  ),
  ...(['RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const).map(
    (alg): [string, Partial<ClientCredentialsProfile>] => [
      `pk-${alg}`,
      { client_auth: 'private_key_jwt', private_key: { env: alg }, signing_alg: alg, kid: 'client-key' },
    ],
  ),
]
test.each(methods)('oidc-provider knows the client %s: %j', async (client_id, given) => {
  const token = await fetchToken({ client_id, ...given })
  expect(await server.clientOf(token.accessToken.expose())).toBe(client_id)
  expect(token.tokenType).toBe('Bearer')
  expect(((token.expiresAt ?? 0) - token.obtainedAt) / 1000).toBe(600)
})

test.each(['directly', 'through a proxy'])(
  'oidc-provider knows a client by its certificate, %s',
  async way => {
    const given = {
      client_id: 'mtls',
      client_auth: 'tls_client_auth',
      token_endpoint: `${server.tlsIssuer}/token`,
      ca_file: certificates.caFile,
      ...certificate,
    } as const
    const env: Record<string, string> =
      way === 'directly' ? {} : { https_proxy: `http://127.0.0.1:${proxy.port}` }
    const before = proxy.requests.length
    const token = await fetchToken(given, env)
    expect(await server.clientOf(token.accessToken.expose())).toBe('mtls')
    expect(proxy.requests.length - before).toBe(way === 'directly' ? 0 : 1)
    const { client_certificate: _, client_key: __, ...without } = given
    await expect(fetchToken(without, env)).rejects.toMatchObject({ code: 'invalid_client' })
    const another = { client_certificate: { env: 'OTHER_CERT' }, client_key: { env: 'OTHER_KEY' } }
    await expect(fetchToken({ ...without, ...another }, env)).rejects.toMatchObject({
      code: 'invalid_client',
    })
  },
)

test('oidc-provider refuses Basic credentials that should have been encoded', async () => {
  const given = { client_id: 'basic', client_auth: 'client_secret_basic', ...secret } as const
  await expect(fetchToken({ ...given, basic_encoding: 'raw' })).rejects.toMatchObject({
    code: 'invalid_request',
  })
})

test('oidc-provider refuses an assertion for another audience', async () => {
  const given = {
    client_id: 'pk-RS256',
    client_auth: 'private_key_jwt',
    private_key: { env: 'RS256' },
  } as const
  await expect(
    fetchToken({ ...given, assertion_audience: 'https://other.example.com' }),
  ).rejects.toMatchObject({
    code: 'invalid_client',
  })
  const token = await fetchToken({ ...given, assertion_audience: server.issuer })
  expect(await server.clientOf(token.accessToken.expose())).toBe('pk-RS256')
})

test('oidc-provider gives the scope and the resource that were asked for', async () => {
  const given = { client_id: 'basic', client_auth: 'client_secret_basic', ...secret } as const
  const token = await fetchToken({ ...given, scope: 'api.read', resource: ['https://api.example.com'] })
  expect(token.scope).toBe('api.read')
  const claims = JSON.parse(
    Buffer.from(token.accessToken.expose().split('.')[1] ?? '', 'base64url').toString(),
  )
  expect(claims).toMatchObject({ aud: 'https://api.example.com', scope: 'api.read' })
  expect(token.expiresAt).toBeLessThanOrEqual(token.obtainedAt + 600_000)
  await expect(fetchToken({ ...given, resource: ['nonsense'] })).rejects.toMatchObject({
    code: 'invalid_target',
  })
})

test.each([
  ['issuer', { ca_file: undefined }],
  ['tlsIssuer', { ca_file: true }],
] as const)('finds the endpoint of oidc-provider by its %s', async (which, { ca_file }) => {
  const { token_endpoint: _, ...profile } = clientProfile({
    issuer: server[which],
    client_id: 'post',
    client_auth: 'client_secret_post',
    ...(ca_file ? { ca_file: certificates.caFile } : {}),
  })
  const environment = bareEnvironment()
  const send = createSend({ environment, clock: systemClock, directWire })
  const ports = sourcePorts({ environment, send, secrets: { SECRET: server.clientSecret } })
  const source = await createSource(profile, ports)
  const before = (await server.requests()).length
  for (const _ of [1, 2]) await source.fetch({ timeoutMs: 10_000, signal: undefined })
  expect((await server.requests()).slice(before)).toEqual([
    'GET /.well-known/openid-configuration',
    'POST /token',
    'POST /token',
  ])
})
