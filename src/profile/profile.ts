/** A secret is always a reference, never a literal. Relative file paths were made absolute against the configuration file. */
export type SecretRef =
  | { readonly env: string }
  | { readonly file: string }
  | { readonly command: readonly string[] }
  | { readonly secret: string }
  | { readonly keychain: { readonly service: string; readonly account: string } }

/**
 * Tells a reference from other data: a table with one key, the name of a form, and a value of that form's type.
 * In a JSON body such a table is always a reference.
 */
export function isSecretRef(value: unknown): value is SecretRef {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const entries = Object.entries(value)
  const [form, content] = entries[0] ?? []
  if (entries.length !== 1) return false
  if (form === 'env' || form === 'file' || form === 'secret') return typeof content === 'string'
  if (form === 'command') return Array.isArray(content) && content.every(word => typeof word === 'string')
  if (form !== 'keychain' || typeof content !== 'object' || content === null) return false
  const { service, account, ...rest } = content as Record<string, unknown>
  return typeof service === 'string' && typeof account === 'string' && Object.keys(rest).length === 0
}

/** The store kinds that can be chosen. */
export const storeKinds = ['auto', 'keychain', 'file', 'memory'] as const
export type StoreKind = (typeof storeKinds)[number]

/** RFC 6749 §2.3, OpenID Connect Core §9, RFC 8705 §2. */
export const clientAuthMethods = [
  'client_secret_basic',
  'client_secret_post',
  'client_secret_jwt',
  'private_key_jwt',
  'tls_client_auth',
  'none',
] as const
export type ClientAuth = (typeof clientAuthMethods)[number]

/** RFC 7518 §3.1 and RFC 8037 §3.1. */
export const signingAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'HS256',
  'HS384',
  'HS512',
] as const
export type SigningAlg = (typeof signingAlgorithms)[number]

/** A token of another kind that stands in for one of its own: a reference, or another profile's access token through the same cache. */
export type TokenRef = SecretRef | { readonly profile: string }

/** Keys that may hold `{ profile = "…" }`. */
export const tokenRefKeys = ['subject_token', 'actor_token', 'client_assertion'] as const

/** What every profile has. All of it is plain data: it is kept as JSON between calls. */
export interface ProfileCommon {
  readonly name: string
  /** URLs that get this token: scheme, host, optional port, path. */
  readonly match: readonly string[]
  readonly username?: string
  /** As configured; the defaults scale with the token's lifetime. */
  readonly refresh_before_ms?: number
  readonly min_validity_ms?: number
  /** Lifetime of a token that does not tell its own. */
  readonly default_ttl_ms?: number
  /** Hash over all that shapes the token; a token with another binding is not served. Never over a secret. */
  readonly binding: string
  /** The token is the CI job's own, or made from it: no other job is served it. */
  readonly job_bound?: true
}

/** TLS material, direct and through a proxy. */
export interface TlsKeys {
  /** A PEM file of certificate authorities, trusted beside the usual ones. Absolute. */
  readonly ca_file?: string
  readonly client_certificate?: SecretRef
  readonly client_key?: SecretRef
}

/** A client of an authorization server: what all OAuth grants share. */
export interface OAuthClient extends TlsKeys {
  readonly issuer?: string
  readonly token_endpoint?: string
  readonly client_id?: string
  readonly client_secret?: SecretRef
  readonly client_auth: ClientAuth
  /** `raw`: for servers that do not decode the halves of Basic credentials. */
  readonly basic_encoding: 'rfc6749' | 'raw'
  readonly private_key?: SecretRef
  readonly kid?: string
  readonly signing_alg?: SigningAlg
  /** `aud` of a signed assertion; the token endpoint where it is not set. */
  readonly assertion_audience?: string
  /** A ready-made assertion, such as a runner's identity token (RFC 7523 §2.2); stands in the place of a signed one. */
  readonly client_assertion?: TokenRef
  /** RFC 7009. Found by discovery where it is not set. */
  readonly revocation_endpoint?: string
  /** Binds tokens to a key that is made at the first request and kept with the token (RFC 9449). */
  readonly dpop?: boolean
  /** Scope asked for when refreshing, where it is to be narrower than that of the sign-in. */
  readonly refresh_scope?: string
  readonly scope?: string
  readonly audience?: string
  /** RFC 8707: may be given several times. */
  readonly resource: readonly string[]
  /** Extra form fields. */
  readonly params: Readonly<Record<string, string>>
  /** Dotted path of the token in the answer; `access_token` where it is not set. */
  readonly token_path?: string
}

/** RFC 6749 §4.4. */
export interface ClientCredentialsProfile extends ProfileCommon, OAuthClient {
  readonly source: 'client_credentials'
}

/** What a source yields in the place of one token: a name for each value, and its dotted path in the answer. */
export type Members = Readonly<Record<string, string>>

/** A program whose stdout is the token. */
export interface CommandProfile extends ProfileCommon {
  readonly source: 'command'
  readonly command: readonly string[]
  readonly timeout_ms: number
  readonly members?: Members
  /** Dotted; `expires_in` and `expires_at` where they are not set. */
  readonly expires_in_path?: string
  readonly expires_at_path?: string
  /** Variables that the program gets although another profile takes a secret from them. */
  readonly pass_env?: readonly string[]
}

/** A token kept as a secret. */
export interface StaticProfile extends ProfileCommon {
  readonly source: 'static'
  readonly token: SecretRef
  /** Milliseconds since the epoch. */
  readonly expires_at?: number
}

/** A value of a request that is either plain or a secret. */
export type PlainOrSecret = string | SecretRef

/** A JSON body; secret references may stand at any place where a string may. */
export type JsonBody =
  | string
  | number
  | boolean
  | null
  | SecretRef
  | readonly JsonBody[]
  | { readonly [key: string]: JsonBody }

/** One HTTP request that is not OAuth. */
export interface HttpProfile extends ProfileCommon, TlsKeys {
  readonly source: 'http'
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly url: string
  readonly headers: Readonly<Record<string, PlainOrSecret>>
  readonly basic?: { readonly username: PlainOrSecret; readonly password: SecretRef }
  readonly bearer?: SecretRef
  readonly json?: JsonBody
  readonly form?: Readonly<Record<string, PlainOrSecret>>
  /** Dotted; either this or `members` is set. */
  readonly token_path?: string
  readonly members?: Members
  readonly expires_in_path?: string
  readonly expires_at_path?: string
}

/** Sign-in in a browser: RFC 6749 §4.1 with PKCE, RFC 8252. */
export interface AuthorizationCodeProfile extends ProfileCommon, OAuthClient {
  readonly source: 'authorization_code'
  readonly authorization_endpoint?: string
  /** RFC 9126; used where it is set or where the server requires it. */
  readonly pushed_authorization_request_endpoint?: string
  /** A port that is registered at the server; any free one where it is not set. */
  readonly redirect_port?: number
  readonly login_hint?: string
  readonly prompt?: string
}

/** Sign-in on another device: RFC 8628. */
export interface DeviceCodeProfile extends ProfileCommon, OAuthClient {
  readonly source: 'device_code'
  readonly device_authorization_endpoint?: string
}

/** Starts from a refresh token that was handed over once; from then on the newest one is kept. */
export interface RefreshTokenProfile extends ProfileCommon, OAuthClient {
  readonly source: 'refresh_token'
  readonly refresh_token: SecretRef
}

/** A signed assertion as the grant: RFC 7523 §2.1. */
export interface JwtBearerProfile extends ProfileCommon, OAuthClient {
  readonly source: 'jwt_bearer'
  /** A service-account JSON; brings key, `kid`, `iss` and token endpoint where they are not set. */
  readonly key_file?: SecretRef
  /** That of the `key_file`, else the client, where it is not set. */
  readonly iss?: string
  readonly sub?: string
  /** The token endpoint where it is not set. */
  readonly aud?: string
  /** Further claims of the assertion; `scope` stands in it where `scope_in_assertion` says so. */
  readonly claims: Readonly<Record<string, string | number | boolean>>
  /** Where the scope goes: into the assertion (Google) or the form. With a `key_file`: the assertion. */
  readonly scope_in_assertion: boolean
}

/** The short names of RFC 8693 §3; each stands for `urn:ietf:params:oauth:token-type:NAME`. */
export const tokenTypes = ['access_token', 'refresh_token', 'id_token', 'saml1', 'saml2', 'jwt'] as const

/** RFC 8693. Token types are whole URIs. */
export interface TokenExchangeProfile extends ProfileCommon, OAuthClient {
  readonly source: 'token_exchange'
  readonly subject_token: TokenRef
  readonly subject_token_type: string
  readonly actor_token?: TokenRef
  readonly actor_token_type?: string
  readonly requested_token_type?: string
}

/** CI systems whose runners have an identity. */
export const ciProviders = [
  'auto',
  'github',
  'gitlab',
  'azure',
  'circleci',
  'buildkite',
  'bitbucket',
  'kubernetes',
] as const
export type CiProvider = (typeof ciProviders)[number]

/** The runner's own identity token. */
export interface CiProfile extends ProfileCommon {
  readonly source: 'ci'
  readonly provider: CiProvider
  readonly audience?: string
  /** GitLab, Bitbucket, CircleCI: the variable that holds the token, where it is not the usual one. */
  readonly token_env?: string
  /** Kubernetes: the projected token, where it is not at the usual place. Absolute. */
  readonly token_file?: string
}

/** Installation token of a GitHub App. */
export interface GithubAppProfile extends ProfileCommon, TlsKeys {
  readonly source: 'github_app'
  readonly client_id?: string
  readonly app_id?: string
  readonly installation_id: string
  readonly private_key: SecretRef
  readonly repositories: readonly string[]
  /** Permission names and `read`, `write` or `admin`. */
  readonly permissions: Readonly<Record<string, string>>
  /** Without a slash at the end. */
  readonly api_url: string
}

/** A function of the program that uses the library; it stands in no configuration. */
export interface FunctionProfile extends ProfileCommon {
  readonly source: 'function'
}

/** A named way to get a token. */
export type Profile = ConfiguredProfile | FunctionProfile

/** As it stands in the configuration, validated. */
export type ConfiguredProfile =
  | AuthorizationCodeProfile
  | CiProfile
  | ClientCredentialsProfile
  | CommandProfile
  | DeviceCodeProfile
  | GithubAppProfile
  | HttpProfile
  | JwtBearerProfile
  | RefreshTokenProfile
  | StaticProfile
  | TokenExchangeProfile
export type SourceName = ConfiguredProfile['source']

/** Sources where a person signs in. */
export type SignInProfile = AuthorizationCodeProfile | DeviceCodeProfile

/** Tells whether its session begins with a person. */
export function signsIn(profile: Profile): profile is SignInProfile {
  return profile.source === 'authorization_code' || profile.source === 'device_code'
}

/** A configuration file, validated whole. */
export interface Config {
  /** Absolute. */
  readonly file: string
  readonly store: StoreKind
  readonly profiles: ReadonlyMap<string, Profile>
}
