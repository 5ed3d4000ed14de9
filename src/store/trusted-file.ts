import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { shellWord } from '../core/shell-word.ts'

/** What a file is expected to be before a byte of it is believed. */
export interface Trust {
  readonly uid: number | undefined
  /** Permission bits that must not be set. */
  readonly forbidden: number
  readonly followLinks: boolean
}

/** Ours alone, and no link. */
export function oursAlone({ uid }: Pick<Environment, 'uid'>): Trust {
  return { uid, forbidden: 0o077, followLinks: false }
}

const maxBytes = 16 * 1024 * 1024

/**
 * Reads a whole regular file, its owner and mode checked on the open descriptor.
 *
 * @returns `undefined` where there is none.
 * @throws {TokctlError} `store_failed`: a link, somebody else's, open to others, not a file, or not readable
 */
export function readTrusted(path: string, { uid, forbidden, followLinks }: Trust): Buffer | undefined {
  let fd: number
  try {
    // Opening a FIFO would wait for its writer.
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
    fd = openSync(path, flags | (followLinks ? 0 : (constants.O_NOFOLLOW ?? 0)))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    if (code === 'ELOOP') throw refused(path, 'is a link', `rm ${shellWord(path)}`)
    throw cannot('read', path, error)
  }
  try {
    const found = fstatSync(fd)
    if (!found.isFile()) throw refused(path, 'is not a file', `rm -r ${shellWord(path)}`)
    if (found.size > maxBytes) throw refused(path, 'is too large', `rm ${shellWord(path)}`)
    if (uid !== undefined) {
      if (found.uid !== uid && !(followLinks && found.uid === 0)) {
        throw refused(path, 'belongs to another user', `ls -l ${shellWord(path)}`)
      }
      if ((found.mode & forbidden) !== 0)
        throw refused(path, 'is open to other users', `chmod 600 ${shellWord(path)}`)
    }
    return readFileSync(fd)
  } catch (error) {
    throw error instanceof TokctlError ? error : cannot('read', path, error)
  } finally {
    closeSync(fd)
  }
}

function refused(path: string, what: string, command: string): TokctlError {
  return new TokctlError('store_failed', `${path} ${what}`, { hint: `run: ${command}` })
}

const remedies: { readonly [code: string]: string } = {
  ENOSPC: 'free some space on that disk, or set TOKCTL_STATE_DIR to another',
  EDQUOT: 'free some of your quota, or set TOKCTL_STATE_DIR to another disk',
  EROFS: 'set TOKCTL_STATE_DIR to a directory that can be written',
  EACCES: 'make it yours, or set TOKCTL_STATE_DIR to a directory of your own',
  EPERM: 'make it yours, or set TOKCTL_STATE_DIR to a directory of your own',
}

/** The file system's refusal, with the path and what to do. */
export function cannot(
  verb: 'read' | 'write' | 'remove' | 'list',
  path: string,
  error: unknown,
): TokctlError {
  const code = (error as NodeJS.ErrnoException).code ?? 'error'
  return new TokctlError('store_failed', `cannot ${verb} ${path} (${code})`, {
    hint: remedies[code] ?? 'see that the disk is well, or set TOKCTL_STATE_DIR to another',
  })
}
