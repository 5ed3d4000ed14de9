import { lstatSync, readlinkSync, type Stats, statSync, unlinkSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import { TokctlError } from '../core/errors.ts'
import { makeDirectories } from '../core/state-dir.ts'

// Files that the command line names, each replaced whole. Rules:
//  - What is there and is no regular file stays: a device or a pipe that is replaced is gone for everybody.
//  - A link is replaced, and what it leads to is left alone, as long as that is a regular file, or nothing.
//  - What the disk does not do is told with the path.

/** A file that is written, and what named it, or its directory. */
export interface OutputFile {
  readonly flag: '--file' | '--variables' | 'TOKCTL_STATE_DIR' | 'XDG_CONFIG_HOME'
  /** Absolute. */
  readonly path: string
}

/**
 * Refuses a path where something is that is no regular file. What cannot be looked at is left to the writing.
 *
 * @throws {TokctlError} `usage`
 */
export function refuseOtherThanFile({ flag, path }: OutputFile): void {
  const found = kindAt(path)
  if (found === undefined) return
  throw new TokctlError('usage', `${flag}: ${path} ${found}, not a regular file`, {
    hint: another(flag),
  })
}

/** @returns What is there, as the end of a sentence; `undefined` for a regular file, and for nothing. */
function kindAt(path: string): string | undefined {
  const itself = look(() => lstatSync(path))
  if (itself?.isSymbolicLink() !== true) return kindOf(itself)
  const to = look(() => resolve(dirname(path), readlinkSync(path)))
  // Such as /dev/stdout: whatever it leads to now, the link itself is the system's.
  if (to !== undefined && /^\/(dev|proc)\//.test(to)) return `is a link to ${to}`
  const kind = kindOf(look(() => statSync(path)))
  return kind === undefined ? undefined : `is a link to what ${kind}`
}

function kindOf(found: Stats | undefined): string | undefined {
  if (found === undefined || found.isFile()) return undefined
  if (found.isDirectory()) return 'is a directory'
  if (found.isFIFO()) return 'is a named pipe'
  if (found.isSocket()) return 'is a socket'
  return 'is a device'
}

function look<T>(at: () => T): T | undefined {
  try {
    return at()
  } catch {
    return undefined
  }
}

/**
 * Replaces the file whole (0600), so that a crash leaves the old content or the new, and makes the directories above it (0700).
 *
 * @throws {TokctlError} `usage` where there is something else than a regular file; `output_failed`
 */
export function writeOutputFile(file: OutputFile, content: string | Uint8Array, pid: number): void {
  refuseOtherThanFile(file)
  attempt(file, 'written', () => {
    makeDirectories(dirname(file.path))
    writeFileAtomic(file.path, content, pid)
  })
}

/**
 * Removes the file; one that is not there is no error.
 *
 * @throws {TokctlError} as `writeOutputFile`
 */
export function removeOutputFile(file: OutputFile): void {
  refuseOtherThanFile(file)
  attempt(file, 'removed', () => {
    try {
      unlinkSync(file.path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  })
}

function attempt({ flag, path }: OutputFile, what: 'written' | 'removed', work: () => void): void {
  try {
    work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new TokctlError('output_failed', `file ${path} cannot be ${what} (${code})`, {
      hint:
        code === 'ENOSPC' || code === 'EDQUOT' ? `make room on its disk, or ${another(flag)}` : another(flag),
    })
  }
}

function another(flag: OutputFile['flag']): string {
  return flag.startsWith('--') ? `name another one: ${flag} FILE` : `set ${flag} to another directory`
}
