import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { writeFileAtomic } from './core/atomic-file.ts'
import type { Environment } from './core/environment.ts'
import { printable, TokctlError } from './core/errors.ts'
import { stableJitter, type Timing } from './core/freshness.ts'
import type { Lock, LockCalls } from './core/lock.ts'
import { createManager, type Manager } from './core/manager.ts'
import { type Outcomes, openOutcomes } from './core/outcome.ts'
import type { Notices, Session, StartedRenewal } from './core/ports.ts'
import { childEnvironment, type RunProgram, type Variables } from './core/program.ts'
import { readStateFile } from './core/read-file.ts'
import type { Secret } from './core/secret.ts'
import { stateDir as openStateDir, type StateDir } from './core/state-dir.ts'
import type { Clock } from './core/time.ts'
import { ofThisJob } from './profile/job.ts'
import { configFile, loadCandidates, loadConfig, loadProfile, loadProjectProfiles } from './profile/load.ts'
import type { Config, Profile, StoreKind, TlsKeys } from './profile/profile.ts'
import type { SourcePorts, TokenSource } from './source/source.ts'
import type { Send } from './source/transport.ts'
import type { Upstream } from './source/upstream-pool.ts'
import type { DirectWire } from './source/wire.ts'
import type { Credentials } from './store/credentials.ts'
import type { Journal } from './store/journal.ts'
import type { OpenSealed, Sealer } from './store/seal-head.ts'
import type { Store } from './store/store.ts'
import { type OpenStoreOptions, openStore, storeKind } from './store/stores.ts'
import { isStuck } from './store/stuck.ts'

/** What a whole program stands on, besides the machine. */
export interface AppOptions {
  readonly environment: Environment
  readonly clock: Clock
  /** The configuration file that was named on the command line. */
  readonly configFlag: string | undefined
  /** The store that the caller named; stands above the configuration and the environment. */
  readonly storeFlag?: StoreKind | undefined
  readonly notices: Notices
  /** Starts a renewal of that profile that outlives this process. @param force - However good the kept token is. */
  renewLater(configFile: string | undefined, profile: string, force: boolean): Promise<StartedRenewal>
  /** @see OpenStoreOptions.busSocket */
  readonly busSocket?: OpenStoreOptions['busSocket']
  readonly openSealed?: OpenSealed | undefined
  readonly sealer?: (() => Promise<Sealer>) | undefined
  /** The kernel's lock, as this runtime calls it; `undefined` where it cannot. */
  lockCalls(): Promise<LockCalls | undefined>
  /** HTTP without a proxy in between, as this runtime does it; `node:http` without it. */
  readonly directWire?: DirectWire | undefined
}

/** The parts, put together. Nothing is opened before it is used. */
export interface App {
  readonly stateDir: StateDir
  /** For whoever opens a store of his own. */
  readonly busSocket: OpenStoreOptions['busSocket']
  readonly outcomes: Outcomes
  readonly manager: Manager
  /**
   * The source of a profile by itself: what it fetches is not kept.
   *
   * @param onClock - Told after each answer how far that server's clock is ahead of ours, in milliseconds.
   */
  source(profile: Profile, onClock?: (aheadMs: number) => void): Promise<TokenSource>
  /** @throws {TokctlError} `config_not_found`, `config_invalid`, `unknown_profile` */
  profile(name: string): Promise<Profile>
  /**
   * The profile that a URL gets its token from; of the user that was named, if one was.
   *
   * @throws {TokctlError} `config_not_found`, `config_invalid`
   */
  profileFor(url: string, user?: string | undefined): Promise<Profile | undefined>
  /** @throws {TokctlError} `config_not_found`, `config_invalid` */
  config(): Promise<Config>
  /**
   * Does the work while no other process edits the configuration.
   *
   * @throws {TokctlError} `lock_timeout`; whatever the work throws
   */
  whileEditing(work: () => void): Promise<void>
  /**
   * Does the work while no other process of this user keeps values in a file for later steps.
   *
   * @throws {TokctlError} `lock_timeout`; whatever the work throws
   */
  whileKeeping(work: () => void): Promise<void>
  /**
   * Does the work while no other process sets up another tool.
   *
   * @throws {TokctlError} `lock_timeout`; whatever the work throws
   */
  whileSettingUp(work: () => Promise<void>): Promise<void>
  /**
   * Does the work while no other process of this user does the same for one of these profiles.
   *
   * @throws {TokctlError} `lock_timeout`; whatever the work throws
   */
  whileWatching(profiles: readonly string[], work: () => Promise<void>): Promise<void>
  /**
   * The environment of a program that is started for a profile, or for none.
   *
   * @throws {TokctlError} `config_not_found`, `config_invalid`
   */
  childEnvironment(profile: Profile | undefined): Promise<Variables>
  /**
   * The store that keeps secrets handed over by name.
   *
   * @param isFirst - The configuration that is named may be made only afterwards.
   */
  secrets(isFirst?: boolean): Promise<Store>
  /**
   * What other tools handed over to be kept, in the store of the configuration that was read last; without one, of none.
   *
   * @see Credentials
   */
  credentials(): Promise<Credentials>
  /** The lock that all processes of this user share. */
  lock(): Promise<Lock>
  /** The transport, as every source has it. */
  send(): Promise<Send>
  /**
   * The way to one origin, with that TLS material; its secrets are read as those of the profile are.
   *
   * @throws {TokctlError} `config_invalid`, or what its secrets cannot be read for
   */
  upstream(origin: string, keys: TlsKeys, profile: Profile): Promise<Upstream>
  /** Lets go of connections. */
  close(): void
  /** Whether a native keychain call holds up every ordinary end of the process. */
  isStuck(): boolean
}

/** How long another process may take to edit the configuration, or what is kept for other tools. */
const editMs = 10_000
/** How long others may take to set up tools, which are started for it. */
const setupMs = 60_000
/** What a reading of the keychain may take, in milliseconds. */
const keychainMs = 2000

/** Builds store, source and manager for a profile when they are asked for. */
export function createApp(options: AppOptions): App {
  const { environment, clock, configFlag, storeFlag, notices, renewLater } = options
  const { lockCalls, busSocket, openSealed, sealer, directWire } = options
  const stateDir = openStateDir(environment)
  const outcomes = openOutcomes(stateDir, environment.pid)
  const stores = new Map<string, Promise<Store>>()
  let chosen: { file: string; store: StoreKind } | undefined

  async function profile(name: string): Promise<Profile> {
    const found = await loadProfile(environment, stateDir, name, configFlag)
    chosen = found.config
    notices.trace(`configuration ${chosen.file}`)
    return ofThisJob(found.profile, environment)
  }

  async function profileFor(url: string, user?: string | undefined): Promise<Profile | undefined> {
    const [{ match }, found] = await Promise.all([
      import('./profile/match.ts'),
      loadCandidates(environment, stateDir, url, configFlag),
    ])
    chosen = found.config
    const own = [...found.profiles]
    let profile = match(url, own, user)
    // A project never takes a place from the user's own, however much longer its path is, and whatever user was named.
    if (profile === undefined && match(url, own) === undefined) {
      profile = match(url, await loadProjectProfiles(environment, stateDir, configFlag), user)
    }
    const { file } = chosen
    const who = profile === undefined ? 'no profile' : `profile "${profile.name}"`
    notices.trace(() => `configuration ${file}: ${who} matches ${shownAddress(url)}`)
    return profile && ofThisJob(profile, environment)
  }

  async function config(): Promise<Config> {
    const found = await loadConfig(environment, stateDir, configFlag)
    chosen = found
    const profiles = new Map<string, Profile>()
    for (const [name, profile] of found.profiles) profiles.set(name, await ofThisJob(profile, environment))
    return { ...found, profiles }
  }

  // Only the keychain may be slow; a call with little time of its own gets one that gives up in that time.
  function open(recorded: 'keychain' | 'file' | undefined, callMs = keychainMs): Promise<Store> {
    const kind = kindInForce()
    const timeoutMs = Math.min(keychainMs, callMs)
    const key = kind === 'auto' || kind === 'keychain' ? `${kind} ${recorded} ${timeoutMs}` : kind
    let store = stores.get(key)
    if (store === undefined) {
      notices.trace(
        `store ${kind}${recorded === undefined ? '' : `, ${recorded} as before`}${environment.env['TOKCTL_STORE'] ? ', by TOKCTL_STORE' : ''}`,
      )
      store = openStore({
        kind,
        recorded,
        environment,
        stateDir,
        timeoutMs,
        busSocket,
        openSealed,
        sealer,
        warn: notices.warn,
        trace: notices.trace,
      })
      stores.set(key, store)
    }
    return store
  }

  function kindInForce(): StoreKind {
    return storeFlag ?? storeKind(environment, chosen?.store ?? 'auto')
  }

  function choosesStore(): boolean {
    return kindInForce() === 'auto'
  }

  async function storeOf(profile: Profile, callMs?: number): Promise<Store> {
    stateDir.check()
    // Only `auto` must know what it took before.
    return open(choosesStore() ? outcomes.read(profile.name)?.auto : undefined, callMs)
  }

  async function source(profile: Profile, onClock?: (aheadMs: number) => void): Promise<TokenSource> {
    const [{ createSource }, ports] = await Promise.all([import('./source/sources.ts'), sourcePorts(profile)])
    if (onClock === undefined) return createSource(profile, ports)
    const { serverAhead } = await import('./source/lifetime.ts')
    return createSource(profile, {
      ...ports,
      async send(request) {
        const sentAt = clock.now()
        const response = await ports.send(request)
        const { date } = response.headers
        if (date !== undefined) onClock(serverAhead(date, sentAt, clock.now()))
        return response
      },
    })
  }

  async function sourcePorts(own: Profile): Promise<SourcePorts> {
    const { createResolver } = await import('./profile/resolve.ts')
    // Most sources start no program, and what starts one costs a millisecond to load.
    const run: RunProgram = async call => {
      const place = own.name.includes('@') ? await projectDirectory() : {}
      const { runProgram } = await import('./core/run-program.ts')
      return runProgram({ ...call, ...place, env: await environmentFor(own) })
    }
    const resolve = createResolver({
      environment,
      run,
      readSecret: async name => (await open(undefined)).get({ kind: 'secret', name }),
      readKeychain: async (service, account) => {
        const { readItem } = await import('./store/keychain.ts')
        return readItem(environment, service, account, busSocket)
      },
    })
    return {
      clock,
      environment,
      send: await send(),
      resolve,
      tokenOf: async (name, timeoutMs, signal) =>
        manager.get(await profile(name), { timeoutMs: Math.max(1, timeoutMs) }, signal),
      cache: dayCache(stateDir, environment.pid),
      run,
      trace: notices.trace,
    }
  }

  // What a project runs was shown, and is held, as it stands there: another directory of it may have a file of that name.
  async function projectDirectory(): Promise<{ cwd?: string }> {
    const file = (await import('./profile/project.ts')).findProject(environment)
    return file === undefined ? {} : { cwd: dirname(file) }
  }

  async function send(): Promise<Send> {
    const { createSend } = await import('./source/send.ts')
    return createSend({ environment, clock, directWire, trace: notices.trace, wireLog: notices.wireLog })
  }

  async function environmentFor(own: Profile | undefined): Promise<Variables> {
    const [{ withheldFrom }, { profiles }] = await Promise.all([
      import('./profile/secret-variables.ts'),
      loadConfig(environment, stateDir, configFlag),
    ])
    return childEnvironment(environment, withheldFrom(own, profiles.values(), environment.platform))
  }

  async function revoke(
    profile: Profile,
    session: Session,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { revoke } = await import('./source/revoke.ts')
    await revoke(profile, session, await sourcePorts(profile), timeoutMs, signal)
  }

  async function lock(): Promise<Lock> {
    const { createLock, kernelLock } = await import('./core/lock.ts')
    const calls = await lockCalls()
    if (calls !== undefined) {
      const kernel = kernelLock(calls, environment.platform === 'win32', environment.uid)
      return createLock(kernel, stateDir, clock, environment.pid)
    }
    const { linkLock } = await import('./core/link-lock.ts')
    return createLock(linkLock(clock, environment.pid), stateDir, clock, environment.pid)
  }

  /** @param key - One that is no name of a profile. */
  async function exclusively(
    key: string,
    what: string,
    work: () => Promise<void>,
    timeoutMs = editMs,
  ): Promise<void> {
    const wait = { purpose: 'edit', timeoutMs, signal: undefined } as const
    const result = await (await lock()).withLock(key, wait, work)
    if (result.kind === 'held') return
    throw new TokctlError('lock_timeout', `${what} being edited by another process`, {
      hint: 'run the command again',
    })
  }

  async function whileWatching(profiles: readonly string[], work: () => Promise<void>): Promise<void> {
    const [name, ...rest] = profiles
    if (name === undefined) return work()
    const wait = { purpose: 'watch', timeoutMs: 0, signal: undefined } as const
    // No profile has a name like this one.
    const result = await (await lock()).withLock(`@watch-${name}`, wait, () => whileWatching(rest, work))
    if (result.kind === 'held') return
    const holder = result.kind === 'timeout' ? result.holder : undefined
    const who = holder === undefined ? 'another process' : `process ${holder.pid}`
    throw new TokctlError('lock_timeout', `profile "${name}" is watched by ${who} already`, { profile: name })
  }

  // One for each attempt: it holds the file that the answer goes into.
  async function journal(): Promise<Journal> {
    return (await import('./store/journal-file.ts')).openJournal(stateDir, environment)
  }

  const manager = createManager({
    clock,
    outcomes,
    store: storeOf,
    choosesStore,
    source: profile => source(profile),
    revoke,
    lock,
    timing: profile => timingOf(profile, environment),
    renewLater: (profile, force) =>
      // A project's is found again from the working directory, and only while it is trusted.
      renewLater(profile.name.includes('@') ? undefined : chosen?.file, profile.name, force),
    journal,
    async newEtag() {
      const random =
        sealer === undefined ? (await import('node:crypto')).randomBytes(12) : (await sealer()).random(12)
      return random.toString('base64url')
    },
    digest: async (secret: Secret) =>
      (await import('node:crypto')).createHash('sha256').update(secret.expose()).digest('hex'),
    notices,
  })

  return {
    stateDir,
    busSocket,
    outcomes,
    manager,
    source,
    profile,
    profileFor,
    config,
    childEnvironment: environmentFor,
    whileWatching,
    whileEditing: work => exclusively('@configuration', 'the configuration is', async () => work()),
    whileKeeping: work => exclusively('@ci-files', 'the file of values is', async () => work()),
    whileSettingUp: work => exclusively('@setup', 'the configuration of tools is', work, setupMs),
    async credentials() {
      const { openCredentials } = await import('./store/credentials.ts')
      return openCredentials({
        stateDir,
        pid: environment.pid,
        // Of `auto` the keychain alone: files whose key lies beside them are no place for passwords.
        store: () => open('keychain'),
        now: () => clock.now(),
        exclusively: work => exclusively('@credentials', 'the kept passwords are', work),
      })
    },
    async secrets(isFirst = false) {
      // A first secret may come before the first profile.
      await config().catch(error => {
        if (!(error instanceof TokctlError) || error.code !== 'config_not_found') throw error
        if (!isFirst && configFile(environment, configFlag).chosenBy !== 'default') throw error
      })
      return open(undefined)
    },
    lock,
    send,
    async upstream(origin, keys, profile) {
      const [{ openUpstream }, { readTlsMaterial }, ports] = await Promise.all([
        import('./source/upstream-pool.ts'),
        import('./source/tls-material.ts'),
        sourcePorts(profile),
      ])
      return openUpstream(origin, await readTlsMaterial(keys, ports, undefined), environment)
    },
    isStuck,
    close() {
      for (const store of stores.values()) {
        store.then(
          open => open.close(),
          () => {},
        )
      }
    },
  }
}

/** A profile's timing on this machine. */
export function timingOf(profile: Profile, environment: Environment): Timing {
  return {
    refreshBeforeMs: profile.refresh_before_ms,
    minValidityMs: profile.min_validity_ms,
    jitter: of => stableJitter(machineOf(environment), profile.name, of),
  }
}

// What another tool asks for may be written in any way, with a password in it too.
function shownAddress(url: string): string {
  return url.includes('@') ? 'an address that names a user' : `"${printable(url)}"`
}

function machineOf({ env, platform }: Environment): string {
  if (platform === 'linux') {
    try {
      return readFileSync('/etc/machine-id', 'utf8')
    } catch {}
  }
  return env['COMPUTERNAME'] ?? env['HOSTNAME'] ?? env['HOST'] ?? ''
}

function dayCache(
  stateDir: StateDir,
  pid: number,
): { read(name: string): string | undefined; write(name: string, content: string): void } {
  return {
    read: name => readStateFile(stateDir.file('cache', name)),
    write(name, content) {
      try {
        writeFileAtomic(join(stateDir.ensure('cache'), name), content, pid, false)
      } catch {
        // The next call asks the server again.
      }
    },
  }
}
