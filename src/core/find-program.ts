import { accessSync, constants, statSync } from 'node:fs'
import { platform } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { printable, TokctlError } from './errors.ts'
import type { ProgramCall } from './program.ts'
import { shellWord } from './shell-word.ts'

const isWindows = platform() === 'win32'

/**
 * Looks a program up: a bare name in the absolute directories of `PATH`, never in the working directory.
 *
 * @throws {TokctlError} `command_failed`
 */
export function findProgram(name: string, env: ProgramCall['env']): string {
  const found = lookUpProgram(name, env)
  switch (found.kind) {
    case 'found':
      return found.file
    case 'not_executable':
      throw failed(name, 'may not be run', `run: chmod +x ${shellWord(found.file)}`)
    case 'batch':
      // Arguments of a batch file are read by cmd.exe, whatever quotes are put around them.
      throw failed(name, 'is a batch file, which only a shell can run', 'name the .exe that it starts')
    case 'missing':
      throw name === '' ? failed(name, 'was not found') : noSuchProgram(name)
  }
}

/** What a name of a program leads to. */
export type ProgramFound =
  | { readonly kind: 'found' | 'not_executable' | 'batch'; readonly file: string }
  | { readonly kind: 'missing' }

/** As `findProgram`, for a caller with words of its own. A name with a slash is taken as it stands, unlooked at. */
export function lookUpProgram(name: string, env: ProgramCall['env']): ProgramFound {
  return isWindows ? lookUpOnWindows(name, env) : lookUp(name, env)
}

/** Tells whether this file can be run by us. */
export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return isFile(path)
  } catch {
    return false
  }
}

/** Tells whether there is a file, and no directory; where we may not look there is none for us. */
export function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() === true
  } catch {
    return false
  }
}

/** Says that a program is not there. */
export function noSuchProgram(name: string): TokctlError {
  const hint = name.includes('/')
    ? 'check the path in the configuration'
    : 'install it, or write its whole path'
  return failed(name, 'was not found', hint)
}

// The system's own look-up would also take the working directory, where `PATH` names it by `.` or by nothing.
function lookUp(name: string, env: ProgramCall['env']): ProgramFound {
  if (name === '') return { kind: 'missing' }
  if (name.includes('/')) return { kind: 'found', file: name }
  const found = directories(env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', ':').map(directory =>
    join(directory, name),
  )
  const program = found.find(isProgram)
  if (program !== undefined) return { kind: 'found', file: program }
  const file = found.find(isFile)
  return file === undefined ? { kind: 'missing' } : { kind: 'not_executable', file }
}

function lookUpOnWindows(name: string, env: ProgramCall['env']): ProgramFound {
  const variable = (wanted: string): string | undefined =>
    env[Object.keys(env).find(key => key.toUpperCase() === wanted) ?? '']
  const endings = ['', ...(variable('PATHEXT') ?? '.COM;.EXE;.BAT;.CMD').split(';')]
  const places = /[\\/]/.test(name)
    ? [name]
    : directories(variable('PATH') ?? '', ';').map(place => join(place, name))
  const file = places.flatMap(place => endings.map(ending => place + ending)).find(isFile)
  if (file === undefined) return { kind: 'missing' }
  return { kind: /\.(?:bat|cmd)$/i.test(file) ? 'batch' : 'found', file }
}

function directories(path: string, separator: string): string[] {
  return path.split(separator).filter(isAbsolute)
}

function failed(name: string, what: string, hint?: string): TokctlError {
  return new TokctlError('command_failed', `program "${printable(name)}" ${what}`, { hint })
}
