import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { startFullBus } from '../support/full-bus.ts'
import { keyringMissing, startKeyring } from '../support/keyring.ts'
import { run } from '../support/run.ts'

// The program with a real gnome-keyring, as `auto` finds it.

const missing = keyringMissing()
const patience = 60_000

async function home() {
  const { auth, at, options } = await corp()
  const keyring = await startKeyring()
  onTestFinished(() => keyring.stop())
  const env = { ...options.env, TOKCTL_STORE: undefined }
  return {
    auth,
    at,
    keyring,
    withKeyring: { at, env: { ...env, ...busOf(keyring.env) } },
    without: { at, env },
  }
}

function busOf(env: Record<string, string>): Record<string, string> {
  return { DBUS_SESSION_BUS_ADDRESS: env['DBUS_SESSION_BUS_ADDRESS']! }
}

test.skipIf(missing)(
  'a token that auto kept in the keyring is served from there, and read by secret-tool',
  async () => {
    const { auth, at, keyring, withKeyring } = await home()
    expect(await run(['get', 'corp'], withKeyring)).toMatchObject({
      code: 0,
      stdout: 'token-1\n',
      stderr: '',
    })
    expect(await run(['get', 'corp'], withKeyring)).toMatchObject({
      code: 0,
      stdout: 'token-1\n',
      stderr: '',
    })
    expect(auth.count()).toBe(1)
    const item = execFileSync('secret-tool', ['lookup', 'service', 'tokctl', 'account', 'corp'], {
      env: { PATH: process.env['PATH']!, ...keyring.env },
      encoding: 'utf8',
    })
    expect(JSON.parse(item)).toMatchObject({ access_token: 'token-1' })
    expect(JSON.parse(readFileSync(join(at.stateDir, 'outcomes', 'corp.json'), 'utf8'))).toMatchObject({
      auto: 'keychain',
    })
  },
  patience,
)

test.skipIf(missing)(
  'what auto took is kept: without the bus it is exit 7, and never another store',
  async () => {
    const { auth, withKeyring, without } = await home()
    await run(['get', 'corp'], withKeyring)
    const lost = await run(['get', 'corp'], without)
    expect(lost).toMatchObject({ code: 7, stdout: '' })
    expect(lost.stderr).toMatch(/^tokctl: error: .*\ntokctl: hint: .*\n$/)
    expect(auth.count()).toBe(1)
    const once = { ...withKeyring, env: { ...withKeyring.env, TOKCTL_STORE: 'file' } }
    expect(await run(['get', 'corp'], once)).toMatchObject({ code: 0, stdout: 'token-2\n' })
    expect(await run(['get', 'corp'], without)).toMatchObject({ code: 7, stdout: '' })
  },
  patience,
)

test.skipIf(process.platform !== 'linux')(
  'a bus that throws connections away, or takes none, is exit 7 under auto: nothing is asked, and no file is kept',
  async () => {
    const { auth, at, options } = await corp()
    const full = await startFullBus()
    const path = join(at.path, 'bus')
    const server = createServer(connection => void connection.on('error', () => {}).destroy())
    await new Promise<void>(resolve => server.listen(path, resolve))
    onTestFinished(() => void server.close())
    const resetting = `unix:path=${path}`
    // What is asked for in a few words alone may hold up the one file, and waits on another kind of socket.
    const calls: [address: string, args: string[], what: string][] = [
      [resetting, ['get', 'corp'], 'the bus closed the connection'],
      [resetting, ['get', 'corp', '--timeout', '9s'], 'the bus closed the connection'],
      [full, ['get', 'corp', '--timeout', '9s'], 'the bus takes no more connections'],
      [full, ['refresh', 'corp'], 'the bus takes no more connections'],
    ]
    await Promise.all(
      calls.map(async ([address, args, what]) => {
        const env = { ...options.env, TOKCTL_STORE: undefined, DBUS_SESSION_BUS_ADDRESS: address }
        expect(await run(args, { at, env })).toMatchObject({
          code: 7,
          stdout: '',
          stderr: `tokctl: error: ${what}\ntokctl: hint: try again, or choose kind = "file" under [store]\n`,
        })
      }),
    )
    expect(auth.count()).toBe(0)
    expect(existsSync(join(at.stateDir, 'records'))).toBe(false)
  },
  patience,
)

test.skipIf(missing)(
  'a keyring that is locked is exit 7, nothing is asked, and nothing else is tried',
  async () => {
    const { auth, keyring, withKeyring } = await home()
    await keyring.lock()
    const locked = await run(['get', 'corp'], withKeyring)
    expect(locked).toMatchObject({ code: 7, stdout: '' })
    expect(locked.stderr).toContain('locked')
    expect(auth.count()).toBe(0)
  },
  patience,
)

test.skipIf(missing)(
  'a keyring that does not answer is given up in the time of the call',
  async () => {
    const { keyring, withKeyring } = await home()
    await run(['get', 'corp'], withKeyring)
    keyring.freeze()
    const hurried = await run(['get', 'corp', '--timeout', '200ms'], withKeyring)
    expect(hurried).toMatchObject({ code: 7, stdout: '' })
    const patient = await run(['get', 'corp'], withKeyring)
    expect(patient).toMatchObject({ code: 7, stdout: '' })
    expect(patient.ms).toBeLessThan(3000 + 2000)
    expect(patient.ms - hurried.ms).toBeGreaterThan(1000)
    keyring.thaw()
  },
  patience,
)

test(
  'where there is no keychain auto takes files, and says so once',
  async () => {
    const { options } = await corp()
    const without = { ...options, env: { ...options.env, TOKCTL_STORE: undefined } }
    const first = await run(['get', 'corp'], without)
    expect(first).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(first.stderr).toMatch(/^tokctl: warning: .*sealed files.*\n$/)
    for (const args of [
      ['get', 'corp'],
      ['get', 'corp', '--force'],
    ]) {
      expect(await run(args, without)).toMatchObject({ code: 0, stderr: '' })
    }
  },
  patience,
)
