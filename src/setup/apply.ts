import { lstatSync, realpathSync, type Stats, statSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import { makeDirectories } from '../core/state-dir.ts'
import type { FileChange } from './setup.ts'

const limit = 4 << 20

/**
 * Reads a text file of another program's; follows links.
 *
 * @returns `undefined` where there is none.
 * @throws {TokctlError} `config_invalid` for what cannot be read, or is no text
 */
export function readText(path: string): string | undefined {
  const read = readRegularFile(path, limit)
  const fail = (why: string, hint?: string): TokctlError =>
    new TokctlError('config_invalid', `"${path}" ${why}`, { hint })
  if (!('failure' in read)) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(read.bytes)
    } catch {
      throw fail('is not UTF-8, and is left as it is')
    }
  }
  switch (read.failure) {
    case 'missing':
      if (isLink(path)) throw fail('is a link to a file that is not there', `run: ls -l ${shellWord(path)}`)
      return undefined
    case 'not_regular':
      throw fail('is no file')
    case 'too_large':
      throw fail('is larger than 4 MiB, and is left as it is')
    default:
      throw fail(`cannot be read (${read.code})`)
  }
}

/** The name of the copy of a file as it was before it was changed last. */
export function backupPath(file: string): string {
  return `${file}.tokctl-backup`
}

/**
 * Passes a change that can be made, so that of several none is made where one cannot.
 *
 * @throws {TokctlError} `config_invalid`: the file was changed meanwhile, is read-only, or is somebody else's
 */
export function checkChange({ file, before }: FileChange, { uid }: Pick<Environment, 'uid'>): void {
  const refuse = (why: string, hint?: string): never => {
    throw new TokctlError('config_invalid', `"${file}" ${why}`, { hint })
  }
  if (readText(file) !== before) refuse('was changed meanwhile', 'run the command again')
  const found = before === undefined ? undefined : statSync(file)
  if (found === undefined || uid === undefined) return
  if (found.uid !== uid) refuse('belongs to another user')
  // A rename would not ask; its owner wrote it that way on purpose.
  if ((found.mode & 0o200) === 0) refuse('is read-only', `run: chmod u+w ${shellWord(file)}`)
}

/**
 * Writes a file whole, or removes one that held nothing but ours. What was there before stays beside it as a backup,
 * until it is there again. Where the path is a link, what it leads to is changed. Mode and owner stay.
 *
 * @returns The path of the backup that was written.
 * @throws {TokctlError} `config_invalid`; the file is then as it was
 */
export function applyChange(
  change: FileChange,
  environment: Pick<Environment, 'pid' | 'uid'>,
): string | undefined {
  checkChange(change, environment)
  const { file, before, after, mode = 0o600 } = change
  const { pid } = environment
  const target = isLink(file) ? realpathSync(file) : file
  const isLauncher = mode === 0o700
  const found = isLauncher || before === undefined ? undefined : statSync(target)
  const kept = found === undefined ? mode : found.mode & 0o7777
  try {
    makeDirectories(dirname(target))
    const backup = isLauncher || after === undefined ? undefined : backUp(target, before, after, pid, kept)
    if (after !== undefined) writeFileAtomic(target, after, pid, true, kept)
    else if (target === file) unlinkSync(target)
    // The link is somebody's arrangement: it goes on leading to a file.
    else writeFileAtomic(target, '', pid, true, kept)
    return backup
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'error'
    throw new TokctlError('config_invalid', `"${file}" cannot be written (${code})`)
  }
}

/**
 * Copies a file that a tool is about to rewrite by itself, and perhaps without its comments: the first copy stays.
 *
 * @returns The path of the copy; none where nothing was copied.
 */
export function backUpFile(file: string, { pid }: Environment): string | undefined {
  const before = readText(file)
  if (before === undefined || isFile(backupPath(file))) return undefined
  return backUp(file, before, undefined, pid, (statSync(file).mode ?? 0o600) & 0o7777)
}

/** Removes the backup of a file that is what it was again. */
export function dropBackup(file: string): void {
  try {
    if (readText(backupPath(file)) === readText(file)) unlinkSync(backupPath(file))
  } catch {
    // There is none, mostly.
  }
}

function backUp(
  target: string,
  before: string | undefined,
  after: string | undefined,
  pid: number,
  mode: number,
): string | undefined {
  const backup = backupPath(target)
  if (before === undefined) return undefined
  if (after !== undefined && isFile(backup) && readText(backup) === after) {
    unlinkSync(backup)
    return undefined
  }
  writeFileAtomic(backup, before, pid, true, mode)
  return backup
}

function isFile(path: string): boolean {
  return kindOf(path)?.isFile() === true
}

function isLink(path: string): boolean {
  return kindOf(path)?.isSymbolicLink() === true
}

function kindOf(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}
