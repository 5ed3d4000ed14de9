import { TokctlError } from '../core/errors.ts'
import type { Token } from '../core/token.ts'
import { parsePattern } from '../profile/match.ts'
import type { Profile } from '../profile/profile.ts'
import { anyUser } from '../protocol/protocol.ts'

/**
 * Writes a token as the password of each host that the profile matches, for programs that read a netrc file and know
 * nothing but Basic. A netrc has no ports and no paths: each host stands there once.
 *
 * @throws {TokctlError} as `netrcHosts`, and where the token cannot be written
 */
export function netrc(token: Token, profile: Profile): string {
  const hosts = netrcHosts(profile)
  const { name, username = anyUser } = profile
  const password = token.accessToken.expose()
  if (!isWord(password)) {
    throw new TokctlError('usage', `the token of profile "${name}" holds a character that a netrc cannot`, {
      profile: name,
    })
  }
  return hosts.map(host => `machine ${host} login ${username} password ${password}\n`).join('')
}

/**
 * The hosts that a netrc names for a profile.
 *
 * @throws {TokctlError} `usage` where the profile matches nothing, or its user cannot be written
 */
export function netrcHosts({ name, match, username = anyUser }: Profile): string[] {
  const hosts = new Set<string>()
  for (const text of match) {
    const pattern = parsePattern(text)
    if ('host' in pattern) hosts.add(pattern.host.replace(/^\[|\]$/g, ''))
  }
  if (hosts.size === 0) {
    throw new TokctlError('usage', `profile "${name}" matches no host that a netrc could name`, {
      hint: 'write match = ["https://…"] in the profile',
      profile: name,
    })
  }
  if (!isWord(username)) {
    throw new TokctlError(
      'usage',
      `the username of profile "${name}" holds a character that a netrc cannot`,
      { hint: 'write another username = "…" in the profile', profile: name },
    )
  }
  return [...hosts]
}

// What is read is words between blanks; some readers know quotes, escapes and comments besides.
function isWord(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text) && !/^#|["'\\]/.test(text)
}
