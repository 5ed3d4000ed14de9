import { execFileSync, spawn } from 'node:child_process'
import { chownSync, closeSync, mkdirSync, openSync, read, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { keepClosed } from '../support/closed-port.ts'
import { corp } from '../support/corp.ts'
import { environment, program, run, scratch, start } from '../support/run.ts'

describe('get prints exactly', () => {
  const outputs: [output: string, stdout: string][] = [
    ['token', 'token-1\n'],
    ['header', 'Authorization: Bearer token-1\n'],
    ['curl', 'header = "Authorization: Bearer token-1"\n'],
    ['env', "export TOKEN='token-1'\n"],
  ]
  test.each(outputs)('--output %s', async (output, stdout) => {
    const { options } = await corp()
    expect(await run(['get', 'corp', '--output', output], options)).toMatchObject({
      code: 0,
      stdout,
      stderr: '',
    })
    expect(await run(['get', 'corp', '-o', output], options)).toMatchObject({ code: 0, stdout, stderr: '' })
  })

  test('--output json: the members of the contract, on one line', async () => {
    const { auth, options } = await corp('scope = "api.read"')
    auth.expiresIn = 3600
    const { stdout, stderr } = await run(['get', 'corp', '--output', 'json'], options)
    expect(stdout).toMatch(/^\{.*\}\n$/)
    const json = JSON.parse(stdout)
    expect(Object.keys(json)).toEqual([
      'profile',
      'access_token',
      'token_type',
      'scope',
      'expires_at',
      'expires_in',
      'obtained_at',
    ])
    expect(json).toMatchObject({ profile: 'corp', access_token: 'token-1', token_type: 'Bearer' })
    expect(json.expires_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect(Date.parse(json.expires_at) - Date.parse(json.obtained_at)).toBe(3_600_000)
    expect(json.expires_in).toBeGreaterThan(3500)
    expect(stderr).toBe('')
  })

  test('--output json of an unknown lifetime: nulls', async () => {
    const { auth, options } = await corp()
    auth.expiresIn = undefined
    const json = JSON.parse((await run(['get', 'corp', '-o', 'json'], options)).stdout)
    expect(json).toMatchObject({ expires_at: null, expires_in: null })
  })

  test('a token with quotes and backslashes stays one word in a shell and one string for curl', async () => {
    const { auth, options } = await corp()
    auth.answer({ body: { access_token: `a'b"c\\d`, token_type: 'bearer', expires_in: 60 } })
    const { stdout } = await run(['get', 'corp', '-o', 'env'], options)
    const shell = spawn('sh', ['-c', `${stdout}printf %s "$TOKEN"`], { stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    shell.stdout.on('data', chunk => (printed += chunk))
    await new Promise(resolve => shell.on('close', resolve))
    expect(printed).toBe(`a'b"c\\d`)
    expect((await run(['get', 'corp', '-o', 'curl'], options)).stdout).toBe(
      `header = "Authorization: Bearer a'b\\"c\\\\d"\n`,
    )
  })
})

describe('the command line is told what is wrong with it (exit 2)', () => {
  const cases: [name: string, args: string[], stderr: string][] = [
    ['no command', [], 'tokctl: error: no command was named\ntokctl: hint: run: tokctl --help\n'],
    [
      'an unknown command',
      ['gte', 'corp'],
      'tokctl: error: unknown command "gte"\ntokctl: hint: did you mean get?\n',
    ],
    [
      'no profile',
      ['get'],
      'tokctl: error: missing required argument "profile"\ntokctl: hint: run: tokctl get --help\n',
    ],
    [
      'an unknown option',
      ['get', 'corp', '--fource'],
      'tokctl: error: unknown option "--fource"\ntokctl: hint: did you mean --force?\n',
    ],
    [
      'an unknown output',
      ['get', 'corp', '-o', 'yaml'],
      'tokctl: error: --output: "yaml" is not a form of output\ntokctl: hint: write one of: token, header, json, curl, netrc, env\n',
    ],
    [
      'a bare number for a duration',
      ['get', 'corp', '--timeout', '30'],
      'tokctl: error: --timeout: "30" is not a duration\ntokctl: hint: write a whole number with a unit: --timeout 500ms, 90s, 5m, 1h or 2d\n',
    ],
    [
      'two that exclude each other',
      ['get', 'corp', '--force', '--cached'],
      'tokctl: error: --force asks for a new token and --cached forbids it\ntokctl: hint: leave one of them out\n',
    ],
  ]
  test.each(cases)('%s', async (_, args, stderr) => {
    expect(await run(args)).toMatchObject({ code: 2, stdout: '', stderr })
  })
})

describe('exit codes and errors', () => {
  test('a missing configuration is exit 3 and says where it was looked for', async () => {
    const at = scratch()
    const { code, stdout, stderr } = await run(['get', 'corp'], { at })
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toContain('.config/tokctl/config.toml')
    expect(stderr).toMatch(/^tokctl: hint: /m)
  })

  test('an unknown profile is exit 3 and names the nearest', async () => {
    const { options } = await corp()
    const { code, stderr } = await run(['get', 'crop'], options)
    expect(code).toBe(3)
    expect(stderr).toMatch(/^tokctl: error: .*"crop".*\n/)
    expect(stderr).toContain('corp')
  })

  test('a secret that is not set is exit 3 and names the variable, not the place it was written', async () => {
    const { at } = await corp()
    const { code, stdout, stderr } = await run(['get', 'corp'], { at })
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toContain('CORP_SECRET')
  })

  test('nothing kept and only the cache asked is exit 5, without a request', async () => {
    const { auth, options } = await corp()
    expect(await run(['get', 'corp', '--cached'], options)).toMatchObject({
      code: 5,
      stdout: '',
      stderr:
        'tokctl: error: no usable token of profile "corp" is kept\ntokctl: hint: run: tokctl get corp\n',
    })
    expect(auth.count()).toBe(0)
  })

  test('a refused client is exit 6, remembered, and mended by refresh', async () => {
    const { auth, options } = await corp()
    auth.answer({
      status: 401,
      body: { error: 'invalid_client', error_description: 'no such\u001b[2J client' },
    })
    const first = await run(['get', 'corp'], options)
    expect(first).toMatchObject({ code: 6, stdout: '' })
    expect(first.stderr).toMatch(/invalid_client/)
    expect(first.stderr).not.toContain('\u001b')
    const second = await run(['get', 'corp'], options)
    expect(second).toMatchObject({ code: 6, stdout: '' })
    expect(second.stderr).toMatch(/tokctl: hint: .*tokctl refresh corp/)
    expect(auth.count()).toBe(1)
    auth.answer('token')
    expect(await run(['refresh', 'corp'], options)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
  })

  test('a command in a hint names the configuration that was named', async () => {
    const { at, options } = await corp()
    const config = at.write('with space/other.toml', readFileSync(at.configFile))
    const { stderr } = await run(['get', 'corp', '--cached', '--config', config], options)
    expect(stderr).toContain(`tokctl: hint: run: tokctl --config '${config}' get corp\n`)
  })

  test('an unreachable server is exit 5', async () => {
    const { auth, options } = await corp()
    await auth.close()
    await keepClosed(Number(new URL(auth.url).port))
    const { code, stdout, stderr } = await run(['get', 'corp'], options)
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: .*127\.0\.0\.1/)
    expect(stderr).not.toContain('client-secret-canary')
  })

  test('a state directory of another user is exit 7, and nothing is asked', async () => {
    const { auth, at, options } = await corp()
    mkdirSync(at.stateDir, { mode: 0o700 })
    chownSync(at.stateDir, 65534, 65534)
    const { code, stdout, stderr } = await run(['get', 'corp'], options)
    expect({ code, stdout }).toEqual({ code: 7, stdout: '' })
    expect(stderr).toContain('belongs to another user')
    expect(auth.count()).toBe(0)
  })

  test('pipes where our own files belong are waited for by nobody', async () => {
    const { auth, at, options } = await corp()
    at.writeConfig(
      readFileSync(at.configFile, 'utf8').replace(/^token_endpoint.*$/m, `issuer = "${auth.url}"`),
    )
    await run(['get', 'corp'], options)
    const cache = join(at.stateDir, 'cache')
    const [copy] = readdirSync(cache)
    for (const path of [join(at.stateDir, 'outcomes', 'corp.json'), join(cache, copy!)]) {
      rmSync(path)
      execFileSync('mkfifo', [path])
      expect(await run(['refresh', 'corp'], options)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    }
    const lock = join(at.stateDir, 'locks', 'corp.lock')
    rmSync(lock)
    execFileSync('mkfifo', [lock])
    expect(await run(['refresh', 'corp'], options)).toMatchObject({
      code: 7,
      stdout: '',
      stderr: `tokctl: error: lock file ${lock} is not a file\ntokctl: hint: run: rm -r ${lock}\n`,
    })
  })

  test('--json-errors is one line of JSON with the members of the contract', async () => {
    const { auth, options } = await corp()
    auth.unavailable(30)
    const { code, stderr } = await run(['get', 'corp', '--json-errors'], options)
    expect(code).toBe(5)
    expect(stderr).toMatch(/^\{.*\}\n$/)
    const { error } = JSON.parse(stderr)
    expect(Object.keys(error)).toEqual(['code', 'message', 'hint', 'profile', 'retry_after'])
    expect(error).toMatchObject({ code: 'server_error', profile: 'corp', retry_after: 30 })
  })

  test('--json-errors also tells a wrong command line', async () => {
    const { code, stderr } = await run(['get', '--json-errors'])
    expect(code).toBe(2)
    expect(JSON.parse(stderr).error).toMatchObject({ code: 'usage', profile: null, retry_after: null })
  })

  test('a token that lives less than is asked for is never handed out', async () => {
    const { auth, options } = await corp()
    auth.expiresIn = 600
    const short = await run(['get', 'corp', '--min-validity', '20m'], options)
    expect(short).toMatchObject({ code: 6, stdout: '' })
    expect(short.stderr).toContain('live 10m, less than the 20m asked for')
    await run(['get', 'corp', '--min-validity', '20m'], options)
    expect(auth.count()).toBe(1)
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
  })
})

describe('bad days of stdout', () => {
  test('a reader that has gone ends the program quietly, with a code', async () => {
    const { at, options } = await corp()
    const command = `${program.map(word => `'${word}'`).join(' ')} get corp; echo "code $?" >&2`
    const result = await run(['-c', `{ ${command}; } | true`], { ...options, at, program: ['sh'] })
    expect(result.stderr).toMatch(/^code [01]\n$/)
  })

  test('a closed stdout ends the program quietly', async () => {
    const { options } = await corp()
    const command = `${program.map(word => `'${word}'`).join(' ')} get corp >&-`
    const { code, stderr } = await run(['-c', command], { ...options, program: ['sh'] })
    // Node puts /dev/null in the place of a closed stdout, so there is nothing to fail.
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  test('a full disk is an error of one line', async () => {
    const { at, options } = await corp()
    const full = openSync('/dev/full', 'w')
    onTestFinished(() => closeSync(full))
    const env = environment(at, options.env)
    const child = spawn(program[0]!, [...program.slice(1), 'get', 'corp'], {
      env,
      stdio: ['ignore', full, 'pipe'],
    })
    let stderr = ''
    child.stderr!.on('data', chunk => (stderr += chunk))
    const code = await new Promise(resolve => child.on('close', resolve))
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'tokctl: error: cannot write to standard output (ENOSPC)\n',
    })
  })
})

const ends = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
test.each(ends)('%s ends a program whose answer nobody reads', async signal => {
  const { auth, at, options } = await corp()
  auth.answer({ body: { access_token: 'x'.repeat(300_000), token_type: 'bearer', expires_in: 60 } })
  const pipe = join(at.path, 'pipe')
  execFileSync('mkfifo', [pipe])
  const fd = openSync(pipe, 'r+')
  onTestFinished(() => closeSync(fd))
  const child = spawn(program[0]!, [...program.slice(1), 'get', 'corp'], {
    env: environment(at, options.env),
    stdio: ['ignore', fd, 'inherit'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const ended = new Promise(resolve => child.on('close', (code, by) => resolve({ code, by })))
  // One byte makes no room for the rest, so the program is in the midst of its answer, and stays there.
  await promisify(read)(fd, Buffer.alloc(1), 0, 1, null)
  child.kill(signal)
  expect(await ended).toEqual({ code: null, by: signal })
})

test('Ctrl-C while the server is asked: exit 130, nothing printed, and the next call has the lock at once', async () => {
  const { auth, options } = await corp()
  const gate = auth.hold()
  const first = start(['get', 'corp'], options)
  await gate.arrived(1)
  first.kill('SIGINT')
  expect(await first.done).toMatchObject({ code: 130, stdout: '', stderr: '' })
  const second = start(['get', 'corp'], options)
  await gate.arrived(1)
  gate.release()
  expect(await second.done).toMatchObject({ code: 0, stdout: 'token-2\n' })
})

test('SIGTERM while another process is waited for: exit 143, nothing printed', async () => {
  const { auth, options } = await corp()
  const gate = auth.hold()
  const leader = start(['get', 'corp'], options)
  await gate.arrived(1)
  const waiter = start(['get', 'corp', '-v'], options)
  await waiter.waitForStderr(/waiting for process/)
  waiter.kill('SIGTERM')
  expect(await waiter.done).toMatchObject({ code: 143, stdout: '' })
  gate.release()
  expect(await leader.done).toMatchObject({ code: 0, stdout: 'token-1\n' })
})

describe('refresh and reject', () => {
  test('refresh renews and prints nothing; with --if-stale a fresh token is left alone', async () => {
    const { auth, options } = await corp()
    expect(await run(['refresh', 'corp'], options)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await run(['refresh', 'corp', '--if-stale'], options)).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    })
    expect(auth.count()).toBe(1)
    expect(await run(['refresh', 'corp'], options)).toMatchObject({ code: 0 })
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-2\n' })
  })

  test('reject drops the token that was refused, and no other', async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    expect(await run(['reject', 'corp'], { ...options, input: 'another\n' })).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    })
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-1\n' })
    expect(await run(['reject', 'corp'], { ...options, input: 'token-1\n' })).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    })
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-2\n' })
    expect(auth.count()).toBe(2)
  })

  test('reject without a token on stdin is exit 2', async () => {
    const { options } = await corp()
    const { code, stderr } = await run(['reject', 'corp'], { ...options, input: '\n' })
    expect(code).toBe(2)
    expect(stderr).toContain('standard input holds no token')
  })

  test('a source that gives the rejected token again is exit 6', async () => {
    const at = scratch()
    at.writeConfig('[profile.fixed]\nsource = "static"\ntoken = { env = "FIXED" }\n')
    const options = { at, env: { FIXED: 'fixed-token' } }
    expect(await run(['get', 'fixed'], options)).toMatchObject({ code: 0, stdout: 'fixed-token\n' })
    await run(['reject', 'fixed'], { ...options, input: 'fixed-token' })
    const again = await run(['get', 'fixed'], options)
    expect(again).toMatchObject({ code: 6, stdout: '' })
    expect(again.stderr).toContain('the source gave the token that was rejected before')
  })
})

describe('status', () => {
  test('shows each profile, asks nobody, and shows no secret', async () => {
    const { auth, options } = await corp()
    expect((await run(['status'], options)).stdout).toMatch(
      /^PROFILE +SOURCE .*\ncorp +client_credentials +absent /,
    )
    await run(['get', 'corp'], options)
    const { code, stdout, stderr } = await run(['status', 'corp'], options)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/\ncorp +client_credentials +fresh +59m +in \d+m +file\n$/)
    expect(stdout).not.toContain('token-1')
    expect(auth.count()).toBe(1)
  })

  test('--json tells the state, the times and the last failure', async () => {
    const { auth, options } = await corp()
    auth.unavailable(30)
    await run(['get', 'corp'], options)
    const { profiles } = JSON.parse((await run(['status', '--json'], options)).stdout)
    expect(profiles).toHaveLength(1)
    expect(profiles[0]).toMatchObject({ profile: 'corp', state: 'failing', expires_at: null, store: null })
    expect(profiles[0].failure).toMatchObject({ code: 'server_error' })
    expect(Date.parse(profiles[0].next_attempt_at)).toBeGreaterThan(0)
  })

  test('colours are for terminals, and for those who ask', async () => {
    const { options } = await corp()
    expect((await run(['status'], options)).stdout).not.toContain('\u001b')
    const forced = await run(['status'], { ...options, env: { ...options.env, FORCE_COLOR: '1' } })
    expect(forced.stdout).toContain('\u001b[')
    const both = await run(['status'], {
      ...options,
      env: { ...options.env, FORCE_COLOR: '1', NO_COLOR: '1' },
    })
    expect(both.stdout).not.toContain('\u001b')
  })
})

describe('profile and secret', () => {
  test('profile list and show tell the configuration, secrets as their references', async () => {
    const { options } = await corp('match = ["https://api.example.com"]\nrefresh_before = "10m"')
    expect((await run(['profile', 'list'], options)).stdout).toMatch(
      /^corp +client_credentials +https:\/\/api\.example\.com/,
    )
    const { stdout } = await run(['profile', 'show', 'corp'], options)
    expect(stdout).toContain('client_secret = {"env":"CORP_SECRET"}\n')
    expect(stdout).toContain('refresh_before = "10m"\n')
    expect(stdout).not.toContain('canary')
    expect(JSON.parse((await run(['profile', 'show', 'corp', '--json'], options)).stdout)).toMatchObject({
      name: 'corp',
    })
  })

  test('a kept secret is taken from stdin, used, listed by name, and forgotten', async () => {
    const { at, auth } = await corp()
    at.writeConfig(
      readFileSync(at.configFile, 'utf8').replace('{ env = "CORP_SECRET" }', '{ secret = "corp-client" }'),
    )
    const missing = await run(['get', 'corp'], { at })
    expect(missing).toMatchObject({ code: 7, stdout: '' })
    expect(missing.stderr).toContain('tokctl secret set corp-client')

    const set = await run(['secret', 'set', 'corp-client'], { at, input: 'kept-canary\n' })
    expect(set).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await run(['get', 'corp'], { at })).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    const sent = auth.requests[0]!.headers.authorization!
    expect(Buffer.from(sent.slice(6), 'base64').toString()).toBe('build-bot:kept-canary')
    expect(await run(['secret', 'list'], { at })).toMatchObject({ code: 0, stdout: 'corp-client\n' })
    for (const file of filesIn(at.stateDir)) expect(readFileSync(file, 'latin1')).not.toContain('kept-canary')

    expect(await run(['secret', 'delete', 'corp-client'], { at })).toMatchObject({ code: 0, stdout: '' })
    expect(await run(['secret', 'delete', 'corp-client'], { at })).toMatchObject({ code: 7 })
    expect(await run(['secret', 'list'], { at })).toMatchObject({ code: 0, stdout: '' })
  })

  test('an empty secret and a strange name are exit 2', async () => {
    const { at } = await corp()
    expect(await run(['secret', 'set', 'a'], { at, input: '' })).toMatchObject({ code: 2 })
    expect(await run(['secret', 'set', '../a'], { at, input: 'x' })).toMatchObject({ code: 2 })
  })
})

test('help of every command fits a screen and is exit 0', async () => {
  for (const command of [
    [],
    ['get'],
    ['exec'],
    ['refresh'],
    ['reject'],
    ['helper'],
    ['setup'],
    ['status'],
    ['profile'],
    ['secret'],
    ['secret', 'set'],
  ]) {
    const { code, stdout, stderr } = await run([...command, '--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n').length).toBeLessThanOrEqual(25)
    expect(stdout).toMatch(/^Usage: tokctl/)
  }
})

test('the version names itself, its commit, node and the platform', async () => {
  const { code, stdout } = await run(['--version'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^tokctl \d+\.\d+\.\d+ \(.*\) (node v|bun )\d+\.\d+\.\d+ linux \w+\n$/)
})

test('no secret is in clear in any file that was written', async () => {
  const { at, options } = await corp()
  await run(['get', 'corp'], options)
  for (const file of filesIn(at.path).filter(file => file !== at.configFile)) {
    const content = readFileSync(file, 'latin1')
    expect(content).not.toContain('token-1')
    expect(content).not.toContain('canary')
  }
})

function filesIn(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}
