import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileStem, type StateDir } from '../core/state-dir.ts'
import type { Config } from '../profile/profile.ts'
import { fileNameOf, keyOfFileName } from '../store/file-name.ts'
import type { CommandContext } from './command.ts'
import { isAlive } from './processes.ts'

// What lies in the state directory and serves nobody. A lock file is never deleted: whoever waits for it waits for that file.

const profileName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:@[a-z0-9-]{1,32})?$/

/** A process elsewhere may share the directory and not our ids: what it writes takes no longer than this. */
const writtenMs = 600_000
/** No write takes this long: an id that is in use by then is another process's, unless that has this very file open. */
const leftMs = 3_600_000
const dayMs = 86_400_000

/** What a pruning does, and tells. */
export interface Pruning {
  readonly isDry: boolean
  /** Profiles of which something stays in a store; `undefined` once a store could not be looked through. */
  stays: Set<string> | undefined
  /** The stores that were looked through. */
  readonly seen: Set<string>
  drop(what: string): void
  keep(what: string, why: string): void
}

/** Drops left-over files, each looked at again before it goes. */
export async function pruneFiles(config: Config, pruning: Pruning, context: CommandContext): Promise<void> {
  const { app, clock } = context
  const { stateDir } = app

  const drop = (path: string, what: string): void => {
    if (pruning.isDry) {
      pruning.drop(what)
      return
    }
    try {
      unlinkSync(path)
      pruning.drop(what)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        pruning.keep(what, (error as NodeJS.ErrnoException).code ?? 'error')
    }
  }

  // Temporary files of processes that ended in the midst of a write.
  for (const directory of [
    '',
    'records',
    'outcomes',
    'config',
    'cache',
    'keychain',
    'locks',
    'trust',
    'credentials',
    'journal',
  ]) {
    for (const name of namesIn(stateDir.file(directory))) {
      const pid = /\.(\d+)\.[\da-f]+\.tmp$/.exec(name)?.[1]
      if (pid === undefined) continue
      const path = join(stateDir.file(directory), name)
      const ageMs = clock.now() - changedAt(path)
      if (isAlive(Number(pid)) ? ageMs > leftMs && !mayHoldOpen(pid, path) : ageMs > writtenMs)
        drop(path, `temporary file ${name} of process ${pid}, which has ended`)
    }
  }

  for (const name of namesIn(stateDir.file('cache'))) {
    const path = join(stateDir.file('cache'), name)
    if (!name.endsWith('.tmp') && clock.now() - changedAt(path) > 2 * dayMs)
      drop(path, `what a server said of itself, older than two days (${name})`)
  }

  for (const [directory, ending, what] of [
    ['config', '.compiled', 'compiled copy of'],
    ['trust', '.trust', 'trust in'],
  ] as const) {
    for (const name of namesIn(stateDir.file(directory))) {
      if (!name.endsWith(ending)) continue
      const path = join(stateDir.file(directory), name)
      const file = namedIn(path)
      if (file !== undefined && !existsSync(file)) drop(path, `${what} ${file}, which is gone`)
    }
  }

  // Sealed files that no item of the keychain can name, since there is none.
  const items = stateDir.file('keychain')
  for (const name of namesIn(items)) {
    const stem = /^(.*)~[\da-f]+\.sealed$/.exec(name)?.[1]
    const key = stem === undefined ? undefined : keyOfFileName(stem)
    if (key === undefined || existsSync(join(items, `${fileNameOf(key)}.item`))) continue
    const path = join(items, name)
    if (clock.now() - changedAt(path) > writtenMs) drop(path, `sealed file ${name}, whose item is gone`)
  }

  await pruneOutcomes()

  // How attempts ended, of profiles that are not there and for which nothing is kept.
  async function pruneOutcomes(): Promise<void> {
    const directory = stateDir.file('outcomes')
    const configured = new Set([...config.profiles.keys()].map(name => `${fileStem(name)}.json`))
    for (const name of namesIn(directory)) {
      if (!name.endsWith('.json') || configured.has(name)) continue
      const profile = name
        .slice(0, -'.json'.length)
        .replace(/=([a-z])/g, (_, letter: string) => letter.toUpperCase())
      if (!profileName.test(profile)) continue
      const project = /@(.*)$/.exec(profile)?.[1]
      if (project !== undefined && isKnownProject(project, stateDir)) continue
      const outcome = app.outcomes.read(profile)
      // What stayed in a store keeps its outcome, and so does what may lie in one that was not looked through.
      if (pruning.stays === undefined || pruning.stays.has(profile)) continue
      const places = [outcome?.store, outcome?.auto]
      if (places.some(place => place !== undefined && !pruning.seen.has(place))) continue
      const what = `how the last attempt for profile "${profile}" ended`
      if (pruning.isDry) {
        pruning.drop(what)
        continue
      }
      const wait = { purpose: 'edit', timeoutMs: 0, signal: undefined } as const
      await (await app.lock()).withLock(profile, wait, async () => {
        if (app.outcomes.read(profile)?.etag === outcome?.etag) drop(join(directory, name), what)
      })
    }
  }
}

/** Tells whether a project of that id was trusted, and its file, in whatever state, is still there. */
export function isKnownProject(id: string, stateDir: StateDir): boolean {
  const file = namedIn(stateDir.file('trust', `${id}.trust`))
  return file !== undefined && existsSync(file)
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    return []
  }
}

/** As now, where it is no file: such a one is left alone. */
function changedAt(path: string): number {
  try {
    const found = lstatSync(path)
    return found.isFile() ? found.mtimeMs : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** Tells whether a process may have that file open: where the system does not say, it may. */
function mayHoldOpen(pid: string, path: string): boolean {
  const open = `/proc/${pid}/fd`
  try {
    const real = realpathSync(path)
    return readdirSync(open).some(fd => linkIn(join(open, fd)) === real)
  } catch {
    return true
  }
}

function linkIn(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** The path that stands in the second line of a compiled copy or of a trust. */
function namedIn(path: string): string | undefined {
  try {
    const fd = openSync(path, 'r')
    try {
      const head = Buffer.alloc(8192)
      const line = head.toString('utf8', 0, readSync(fd, head)).split('\n')[1]
      const found: unknown = JSON.parse(line ?? '')
      const file = Array.isArray(found) ? found[0] : found
      return typeof file === 'string' ? file : undefined
    } finally {
      closeSync(fd)
    }
  } catch {
    return undefined
  }
}
