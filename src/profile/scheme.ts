import type { Token } from '../core/token.ts'
import type { Profile } from './profile.ts'

/**
 * The scheme of the `Authorization` header that this token goes with.
 *
 * OAuth servers spell `bearer` in many ways, and Slack says `bot`, yet all want the one scheme (RFC 6750 §2.1).
 * A program, or a function, that names a type of its own means it.
 */
export function scheme({ tokenType }: Token, { source }: Pick<Profile, 'source'>): string {
  if (/^dpop$/i.test(tokenType)) return 'DPoP'
  const isOwn = source === 'command' || source === 'function'
  return isOwn && !/^bearer$/i.test(tokenType) ? tokenType : 'Bearer'
}
