import { fstatSync, readSync, statSync, writeSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { debugs } from '../core/program.ts'
import { redactOwn } from '../core/redaction.ts'
import { leaveSignals } from './signals.ts'

// What the process was given, and its streams. Rules:
//  - stdout carries the answer or nothing; it is written at once and whole.
//  - stderr lines begin with "tokctl: ", and there are none on success but warnings.
//  - A prompt goes to the terminal, and only if there is one.

/** What a tool asks is shorter; room for more is made when it is there. */
const firstReadBytes = 2048

/** Whoever reads stdout has gone: nobody is left to tell. */
export class OutputClosed extends Error {}

/**
 * Reads what the process was given.
 *
 * @param script - What the runtime was told to run; `undefined` where runtime and program are one file.
 */
export function readEnvironment(script: string | undefined): Environment {
  const { env, platform, arch, pid, execPath, execArgv } = process
  let cwd = '/'
  try {
    cwd = process.cwd()
  } catch {
    // The directory was removed under us; only relative paths would need it.
  }
  // A relative one would be another place in each directory, a cloned repository among them.
  const home = absolute(env['HOME']) ?? absolute(env['USERPROFILE']) ?? systemHome() ?? ''
  return {
    env,
    platform,
    arch,
    pid,
    uid: process.geteuid?.(),
    cwd,
    home,
    self:
      script === undefined ? [execPath] : [execPath, ...execArgv.filter(option => !debugs(option)), script],
  }
}

function absolute(path: string | undefined): string | undefined {
  return path && isAbsolute(path) ? path : undefined
}

function systemHome(): string | undefined {
  try {
    // Hardly ever needed, so nobody else pays for loading it.
    const { homedir } = process.getBuiltinModule('node:os').userInfo()
    // Bun says what HOME says.
    return isAbsolute(homedir) ? homedir : undefined
  } catch {
    return undefined
  }
}

/** Milliseconds from an arbitrary start. `performance.now()` would be the same for a whole millisecond of loading. */
export function monotonic(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1000 + nanoseconds / 1_000_000
}

/**
 * Keeps Node from writing what is in memory to a file, where it was asked to: a diagnostic report holds the environment, a
 * heap snapshot every string. What can only be told Node before it starts (core dumps, a snapshot near the end of the heap)
 * stays as it was.
 */
export function refuseReports(): void {
  const options = `${process.env['NODE_OPTIONS'] ?? ''} ${process.execArgv.join(' ')}`
  if (options === ' ' || !debugs(options)) return
  const { report } = process
  if (report !== undefined) {
    report.reportOnFatalError = false
    report.reportOnSignal = false
    report.reportOnUncaughtException = false
  }
  // A signal that nobody hears any more would end the process.
  for (const [, signal] of options.matchAll(/--(?:heapsnapshot|report)-signal[= ](\w+)/g)) {
    process.removeAllListeners(signal)
    process.on(signal!, () => {})
  }
}

/**
 * Writes to stdout, whole. From here on a signal does what it does to any program: the work is done.
 *
 * @throws {OutputClosed} the reader has gone
 * @throws {TokctlError} `output_failed`: a full disk, a closed stdout
 */
export function writeOut(text: string): void {
  // A pipe that nobody reads holds us in the kernel, where no listener of ours would ever be called.
  leaveSignals()
  writePart(text)
}

/**
 * Writes to stdout a part of what goes on until a signal ends it.
 *
 * @throws As `writeOut`.
 */
export function writePart(text: string): void {
  try {
    writeAll(1, text)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EPIPE') throw new OutputClosed()
    throw new TokctlError('output_failed', `cannot write to standard output (${code})`)
  }
}

/** Tells something on stderr: whatever secret slipped into it is taken out. */
export function tell(text: string): void {
  writeError(redactOwn(text))
}

/** Writes to stderr as it is: what a person must type or open. A stderr that cannot be written is no reason to fail. */
export function writeError(text: string): void {
  try {
    writeAll(2, text)
  } catch {}
}

function writeAll(fd: number, text: string): void {
  const data = Buffer.from(text)
  let written = 0
  while (written < data.length) {
    try {
      written += writeSync(fd, data, written)
    } catch (error) {
      // Another process made the pipe non-blocking and its reader is slow.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/** Tells whether a person sits at that stream. */
export async function isTerminal(fd: 0 | 1 | 2): Promise<boolean> {
  const { isatty } = await import('node:tty')
  return isatty(fd)
}

/** Tells, without loading a module, that a stream is certainly no terminal. */
export function isNoTerminal(fd: 0 | 1 | 2): boolean {
  try {
    return !fstatSync(fd).isCharacterDevice()
  } catch {
    return true
  }
}

/** Tells whether nobody will ever read stdout: it is `/dev/null`, which Node also puts in the place of a closed one. */
export function isThrownAway(): boolean {
  try {
    const found = fstatSync(1)
    return found.isCharacterDevice() && found.rdev === statSync('/dev/null').rdev
  } catch {
    return false
  }
}

/** How many cells the terminal at stdout has; 80 by 24 where it does not say. */
export function terminalSize(): { readonly columns: number; readonly rows: number } {
  const [columns = 0, rows = 0] = process.stdout.getWindowSize?.() ?? []
  return { columns: columns || 80, rows: rows || 24 }
}

/**
 * Reads stdin to its end, or until it is whole.
 *
 * @param isWhole - Asked after each piece; whoever sends need not close the pipe then.
 * @throws {TokctlError} `usage` for more than `maxBytes`
 */
export function readBytes(maxBytes: number, isWhole?: (bytes: Buffer) => boolean): Buffer {
  let bytes = Buffer.allocUnsafe(firstReadBytes)
  let size = 0
  for (;;) {
    const read = readInto(bytes, size)
    if (read === 0) return bytes.subarray(0, size)
    size += read
    if (size > maxBytes) throw tooMuch(maxBytes)
    if (isWhole?.(bytes.subarray(0, size))) return bytes.subarray(0, size)
    if (size === bytes.length) bytes = Buffer.concat([bytes], size * 4)
  }
}

/**
 * Reads stdin line by line, each as soon as it is there; lines end with LF alone.
 *
 * @throws {TokctlError} `usage` for a line of more than `maxBytes`
 */
export function* readLines(maxBytes: number): Generator<string, void, undefined> {
  const chunk = Buffer.allocUnsafe(65_536)
  let rest = Buffer.alloc(0)
  for (;;) {
    const read = readInto(chunk, 0)
    if (read === 0) break
    rest = Buffer.concat([rest, chunk.subarray(0, read)])
    for (let at = rest.indexOf(0x0a); at >= 0; at = rest.indexOf(0x0a)) {
      const line = rest.toString('utf8', 0, at)
      rest = rest.subarray(at + 1)
      yield line
    }
    if (rest.length > maxBytes) throw tooMuch(maxBytes)
  }
  if (rest.length > 0) yield rest.toString('utf8')
}

/** @returns How many bytes of stdin it put there; none at its end. */
function readInto(bytes: Buffer, at: number): number {
  for (;;) {
    try {
      return readSync(0, bytes, at, bytes.length - at, null)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EOF') return 0
      if (code !== 'EAGAIN') throw new TokctlError('usage', `cannot read standard input (${code})`)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

function tooMuch(maxBytes: number): TokctlError {
  return new TokctlError('usage', `standard input holds more than ${maxBytes} bytes`)
}

/**
 * Reads stdin to its end, as text.
 *
 * @throws {TokctlError} `usage` for more than `maxBytes` or what is not UTF-8
 */
export function readInput(maxBytes: number): string {
  const bytes = readBytes(maxBytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new TokctlError('usage', 'standard input is not UTF-8 text')
  }
}
