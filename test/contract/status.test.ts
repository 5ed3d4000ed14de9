import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { App } from '../../src/app.ts'
import { rowJson, rowOf, states } from '../../src/cli/status-row.ts'
import type { Outcome } from '../../src/core/outcome.ts'
import type { Profile } from '../../src/profile/profile.ts'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { program, type RunOptions, run, type Started, scratch, start, straced } from '../support/run.ts'
import { scratchState } from '../support/state.ts'

const docs = readFileSync(
  join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'docs', 'json.md'),
  'utf8',
)
const quoted = program.map(word => `'${word}'`).join(' ')

function inTerminal(command: string, options: RunOptions): Started {
  return start(['-qefc', command, '/dev/null'], { ...options, program: ['script'], keepInput: true })
}

async function shows(started: Started, pattern: RegExp): Promise<void> {
  while (!pattern.test(started.stdout)) {
    if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

describe('--json', () => {
  test('has exactly the members that are promised, and they are documented', async () => {
    const { options } = await corp()
    await run(['get', 'corp'], options)
    const { stdout, stderr } = await run(['status', '--json'], options)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^\{.*\}\n$/)
    const { profiles } = JSON.parse(stdout)
    const instant = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(profiles).toEqual([
      {
        profile: 'corp',
        source: 'client_credentials',
        state: 'fresh',
        store: 'file',
        obtained_at: instant,
        expires_at: instant,
        refresh_at: instant,
        failure: null,
        next_attempt_at: null,
      },
    ])
    for (const member of Object.keys(profiles[0])) expect(docs).toContain(`\`${member}\``)
    for (const state of states) expect(docs).toContain(`| \`${state}\` |`)
  })

  test('a failure has code, message and instant; instants are null where there is none', () => {
    const nothing = { store: undefined, expiresAt: undefined, refreshAt: undefined, obtainedAt: undefined }
    const failure = { code: 'server_error', message: 'said 503', at: 1_700_000_000_999 }
    const row = { ...nothing, profile: 'p', source: 'http', state: 'failing', failure } as const
    expect(rowJson({ ...row, nextAttemptAt: 1_700_000_030_000 })).toEqual({
      profile: 'p',
      source: 'http',
      state: 'failing',
      store: null,
      obtained_at: null,
      expires_at: null,
      refresh_at: null,
      failure: { code: 'server_error', message: 'said 503', at: '2023-11-14T22:13:20Z' },
      next_attempt_at: '2023-11-14T22:13:50Z',
    })
  })

  test('states: what needs a person, what lies here, what is refused', async () => {
    const { auth, at, options } = await corp()
    at.writeConfig(`${readFileSync(at.configFile, 'utf8')}
[profile.me]
source = "authorization_code"
client_id = "cli"
issuer = "https://idp.example.com"
[profile.kept]
source = "static"
token = { env = "KEPT" }
[profile.over]
source = "static"
token = { env = "KEPT" }
expires_at = "2020-01-01T00:00:00Z"
`)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    await run(['get', 'corp'], options)
    const { profiles } = JSON.parse((await run(['status', '--json'], options)).stdout)
    expect(profiles.map((one: { state: string }) => one.state)).toEqual([
      'refused',
      'login_required',
      'local',
      'expired',
    ])
  })

  test('what failed stays failing when its pause is over, until it is tried again', async () => {
    const { auth, at, options } = await corp()
    await auth.close()
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 5 })
    const later = { at, env: { ...options.env, ...ahead('+1h') } }
    expect(JSON.parse((await run(['status', '--json'], later)).stdout).profiles).toMatchObject([
      { state: 'failing', failure: { code: 'network_error' }, next_attempt_at: null },
    ])
    expect((await run(['status'], later)).stdout).toMatch(/ failing +- +when asked +- +(60m|59m|1h) ago: /)
    const { stdout } = await run(['doctor', '--no-network'], later)
    expect(stdout).toMatch(
      /profile "corp" could not be renewed when it was last tried: .*\n.*tokctl refresh corp\n/,
    )
  })

  test('a session that can be renewed needs no sign-in when its token was rejected', () => {
    const { environment } = scratchState()
    const profile = { name: 'me', binding: 'b', source: 'device_code', match: [] } as unknown as Profile
    const gone = { obtainedAt: undefined, expiresAt: undefined, refreshAt: undefined, failure: undefined }
    const stateOf = (renewable: boolean | undefined): string => {
      const outcome = { binding: 'b', store: 'file', ...gone, renewable } as unknown as Outcome
      const app = { outcomes: { read: () => outcome } } as unknown as App
      return rowOf(profile, app, environment, 1_700_000_000_000).state
    }
    expect([true, false, undefined].map(stateOf)).toEqual(['absent', 'login_required', 'login_required'])
  })

  test('with --watch: a line at each change, until it is ended', async () => {
    const { options } = await corp()
    const watching = start(['status', '--watch', '--json'], options)
    await shows(watching, /"absent"/)
    await run(['get', 'corp'], options)
    await shows(watching, /"fresh"/)
    watching.kill('SIGTERM')
    const { code, stdout, stderr } = await watching.done
    expect({ code, stderr }).toEqual({ code: 143, stderr: '' })
    expect(stdout.trimEnd().split('\n')).toHaveLength(2)
  })
})

test('a session without a refresh token says so from the start, and is a sign-in, not a renewal, once it is over', async () => {
  const { at, auth } = await corp()
  const endpoints = `authorization_endpoint = "${auth.url}/authorize"\ntoken_endpoint = "${auth.tokenEndpoint}"`
  at.writeConfig(`[profile.me]\nsource = "authorization_code"\n${endpoints}\nclient_id = "cli"\n`)
  const signingIn = start(['login', 'me', '--no-browser'], { at })
  const [url] = await signingIn.waitForStderr(/http:\S+\/authorize\?\S+/)
  const { searchParams: asked } = new URL(url)
  await fetch(`${asked.get('redirect_uri')}?code=c&state=${asked.get('state')}`)
  expect(await signingIn.done).toMatchObject({ code: 0 })
  const later = (by: string): RunOptions => ({ at, env: ahead(by) })
  const status = async (options: RunOptions): Promise<unknown> =>
    JSON.parse((await run(['status', '--json'], options)).stdout).profiles[0]
  expect(await status({ at })).toMatchObject({ state: 'fresh', refresh_at: null })
  expect((await run(['status'], { at })).stdout).toMatch(/ fresh .* by a sign-in /)
  expect(await status(later('+3h'))).toMatchObject({ state: 'login_required', refresh_at: null })
  const doctor = await run(['doctor', '--no-network'], later('+3h'))
  expect(doctor.stdout).toMatch(/profile "me" needs a sign-in\n.*hint: run: tokctl login me\n/)
  expect(await run(['get', 'me'], later('+3h'))).toMatchObject({ code: 4 })
  // What failed says the same, and is not said twice.
  const again = await run(['doctor', '--no-network'], later('+3h'))
  expect(again.stdout.match(/profile "me" needs a sign-in/g)).toHaveLength(1)
  // One that was written before this was known is read as it was.
  const outcome = join(at.stateDir, 'outcomes', 'me.json')
  const { renewable, failure, ...old } = JSON.parse(readFileSync(outcome, 'utf8'))
  expect(renewable).toBe(false)
  writeFileSync(outcome, JSON.stringify(old))
  expect(await status(later('+3h'))).toMatchObject({
    state: 'expired',
    refresh_at: expect.any(String),
  })
})

test('asks neither the keychain nor the network, opens no socket and writes nothing', async () => {
  const { at, options } = await corp()
  await run(['get', 'corp'], options)
  const log = join(at.path, 'strace.log')
  const tracer = straced(log, 'network,rename,openat')
  const env = { ...options.env, TOKCTL_STORE: 'keychain', DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' }
  expect(await run(['status'], { ...options, env, program: tracer })).toMatchObject({ code: 0, stderr: '' })
  const calls = readFileSync(log, 'utf8')
  expect(calls).not.toMatch(/(socket|connect)\(/)
  const state = calls.split('\n').filter(line => line.includes(at.stateDir))
  expect(state.length).toBeGreaterThan(0)
  expect(state.filter(line => /O_(WRONLY|RDWR|CREAT)/.test(line))).toEqual([])
})

describe('on a terminal', () => {
  test('there is a bar, in letters where the terminal has no others, and lines as wide as it is', async () => {
    const { options } = await corp()
    await run(['get', 'corp'], options)
    const env = { ...options.env, TERM: 'xterm', NO_COLOR: '1' }
    const command = `stty cols 50; ${quoted} status`
    const blocks = inTerminal(command, { ...options, env: { ...env, LANG: 'C.UTF-8' } })
    const { stdout } = await blocks.done
    expect(stdout).toContain('████████ 59m')
    expect(stdout).not.toContain('SOURCE')
    expect(stdout).not.toContain('\u001b')
    const letters = await inTerminal(command, { ...options, env: { ...env, LANG: 'C' } }).done
    expect(letters.stdout).toContain('######## 59m')
  })

  test('--watch draws over itself and leaves the terminal as it was', async () => {
    const { options } = await corp()
    const env = { ...options.env, TERM: 'xterm', NO_COLOR: '1' }
    const watching = inTerminal(`exec ${quoted} status --watch`, { ...options, env })
    await shows(watching, /absent/)
    await run(['get', 'corp'], options)
    await shows(watching, /fresh/)
    watching.child.stdin!.write('\u0003')
    const { code, stdout } = await watching.done
    expect(code).toBe(130)
    expect(stdout.startsWith('\u001b[?1049h\u001b[?25l')).toBe(true)
    // Nothing of the screen is blanked before it is drawn over.
    expect(stdout).not.toContain('\u001b[2J')
    expect(stdout.split('\u001b[?1049h')).toHaveLength(2)
    expect(stdout.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true)
  })

  test('Ctrl-Z gives the terminal back, and fg takes it again', async () => {
    const { options } = await corp()
    const env = { ...options.env, TERM: 'xterm', NO_COLOR: '1', PS1: 'prompt> ' }
    const shell = inTerminal('bash --norc --noprofile -i', { ...options, env })
    await shows(shell, /prompt> /)
    shell.child.stdin!.write(`${quoted} status --watch\n`)
    await shows(shell, /absent/)
    shell.child.stdin!.write('\u001a')
    await shows(shell, /\u001b\[\?1049l[\s\S]*Stopped[\s\S]*prompt> /)
    const before = shell.stdout.length
    shell.child.stdin!.write('fg\n')
    const since = (): string => shell.stdout.slice(before)
    await shows(
      {
        ...shell,
        get stdout() {
          return since()
        },
      },
      /absent/,
    )
    expect(since().indexOf('\u001b[?1049h')).toBeGreaterThan(0)
    expect(since().indexOf('\u001b[?1049h')).toBeLessThan(since().indexOf('absent'))
    shell.child.stdin!.write('\u0003')
    await shows(
      {
        ...shell,
        get stdout() {
          return since()
        },
      },
      /\u001b\[\?1049l[\s\S]*prompt> /,
    )
    shell.child.stdin!.write('exit 0\n')
    expect((await shell.done).code).toBe(0)
  })

  test('--watch follows the size of the terminal', async () => {
    const { at, options } = await corp()
    const env = { ...options.env, TERM: 'xterm', NO_COLOR: '1' }
    const more = ['b', 'c'].map(name => clientProfile(name, 'http://127.0.0.1:9/token'))
    at.writeConfig(readFileSync(at.configFile, 'utf8') + more.join(''))
    const tty = join(at.path, 'tty')
    const command = `stty cols 100 rows 20; tty > ${tty}; exec ${quoted} status --watch`
    const watching = inTerminal(command, { ...options, env })
    await shows(watching, /SOURCE/)
    const name = readFileSync(tty, 'utf8').trim()
    await run(['-F', name, 'cols', '30'], { at, program: ['stty'] })
    await shows(watching, /PROFILE +STATE +TIME LEFT\u001b\[K/)
    await run(['-F', name, 'rows', '3'], { at, program: ['stty'] })
    await shows(watching, /and 2 more\u001b\[K/)
    watching.child.stdin!.write('\u0003')
    expect((await watching.done).code).toBe(130)
  })

  test('a configuration that breaks meanwhile is told below, on the terminal as it was', async () => {
    const { at, options } = await corp()
    const env = { ...options.env, TERM: 'xterm', NO_COLOR: '1' }
    const watching = inTerminal(`exec ${quoted} status --watch`, { ...options, env })
    await shows(watching, /absent/)
    at.writeConfig('nonsense')
    const { code, stdout } = await watching.done
    expect(code).toBe(3)
    expect(stdout).toMatch(/\u001b\[\?1049ltokctl: error: /)
  })
})

test('--watch without a terminal is exit 2 and names what works there', async () => {
  const at = scratch()
  at.writeConfig('')
  expect(await run(['status', '--watch'], { at })).toMatchObject({
    code: 2,
    stdout: '',
    stderr:
      'tokctl: error: --watch draws on a terminal, and there is none\ntokctl: hint: run: tokctl status --watch --json\n',
  })
})
