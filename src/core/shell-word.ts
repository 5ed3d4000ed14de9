import { printable } from './errors.ts'

/** A word that a POSIX shell takes as it stands; what needs quotes gets them. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${printable(text).replaceAll("'", "'\\''")}'`
}
