import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  type X509Certificate,
} from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { createLocalJWKSet, jwtVerify } from 'jose'
import type Provider from 'oidc-provider'
import type { Client, GrantContext, KnownToken } from 'oidc-provider'
import type { Certificates } from './certificates.ts'

/**
 * oidc-provider on loopback, with one client for each way to prove a client; every one of them may use every grant. People
 * sign in with its own forms, any name and password; refresh tokens rotate, and one that is used twice ends its family.
 * The clients `par` and `public-par` must push their requests; `nonce` must put the server's nonce into its proofs, `dpop` must
 * have some; the tokens of `bound` are bound to its certificate. Exchanged are its own access tokens and what RS256 and ES256
 * of `privateKeys` sign; `/anonymous/token` wants no client.
 */
export interface OidcProvider {
  /** Plain http, without a slash at the end. */
  readonly issuer: string
  /** The same provider over TLS; asks for a client certificate. */
  readonly tlsIssuer: string
  /** Of all clients that have one. It holds characters that Basic credentials must encode. */
  readonly clientSecret: string
  /** PEM, by the algorithm that the client `pk-ALG` must sign with. */
  readonly privateKeys: Readonly<Record<string, string>>
  /** Paths of the requests, with their methods, in order. */
  requests(): Promise<readonly string[]>
  /** The `client_id` of an access token of ours; `undefined` for one that was not given here. */
  clientOf(accessToken: string): Promise<string | undefined>
  /** What an access token or a refresh token of ours is, here and now; `undefined` for one that does not live. */
  find(token: string): Promise<KnownToken | undefined>
  /** A refresh token for a client that nobody had to sign in for. @param at - `issuer` unless it is for `tlsIssuer` */
  refreshTokenFor(client_id: string, scope: string, at?: string): Promise<string>
  close(): Promise<void>
}

const grantPrefix = 'urn:ietf:params:oauth:grant-type:'
const clientSecret = 'pass: %+&=/"~-_.* of more than sixty-four bytes, which HS512 demands of its key'
const anonymousSecret = 'known to this server alone, which puts it in'
const issuedForSeconds = 600

/** @param certificates - Of the TLS listener; its authority also vouches for the client `mtls`. */
export async function startOidcProvider(
  certificates: Pick<Certificates, 'ca' | 'server'>,
): Promise<OidcProvider> {
  if ('bun' in process.versions) {
    return (await import('./remote-oidc-provider.ts')).startRemoteOidcProvider(certificates)
  }
  const { default: OidcProviderClass, errors } = await quietly(() => import('oidc-provider'))
  // Read from their PEM: Node 20 can wait for itself for ever when a key fresh from its generator is exported as a JWK.
  const read = ({ privateKey }: { privateKey: KeyObject }) =>
    createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' }))
  const rsa = read(generateKeyPairSync('rsa', { modulusLength: 2048 }))
  const ec = (namedCurve: string) => read(generateKeyPairSync('ec', { namedCurve }))
  const keys = {
    RS256: rsa,
    RS384: rsa,
    RS512: rsa,
    PS256: rsa,
    PS384: rsa,
    PS512: rsa,
    ES256: ec('P-256'),
    ES384: ec('P-384'),
    ES512: ec('P-521'),
    EdDSA: read(generateKeyPairSync('ed25519')),
  }
  const privateKeys: Record<string, string> = {}
  for (const [alg, key] of Object.entries(keys)) {
    privateKeys[alg] = key.export({ format: 'pem', type: 'pkcs8' }) as string
  }
  const client = (client_id: string, token_endpoint_auth_method: string, more: object = {}) => ({
    client_id,
    token_endpoint_auth_method,
    grant_types: [
      'client_credentials',
      'authorization_code',
      'refresh_token',
      `${grantPrefix}device_code`,
      `${grantPrefix}jwt-bearer`,
      `${grantPrefix}token-exchange`,
    ],
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    application_type: 'native',
    ...more,
  })
  const pushed = { require_pushed_authorization_requests: true }
  const withSecret = { client_secret: clientSecret }
  const clients = [
    client('basic', 'client_secret_basic', withSecret),
    client('odd:id%+ /', 'client_secret_basic', withSecret),
    client('post', 'client_secret_post', withSecret),
    client('anonymous', 'client_secret_basic', { client_secret: anonymousSecret }),
    client('public', 'none'),
    client('par', 'client_secret_basic', { ...withSecret, ...pushed }),
    client('public-par', 'none', pushed),
    client('nonce', 'client_secret_basic', withSecret),
    client('dpop', 'client_secret_basic', { ...withSecret, dpop_bound_access_tokens: true }),
    client('mtls', 'tls_client_auth', { tls_client_auth_subject_dn: 'CN=tokctl-client' }),
    client('bound', 'tls_client_auth', {
      tls_client_auth_subject_dn: 'CN=tokctl-client',
      tls_client_certificate_bound_access_tokens: true,
    }),
    ...['HS256', 'HS384', 'HS512'].map(alg =>
      client(`hs-${alg}`, 'client_secret_jwt', { ...withSecret, token_endpoint_auth_signing_alg: alg }),
    ),
    ...Object.entries(keys).map(([alg, key]) =>
      client(`pk-${alg}`, 'private_key_jwt', {
        token_endpoint_auth_signing_alg: alg === 'EdDSA' ? 'EdDSA' : alg,
        jwks: {
          keys: [{ ...createPublicKey(key).export({ format: 'jwk' }), alg, use: 'sig', kid: 'client-key' }],
        },
      }),
    ),
  ]
  const allAlgorithms = [...Object.keys(keys), 'HS256', 'HS384', 'HS512']

  const requests: string[] = []
  let handle: (request: IncomingMessage, response: import('node:http').ServerResponse) => unknown = () => {}
  const listener = (request: IncomingMessage, response: import('node:http').ServerResponse): void => {
    requests.push(`${request.method} ${request.url}`)
    if (request.url === '/anonymous/token') {
      request.url = '/token'
      request.headers.authorization = `Basic ${Buffer.from(`anonymous:${anonymousSecret}`).toString('base64')}`
    }
    handle(request, response)
  }
  const plain = createServer(listener).listen(0, '127.0.0.1')
  const { cert, key } = certificates.server
  const options = { cert, key, ca: certificates.ca, requestCert: true, rejectUnauthorized: false }
  const secure = createTlsServer(options, listener).listen(0, '127.0.0.1')
  await Promise.all([once(plain, 'listening'), once(secure, 'listening')])
  const port = (server: typeof plain | typeof secure): number => (server.address() as AddressInfo).port
  const issuer = `http://127.0.0.1:${port(plain)}`
  const tlsIssuer = `https://127.0.0.1:${port(secure)}`

  const certificateOf = ({ socket }: { socket: TLSSocket }): X509Certificate | undefined =>
    socket.getPeerX509Certificate?.()
  const providerAt = (at: string) =>
    new OidcProviderClass(at, {
      clients,
      jwks: {
        keys: [{ ...(rsa.export({ format: 'jwk' }) as JsonWebKey), alg: 'RS256', use: 'sig' }],
      },
      cookies: { keys: ['loopback'] },
      scopes: ['openid', 'offline_access', 'api.read', 'api.write'],
      claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
      conformIdTokenClaims: false,
      findAccount: (_: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ sub: id, name: `${id} Doe`, email: `${id}@example.com` }),
      }),
      issueRefreshToken: (_: unknown, client: { grantTypeAllowed(type: string): boolean }) =>
        client.grantTypeAllowed('refresh_token'),
      rotateRefreshToken: true,
      clientAuthMethods: [
        'client_secret_basic',
        'client_secret_post',
        'client_secret_jwt',
        'private_key_jwt',
        'tls_client_auth',
        'none',
      ],
      enabledJWA: { clientAuthSigningAlgValues: allAlgorithms },
      ttl: {
        ClientCredentials: issuedForSeconds,
        AccessToken: issuedForSeconds,
        DeviceCode: issuedForSeconds,
        Grant: 86_400,
        IdToken: issuedForSeconds,
        Interaction: issuedForSeconds,
        RefreshToken: 86_400,
        Session: 86_400,
      },
      features: {
        devInteractions: { enabled: true },
        deviceFlow: { enabled: true, ...devicePages },
        dPoP: {
          enabled: true,
          nonceSecret: Buffer.alloc(32, 7),
          requireNonce: (ctx: { oidc: { client?: { clientId: string } } }) =>
            ctx.oidc.client?.clientId === 'nonce',
        },
        pushedAuthorizationRequests: { enabled: true },
        revocation: { enabled: true, allowedPolicy: () => true },
        clientCredentials: { enabled: true },
        introspection: { enabled: true },
        mTLS: {
          enabled: true,
          tlsClientAuth: true,
          certificateBoundAccessTokens: true,
          getCertificate: certificateOf,
          certificateAuthorized: ({ socket }: { socket: TLSSocket }) => socket.authorized,
          certificateSubjectMatches: (
            ctx: Parameters<typeof certificateOf>[0],
            _: unknown,
            expected: string,
          ) => certificateOf(ctx)?.subject === expected,
        },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => undefined,
          getResourceServerInfo: (_: unknown, audience: string) => ({
            scope: 'api.read api.write',
            audience,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
    })
  const [atPlain, atSecure] = await quietly(async () => [providerAt(issuer), providerAt(tlsIssuer)] as const)
  const trusted = createLocalJWKSet({
    keys: (['RS256', 'ES256'] as const).map(alg => ({
      ...(createPublicKey(keys[alg]).export({ format: 'jwk' }) as { kty: string }),
      alg,
      use: 'sig',
    })),
  })
  for (const provider of [atPlain, atSecure]) addGrants(provider, trusted, errors)
  const [fromPlain, fromSecure] = [atPlain.callback(), atSecure.callback()]
  handle = (request, response) => ('encrypted' in request.socket ? fromSecure : fromPlain)(request, response)

  return {
    issuer,
    tlsIssuer,
    clientSecret,
    privateKeys,
    requests: async () => requests,
    async clientOf(accessToken) {
      for (const provider of [atPlain, atSecure]) {
        for (const kind of [provider.ClientCredentials, provider.AccessToken]) {
          const found = await kind.find(accessToken)
          if (found?.clientId !== undefined) return found.clientId
        }
      }
      return undefined
    },
    async find(token) {
      for (const provider of [atPlain, atSecure]) {
        for (const kind of [provider.AccessToken, provider.ClientCredentials, provider.RefreshToken]) {
          const found = await kind.find(token)
          if (found !== undefined) return found
        }
      }
      return undefined
    },
    async refreshTokenFor(client_id, scope, at = issuer) {
      const provider = at === tlsIssuer ? atSecure : atPlain
      const given = await giveTokens(provider, await provider.Client.find(client_id), 'jane', scope)
      return given.refresh_token
    },
    async close() {
      for (const server of [plain, secure]) {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      }
    },
  }
}

interface Given {
  readonly access_token: string
  readonly refresh_token: string
  readonly expires_in: number
  readonly scope: string
  readonly token_type: 'Bearer'
}

async function giveTokens(
  { Grant, AccessToken, RefreshToken }: Provider,
  client: Client,
  accountId: string,
  scope: string,
): Promise<Given> {
  const grant = new Grant({ clientId: client.clientId, accountId })
  grant.addOIDCScope(scope)
  const common = { accountId, client, scope, grantId: await grant.save(), gty: 'given' }
  const access = new AccessToken(common)
  return {
    access_token: await access.save(),
    refresh_token: await new RefreshToken({ ...common, rotations: 0 }).save(),
    expires_in: issuedForSeconds,
    scope,
    token_type: 'Bearer',
  }
}

// Those that oidc-provider leaves to whoever runs it.
function addGrants(
  provider: Provider,
  trusted: ReturnType<typeof createLocalJWKSet>,
  { InvalidGrant }: typeof import('oidc-provider').errors,
): void {
  const audience = [provider.issuer, `${provider.issuer}/token`, `${provider.issuer}/anonymous/token`]
  const refuse = (why: string): never => {
    throw new InvalidGrant(why)
  }
  const subjectOf = async (jwt: string): Promise<string> => {
    const { payload } = await jwtVerify(jwt, trusted, {
      audience,
      requiredClaims: ['exp', 'iss', 'sub'],
    }).catch((error: Error) => refuse(error.message))
    return payload.sub ?? ''
  }
  const answer = async (ctx: GrantContext, accountId: string, more: object): Promise<void> => {
    const { client, params } = ctx.oidc
    const { refresh_token, ...given } = await giveTokens(
      provider,
      client,
      accountId,
      params['scope'] ?? 'openid',
    )
    const isOffline = given.scope.split(' ').includes('offline_access')
    ctx.body = { ...given, ...(isOffline ? { refresh_token } : {}), ...more }
  }
  provider.registerGrantType(
    `${grantPrefix}jwt-bearer`,
    async ctx => answer(ctx, await subjectOf(ctx.oidc.params['assertion'] ?? ''), {}),
    ['assertion', 'scope'],
  )
  provider.registerGrantType(
    `${grantPrefix}token-exchange`,
    async ctx => {
      const { subject_token = '', subject_token_type, actor_token } = ctx.oidc.params
      const isJwt = subject_token_type === 'urn:ietf:params:oauth:token-type:jwt'
      const known = isJwt
        ? undefined
        : ((await provider.AccessToken.find(subject_token)) ??
          (await provider.ClientCredentials.find(subject_token)))
      const subject = isJwt ? await subjectOf(subject_token) : (known?.accountId ?? known?.clientId)
      if (subject === undefined) refuse('subject token is not known')
      if (actor_token !== undefined) await subjectOf(actor_token)
      await answer(ctx, subject ?? '', { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' })
    },
    [
      'subject_token',
      'subject_token_type',
      'actor_token',
      'actor_token_type',
      'requested_token_type',
      'audience',
      'scope',
    ],
  )
}

// Its own pages say on stdout, each time, that they should be replaced.
const devicePages = {
  userCodeInputSource: (ctx: { body: string }, form: string) => {
    ctx.body = `<h1>Enter the code</h1>${form}`
  },
  userCodeConfirmSource: (ctx: { body: string }, form: string) => {
    ctx.body = `<h1>Is this your code?</h1>${form}`
  },
  successSource: (ctx: { body: string }) => {
    ctx.body = '<h1>Sign-in Success</h1>'
  },
}

// It warns about Node 20, on which all of it works.
async function quietly<T>(make: () => Promise<T>): Promise<T> {
  const { warn, info } = console
  console.warn = () => {}
  console.info = () => {}
  try {
    return await make()
  } finally {
    Object.assign(console, { warn, info })
  }
}
