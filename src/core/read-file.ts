import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** A regular file, read whole. `uid` and `mode` are those of the bytes that were read, not of whatever the path names later. */
export interface FileRead {
  readonly bytes: Buffer
  readonly uid: number
  readonly mode: number
}

/** Why there is nothing to read. `unreadable` carries the system's code. */
export interface FileFailure {
  readonly failure: 'missing' | 'not_regular' | 'too_large' | 'unreadable'
  readonly code: string
}

// A pipe must not hold us until somebody writes to it, and a terminal must not become ours.
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)

const maxStateBytes = 65_536

/**
 * Reads one of our own small files: UTF-8, at most 64 KiB, no link.
 *
 * @returns `undefined` for everything else: such a file is done without.
 */
export function readStateFile(path: string): string | undefined {
  const read = readRegularFile(path, maxStateBytes, constants.O_NOFOLLOW ?? 0)
  return 'failure' in read ? undefined : read.bytes.toString('utf8')
}

/**
 * Reads a regular file of at most `limit` bytes; follows links. Pipes, devices and directories are not waited for.
 *
 * @param more - Flags of open(2) besides: `O_NOFOLLOW` for a file that may not be a link.
 * @returns What failed, instead of throwing: the caller knows what the file was for.
 */
export function readRegularFile(path: string, limit: number, more = 0): FileRead | FileFailure {
  let fd: number
  try {
    fd = openSync(path, flags | more)
  } catch (error) {
    return failed(error)
  }
  try {
    const found = fstatSync(fd)
    const { size, uid, mode } = found
    if (!found.isFile()) return { failure: 'not_regular', code: '' }
    if (size > limit) return { failure: 'too_large', code: '' }
    const bytes = readAll(fd, size, limit)
    return bytes === undefined ? { failure: 'too_large', code: '' } : { bytes, uid, mode }
  } catch (error) {
    return failed(error)
  } finally {
    closeSync(fd)
  }
}

// One byte more than the file claims, so that one that grows, or claims nothing as those under /proc do, is noticed.
function readAll(fd: number, size: number, limit: number): Buffer | undefined {
  let buffer = Buffer.allocUnsafe(size + 1)
  let filled = 0
  for (;;) {
    const read = readSync(fd, buffer, filled, buffer.length - filled, null)
    filled += read
    if (filled > limit) return undefined
    if (read === 0) return buffer.subarray(0, filled)
    if (filled === buffer.length) {
      buffer = Buffer.concat([buffer, Buffer.allocUnsafe(Math.min(buffer.length + 4096, limit + 1 - filled))])
    }
  }
}

function failed(error: unknown): FileFailure {
  const code = (error as NodeJS.ErrnoException).code ?? 'error'
  if (code === 'ENOENT' || code === 'ENOTDIR') return { failure: 'missing', code }
  // What opening a socket or a device without a driver says.
  if (code === 'ENXIO' || code === 'ENODEV') return { failure: 'not_regular', code }
  return { failure: 'unreadable', code }
}
