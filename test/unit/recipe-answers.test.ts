import { generateKeyPairSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { parseConfig } from '../../src/profile/parse.ts'
import type { SecretRef } from '../../src/profile/profile.ts'
import { readAsk, recipeText } from '../../src/profile/recipe-text.ts'
import { recipes } from '../../src/profile/recipes.ts'
import { createSource } from '../../src/source/sources.ts'
import { fakeClock } from '../support/clock.ts'
import { fakePerson } from '../support/person.ts'
import { bareEnvironment, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

// Providers cannot be asked here. What they document is: the request they want, and the answer they give to it.

const { privateKey: pem } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
})
const keyFile = {
  type: 'service_account',
  client_email: 'robot@acme.iam.gserviceaccount.com',
  private_key: pem,
  private_key_id: 'key-1',
  token_uri: 'https://oauth2.googleapis.com/token',
}
const secret = 'cli/ent+se=cret'
const basic = (id: string, encoded = encodeURIComponent(secret)): string =>
  `Basic ${Buffer.from(`${id}:${encoded}`).toString('base64')}`
const bearer = { access_token: 'token-1', token_type: 'Bearer', expires_in: 3600 }
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'
const jwtGrant = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

function secretOf(ref: SecretRef): Secret {
  if ('secret' in ref) {
    return new Secret(
      { 'corp-key': pem, 'corp-pat': 'pat-1', 'corp-refresh': 'refresh-0' }[ref.secret] ?? secret,
    )
  }
  if ('command' in ref) return new Secret(`output of ${ref.command.join(' ')}`)
  return new Secret(JSON.stringify(keyFile))
}

interface Documented {
  readonly method?: 'GET'
  readonly url: string
  readonly authorization?: string | RegExp
  /** The body: fields of a form, or JSON; an assertion is checked where it is made. */
  readonly form?: Readonly<Record<string, string>>
  readonly json?: unknown
  readonly answer: unknown
  readonly status?: number
  /** Seconds. */
  readonly lifetime: number
  readonly scope?: string
  readonly type?: string
}

const documented: [provider: string, Documented][] = [
  [
    'okta',
    {
      url: 'https://acme.okta.com/oauth2/default/v1/token',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'client_credentials', scope: 'api.read' },
      answer: { ...bearer, scope: 'api.read' },
      lifetime: 3600,
    },
  ],
  [
    'auth0',
    {
      url: 'https://acme.eu.auth0.com/oauth/token',
      form: {
        grant_type: 'client_credentials',
        client_id: '0oa1b2c3',
        client_secret: secret,
        audience: 'https://api.example.com',
      },
      answer: { ...bearer, expires_in: 86_400 },
      lifetime: 86_400,
    },
  ],
  [
    'entra',
    {
      url: 'https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token',
      form: {
        grant_type: 'client_credentials',
        client_id: '0oa1b2c3',
        client_secret: secret,
        scope: 'https://graph.microsoft.com/.default',
      },
      answer: { ...bearer, expires_in: 3599, ext_expires_in: 3599 },
      lifetime: 3599,
    },
  ],
  [
    'google-service-account',
    {
      url: 'https://oauth2.googleapis.com/token',
      form: { grant_type: jwtGrant },
      answer: { ...bearer, expires_in: 3599 },
      lifetime: 3599,
    },
  ],
  [
    'cognito',
    {
      url: 'https://acme.auth.eu-central-1.amazoncognito.com/oauth2/token',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'client_credentials', scope: 'orders/read' },
      answer: bearer,
      lifetime: 3600,
    },
  ],
  [
    'keycloak',
    {
      url: 'https://id.example.com/realms/acme/protocol/openid-connect/token',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'client_credentials', scope: 'orders' },
      answer: { ...bearer, expires_in: 300, refresh_expires_in: 0, 'not-before-policy': 0, scope: 'orders' },
      lifetime: 300,
    },
  ],
  [
    'github-app',
    {
      url: 'https://api.github.com/app/installations/12345678/access_tokens',
      authorization: /^Bearer /,
      answer: { token: 'token-1', expires_at: '2027-01-15T09:00:00Z', permissions: { contents: 'read' } },
      status: 201,
      lifetime: 3600,
    },
  ],
  [
    'salesforce',
    {
      url: 'https://login.salesforce.com/services/oauth2/token',
      form: { grant_type: jwtGrant },
      answer: {
        access_token: 'token-1',
        scope: 'api',
        instance_url: 'https://acme.my.salesforce.com',
        id: 'https://login.salesforce.com/id/00D/005',
        token_type: 'Bearer',
      },
      lifetime: 900,
      scope: 'api',
    },
  ],
  [
    'spotify',
    {
      url: 'https://accounts.spotify.com/api/token',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'client_credentials' },
      answer: { ...bearer, token_type: 'bearer' },
      type: 'bearer',
      lifetime: 3600,
    },
  ],
  [
    'twitch',
    {
      url: 'https://id.twitch.tv/oauth2/token',
      form: { grant_type: 'client_credentials', client_id: '0oa1b2c3', client_secret: secret },
      answer: { access_token: 'token-1', expires_in: 5_011_271, token_type: 'bearer' },
      type: 'bearer',
      lifetime: 5_011_271,
    },
  ],
  [
    'slack',
    {
      url: 'https://slack.com/api/oauth.v2.access',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'refresh_token', refresh_token: 'refresh-0' },
      answer: {
        ok: true,
        access_token: 'token-1',
        expires_in: 43_200,
        refresh_token: 'refresh-1',
        token_type: 'bot',
        scope: 'chat:write,commands',
      },
      type: 'bot',
      scope: 'chat:write commands',
      lifetime: 43_200,
    },
  ],
  [
    'databricks',
    {
      url: 'https://acme.cloud.databricks.com/oidc/v1/token',
      authorization: basic('0oa1b2c3'),
      form: { grant_type: 'client_credentials', scope: 'all-apis' },
      answer: { ...bearer, scope: 'all-apis' },
      lifetime: 3600,
    },
  ],
  [
    'docker-hub',
    {
      method: 'GET',
      url: 'https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/ubuntu:pull',
      authorization: `Basic ${Buffer.from('ada:pat-1').toString('base64')}`,
      answer: {
        token: 'token-1',
        access_token: 'token-1',
        expires_in: 300,
        issued_at: '2027-01-15T08:00:00Z',
      },
      lifetime: 300,
    },
  ],
  [
    'npm',
    {
      url: 'https://registry.example.com/-/npm/v1/oidc/token/exchange/package/@acme%2fwidget',
      authorization: 'Bearer output of tokctl get corp-id',
      answer: {
        token_type: 'oidc',
        token: 'token-1',
        created: '2027-01-15T08:00:00.000Z',
        expires: '2027-01-15T09:00:00.000Z',
      },
      status: 201,
      type: 'oidc',
      lifetime: 3600,
    },
  ],
  [
    'pypi',
    {
      url: 'https://pypi.example.com/_/oidc/mint-token',
      json: { token: 'output of tokctl get corp-id' },
      answer: { success: true, token: 'token-1' },
      lifetime: 900,
    },
  ],
  // On another device: what is asked once the person has agreed.
  [
    'auth0-login',
    {
      url: 'https://acme.eu.auth0.com/oauth/token',
      form: { grant_type: deviceGrant, client_id: '0oa1b2c3', device_code: 'device-1' },
      answer: { ...bearer, expires_in: 86_400, refresh_token: 'refresh-1', id_token: 'x' },
      lifetime: 86_400,
    },
  ],
  [
    'entra-login',
    {
      url: 'https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token',
      form: { grant_type: deviceGrant, client_id: '0oa1b2c3', device_code: 'device-1' },
      answer: { ...bearer, expires_in: 3599, refresh_token: 'refresh-1', scope: 'User.Read' },
      scope: 'User.Read',
      lifetime: 3599,
    },
  ],
  [
    'github',
    {
      url: 'https://github.com/login/oauth/access_token',
      form: { grant_type: deviceGrant, client_id: 'Iv23liABCDEF', device_code: 'device-1' },
      answer: {
        access_token: 'token-1',
        token_type: 'bearer',
        scope: 'repo,gist',
        expires_in: 28_800,
        refresh_token: 'refresh-1',
        refresh_token_expires_in: 15_811_200,
      },
      type: 'bearer',
      scope: 'repo gist',
      lifetime: 28_800,
    },
  ],
  [
    'gitlab',
    {
      url: 'https://gitlab.com/oauth/token',
      form: { grant_type: deviceGrant, client_id: '0oa1b2c3', device_code: 'device-1' },
      answer: { ...bearer, expires_in: 7200, scope: 'read_api', created_at: 1_593_096_829 },
      lifetime: 7200,
    },
  ],
  // In a browser: what is asked when the token is renewed.
  [
    'google',
    {
      url: 'https://oauth2.googleapis.com/token',
      form: {
        grant_type: 'refresh_token',
        refresh_token: 'refresh-0',
        client_id: '0oa1b2c3',
        client_secret: secret,
      },
      answer: { ...bearer, expires_in: 3920, scope: 'openid email' },
      lifetime: 3920,
    },
  ],
  [
    'atlassian',
    {
      url: 'https://auth.atlassian.com/oauth/token',
      form: {
        grant_type: 'refresh_token',
        refresh_token: 'refresh-0',
        client_id: '0oa1b2c3',
        client_secret: secret,
      },
      answer: { ...bearer, refresh_token: 'refresh-1', scope: 'read:jira-work offline_access' },
      lifetime: 3600,
    },
  ],
  [
    'snowflake',
    {
      url: 'https://acme-prod.snowflakecomputing.com/oauth/token-request',
      authorization: basic('0oa1b2c3', secret),
      form: { grant_type: 'refresh_token', refresh_token: 'refresh-0' },
      answer: { ...bearer, expires_in: 600, idp_initiated: false },
      lifetime: 600,
    },
  ],
]

test.each(documented)('%s is asked as it documents, and its answer is understood', async (provider, want) => {
  const recipe = recipes[provider]!
  const given = new Map(recipe.asks.map(ask => [ask.key, readAsk(ask, ask.example)]))
  const toml = recipeText(recipe, 'corp', given)
  const environment = { ...bareEnvironment(), home: '/home/ada' }
  const profile = parseConfig(
    { file: '/c.toml', bytes: Buffer.from(toml) },
    'c.toml',
    environment,
  ).profiles.get('corp')!
  const isDevice = profile.source === 'device_code'
  const device = {
    device_code: 'device-1',
    user_code: 'WDJB-MJHT',
    verification_uri: 'https://idp.example.com/activate',
    expires_in: 900,
    interval: 5,
  }
  const answer = jsonAnswer(want.answer, want.status)
  const { send, requests } = scriptedSend(...(isDevice ? [jsonAnswer(device), answer] : [answer]))
  // 2027-01-15T08:00:00Z
  const clock = { ...fakeClock(1_800_000_000_000), sleep: async () => {} }
  const source = await createSource(
    profile,
    sourcePorts({ clock, send, environment, resolve: async ref => secretOf(ref) }),
  )
  const token = await source.fetch({
    timeoutMs: 30_000,
    signal: undefined,
    ...(isDevice && { person: fakePerson() }),
    ...(profile.source === 'authorization_code' && {
      kept: { refreshToken: new Secret('refresh-0'), dpopKey: undefined, seed: undefined },
    }),
  })

  const sent = requests.at(-1)!
  expect({ method: sent.method, url: sent.url }).toEqual({ method: want.method ?? 'POST', url: want.url })
  expect(sent.headers['accept']).toMatch(/json/)
  if (want.authorization instanceof RegExp) expect(sent.headers['authorization']).toMatch(want.authorization)
  else expect(sent.headers['authorization']).toBe(want.authorization)
  if (want.form !== undefined) {
    const { assertion: _, ...form } = Object.fromEntries(new URLSearchParams(sent.body))
    expect(form).toEqual(want.form)
  }
  if (want.json !== undefined) expect(JSON.parse(sent.body!)).toEqual(want.json)
  expect(token.accessToken.expose()).toBe('token-1')
  expect(token.tokenType).toBe(want.type ?? 'Bearer')
  expect((token.expiresAt! - token.obtainedAt) / 1000).toBe(want.lifetime)
  if (want.scope !== undefined) expect(token.scope).toBe(want.scope)
})

test('every recipe of a provider has its answer here, but for those that find their server', () => {
  const found = Object.entries(recipes).filter(([, { lines }]) => lines.some(([key]) => key === 'issuer'))
  expect(
    [...documented.map(([provider]) => provider), ...found.map(([provider]) => provider)].sort(),
  ).toEqual(Object.keys(recipes).sort())
})
