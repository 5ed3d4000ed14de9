import { ciProviders, clientAuthMethods, type SourceName, signingAlgorithms, storeKinds } from './profile.ts'

/** What a key may hold; `validate.ts` has a reader for each. */
export type KeyType =
  | 'text'
  | 'texts'
  | 'choice'
  | 'duration'
  | 'instant'
  | 'issuer'
  | 'url'
  | 'patterns'
  | 'secret'
  | 'path'
  | 'command'
  | 'params'
  | 'headers'
  | 'basic'
  | 'form'
  | 'json'
  | 'dotted'
  | 'flag'
  | 'port'
  | 'id'
  | 'variable'
  | 'base_url'
  | 'token'
  | 'token_type'
  | 'key_file'
  | 'claims'
  | 'permissions'
  | 'members'
  | 'listen'
  | 'size'

/** One key of the configuration. */
export interface KeySpec {
  readonly type: KeyType
  /** For people, one line. */
  readonly about: string
  readonly required?: true
  /** Of a `choice`. */
  readonly values?: readonly string[]
  /** Of a `duration`: the shortest and the longest, in milliseconds. */
  readonly minMs?: number
  readonly maxMs?: number
  /** It says how a token is kept and handed out, not which token it is, and is left out of the binding. */
  readonly handling?: true
}

/** The keys of one table. */
export type KeyTable = Readonly<Record<string, KeySpec>>

const timing: KeyTable = {
  refresh_before: {
    type: 'duration',
    about: 'a token with less life left is served and renewed in the background',
    handling: true,
  },
  min_validity: {
    type: 'duration',
    about: 'a token with less life left is never handed out',
    handling: true,
  },
  default_ttl: {
    type: 'duration',
    about: 'lifetime of a token that does not tell its own',
    minMs: 1,
    handling: true,
  },
}

const tls: KeyTable = {
  ca_file: { type: 'path', about: 'PEM file of certificate authorities, trusted beside the usual ones' },
  client_certificate: { type: 'secret', about: 'certificate for mutual TLS, as PEM' },
  client_key: { type: 'secret', about: 'its private key, as PEM' },
}

const members: KeyTable = {
  members: {
    type: 'members',
    about: 'named values in the place of one token, each with its place in the answer',
  },
}

const client: KeyTable = {
  issuer: { type: 'issuer', about: 'authorization server, found by discovery' },
  token_endpoint: { type: 'url', about: 'where tokens are asked for; spares discovery' },
  client_id: { type: 'text', about: 'name of this client at the authorization server' },
  client_secret: { type: 'secret', about: 'its secret' },
  client_auth: { type: 'choice', values: clientAuthMethods, about: 'how the client proves who it is' },
  basic_encoding: {
    type: 'choice',
    values: ['rfc6749', 'raw'],
    about: 'raw: for servers that do not decode Basic credentials',
  },
  private_key: { type: 'secret', about: 'key that signs assertions, as PEM or JWK' },
  kid: { type: 'text', about: 'name of that key, for the header of the assertion' },
  signing_alg: { type: 'choice', values: signingAlgorithms, about: 'how assertions are signed' },
  assertion_audience: { type: 'text', about: 'aud of the assertion; the token endpoint where it is not set' },
  client_assertion: { type: 'token', about: 'ready-made assertion that proves the client' },
  revocation_endpoint: { type: 'url', about: 'where tokens are revoked at logout', handling: true },
  dpop: { type: 'flag', about: 'binds tokens to a key of their own (RFC 9449)' },
  refresh_scope: { type: 'text', about: 'scopes to ask for when renewing, where they are fewer' },
  scope: { type: 'text', about: 'scopes to ask for, separated by spaces' },
  audience: { type: 'text', about: 'whom the token is for, as some servers want it' },
  resource: { type: 'texts', about: 'whom the token is for (RFC 8707), one or several' },
  params: { type: 'params', about: 'further form fields; of a sign-in, those that it begins with' },
  token_path: {
    type: 'dotted',
    about: 'where the token stands in the answer; access_token where it is not set',
  },
  ...tls,
}

/** Keys that every profile may have. */
export const commonKeys: KeyTable = {
  source: { type: 'text', about: 'where the token comes from', required: true },
  match: { type: 'patterns', about: 'URLs that get this token', handling: true },
  username: { type: 'text', about: 'user name for tools that want one beside the token', handling: true },
  ...timing,
}

/** What each source adds to them. */
export const sourceKeys: Readonly<Record<SourceName, KeyTable>> = {
  client_credentials: client,
  authorization_code: {
    ...client,
    authorization_endpoint: { type: 'url', about: 'where people sign in; spares discovery' },
    pushed_authorization_request_endpoint: {
      type: 'url',
      about: 'where the request is left before the sign-in (RFC 9126)',
    },
    redirect_port: {
      type: 'port',
      about: 'port that is registered at the server; any where it is not set',
      handling: true,
    },
    login_hint: { type: 'text', about: 'who is expected to sign in' },
    prompt: { type: 'text', about: 'what the server is to ask, such as login or consent', handling: true },
  },
  device_code: {
    ...client,
    device_authorization_endpoint: { type: 'url', about: 'where codes are given out; spares discovery' },
  },
  refresh_token: {
    ...client,
    refresh_token: { type: 'secret', about: 'the refresh token to begin with', required: true },
  },
  jwt_bearer: {
    ...client,
    key_file: { type: 'key_file', about: 'service-account JSON: key, its name, iss and token endpoint' },
    iss: { type: 'text', about: 'who signs the assertion' },
    sub: { type: 'text', about: 'whom it speaks for' },
    aud: { type: 'text', about: 'whom it is for; the token endpoint where it is not set' },
    claims: { type: 'claims', about: 'its further claims' },
    scope_in_assertion: {
      type: 'flag',
      about: 'whether the scope stands in it, not in the form; so with a key_file',
    },
  },
  token_exchange: {
    ...client,
    subject_token: { type: 'token', about: 'token that is exchanged', required: true },
    subject_token_type: { type: 'token_type', about: 'what that token is' },
    actor_token: { type: 'token', about: 'token of whoever acts in its place' },
    actor_token_type: { type: 'token_type', about: 'what the actor token is' },
    requested_token_type: { type: 'token_type', about: 'what is asked for' },
  },
  ci: {
    provider: { type: 'choice', values: ciProviders, about: 'the CI system; auto where it is not set' },
    audience: { type: 'text', about: 'whom the identity token is for' },
    token_env: { type: 'variable', about: 'variable that holds the token, where it is not the usual one' },
    token_file: { type: 'path', about: 'projected token of Kubernetes, where it is not at the usual place' },
  },
  github_app: {
    client_id: { type: 'text', about: 'client ID of the app' },
    app_id: { type: 'id', about: 'number of the app, where it has no client ID' },
    installation_id: { type: 'id', about: 'number of the installation', required: true },
    private_key: { type: 'secret', about: 'key of the app, as PEM' },
    repositories: {
      type: 'texts',
      about: 'names of repositories, without their owner; all where it is not set',
    },
    permissions: { type: 'permissions', about: 'such as contents = "read"; all where it is not set' },
    api_url: { type: 'base_url', about: 'the API; https://api.github.com where it is not set' },
    ...tls,
  },
  command: {
    command: { type: 'command', about: 'program and arguments; its stdout is the token', required: true },
    timeout: {
      type: 'duration',
      about: 'how long it may take; 30s where it is not set',
      minMs: 1,
      maxMs: 86_400_000,
      handling: true,
    },
    ...members,
    expires_in_path: { type: 'dotted', about: 'where the lifetime in seconds stands; expires_in otherwise' },
    expires_at_path: { type: 'dotted', about: 'where the end stands; expires_at otherwise' },
    pass_env: {
      type: 'texts',
      about: 'variables it gets although another profile takes a secret from them',
      handling: true,
    },
  },
  static: {
    token: { type: 'secret', about: 'the token', required: true },
    expires_at: { type: 'instant', about: 'when it ends' },
  },
  http: {
    method: {
      type: 'choice',
      values: ['GET', 'POST', 'PUT'],
      about: 'POST with a body, GET without, where it is not set',
    },
    url: { type: 'url', about: 'where the token is asked for', required: true },
    headers: { type: 'headers', about: 'further header fields, plain or as references' },
    basic: { type: 'basic', about: 'user name and password of the request' },
    bearer: { type: 'secret', about: 'token of the request itself' },
    json: { type: 'json', about: 'body; references may stand wherever a string may' },
    form: { type: 'form', about: 'body of form fields, plain or as references' },
    token_path: { type: 'dotted', about: 'where the token stands in the answer' },
    ...members,
    expires_in_path: { type: 'dotted', about: 'where its lifetime in seconds stands' },
    expires_at_path: { type: 'dotted', about: 'where its end stands' },
    ...tls,
  },
}

/** The keys of `[defaults]`. */
export const defaultKeys: KeyTable = timing

/** The keys of `[store]`. */
export const storeKeys: KeyTable = {
  kind: { type: 'choice', values: storeKinds, about: 'what keeps the tokens; auto where it is not set' },
}

/** The keys of `[proxy.NAME]`. */
export const proxyKeys: KeyTable = {
  profile: { type: 'text', about: 'whose token is added', required: true },
  listen: { type: 'listen', about: '127.0.0.1:8080, [::1]:8080, unix:/path or systemd', required: true },
  upstream: { type: 'base_url', about: 'where requests go; its path is put before theirs', required: true },
  client_auth: { type: 'path', about: 'file that a secret for clients is written to at each start' },
  max_body: {
    type: 'size',
    about: 'longest body of a request, such as 64KiB or 2GiB; 1GiB where it is not set',
  },
  ...tls,
}
