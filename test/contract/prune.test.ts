import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { startKeyring } from '../support/keyring.ts'
import { type RunOptions, run, type Scratch, start } from '../support/run.ts'

/** What lies below the state directory, locks aside. */
function kept(at: Scratch): string[] {
  return readdirSync(at.stateDir, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter(entry => entry.isFile() && !entry.parentPath.endsWith('locks'))
    .map(entry => join(entry.parentPath, entry.name).slice(at.stateDir.length + 1))
    .sort()
}

/** A home with a token of `corp`, which is configured, and one of `old`, which is no more. */
async function withOld(changes: Partial<RunOptions> = {}): Promise<Awaited<ReturnType<typeof corp>>> {
  const made = await corp()
  const { at, auth } = made
  const options = { ...made.options, ...changes, env: { ...made.options.env, ...changes.env, HOME: at.home } }
  const own = readFileSync(at.configFile, 'utf8')
  at.writeConfig(own + clientProfile('old', auth.tokenEndpoint))
  for (const name of ['corp', 'old']) expect((await run(['get', name], options)).code).toBe(0)
  at.writeConfig(own)
  return { ...made, options }
}

/** On the same machine once what is kept there is over. */
function later(options: RunOptions): RunOptions {
  return { ...options, env: { ...options.env, ...ahead('+2h') } }
}

test('a valid token of a profile that is not configured here stays and is named; once it is over it goes, with its outcome and nothing else', async () => {
  const { at, options, auth } = await withOld()
  const before = kept(at)
  // It may be another configuration's, and a sign-in that left no refresh token.
  expect(await run(['prune'], options)).toMatchObject({
    code: 0,
    stdout:
      'kept: token of profile "old" (sealed file): no such profile is configured here, but it is still valid; drop it with --logins\n',
    stderr: '',
  })
  const dry = await run(['prune', '--dry-run'], later(options))
  expect(dry).toMatchObject({ code: 0, stderr: '' })
  expect(dry.stdout).toBe(
    'would drop: token of profile "old" (sealed file)\nwould drop: how the last attempt for profile "old" ended\n',
  )
  expect(kept(at)).toEqual(before)
  const real = await run(['prune'], later(options))
  expect(real).toMatchObject({ code: 0, stdout: dry.stdout.replaceAll('would drop', 'dropped'), stderr: '' })
  expect(before.filter(name => !kept(at).includes(name))).toEqual([
    'outcomes/old.json',
    'records/profile-old.sealed',
  ])
  expect(await run(['get', 'corp', '--cached'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
  expect(existsSync(join(at.stateDir, 'locks', 'old.lock'))).toBe(true)
  expect(await run(['prune'], later(options))).toMatchObject({ code: 0, stdout: 'nothing to drop\n' })
  expect(auth.count()).toBe(2)
})

test('the token of another configuration stays while it is valid, unless --logins says otherwise, and where it remembers what was refused', async () => {
  const { at, options } = await corp()
  const own = readFileSync(at.configFile, 'utf8')
  await run(['get', 'corp'], options)
  at.writeConfig(`${own}scope = "other"\n`)
  expect((await run(['prune', '--dry-run'], options)).stdout).toBe(
    'kept: token of profile "corp" (sealed file): it was made for another configuration, but it is still valid; drop it with --logins\n',
  )
  expect((await run(['prune', '--logins'], options)).stdout).toBe(
    'dropped: token of profile "corp" (sealed file)\n',
  )
  await run(['get', 'corp'], options)
  await run(['reject', 'corp'], { ...options, input: 'token-2' })
  at.writeConfig(own)
  expect((await run(['prune'], options)).stdout).toBe('nothing to drop\n')
})

test('what may lie in a store that was not looked through keeps its outcome', async () => {
  const { at, options } = await withOld()
  const there = { ...options, env: { ...options.env, TOKCTL_STORE: 'memory' } }
  expect((await run(['prune', '--logins'], there)).stdout).toBe('nothing to drop\n')
  expect(kept(at)).toContain('outcomes/old.json')
})

describe('a login that could still be used', () => {
  async function withLogin(): Promise<Awaited<ReturnType<typeof corp>>> {
    const made = await corp()
    const { at, auth, options } = made
    const own = readFileSync(at.configFile, 'utf8')
    at.writeConfig(`${own}[profile.me]
source = "refresh_token"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "cli"
refresh_token = { env = "SEED" }
`)
    auth.answerNext({
      body: { access_token: 'a-1', token_type: 'bearer', expires_in: 60, refresh_token: 'r-canary' },
    })
    expect((await run(['get', 'me'], { ...options, env: { ...options.env, SEED: 'seed' } })).code).toBe(0)
    at.writeConfig(own)
    return made
  }

  test('stays and is named; --logins drops it', async () => {
    const { at, options } = await withLogin()
    const { code, stdout } = await run(['prune'], options)
    expect(code).toBe(0)
    expect(stdout).toBe(
      'kept: login of profile "me": no such profile is configured here, but it could be used again; drop it with --logins\n',
    )
    expect(kept(at)).toContain('records/profile-me.sealed')
    expect(kept(at)).toContain('outcomes/me.json')
    expect((await run(['prune', '--logins'], options)).stdout).toContain(
      'dropped: token of profile "me" (sealed file)\n',
    )
    expect(kept(at)).not.toContain('records/profile-me.sealed')
    expect(kept(at)).not.toContain('outcomes/me.json')
  })

  test('stays with --logins too while a renewal of it has not been brought to its end', async () => {
    const { at, options } = await withLogin()
    at.write('state/journal/me.journal', '')
    expect((await run(['prune', '--logins'], options)).stdout).toContain(
      'a renewal of it has not been brought to its end',
    )
    expect(kept(at)).toContain('records/profile-me.sealed')
  })
})

test('what another process is at work on stays', async () => {
  const { at, auth, options } = await withOld()
  const own = readFileSync(at.configFile, 'utf8')
  const other = at.write('other.toml', own + clientProfile('old', auth.tokenEndpoint))
  const gate = auth.hold()
  const renewing = start(['refresh', 'old', '--config', other], options)
  await gate.arrived(1)
  expect((await run(['prune', '--logins'], options)).stdout).toContain(
    'kept: token of profile "old" (sealed file): another process is at work on it\n',
  )
  gate.release()
  expect(await renewing.done).toMatchObject({ code: 0 })
  expect(await run(['get', 'old', '--cached', '--config', other], options)).toMatchObject({
    stdout: 'token-3\n',
  })
})

test('in a keychain: ours alone, and what others keep there stays', async () => {
  const keyring = await startKeyring()
  onTestFinished(() => keyring.stop())
  const env = { ...keyring.env, XDG_CONFIG_HOME: undefined, TOKCTL_STORE: undefined }
  const { at, options } = await withOld({ env: { ...env } })
  const inHome = { ...options, env: { ...options.env, HOME: at.home } }
  const others = await run(['store', '--label=x', 'service', 'another', 'account', 'x'], {
    ...inHome,
    program: ['secret-tool'],
    input: 'theirs',
  })
  expect(others.code).toBe(0)
  expect((await run(['prune', '--logins'], inHome)).stdout).toContain(
    'dropped: token of profile "old" (keychain)\n',
  )
  const lookup = (service: string, account: string): Promise<{ code: number | null; stdout: string }> =>
    run(['lookup', 'service', service, 'account', account], { ...inHome, program: ['secret-tool'] })
  expect((await lookup('tokctl', 'old')).stdout).toBe('')
  expect((await lookup('tokctl', 'corp')).stdout).toContain('token-1')
  expect((await lookup('another', 'x')).stdout).toBe('theirs')
})

test('a keychain that is locked is told, and what it may hold keeps its outcome', async () => {
  const keyring = await startKeyring()
  onTestFinished(() => keyring.stop())
  const { at, options } = await withOld({
    env: { ...keyring.env, XDG_CONFIG_HOME: undefined, TOKCTL_STORE: 'keychain' },
  })
  keyring.freeze()
  const { code, stderr } = await run(['prune'], { ...options, env: { ...options.env, HOME: at.home } })
  expect(code).toBe(0)
  expect(stderr).toContain('warning: the keychain was not looked through: the keychain did not answer within')
  expect(kept(at)).toContain('outcomes/old.json')
})

test('left-over files: of dead processes, of configurations and projects that are gone, of items that are', async () => {
  const { at, options } = await corp()
  await run(['get', 'corp'], options)
  const gone = at.write('gone.toml', clientProfile('x', 'http://127.0.0.1:9/token'))
  await run(['status', '--config', gone], options)
  rmSync(gone)
  const project = join(at.home, 'shop')
  at.write('home/shop/.tokctl.toml', '[profile.p]\nsource = "static"\ntoken = { env = "P" }\n')
  mkdirSync(join(project, '.git'))
  await run(['trust', '--yes'], { ...options, cwd: project })
  rmSync(project, { recursive: true })
  const hourAgo = new Date(Date.now() - 3_600_000)
  const weekAgo = new Date(Date.now() - 7 * 86_400_000)
  const dead = 4_000_000
  const longAgo = new Date(Date.now() - 3_700_000)
  // Its id is in use again; where it is in use by whoever writes it, that has it open.
  const open = openSync(at.write(`state/journal/open.${process.pid}.0.tmp`, ''), 'r')
  onTestFinished(() => closeSync(open))
  for (const [name, at_] of [
    [`state/records/a.${dead}.0.tmp`, hourAgo],
    [`state/outcomes/a.${process.pid}.0.tmp`, new Date(Date.now() - 3_000_000)],
    [`state/records/profile-corp.sealed.${process.pid}.0.tmp`, longAgo],
    [`state/journal/open.${process.pid}.0.tmp`, longAgo],
    [`state/cache/b.${dead}.0.tmp`, new Date()],
    ['state/cache/old', weekAgo],
    ['state/cache/new', hourAgo],
    ['state/keychain/profile-x~00ff.sealed', hourAgo],
    ['state/keychain/profile-y~00ff.sealed', hourAgo],
    ['state/keychain/profile-y.item', hourAgo],
  ] as const) {
    utimesSync(at.write(name, ''), at_, at_)
  }
  const before = kept(at)
  const { stdout } = await run(['prune'], options)
  expect(stdout.split('\n').slice(0, -1)).toEqual([
    `dropped: temporary file a.${dead}.0.tmp of process ${dead}, which has ended`,
    `dropped: temporary file profile-corp.sealed.${process.pid}.0.tmp of process ${process.pid}, which has ended`,
    'dropped: what a server said of itself, older than two days (old)',
    `dropped: compiled copy of ${gone}, which is gone`,
    `dropped: trust in ${join(project, '.tokctl.toml')}, which is gone`,
    'dropped: sealed file profile-x~00ff.sealed, whose item is gone',
  ])
  const after = kept(at)
  expect(before.filter(name => !after.includes(name))).toHaveLength(6)
})

test('a project’s tokens stay while its file is there, trusted as it is or not, and go with its trust', async () => {
  const { at, auth, options } = await corp()
  const project = join(at.home, 'shop')
  const file = at.write('home/shop/.tokctl.toml', clientProfile('dev', auth.tokenEndpoint))
  mkdirSync(join(project, '.git'))
  const there = { ...options, cwd: project }
  await run(['trust', '--yes'], there)
  await run(['get', 'dev'], there)
  expect((await run(['prune'], options)).stdout).toBe('nothing to drop\n')
  at.write('home/shop/.tokctl.toml', `${readFileSync(file, 'utf8')}# edited\n`)
  expect((await run(['prune'], options)).stdout).toBe('nothing to drop\n')
  await run(['untrust'], there)
  expect((await run(['prune', '--logins'], options)).stdout).toMatch(
    /^dropped: token of profile "dev@shop-[0-9a-f]{12}" \(sealed file\)\n/,
  )
})

test('without a configuration nothing is nobody’s: exit 3, and all stays', async () => {
  const { at, options } = await withOld()
  rmSync(at.configFile)
  const before = kept(at)
  expect(await run(['prune', '--logins'], options)).toMatchObject({ code: 3, stdout: '' })
  expect(kept(at)).toEqual(before)
})
