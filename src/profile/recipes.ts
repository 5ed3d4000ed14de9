// What is known of providers, as data. Rules:
//  - A text may hold `{name}`: what was asked for, or `{profile}`, the name of the profile.
//  - A secret is a reference here too; its value is never asked for.
//  - Only what the provider documents stands here, or what its own programs do; `docs` says where it was read (November 2026).
//  - A line whose text comes out empty is left out.

/** Something that only the person knows. */
export interface RecipeAsk {
  readonly key: string
  readonly about: string
  readonly example: string
  /** `host`: a name, given as an address perhaps; `url`: an address without a slash at its end; `word`: part of a path. */
  readonly kind: 'host' | 'url' | 'word' | 'package' | 'text'
  /** Taken where nothing is said; it is not asked for then. */
  readonly fallback?: string
}

/** A value of the configuration, with `{name}` in its texts. */
export type RecipeValue =
  | string
  | number
  | boolean
  | readonly RecipeValue[]
  | { readonly [key: string]: RecipeValue }

/** One line of a profile, and why it is there where that is not plain. */
export type RecipeLine = readonly [key: string, value: RecipeValue, why?: string]

/** How a profile for a provider is written. */
export interface Recipe {
  /** For people, one line. */
  readonly about: string
  /** What has to be done at the provider, and what is peculiar to it; one line each. */
  readonly notes: readonly string[]
  /** Public pages that this was read from. */
  readonly docs: readonly string[]
  readonly asks: readonly RecipeAsk[]
  readonly lines: readonly RecipeLine[]
  /** A second profile, `{profile}-id`, that the first one needs. */
  readonly identity?: readonly RecipeLine[]
}

const clientId: RecipeAsk = { key: 'client_id', about: 'client ID', example: '0oa1b2c3', kind: 'text' }
const issuer: RecipeAsk = {
  key: 'issuer',
  about: 'address of the server (issuer)',
  example: 'https://idp.example.com',
  kind: 'url',
}
const redirectPort: RecipeAsk = {
  key: 'redirect_port',
  about: 'port of the redirect URI',
  example: '8400',
  kind: 'word',
  fallback: '8400',
}
const registerRedirect =
  'Register the redirect URI http://127.0.0.1:{redirect_port}/callback there, exactly so.'
const clientSecret: RecipeLine = ['client_secret', { secret: '{profile}-client' }]
const oktaAsks: readonly RecipeAsk[] = [
  { key: 'domain', about: 'Okta domain', example: 'acme.okta.com', kind: 'host' },
  {
    key: 'server',
    about: 'ID of the custom authorization server',
    example: 'default',
    kind: 'word',
    fallback: 'default',
  },
  clientId,
]
const auth0Domain: RecipeAsk = {
  key: 'domain',
  about: 'Auth0 domain',
  example: 'acme.eu.auth0.com',
  kind: 'host',
}
const audience: RecipeAsk = {
  key: 'audience',
  about: 'identifier of the API',
  example: 'https://api.example.com',
  kind: 'text',
}
const tenant: RecipeAsk = {
  key: 'tenant',
  about: 'tenant ID or domain',
  example: 'contoso.com',
  kind: 'word',
}
const keycloakAsks: readonly RecipeAsk[] = [
  { key: 'base', about: 'address of Keycloak', example: 'https://id.example.com', kind: 'url' },
  { key: 'realm', about: 'realm', example: 'acme', kind: 'word' },
  clientId,
]
const registry: RecipeAsk = {
  key: 'registry',
  about: 'host name of the registry',
  example: 'registry.example.com',
  kind: 'host',
}

function scope(example: string, fallback?: string): RecipeAsk {
  const ask = { key: 'scope', about: 'scopes, separated by spaces', example, kind: 'text' } as const
  return fallback === undefined ? ask : { ...ask, fallback }
}

/** Every recipe, found by the name of its provider. `…-login` is for people where the plain name is for services. */
export const recipes: Readonly<Record<string, Recipe>> = {
  okta: {
    about: 'Okta, custom authorization server: a service',
    notes: [
      'Create an app integration "API Services" and let an access policy of the server allow the scope.',
      'Switch off the DPoP requirement that a new app has, unless the API takes tokens bound to a key.',
      'The audience is a setting of the authorization server.',
    ],
    docs: [
      'https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/',
      'https://support.okta.com/help/s/article/enforce-token-binding-for-machine-to-machine-application-service-integrations',
    ],
    asks: [...oktaAsks, scope('api.read')],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://{domain}/oauth2/{server}/v1/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      ['scope', '{scope}'],
    ],
  },
  'okta-login': {
    about: 'Okta, custom authorization server: a person',
    notes: [
      'Create a native app integration with the grants Authorization Code and Refresh Token.',
      registerRedirect,
    ],
    docs: [
      'https://developer.okta.com/docs/guides/refresh-tokens/main/',
      'https://support.okta.com/help/s/article/openid-connect-oidc-redirect-uri',
    ],
    asks: [...oktaAsks, scope('openid offline_access', 'openid offline_access'), redirectPort],
    lines: [
      ['source', 'authorization_code'],
      ['issuer', 'https://{domain}/oauth2/{server}'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}', 'offline_access asks for a refresh token'],
      ['redirect_port', '{redirect_port}'],
    ],
  },
  auth0: {
    about: 'Auth0: a service',
    notes: [
      'Create a machine-to-machine application and authorize it for the API.',
      'Every token counts against the quota of the tenant.',
    ],
    docs: [
      'https://auth0.com/docs/get-started/authentication-and-authorization-flow/client-credentials-flow',
    ],
    asks: [auth0Domain, clientId, audience],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://{domain}/oauth/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_post'],
      [
        'audience',
        '{audience}',
        'which API the token is for; resource is heard only where the tenant is set so',
      ],
    ],
  },
  'auth0-login': {
    about: 'Auth0: a person, by a code on another device',
    notes: [
      'Create a native application with the grants Device Code and Refresh Token.',
      'Let the API allow offline access, or there is no refresh token.',
    ],
    docs: ['https://auth0.com/docs/quickstart/native/device/interactive'],
    asks: [auth0Domain, clientId, audience, scope('openid offline_access', 'openid offline_access')],
    lines: [
      ['source', 'device_code'],
      ['device_authorization_endpoint', 'https://{domain}/oauth/device/code'],
      ['token_endpoint', 'https://{domain}/oauth/token'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}'],
      ['audience', '{audience}'],
    ],
  },
  entra: {
    about: 'Microsoft Entra ID: a service',
    notes: ['Register an app, give it a client secret and the application permissions it needs.'],
    docs: ['https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow'],
    asks: [tenant, clientId, scope('https://graph.microsoft.com/.default')],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_post'],
      ['scope', '{scope}', 'the identifier of the resource, and /.default'],
    ],
  },
  'entra-login': {
    about: 'Microsoft Entra ID: a person, by a code on another device',
    notes: ['Register an app that allows public client flows; it has no secret.'],
    docs: ['https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-device-code'],
    asks: [tenant, clientId, scope('https://graph.microsoft.com/User.Read offline_access')],
    lines: [
      ['source', 'device_code'],
      ['device_authorization_endpoint', 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode'],
      ['token_endpoint', 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}', 'offline_access asks for a refresh token'],
    ],
  },
  'google-service-account': {
    about: 'Google Cloud: a service account with a key file',
    notes: ['The file is what the console gives when a JSON key is made; keep it to yourself (chmod 600).'],
    docs: ['https://developers.google.com/identity/protocols/oauth2/service-account'],
    asks: [
      { key: 'key_file', about: 'path of the JSON key', example: '~/keys/robot.json', kind: 'text' },
      scope(
        'https://www.googleapis.com/auth/cloud-platform',
        'https://www.googleapis.com/auth/cloud-platform',
      ),
    ],
    lines: [
      ['source', 'jwt_bearer'],
      ['key_file', '{key_file}', 'key, its name, who signs and the token endpoint all come from it'],
      ['scope', '{scope}', 'stands in the assertion'],
    ],
  },
  google: {
    about: 'Google: a person',
    notes: [
      'Create an OAuth client ID of the type "Desktop app"; its secret is wanted although no program can keep it.',
      'There is no redirect URI to register: such a client may use any port of 127.0.0.1.',
    ],
    docs: ['https://developers.google.com/identity/protocols/oauth2/native-app'],
    asks: [clientId, scope('openid email')],
    lines: [
      ['source', 'authorization_code'],
      ['authorization_endpoint', 'https://accounts.google.com/o/oauth2/v2/auth'],
      ['token_endpoint', 'https://oauth2.googleapis.com/token'],
      ['revocation_endpoint', 'https://oauth2.googleapis.com/revoke'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_post'],
      ['scope', '{scope}'],
      ['prompt', 'consent', 'with access_type it gives a refresh token at every sign-in'],
      ['params', { access_type: 'offline' }],
    ],
  },
  cognito: {
    about: 'Amazon Cognito: a service',
    notes: [
      'The app client needs a secret, the client-credentials grant and the scope of a resource server.',
    ],
    docs: ['https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html'],
    asks: [
      { key: 'domain', about: 'prefix of the user pool domain', example: 'acme', kind: 'word' },
      { key: 'region', about: 'AWS region', example: 'eu-central-1', kind: 'word' },
      clientId,
      scope('orders/read'),
    ],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://{domain}.auth.{region}.amazoncognito.com/oauth2/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      ['scope', '{scope}', 'the identifier of the resource server, a slash, the scope'],
    ],
  },
  keycloak: {
    about: 'Keycloak: a service',
    notes: [
      'Create a client with client authentication and service accounts enabled.',
      'Whom the token is for is decided by a mapper of the client, not by a parameter.',
    ],
    docs: ['https://www.keycloak.org/docs/latest/server_admin/#_service_accounts'],
    asks: [...keycloakAsks, scope('orders', '')],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', '{base}/realms/{realm}/protocol/openid-connect/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      ['scope', '{scope}'],
    ],
  },
  'keycloak-login': {
    about: 'Keycloak: a person',
    notes: ['Create a client without client authentication, with the standard flow.', registerRedirect],
    docs: ['https://www.keycloak.org/securing-apps/oidc-layers'],
    asks: [...keycloakAsks, scope('openid', 'openid'), redirectPort],
    lines: [
      ['source', 'authorization_code'],
      ['issuer', '{base}/realms/{realm}'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}'],
      ['redirect_port', '{redirect_port}'],
    ],
  },
  'github-app': {
    about: 'GitHub: an installation of an app',
    notes: [
      'Client ID and private key stand in the settings of the app, the number at the end of the address of the installation.',
    ],
    docs: [
      'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app',
    ],
    asks: [
      { key: 'client_id', about: 'client ID of the app', example: 'Iv23liABCDEF', kind: 'text' },
      { key: 'installation_id', about: 'number of the installation', example: '12345678', kind: 'word' },
    ],
    lines: [
      ['source', 'github_app'],
      ['client_id', '{client_id}'],
      ['installation_id', '{installation_id}'],
      ['private_key', { secret: '{profile}-key' }],
    ],
  },
  github: {
    about: 'GitHub: a person, by a code on another device',
    notes: ['Register an OAuth app or a GitHub App and enable the device flow; it needs no secret.'],
    docs: [
      'https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps#device-flow',
      'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens',
    ],
    asks: [
      { key: 'client_id', about: 'client ID of the app', example: 'Iv23liABCDEF', kind: 'text' },
      scope('repo read:org', ''),
    ],
    lines: [
      ['source', 'device_code'],
      ['device_authorization_endpoint', 'https://github.com/login/device/code'],
      ['token_endpoint', 'https://github.com/login/oauth/access_token'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}'],
    ],
  },
  gitlab: {
    about: 'GitLab: a person, by a code on another device',
    notes: [
      'Create an application that is not confidential, with the scopes below; it needs no secret.',
      'The device flow came with GitLab 17.2 and is on by default since 17.3.',
    ],
    docs: ['https://docs.gitlab.com/api/oauth2/#device-authorization-grant-flow'],
    asks: [
      {
        key: 'base',
        about: 'address of GitLab',
        example: 'https://gitlab.com',
        kind: 'url',
        fallback: 'https://gitlab.com',
      },
      { ...clientId, about: 'application ID' },
      scope('read_api', 'read_api'),
    ],
    lines: [
      ['source', 'device_code'],
      ['device_authorization_endpoint', '{base}/oauth/authorize_device'],
      ['token_endpoint', '{base}/oauth/token'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}'],
      ['username', 'oauth2', 'for git over https, which wants the scope read_repository or write_repository'],
    ],
  },
  salesforce: {
    about: 'Salesforce: a service, by the JWT bearer flow',
    notes: [
      'Create an external client app with the JWT bearer flow, the certificate of this key and the scopes api and refresh_token.',
      'Pre-authorize the user for it.',
      'For a sandbox: --set login=https://test.salesforce.com. Calls go to the address of your own instance.',
    ],
    docs: [
      'https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm&type=5',
      'https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_profilesessionsetting.htm',
    ],
    asks: [
      {
        key: 'login',
        about: 'where the user signs in',
        example: 'https://login.salesforce.com',
        kind: 'url',
        fallback: 'https://login.salesforce.com',
      },
      { key: 'iss', about: 'consumer key of the app', example: '3MVG9…', kind: 'text' },
      { key: 'sub', about: 'name of the user', example: 'robot@example.com', kind: 'text' },
    ],
    lines: [
      ['source', 'jwt_bearer'],
      ['token_endpoint', '{login}/services/oauth2/token'],
      ['private_key', { secret: '{profile}-key' }],
      ['signing_alg', 'RS256'],
      ['iss', '{iss}'],
      ['sub', '{sub}'],
      ['aud', '{login}'],
      ['default_ttl', '15m', 'no lifetime is told; this is the shortest session timeout that an org can set'],
    ],
  },
  spotify: {
    about: 'Spotify: a service',
    notes: ['Create an app in the dashboard for developers.'],
    docs: ['https://developer.spotify.com/documentation/web-api/tutorials/client-credentials-flow'],
    asks: [clientId],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://accounts.spotify.com/api/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
    ],
  },
  twitch: {
    about: 'Twitch: an app',
    notes: ['Register an application in the console for developers.'],
    docs: ['https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/#client-credentials-grant-flow'],
    asks: [clientId],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://id.twitch.tv/oauth2/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_post'],
    ],
  },
  slack: {
    about: 'Slack: an app with token rotation',
    notes: [
      'Turn on token rotation, install the app, and hand over the refresh token (xoxe-…) of the bot or the user.',
      'From then on tokctl owns it: nothing else may renew with it.',
    ],
    docs: ['https://docs.slack.dev/authentication/using-token-rotation'],
    asks: [clientId],
    lines: [
      ['source', 'refresh_token'],
      ['token_endpoint', 'https://slack.com/api/oauth.v2.access'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      ['refresh_token', { secret: '{profile}-refresh' }],
    ],
  },
  atlassian: {
    about: 'Atlassian Cloud (Jira, Confluence): a person',
    notes: ['Create an OAuth 2.0 integration in the developer console and add the APIs.', registerRedirect],
    docs: [
      'https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/',
      'https://github.com/atlassian/atlascode/blob/main/src/atlclients/strategyData.ts',
    ],
    asks: [clientId, scope('read:jira-work offline_access'), redirectPort],
    lines: [
      ['source', 'authorization_code'],
      [
        'authorization_endpoint',
        'https://auth.atlassian.com/authorize?audience=api.atlassian.com',
        'the audience is told here alone, not when the token is renewed',
      ],
      ['token_endpoint', 'https://auth.atlassian.com/oauth/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_post'],
      ['scope', '{scope}', 'offline_access asks for a refresh token'],
      ['prompt', 'consent'],
      ['redirect_port', '{redirect_port}'],
    ],
  },
  databricks: {
    about: 'Databricks: a service principal',
    notes: ['Make an OAuth secret for the service principal.'],
    docs: ['https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m'],
    asks: [
      {
        key: 'host',
        about: 'host name of the workspace',
        example: 'acme.cloud.databricks.com',
        kind: 'host',
      },
      clientId,
    ],
    lines: [
      ['source', 'client_credentials'],
      ['token_endpoint', 'https://{host}/oidc/v1/token'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      ['scope', 'all-apis'],
    ],
  },
  snowflake: {
    about: 'Snowflake: a person',
    notes: [
      'Create a security integration for a custom, confidential client.',
      registerRedirect,
      'It needs OAUTH_ISSUE_REFRESH_TOKENS = TRUE, and OAUTH_ALLOW_NON_TLS_REDIRECT_URI = TRUE for the redirect to this machine.',
    ],
    docs: [
      'https://docs.snowflake.com/en/user-guide/oauth-custom',
      'https://github.com/snowflakedb/snowflake-connector-python/blob/main/src/snowflake/connector/auth/_oauth_base.py',
    ],
    asks: [
      { key: 'account', about: 'account identifier', example: 'acme-prod', kind: 'word' },
      clientId,
      scope('refresh_token session:role:ANALYST', 'refresh_token'),
      redirectPort,
    ],
    lines: [
      ['source', 'authorization_code'],
      ['authorization_endpoint', 'https://{account}.snowflakecomputing.com/oauth/authorize'],
      ['token_endpoint', 'https://{account}.snowflakecomputing.com/oauth/token-request'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['client_auth', 'client_secret_basic'],
      [
        'basic_encoding',
        'raw',
        'as its own drivers do: its secrets hold signs that would be encoded otherwise',
      ],
      ['scope', '{scope}'],
      ['redirect_port', '{redirect_port}'],
    ],
  },
  'docker-hub': {
    about: 'Docker Hub: pulling one repository',
    notes: ['A token is for one repository. The password is a personal access token.'],
    docs: ['https://distribution.github.io/distribution/spec/auth/token/'],
    asks: [
      { key: 'repository', about: 'repository', example: 'library/ubuntu', kind: 'text' },
      { key: 'user', about: 'user name', example: 'ada', kind: 'text' },
    ],
    lines: [
      ['source', 'http'],
      ['url', 'https://auth.docker.io/token?service=registry.docker.io&scope=repository:{repository}:pull'],
      ['basic', { username: '{user}', password: { secret: '{profile}-pat' } }],
      ['token_path', 'token'],
      ['expires_in_path', 'expires_in'],
      ['default_ttl', '60s', 'what is meant where no lifetime is told'],
    ],
  },
  npm: {
    about: 'npm, trusted publishing: a CI job',
    notes: [
      'The package has to name this workflow as its trusted publisher.',
      'Two profiles: the identity of the job, and the token it is exchanged for.',
    ],
    docs: ['https://docs.npmjs.com/trusted-publishers', 'https://api-docs.npmjs.com/#tag/OIDC'],
    asks: [registry, { key: 'package', about: 'package', example: '@acme/widget', kind: 'package' }],
    lines: [
      ['source', 'http'],
      ['method', 'POST'],
      ['url', 'https://{registry}/-/npm/v1/oidc/token/exchange/package/{package}'],
      ['bearer', { command: ['tokctl', 'get', '{profile}-id'] }],
      ['token_path', 'token'],
      ['expires_at_path', 'expires'],
      ['default_ttl', '5m', 'where the answer tells no end, which is an hour off as a rule'],
    ],
    identity: [
      ['source', 'ci'],
      ['audience', 'npm:{registry}'],
    ],
  },
  pypi: {
    about: 'PyPI, trusted publishing: a CI job',
    notes: [
      'The project has to name this workflow as its trusted publisher.',
      'Two profiles: the identity of the job, and the token it is exchanged for.',
    ],
    docs: ['https://docs.pypi.org/trusted-publishers/internals/'],
    asks: [{ ...registry, example: 'pypi.example.com' }],
    lines: [
      ['source', 'http'],
      ['method', 'POST'],
      ['url', 'https://{registry}/_/oidc/mint-token'],
      ['json', { token: { command: ['tokctl', 'get', '{profile}-id'] } }],
      ['token_path', 'token'],
      ['default_ttl', '15m', 'which the answer does not tell'],
    ],
    identity: [
      ['source', 'ci'],
      ['audience', 'pypi'],
    ],
  },
  oidc: {
    about: 'any other server that describes itself: a service',
    notes: ['Register a client with a secret and the grant client_credentials.'],
    docs: ['https://www.rfc-editor.org/rfc/rfc8414'],
    asks: [issuer, clientId, scope('api.read', '')],
    lines: [
      ['source', 'client_credentials'],
      ['issuer', '{issuer}'],
      ['client_id', '{client_id}'],
      clientSecret,
      ['scope', '{scope}'],
    ],
  },
  'oidc-login': {
    about: 'any other server that describes itself: a person',
    notes: [
      'Register a native (public) client with the grants Authorization Code and Refresh Token.',
      registerRedirect,
    ],
    docs: ['https://www.rfc-editor.org/rfc/rfc8252'],
    asks: [issuer, clientId, scope('openid offline_access', 'openid offline_access'), redirectPort],
    lines: [
      ['source', 'authorization_code'],
      ['issuer', '{issuer}'],
      ['client_id', '{client_id}'],
      ['scope', '{scope}', 'offline_access asks for a refresh token'],
      ['redirect_port', '{redirect_port}'],
    ],
  },
}
