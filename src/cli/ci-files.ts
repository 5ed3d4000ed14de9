import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { linkedFile, writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { type FileRead, readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'

// The files that `ci` hands values over in: the runner's, which are appended to, and its own, which are rewritten. Rules:
//  - Nothing but a regular file is written: a pipe would hold us until somebody reads it, and hand the value to whoever does.
//  - What is there already stays, whether or not the write succeeds.

const maxKeptBytes = 1 << 20
// For writing and reading: whether the last line is open stands in the last byte.
const appending =
  constants.O_RDWR | constants.O_APPEND | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)

/**
 * Tells beforehand what would fail: makes and changes nothing.
 *
 * @throws {TokctlError} `output_failed`
 */
export function checkWritable(path: string, isKept: boolean, { uid }: Pick<Environment, 'uid'>): void {
  attempt(path, () => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (isKept && found?.isSymbolicLink() && uid !== undefined && found.uid !== uid && found.uid !== 0) {
      // Whoever may write into the directory could have the token put anywhere.
      throw new TokctlError('output_failed', `file ${path} cannot be written: it is a link of another user`, {
        hint: `run: rm ${shellWord(path)}`,
      })
    }
    const target = isKept ? linkedFile(path) : path
    // What is kept is put there by a rename, which the directory alone has to allow.
    if (found === undefined || isKept) accessSync(dirname(target), constants.W_OK | constants.X_OK)
    if (found === undefined) return
    if (!isKept) return closeSync(openRegular(path, appending))
    if (readKept(path) !== undefined) checkReplaceable(path, target, uid)
  })
}

/**
 * Appends to a file, on a line of its own: another step may have left the last one open. What cannot be written whole is
 * taken back.
 *
 * @throws {TokctlError} `output_failed`
 */
export function appendTo(path: string, text: string): void {
  attempt(path, () => {
    const fd = openRegular(path, appending | constants.O_CREAT)
    try {
      const { size } = fstatSync(fd)
      const last = Buffer.alloc(1)
      const isOpen = size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a
      const data = Buffer.from(isOpen ? `\n${text}` : text)
      let written = 0
      try {
        while (written < data.length) written += writeSync(fd, data, written)
      } catch (error) {
        // Not where somebody else has appended meanwhile.
        if (fstatSync(fd).size === size + written) ftruncateSync(fd, size)
        throw error
      }
    } finally {
      closeSync(fd)
    }
  })
}

/**
 * Writes lines into a file: those of the same name are replaced, all others stay, byte for byte, and so do its mode and its
 * owner, as far as it is ours to say; 0600 where it is new. Where the path is a link, what it leads to is written. Nobody else
 * may do the same meanwhile.
 *
 * @returns The mode of the file.
 * @throws {TokctlError} `output_failed`
 */
export function keepIn(
  path: string,
  lines: ReadonlyMap<string, string>,
  { pid, uid }: Pick<Environment, 'pid' | 'uid'>,
): number {
  return attempt(path, () => {
    const kept = readKept(path)
    // Whatever bytes they are, each is one character.
    const others = entriesOf(kept?.bytes.toString('latin1') ?? '').filter(entry => {
      const name = /^(?:export )?(\w+)=/.exec(entry)?.[1]
      return name === undefined || !lines.has(name)
    })
    const rest = Buffer.from(others.join(''), 'latin1')
    const isOpen = rest.length > 0 && rest.at(-1) !== 0x0a
    const added = Buffer.from(`${isOpen ? '\n' : ''}${[...lines.values(), ''].join('\n')}`)
    const data = Buffer.concat([rest, added])
    const mode = kept === undefined ? 0o600 : kept.mode & 0o7777
    const target = linkedFile(path)
    const owner = uid === 0 ? statSync(target, { throwIfNoEntry: false }) : undefined
    try {
      writeFileAtomic(target, data, pid, true, mode, owner)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || kept === undefined) throw error
      overwrite(target, data, kept.bytes, uid)
    }
    return mode
  })
}

const inQuotes =
  /(?:export )?\w+=(?=['"])(?:'[^']*'|"(?:[^"\\]|\\[\s\S])*"|\\[\s\S]|[^\s'"\\])+[^\S\n]*(?:#[^\n]*)?(?:\n|$)/y

/** The lines of a text, those of one value in quotes together. */
function entriesOf(text: string): string[] {
  const entries: string[] = []
  for (let at = 0; at < text.length; at += entries.at(-1)!.length) {
    inQuotes.lastIndex = at
    const quoted = inQuotes.exec(text)?.[0]
    entries.push(quoted ?? text.slice(at, text.indexOf('\n', at) + 1 || text.length))
  }
  return entries
}

/** What a rename would be refused for, told before there is anything to lose. */
function checkReplaceable(path: string, target: string, uid: number | undefined): void {
  if (uid === undefined) return
  const file = statSync(target)
  const directory = statSync(dirname(target))
  const refuse = (why: string, hint: string): never => {
    throw new TokctlError('output_failed', `file ${path} cannot be written: ${why}`, { hint })
  }
  const other = 'name another one: --file FILE'
  if (file.uid === uid && (file.mode & 0o200) === 0)
    refuse('it is read-only', `run: chmod u+w ${shellWord(path)}`)
  if (uid !== 0 && (directory.mode & 0o1000) !== 0 && file.uid !== uid && directory.uid !== uid)
    refuse('it belongs to another user, who alone may replace it in that directory', other)
  if (file.dev === directory.dev) return
  if (!isOurs(file, uid)) refuse('it is mounted there, and belongs to another user', other)
  accessSync(target, constants.W_OK)
}

// A file that is mounted by itself, as `docker run -v FILE:FILE` does, cannot be replaced, and its device does not always tell:
// it is written in its place. That is not whole for a reader meanwhile, nor after a crash, but the only way there is; a failure
// puts back what was there.
function overwrite(path: string, data: Buffer, before: Buffer, uid: number | undefined): void {
  const fd = openRegular(path, constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  const put = (bytes: Buffer): void => {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at)
    ftruncateSync(fd, bytes.length)
  }
  try {
    if (!isOurs(fstatSync(fd), uid))
      throw new TokctlError(
        'output_failed',
        `file ${path} cannot be written: it is mounted there, and belongs to another user`,
        { hint: 'name another one: --file FILE' },
      )
    try {
      put(data)
      fsyncSync(fd)
    } catch (error) {
      put(before)
      throw error
    }
  } finally {
    closeSync(fd)
  }
}

function isOurs({ uid: owner }: Stats, uid: number | undefined): boolean {
  return uid === undefined || uid === 0 || owner === uid
}

function readKept(path: string): FileRead | undefined {
  const found = readRegularFile(path, maxKeptBytes)
  if ('bytes' in found) return found
  if (found.failure === 'missing') return undefined
  const why = {
    not_regular: 'it is not a regular file',
    too_large: 'it is larger than 1 MiB',
    unreadable: `it cannot be read (${found.code})`,
  }[found.failure]
  throw new TokctlError('output_failed', `file ${path} cannot be written: ${why}`, {
    // What is no file may be a device, which nobody is to remove.
    hint:
      found.failure === 'not_regular'
        ? 'name another one: --file FILE'
        : `name another one, or run: rm ${shellWord(path)}`,
  })
}

function openRegular(path: string, flags: number): number {
  const fd = openSync(path, flags, 0o600)
  if (fstatSync(fd).isFile()) return fd
  closeSync(fd)
  throw new TokctlError('output_failed', `file ${path} cannot be written: it is not a regular file`)
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof TokctlError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new TokctlError('output_failed', `file ${path} cannot be written (${code})`)
  }
}
