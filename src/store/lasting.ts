import { TokctlError } from '../core/errors.ts'
import type { Store } from './store.ts'

/**
 * Passes a store that keeps what cannot be had again.
 *
 * @param what - `secret`, `password`
 * @throws {TokctlError} `store_unavailable`: one that forgets, or files that `auto` took for want of a keychain
 */
export function lasting(store: Store, what: string): Store {
  if (store.kind === 'memory') {
    throw new TokctlError('store_unavailable', `the memory store keeps no ${what} beyond this call`, {
      hint: 'choose another store: kind = "keychain" or kind = "file"',
    })
  }
  if (!store.keepsRefreshTokens) {
    throw new TokctlError('store_unavailable', `there is no keychain on this machine to keep a ${what} in`, {
      hint: 'choose sealed files by name: kind = "file" under [store]',
    })
  }
  return store
}
