import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'

let counter = 0

/**
 * Replaces a file whole: a temporary file beside it, fsync, rename, fsync of the directory.
 * A reader sees the old content or the new, never a mixture; after a crash too.
 *
 * @param durable - False spares both fsyncs: for what can be made again, and whose reader does
 * without a torn one. After a crash of the machine the file may then be empty, torn or the old one.
 * @param mode - Of the new file, whatever the old one had.
 * @throws The system's error; the old file is then untouched and the temporary one removed.
 */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  pid: number,
  durable = true,
  mode = 0o600,
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

/** The path that is to be replaced so that a link stays one: where it leads, also when nothing is there yet. */
export function linkedFile(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    try {
      if (lstatSync(path).isSymbolicLink()) return resolve(dirname(path), readlinkSync(path))
    } catch {}
    return path
  }
}

/** Makes a rename or an unlink in the directory last. Windows has no such call and needs none. */
export function syncDirectory(path: string): void {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY)
  } catch {
    return
  }
  try {
    fsyncSync(fd)
  } catch {
    // Some file systems refuse to sync a directory; the rename itself has happened.
  } finally {
    closeSync(fd)
  }
}
