import { basename } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { readRegularFile } from '../core/read-file.ts'
import type { StateDir } from '../core/state-dir.ts'
import type { Config, Profile, StoreKind } from './profile.ts'
import { storeKinds } from './profile.ts'

// The compiled configuration spares a cache hit the TOML parser and the validator. It is
//
//   tokctl-config VERSION LF ["path of the configuration","home"] LF length LF     the head: all that shaped the result
//   the very bytes of the configuration LF                                          beside those
//   store kind LF, then `NAME {profile as JSON}` LF for each profile
//   `@HOST NAME…` LF for each host that profiles match, then end COUNT LF, of the lines between
//
// Rules:
//  - It is believed only where head and bytes are equal to what is there now. Anything else reads as if it were missing.
//  - A name that is not in it proves nothing: the configuration itself is asked.
//  - It cannot fail: what cannot be read or written is done without.

/** To be raised with every change of `Profile`, of a default or of the binding: a test holds it against a sample. */
export const compiledVersion = 6

const limit = 64 * 1024 * 1024

/** A configuration file as it was read. */
export interface ConfigBytes {
  /** Absolute. */
  readonly file: string
  readonly bytes: Buffer
}

/** The compiled copy of exactly those bytes. */
export interface Compiled {
  readonly store: StoreKind
  /** @returns `undefined` for a name that it does not hold and for a torn line. */
  profile(name: string): Profile | undefined
  /** The names of all of them, in their order; `undefined` when a line is missing. */
  names(): string[] | undefined
  /** All of them, in their order; `undefined` when anything in it is torn. */
  profiles(): Map<string, Profile> | undefined
  /**
   * Those that match something on a host, in their order; the others stay unread.
   *
   * @param host - In lower case, without its port.
   * @returns `undefined` when anything that was looked at is torn.
   */
  of(host: string): Profile[] | undefined
}

/** Finds the compiled copy of a configuration; `undefined` unless it was made from the same bytes at the same place. */
export function readCompiled(
  source: ConfigBytes,
  environment: Environment,
  stateDir: StateDir,
): Compiled | undefined {
  try {
    stateDir.check()
  } catch {
    // Whoever needs the directory will say so; nothing in it is believed.
    return undefined
  }
  const read = readRegularFile(compiledPath(source.file, stateDir), limit)
  if ('failure' in read) return undefined
  if (environment.uid !== undefined && (read.uid !== environment.uid || (read.mode & 0o022) !== 0))
    return undefined

  const { bytes } = read
  const head = headOf(source, environment)
  const bodyAt = head.length + source.bytes.length
  if (!bytes.subarray(0, head.length).equals(head)) return undefined
  if (!bytes.subarray(head.length, bodyAt).equals(source.bytes)) return undefined
  const storeEnd = bytes.indexOf('\n', bodyAt + 1)
  const store = bytes.toString('latin1', bodyAt + 1, storeEnd) as StoreKind
  const count = countAtEnd(bytes.toString('latin1', Math.max(storeEnd, bytes.length - 24)))
  if (bytes[bodyAt] !== 0x0a || storeEnd < 0 || !storeKinds.includes(store) || count === undefined)
    return undefined

  const profileLines = (): string[] | undefined => {
    const lines = bytes.toString('utf8', storeEnd + 1).split('\n')
    return lines.length - 2 === count ? lines.slice(0, -2).filter(line => !line.startsWith('@')) : undefined
  }
  const lineAfter = (mark: string, last = ''): string | undefined => {
    const at = bytes.indexOf(mark, storeEnd)
    if (at < 0) return undefined
    const from = at + mark.length
    return last + bytes.toString('utf8', from, bytes.indexOf('\n', from))
  }
  // Looked through where a host is not found, which no cached token waits for.
  const isWhole = (): boolean => profileLines()?.every(line => line.includes(' {')) === true
  const profile = (name: string): Profile | undefined => {
    const json = lineAfter(`\n${name} {`, '{')
    return json === undefined ? undefined : decode(name, json)
  }

  return {
    store,
    profile,
    names: () => profileLines()?.map(line => line.slice(0, Math.max(0, line.indexOf(' ')))),
    profiles() {
      const lines = profileLines()
      if (lines === undefined) return undefined
      const profiles = new Map<string, Profile>()
      for (const line of lines) {
        const space = line.indexOf(' ')
        const name = line.slice(0, space)
        const profile = decode(name, line.slice(space + 1))
        if (profile === undefined) return undefined
        profiles.set(name, profile)
      }
      return profiles.size === lines.length ? profiles : undefined
    },
    of(host) {
      // What a crash tears is zeros; they could stand where the host was.
      if (!isHost(host)) return []
      if (bytes.includes(0, bodyAt)) return undefined
      const names = lineAfter(`\n@${host} `)?.split(' ')
      if (names === undefined && !isWhole()) return undefined
      const profiles: Profile[] = []
      for (const name of names ?? []) {
        const found = profile(name)
        if (found === undefined) return undefined
        profiles.push(found)
      }
      return profiles
    },
  }
}

/** Keeps a configuration that has no problem, for the next call. Best effort. */
export async function writeCompiled(
  source: ConfigBytes,
  config: Config,
  environment: Environment,
  stateDir: StateDir,
): Promise<void> {
  const { parsePattern } = await import('./match.ts')
  const lines = Array.from(config.profiles, ([name, profile]) => `${name} ${JSON.stringify(profile)}\n`)
  const hosts = new Map<string, Set<string>>()
  for (const { name, match } of config.profiles.values()) {
    for (const text of match) {
      const pattern = parsePattern(text)
      if (!('problem' in pattern)) hosts.set(pattern.host, (hosts.get(pattern.host) ?? new Set()).add(name))
    }
  }
  for (const [host, names] of hosts) lines.push(`@${host} ${[...names].join(' ')}\n`)
  const body = `\n${config.store}\n${lines.join('')}end ${lines.length}\n`
  try {
    stateDir.ensure('config')
    const content = Buffer.concat([headOf(source, environment), source.bytes, Buffer.from(body)])
    writeFileAtomic(compiledPath(source.file, stateDir), content, environment.pid, false)
  } catch {
    // The next call parses again.
  }
}

/** What the last line, `end COUNT`, says; `undefined` where it is torn. */
function countAtEnd(text: string): number | undefined {
  const at = text.lastIndexOf('\nend ')
  const count = at < 0 || !text.endsWith('\n') ? '' : text.slice(at + '\nend '.length, -1)
  return count !== '' && Number(count) >= 0 ? Number(count) : undefined
}

function headOf({ file, bytes }: ConfigBytes, { home }: Environment): Buffer {
  return Buffer.from(`tokctl-config ${compiledVersion}\n${JSON.stringify([file, home])}\n${bytes.length}\n`)
}

// Anything else could be found across the lines of the copy, and is no host either.
function isHost(text: string): boolean {
  return /^[^\s]+$/.test(text)
}

function decode(name: string, json: string): Profile | undefined {
  try {
    const found = JSON.parse(json) as Profile
    return found.name === name && typeof found.binding === 'string' ? found : undefined
  } catch {
    return undefined
  }
}

// Two paths of one stem would only rewrite each other's copy: the path itself stands in the head.
function compiledPath(file: string, stateDir: StateDir): string {
  let hash = 0x811c9dc5
  for (let i = 0; i < file.length; i++) hash = Math.imul(hash ^ file.charCodeAt(i), 0x01000193)
  const stem = basename(file)
    .replace(/[^A-Za-z0-9]+/g, '-')
    .slice(0, 32)
  return stateDir.file('config', `${stem}-${(hash >>> 0).toString(16).padStart(8, '0')}.compiled`)
}
