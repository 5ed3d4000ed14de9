import { isAbsolute, join, resolve } from 'node:path'
import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import type { StateDir } from '../core/state-dir.ts'
import { type Compiled, type ConfigBytes, readCompiled, writeCompiled } from './compiled.ts'
import type { Config, Profile, StoreKind } from './profile.ts'
import type { Project } from './project.ts'
import type { ProxySettings } from './proxy-settings.ts'
import { shownPath } from './shown-path.ts'

// On the path of a cache hit: the TOML parser and the validator are loaded only where no compiled copy fits.

/** Where the configuration is, and what said so. */
export interface ConfigFile {
  /** Absolute. */
  readonly path: string
  readonly chosenBy: '--config' | 'TOKCTL_CONFIG' | 'default'
}

const limit = 4 * 1024 * 1024

/**
 * Names the configuration file: `--config`, `TOKCTL_CONFIG`, else the user's own. Touches nothing.
 *
 * @param flag - The value of `--config`; relative to the working directory, as `TOKCTL_CONFIG` is.
 */
export function configFile(environment: Environment, flag: string | undefined): ConfigFile {
  const { env, cwd } = environment
  if (flag !== undefined) return { path: resolve(cwd, flag), chosenBy: '--config' }
  if (env['TOKCTL_CONFIG']) return { path: resolve(cwd, env['TOKCTL_CONFIG']), chosenBy: 'TOKCTL_CONFIG' }
  return { path: resolve(cwd, userFile(environment)), chosenBy: 'default' }
}

function userFile({ env, platform, home }: Environment): string {
  if (platform === 'win32')
    return join(env['APPDATA'] || join(home, 'AppData', 'Roaming'), 'tokctl', 'config.toml')
  const { XDG_CONFIG_HOME: xdg } = env
  if (home === '' && (xdg === undefined || !isAbsolute(xdg))) {
    throw new TokctlError('config_not_found', 'there is no home directory to look for the configuration in', {
      hint: 'set HOME to an absolute path, or name the file with --config',
    })
  }
  // The XDG specification says to ignore a relative path here.
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.config'), 'tokctl', 'config.toml')
}

/**
 * Loads the configuration with all its profiles, those of a trusted project behind the user's own.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export async function loadConfig(
  environment: Environment,
  stateDir: StateDir,
  flag?: string | undefined,
): Promise<Config> {
  const project = await projectHere(environment, stateDir, flag)
  let own: Config
  try {
    own = await loadOwn(environment, stateDir, flag)
  } catch (error) {
    if (project === undefined || !isMissing(error)) throw error
    own = { file: configFile(environment, flag).path, store: 'auto', profiles: new Map() }
  }
  if (project === undefined) return own
  return { ...own, profiles: new Map([...own.profiles, ...project.profiles]) }
}

async function loadOwn(
  environment: Environment,
  stateDir: StateDir,
  flag: string | undefined,
): Promise<Config> {
  const source = readConfig(environment, flag)
  const compiled = readCompiled(source, environment, stateDir)
  const profiles = compiled?.profiles()
  if (compiled !== undefined && profiles !== undefined)
    return { file: source.file, store: compiled.store, profiles }
  return parseWhole(source, environment, stateDir)
}

// A file that was named is the whole configuration.
async function projectHere(
  environment: Environment,
  stateDir: StateDir,
  flag: string | undefined,
): Promise<Project | undefined> {
  if (configFile(environment, flag).chosenBy !== 'default') return undefined
  return (await import('./project.ts')).loadProject(environment, stateDir)
}

function isMissing(error: unknown): boolean {
  return error instanceof TokctlError && error.code === 'config_not_found'
}

/** A profile, and what the user's own file, which may be missing for a project's, says of the rest. */
export interface LoadedProfile {
  readonly config: { readonly file: string; readonly store: StoreKind }
  readonly profile: Profile
}

/**
 * Loads one profile; however many there are, it costs about the same. The user's own come first: only a name that is not
 * among them is looked for in a trusted project.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`, `unknown_profile`
 */
export async function loadProfile(
  environment: Environment,
  stateDir: StateDir,
  name: string,
  flag?: string | undefined,
): Promise<LoadedProfile> {
  let store: StoreKind = 'auto'
  let failure: TokctlError
  try {
    const source = readConfig(environment, flag)
    const { file } = source
    const compiled = readCompiled(source, environment, stateDir)
    const found = compiled === undefined ? undefined : compiledProfile(compiled, name)
    if (compiled !== undefined && found !== undefined)
      return { config: { file, store: compiled.store }, profile: found }
    // All that were written are there, and this is none of them.
    const isAbsent = compiled?.names()?.includes(name) === false
    if (isAbsent) {
      const project = await projectHere(environment, stateDir, flag)
      const profile = project?.profile(name)
      if (profile !== undefined) return { config: { file, store: compiled!.store }, profile }
    }
    const config = await parseWhole(source, environment, stateDir)
    store = config.store
    const profile = config.profiles.get(name)
    if (profile !== undefined) return { config: { file, store }, profile }
    failure = await unknownProfile(name, config, environment)
  } catch (error) {
    if (!isMissing(error)) throw error
    failure = error as TokctlError
  }
  const project = await projectHere(environment, stateDir, flag)
  const profile = project?.profile(name)
  const { path: file } = configFile(environment, flag)
  if (profile !== undefined) return { config: { file, store }, profile }
  throw await withUntrusted(failure, project, environment, flag)
}

// The one place where an untrusted file is spoken of: where what was asked for may stand in it.
async function withUntrusted(
  failure: TokctlError,
  project: Project | undefined,
  environment: Environment,
  flag: string | undefined,
): Promise<TokctlError> {
  if (project !== undefined || configFile(environment, flag).chosenBy !== 'default') return failure
  const { findProject } = await import('./project.ts')
  const path = findProject(environment)
  if (path === undefined) return failure
  const { code, message, more } = failure
  const hint = `if it stands in ${shownPath(path, environment.home)}, which is not trusted, run: tokctl trust`
  return new TokctlError(code, message, { hint, more })
}

/**
 * Loads the names of all profiles, in their order; those of a project as its file has them.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export async function loadNames(
  environment: Environment,
  stateDir: StateDir,
  flag?: string | undefined,
): Promise<readonly string[]> {
  const project = await projectHere(environment, stateDir, flag)
  const names = [...(project?.profiles.keys() ?? [])].map(name => name.slice(0, name.lastIndexOf('@')))
  try {
    const source = readConfig(environment, flag)
    const compiled = readCompiled(source, environment, stateDir)
    const own = compiled?.names() ?? [...(await parseWhole(source, environment, stateDir)).profiles.keys()]
    return [...new Set([...own, ...names])]
  } catch (error) {
    if (project === undefined || !isMissing(error)) throw error
    return names
  }
}

/**
 * Loads the profiles of a trusted project, for a URL that none of the user's own matches.
 *
 * @throws {TokctlError} `config_invalid`
 */
export async function loadProjectProfiles(
  environment: Environment,
  stateDir: StateDir,
  flag?: string | undefined,
): Promise<Iterable<Profile>> {
  return (await projectHere(environment, stateDir, flag))?.profiles.values() ?? []
}

/**
 * Loads the profiles that may match a URL, and perhaps others, in their order: all that match something on its host.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export async function loadCandidates(
  environment: Environment,
  stateDir: StateDir,
  url: string,
  flag?: string | undefined,
): Promise<{ config: { file: string; store: StoreKind }; profiles: Iterable<Profile> }> {
  let source: ConfigBytes
  try {
    source = readConfig(environment, flag)
  } catch (error) {
    if (!isMissing(error) || (await projectHere(environment, stateDir, flag)) === undefined) throw error
    return { config: { file: configFile(environment, flag).path, store: 'auto' }, profiles: [] }
  }
  const { file } = source
  const compiled = readCompiled(source, environment, stateDir)
  const host = /^(?:[^:/?#]+:\/\/)?([^/?#]*)/.exec(url)![1]!.replace(/:\d*$/, '').toLowerCase()
  const profiles = compiled?.of(host)
  if (compiled !== undefined && profiles !== undefined)
    return { config: { file, store: compiled.store }, profiles }
  const config = await parseWhole(source, environment, stateDir)
  return { config: { file, store: config.store }, profiles: config.profiles.values() }
}

/**
 * Loads the tables `[proxy.NAME]`. They are read from the file itself: its compiled copy is for calls that must be short.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export async function loadProxies(
  environment: Environment,
  flag?: string | undefined,
): Promise<ReadonlyMap<string, ProxySettings>> {
  const source = readConfig(environment, flag)
  const { parseConfig } = await import('./parse.ts')
  return parseConfig(source, shownPath(source.file, environment.home), environment).proxies
}

/** Reads what the user's own file says of the store, whatever else is wrong with it; `undefined` where it cannot be told. */
export async function loadStoreKind(
  environment: Environment,
  flag?: string | undefined,
): Promise<StoreKind | undefined> {
  const { storeOf } = await import('./parse.ts')
  try {
    return storeOf(readConfig(environment, flag), environment)
  } catch (error) {
    if (error instanceof TokctlError) return undefined
    throw error
  }
}

// Only what can be a name is looked for: anything else could be found across the lines of the copy.
function compiledProfile(compiled: Compiled, name: string): Profile | undefined {
  return name.includes('\n') || name.includes(' ') ? undefined : compiled.profile(name)
}

async function parseWhole(
  source: ConfigBytes,
  environment: Environment,
  stateDir: StateDir,
): Promise<Config> {
  const { parseConfig } = await import('./parse.ts')
  const { proxies: _, ...config } = parseConfig(source, shownPath(source.file, environment.home), environment)
  await writeCompiled(source, config, environment, stateDir)
  return config
}

async function unknownProfile(name: string, config: Config, { home }: Environment): Promise<TokctlError> {
  const message = `unknown profile "${printable(name)}"`
  if (config.profiles.size === 0) {
    return new TokctlError('unknown_profile', `${message}: ${shownPath(config.file, home)} has no profile`, {
      hint: `put into it: ${sample}`,
    })
  }
  const { nearest } = await import('./nearest.ts')
  const meant = nearest(name, config.profiles.keys())
  return new TokctlError(
    'unknown_profile',
    meant === undefined ? message : `${message}; did you mean "${meant}"?`,
    {
      hint: 'run: tokctl profile list',
    },
  )
}

const sample = 'profile.gh = { source = "command", command = ["gh", "auth", "token"] }'

/**
 * Reads the bytes of the configuration file, and refuses one that is not for its owner alone to write.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export function readConfig(environment: Environment, flag: string | undefined): ConfigBytes {
  const chosen = configFile(environment, flag)
  const found = readRegularFile(chosen.path, limit)
  // Only where it is told: to look for what cannot be shown takes longer than to read the file.
  const file = (): string => `configuration file ${shownPath(chosen.path, environment.home)}`
  if ('failure' in found) {
    if (found.failure === 'missing') throw notFound(file(), chosen)
    const why = {
      not_regular: 'is not a regular file',
      too_large: 'is larger than 4 MiB',
      unreadable: `cannot be read (${found.code})`,
    }[found.failure]
    const hint = found.code === 'EACCES' ? `run: chmod u+r ${shellWord(chosen.path)}` : undefined
    throw new TokctlError('config_invalid', `${file()} ${why}`, { hint })
  }
  const { uid } = environment
  if (uid !== undefined && found.uid !== uid && found.uid !== 0) {
    throw new TokctlError('config_invalid', `${file()} belongs to another user`, {
      hint: `run: sudo chown ${uid} ${shellWord(chosen.path)}`,
    })
  }
  if (uid !== undefined && (found.mode & 0o022) !== 0) {
    throw new TokctlError('config_invalid', `${file()} can be written by others`, {
      hint: `run: chmod go-w ${shellWord(chosen.path)}`,
    })
  }
  return { file: chosen.path, bytes: found.bytes }
}

function notFound(file: string, { path, chosenBy }: ConfigFile): TokctlError {
  if (chosenBy === 'default') {
    return new TokctlError('config_not_found', `${file} does not exist`, {
      hint: `run: tokctl init, or create it with this in it: ${sample}`,
    })
  }
  return new TokctlError('config_not_found', `${file} does not exist; ${chosenBy} names it`, {
    hint:
      chosenBy === '--config' ? `create ${shellWord(path)}, or leave --config out` : `run: unset ${chosenBy}`,
  })
}
