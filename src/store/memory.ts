import type { Secret } from '../core/secret.ts'
import { refuseEmpty } from './refuse-empty.ts'
import type { Store, StoreKey } from './store.ts'

/** Keeps everything until the process ends, and shares it with nobody. */
export function memoryStore(): Store {
  const items = new Map<string, { key: StoreKey; value: Secret }>()
  const idOf = ({ kind, name }: StoreKey): string => `${kind} ${name}`
  return {
    kind: 'memory',
    shared: false,
    keepsRefreshTokens: true,
    get: async key => items.get(idOf(key))?.value,
    async set(key, value) {
      refuseEmpty(value.expose())
      items.set(idOf(key), { key, value })
    },
    delete: async key => items.delete(idOf(key)),
    list: async () => [...items.values()].map(({ key }) => key),
    close() {},
  }
}
