import { printable } from '../core/errors.ts'

/** A path for people: the home directory as `~`, one line. */
export function shownPath(path: string, home: string): string {
  const inside = home.length > 1 && (path.startsWith(`${home}/`) || path.startsWith(`${home}\\`))
  return printable(inside ? `~${path.slice(home.length)}` : path)
}
