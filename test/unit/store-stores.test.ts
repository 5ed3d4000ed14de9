import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { StoreKind } from '../../src/profile/profile.ts'
import type { Store } from '../../src/store/store.ts'
import { openStore, storeKind } from '../../src/store/stores.ts'
import { scratchState } from '../support/state.ts'

const corp = { kind: 'profile', name: 'corp' } as const

/** A machine without any keychain. */
function machine(env: Record<string, string> = {}): {
  open(kind: StoreKind, recorded?: 'keychain' | 'file'): Promise<Store>
  warnings: string[]
  path: string
} {
  const { environment, stateDir, path } = scratchState(env)
  const warnings: string[] = []
  return {
    warnings,
    path,
    open: (kind, recorded) =>
      openStore({ kind, recorded, environment, stateDir, warn: message => warnings.push(message) }),
  }
}

describe('the kind in force', () => {
  const cases: [env: string | undefined, configured: StoreKind, want: StoreKind][] = [
    [undefined, 'auto', 'auto'],
    [undefined, 'file', 'file'],
    ['', 'keychain', 'keychain'],
    ['memory', 'keychain', 'memory'],
    ['auto', 'file', 'auto'],
  ]
  test.each(cases)('TOKCTL_STORE=%s over %s is %s', (env, configured, want) => {
    expect(storeKind({ env: { TOKCTL_STORE: env } }, configured)).toBe(want)
  })

  test.each(['redis', 'FILE', 'files', 'constructor'])('TOKCTL_STORE=%s is refused', named => {
    expect(() => storeKind({ env: { TOKCTL_STORE: named } }, 'auto')).toThrow(
      expect.objectContaining({
        code: 'config_invalid',
        message: `TOKCTL_STORE: unknown store kind "${named}"`,
        hint: 'one of: auto, keychain, file, memory',
      }),
    )
  })
})

test('auto without a keychain takes files, keeps no refresh token there, and says so once', async () => {
  const { open, warnings, path } = machine()
  for (let i = 0; i < 3; i++) {
    const store = await open('auto')
    expect(store.kind).toBe('file')
    expect(store.keepsRefreshTokens).toBe(false)
  }
  expect(warnings).toEqual([
    'there is no keychain here: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a session bus; ' +
      `access tokens are kept in sealed files in ${join(path, 'records')}, refresh tokens not at all (kind = "file" keeps both)`,
  ])
})

test('auto that took files stays with them, without a look for a keychain', async () => {
  const { open, warnings } = machine({ DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' })
  const store = await open('auto', 'file')
  expect(store).toMatchObject({ kind: 'file', keepsRefreshTokens: false })
  expect(warnings).toEqual([])
})

test('auto that took the keychain stays with it, even when it is gone', async () => {
  const { open, warnings, path } = machine()
  const store = await open('auto', 'keychain')
  expect(store.kind).toBe('keychain')
  await expect(store.get(corp)).rejects.toMatchObject({
    code: 'store_unavailable',
    message:
      'there is no keychain here: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a session bus',
    hint: 'run this in a login session, or choose kind = "file" under [store]',
  })
  expect(warnings).toEqual([])
  expect(existsSync(path)).toBe(false)
})

test('a keychain chosen by name never becomes anything else', async () => {
  const { open, warnings, path } = machine({ DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere/bus' })
  const store = await open('keychain')
  const refusal = {
    code: 'store_unavailable',
    message: 'there is no keychain here: nobody listens on the session bus, /nowhere/bus (ENOENT)',
  }
  await expect(store.get(corp)).rejects.toMatchObject(refusal)
  await expect(store.set(corp, new Secret('x'))).rejects.toMatchObject(refusal)
  await expect(store.list()).rejects.toMatchObject(refusal)
  expect(warnings).toEqual([])
  expect(existsSync(path)).toBe(false)
})

test.each(['keychain', 'auto'] as const)('%s reads no longer than the call may take', async kind => {
  const { environment, stateDir } = scratchState()
  const path = join(environment.home, 'bus')
  const silent = createServer(() => {}).listen(path)
  onTestFinished(() => void silent.close())
  await once(silent, 'listening')
  const env = { ...environment.env, DBUS_SESSION_BUS_ADDRESS: `unix:path=${path}` }
  const read = async (timeoutMs: number) =>
    (
      await openStore({
        kind,
        recorded: undefined,
        environment: { ...environment, env },
        stateDir,
        timeoutMs,
        warn() {},
      })
    ).get(corp)
  await expect(read(30)).rejects.toMatchObject({
    code: 'store_timeout',
    message: 'the keychain did not answer within 0.03 s',
  })
})

test('files chosen by name keep refresh tokens, and nothing is said', async () => {
  const { open, warnings, path } = machine()
  const store = await open('file')
  expect(store).toMatchObject({ kind: 'file', keepsRefreshTokens: true })
  await store.set(corp, new Secret('x'))
  expect(warnings).toEqual([])
  expect(readdirSync(path).sort()).toEqual(['records', 'store.key'])
})

test('memory touches nothing', async () => {
  const { open, path } = machine()
  const store = await open('memory')
  await store.set(corp, new Secret('x'))
  expect(store).toMatchObject({ kind: 'memory', shared: false })
  expect(existsSync(path)).toBe(false)
})
