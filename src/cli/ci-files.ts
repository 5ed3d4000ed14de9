import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
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
    // What is kept is put there by a rename, which the directory alone has to allow.
    if (found === undefined || isKept)
      accessSync(dirname(isKept ? linkedFile(path) : path), constants.W_OK | constants.X_OK)
    if (found === undefined) return
    if (isKept) readKept(path)
    else closeSync(openRegular(path, appending))
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
 * Writes lines into a file: those of the same name are replaced, all others stay, byte for byte, and so does its mode; 0600
 * where it is new. Where the path is a link, what it leads to is written.
 *
 * @returns The mode of the file.
 * @throws {TokctlError} `output_failed`
 */
export function keepIn(
  path: string,
  lines: ReadonlyMap<string, string>,
  { pid }: Pick<Environment, 'pid'>,
): number {
  return attempt(path, () => {
    const kept = readKept(path)
    // Whatever bytes they are, each is one character.
    const text = kept?.bytes.toString('latin1') ?? ''
    const others = (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).filter(line => {
      const name = /^(?:export )?(\w+)=/.exec(line)?.[1]
      return name === undefined || !lines.has(name)
    })
    const rest = Buffer.from(others.join(''), 'latin1')
    const isOpen = rest.length > 0 && rest.at(-1) !== 0x0a
    const added = Buffer.from(`${isOpen ? '\n' : ''}${[...lines.values(), ''].join('\n')}`)
    const mode = kept === undefined ? 0o600 : kept.mode & 0o7777
    writeFileAtomic(linkedFile(path), Buffer.concat([rest, added]), pid, true, mode)
    return mode
  })
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
