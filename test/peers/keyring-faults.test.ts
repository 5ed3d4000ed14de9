import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { driver, openBus, parseAddresses } from '../../src/store/dbus.ts'
import { secretService } from '../../src/store/secret-service.ts'
import type { OpenSocket } from '../../src/store/socket.ts'
import type { Keychain, Store } from '../../src/store/store.ts'
import { type OpenStoreOptions, openStore } from '../../src/store/stores.ts'
import { busSockets } from '../support/bus-sockets.ts'
import { startFullBus } from '../support/full-bus.ts'
import { type BareBus, type Keyring, keyringMissing, startBus, startKeyring } from '../support/keyring.ts'
import { scratchState } from '../support/state.ts'
import { buildStoreWorker, startStoreWorker } from '../support/store-process.ts'

// Every way in which a keychain is not there: its own message, its own code, in time, and the process ends.

const missing = keyringMissing()
const corp = { kind: 'profile', name: 'corp' } as const
/** What a busy machine may add to a deadline. */
const busyMs = 4000
const another = 'choose kind = "file" under [store]'
const lockedError = {
  code: 'store_locked',
  message: 'the keychain is locked',
  hint: `unlock it (log in to the desktop, or run: gnome-keyring-daemon --unlock), or ${another}`,
}
const absentError = {
  code: 'store_unavailable',
  message: 'there is no keychain here: nothing on the session bus offers org.freedesktop.secrets',
  hint: `start a keyring such as gnome-keyring or KeePassXC, or ${another}`,
}
const slowError = {
  code: 'store_timeout',
  message: 'the keychain did not answer within 2 s',
  hint: `see whether its service hangs or waits for somebody, or ${another}`,
}
const endedError = {
  code: 'store_unavailable',
  message: 'the keychain service ended while it was asked',
  hint: `start it again, or ${another}`,
}

describe.skipIf(missing !== undefined)('a keychain that is not there', () => {
  let worker: Awaited<ReturnType<typeof buildStoreWorker>>
  beforeAll(async () => {
    worker = await buildStoreWorker('keyring-faults')
  })
  afterAll(() => worker.remove())

  async function keyringWithItem(): Promise<{ keyring: Keyring; store: Keychain }> {
    const keyring = await startKeyring()
    onTestFinished(() => keyring.stop())
    const store = storeOn(keyring)
    await store.set(corp, new Secret('kept'))
    return { keyring, store }
  }

  async function bareBus(): Promise<BareBus> {
    const bus = await startBus()
    onTestFinished(() => bus.stop())
    return bus
  }

  function storeOn(bus: Pick<BareBus, 'env'>, timeoutMs?: number, openSocket?: OpenSocket): Keychain {
    const environment = { env: bus.env, uid: process.getuid?.() }
    return secretService({
      environment,
      busSocket: async () => openSocket,
      ...(timeoutMs !== undefined && { timeoutMs }),
    })
  }

  /** Each operation fails in that way. */
  async function expectAll(store: Store, error: object): Promise<void> {
    await expect(store.get(corp)).rejects.toMatchObject(error)
    await expect(store.set(corp, new Secret('new'))).rejects.toMatchObject(error)
    await expect(store.delete(corp)).rejects.toMatchObject(error)
    await expect(store.list()).rejects.toMatchObject(error)
  }

  /** A process of its own says so soon, and ends by itself. */
  async function expectProcess(
    env: Record<string, string>,
    error: { code: string; message: string },
  ): Promise<void> {
    const { path } = scratchState()
    const process = startStoreWorker(worker.path, ['keychain', 'get', 'corp'], {
      ...env,
      TOKCTL_STATE_DIR: path,
    })
    const { ms, exitCode, ...said } = await process.go()
    expect(said).toEqual({ code: error.code, message: error.message, warnings: [] })
    expect(exitCode).toBe(0)
    expect(ms).toBeLessThan(2000 + busyMs)
  }

  /** What `auto` does on that machine when it never took a store before. */
  async function openAuto(
    env: Record<string, string>,
    more: Partial<OpenStoreOptions> = {},
  ): Promise<{ store: Store; warnings: string[] }> {
    const { environment, stateDir } = scratchState(env)
    const warnings: string[] = []
    const store = await openStore({
      kind: 'auto',
      recorded: undefined,
      environment,
      stateDir,
      warn: message => warnings.push(message),
      ...more,
    })
    return { store, warnings }
  }

  test('one that works is what auto takes, without a word', async () => {
    const { keyring } = await keyringWithItem()
    const { store, warnings } = await openAuto(keyring.env)
    expect(store).toMatchObject({ kind: 'keychain', keepsRefreshTokens: true })
    expect((await store.get(corp))?.expose()).toBe('kept')
    expect(warnings).toEqual([])
  })

  test('locked: told at once, for what it holds and for what it does not, and auto takes nothing else', async () => {
    const { keyring, store } = await keyringWithItem()
    await keyring.lock()
    for (const [, openSocket] of busSockets) {
      await expectAll(storeOn(keyring, undefined, openSocket), lockedError)
    }
    await expect(store.get({ kind: 'profile', name: 'never kept' })).rejects.toMatchObject(lockedError)
    await expect(store.readItem('tokctl', 'corp')).rejects.toMatchObject(lockedError)
    await expectProcess(keyring.env, lockedError)
    await expect(openAuto(keyring.env)).rejects.toMatchObject(lockedError)
  })

  test('no bus: told, and auto takes files with a warning', async () => {
    const bus = await startBus()
    const env = { PATH: bus.env['PATH']!, DBUS_SESSION_BUS_ADDRESS: bus.address }
    await bus.stop()
    const message = `there is no keychain here: nobody listens on the session bus, ${bus.env['XDG_RUNTIME_DIR']}/bus (ENOENT)`
    for (const [, openSocket] of busSockets) {
      await expectAll(storeOn(bus, undefined, openSocket), { code: 'store_unavailable', message })
    }
    await expectProcess(env, { code: 'store_unavailable', message })
    const { store, warnings } = await openAuto(env)
    expect(store).toMatchObject({ kind: 'file', keepsRefreshTokens: false })
    expect(warnings).toEqual([expect.stringContaining(`${message}; access tokens are kept in sealed files`)])
  })

  test('no bus named: told', async () => {
    await expectProcess(
      { PATH: '/usr/bin' },
      {
        code: 'store_unavailable',
        message:
          'there is no keychain here: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a session bus',
      },
    )
  })

  test('a bus without the service: told, and auto takes files with a warning', async () => {
    const bus = await bareBus()
    for (const [, openSocket] of busSockets) await expectAll(storeOn(bus, undefined, openSocket), absentError)
    await expectProcess(bus.env, absentError)
    const { store, warnings } = await openAuto(bus.env)
    expect(store.kind).toBe('file')
    expect(warnings).toHaveLength(1)
  })

  test('a bus that takes no more connections: told, and auto takes nothing else, also where another address is empty', async () => {
    const full = await startFullBus()
    const busy = {
      code: 'store_unavailable',
      message: 'the bus takes no more connections',
      hint: `try again, or ${another}`,
    }
    const empty = 'unix:path=/nowhere/bus'
    for (const [socket, openSocket] of busSockets) {
      // One that blocks waits for its turn as long as it may; the other is told at once.
      const timeoutMs = socket === 'a socket that blocks' ? 30 : 2000
      await expectAll(storeOn({ env: { DBUS_SESSION_BUS_ADDRESS: full } }, timeoutMs, openSocket), busy)
      for (const address of [full, `${empty};${full};${empty}`]) {
        const options = { timeoutMs, busSocket: async () => openSocket }
        await expect(openAuto({ DBUS_SESSION_BUS_ADDRESS: address }, options)).rejects.toMatchObject(busy)
      }
    }
  })

  test.each(busSockets)(
    'what a bus does not take at once is sent when it does, and no longer than its caller waits: %s',
    async (_, openSocket) => {
      const bus = await bareBus()
      const name = 'a'.repeat(4 * 1024 * 1024)
      const large = { ...driver, member: 'NameHasOwner', signature: 's', body: [name] }
      const opened = openBus(parseAddresses(bus.address, undefined), process.getuid?.(), openSocket)
      onTestFinished(() => opened.close())
      bus.freezeBus()
      let looks = 0
      const caller = { leftMs: () => (looks++ < 3 ? 5 : 0) }
      const asked = opened.call(large, caller)
      await new Promise(resolve => setImmediate(resolve))
      opened.leave(caller, new Error('no time left'))
      await expect(asked).rejects.toThrow('no time left')
      const again = opened.call({ ...driver, member: 'GetId' }, { leftMs: () => 1000 })
      bus.thawBus()
      expect((await again).body).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)])
    },
  )

  test('a bus that XDG_RUNTIME_DIR names is found without an address', async () => {
    const { keyring } = await keyringWithItem()
    const { DBUS_SESSION_BUS_ADDRESS: _, ...env } = keyring.env
    const store = secretService({ environment: { env, uid: process.getuid?.() } })
    expect((await store.get(corp))?.expose()).toBe('kept')
  })

  test('killed while it is asked: told at once; afterwards it is not there', async () => {
    const { keyring, store } = await keyringWithItem()
    // Frozen, so that the question is certainly on its way when the service is killed.
    keyring.freeze()
    const asked = Promise.allSettled([store.get(corp), store.set(corp, new Secret('new'))])
    // Two whole conversations with the bus later, ours has surely been passed on.
    for (let i = 0; i < 2; i++) {
      await keyring.ask('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus.GetId', '', [])
    }
    await keyring.killDaemon()
    for (const result of await asked) expect(result).toMatchObject({ status: 'rejected', reason: endedError })
    await expectAll(store, absentError)
    await expectProcess(keyring.env, absentError)
  })

  test('stopped: told after 2 s, the process ends, auto takes nothing else, and it answers again when it goes on', async () => {
    const { keyring, store } = await keyringWithItem()
    keyring.freeze()
    const started = performance.now()
    await Promise.all([
      expect(store.get(corp)).rejects.toMatchObject(slowError),
      expect(store.set(corp, new Secret('new'))).rejects.toMatchObject(slowError),
      expect(store.list()).rejects.toMatchObject(slowError),
      expect(openAuto(keyring.env)).rejects.toMatchObject(slowError),
      expectProcess(keyring.env, slowError),
    ])
    expect(performance.now() - started).toBeLessThan(2000 + busyMs)
    keyring.thaw()
    expect((await store.get(corp))?.expose()).toBe('kept')
  })

  test('a close while it is asked ends the wait', async () => {
    const { keyring, store } = await keyringWithItem()
    keyring.freeze()
    const asked = store.get(corp)
    store.close()
    await expect(asked).rejects.toMatchObject({
      code: 'store_unavailable',
      message: 'the connection was closed',
    })
  })

  test('a deadline of its own is kept', async () => {
    const { keyring } = await keyringWithItem()
    keyring.freeze()
    for (const [, openSocket] of busSockets) {
      await expect(storeOn(keyring, 50, openSocket).get(corp)).rejects.toMatchObject({
        code: 'store_timeout',
        message: 'the keychain did not answer within 0.05 s',
      })
    }
  })
})
