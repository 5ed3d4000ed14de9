import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { connect as connectTo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { readItem } from '../../src/store/keychain.ts'
import { secretService } from '../../src/store/secret-service.ts'
import type { Keychain } from '../../src/store/store.ts'
import { type Keyring, keyringMissing, startKeyring } from '../support/keyring.ts'
import { scratchState } from '../support/state.ts'

// Against a real gnome-keyring, with secret-tool as the other reader and writer.

const missing = keyringMissing()

describe.skipIf(missing !== undefined)('a real gnome-keyring', () => {
  let keyring: Keyring
  let store: Keychain

  beforeAll(async () => {
    keyring = await startKeyring()
    store = secretService({ environment: { env: keyring.env, uid: process.getuid?.() } })
  })
  afterAll(() => keyring.stop())

  function secretTool(args: string[], input?: string): string {
    return execFileSync('secret-tool', args, {
      env: keyring.env,
      ...(input !== undefined && { input }),
    }).toString()
  }

  const values: [name: string, value: string][] = [
    ['1 byte', 'x'],
    ['2 bytes, one letter', 'é'],
    ['unicode', 'ключ 鍵 🔑 e\u0301'],
    ['newlines', '\nfirst\r\nsecond\n\n'],
    ['1 KiB', randomBytes(768).toString('base64')],
    ['64 KiB', randomBytes(48 * 1024).toString('base64')],
    ['1 MB', 'm'.repeat(1_000_000)],
  ]

  test.each(values)('keeps and gives back %s', async (name, value) => {
    const key = { kind: 'profile', name } as const
    await store.set(key, new Secret(value))
    expect((await store.get(key))?.expose() === value).toBe(true)
  })

  test.each(values.filter(([, value]) => value.length < 8000))(
    'secret-tool reads %s by service and account',
    async (name, value) => {
      await store.set({ kind: 'profile', name: `tool ${name}` }, new Secret(value))
      expect(secretTool(['lookup', 'service', 'tokctl', 'account', `tool ${name}`])).toBe(value)
    },
  )

  test('an item carries the attributes that keytar, @napi-rs/keyring and secret-tool look for', async () => {
    await store.set({ kind: 'profile', name: 'attributed' }, new Secret('x'))
    await store.set({ kind: 'secret', name: 'attributed' }, new Secret('y'))
    const [profiles] = (await search({ service: 'tokctl', account: 'attributed' })) as [string[]]
    expect(profiles).toHaveLength(1)
    expect(await property(profiles[0]!, 'Attributes')).toEqual(
      new Map([
        ['service', 'tokctl'],
        ['account', 'attributed'],
        ['username', 'attributed'],
        ['xdg:schema', 'org.freedesktop.Secret.Generic'],
      ]),
    )
    expect(await property(profiles[0]!, 'Label')).toBe('tokctl: attributed')
    const [secrets] = (await search({ service: 'tokctl-secret', account: 'attributed' })) as [string[]]
    expect(await property(secrets[0]!, 'Label')).toBe('tokctl secret: attributed')
  })

  test('reads an item that secret-tool wrote, whatever its schema', async () => {
    secretTool(['store', '--label', 'theirs', 'service', 'other', 'account', 'me'], 'their secret')
    expect((await store.readItem('other', 'me'))?.expose()).toBe('their secret')
    expect(await store.readItem('other', 'you')).toBeUndefined()
    const { environment } = scratchState(keyring.env)
    expect((await readItem(environment, 'other', 'me'))?.expose()).toBe('their secret')
  })

  test('an item that is not text is refused as such when another application keeps it, and read as none when it is ours', async () => {
    const bytes = Buffer.from([0xff, 0xfe, 0x00])
    for (const service of ['binary', 'tokctl']) {
      execFileSync('secret-tool', ['store', '--label', 'b', 'service', service, 'account', 'binary'], {
        env: keyring.env,
        input: bytes,
      })
    }
    await expect(store.readItem('binary', 'binary')).rejects.toMatchObject({
      code: 'store_failed',
      message: 'the keychain item of service "binary" is not text',
    })
    expect(await store.get({ kind: 'profile', name: 'binary' })).toBeUndefined()
  })

  test('of several items under one name the newest is read; writing leaves one, deleting none', async () => {
    const key = { kind: 'profile', name: 'twice' } as const
    const put = (which: string): string =>
      secretTool(
        ['store', '--label', which, 'service', 'tokctl', 'account', 'twice', 'which', which],
        `the ${which} one`,
      )
    put('older')
    put('newer')
    const [both] = (await search({ service: 'tokctl', account: 'twice' })) as [string[]]
    expect(both).toHaveLength(2)
    // Times are kept in whole seconds: written again until they differ.
    for (let times: unknown[] = []; new Set(times).size < 2; ) {
      put('newer')
      times = await Promise.all(both.map(path => property(path, 'Modified')))
    }
    expect((await store.get(key))?.expose()).toBe('the newer one')
    await store.set(key, new Secret('ours'))
    const [left] = (await search({ service: 'tokctl', account: 'twice' })) as [string[]]
    expect(left).toHaveLength(1)
    expect((await store.get(key))?.expose()).toBe('ours')
    put('another')
    expect(await store.delete(key)).toBe(true)
    expect(await search({ service: 'tokctl', account: 'twice' })).toEqual([[], []])
  })

  test('a hit takes three turns on the wire, and introduces itself before it asks for anything', async () => {
    await store.set({ kind: 'profile', name: 'turns' }, new Secret('x'))
    const turns: Buffer[] = []
    const path = join(dirname(keyring.env['XDG_RUNTIME_DIR']!), 'relay')
    const relay = createServer(client => {
      const bus = connectTo(join(keyring.env['XDG_RUNTIME_DIR']!, 'bus'))
      client.on('data', data => {
        // The greeting and the first answer may come apart: a turn ends where the client has something to say.
        turns.push(data)
        bus.write(data)
      })
      bus.on('data', data => {
        client.write(data)
      })
      for (const [socket, other] of [
        [client, bus],
        [bus, client],
      ] as const) {
        socket.on('error', () => {})
        socket.on('close', () => other.destroy())
      }
    })
    await new Promise<void>(resolve => relay.listen(path, resolve))
    onTestFinished(() => void relay.close())
    const relayed = secretService({
      environment: { env: { DBUS_SESSION_BUS_ADDRESS: `unix:path=${path}` }, uid: process.getuid?.() },
    })
    expect((await relayed.get({ kind: 'profile', name: 'turns' }))?.expose()).toBe('x')
    expect(turns.map(methodsIn)).toEqual([
      ['Hello', 'ReadAlias'],
      ['OpenSession', 'SearchItems'],
      ['GetSecret'],
    ])
  })

  function methodsIn(bytes: Buffer): string[] {
    return ['Hello', 'ReadAlias', 'OpenSession', 'SearchItems', 'GetSecret'].filter(method =>
      bytes.includes(`\0${method}`),
    )
  }

  function search(attributes: Record<string, string>): Promise<unknown> {
    return keyring.ask(
      'org.freedesktop.secrets',
      '/org/freedesktop/secrets',
      'org.freedesktop.Secret.Service.SearchItems',
      'a{ss}',
      [new Map(Object.entries(attributes))],
    )
  }

  async function property(path: string, name: string): Promise<unknown> {
    const [variant] = await keyring.ask(
      'org.freedesktop.secrets',
      path,
      'org.freedesktop.DBus.Properties.Get',
      'ss',
      ['org.freedesktop.Secret.Item', name],
    )
    return (variant as { value: unknown }).value
  }
})
