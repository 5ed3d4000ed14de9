import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import type { StateDir } from '../core/state-dir.ts'
import { type StoreKind, storeKinds } from '../profile/profile.ts'
import type { OpenSealed, Sealer } from './seal-head.ts'
import type { OpenSocket } from './socket.ts'
import type { Store } from './store.ts'

/** How a store is opened. */
export interface OpenStoreOptions {
  readonly kind: StoreKind
  /** What `auto` took before, for the profile in question; `undefined` where it never did. */
  readonly recorded: 'keychain' | 'file' | undefined
  readonly environment: Environment
  readonly stateDir: StateDir
  /**
   * What the caller's whole call may take: no read of the keychain takes longer, nor longer than 2 s. Writes keep their
   * 2 s, since what they keep may be the only copy.
   */
  readonly timeoutMs?: number
  /**
   * Asked before each connection how this runtime connects to the session bus: with a socket that may hold up the process
   * as long as nothing else is to be done. `undefined` where `node:net` does it.
   */
  readonly busSocket?: (() => Promise<OpenSocket | undefined>) | undefined
  readonly openSealed?: OpenSealed | undefined
  readonly sealer?: (() => Promise<Sealer>) | undefined
  /** Told, once per state directory, that files were taken for want of a keychain. */
  warn(message: string): void
  /** Told of what reads as nothing kept; for `--verbose`. */
  trace?(message: string): void
}

/**
 * The kind in force: `TOKCTL_STORE` where it is set, else the configured one.
 *
 * @throws {TokctlError} `config_invalid`
 */
export function storeKind({ env }: Pick<Environment, 'env'>, configured: StoreKind): StoreKind {
  const named = env['TOKCTL_STORE']
  if (!named) return configured
  const kind = storeKinds.find(kind => kind === named)
  if (kind !== undefined) return kind
  throw new TokctlError('config_invalid', `TOKCTL_STORE: unknown store kind "${printable(named)}"`, {
    hint: `one of: ${storeKinds.join(', ')}`,
  })
}

const maxReadMs = 2000

type Open = (options: OpenStoreOptions) => Promise<Store>

const stores: { readonly [kind in StoreKind]: Open } = {
  auto: openAuto,
  keychain: openKeychain,
  file: options => openFile(options, true),
  memory: async () => (await import('./memory.ts')).memoryStore(),
}

/**
 * Opens a store of that kind. One that was chosen by name never falls back to another; `auto` takes what it took before,
 * else the keychain, and files only where there is no keychain on this machine.
 *
 * @throws {TokctlError} `store_unavailable`, `store_locked`, `store_denied`, `store_timeout`, `store_failed`
 */
export function openStore(options: OpenStoreOptions): Promise<Store> {
  return stores[options.kind](options)
}

async function openKeychain(options: OpenStoreOptions): Promise<Store> {
  const { environment, stateDir, timeoutMs = maxReadMs, trace = () => {}, busSocket } = options
  const readTimeoutMs = Math.min(maxReadMs, timeoutMs)
  return (await import('./keychain.ts')).openKeychain({
    environment,
    stateDir,
    readTimeoutMs,
    busSocket,
    trace,
  })
}

async function openFile(options: OpenStoreOptions, keepsRefreshTokens: boolean): Promise<Store> {
  const { environment, stateDir, trace = () => {}, openSealed, sealer } = options
  return (await import('./file.ts')).fileStore({
    environment,
    stateDir,
    keepsRefreshTokens,
    trace,
    openSealed,
    sealer,
  })
}

async function openAuto(options: OpenStoreOptions): Promise<Store> {
  if (options.recorded === 'keychain') return openKeychain(options)
  if (options.recorded === 'file') return openFile(options, false)
  const { KeychainAbsent } = await import('./keychain-errors.ts')
  let keychain: Store | undefined
  try {
    keychain = await openKeychain(options)
    // Looked for and not found is an answer; locked, denied and too slow are not, and no reason for another store either.
    await keychain.get({ kind: 'profile', name: 'probe of the keychain' })
    return keychain
  } catch (error) {
    keychain?.close()
    if (!(error instanceof KeychainAbsent)) throw error
    await sayOnce(options, error.message)
    return openFile(options, false)
  }
}

async function sayOnce({ stateDir, warn }: OpenStoreOptions, why: string): Promise<void> {
  const { closeSync, openSync } = await import('node:fs')
  const records = stateDir.file('records')
  try {
    stateDir.ensure()
    // Made by one process alone, however many come at once.
    closeSync(openSync(stateDir.file('no-keychain'), 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    // What cannot be remembered is said again.
  }
  warn(
    `${why}; access tokens are kept in sealed files in ${records}, refresh tokens not at all (kind = "file" keeps both)`,
  )
}
