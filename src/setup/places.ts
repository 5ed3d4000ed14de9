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
  /** Those that profiles match, without a slash at their end; empty for the whole server. */
  readonly paths: readonly string[]
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

/** A part of a server that a profile matches. */
export interface Place {
  /** `scheme://host`, the port where it is not the usual one, and the path. */
  readonly url: string
  /** Which profile is meant depends on the path. */
  readonly needsPath: boolean
}

/**
 * The places that profiles match, each once: whole servers, and parts of servers that no profile matches as a whole.
 *
 * @throws {TokctlError} `usage` where there is none
 */
export function placesOf(ask: SetupAsk): Place[] {
  return originsOf(ask).flatMap(({ url, paths }) =>
    paths.includes('')
      ? [{ url, needsPath: paths.length > 1 }]
      : paths.map(path => ({ url: url + path, needsPath: true })),
  )
}

/** The servers that profiles match, each once; there may be none. */
export function allOrigins(profiles: readonly Profile[]): Origin[] {
  const origins = new Map<string, Origin>()
  for (const text of profiles.flatMap(profile => profile.match)) {
    const pattern = parsePattern(text)
    if ('problem' in pattern) continue
    const { scheme, host, port, segments } = pattern
    const name = port === (scheme === 'https' ? 443 : 80) ? host : `${host}:${port}`
    const url = `${scheme}://${name}`
    const path = segments.map(segment => `/${segment}`).join('')
    const paths = [...new Set([...(origins.get(url)?.paths ?? []), path])]
    origins.set(url, { scheme, host, port, url, name, paths })
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
