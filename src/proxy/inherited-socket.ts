import { lstatSync, readFileSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Tells what lets other users reach a unix socket that a service manager opened, or may let them once what it is reached by
 * has been replaced.
 *
 * @param fd - The socket, which listens.
 * @param uid - This user.
 * @returns Words for a message; `undefined` where it is this user's alone.
 * @see proc_pid_net(5)
 */
export function exposureOf(fd: number, uid: number): string | undefined {
  try {
    const path = pathOf(fd)
    if (path === undefined) return 'the system does not say where it is'
    // An abstract one has no mode; what is no whole path may lead elsewhere from where we are.
    if (!path.startsWith('/')) return 'it has no whole path, and whoever knows its name reaches it'
    const found = lstatSync(path)
    if (!found.isSocket()) return `${path} is another file by now`
    if (found.uid !== uid) return `${path} belongs to another user`
    const mode = found.mode & 0o777
    if ((mode & 0o077) !== 0) return `${path} has mode 0${mode.toString(8).padStart(3, '0')}`
    return openDirectoryOf(path, uid)
  } catch (error) {
    return `it cannot be looked at (${(error as NodeJS.ErrnoException).code ?? 'error'})`
  }
}

function pathOf(fd: number): string | undefined {
  const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`)) ?? []
  // Number, references, protocol, flags, type, state, inode, path.
  const rows = readFileSync('/proc/net/unix', 'utf8').split('\n')
  const paths = rows.flatMap(row => {
    const [, found, path] = /^[0-9a-f]+:(?: +[0-9A-Fa-f]+){5} +(\d+) (.+)$/.exec(row) ?? []
    return found === inode && path !== undefined ? [path] : []
  })
  // A name may hold an end of line, and what looks like a row after it.
  return paths.length === 1 ? paths[0] : undefined
}

/** The first of the directories above it, and of the links among them, that others can replace something in. */
function openDirectoryOf(path: string, uid: number): string | undefined {
  const isOthers = (found: Stats): boolean => found.uid !== uid && found.uid !== 0
  for (const at of directoriesAbove(path)) {
    if (isOthers(lstatSync(at))) return `${at} belongs to another user`
  }
  for (const at of directoriesAbove(realpathSync(path))) {
    const found = statSync(at)
    if (isOthers(found)) return `${at} belongs to another user`
    // Where the sticky bit stands each can take away his own alone; a group with its user's id is that user's own.
    const isSticky = (found.mode & 0o1000) !== 0
    const isOpen = (found.mode & 0o002) !== 0 || ((found.mode & 0o020) !== 0 && found.gid !== found.uid)
    if (isOpen && !isSticky) return `${at} can be written by others`
  }
  return undefined
}

function directoriesAbove(path: string): string[] {
  const above = dirname(path)
  return above === path ? [] : [above, ...directoriesAbove(above)]
}
