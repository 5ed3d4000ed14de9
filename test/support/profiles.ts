import type {
  AuthorizationCodeProfile,
  CiProfile,
  GithubAppProfile,
  JwtBearerProfile,
  OAuthClient,
  ProfileCommon,
  RefreshTokenProfile,
  TokenExchangeProfile,
} from '../../src/profile/profile.ts'
import { clientProfile } from './source-ports.ts'

const { source: _, client_secret: __, ...client } = clientProfile()
const common: ProfileCommon = { name: 'corp', match: [], binding: 'b' }
const publicClient: ProfileCommon & OAuthClient = { ...client, client_auth: 'none' }

/** A profile that a person signs in to; its client is public. */
export function signInProfile(given: Partial<AuthorizationCodeProfile> = {}): AuthorizationCodeProfile {
  return { ...publicClient, ...given, source: 'authorization_code' }
}

/** Its refresh token is the variable SEED. */
export function refreshTokenProfile(given: Partial<RefreshTokenProfile> = {}): RefreshTokenProfile {
  return { ...publicClient, refresh_token: { env: 'SEED' }, ...given, source: 'refresh_token' }
}

/** Without a client, as most servers want it. */
export function jwtBearerProfile(given: Partial<JwtBearerProfile> = {}): JwtBearerProfile {
  const { client_id: _, ...anonymous } = publicClient
  return { ...anonymous, claims: {}, scope_in_assertion: false, ...given, source: 'jwt_bearer' }
}

/** Its subject is the access token of profile `me`. */
export function tokenExchangeProfile(given: Partial<TokenExchangeProfile> = {}): TokenExchangeProfile {
  return {
    ...publicClient,
    subject_token: { profile: 'me' },
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    ...given,
    source: 'token_exchange',
  }
}

/** Finds its runner by itself. */
export function ciProfile(given: Partial<CiProfile> = {}): CiProfile {
  return { ...common, source: 'ci', provider: 'auto', ...given }
}

/** Its key is the variable KEY. */
export function githubAppProfile(given: Partial<GithubAppProfile> = {}): GithubAppProfile {
  return {
    ...common,
    source: 'github_app',
    client_id: 'Iv1.abc',
    installation_id: '42',
    private_key: { env: 'KEY' },
    repositories: [],
    permissions: {},
    api_url: 'https://api.github.com',
    ...given,
  }
}
