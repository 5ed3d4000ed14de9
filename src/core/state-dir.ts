import { accessSync, chmodSync, constants, lstatSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Environment } from './environment.ts'
import { TokctlError } from './errors.ts'
import { shellWord } from './shell-word.ts'

/** Where locks, outcomes and sealed files are kept. One place for every caller of the same user. */
export interface StateDir {
  readonly path: string
  /** The path of a file in it; makes nothing. */
  file(...names: string[]): string
  /**
   * Makes the directory (and the sub-directory) with mode 0700 where it is missing, then checks both.
   *
   * @throws {TokctlError} `state_dir_unsafe`
   */
  ensure(...names: string[]): string
  /**
   * Refuses a directory that is not ours, is a link, or lets others in. One `lstat`; a missing directory passes.
   *
   * @throws {TokctlError} `state_dir_unsafe`
   */
  check(): void
}

/**
 * Names the state directory: `TOKCTL_STATE_DIR`, else `$XDG_STATE_HOME/tokctl`, else `~/.local/state/tokctl`
 * (`%LOCALAPPDATA%\tokctl` on Windows), else, for a user without a home to write in, `/tmp/tokctl-UID`. Makes nothing.
 */
export function stateDir(environment: Environment): StateDir {
  const path = locate(environment)
  let checked = false
  const ensured = new Set<string>()

  function check(): void {
    if (checked) return
    const found = lstat(path)
    if (found === undefined) return
    refuseUnsafe(path, found, environment)
    checked = true
  }

  function ensure(...names: string[]): string {
    try {
      makeDirectories(path)
    } catch (error) {
      throw cannotMake(path, error)
    }
    check()
    let sub = path
    for (const name of names) {
      sub = join(sub, name)
      if (ensured.has(sub)) continue
      try {
        makeDirectories(sub)
      } catch (error) {
        throw cannotMake(sub, error)
      }
      const found = lstat(sub)
      if (found === undefined) continue
      refuseUnsafe(sub, found, environment)
      ensured.add(sub)
    }
    return sub
  }

  return { path, file: (...names) => join(path, ...names), ensure, check }
}

function locate({ env, platform, home, uid }: Environment): string {
  if (env['TOKCTL_STATE_DIR']) return env['TOKCTL_STATE_DIR']
  const isWindows = platform === 'win32'
  if (isWindows && env['LOCALAPPDATA']) return join(env['LOCALAPPDATA'], 'tokctl')
  // The XDG specification says to ignore a relative path here.
  if (!isWindows && env['XDG_STATE_HOME']?.startsWith('/')) return join(env['XDG_STATE_HOME'], 'tokctl')
  if (home === '' && (isWindows || uid === undefined)) {
    throw new TokctlError('state_dir_unsafe', 'there is no home directory to keep state in', {
      hint: 'set HOME, or TOKCTL_STATE_DIR, to an absolute path',
    })
  }
  if (isWindows) return join(home, 'AppData', 'Local', 'tokctl')
  const usual = join(home, '.local', 'state', 'tokctl')
  // Without a home the usual place would be one below wherever the program stands.
  if (home !== '' && (uid === undefined || canBeMade(usual))) return usual
  // The same for every step of a job, whatever its TMPDIR. Whoever was there first: one that is not ours is refused.
  return `/tmp/tokctl-${uid}`
}

// A container's user may have no home, or one that is not its own.
function canBeMade(path: string): boolean {
  if (lstat(path) !== undefined) return true
  const above = dirname(path)
  if (above === path) return false
  if (lstat(above) === undefined) return canBeMade(above)
  try {
    accessSync(above, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function lstat(path: string): ReturnType<typeof lstatSync> | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}

function refuseUnsafe(
  path: string,
  found: NonNullable<ReturnType<typeof lstatSync>>,
  { uid, platform }: Environment,
): void {
  if (!found.isDirectory()) {
    throw new TokctlError('state_dir_unsafe', `state directory ${path} is not a directory`, {
      hint: 'remove it, or set TOKCTL_STATE_DIR to a directory of your own',
    })
  }
  if (platform === 'win32') return
  if (uid !== undefined && found.uid !== uid) {
    throw new TokctlError('state_dir_unsafe', `state directory ${path} belongs to another user`, {
      hint: 'set TOKCTL_STATE_DIR to a directory of your own',
    })
  }
  if ((Number(found.mode) & 0o077) !== 0) {
    // Ours, but open to others (made by hand, perhaps): closing it is what its owner would do.
    try {
      chmodSync(path, 0o700)
    } catch {
      throw new TokctlError('state_dir_unsafe', `state directory ${path} is open to other users`, {
        hint: `run: chmod 700 ${shellWord(path)}`,
      })
    }
  }
}

/**
 * Makes a directory and those above it, each with mode 0700; one that is there stays as it is.
 *
 * @throws The system's error.
 */
export function makeDirectories(path: string): void {
  // Node's own recursive mkdir never ends where a parent can be seen and not made, below /proc for one.
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    makeDirectories(dirname(path))
    mkdirSync(path, { mode: 0o700 })
  }
}

function cannotMake(path: string, error: unknown): TokctlError {
  const code = (error as NodeJS.ErrnoException).code ?? 'error'
  return new TokctlError('state_dir_unsafe', `cannot make the state directory ${path} (${code})`, {
    hint: 'set TOKCTL_STATE_DIR to a directory you can write',
  })
}

/**
 * Names a file after a profile or a kept secret, so that no two names share one where letter case does not count:
 * `Corp` is `=corp`.
 */
export function fileStem(name: string): string {
  return name.replace(/[A-Z]/g, letter => `=${letter.toLowerCase()}`)
}
