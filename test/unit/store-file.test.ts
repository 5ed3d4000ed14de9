import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { stateDir as stateDirOf } from '../../src/core/state-dir.ts'
import { fileStore } from '../../src/store/file.ts'
import { fileNameOf, keyOfFileName } from '../../src/store/file-name.ts'
import { newSealingKey, seal, sealingKey, unseal } from '../../src/store/seal.ts'
import type { Store, StoreKey } from '../../src/store/store.ts'
import { cannot } from '../../src/store/trusted-file.ts'
import { webSealer } from '../../src/store/web-seal.ts'
import { scratchState } from '../support/state.ts'
import { buildStoreWorker, startStoreWorker } from '../support/store-process.ts'

const corp: StoreKey = { kind: 'profile', name: 'corp' }

/** As the runtime that runs this test seals. */
const sealer = 'bun' in process.versions ? async () => webSealer : undefined

function opened(env: Record<string, string> = {}): {
  store: Store
  path: string
  sealed: string
  traces: string[]
  reopen(env?: Record<string, string>): Store
} {
  const { environment, stateDir, path } = scratchState(env)
  const traces: string[] = []
  const reopen = (env: Record<string, string> = {}): Store =>
    fileStore({
      environment: { ...environment, env: { ...environment.env, ...env } },
      stateDir,
      keepsRefreshTokens: true,
      sealer,
      trace: message => traces.push(message),
    })
  return { store: reopen(), path, sealed: join(path, 'records', 'profile-corp.sealed'), traces, reopen }
}

function put(path: string, content: Uint8Array, mode: number): void {
  writeFileSync(path, content)
  chmodSync(path, mode)
}

describe('a sealed text', () => {
  const key = newSealingKey()
  const sealed = seal(key, corp, new Secret('access-token-1'))

  test('shows nothing of itself, and is another each time', () => {
    expect(sealed.includes(Buffer.from('access'))).toBe(false)
    expect(seal(key, corp, new Secret('access-token-1')).equals(sealed)).toBe(false)
    expect(unseal(key, corp, sealed)).toBeInstanceOf(Secret)
  })

  test('with any single bit flipped reads as damaged', () => {
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Buffer.from(sealed)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(unseal(key, corp, changed)).toBe('damaged')
    }
  })

  test('cut at any length reads as damaged', () => {
    for (let length = 0; length < sealed.length; length++) {
      expect(unseal(key, corp, sealed.subarray(0, length))).toBe('damaged')
    }
    expect(unseal(key, corp, Buffer.concat([sealed, Buffer.from([0])]))).toBe('damaged')
  })

  test('opens under its own kind and name alone', () => {
    expect(unseal(key, { kind: 'secret', name: 'corp' }, sealed)).toBe('damaged')
    expect(unseal(key, { kind: 'profile', name: 'corq' }, sealed)).toBe('damaged')
  })

  test('tells another key from damage', () => {
    expect(unseal(newSealingKey(), corp, sealed)).toBe('other_key')
  })

  test('random bytes read as damaged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
        expect(unseal(key, corp, Buffer.from(bytes))).toBe('damaged')
      }),
    )
  })

  test('any text comes back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), text => {
        const found = unseal(key, corp, seal(key, corp, new Secret(text)))
        expect((found as Secret).expose()).toBe(text)
      }),
    )
  })
})

describe('file names', () => {
  test('are legible, and safe where case or characters do not count', () => {
    expect(fileNameOf(corp)).toBe('profile-corp')
    expect(fileNameOf({ kind: 'secret', name: 'CORP_1.x' })).toBe('secret-%43%4f%52%50_1.x')
    expect(fileNameOf({ kind: 'profile', name: '../a:b' })).toBe('profile-..%2fa%3ab')
  })

  test('name the key they were made of', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('profile', 'secret'),
        // By code points, of which so many fit: a grapheme may have any number of them.
        fc.string({ unit: 'binary', minLength: 1, maxLength: 15 }),
        (kind, name) => {
          const fileName = fileNameOf({ kind, name } as StoreKey)
          expect(keyOfFileName(fileName)).toEqual({ kind, name })
          expect(fileName.toLowerCase()).toBe(fileName)
        },
      ),
    )
  })

  test('refuse what no file system takes', () => {
    expect(() => fileNameOf({ kind: 'secret', name: '' })).toThrow('the name of a secret is empty')
    expect(() => fileNameOf({ kind: 'profile', name: 'x'.repeat(201) })).toThrow(
      'the name of a profile is too long',
    )
    expect(keyOfFileName('profile-%zz')).toBeUndefined()
    expect(keyOfFileName('other-corp')).toBeUndefined()
    expect(keyOfFileName('profile-%ff')).toBeUndefined()
  })
})

test('what WebCrypto seals opens like anything else, under its own key and label alone', async () => {
  for (const text of ['a', 'ü\u0000€', 'x'.repeat(100_000)]) {
    const key = newSealingKey()
    const made = await webSealer.seal(key.bytes, corp, new Secret(text), undefined)
    const found = unseal(key, corp, made!)
    expect(found instanceof Secret && found.expose()).toBe(text)
    expect(unseal(key, { ...corp, name: 'other' }, made!)).toBe('damaged')
    expect(unseal(newSealingKey(), corp, made!)).toBe('other_key')
    const again = await webSealer.seal(key.bytes, corp, new Secret(text), seal(key, corp, new Secret('b')))
    expect(again?.equals(made!)).toBe(false)
    expect(again?.subarray(0, 16)).toEqual(made?.subarray(0, 16))
    const others = seal(newSealingKey(), corp, new Secret('b'))
    expect(await webSealer.seal(key.bytes, corp, new Secret(text), others)).toBeUndefined()
  }
})

test('reading makes nothing, writing makes files that are ours alone', async () => {
  const { store, path, sealed } = opened()
  expect(await store.get(corp)).toBeUndefined()
  expect(await store.list()).toEqual([])
  expect(existsSync(path)).toBe(false)
  await store.set(corp, new Secret('x'))
  expect(statSync(path).mode & 0o777).toBe(0o700)
  expect(statSync(join(path, 'records')).mode & 0o777).toBe(0o700)
  expect(statSync(sealed).mode & 0o777).toBe(0o600)
  expect(statSync(join(path, 'store.key')).mode & 0o777).toBe(0o600)
  expect(readdirSync(path).sort()).toEqual(['records', 'store.key'])
})

test('a damaged file reads as nothing kept, says so, stays until it is replaced', async () => {
  const { store, sealed, traces } = opened()
  await store.set(corp, new Secret('first'))
  const bytes = readFileSync(sealed)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(sealed, bytes)
  expect(await store.get(corp)).toBeUndefined()
  expect(traces).toEqual([`${sealed} is damaged: read as nothing kept`])
  expect(readFileSync(sealed).equals(bytes)).toBe(true)
  await store.set(corp, new Secret('second'))
  expect((await store.get(corp))?.expose()).toBe('second')
})

test('a file renamed to another profile is not served to it', async () => {
  const { store, path, sealed, traces } = opened()
  await store.set(corp, new Secret('of corp'))
  renameSync(sealed, join(path, 'records', 'profile-other.sealed'))
  expect(await store.get({ kind: 'profile', name: 'other' })).toBeUndefined()
  expect(traces).toHaveLength(1)
})

test('what another key has sealed is neither served, replaced nor deleted', async () => {
  const { store, sealed, reopen } = opened()
  await store.set(corp, new Secret('mine'))
  const before = readFileSync(sealed)
  const other = reopen({ TOKCTL_STORE_KEY: randomBytes(32).toString('base64') })
  const refusal = {
    code: 'store_failed',
    message: `${sealed} was sealed with another key than TOKCTL_STORE_KEY`,
    hint: `give the key it was sealed with, or remove the file: rm ${sealed}`,
  }
  await expect(other.get(corp)).rejects.toMatchObject(refusal)
  await expect(other.set(corp, new Secret('yours'))).rejects.toMatchObject(refusal)
  await expect(other.delete(corp)).rejects.toMatchObject(refusal)
  expect(readFileSync(sealed).equals(before)).toBe(true)
  expect((await store.get(corp))?.expose()).toBe('mine')
})

test('what a later version has sealed is left alone', async () => {
  const { store, sealed } = opened()
  await store.set(corp, new Secret('x'))
  const later = readFileSync(sealed)
  later[7] = 2
  let check = 0x811c9dc5
  for (const byte of later.subarray(0, 28)) check = Math.imul(check ^ byte, 0x01000193)
  later.writeInt32LE(check | 0, 28)
  writeFileSync(sealed, later)
  const refusal = {
    code: 'store_failed',
    message: `${sealed} was written by a newer tokctl`,
    hint: 'upgrade tokctl',
  }
  await expect(store.get(corp)).rejects.toMatchObject(refusal)
  await expect(store.set(corp, new Secret('y'))).rejects.toMatchObject(refusal)
})

test('a key file that went away is told, and no other is made in its place', async () => {
  const { store, path, sealed } = opened()
  await store.set(corp, new Secret('x'))
  unlinkSync(join(path, 'store.key'))
  const refusal = {
    code: 'store_failed',
    message: `the key of ${sealed} is gone: there is no ${join(path, 'store.key')}`,
  }
  await expect(store.get(corp)).rejects.toMatchObject(refusal)
  await expect(store.set(corp, new Secret('y'))).rejects.toMatchObject(refusal)
  expect(existsSync(join(path, 'store.key'))).toBe(false)
})

describe('a sealed file is not believed', () => {
  const cases: [name: string, spoil: (sealed: string) => void, message: string, needsRoot?: true][] = [
    ['when others may read it', p => chmodSync(p, 0o644), 'is open to other users'],
    ['when others may write it', p => chmodSync(p, 0o602), 'is open to other users'],
    [
      'when it is a link',
      p => {
        renameSync(p, `${p}.x`)
        symlinkSync(`${p}.x`, p)
      },
      'is a link',
    ],
    [
      'when it is a directory',
      p => {
        unlinkSync(p)
        mkdirSync(p)
      },
      'is not a file',
    ],
    ['when it belongs to another user', p => chownSync(p, 12345, 12345), 'belongs to another user', true],
    [
      'when it is larger than any record',
      p => writeFileSync(p, Buffer.alloc(16 * 1024 * 1024 + 1)),
      'is too large',
    ],
  ]
  for (const [name, spoil, message, needsRoot] of cases) {
    test.skipIf(needsRoot && process.getuid?.() !== 0)(name, async () => {
      const { store, sealed } = opened()
      await store.set(corp, new Secret('x'))
      spoil(sealed)
      const refusal = { code: 'store_failed', message: `${sealed} ${message}` }
      await expect(store.get(corp)).rejects.toMatchObject(refusal)
      await expect(store.set(corp, new Secret('y'))).rejects.toMatchObject(refusal)
    })
  }
})

test('a command to mend a file can be run whatever its path is', async () => {
  const { environment, stateDir } = scratchState()
  const path = join(stateDir.path, "it's here")
  const store = fileStore({
    environment,
    stateDir: stateDirOf({ ...environment, env: { TOKCTL_STATE_DIR: path } }),
    keepsRefreshTokens: true,
    trace: () => {},
  })
  await store.set(corp, new Secret('x'))
  const sealed = join(path, 'records', 'profile-corp.sealed')
  chmodSync(sealed, 0o644)
  const open = await store.get(corp).catch(error => error)
  expect(open.message).toBe(`${sealed} is open to other users`)
  execFileSync('sh', ['-c', open.hint.replace('run: ', '')])
  expect((await store.get(corp))?.expose()).toBe('x')
  unlinkSync(join(path, 'store.key'))
  const keyless = await store.get(corp).catch(error => error)
  execFileSync('sh', ['-c', keyless.hint.replace(/^.*: (?=rm )/, '')])
  expect(existsSync(sealed)).toBe(false)
})

describe('the key', () => {
  test('from the environment leaves nothing beside the files', async () => {
    const { store, path } = opened({ TOKCTL_STORE_KEY: randomBytes(32).toString('base64') })
    await store.set(corp, new Secret('x'))
    expect(readdirSync(path)).toEqual(['records'])
  })

  test('is the same in the environment, in a file as text and in a file as bytes', async () => {
    const bytes = randomBytes(32)
    const { store, path, reopen } = opened({ TOKCTL_STORE_KEY: `${bytes.toString('base64')}\n` })
    await store.set(corp, new Secret('x'))
    const contents = [bytes, `${bytes.toString('base64')}\n`, bytes.toString('base64').replace('=', '')]
    for (const content of contents) {
      const file = join(path, 'key')
      writeFileSync(file, content, { mode: 0o600 })
      const found = await reopen({ TOKCTL_STORE_KEY: '', TOKCTL_STORE_KEY_FILE: file }).get(corp)
      expect(found?.expose()).toBe('x')
    }
  })

  const badKeys = [
    'short',
    randomBytes(31).toString('base64'),
    randomBytes(33).toString('base64'),
    '*'.repeat(44),
  ]
  test.each(badKeys)('that is not 32 bytes in base64 is refused, and not shown', async key => {
    const { store } = opened({ TOKCTL_STORE_KEY: key })
    const error = await store.set(corp, new Secret('x')).catch(error => error)
    expect(error).toMatchObject({
      code: 'store_failed',
      message: 'TOKCTL_STORE_KEY is not 32 bytes in base64',
      hint: 'make one with: openssl rand -base64 32',
    })
    expect(JSON.stringify(error) + error.message + error.hint).not.toContain(key)
  })

  const badFiles: [name: string, make: (file: string) => void, message: string][] = [
    ['is not there', () => {}, 'TOKCTL_STORE_KEY_FILE names <key>, which does not exist'],
    [
      'holds something else',
      f => writeFileSync(f, 'hello', { mode: 0o600 }),
      '<key> does not hold a key of 32 bytes',
    ],
    ['is empty', f => writeFileSync(f, '', { mode: 0o600 }), '<key> does not hold a key of 32 bytes'],
    ['is readable by all', f => put(f, randomBytes(32), 0o644), '<key> is open to other users'],
    ['is writable by the group', f => put(f, randomBytes(32), 0o660), '<key> is open to other users'],
    ['is a directory', f => mkdirSync(f), '<key> is not a file'],
  ]
  test.each(badFiles)('in a file that %s is refused', async (_, make, message) => {
    const { path } = scratchState()
    mkdirSync(path, { recursive: true })
    const file = join(path, 'key')
    make(file)
    const { store } = opened({ TOKCTL_STORE_KEY_FILE: file })
    await expect(store.set(corp, new Secret('x'))).rejects.toMatchObject({
      code: 'store_failed',
      message: message.replace('<key>', file),
    })
  })

  test('may be a mounted secret: a link to a file that a group may read', async () => {
    const { path } = scratchState()
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'data'), randomBytes(32))
    chmodSync(join(path, 'data'), 0o440)
    symlinkSync(join(path, 'data'), join(path, 'key'))
    const { store } = opened({ TOKCTL_STORE_KEY_FILE: join(path, 'key') })
    await store.set(corp, new Secret('x'))
    expect((await store.get(corp))?.expose()).toBe('x')
  })

  test('ids tell keys apart and are no part of them', () => {
    const bytes = randomBytes(32)
    expect(sealingKey(bytes).id.equals(sealingKey(Buffer.from(bytes)).id)).toBe(true)
    expect(sealingKey(bytes).id.equals(newSealingKey().id)).toBe(false)
    expect(bytes.includes(sealingKey(bytes).id)).toBe(false)
  })
})

describe('processes that come at once', () => {
  let worker: Awaited<ReturnType<typeof buildStoreWorker>>
  beforeAll(async () => {
    worker = await buildStoreWorker('store-file')
  })
  afterAll(() => worker.remove())

  test('make one key between them, and each reads what it wrote', async () => {
    const { path, reopen } = opened()
    const env = { TOKCTL_STATE_DIR: path }
    const started = Array.from({ length: 12 }, (_, i) =>
      startStoreWorker(worker.path, ['file', 'set', `p${i}`, `value ${i}`], env),
    )
    const results = await Promise.all(started.map(process => process.go()))
    expect(results.map(({ value }) => value)).toEqual(started.map((_, i) => `value ${i}`))
    const store = reopen()
    for (let i = 0; i < started.length; i++) {
      expect((await store.get({ kind: 'profile', name: `p${i}` }))?.expose()).toBe(`value ${i}`)
    }
    expect(readdirSync(path).sort()).toEqual(['records', 'store.key'])
  })
})

test('says what a full disk and its like are, with the path and what to do', () => {
  const told = ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EIO'].map(code => {
    const error = cannot('write', '/s/records/profile-corp.sealed', Object.assign(new Error(), { code }))
    return [error.code, error.message, error.hint]
  })
  expect(told).toEqual([
    [
      'store_failed',
      'cannot write /s/records/profile-corp.sealed (ENOSPC)',
      'free some space on that disk, or set TOKCTL_STATE_DIR to another',
    ],
    [
      'store_failed',
      'cannot write /s/records/profile-corp.sealed (EDQUOT)',
      'free some of your quota, or set TOKCTL_STATE_DIR to another disk',
    ],
    [
      'store_failed',
      'cannot write /s/records/profile-corp.sealed (EROFS)',
      'set TOKCTL_STATE_DIR to a directory that can be written',
    ],
    [
      'store_failed',
      'cannot write /s/records/profile-corp.sealed (EACCES)',
      'make it yours, or set TOKCTL_STATE_DIR to a directory of your own',
    ],
    [
      'store_failed',
      'cannot write /s/records/profile-corp.sealed (EIO)',
      'see that the disk is well, or set TOKCTL_STATE_DIR to another',
    ],
  ])
})

test('what is no directory in the place of the records is told with its path, and reads as nothing', async () => {
  const { store, path } = opened()
  mkdirSync(path, { mode: 0o700 })
  writeFileSync(join(path, 'records'), '')
  await expect(store.set(corp, new Secret('y'))).rejects.toMatchObject({
    code: 'state_dir_unsafe',
    message: `state directory ${join(path, 'records')} is not a directory`,
  })
  expect(await store.get(corp)).toBeUndefined()
})
