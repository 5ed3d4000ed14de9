import { TokctlError } from '../core/errors.ts'
import type { Token } from '../core/token.ts'
import { parsePattern } from '../profile/match.ts'
import type { Profile } from '../profile/profile.ts'
import { anyUser } from '../protocol/protocol.ts'

/**
 * Writes a token as the password of each host that the profile matches, for programs that read a netrc file and know
 * nothing but Basic. A netrc has no ports and no paths: each host stands there once.
 *
 * @throws {TokctlError} `usage` where the profile matches nothing, or its user cannot be written
 */
export function netrc(token: Token, { name, match, username = anyUser }: Profile): string {
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
  const password = token.accessToken.expose()
  for (const [what, word] of [
    ['username', username],
    ['token', password],
  ] as const) {
    // What is read is words between blanks; some readers know quotes, escapes and comments besides.
    if (/^[\x21-\x7e]+$/.test(word) && !/^#|["'\\]/.test(word)) continue
    const message = `the ${what} of profile "${name}" holds a character that a netrc cannot`
    throw new TokctlError('usage', message, { profile: name })
  }
  return Array.from(hosts, host => `machine ${host} login ${username} password ${password}\n`).join('')
}
