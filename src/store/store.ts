import type { Secret } from '../core/secret.ts'

/**
 * What an item is: the record of a profile, a secret that a person handed over under a name, or what other tools handed
 * over for a place such as `https://git.example.com`.
 */
export interface StoreKey {
  readonly kind: 'profile' | 'secret' | 'credential'
  readonly name: string
}

/**
 * Keeps secret texts by key. Every call ends within its deadline, whatever the keychain does.
 *
 * All four throw {TokctlError} `store_unavailable`, `store_locked`, `store_denied`, `store_timeout`, `store_failed` or `state_dir_unsafe`.
 */
export interface Store {
  /** Which one it is, as the configuration names it. */
  readonly kind: 'keychain' | 'file' | 'memory'
  /** Whether other processes see what is kept here. */
  readonly shared: boolean
  /** False only for the files that `auto` took for want of a keychain: those keep access tokens, never a refresh token. */
  readonly keepsRefreshTokens: boolean
  get(key: StoreKey): Promise<Secret | undefined>
  set(key: StoreKey, value: Secret): Promise<void>
  /** @returns Whether there was one. */
  delete(key: StoreKey): Promise<boolean>
  /** Keys alone: no secret is read and nobody is prompted. */
  list(): Promise<StoreKey[]>
  /** Lets go of connections, so that the process can end. May be called at any time, also twice. */
  close(): void
}

/** A keychain reads, besides, what other applications keep there. */
export interface Keychain extends Store {
  readonly kind: 'keychain'
  /**
   * Reads the item of another application, the newest one where several match.
   *
   * @returns `undefined` where there is none, or an empty one.
   * @throws {TokctlError} as the four others; `store_failed` also for what is not text
   */
  readItem(service: string, account: string): Promise<Secret | undefined>
}
