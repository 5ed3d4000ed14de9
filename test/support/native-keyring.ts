import type { NativeEntry, NativeKeyring } from '../../src/store/keychain-native.ts'

/** A keychain in memory with the interface, the size limit and the messages of the native one. */
export interface FakeNativeKeyring extends NativeKeyring {
  readonly items: Map<string, Uint8Array>
  /** Set: every call fails with that message. */
  failWith: string | undefined
  /** Set: no call comes back before it is called. */
  hold(): () => void
}

/** @param maxItemBytes - Of one item; more is refused, as Windows does. */
export function fakeNativeKeyring(maxItemBytes = Number.POSITIVE_INFINITY): FakeNativeKeyring {
  const items = new Map<string, Uint8Array>()
  let gate: Promise<void> = Promise.resolve()

  async function answer<T>(work: () => T): Promise<T> {
    await gate
    if (fake.failWith !== undefined) throw new Error(fake.failWith)
    return work()
  }

  class AsyncEntry implements NativeEntry {
    readonly #id: string

    constructor(service: string, account: string) {
      this.#id = `${service}\0${account}`
    }

    getSecret(): Promise<number[] | null> {
      return answer(() => {
        const found = items.get(this.#id)
        return found === undefined ? null : [...found]
      })
    }

    getPassword(): Promise<string | null> {
      return answer(() => {
        const found = items.get(this.#id)
        return found === undefined ? null : new TextDecoder('utf-8', { fatal: true }).decode(found)
      })
    }

    setSecret(secret: Uint8Array): Promise<void> {
      return answer(() => {
        if (secret.length > maxItemBytes) {
          throw new Error(
            `Value of attribute 'secret' is longer than platform limit of ${maxItemBytes} chars`,
          )
        }
        items.set(this.#id, Uint8Array.from(secret))
      })
    }

    deleteCredential(): Promise<boolean> {
      return answer(() => items.delete(this.#id))
    }
  }

  const fake: FakeNativeKeyring = {
    AsyncEntry,
    items,
    failWith: undefined,
    hold() {
      let release = (): void => {}
      gate = new Promise(resolve => {
        release = resolve
      })
      return () => release()
    },
  }
  return fake
}
