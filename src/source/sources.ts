import type { Profile, SourceName, TokenRef } from '../profile/profile.ts'
import type { SourcePorts, TokenSource } from './source.ts'
import type { RefreshableProfile } from './with-refresh.ts'

type Make<N extends SourceName> = (
  profile: Extract<Profile, { source: N }>,
  ports: SourcePorts,
) => Promise<TokenSource>

const sources: { readonly [N in SourceName]: Make<N> } = {
  client_credentials: async (profile, ports) =>
    (await import('./client-credentials.ts')).clientCredentials(profile, ports),
  command: async (profile, ports) => (await import('./command.ts')).command(profile, ports),
  static: async (profile, ports) => (await import('./static.ts')).staticToken(profile, ports),
  http: async (profile, ports) => (await import('./http.ts')).http(profile, ports),
  authorization_code: async (profile, ports) =>
    refreshed(profile, ports, (await import('./authorization-code.ts')).authorizationCode(profile, ports)),
  device_code: async (profile, ports) =>
    refreshed(profile, ports, (await import('./device-code.ts')).deviceCode(profile, ports)),
  refresh_token: async (profile, ports) => (await import('./refresh-token.ts')).refreshToken(profile, ports),
  jwt_bearer: async (profile, ports) =>
    refreshed(profile, ports, (await import('./jwt-bearer.ts')).jwtBearer(profile, ports)),
  token_exchange: async (profile, ports) => {
    const source = (await import('./token-exchange.ts')).tokenExchange(profile, ports)
    // What was made from another profile's token must end with it: whoever signs in there next is somebody else, perhaps.
    if (isProfileRef(profile.subject_token) || isProfileRef(profile.actor_token)) return sessionless(source)
    return refreshed(profile, ports, source)
  },
  ci: async (profile, ports) => (await import('./ci.ts')).ci(profile, ports),
  github_app: async (profile, ports) => (await import('./github-app.ts')).githubApp(profile, ports),
}

function isProfileRef(ref: TokenRef | undefined): boolean {
  return ref !== undefined && 'profile' in ref
}

function sessionless(source: TokenSource): TokenSource {
  return { fetch: async request => ({ ...(await source.fetch(request)), refreshToken: undefined }) }
}

async function refreshed(
  profile: RefreshableProfile,
  ports: SourcePorts,
  source: TokenSource,
): Promise<TokenSource> {
  return (await import('./with-refresh.ts')).withRefresh(source, profile, ports)
}

/** Makes the source of a profile, loading that one alone. Resolves no secret and asks nobody. */
export function createSource(profile: Profile, ports: SourcePorts): Promise<TokenSource> {
  if (profile.source === 'function') throw new Error('a function of the program has no source of ours')
  // The table pairs each name with its own profile, which a lookup by a union cannot show.
  const make = sources[profile.source] as (profile: Profile, ports: SourcePorts) => Promise<TokenSource>
  return make(profile, ports)
}
