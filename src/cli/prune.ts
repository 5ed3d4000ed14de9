import { existsSync } from 'node:fs'
import { TokctlError } from '../core/errors.ts'
import { fileStem } from '../core/state-dir.ts'
import type { Config } from '../profile/profile.ts'
import { type CacheRecord, decodeRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { openStore, storeKind } from '../store/stores.ts'
import type { CommandContext, Define } from './command.ts'
import { writeOut } from './io.ts'
import { isKnownProject, type Pruning, pruneFiles } from './prune-files.ts'
import { warn } from './report.ts'

const lockMs = 2000

interface PruneOptions {
  readonly dryRun?: boolean
  readonly logins?: boolean
}

// The names that profiles have, those of projects included.
const ownName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:@[a-z0-9-]{1,32})?$/

/** `tokctl prune`: drops what nobody can use. */
export const define: Define = (program, run) => {
  program
    .command('prune')
    .summary('drop what nobody can use')
    .description(
      'Drops the tokens that are over of profiles that are configured no more or otherwise now, and what is left of dead processes and of files that are gone. What another configuration could still use stays, and is named.',
    )
    .option('--dry-run', 'say what would be dropped, and drop nothing')
    .option('--logins', 'drop logins and valid tokens too that no profile here can use')
    .addHelpText('after', '\nExample:\n  tokctl prune --dry-run')
    .action((options: PruneOptions) => run(context => prune(options, context)))
}

async function prune({ dryRun, logins }: PruneOptions, context: CommandContext): Promise<void> {
  const { app } = context
  // Without a configuration everything would look like nobody's.
  const config = await app.config()
  app.stateDir.check()
  const lines: string[] = []
  const isDry = dryRun === true
  const pruning: Pruning = {
    isDry,
    stays: new Set(),
    seen: new Set(),
    drop: what => lines.push(`${isDry ? 'would drop' : 'dropped'}: ${what}\n`),
    keep: (what, why) => lines.push(`kept: ${what}: ${why}\n`),
  }
  await pruneRecords(config, logins === true, pruning, context)
  await pruneFiles(config, pruning, context)
  writeOut(lines.length === 0 ? 'nothing to drop\n' : lines.join(''))
}

async function pruneRecords(
  config: Config,
  dropsLogins: boolean,
  pruning: Pruning,
  { app, clock, environment }: CommandContext,
): Promise<void> {
  const { stateDir, busSocket } = app
  const options = { environment, stateDir, busSocket, recorded: undefined, warn() {}, trace() {} }
  const kind = storeKind(environment, config.store)
  const kinds = kind === 'auto' ? (['keychain', 'file'] as const) : kind === 'memory' ? [] : [kind]
  for (const each of kinds) {
    let store: Store | undefined
    try {
      store = await openStore({ ...options, kind: each })
      for (const { kind: of, name } of await store.list()) {
        // Anything else in the keychain is somebody else's.
        if (of !== 'profile' || !ownName.test(name)) continue
        if (!(await pruneRecord(name, store))) pruning.stays?.add(name)
      }
      pruning.seen.add(each)
    } catch (error) {
      const { KeychainAbsent } = await import('../store/keychain-errors.ts')
      if (error instanceof KeychainAbsent && kind === 'auto') continue
      if (!(error instanceof TokctlError)) throw error
      pruning.stays = undefined
      warn(
        `the ${each === 'file' ? 'sealed files were' : 'keychain was'} not looked through: ${error.message}`,
      )
    } finally {
      store?.close()
    }
  }

  /** @returns Whether it goes. */
  async function pruneRecord(name: string, store: Store): Promise<boolean> {
    const profile = config.profiles.get(name)
    // A job's token looks like another's to every other job, and a project's is its own while the project is known.
    if (profile?.job_bound === true) return false
    const project = /@(.*)$/.exec(name)?.[1]
    if (profile === undefined && project !== undefined && isKnownProject(project, app.stateDir)) return false
    const what = `token of profile "${name}" (${store.kind === 'file' ? 'sealed file' : 'keychain'})`
    const why =
      profile === undefined ? 'no such profile is configured here' : 'it was made for another configuration'
    const isUnused = (record: CacheRecord): boolean =>
      profile === undefined ? true : record.binding !== profile.binding && record.rejected.length === 0
    const key = { kind: 'profile', name } as const
    const text = await store.get(key)
    const record = text === undefined ? undefined : decodeRecord(text)
    if (text === undefined || record === undefined || record === 'newer' || !isUnused(record)) return false
    if (existsSync(app.stateDir.file('journal', `${fileStem(name)}.journal`))) {
      pruning.keep(what, 'a renewal of it has not been brought to its end')
      return false
    }
    if (!dropsLogins) {
      // Whoever names another configuration with --config may need it at once, and a person may have signed in for it.
      if (record.refreshToken !== undefined || record.seed !== undefined) {
        pruning.keep(
          `login of profile "${name}"`,
          `${why}, but it could be used again; drop it with --logins`,
        )
        return false
      }
      const { token } = record
      if (token !== undefined && (token.expiresAt === undefined || token.expiresAt > clock.now())) {
        pruning.keep(what, `${why}, but it is still valid; drop it with --logins`)
        return false
      }
    }
    if (pruning.isDry) {
      pruning.drop(what)
      return true
    }
    const lock = await app.lock()
    const wait = { purpose: 'edit', timeoutMs: lockMs, signal: undefined } as const
    const result = await lock.withLock(name, wait, async () => {
      // Only what was looked at: another process may have kept something since.
      const now = await store.get(key)
      if (now === undefined || !now.equals(text)) return false
      return store.delete(key)
    })
    const isGone = result.kind === 'held' && result.value
    if (isGone) pruning.drop(what)
    else pruning.keep(what, 'another process is at work on it')
    return isGone
  }
}
