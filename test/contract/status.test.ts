import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { rowJson, states } from '../../src/cli/status-row.ts'
import { corp } from '../support/corp.ts'
import { program, type RunOptions, run, type Started, scratch, start, straced } from '../support/run.ts'

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
    const tty = join(at.path, 'tty')
    const command = `stty cols 100 rows 20; tty > ${tty}; exec ${quoted} status --watch`
    const watching = inTerminal(command, { ...options, env })
    await shows(watching, /SOURCE/)
    const name = readFileSync(tty, 'utf8').trim()
    await run(['-F', name, 'cols', '30'], { at, program: ['stty'] })
    await shows(watching, /PROFILE +STATE +TIME LEFT\u001b\[K/)
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
