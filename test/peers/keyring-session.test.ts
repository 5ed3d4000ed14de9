import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type Keyring, keyringMissing, startKeyring } from '../support/keyring.ts'
import { type Rotation, rotation } from '../support/rotation.ts'
import { type RunOptions, run } from '../support/run.ts'

// What happens to a session when a real keyring goes away between the request and its answer.

const missing = keyringMissing()
const patience = 60_000

interface Session extends Rotation {
  readonly keyring: Keyring
  readonly kept: RunOptions
  /** Whether the journal has something in it that nobody can read. */
  hasJournal(): boolean
}

async function session(): Promise<Session> {
  const [all, keyring] = await Promise.all([rotation(), startKeyring()])
  onTestFinished(() => keyring.stop())
  const bus = { DBUS_SESSION_BUS_ADDRESS: keyring.address }
  const kept = { ...all.options, env: { ...all.options.env, ...bus, TOKCTL_STORE: 'keychain' } }
  expect(await run(['get', 'me'], kept)).toMatchObject({ code: 0, stdout: 'token-canary-1\n', stderr: '' })
  const journal = join(all.at.stateDir, 'journal', 'me.journal')
  return Object.assign(all, {
    keyring,
    kept,
    hasJournal: () => existsSync(journal) && !readFileSync(journal, 'latin1').includes('canary'),
  })
}

/** Renews, and does something to the keyring once the server has done its part. */
function renewWhile({ auth, rotate, kept }: Session, happens: () => unknown) {
  auth.answerNext(async request => {
    const answer = rotate(request)
    await happens()
    return answer
  })
  return run(['get', 'me', '--force'], kept)
}

test.skipIf(missing !== undefined)(
  'a keyring that hangs while a renewal is under way: the token is printed, and the session goes on when it answers again',
  async () => {
    const all = await session()
    const { code, stdout, stderr } = await renewWhile(all, () => all.keyring.freeze())
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'token-canary-2\n' })
    expect(stderr).toBe('tokctl: warning: the token is not kept: the keychain did not answer within 2 s\n')
    expect(all.hasJournal()).toBe(true)
    all.keyring.thaw()
    expect(await run(['get', 'me', '--force'], all.kept)).toMatchObject({ stdout: 'token-canary-3\n' })
    expect(all.hasJournal()).toBe(false)
    expect(all.sent).toEqual(['seed-canary-1', 'refresh-canary-1', 'refresh-canary-2'])
  },
  patience,
)

test.skipIf(missing !== undefined).each([
  ['is killed', (keyring: Keyring) => keyring.killDaemon(), 'there is no keychain here'],
  ['is locked', (keyring: Keyring) => keyring.lock(), 'the keychain is locked'],
])(
  'a keyring that %s while a renewal is under way: the token is printed with one warning, the journal keeps the session',
  async (_, happens, why) => {
    const all = await session()
    const { code, stdout, stderr } = await renewWhile(all, () => happens(all.keyring))
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'token-canary-2\n' })
    expect(stderr).toMatch(new RegExp(`^tokctl: warning: the token is not kept: ${why}[^\n]*\n$`))
    expect(all.hasJournal()).toBe(true)
  },
  patience,
)

test.skipIf(missing !== undefined)(
  'a keyring that hangs before a renewal: nothing is sent',
  async () => {
    const all = await session()
    all.keyring.freeze()
    expect(await run(['get', 'me', '--force'], all.kept)).toMatchObject({ code: 7, stdout: '' })
    all.keyring.thaw()
    expect(all.sent).toEqual(['seed-canary-1'])
    expect(await run(['get', 'me', '--force'], all.kept)).toMatchObject({ stdout: 'token-canary-2\n' })
  },
  patience,
)
