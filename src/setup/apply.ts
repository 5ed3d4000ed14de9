import { lstatSync, readdirSync, realpathSync, type Stats, statSync, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import { makeDirectories } from '../core/state-dir.ts'
import { backupPath, type Change, type FileChange, type ProgramChange } from './setup.ts'
import { textHash, type Written } from './written.ts'

// Changes are made all or not at all. What was there before stays beside a file as a backup: the last state with nothing of
// ours in it. Taken back, a file that nobody else has changed since becomes that state again, byte for byte.

const limit = 4 << 20

/** What changes are made with. */
export interface Hands {
  readonly environment: Pick<Environment, 'pid' | 'uid'>
  /** Is brought up to date. */
  readonly written: Written
  /** Ours is taken away. */
  readonly remove: boolean
  /** @throws {TokctlError} */
  run(change: ProgramChange): Promise<void>
}

/** A change that was made. */
export interface Applied {
  readonly change: Change
  /** Paths of the backups that were written for it. */
  readonly backups: readonly string[]
}

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

/** What a change that takes ours away really comes to: the file as it was, or none, where nobody else has changed it since. */
export function restored(change: FileChange, written: Written): FileChange {
  const { file, before, after } = change
  if (before === undefined || after === undefined) return change
  const was = originOf(file, before, after, written)
  return was === 'unknown' ? change : { ...change, after: was }
}

/**
 * Makes all of these changes. Where one fails, or is interrupted, those before it are taken back.
 *
 * @throws {TokctlError} `config_invalid`: a file was changed meanwhile, is read-only, is somebody else's or cannot be written;
 *   whatever `run` throws
 */
export async function applyChanges(changes: readonly Change[], hands: Hands): Promise<Applied[]> {
  const { environment, written } = hands
  for (const change of changes) {
    if ('file' in change) checkChange(change, environment)
    else for (const file of change.rewrites) checkWritable(file, environment)
  }
  const undo: (() => void)[] = []
  const remembered: Written = { files: new Map(written.files), notes: new Set(written.notes) }
  try {
    const applied: Applied[] = []
    for (const change of changes) {
      const backups = 'file' in change ? applyFile(change, hands, undo) : await applyRun(change, hands, undo)
      for (const note of change.notes ?? []) written.notes.add(note)
      for (const note of change.unnotes ?? []) written.notes.delete(note)
      applied.push({ change, backups })
    }
    return applied
  } catch (error) {
    for (const step of undo.reverse()) step()
    Object.assign(written, remembered)
    throw error
  }
}

/**
 * Passes a change that can be made.
 *
 * @throws {TokctlError} `config_invalid`: the file was changed meanwhile, is read-only, or is somebody else's
 */
export function checkChange({ file, before }: FileChange, environment: Pick<Environment, 'uid'>): void {
  if (readText(file) !== before) {
    throw new TokctlError('config_invalid', `"${file}" was changed meanwhile`, {
      hint: 'run the command again',
    })
  }
  checkWritable(file, environment)
}

function checkWritable(file: string, { uid }: Pick<Environment, 'uid'>): void {
  const found = kindOf(file, statSync)
  if (found === undefined || uid === undefined) return
  const refuse = (why: string, hint?: string): never => {
    throw new TokctlError('config_invalid', `"${file}" ${why}`, { hint })
  }
  if (found.uid !== uid) refuse('belongs to another user')
  // A rename would not ask, nor does root's open; its owner wrote it that way on purpose.
  if ((found.mode & 0o200) === 0) refuse('is read-only', `run: chmod u+w ${shellWord(file)}`)
}

function applyFile(
  change: FileChange,
  { environment, written, remove }: Hands,
  undo: (() => void)[],
): string[] {
  checkChange(change, environment)
  const { file, before, after, mode = 0o600, isOurs = false } = change
  const { pid } = environment
  const target = realPath(file)
  const found = isOurs || before === undefined ? undefined : statSync(target)
  const kept = found === undefined ? mode : found.mode & 0o7777
  try {
    makeDirectories(dirname(target))
    const backup = isOurs || before === undefined ? undefined : backUp(target, before, written, pid, undo)
    undo.push(() => putBack(target, before, kept, pid))
    sweep(target)
    if (after !== undefined) writeFileAtomic(target, after, pid, true, kept)
    else unlinkSync(target)
    if (!isOurs) remember(target, before, after, written)
    if (remove) dropBackup(target)
    return backup === undefined || !isFile(backup) ? [] : [backup]
  } catch (error) {
    if (error instanceof TokctlError) throw error
    throw cannotWrite(file, error)
  }
}

async function applyRun(change: ProgramChange, hands: Hands, undo: (() => void)[]): Promise<string[]> {
  const { environment, written, remove } = hands
  const { pid } = environment
  const files = change.rewrites.map(file => {
    const before = readText(file)
    const target = realPath(file)
    const mode = before === undefined ? 0o600 : statSync(target).mode & 0o7777
    return { target, before, mode }
  })
  const backups = files.flatMap(({ target, before, mode }) => {
    const backup = before === undefined ? undefined : backUp(target, before, written, pid, undo)
    undo.push(() => putBack(target, before, mode, pid))
    return backup ?? []
  })
  await hands.run(change)
  for (const { target, before, mode } of files) {
    const text = readText(target)
    const was =
      remove && before !== undefined && text !== undefined
        ? originOf(target, before, text, written)
        : 'unknown'
    const after = was === 'unknown' ? text : was
    if (after !== text) putBack(target, after, mode, pid)
    remember(target, before, after, written)
    if (remove) dropBackup(target)
  }
  return backups.filter(isFile)
}

/** @returns The text without ours; `undefined` for a file that setup made; `unknown` where somebody else changed it since. */
function originOf(
  file: string,
  before: string,
  after: string,
  { files }: Written,
): string | undefined | 'unknown' {
  const target = realPath(file)
  const known = files.get(target)
  if (known?.left !== textHash(before) || mentionsUs(after)) return 'unknown'
  if (known.created) return isLink(file) ? 'unknown' : undefined
  const backup = isFile(backupPath(target)) ? readText(backupPath(target)) : undefined
  return backup === undefined || mentionsUs(backup) ? 'unknown' : backup
}

function remember(
  target: string,
  before: string | undefined,
  after: string | undefined,
  { files }: Written,
): void {
  const known = files.get(target)
  const isUntouched = before !== undefined && known?.left === textHash(before)
  const isKnown = before === undefined || !mentionsUs(before) || isUntouched
  if (after === undefined || !mentionsUs(after) || !isKnown) files.delete(target)
  else {
    const created = before === undefined || (isUntouched && known?.created === true)
    files.set(target, { created, left: textHash(after) })
  }
}

// Of several setups the first backup stays: it is the user's own state.
function backUp(
  target: string,
  before: string,
  { files }: Written,
  pid: number,
  undo: (() => void)[],
): string | undefined {
  const backup = backupPath(target)
  const known = files.get(target)
  if (known?.created === true && known.left === textHash(before)) return undefined
  const old = isFile(backup) ? readText(backup) : undefined
  if (old === before || (old !== undefined && mentionsUs(before))) return undefined
  const mode = statSync(target).mode & 0o7777
  undo.push(() => putBack(backup, old, mode, pid))
  try {
    writeFileAtomic(backup, before, pid, true, mode)
  } catch (error) {
    throw cannotWrite(backup, error)
  }
  return backup
}

/** Removes the backup of a file that is what it was again. */
function dropBackup(target: string): void {
  try {
    const backup = backupPath(target)
    if (isFile(backup) && readText(backup) === readText(target)) unlinkSync(backup)
  } catch {
    // It may stay.
  }
}

// One that was killed while it wrote: nobody else writes these, and we have the lock.
function sweep(target: string): void {
  try {
    for (const name of readdirSync(dirname(target))) {
      const isOurs = name.startsWith(`${basename(target)}.`) && /\.\d+\.\d+\.tmp$/.test(name)
      if (isOurs) unlinkSync(join(dirname(target), name))
    }
  } catch {
    // It is no worse than before.
  }
}

function putBack(target: string, text: string | undefined, mode: number, pid: number): void {
  try {
    if (readText(target) === text) return
    if (text === undefined) unlinkSync(target)
    else writeFileAtomic(target, text, pid, true, mode)
  } catch {
    // What cannot be written now could not be written before either; the backup has it.
  }
}

/** Whatever we write somewhere has our name in it. */
function mentionsUs(text: string): boolean {
  return text.includes('tokctl')
}

function cannotWrite(file: string, error: unknown): TokctlError {
  const code = (error as NodeJS.ErrnoException).code ?? 'error'
  return new TokctlError('config_invalid', `"${file}" cannot be written (${code})`)
}

/** What a link leads to is changed, and the link stays. */
function realPath(file: string): string {
  return isLink(file) ? realpathSync(file) : file
}

function isFile(path: string): boolean {
  return kindOf(path)?.isFile() === true
}

function isLink(path: string): boolean {
  return kindOf(path)?.isSymbolicLink() === true
}

function kindOf(path: string, look: (path: string) => Stats = lstatSync): Stats | undefined {
  try {
    return look(path)
  } catch {
    return undefined
  }
}
