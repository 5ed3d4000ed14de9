import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path'

let counter = 0

/**
 * Replaces a file whole: a temporary file beside it, fsync, rename, fsync of the directory.
 * A reader sees the old content or the new, never a mixture; after a crash too.
 *
 * @param durable - False spares both fsyncs: for what can be made again, and whose reader does
 * without a torn one. After a crash of the machine the file may then be empty, torn or the old one.
 * @param mode - Of the new file, whatever the old one had.
 * @param owner - Of the new file, where it is to be another: root alone may say so.
 * @throws The system's error; the old file is then untouched and the temporary one removed. Of the directory's fsync: the
 *   new file is there, and may not be after a crash of the machine.
 */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  pid: number,
  durable = true,
  mode = 0o600,
  owner?: { readonly uid: number; readonly gid: number },
): void {
  const temporary = `${path}.${pid}.${counter++}.tmp`
  const data = typeof content === 'string' ? Buffer.from(content) : content
  const noFollow = constants.O_NOFOLLOW ?? 0
  try {
    // A file of that name can only be left over from a dead process with our id.
    unlinkSync(temporary)
  } catch {}
  const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow, 0o600)
  try {
    try {
      if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid)
      fchmodSync(fd, mode)
      let written = 0
      while (written < data.length) written += writeSync(fd, data, written)
      if (durable) fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (error) {
    try {
      unlinkSync(temporary)
    } catch {}
    throw error
  }
  if (durable) syncDirectory(dirname(path))
}

// As many as Linux follows.
const maxLinks = 40

/**
 * The path that is to be replaced so that a link stays one: where it leads, also when nothing is there yet.
 *
 * @throws The system's `ELOOP`
 */
export function linkedFile(path: string): string {
  let at = path
  for (let i = 0; i <= maxLinks; i++) {
    try {
      // Not by the text of it: ".." of a directory that is a link is not where the link lies.
      at = join(realpathSync.native(dirname(at)), basename(at))
    } catch {
      return resolve(at)
    }
    let to: string
    try {
      to = readlinkSync(at)
    } catch {
      return at
    }
    at = isAbsolute(to) ? to : `${dirname(at)}${sep}${to}`
  }
  return realpathSync.native(path)
}

/** What systems and file systems say that do not sync directories; Windows also says `EPERM` and `EISDIR`. */
const noSuchSync: ReadonlySet<string | undefined> = new Set([
  'EBADF',
  'EINVAL',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
])
const noSuchOpen: ReadonlySet<string | undefined> = new Set(['EACCES', 'EISDIR', 'EPERM'])

/**
 * Makes a rename or an unlink in the directory last. Does nothing where there is no such call.
 *
 * @throws The system's error where the disk failed: nothing is known of what it holds then.
 */
export function syncDirectory(path: string): void {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY)
  } catch (error) {
    if (noSuchOpen.has((error as NodeJS.ErrnoException).code)) return
    throw error
  }
  try {
    fsyncSync(fd)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (!noSuchSync.has(code) && !(sep === '\\' && noSuchOpen.has(code))) throw error
  } finally {
    closeSync(fd)
  }
}
