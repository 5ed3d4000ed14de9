import { constants, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import type { StateDir } from '../core/state-dir.ts'
import { type ConfigBytes, readCompiled, writeCompiled } from './compiled.ts'
import type { HeldFile } from './held-files.ts'
import { isSecretRef, type Profile, type SecretRef, tokenRefKeys } from './profile.ts'
import { shownPath } from './shown-path.ts'

// A project's own `.tokctl.toml`. Whoever wrote it may be anybody. Rules:
//  - It counts only while its path and its very bytes are those that were confirmed, and what it reads and runs of the
//    project is what was shown then; before, it is as if it were not there.
//  - What is the user's own comes first: a profile of the user's file is never looked for here, so a project can neither
//    replace it nor be asked in its place.
//  - A project's profile is `NAME@PROJECT` inside: its tokens, locks and kept secrets have places of their own. It can name
//    neither the user's profiles nor the secrets and keychain items that are kept for them.

/** What the file is called. */
export const projectFileName = '.tokctl.toml'

const limit = 1024 * 1024
const trustMark = 'tokctl-trust 2'

/**
 * Looks for a project's file: in the working directory and above it, up to the root of the repository, and never in the home
 * directory or above that. Two stats for each directory.
 */
export function findProject({ cwd, home }: Pick<Environment, 'cwd' | 'home'>): string | undefined {
  for (
    let directory = cwd;
    directory !== home && dirname(directory) !== directory;
    directory = dirname(directory)
  ) {
    const file = join(directory, projectFileName)
    if (isThere(file)) return file
    if (isThere(join(directory, '.git'))) return undefined
  }
  return undefined
}

function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined
  } catch {
    return false
  }
}

/**
 * Reads a project's file: a regular file, ours or root's, that not everybody may write. A link is refused.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`
 */
export function readProject(path: string, { uid, home }: Environment): ConfigBytes {
  const file = `project file ${shownPath(path, home)}`
  const found = readRegularFile(path, limit, constants.O_NOFOLLOW ?? 0)
  if ('failure' in found) {
    if (found.failure === 'missing') {
      throw new TokctlError('config_not_found', `${file} does not exist`, {
        hint: 'name one: tokctl trust FILE',
      })
    }
    const why = {
      not_regular: 'is not a regular file',
      too_large: 'is larger than 1 MiB',
      unreadable:
        found.code === 'ELOOP' || found.code === 'EMLINK' ? 'is a link' : `cannot be read (${found.code})`,
    }[found.failure]
    throw new TokctlError('config_invalid', `${file} ${why}`)
  }
  if (uid !== undefined && found.uid !== uid && found.uid !== 0) {
    throw new TokctlError('config_invalid', `${file} belongs to another user`, {
      hint: `run: sudo chown ${uid} ${shellWord(path)}`,
    })
  }
  if (uid !== undefined && (found.mode & 0o002) !== 0) {
    throw new TokctlError('config_invalid', `${file} can be written by everybody`, {
      hint: `run: chmod o-w ${shellWord(path)}`,
    })
  }
  return { file: path, bytes: found.bytes }
}

/** What stands for a project in the names of its profiles and secrets: of its place on this machine alone. */
export async function projectId(file: string): Promise<string> {
  const { createHash } = await import('node:crypto')
  const slug = basename(dirname(file))
    .replace(/[^A-Za-z0-9]+/g, '-')
    .slice(0, 16)
    .toLowerCase()
  return `${slug}-${createHash('sha256').update(file).digest('hex').slice(0, 12)}`
}

/** Tells whether exactly these bytes at exactly this place were confirmed, and what they name of the project is as it was. */
export async function isTrusted(
  source: ConfigBytes,
  stateDir: StateDir,
  { uid }: Environment,
): Promise<boolean> {
  try {
    stateDir.check()
  } catch {
    return false
  }
  const read = readRegularFile(await trustPath(source.file, stateDir), 2 * limit, constants.O_NOFOLLOW ?? 0)
  if ('failure' in read) return false
  if (uid !== undefined && (read.uid !== uid || (read.mode & 0o077) !== 0)) return false
  const content = trustContent(source)
  if (!read.bytes.subarray(0, content.length).equals(content)) return false
  const held = readHeld(read.bytes.toString('utf8', content.length))
  if (held === undefined || held.length === 0) return held !== undefined
  return (await import('./held-files.ts')).areAsShown(held)
}

/** Tells whether some state of the file was confirmed. */
export async function wasTrusted(file: string, stateDir: StateDir): Promise<boolean> {
  return isThere(await trustPath(file, stateDir))
}

/**
 * Confirms these bytes at this place, instead of whatever was confirmed there before.
 *
 * @param held - The files of the project that they name, as they were when they were shown.
 */
export async function trust(
  source: ConfigBytes,
  held: readonly HeldFile[],
  stateDir: StateDir,
  { pid }: Environment,
): Promise<void> {
  stateDir.ensure('trust')
  const content = Buffer.concat([trustContent(source), Buffer.from(`\n${JSON.stringify(held)}\n`)])
  writeFileAtomic(await trustPath(source.file, stateDir), content, pid)
}

function readHeld(text: string): HeldFile[] | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return Array.isArray(found) && found.every(isHeld) ? found : undefined
  } catch {
    return undefined
  }
}

function isHeld(one: Partial<HeldFile> | null): boolean {
  if (typeof one?.path !== 'string' || typeof one.real !== 'string') return false
  return one.bytes === undefined || typeof one.bytes === 'string'
}

/** @returns Whether the file was trusted. */
export async function untrust(file: string, stateDir: StateDir): Promise<boolean> {
  const { unlinkSync } = await import('node:fs')
  stateDir.check()
  try {
    unlinkSync(await trustPath(file, stateDir))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

// The bytes themselves, not a hash of them: what is compared cannot be fooled.
function trustContent({ file, bytes }: ConfigBytes): Buffer {
  return Buffer.concat([Buffer.from(`${trustMark}\n${JSON.stringify(file)}\n${bytes.length}\n`), bytes])
}

async function trustPath(file: string, stateDir: StateDir): Promise<string> {
  return stateDir.file('trust', `${await projectId(file)}.trust`)
}

/** A trusted project's profiles. */
export interface Project {
  readonly file: string
  /** By their names inside, `NAME@PROJECT`. */
  readonly profiles: ReadonlyMap<string, Profile>
  /** @param name - As the file has it, or the whole name inside. */
  profile(name: string): Profile | undefined
}

/**
 * Loads the project that the working directory is in, if its file is trusted.
 *
 * @throws {TokctlError} `config_invalid`
 */
export async function loadProject(
  environment: Environment,
  stateDir: StateDir,
): Promise<Project | undefined> {
  const path = findProject(environment)
  if (path === undefined) return undefined
  let source: ConfigBytes
  try {
    source = readProject(path, environment)
  } catch {
    return undefined
  }
  if (!(await isTrusted(source, stateDir, environment))) return undefined
  const id = await projectId(path)
  const profiles =
    readCompiled(source, environment, stateDir)?.profiles() ??
    (await parseProject(source, environment, stateDir))
  return {
    file: path,
    profiles,
    profile: name => profiles.get(name.endsWith(`@${id}`) ? name : `${name}@${id}`),
  }
}

async function parseProject(
  source: ConfigBytes,
  environment: Environment,
  stateDir: StateDir,
): Promise<ReadonlyMap<string, Profile>> {
  const profiles = await projectProfiles(source, environment)
  await writeCompiled(source, { file: source.file, store: 'auto', profiles }, environment, stateDir)
  return profiles
}

/**
 * Reads a project's file and makes its profiles ones of their own, by their names inside.
 *
 * @throws {TokctlError} `config_invalid`: also for a store or a proxy, which are the user's to choose, and for a keychain item
 */
export async function projectProfiles(
  source: ConfigBytes,
  environment: Environment,
): Promise<ReadonlyMap<string, Profile>> {
  const { parseConfig } = await import('./parse.ts')
  const shown = shownPath(source.file, environment.home)
  const { store, profiles, proxies } = parseConfig(source, shown, environment)
  if (store !== 'auto') {
    throw new TokctlError(
      'config_invalid',
      `${shown}: store: a project cannot choose where tokens are kept`,
      {
        hint: 'leave [store] out',
      },
    )
  }
  const [proxy] = proxies.keys()
  if (proxy !== undefined) {
    const message = `${shown}: proxy.${proxy}: a project cannot say where this machine listens, and for whom`
    throw new TokctlError('config_invalid', message, {
      hint: 'write it into your own file, or run: tokctl proxy PROFILE --upstream URL',
    })
  }
  const id = await projectId(source.file)
  return new Map(
    Array.from(profiles.values(), profile => {
      if (references(profile).some(ref => 'keychain' in ref)) {
        throw new TokctlError(
          'config_invalid',
          `${shown}: profile.${profile.name}: a project cannot read what other applications keep in the keychain`,
          { hint: 'write { secret = "name" }: it has a place of its own' },
        )
      }
      const named = { ...withOwnPlaces(profile, id), name: `${profile.name}@${id}` }
      return [named.name, named]
    }),
  )
}

// Plain texts by any name, so that one may be called `secret`. Keys of a profile: a header or a field of a form may have such
// a name and hold a secret.
const plainTables: readonly string[] = ['params', 'claims', 'permissions', 'members']

/** Every secret reference in a profile, at whatever depth. */
export function references(profile: Profile): SecretRef[] {
  return Object.entries(profile).flatMap(([key, each]) =>
    plainTables.includes(key) ? [] : referencesIn(each),
  )
}

function referencesIn(value: unknown): SecretRef[] {
  if (typeof value !== 'object' || value === null) return []
  if (isSecretRef(value)) return [value]
  return Object.values(value).flatMap(referencesIn)
}

function withOwnPlaces(profile: Profile, id: string): Profile {
  const own = Object.entries(profile).map(([key, value]) => {
    if (plainTables.includes(key)) return [key, value]
    const isOther = (tokenRefKeys as readonly string[]).includes(key) && 'profile' in Object(value)
    return [key, isOther ? { profile: `${value.profile}@${id}` } : ownPlaces(value, id)]
  })
  return Object.fromEntries(own)
}

function ownPlaces(value: unknown, id: string): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(each => ownPlaces(each, id))
  if (isSecretRef(value)) return 'secret' in value ? { secret: `${value.secret}@${id}` } : value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, ownPlaces(each, id)]))
}
