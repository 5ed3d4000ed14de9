import { TokctlError } from '../core/errors.ts'
import { parsePattern, type UrlPattern } from '../profile/match.ts'
import type { Profile } from '../profile/profile.ts'
import type { SetupAsk } from './setup.ts'

/** A server that a profile matches. */
export interface Origin extends Pick<UrlPattern, 'scheme' | 'host' | 'port'> {
  /** `scheme://host`, the port where it is not the usual one. */
  readonly url: string
  /** `host`, the port where it is not the usual one. */
  readonly name: string
  /** Some profile matches a part of it only. */
  readonly hasPaths: boolean
}

/**
 * The servers that profiles match, each once.
 *
 * @param scheme - Those alone, for a tool that names hosts and means this one.
 * @throws {TokctlError} `usage` where there is none
 */
export function originsOf({ profiles, profile }: SetupAsk, scheme?: Origin['scheme']): Origin[] {
  const origins = allOrigins(profiles).filter(origin => scheme === undefined || origin.scheme === scheme)
  if (origins.length > 0) return origins
  const who = profile === undefined ? 'no profile matches' : `profile "${profile.name}" does not match`
  throw new TokctlError('usage', `${who} any URL, so that no server could be set up`, {
    hint: 'write match = ["https://…"] in the profile',
  })
}

function allOrigins(profiles: readonly Profile[]): Origin[] {
  const origins = new Map<string, Origin>()
  for (const text of profiles.flatMap(profile => profile.match)) {
    const pattern = parsePattern(text)
    if ('problem' in pattern) continue
    const { scheme, host, port, segments } = pattern
    const name = port === (scheme === 'https' ? 443 : 80) ? host : `${host}:${port}`
    const url = `${scheme}://${name}`
    const hasPaths = segments.length > 0 || origins.get(url)?.hasPaths === true
    origins.set(url, { scheme, host, port, url, name, hasPaths })
  }
  return [...origins.values()]
}

/** The URLs that a profile matches, as they are written, a bare host as a URL. */
export function urlsOf(profiles: readonly Profile[]): string[] {
  return profiles
    .flatMap(profile => profile.match)
    .map(text => (text.includes('://') ? text : `https://${text}/`))
}

/**
 * The profile that a tool's configuration names.
 *
 * @throws {TokctlError} `usage`
 */
export function namedProfile(tool: string, { profile }: SetupAsk): Profile {
  if (profile !== undefined) return profile
  throw new TokctlError('usage', `setup ${tool}: the configuration of ${tool} names one profile`, {
    hint: `run: tokctl setup ${tool} PROFILE`,
  })
}

/** Says that somebody else's setting stands where ours would go. A command line of the shell may hold a password. */
export function taken(where: string, what: string, value: string, hint: string): TokctlError {
  const shown = /^\s*!/.test(value) ? 'a command of the shell' : `"${value.slice(0, 80)}"`
  return new TokctlError('config_invalid', `${where}: ${what} is ${shown} already`, { hint })
}
