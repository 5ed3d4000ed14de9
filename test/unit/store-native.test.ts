import { existsSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { type NativeKeychainOptions, nativeKeychain } from '../../src/store/keychain-native.ts'
import type { Keychain, StoreKey } from '../../src/store/store.ts'
import { isStuck } from '../../src/store/stuck.ts'
import { type FakeNativeKeyring, fakeNativeKeyring } from '../support/native-keyring.ts'
import { scratchState } from '../support/state.ts'

const corp: StoreKey = { kind: 'profile', name: 'corp' }
const id = 'tokctl\0corp'

function opened(
  options: Partial<NativeKeychainOptions> = {},
  platform: NodeJS.Platform = 'win32',
): { store: Keychain; fake: FakeNativeKeyring; files(): string[]; directory: string; traces: string[] } {
  const fake = fakeNativeKeyring(platform === 'win32' ? 2560 : undefined)
  const { environment, stateDir, path } = scratchState({}, platform)
  const traces: string[] = []
  const store = nativeKeychain({
    keyring: fake,
    environment,
    stateDir,
    trace: message => traces.push(message),
    ...options,
  })
  const directory = join(path, 'keychain')
  return {
    store,
    fake,
    directory,
    traces,
    files: () => (existsSync(directory) ? readdirSync(directory).sort() : []),
  }
}

test('an item holds the value itself, in UTF-8, as long as it fits', async () => {
  const { store, fake, files } = opened()
  await store.set(corp, new Secret('é'.repeat(1280)))
  expect(Buffer.from(fake.items.get(id)!).toString()).toBe('é'.repeat(1280))
  expect(files()).toEqual(['profile-corp.item'])
})

test('what exceeds the item is sealed in a file, and the key alone is in the item', async () => {
  const { store, fake, files, directory } = opened()
  await store.set(corp, new Secret(`${'t'.repeat(2560)}é`))
  expect(Buffer.from(fake.items.get(id)!).toString()).toMatch(/^tokctl-sealed:[A-Za-z0-9+/]{43}=$/)
  expect(files()).toEqual(['profile-corp.item', expect.stringMatching(/^profile-corp~[0-9a-f]{16}\.sealed$/)])
  expect(readFileSync(join(directory, files()[1]!)).includes(Buffer.from('tttt'))).toBe(false)
  expect((await store.get(corp))?.expose()).toBe(`${'t'.repeat(2560)}é`)
})

test('macOS keeps in the item what Windows must seal', async () => {
  const { store, fake } = opened({}, 'darwin')
  await store.set(corp, new Secret('t'.repeat(5000)))
  expect(fake.items.get(id)).toHaveLength(5000)
})

test('a sealed file goes when its value is replaced or deleted', async () => {
  const { store, files } = opened()
  await store.set(corp, new Secret('a'.repeat(3000)))
  const [, first] = files()
  await store.set(corp, new Secret('b'.repeat(3000)))
  expect(files()).toHaveLength(2)
  expect(files()).not.toContain(first)
  await store.set(corp, new Secret('short'))
  expect(files()).toEqual(['profile-corp.item'])
  await store.set(corp, new Secret('c'.repeat(3000)))
  expect(await store.delete(corp)).toBe(true)
  expect(files()).toEqual([])
})

test('a write that fails half way leaves the old value readable', async () => {
  const { store, fake } = opened()
  await store.set(corp, new Secret('a'.repeat(3000)))
  const { setSecret } = fake.AsyncEntry.prototype as { setSecret: unknown }
  Object.assign(fake.AsyncEntry.prototype, { setSecret: () => Promise.reject(new Error('disk error')) })
  await expect(store.set(corp, new Secret('b'.repeat(3000)))).rejects.toMatchObject({
    code: 'store_failed',
    message: 'the keychain failed: disk error',
  })
  Object.assign(fake.AsyncEntry.prototype, { setSecret })
  expect((await store.get(corp))?.expose()).toBe('a'.repeat(3000))
})

test('a sealed file that is gone or damaged reads as nothing kept, and says so', async () => {
  const { store, files, directory, traces } = opened()
  await store.set(corp, new Secret('a'.repeat(3000)))
  const file = join(directory, files()[1]!)
  const bytes = readFileSync(file)
  bytes[100]! ^= 1
  writeFileSync(file, bytes)
  expect(await store.get(corp)).toBeUndefined()
  unlinkSync(file)
  expect(await store.get(corp)).toBeUndefined()
  expect(traces).toEqual([
    `${file} is damaged: read as nothing kept`,
    'the sealed file of profile "corp" is gone: read as nothing kept',
  ])
})

test('lists from files: the keychain is not asked, so nobody is prompted', async () => {
  const { store, fake } = opened()
  await store.set(corp, new Secret('x'))
  await store.set({ kind: 'secret', name: 'pem' }, new Secret('y'))
  fake.failWith = 'User interaction is not allowed.'
  expect(await store.list()).toEqual([corp, { kind: 'secret', name: 'pem' }])
})

test('reads what another application keeps', async () => {
  const { store, fake } = opened()
  fake.items.set('their service\0me', Buffer.from('their secret'))
  fake.items.set('binary\0me', Buffer.from([0xff, 0xfe]))
  expect((await store.readItem('their service', 'me'))?.expose()).toBe('their secret')
  expect(await store.readItem('their service', 'you')).toBeUndefined()
})

describe('a failure is told by what it means', () => {
  const cases: [platform: NodeJS.Platform, native: string, code: string, message: string][] = [
    [
      'darwin',
      "Couldn't access platform secure storage: User interaction is not allowed.",
      'store_locked',
      'the keychain is locked',
    ],
    [
      'darwin',
      'Platform secure storage failure: The user name or passphrase you entered is not correct.',
      'store_denied',
      'the keychain denies access: its owner or the system said no',
    ],
    [
      'darwin',
      'Platform secure storage failure: User canceled the operation.',
      'store_denied',
      'the keychain denies access: its owner or the system said no',
    ],
    [
      'darwin',
      'A default keychain could not be found.',
      'store_unavailable',
      'there is no keychain in this session',
    ],
    [
      'darwin',
      'No keychain is available. You may need to restart your computer.',
      'store_unavailable',
      'there is no keychain in this session',
    ],
    [
      'win32',
      'Platform secure storage failure: Windows ERROR_NO_SUCH_LOGON_SESSION',
      'store_unavailable',
      'there is no keychain in this session',
    ],
    [
      'win32',
      'Access is denied.',
      'store_denied',
      'the keychain denies access: its owner or the system said no',
    ],
    ['win32', 'Data is not valid UTF-8', 'store_failed', 'the keychain item is not text'],
    ['win32', 'something\nnew \u001b[31m', 'store_failed', 'the keychain failed: something new [31m'],
  ]
  test.each(cases)('%s: %j', async (platform, native, code, message) => {
    const { store, fake } = opened({}, platform)
    fake.failWith = native
    await expect(store.get(corp)).rejects.toMatchObject({ code, message })
    await expect(store.set(corp, new Secret('x'))).rejects.toMatchObject({ code, message })
  })

  test('locked says how to unlock on that platform', async () => {
    const { store, fake } = opened({}, 'darwin')
    fake.failWith = 'User interaction is not allowed.'
    await expect(store.get(corp)).rejects.toMatchObject({
      hint: 'unlock it (run: security unlock-keychain), or choose kind = "file" under [store]',
    })
  })
})

test('a read may be given less time than a write', async () => {
  const { store, fake } = opened({ timeoutMs: 30, readTimeoutMs: 10 })
  const release = fake.hold()
  const late = (text: string) => ({ code: 'store_timeout', message: expect.stringContaining(text) })
  await expect(store.get(corp)).rejects.toMatchObject(late('within 0.01 s'))
  await expect(store.delete(corp)).rejects.toMatchObject(late('within 0.03 s'))
  release()
  await new Promise(setImmediate)
})

test('a call that does not come back is told in time, and counted until it does', async () => {
  const { store, fake } = opened({ timeoutMs: 20 })
  const release = fake.hold()
  await expect(store.get(corp)).rejects.toMatchObject({
    code: 'store_timeout',
    message: 'the keychain did not answer within 0.02 s',
  })
  expect(isStuck()).toBe(true)
  release()
  await new Promise(setImmediate)
  expect(isStuck()).toBe(false)
})
