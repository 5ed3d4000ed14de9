import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { clientProfile, corp } from '../support/corp.ts'
import { program, type RunOptions, run, type Started, scratch, start } from '../support/run.ts'

const quoted = program.map(word => `'${word}'`).join(' ')
const shell = (script: string): string[] => ['--', 'sh', '-c', script]

/** Runs `tokctl exec …` from a shell and gives what that makes of its end: a signal is 128 and its number. */
async function codeOf(args: string, options: RunOptions): Promise<number> {
  const { stdout } = await run(['-c', `${quoted} exec ${args} >/dev/null; echo "$?"`], {
    ...options,
    program: ['sh'],
  })
  return Number(stdout)
}

async function shows(started: Started, pattern: RegExp): Promise<void> {
  while (!pattern.test(started.stdout)) {
    if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

test('the token is in the environment of the program and nowhere else; what opens the store and what profiles are made of is not in it', async () => {
  const { at, options } = await corp()
  at.writeConfig(`${readFileSync(at.configFile, 'utf8')}[profile.other]
source = "http"
url = "https://api.example.com/"
headers = { "X-Key" = { env = "OTHER_SECRET" } }
token_path = "token"
`)
  const key = Buffer.alloc(32, 7).toString('base64')
  const env = { ...options.env, OTHER_SECRET: 'o', OWN: 'mine', TOKCTL_STORE_KEY: key }
  const there = { ...options, env }
  const { code, stdout, stderr } = await run(['exec', 'corp', '-v', '--', 'env'], there)
  const given = Object.fromEntries(
    stdout
      .trimEnd()
      .split('\n')
      .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )
  expect(code).toBe(0)
  expect(given).toMatchObject({ TOKEN: 'token-1', OWN: 'mine', HOME: at.home, TOKCTL_STORE: 'file' })
  expect(stdout).not.toMatch(/client-secret-canary|OTHER_SECRET|TOKCTL_STORE_KEY/)
  expect(stderr).toContain('tokctl: kept from the program: CORP_SECRET, OTHER_SECRET, TOKCTL_STORE_KEY\n')
  const asked = ['--pass-env', 'CORP_SECRET', '--pass-env', 'TOKCTL_STORE_KEY']
  const nested = await run(
    ['exec', 'corp', ...asked, ...shell(`echo "$CORP_SECRET$OTHER_SECRET"; ${quoted} get corp --cached`)],
    there,
  )
  expect(nested).toMatchObject({ code: 0, stdout: 'client-secret-canary\ntoken-1\n', stderr: '' })
  const args = await run(['exec', 'corp', '--', 'cat', '/proc/self/cmdline'], there)
  expect(args.stdout).toBe('cat\0/proc/self/cmdline\0')
})

test('several profiles at once: each its variable, all requests under way at one time', async () => {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(['a', 'b', 'c'].map(name => clientProfile(name, `${auth.url}/${name}`)).join('\n'))
  auth.answer(({ path }) => ({ body: { access_token: `of${path}`, token_type: 'bearer', expires_in: 60 } }))
  const gate = auth.hold()
  const started = start(['exec', 'a=A', 'b', 'c=C', 'a=AGAIN', ...shell('echo "$A $TOKEN $C $AGAIN"')], {
    at,
    env: { CORP_SECRET: 'hush' },
  })
  await gate.arrived(3)
  gate.release()
  expect(await started.done).toMatchObject({ code: 0, stdout: 'of/a of/b of/c of/a\n', stderr: '' })
  expect(auth.count()).toBe(3)
})

test('one that fails: its error and exit code, the program is not started, and the other token is kept', async () => {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(clientProfile('good', `${auth.url}/good`) + clientProfile('bad', `${auth.url}/bad`))
  auth.answer(({ path }) => (path === '/bad' ? { status: 400, body: { error: 'invalid_scope' } } : 'token'))
  const options = { at, env: { CORP_SECRET: 'hush' } }
  const marker = join(at.path, 'marker')
  const { code, stderr } = await run(['exec', 'bad=B', 'good=G', '--', 'touch', marker], options)
  expect(code).toBe(6)
  expect(stderr).toContain('invalid_scope')
  expect(existsSync(marker)).toBe(false)
  expect(await run(['get', 'good', '--cached'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
})

test('named members go by their own names, and as one line of JSON where a variable is named', async () => {
  const at = scratch()
  at.writeConfig(`[profile.keys]
source = "command"
command = ["printf", "%s", '{"key":"k-1","secret":"s-1","expires_in":60}']
members = { KEY = "key", KEY_SECRET = "secret" }
`)
  const bare = await run(['exec', 'keys', ...shell('echo "$KEY $KEY_SECRET $TOKEN"')], { at })
  expect(bare).toMatchObject({ code: 0, stdout: 'k-1 s-1 \n', stderr: '' })
  const named = await run(['exec', 'keys=ALL', ...shell('echo "$ALL$KEY"')], { at })
  expect(named.stdout).toBe('{"KEY":"k-1","KEY_SECRET":"s-1"}\n')
})

describe('what is wrong with the command line or the program is told before anybody is asked', () => {
  const cases: [name: string, args: string[], code: number, stderr: RegExp][] = [
    ['no program', ['corp'], 2, /no program is named\ntokctl: hint: write: tokctl exec PROFILE -- COMMAND\n/],
    ['nothing behind the dashes', ['corp', '--'], 2, /no program is named/],
    ['no profile', ['--', 'true'], 2, /no profile is named/],
    [
      'a strange variable',
      ['corp=A-B', '--', 'true'],
      2,
      /"A-B" is not the name of a variable\n.*corp=TOKEN/,
    ],
    ['one variable twice', ['corp', 'corp', '--', 'true'], 2, /two tokens for the one variable "TOKEN"/],
    [
      'a program that is not there',
      ['corp', '--', 'no-such-program-here'],
      127,
      /"no-such-program-here" was not found/,
    ],
    ['a path that is not there', ['corp', '--', './nothing'], 127, /"\.\/nothing" was not found/],
    ['a directory', ['corp', '--', '/'], 126, /"\/" is not a file/],
    [
      'a file without the mode',
      ['corp', '--', './plain'],
      126,
      /"\.\/plain" may not be run\n.*chmod \+x \.\/plain/,
    ],
  ]
  test.each(cases)('%s', async (_, args, code, stderr) => {
    const { auth, at, options } = await corp()
    at.write('home/plain', 'echo no\n', 0o600)
    const result = await run(['exec', ...args], options)
    expect(result).toMatchObject({ code, stdout: '' })
    expect(result.stderr).toMatch(stderr)
    expect(auth.count()).toBe(0)
  })

  test('a script whose interpreter is gone is 127', async () => {
    const { at, options } = await corp()
    at.write('home/orphan', '#!/no/such/interpreter\n', 0o755)
    const { code, stderr } = await run(['exec', 'corp', '--', './orphan'], options)
    expect(code).toBe(127)
    expect(stderr).toBe('tokctl: error: program "./orphan" cannot be started: what runs it was not found\n')
  })
})

test('a program of the same name in the working directory is not taken', async () => {
  const { at, options } = await corp()
  at.write('home/true', '#!/bin/sh\necho taken\n', 0o755)
  const env = { ...options.env, PATH: `:.:${process.env['PATH']}` }
  expect(await run(['exec', 'corp', '--', 'true'], { ...options, env })).toMatchObject({
    code: 0,
    stdout: '',
  })
})

test('a script without a first line that names its interpreter runs as in a shell', async () => {
  const { at, options } = await corp()
  at.write('home/bare', 'echo "bare $TOKEN"\n', 0o755)
  expect(await run(['exec', 'corp', '--', './bare'], options)).toMatchObject({
    code: 0,
    stdout: 'bare token-1\n',
  })
})

test('its options are its own, and a second -- too', async () => {
  const { options } = await corp()
  const { stdout } = await run(
    ['exec', 'corp', '--', 'printf', '%s\\n', '--min-validity', '--', '-v'],
    options,
  )
  expect(stdout).toBe('--min-validity\n--\n-v\n')
})

test('stdin, stdout and stderr are the program’s', async () => {
  const { options } = await corp()
  const result = await run(['exec', 'corp', ...shell('tr a-z A-Z; echo told >&2')], {
    ...options,
    input: 'typed',
  })
  expect(result).toMatchObject({ code: 0, stdout: 'TYPED', stderr: 'told\n' })
})

test('exit codes and deaths by signal are passed through, also to a pipe that nobody reads', async () => {
  const { options } = await corp()
  expect(await codeOf("corp -- sh -c 'exit 42'", options)).toBe(42)
  expect(await codeOf("corp -- sh -c 'kill -TERM $$'", options)).toBe(128 + 15)
  expect(await codeOf("corp -- sh -c 'kill -KILL $$'", options)).toBe(128 + 9)
  // `yes` is ended by the closed pipe without a word, as it is without us.
  const { stdout, stderr } = await run(['-c', `${quoted} exec corp -- yes | head -n 1`], {
    ...options,
    program: ['sh'],
  })
  expect({ stdout, stderr }).toEqual({ stdout: 'y\n', stderr: '' })
})

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGALRM'] as const
test.each(signals)(
  '%s that is sent to us reaches the program, once, and its answer is ours',
  async signal => {
    const { options } = await corp()
    const script = `n=0; trap 'n=$((n+1)); echo "got $n" >&2' ${signal.slice(3)}; echo ready >&2; read line; echo "count $n"; exit 7`
    const started = start(['exec', 'corp', ...shell(script)], { ...options, keepInput: true })
    await started.waitForStderr(/ready/)
    started.kill(signal)
    await started.waitForStderr(/got 1/)
    started.child.stdin!.end('go\n')
    expect(await started.done).toMatchObject({ code: 7, stdout: 'count 1\n' })
  },
)

test('nothing is left when a signal ends the program', async () => {
  const { at, options } = await corp()
  const started = start(['exec', 'corp', ...shell('echo ready >&2; exec sleep 60')], options)
  await started.waitForStderr(/ready/)
  started.kill('SIGTERM')
  const { code, signal } = await started.done
  expect([143, 'SIGTERM']).toContain(code ?? signal)
  while (at.processes().length > 0) await new Promise(resolve => setImmediate(resolve))
})

test('a signal while the token is fetched ends us, and no program is started', async () => {
  const { auth, at, options } = await corp()
  const gate = auth.hold()
  const marker = join(at.path, 'marker')
  const started = start(['exec', 'corp', '--', 'touch', marker], options)
  await gate.arrived(1)
  started.kill('SIGTERM')
  expect(await started.done).toMatchObject({ code: 143, stdout: '', stderr: '' })
  expect(existsSync(marker)).toBe(false)
})

test('--min-validity: a token that does not live as long is not handed out', async () => {
  const { auth, options } = await corp()
  auth.expiresIn = 600
  const { code, stderr } = await run(['exec', 'corp', '--min-validity', '20m', '--', 'true'], options)
  expect(code).toBe(6)
  expect(stderr).toContain('live 10m, less than the 20m asked for')
})

test('a stale token is handed out, and one renewal runs beside the program', async () => {
  const { auth, at, options } = await corp('refresh_before = "1h"\nmin_validity = "1s"')
  auth.expiresIn = 3600
  await run(['get', 'corp'], options)
  const file = join(at.stateDir, 'outcomes', 'corp.json')
  expect(JSON.parse(readFileSync(file, 'utf8')).refresh_at).toBeTypeOf('number')
  const faketime = {
    LD_PRELOAD: '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
    FAKETIME: '+55m',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
  }
  const gate = auth.hold()
  const stale = start(['exec', 'corp', ...shell('echo "$TOKEN"')], {
    ...options,
    env: { ...options.env, ...faketime },
  })
  expect(await stale.done).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  await gate.arrived(1)
  gate.release()
})

describe('on a terminal', () => {
  const inTerminal = (command: string, options: RunOptions): Started =>
    start(['-qefc', command, '/dev/null'], { ...options, program: ['script'], keepInput: true })

  test('the program has it, and Ctrl-C reaches the program once', async () => {
    const { options } = await corp()
    const script = `test -t 0 && test -t 1 && echo tty; n=0; trap 'n=$((n+1)); echo "got $n"' INT; echo ready; while [ $n = 0 ]; do read line; done; read line; echo "count $n"`
    const started = inTerminal(
      `exec ${quoted} exec corp -- sh -c '${script.replaceAll("'", "'\\''")}'`,
      options,
    )
    await shows(started, /tty\r\nready/)
    started.child.stdin!.write('\u0003')
    await shows(started, /got 1/)
    started.child.stdin!.write('\n\n')
    await shows(started, /count \d/)
    expect(started.stdout).toContain('count 1')
    expect(await started.done).toMatchObject({ code: 0 })
  })

  test('Ctrl-Z stops both, and fg goes on with both', async () => {
    const { options } = await corp()
    const started = inTerminal('bash --norc --noprofile -i', {
      ...options,
      env: { ...options.env, PS1: 'prompt> ', TERM: 'dumb' },
    })
    await shows(started, /prompt> /)
    started.child.stdin!.write(
      `${quoted} exec corp -- sh -c 'echo rea""dy; read line; echo "li""ne $line"'\n`,
    )
    await shows(started, /ready/)
    started.child.stdin!.write('\u001a')
    await shows(started, /Stopped/)
    started.child.stdin!.write('fg\n')
    await shows(started, /fg\r\n[\s\S]*exec corp/)
    started.child.stdin!.write('typed\n')
    await shows(started, /line typed/)
    started.child.stdin!.write('exit\n')
    expect(await started.done).toMatchObject({ code: 0 })
  })

  test('a program that is in our place has our process id', async () => {
    const { options } = await corp()
    const started = start(['exec', 'corp', ...shell('echo $$')], options)
    const { stdout } = await started.done
    const isReplaced = typeof (process as { execve?: unknown }).execve === 'function'
    expect(Number(stdout) === started.pid).toBe(isReplaced)
  })
})
