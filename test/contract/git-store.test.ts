import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Credential, CredentialQuery } from '../../src/core/credential.ts'
import { Secret } from '../../src/core/secret.ts'
import { type Credentials, openCredentials } from '../../src/store/credentials.ts'
import { fileStore } from '../../src/store/file.ts'
import { nativeKeychain } from '../../src/store/keychain-native.ts'
import type { Store } from '../../src/store/store.ts'
import { fakeClock } from '../support/clock.ts'
import { ahead, corp } from '../support/corp.ts'
import { type Keyring, keyringMissing, startBus, startKeyring } from '../support/keyring.ts'
import { fakeNativeKeyring } from '../support/native-keyring.ts'
import { program, type RunOptions, run, type Scratch, scratch, start, straced } from '../support/run.ts'
import { scratchState } from '../support/state.ts'

// `helper git --store` beyond what git's own tests ask, which test/peers/git-store.test.ts holds.

const silent = { code: 0, stdout: '', stderr: '' }
const matching = 'match = ["https://git.example.com"]'

const place = (host: string, protocol = 'https'): string => `protocol=${protocol}\nhost=${host}\n`
const asked = place('other.example.com')

const git = (verb: string, options: RunOptions, input: string | Uint8Array = asked) =>
  run(['helper', 'git', '--store', verb], { timeoutMs: 60_000, ...options, input })

const store = (user: string, password: string, where = asked): string =>
  `${where}username=${user}\npassword=${password}\n`

function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map(name => join(directory, name))
    .filter(path => statSync(path).isFile())
}

/** Runs it under strace and gives the calls from our first line on. */
async function traced(verb: string, options: RunOptions & { at: Scratch }, input: string): Promise<string[]> {
  const log = join(options.at.path, 'trace')
  writeFileSync(log, '')
  const strace = straced(log, '%file,%network,fsync')
  expect(await git(verb, { ...options, program: strace }, input)).toMatchObject({ code: 0, stderr: '' })
  const lines = readFileSync(log, 'utf8').split('\n')
  return lines.slice(lines.findIndex(line => /openat\(.*bin\/tokctl\.js/.test(line)))
}

const writes = /O_(?:WRONLY|RDWR|CREAT)|\b(?:rename|unlink|mkdir|link|fsync)\w*\(/

describe('what a profile claims', () => {
  test('is answered from the profile, whatever was kept before', async () => {
    const at = scratch()
    const claimed = place('git.example.com')
    await git('store', { at }, store('alice', 'typed', claimed))
    const { auth, options } = await corp(matching)
    const both = { ...options, at, config: readFileSync(options.at!.configFile, 'utf8') }
    auth.expiresIn = undefined
    expect(await git('get', both, claimed)).toMatchObject({
      code: 0,
      stdout: 'username=oauth2\npassword=token-1\n',
      stderr: '',
    })
    expect((await git('get', both, `${claimed}username=alice\n`)).stdout).toContain('password=token-1\n')
  })

  test('is not kept, and to hand our own token back opens neither store nor lock', async () => {
    const { auth, at, options } = await corp(matching)
    const claimed = place('git.example.com')
    await git('get', options, claimed)
    const calls = await traced('store', { ...options, at }, store('oauth2', 'token-1', claimed))
    expect(calls.filter(call => writes.test(call))).toEqual([])
    expect(
      calls.filter(call => /\/state\/(?:records|locks|outcomes|credentials)|store\.key/.test(call)),
    ).toEqual([])
    expect(await git('store', options, store('someone', 'typed', claimed))).toMatchObject(silent)
    expect(await git('list', options)).toMatchObject(silent)
    expect(auth.count()).toBe(1)
  })

  test('what comes back with our state, or as ephemeral, does not even read the configuration', async () => {
    const { at, options } = await corp(matching)
    const claimed = place('git.example.com')
    for (const mark of ['state[]=tokctl:1800000000000', 'ephemeral=1']) {
      const calls = await traced(
        'store',
        { ...options, at },
        `${store('oauth2', 'token-1', claimed)}${mark}\n`,
      )
      expect(calls.filter(call => call.includes('config.toml'))).toEqual([])
    }
  })

  test('erase of our own token rejects it, and erase without one does nothing', async () => {
    const { auth, options } = await corp(matching)
    const claimed = place('git.example.com')
    await git('get', options, claimed)
    expect(await git('erase', options, claimed)).toMatchObject(silent)
    expect(await git('erase', options, store('oauth2', 'mistyped by hand', claimed))).toMatchObject(silent)
    expect((await git('get', options, claimed)).stdout).toContain('password=token-1\n')
    expect(await git('erase', options, store('oauth2', 'token-1', claimed))).toMatchObject(silent)
    expect((await git('get', options, claimed)).stdout).toContain('password=token-2\n')
    expect(auth.count()).toBe(2)
  })

  test('is one user where the profile names one: others are kept beside', async () => {
    const { options } = await corp(`${matching}\nusername = "bot"`)
    const claimed = place('git.example.com')
    expect(await git('store', options, store('alice', 'typed', claimed))).toMatchObject(silent)
    expect((await git('get', options, `${claimed}username=alice\n`)).stdout).toBe(
      'username=alice\npassword=typed\n',
    )
    expect((await git('get', options, claimed)).stdout).toContain('username=bot\npassword=token-1\n')
    expect((await git('get', options, `${claimed}username=bob\n`)).stdout).toBe('')
  })
})

describe('what is kept', () => {
  test('stands in no file in clear, and the index tells places and nothing else', async () => {
    const at = scratch()
    const more = 'oauth_refresh_token=canary-refresh\nauthtype=Bearer\ncredential=canary-header\n'
    const hosts = ['one.example.com', 'two.example.com:8443', `${'l'.repeat(300)}.example.com`]
    for (const host of hosts) {
      const where = `${place(host)}path=canary-path\n`
      expect(
        await git('store', { at }, `${store('canary-user', 'canary-password', where)}${more}`),
      ).toMatchObject(silent)
    }
    const files = filesIn(at.stateDir)
    expect(files.filter(path => readFileSync(path, 'latin1').includes('canary'))).toEqual([])
    expect(files.filter(path => path.includes('canary'))).toEqual([])
    for (const path of files) expect(statSync(path).mode & 0o077, path).toBe(0)
    expect(await git('list', { at })).toMatchObject({
      code: 0,
      stdout: `https://${hosts[2]}\nhttps://${hosts[0]}\nhttps://${hosts[1]}\n`,
      stderr: '',
    })
    for (const host of hosts) await git('erase', { at }, place(host))
    expect(await git('list', { at })).toMatchObject(silent)
    expect(filesIn(join(at.stateDir, 'records'))).toEqual([])
  })

  test('comes back unchanged at no cost: git says it again after each use', async () => {
    const at = scratch()
    const given = `${store('alice', 'typed')}oauth_refresh_token=r\npassword_expiry_utc=9999999999\n`
    await git('store', { at }, given)
    expect((await traced('store', { at }, given)).filter(call => writes.test(call))).toEqual([])
    // A git that knows neither expiry nor refresh token loses none.
    expect(
      (await traced('store', { at }, store('alice', 'typed'))).filter(call => writes.test(call)),
    ).toEqual([])
    expect((await git('get', { at })).stdout).toBe(
      'username=alice\npassword=typed\noauth_refresh_token=r\npassword_expiry_utc=9999999999\n',
    )
  })

  test('sixteen at once lose nothing', async () => {
    const at = scratch()
    const users = Array.from({ length: 16 }, (_, i) => `user${i}`)
    const all = users.map(() =>
      start(['helper', 'git', '--store', 'store'], { at, keepInput: true, timeoutMs: 60_000 }),
    )
    // All of them stand ready before the first may begin.
    for (const [i, { child }] of all.entries()) child.stdin!.write(store(users[i]!, `pass${i}`))
    for (const { child } of all) child.stdin!.end()
    for (const { done } of all) expect(await done).toMatchObject(silent)
    const found = await Promise.all(users.map(user => git('get', { at }, `${asked}username=${user}\n`)))
    expect(found.map(({ stdout }) => stdout)).toEqual(
      users.map((user, i) => `username=${user}\npassword=pass${i}\n`),
    )
  })

  test('has expired when its time has come, and is told no more', async () => {
    const at = scratch()
    const soon = Math.floor(Date.now() / 1000) + 600
    await git('store', { at }, `${store('old', 'lasting')}`)
    await git('store', { at }, `${store('new', 'short')}password_expiry_utc=${soon}\n`)
    expect((await git('get', { at })).stdout).toBe(
      `username=new\npassword=short\npassword_expiry_utc=${soon}\n`,
    )
    const later = { at, env: ahead('+11m') }
    expect((await git('get', later)).stdout).toBe('username=old\npassword=lasting\n')
    expect(await git('get', later, `${asked}username=new\n`)).toMatchObject(silent)
    // Already over when it is handed over.
    expect(await git('store', later, `${store('late', 'x')}password_expiry_utc=${soon}\n`)).toMatchObject(
      silent,
    )
    expect(await git('get', { at }, `${asked}username=late\n`)).toMatchObject(silent)
  })

  test('leaves its refresh token when it has expired, for the helper that comes next', async () => {
    const at = scratch()
    const soon = Math.floor(Date.now() / 1000) + 600
    const given = `${store('alice', 'short')}password_expiry_utc=${soon}\noauth_refresh_token=renew\n`
    await git('store', { at }, given)
    expect((await git('get', { at, env: ahead('+11m') })).stdout).toBe(
      'username=alice\noauth_refresh_token=renew\n',
    )
  })

  test('may be as long as a mebibyte, in one line', async () => {
    const at = scratch()
    const password = 'p'.repeat(1 << 20)
    expect(await git('store', { at }, store('alice', password))).toMatchObject(silent)
    expect((await git('get', { at })).stdout).toBe(`username=alice\npassword=${password}\n`)
  })

  test('is what a mail server or a certificate wants, too', async () => {
    const at = scratch()
    const mail = place('mail.example.com:587', 'smtp')
    const certificate = `${place('', 'cert')}path=/home/alice/alice.pem\n`
    await git('store', { at }, store('alice', 'mail', mail))
    await git('store', { at }, store('', 'passphrase', certificate))
    expect((await git('get', { at }, mail)).stdout).toBe('username=alice\npassword=mail\n')
    expect((await git('get', { at }, certificate)).stdout).toBe('username=\npassword=passphrase\n')
    expect(await git('get', { at }, `${place('', 'cert')}path=/home/alice/other.pem\n`)).toMatchObject(silent)
    expect(await git('get', { at }, place('mail.example.com:587'))).toMatchObject(silent)
  })

  const refused: [name: string, input: string | Uint8Array][] = [
    ['no host', store('a', 'b', 'protocol=https\n')],
    ['no host and a path', store('a', 'b', 'protocol=https\nhost=\npath=x\n')],
    ['a slash in the host', store('a', 'b', place('other.example.com/x'))],
    ['a CR in the password', store('a', 'b\rc')],
    ['a NUL in the user', store('a\0', 'b')],
    ['two passwords', `${store('a', 'b')}password=c\n`],
    ['a byte order mark', `\ufeff${store('a', 'b')}`],
    ['a password that is no UTF-8', Buffer.from(store('a', '\u00e9'), 'latin1')],
    ['a user without a password', `${asked}username=a\n`],
    ['a header without its scheme', `${asked}credential=a\n`],
  ]
  test.each(refused)('is not %s', async (_, input) => {
    const at = scratch()
    expect(await git('store', { at }, input)).toMatchObject(silent)
    expect(await git('list', { at })).toMatchObject(silent)
  })
})

describe('which store', () => {
  test('no configuration is needed, unless one is named', async () => {
    const at = scratch()
    expect(await git('get', { at })).toMatchObject(silent)
    expect(await git('store', { at }, store('alice', 'typed'))).toMatchObject(silent)
    const { code, stdout, stderr } = await git('get', { at, env: { TOKCTL_CONFIG: 'gone.toml' } })
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: configuration file .* does not exist; TOKCTL_CONFIG names it\n/)
  })

  test('memory keeps nothing: it is said, and nothing is answered', async () => {
    const at = scratch()
    const options = { at, env: { TOKCTL_STORE: 'memory' } }
    const { code, stdout, stderr } = await git('store', options, store('alice', 'typed'))
    expect({ code, stdout }).toEqual({ code: 7, stdout: '' })
    expect(stderr).toBe(
      'tokctl: error: the memory store keeps no password beyond this call\n' +
        'tokctl: hint: choose another store: kind = "keychain" or kind = "file"\n',
    )
    expect(await git('get', options)).toMatchObject(silent)
  })

  test('auto without a keychain keeps no password in files, and says so when there is one to keep', async () => {
    const at = scratch()
    const options = { at, env: { TOKCTL_STORE: undefined } }
    expect(await git('get', options)).toMatchObject(silent)
    expect(await git('erase', options)).toMatchObject(silent)
    const { code, stdout, stderr } = await git('store', options, store('alice', 'typed'))
    expect({ code, stdout }).toEqual({ code: 7, stdout: '' })
    expect(stderr).toMatch(
      /^tokctl: error: there is no keychain here: .*\ntokctl: hint: .*kind = "file" under \[store\]\n$/,
    )
  })

  test('an option that is not known is exit 2', async () => {
    const { code, stdout, stderr } = await run(['helper', 'git', '--stroe', 'get'], { input: asked })
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(
      /^tokctl: error: helper git: an option that is not known here\ntokctl: hint: run: git config /,
    )
    const late = await run(['helper', 'git', '--store', '--timeout', 'soon', 'get'], { input: asked })
    expect(late).toMatchObject({ code: 2, stdout: '' })
    expect(late.stderr).toMatch(/^tokctl: error: helper git: --timeout wants a duration\n/)
  })
})

const missing = keyringMissing()

describe.skipIf(missing !== undefined)('with a keyring', () => {
  let keyring: Keyring
  beforeAll(async () => {
    keyring = await startKeyring()
  })
  afterAll(() => keyring.stop())

  const inKeyring = (at: Scratch): RunOptions => ({
    at,
    env: { TOKCTL_STORE: undefined, DBUS_SESSION_BUS_ADDRESS: keyring.env['DBUS_SESSION_BUS_ADDRESS'] },
  })

  test('one item holds what belongs to a host, under its name, and goes with the last of it', async () => {
    const options = inKeyring(scratch())
    const long = 'p'.repeat(100_000)
    await git('store', options, store('alice', long))
    await git('store', options, store('bob', 'typed'))
    expect((await git('get', options, `${asked}username=alice\n`)).stdout).toContain(`password=${long}\n`)
    const look = () =>
      execFileSync('secret-tool', ['search', '--all', 'service', 'tokctl-credential'], {
        env: keyring.env,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    expect(look().match(/^label = .*$/gm)).toEqual(['label = tokctl credential: https://other.example.com'])
    await git('erase', options)
    expect(look()).toBe('')
  })

  test('locked: said to those who keep something there, silence to all others', async () => {
    const own = await startKeyring()
    onTestFinished(() => own.stop())
    const at = scratch()
    const options = {
      at,
      env: { TOKCTL_STORE: undefined, DBUS_SESSION_BUS_ADDRESS: own.env['DBUS_SESSION_BUS_ADDRESS'] },
    }
    await git('store', options, store('alice', 'typed'))
    await own.lock()
    for (const [verb, input] of [
      ['get', asked],
      ['erase', asked],
      ['store', store('alice', 'another')],
      ['store', store('alice', 'typed', place('new.example.com'))],
    ] as const) {
      const { code, stdout, stderr } = await git(verb, options, input)
      expect({ verb, code, stdout }).toEqual({ verb, code: 7, stdout: '' })
      expect(stderr).toMatch(/^tokctl: error: the keychain is locked\ntokctl: hint: unlock it .*\n$/)
    }
    for (const verb of ['get', 'erase']) {
      expect(await git(verb, options, place('public.example.com'))).toMatchObject(silent)
    }
    // git goes on to ask a person, as it would without us.
    const answer = at.write('askpass', '#!/bin/sh\necho by-hand\n', 0o700)
    const { code, stdout } = await run(
      ['-c', `credential.helper=!${program.join(' ')} helper git --store`, 'credential', 'fill'],
      {
        ...options,
        env: { ...options.env, GIT_ASKPASS: answer, GIT_CONFIG_NOSYSTEM: '1' },
        program: ['git'],
        input: asked,
      },
    )
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${asked}username=by-hand\npassword=by-hand\n` })
  })

  test('gone: what auto kept in it is never looked for elsewhere', async () => {
    const at = scratch()
    await git('store', inKeyring(at), store('alice', 'typed'))
    const bus = await startBus()
    onTestFinished(() => bus.stop())
    const elsewhere = {
      at,
      env: { TOKCTL_STORE: undefined, DBUS_SESSION_BUS_ADDRESS: bus.env['DBUS_SESSION_BUS_ADDRESS'] },
    }
    const { code, stdout, stderr } = await git('get', elsewhere)
    expect({ code, stdout }).toEqual({ code: 7, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: there is no keychain here: nothing on the session bus offers/)
    expect((await git('get', inKeyring(at))).stdout).toBe('username=alice\npassword=typed\n')
  })
})

// Below the program, where every store can be had.

describe.each<[name: string, make: () => Store | Promise<Store>]>([
  ['sealed files', () => fileStore({ ...scratchState(), keepsRefreshTokens: true, trace() {} })],
  ['items of 2,560 bytes', () => native(2560)],
  ['items so small that all overflow', () => native(64)],
])('kept in %s', (_, make) => {
  async function made(): Promise<
    Credentials & { readonly store: Store; readonly advance: (ms: number) => void }
  > {
    const store = await make()
    const clock = fakeClock()
    const { stateDir } = scratchState()
    const credentials = openCredentials({
      stateDir,
      pid: process.pid,
      store: async () => store,
      now: clock.now,
      exclusively: work => work(),
    })
    return { ...credentials, store, advance: ms => clock.set(clock.now() + ms) }
  }

  const at = { protocol: 'https', host: 'git.example.com' }
  const credential = (given: Partial<Credential>): Credential => ({
    ...at,
    path: undefined,
    username: 'alice',
    password: new Secret('typed'),
    authtype: undefined,
    credential: undefined,
    expiresAt: undefined,
    oauthRefreshToken: undefined,
    ...given,
  })
  const query = (given: Partial<CredentialQuery> = {}): CredentialQuery => ({
    ...at,
    path: undefined,
    username: undefined,
    password: undefined,
    credential: undefined,
    authtype: false,
    ...given,
  })
  const passwordOf = (found: Credential | undefined): string | undefined => found?.password?.expose()

  test('a password of 64 KiB, several users, and each is found again', async () => {
    const { find, keep } = await made()
    const long = 'x'.repeat(65_536)
    for (const [username, password] of [
      ['alice', long],
      ['bob', 'short'],
      ['', ''],
    ] as const) {
      await keep(credential({ username, password: new Secret(password) }))
    }
    expect(passwordOf(await find(query({ username: 'alice' })))).toBe(long)
    expect(passwordOf(await find(query({ username: 'bob' })))).toBe('short')
    expect(passwordOf(await find(query({ username: '' })))).toBe('')
    expect((await find(query()))?.username).toBe('')
  })

  test('the very path goes before others, then the newest', async () => {
    const { find, keep } = await made()
    for (const [path, password] of [
      [undefined, 'host'],
      ['a', 'of a'],
      ['b', 'of b'],
    ] as const) {
      await keep(credential({ path, password: new Secret(password) }))
    }
    expect(passwordOf(await find(query()))).toBe('host')
    expect(passwordOf(await find(query({ path: 'a' })))).toBe('of a')
    expect(await find(query({ path: 'c' }))).toBeUndefined()
  })

  test('to forget takes what is meant, and the place goes with the last one', async () => {
    const { find, keep, forget, places, store } = await made()
    await keep(credential({}))
    await keep(
      credential({ username: 'bob', password: undefined, authtype: 'Bearer', credential: new Secret('t') }),
    )
    await forget(query({ password: new Secret('another') }))
    expect(await store.list()).toHaveLength(1)
    await forget(query({ credential: new Secret('t') }))
    expect(await find(query({ username: 'bob', authtype: true }))).toBeUndefined()
    expect(passwordOf(await find(query()))).toBe('typed')
    expect(places()).toEqual(['https://git.example.com'])
    await forget(query())
    expect([places(), await store.list()]).toEqual([[], []])
  })

  test('an item that is none of ours reads as nothing, one of a later version is left alone', async () => {
    const { find, keep, store } = await made()
    await keep(credential({}))
    const [key] = await store.list()
    for (const text of ['no JSON', '[]', '{"v":1}', '{"v":1,"kept":[{"username":7,"password":"x"},null]}']) {
      await store.set(key!, new Secret(text))
      expect(await find(query()), text).toBeUndefined()
    }
    await store.set(key!, new Secret('{"v":2,"kept":[]}'))
    const newer = {
      code: 'store_failed',
      message: /^what is kept for https:.* was written by a newer tokctl$/,
    }
    await expect(find(query())).rejects.toMatchObject({
      ...newer,
      message: expect.stringMatching(newer.message),
    })
    await expect(keep(credential({ username: 'bob' }))).rejects.toMatchObject({ code: 'store_failed' })
    expect((await store.get(key!))?.expose()).toBe('{"v":2,"kept":[]}')
  })

  test('time passes: the password goes, what renews it stays', async () => {
    const { find, keep, advance } = await made()
    const expiresAt = fakeClock().now() + 1000
    await keep(credential({ expiresAt, oauthRefreshToken: new Secret('renew') }))
    expect(passwordOf(await find(query()))).toBe('typed')
    advance(1000)
    const found = await find(query())
    expect([found?.username, passwordOf(found), found?.oauthRefreshToken?.expose()]).toEqual([
      'alice',
      undefined,
      'renew',
    ])
  })
})

function native(maxItemBytes: number): Store {
  const { environment, stateDir } = scratchState({}, 'win32')
  return nativeKeychain({
    keyring: fakeNativeKeyring(maxItemBytes),
    environment,
    stateDir,
    maxItemBytes,
    trace() {},
  })
}
