import type { Environment } from '../core/environment.ts'
import type { Secret } from '../core/secret.ts'
import { type StateDir, stateDir as stateDirOf } from '../core/state-dir.ts'
import type { OpenSocket } from './socket.ts'
import type { Keychain } from './store.ts'

/** What a keychain may need, whichever it is. */
export interface KeychainOptions {
  readonly environment: Environment
  readonly stateDir: StateDir
  /** For each operation. */
  readonly timeoutMs?: number
  /** For `get`, where that is to be shorter. */
  readonly readTimeoutMs?: number
  /** @see OpenStoreOptions.busSocket */
  readonly busSocket?: (() => Promise<OpenSocket | undefined>) | undefined
  trace(message: string): void
}

/**
 * This platform's keychain: the native one on macOS and Windows, the Secret Service elsewhere. Asks it nothing yet.
 *
 * @throws {KeychainAbsent} the native package is not installed
 */
export async function openKeychain(options: KeychainOptions): Promise<Keychain> {
  const { platform } = options.environment
  if (platform === 'darwin' || platform === 'win32') {
    const { loadNativeKeyring, nativeKeychain } = await import('./keychain-native.ts')
    return nativeKeychain({ ...options, keyring: await loadNativeKeyring() })
  }
  const { secretService } = await import('./secret-service.ts')
  return secretService(options)
}

/**
 * Reads an item that another application keeps, from this platform's keychain whatever store is configured.
 *
 * @returns `undefined` where there is none.
 * @throws {TokctlError} `store_unavailable`, `store_locked`, `store_denied`, `store_timeout`, `store_failed`
 */
export async function readItem(
  environment: Environment,
  service: string,
  account: string,
  busSocket?: () => Promise<OpenSocket | undefined>,
): Promise<Secret | undefined> {
  const keychain = await openKeychain({
    environment,
    stateDir: stateDirOf(environment),
    busSocket,
    trace() {},
  })
  try {
    return await keychain.readItem(service, account)
  } finally {
    keychain.close()
  }
}
