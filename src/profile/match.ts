import type { Profile } from './profile.ts'

// Which profile a URL gets is decided here and nowhere else. Rules:
//  - What is not written plainly matches nothing: whoever asks may be led by somebody who chose the URL.
//  - Nothing is repaired. The platform's URL parser strips line breaks, reads `\` as `/`, folds full-width letters and
//    resolves `..`; it only has to confirm that it reads the very host that stands there.
//  - Scheme, host and port are compared exactly, paths by whole segments, so that no host or path is another's prefix.

/** A URL taken apart; written in one way only. */
export interface UrlParts {
  readonly scheme: 'https' | 'http'
  /** In lower case; an IPv6 address in its brackets. */
  readonly host: string
  /** The one that is meant where none is written. */
  readonly port: number
  /** From the first `/` on, without query and fragment; may be empty. */
  readonly path: string
  /** With its `?`. */
  readonly query: string
  /** With its `#`. */
  readonly fragment: string
}

/** Why a text is no URL for us, as the end of a sentence that begins with its key. Never shows the text. */
export interface UrlProblem {
  readonly problem: string
  readonly hint?: string
}

/** What a `match` entry stands for. */
export interface UrlPattern extends Pick<UrlParts, 'scheme' | 'host' | 'port'> {
  /** Percent-encoded, its hexadecimal digits in upper case. */
  readonly segments: readonly string[]
}

/**
 * Finds the profile that a URL gets its token from.
 * A bare host, also with a port, stands for `https://HOST/`; a query is left aside.
 *
 * @param url - As somebody else wrote it. One that is malformed, names a user, has a fragment, or hides a slash, a dot
 *   or a letter behind a percent sign, matches nothing.
 * @param user - The user that was named; a profile with another one of its own is passed over.
 * @returns The profile with the longest path that fits; of two with the same path the first.
 */
export function match(
  url: string,
  profiles: Iterable<Profile>,
  user?: string | undefined,
): Profile | undefined {
  const asked = readPattern(url)
  if ('problem' in asked) return undefined
  let best: Profile | undefined
  let bestLength = -1
  for (const profile of profiles) {
    if (user !== undefined && profile.username !== undefined && profile.username !== user) continue
    for (const text of profile.match) {
      const pattern = parsePattern(text)
      if ('problem' in pattern || pattern.segments.length <= bestLength || !covers(pattern, asked)) continue
      best = profile
      bestLength = pattern.segments.length
    }
  }
  return best
}

/** Reads a `match` entry: scheme and host, perhaps port and path; or a bare host. */
export function parsePattern(text: string): UrlPattern | UrlProblem {
  if (text.includes('?')) return { problem: 'a query cannot be matched' }
  return readPattern(text)
}

/**
 * Takes a URL apart without repairing anything; the path and the query stay as they are.
 *
 * @param text - `http` or `https`, without a user, all of it visible ASCII.
 */
export function parseUrl(text: string): UrlParts | UrlProblem {
  if (text.length > 8192) return { problem: 'the URL is longer than 8192 characters' }
  const outside = /[^\x21-\x7e]/.exec(text)?.[0]
  if (outside !== undefined) {
    if (outside > '\x7f') return { problem: 'a letter outside ASCII', ...asciiHint(text) }
    return { problem: 'a space or a control character does not belong in a URL' }
  }
  if (text.includes('\\')) return { problem: 'a backslash does not belong in a URL' }
  const found = /^([^:/?#]+):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/.exec(text)
  if (found === null) return { problem: 'expected a URL such as "https://api.example.com"' }
  const [, schemeText = '', authority = '', path = '', query = '', fragment = ''] = found
  const scheme = schemeText.toLowerCase()
  if (scheme !== 'https' && scheme !== 'http') return { problem: 'expected an https URL, got another scheme' }
  const place = readAuthority(scheme, authority)
  return 'problem' in place ? place : { scheme, ...place, path, query, fragment }
}

/** Tells whether a host, as `parseUrl` gives it, is this machine: `localhost` or a literal loopback address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function covers(pattern: UrlPattern, asked: UrlPattern): boolean {
  return (
    pattern.scheme === asked.scheme &&
    pattern.host === asked.host &&
    pattern.port === asked.port &&
    pattern.segments.length <= asked.segments.length &&
    pattern.segments.every((segment, i) => segment === asked.segments[i])
  )
}

function readPattern(text: string): UrlPattern | UrlProblem {
  const url = parseUrl(isBareHost(text) ? `https://${text}/` : text)
  if ('problem' in url) return url
  if (url.fragment !== '') return { problem: 'a fragment cannot be matched' }
  const segments = readSegments(url.path)
  if ('problem' in segments) return segments
  return { scheme: url.scheme, host: url.host, port: url.port, segments }
}

function isBareHost(text: string): boolean {
  return !text.includes('/') && /^[^:/?#@\\]+(?::\d+)?$|^\[[^\]]*\](?::\d+)?$/.test(text)
}

function readAuthority(scheme: string, authority: string): { host: string; port: number } | UrlProblem {
  if (authority.includes('@')) return { problem: 'a user name or password does not belong in a URL' }
  const found = /^(\[[\da-f:.]+\]|[\da-z._-]+)(?::([1-9]\d{0,4}))?$/.exec(authority.toLowerCase())
  const host = found?.[1]
  const port = Number(found?.[2] ?? (scheme === 'https' ? 443 : 80))
  if (host === undefined || port > 65_535) return { problem: 'the host or its port is malformed' }
  const labels = (host.endsWith('.') ? host.slice(0, -1) : host).split('.')
  if (host.length > 253 || labels.some(label => label === '' || label.length > 63)) {
    return { problem: 'the host is malformed' }
  }
  if (isPlainName(host, labels)) return { host, port }
  const understood = hostAsUnderstood(host)
  if (understood === host) return { host, port }
  const hint = understood === undefined ? {} : { hint: `write ${understood}` }
  return { problem: 'the host is not written in its plain form', ...hint }
}

// What a URL parser takes as it stands (WHATWG URL §3.5), without starting it, which costs a hit half a millisecond: a name
// whose last label begins with a letter is no number, and so no address; one without "xn--" is not looked into.
function isPlainName(host: string, labels: readonly string[]): boolean {
  return host[0] !== '[' && /^[a-z]/.test(labels.at(-1)!) && !host.includes('xn--')
}

// `0x7f.1`, `127.1` and `[0:0:0:0:0:0:0:1]` are other names of other hosts.
function hostAsUnderstood(host: string): string | undefined {
  try {
    return new URL(`https://${host}/`).hostname
  } catch {
    return undefined
  }
}

function asciiHint(text: string): { hint?: string } {
  try {
    const { hostname } = new URL(text.includes('://') ? text : `https://${text}/`)
    return hostname === '' ? {} : { hint: `the host would be ${hostname}: write that if it is meant` }
  } catch {
    return {}
  }
}

// A trailing slash makes no segment, so that `/team` and `/team/` are one place.
function readSegments(path: string): string[] | UrlProblem {
  const parts = path.split('/').slice(1)
  if (parts.at(-1) === '') parts.pop()
  const segments: string[] = []
  for (const part of parts) {
    if (part === '') return { problem: 'an empty path segment cannot be matched' }
    const segment = part.replace(/%[\da-f]{2}/gi, code => code.toUpperCase())
    if (!isPlainSegment(segment)) return { problem: 'the path is not written in its plain form' }
    segments.push(segment)
  }
  return segments
}

// An encoded letter, digit, dot, slash, backslash or percent sign is a second spelling of something, and a server may
// undo it after we have looked. `..;` is what some servers take for `..`.
function isPlainSegment(segment: string): boolean {
  for (const [, hex] of segment.matchAll(/%(.{0,2})/g)) {
    if (!/^[\dA-F]{2}$/.test(hex!)) return false
    const code = Number.parseInt(hex!, 16)
    if (code < 0x20 || /[\w.~/\\%\x7f-]/.test(String.fromCharCode(code))) return false
  }
  if (/^\.{1,2}(?:;|%3B|$)/.test(segment)) return false
  try {
    // Refuses what is not UTF-8, overlong slashes among it.
    decodeURIComponent(segment)
    return true
  } catch {
    return false
  }
}
