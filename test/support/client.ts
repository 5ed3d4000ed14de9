import { execFileSync } from 'node:child_process'
import { accessSync, constants, mkdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe } from 'vitest'
import { programFile, type Scratch } from './run.ts'

/** A program of somebody else that asks us. */
export interface Client {
  /** Absolute. */
  readonly path: string
  /** As it tells it: `1.32.4`. */
  readonly version: string
}

interface ClientTests {
  readonly command: string
  /** Lowest version whose tests these are: `[1, 74]`. */
  readonly atLeast: readonly [major: number, minor: number]
  /** What makes it print its version. */
  readonly versionArgs?: readonly string[]
  readonly what?: string
}

/**
 * Declares tests of a client that a machine may not have. The one rule: where it is there in that version they are
 * declared, and must pass; elsewhere they are not, and one line on stdout says so. They are never skipped.
 */
export function describeClient(tests: ClientTests, declare: (client: Client) => void): void {
  const { command, atLeast, what = command } = tests
  const found = findClient(command, tests.versionArgs)
  if (found !== undefined && isAtLeast(found.version, atLeast)) {
    describe(`${what} ${found.version}`, () => declare(found))
    return
  }
  const reason = found === undefined ? 'it is not installed' : `this is ${found.version}`
  console.log(`not tested here: ${what}, which needs ${command} ${atLeast.join('.')} or newer; ${reason}`)
}

/** Looks for a program on the PATH of this process and asks it for its version. */
export function findClient(
  command: string,
  versionArgs = ['--version'] as readonly string[],
): Client | undefined {
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map(directory => join(directory, command))
    .find(isExecutable)
  if (path === undefined) return undefined
  try {
    const said = execFileSync(path, [...versionArgs], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const version = /\d+\.\d+(?:\.\d+)?/.exec(said)?.[0]
    return version === undefined ? undefined : { path, version }
  } catch {
    return undefined
  }
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [ours = 0, theirs = 0] = version.split('.').map(Number)
  return ours > major || (ours === major && theirs >= minor)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Puts our programs, and this Node, into a directory of the home, under the names that npm installs them by.
 *
 * @returns The directory, and a PATH that begins with it.
 */
export function installPrograms(at: Scratch): { readonly bin: string; readonly path: string } {
  const bin = join(at.path, 'bin')
  mkdirSync(bin)
  for (const name of [
    'tokctl',
    'cargo-credential-tokctl',
    'docker-credential-tokctl',
    'git-credential-tokctl',
    'terraform-credentials-tokctl',
  ]) {
    symlinkSync(programFile(name), join(bin, name))
  }
  symlinkSync(process.execPath, join(bin, 'node'))
  return { bin, path: [bin, process.env['PATH']].join(delimiter) }
}
