import { TokctlError } from '../core/errors.ts'
import type { StoreKey } from './store.ts'

const ownChars = 'abcdefghijklmnopqrstuvwxyz0123456789._-'

/**
 * Names a key's file, `profile-corp` or `secret-name`: legible, and safe on file systems that ignore case or refuse characters.
 * Lower-case letters, digits, `.`, `_` and `-` stand for themselves, any other byte as `%` and two hexadecimal digits.
 *
 * @throws {TokctlError} `store_failed` for a name that no file system takes
 */
export function fileNameOf({ kind, name }: StoreKey): string {
  let escaped = ''
  for (const byte of Buffer.from(name)) {
    const char = String.fromCharCode(byte)
    escaped += ownChars.includes(char) ? char : `%${byte.toString(16).padStart(2, '0')}`
  }
  if (escaped.length === 0 || escaped.length > 200) {
    throw new TokctlError('store_failed', `the name of a ${kind} is ${escaped === '' ? 'empty' : 'too long'}`)
  }
  return `${kind}-${escaped}`
}

/** The key that a file is named for; `undefined` for a file that is none of ours. */
export function keyOfFileName(fileName: string): StoreKey | undefined {
  const [, kind, escaped] =
    /^(profile|secret|credential)-((?:[a-z0-9._-]|%[0-9a-f]{2})+)$/.exec(fileName) ?? []
  if (kind === undefined || escaped === undefined) return undefined
  try {
    return { kind: kind as StoreKey['kind'], name: decodeURIComponent(escaped) }
  } catch {
    return undefined
  }
}
