import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { fileStore } from '../../src/store/file.ts'
import { nativeKeychain } from '../../src/store/keychain-native.ts'
import { memoryStore } from '../../src/store/memory.ts'
import type { OpenSealed, Sealer } from '../../src/store/seal-head.ts'
import { secretService } from '../../src/store/secret-service.ts'
import type { Store, StoreKey } from '../../src/store/store.ts'
import { webSealer } from '../../src/store/web-seal.ts'
import { openSealed } from '../../src/store/web-unseal.ts'
import { busSockets } from '../support/bus-sockets.ts'
import { type Keyring, keyringMissing, startKeyring } from '../support/keyring.ts'
import { fakeNativeKeyring } from '../support/native-keyring.ts'
import { scratchState } from '../support/state.ts'

// What every store promises. Each maker gives the means to open one and the same place twice, as two processes would.

let keyring: Keyring
const missing = keyringMissing()

beforeAll(async () => {
  if (missing === undefined) keyring = await startKeyring()
})
afterAll(() => keyring?.stop())

function files(
  env: Record<string, string> = {},
  openSealed?: OpenSealed,
  sealer?: () => Promise<Sealer>,
): () => Store {
  const { environment, stateDir } = scratchState(env)
  return () => fileStore({ environment, stateDir, keepsRefreshTokens: true, openSealed, sealer, trace() {} })
}

function native(maxItemBytes: number): () => Store {
  const fake = fakeNativeKeyring(maxItemBytes)
  const { environment, stateDir } = scratchState({}, 'win32')
  return () => nativeKeychain({ keyring: fake, environment, stateDir, maxItemBytes, trace() {} })
}

/** A directory of its own per test, and no items of the test before. */
const makers: [name: string, make: () => (() => Store) | Promise<() => Store>][] = [
  [
    'memory',
    () => {
      const store = memoryStore()
      return () => store
    },
  ],
  ['file, key made beside it', () => files()],
  ['file, opened by WebCrypto', () => files({}, openSealed)],
  ['file, sealed by WebCrypto', () => files({}, undefined, async () => webSealer)],
  ['file, by WebCrypto alone', () => files({}, openSealed, async () => webSealer)],
  ['file, TOKCTL_STORE_KEY', () => files({ TOKCTL_STORE_KEY: randomBytes(32).toString('base64') })],
  [
    'file, TOKCTL_STORE_KEY_FILE',
    () => {
      const { path } = scratchState()
      mkdirSync(path, { recursive: true })
      writeFileSync(join(path, 'key'), randomBytes(32), { mode: 0o600 })
      return files({ TOKCTL_STORE_KEY_FILE: join(path, 'key') })
    },
  ],
  ['native keychain, items of 2,560 bytes', () => native(2560)],
  ['native keychain, items so small that all overflow', () => native(64)],
  ...busSockets.map(([socket, openSocket]): [string, () => Promise<() => Store>] => [
    `Secret Service, ${socket}`,
    async () => {
      const environment = { env: keyring.env, uid: process.getuid?.() }
      const open = (): Store => secretService({ environment, busSocket: async () => openSocket })
      for (const key of await open().list()) await open().delete(key)
      return open
    },
  ]),
]

const corp: StoreKey = { kind: 'profile', name: 'corp' }

describe.each(makers)('%s', (name, make) => {
  const it = test.skipIf(name.startsWith('Secret Service') && missing !== undefined)

  async function opened(): Promise<{ store: Store; again: () => Store }> {
    const open = await make()
    const store = open()
    onTestFinished(() => store.close())
    return { store, again: open }
  }

  it('gives nothing for a key that was never set, and deletes nothing', async () => {
    const { store } = await opened()
    expect(await store.get(corp)).toBeUndefined()
    expect(await store.delete(corp)).toBe(false)
    expect(await store.list()).toEqual([])
  })

  const values: [name: string, value: string][] = [
    ['one byte', 'x'],
    ['a record', JSON.stringify({ v: 1, access_token: 'a'.repeat(1500) })],
    ['unicode', 'ключ 鍵 🔑 e\u0301 \u202e'],
    ['newlines and blanks at both ends', '\n two\r\nlines \t\n'],
    ['a NUL in the middle', 'a\0b'],
    ['what looks like an item that overflowed', `tokctl-sealed:${'A'.repeat(43)}=`],
    ['the platform’s limit to the byte', 'y'.repeat(2560)],
    ['a byte more', 'y'.repeat(2561)],
    ['64 KiB', randomBytes(48 * 1024).toString('base64')],
  ]
  it.each(values)('gives back what was kept: %s', async (_, value) => {
    const { store, again } = await opened()
    await store.set(corp, new Secret(value))
    expect((await again().get(corp))?.expose()).toBe(value)
  })

  it('replaces a value, whatever the sizes of old and new', async () => {
    const { store, again } = await opened()
    for (const value of ['short', 'l'.repeat(5000), 'm'.repeat(6000), 's', 'n'.repeat(2561)]) {
      await store.set(corp, new Secret(value))
      expect((await again().get(corp))?.expose()).toBe(value)
    }
    expect(await store.list()).toEqual([corp])
    expect(await store.delete(corp)).toBe(true)
    expect(await store.get(corp)).toBeUndefined()
  })

  it('keeps a profile, a secret and a credential of one name apart, and names apart that differ in case', async () => {
    const { store } = await opened()
    const keys: StoreKey[] = [
      corp,
      { kind: 'secret', name: 'corp' },
      { kind: 'profile', name: 'CORP' },
      { kind: 'profile', name: '../corp' },
      { kind: 'profile', name: 'größe 東' },
      { kind: 'secret', name: 'con.aux' },
      { kind: 'credential', name: 'corp' },
      { kind: 'credential', name: 'https://git.example.com:8443' },
    ]
    for (const key of keys) await store.set(key, new Secret(`value of ${key.kind} ${key.name}`))
    for (const key of keys) expect((await store.get(key))?.expose()).toBe(`value of ${key.kind} ${key.name}`)
    const listed = await store.list()
    expect(listed).toHaveLength(keys.length)
    expect(listed).toEqual(expect.arrayContaining(keys))
    expect(await store.delete(corp)).toBe(true)
    expect(await store.get({ kind: 'secret', name: 'corp' })).toBeDefined()
  })

  it('deletes once', async () => {
    const { store, again } = await opened()
    await store.set(corp, new Secret('x'))
    expect(await again().delete(corp)).toBe(true)
    expect(await store.delete(corp)).toBe(false)
    expect(await store.get(corp)).toBeUndefined()
    expect(await store.list()).toEqual([])
  })

  it('refuses an empty value', async () => {
    const { store } = await opened()
    await expect(store.set(corp, new Secret(''))).rejects.toMatchObject({
      code: 'store_failed',
      message: 'an empty value cannot be kept',
    })
    expect(await store.get(corp)).toBeUndefined()
  })

  it('gives readers the old value or the new while it is replaced, never another', async () => {
    const { store, again } = await opened()
    await store.set(corp, new Secret('0'.repeat(4000)))
    const writes = (async () => {
      for (let i = 1; i < 20; i++) await store.set(corp, new Secret(`${i % 10}`.repeat(4000)))
    })()
    let isDone = false
    void writes.finally(() => {
      isDone = true
    })
    const reader = again()
    while (!isDone) {
      const text = (await reader.get(corp))?.expose() ?? ''
      expect(text).toHaveLength(4000)
      expect(text).toBe(text[0]!.repeat(4000))
      await new Promise(setImmediate)
    }
    await writes
  })

  it('answers many questions at once', async () => {
    const { store } = await opened()
    const keys = Array.from({ length: 20 }, (_, i): StoreKey => ({ kind: 'profile', name: `p${i}` }))
    await Promise.all(keys.map(key => store.set(key, new Secret(key.name.repeat(200)))))
    const found = await Promise.all(keys.map(key => store.get(key)))
    expect(found.map(value => value?.expose())).toEqual(keys.map(key => key.name.repeat(200)))
  })

  it('may be closed twice, and says whether others see what it keeps', async () => {
    const { store } = await opened()
    expect(store.shared).toBe(name !== 'memory')
    expect(store.keepsRefreshTokens).toBe(true)
    store.close()
    store.close()
  })
})
