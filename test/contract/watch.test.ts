import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  watch as watchDirectory,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { program, run, type Scratch, type Started, scratch, start } from '../support/run.ts'

/** Resolves once that is so; it is looked at whenever something changes in a directory. */
async function holds<T>(directory: string, look: () => T | undefined): Promise<T> {
  mkdirSync(directory, { recursive: true })
  const changes = watchDirectory(directory)
  try {
    for (;;) {
      const changed = once(changes, 'change')
      const found = look()
      if (found !== undefined) return found
      await changed
    }
  } finally {
    changes.close()
  }
}

/** Resolves once there is such a file with something in it. */
function appeared(path: string, what: RegExp = /./): Promise<string> {
  return holds(dirname(path), () => {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
    return what.test(text) ? text : undefined
  })
}

async function gone(path: string): Promise<void> {
  await holds(dirname(path), () => !existsSync(path) || undefined)
}

async function ended(watch: Started, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  watch.kill(signal)
  expect((await watch.done).code).toBe(signal === 'SIGINT' ? 130 : 143)
}

/** A program that writes what it was told into a file: its arguments, and its environment. */
function recorder(at: Scratch): { command: string; log: string } {
  const log = join(at.path, 'told')
  const script = at.write(
    'hook',
    `#!/bin/sh\nprintf '%s|%s|%s|%s|%s\\n' "$*" "$TOKCTL_EVENT" "$TOKCTL_PROFILE" "$TOKCTL_FILE" "$TOKEN" >> '${log}'\n`,
    0o700,
  )
  return { command: script, log }
}

describe('a token file', () => {
  test('holds the bare token, 0600, and is replaced whole when there is a new one', async () => {
    const { at, auth, options } = await corp()
    auth.expiresIn = 5
    const file = join(at.path, 'new', 'token')
    const watch = start(['watch', 'corp', '--file', file], options)
    expect(await appeared(file)).toBe('token-1')
    expect((statSync(file).mode & 0o777).toString(8)).toBe('600')
    const { ino } = statSync(file)
    expect(await appeared(file, /token-2/)).toBe('token-2')
    expect(statSync(file).ino).not.toBe(ino)
    auth.expiresIn = 3600
    await appeared(file, /token-3/)
    expect(readdirSync(join(at.path, 'new'))).toEqual(['token'])
    await ended(watch)
    expect(await watch.done).toMatchObject({ stdout: '' })
    expect(readFileSync(file, 'utf8')).toBe('token-3')
  })

  test('is removed once its token is over and there is no other', async () => {
    const { at, auth, options } = await corp()
    auth.expiresIn = 3
    const file = join(at.path, 'token')
    const watch = start(['watch', 'corp', '--file', file], options)
    await appeared(file)
    auth.unavailable()
    await gone(file)
    expect(watch.stderr).toMatch(
      /^tokctl: warning: profile "corp" is not renewed: .*503.*; its token (expires in \d+m?s|has expired)\n/,
    )
    await ended(watch)
  })

  const forms: [args: string[], content: RegExp][] = [
    [['--format', 'token'], /^token-1$/],
    [
      ['--format', 'json'],
      /^\{"profile":"corp","access_token":"token-1","token_type":"Bearer","scope":null,"expires_at":"[^"]+Z","obtained_at":"[^"]+Z"\}\n$/,
    ],
    [['--format', 'curl'], /^header = "Authorization: Bearer token-1"\n$/],
    [
      ['--format', 'netrc'],
      /^machine api\.example\.com login oauth2 password token-1\nmachine git\.example\.com login oauth2 password token-1\n$/,
    ],
    [['--template', 'x-{profile}: {token} {token_type} {other}'], /^x-corp: token-1 Bearer \{other\}$/],
  ]
  test.each(forms)('may look like %j', async (args, content) => {
    const { at, options } = await corp(
      'match = ["https://api.example.com/v1", "https://git.example.com", "https://api.example.com"]',
    )
    const file = join(at.path, 'token')
    const result = await run(['watch', 'corp', '--once', '--file', file, ...args], options)
    expect(result).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(readFileSync(file, 'utf8')).toMatch(content)
  })

  test('as netrc is what get prints: addresses without brackets, and no user that it cannot hold', async () => {
    const { at, auth, options } = await corp('match = ["https://[::1]:8443/v1", "https://api.example.com"]')
    const file = join(at.path, 'netrc')
    const args = ['watch', 'corp', '--once', '--file', file, '--format', 'netrc']
    expect(await run(args, options)).toMatchObject({ code: 0, stderr: '' })
    const content = readFileSync(file, 'utf8')
    expect(content).toContain('machine ::1 login')
    expect((await run(['get', 'corp', '-o', 'netrc'], options)).stdout).toBe(content)
    at.writeConfig(
      clientProfile('corp', auth.tokenEndpoint, 'match = ["https://api.example.com"]\nusername = "a b"'),
    )
    for (const command of [args, ['get', 'corp', '-o', 'netrc']]) {
      expect(await run(command, options)).toMatchObject({
        code: 2,
        stdout: '',
        stderr: `tokctl: error: the username of profile "corp" holds a character that a netrc cannot\ntokctl: hint: write another username = "…" in the profile\n`,
      })
    }
    expect(readFileSync(file, 'utf8')).toBe(content)
  })

  test('of many profiles is one each', async () => {
    const { at, auth, options } = await corp()
    at.writeConfig(clientProfile('a', auth.tokenEndpoint) + clientProfile('b', auth.tokenEndpoint))
    const result = await run(['watch', 'a', 'b', 'a', '--once', '--file', 'files/{profile}.token'], options)
    expect(result).toMatchObject({ code: 0, stderr: '' })
    const directory = join(at.home, 'files')
    expect(readdirSync(directory).sort()).toEqual(['a.token', 'b.token'])
    expect(auth.count()).toBe(2)
  })

  test('stays whole when the watch is killed in the middle of writing', async () => {
    const { at, options } = await corp()
    const file = join(at.path, 'token')
    const log = join(at.path, 'strace.log')
    // Not with --seccomp-bpf: no signal is injected then.
    const trace = ['strace', '-f', '-qq', '-y', '-o', log, '-e']
    const traced = (inject: string[] = []) =>
      run(['watch', 'corp', '--once', '--file', file], {
        ...options,
        program: [...trace, 'trace=fchmod,fsync,rename', ...inject, ...program],
      })
    await traced()
    expect(readFileSync(file, 'utf8')).toBe('token-1')
    await run(['refresh', 'corp'], options)
    await traced()
    const calls = readFileSync(log, 'utf8').split('\n')
    const steps = calls.flatMap((line, i) => {
      const [, name] = /^\d+ +(\w+)\(/.exec(line) ?? []
      const before = calls.slice(0, i + 1).filter(other => other.includes(` ${name}(`))
      return name !== undefined && line.includes(`${file}.`)
        ? [`${name}:signal=KILL:when=${before.length}`]
        : []
    })
    expect(steps.map(step => step.split(':')[0])).toEqual(['fchmod', 'fsync', 'rename'])
    for (const step of steps) {
      const old = readFileSync(file, 'utf8')
      await run(['refresh', 'corp'], options)
      expect((await traced(['-e', `inject=${step}`])).code).not.toBe(0)
      expect(readFileSync(file, 'utf8')).toBe(old)
    }
    // What the killed ones left beside it goes once nobody can be writing it any more.
    const leftovers = readdirSync(at.path).filter(name => /^token\.\d+\.\d+\.tmp$/.test(name))
    expect(leftovers).toHaveLength(3)
    for (const name of leftovers) utimesSync(join(at.path, name), 0, 0)
    expect((await traced()).code).toBe(0)
    expect(readFileSync(file, 'utf8')).toBe('token-5')
    expect(readdirSync(at.path).filter(name => name.endsWith('.tmp'))).toEqual([])
  })
})

describe('what is told', () => {
  test('is each new token, without it unless that was asked for; with --once only one that is another', async () => {
    const { at, options } = await corp()
    const { command, log } = recorder(at)
    const file = join(at.path, 'token')
    const told = async (args: string[]) => {
      const before = existsSync(log) ? readFileSync(log, 'utf8') : ''
      expect(await run(['watch', 'corp', '--once', ...args], options)).toMatchObject({ code: 0, stderr: '' })
      return readFileSync(log, 'utf8').slice(before.length)
    }
    // Without a file: another one than was kept before the call.
    expect(await told(['--on-change', `${command} an argument`])).toBe('an argument|change|corp||\n')
    expect(await told(['--on-change', command])).toBe('')
    // With one: another one than it holds.
    expect(await told(['--file', file, '--on-change', command])).toBe(`|change|corp|${file}|\n`)
    expect(await told(['--file', file, '--on-change', command])).toBe('')
    writeFileSync(file, 'token-0')
    const words = JSON.stringify([command, 'one $HOME; word'])
    expect(await told(['--file', file, '--pass-token', '--on-change', words])).toBe(
      `one $HOME; word|change|corp|${file}|token-1\n`,
    )
  })

  test('is a sign-in that is needed', async () => {
    const { at, auth, options } = await corp()
    at.writeConfig(
      `[profile.me]\nsource = "device_code"\nclient_id = "me"\ntoken_endpoint = "${auth.tokenEndpoint}"\ndevice_authorization_endpoint = "${auth.url}/device"\n`,
    )
    const { command, log } = recorder(at)
    const watch = start(['watch', 'me', '--on-login-required', command], options)
    expect(await appeared(log)).toBe('|login_required|me||\n')
    expect(watch.stderr).toContain(
      'tokctl: warning: profile "me" is not renewed: profile "me" needs a sign-in',
    )
    await ended(watch, 'SIGINT')
    const result = await run(['watch', 'me', '--once', '--on-login-required', command], options)
    expect(result).toMatchObject({ code: 4, stdout: '' })
    expect(readFileSync(log, 'utf8')).toBe('|login_required|me||\n'.repeat(2))
  })

  test('fails without ending the watch', async () => {
    const { options } = await corp()
    const result = await run(['watch', 'corp', '--once', '--on-change', 'false'], options)
    expect(result).toMatchObject({ code: 0, stderr: 'tokctl: warning: program "false" ended with exit 1\n' })
  })
})

test('the second watch of a profile says so, exit 5, and another profile is none of its business', async () => {
  const { at, auth, options } = await corp()
  // So many that Node would warn if all listened to one signal.
  const names = ['a', ...Array.from({ length: 12 }, (_, i) => `of-${i}`)]
  at.writeConfig([...names, 'b'].map(name => clientProfile(name, auth.tokenEndpoint)).join(''))
  const files = join(at.path, 'tokens')
  const first = start(['watch', ...names, '--file', join(files, '{profile}')], options)
  await holds(
    files,
    () => readdirSync(files).filter(name => names.includes(name)).length === names.length || undefined,
  )
  expect(await run(['watch', 'b', 'a', '--once'], options)).toMatchObject({
    code: 5,
    stdout: '',
    stderr: `tokctl: error: profile "a" is watched by process ${first.pid} already\n`,
  })
  expect((await run(['watch', 'b', '--once'], options)).code).toBe(0)
  expect(first.stderr).toBe('')
  first.kill('SIGKILL')
  await first.done
  expect((await run(['watch', 'a', '--once'], options)).code).toBe(0)
})

test('--once fails with the failure, and leaves in the file what is still valid, and nothing else', async () => {
  const { at, auth, options } = await corp()
  const file = join(at.path, 'token')
  const onceAt = (after: string) =>
    run(['watch', 'corp', '--once', '--file', file], { ...options, env: { ...options.env, ...ahead(after) } })
  expect(await onceAt('+0m')).toMatchObject({ code: 0, stderr: '' })
  auth.unavailable()
  writeFileSync(file, 'of yesterday')
  const stale = await onceAt('+56m')
  expect(stale).toMatchObject({ code: 5, stdout: '' })
  expect(stale.stderr).toMatch(/^tokctl: error: .*503/m)
  expect(readFileSync(file, 'utf8')).toBe('token-1')
  expect((await onceAt('+2h')).code).toBe(5)
  expect(existsSync(file)).toBe(false)
})

test('--once removes the file where the token was over when it came, and asks once', async () => {
  const at = scratch()
  const log = join(at.path, 'calls')
  const old = at.write(
    'old',
    `#!/bin/sh\necho >> '${log}'\necho '{"access_token":"old","expires_at":"2020-01-01T00:00:00Z"}'\n`,
    0o700,
  )
  const config = `[profile.cmd]\nsource = "command"\ncommand = ["${old}"]\n`
  const file = at.write('token', 'token-0')
  expect(await run(['watch', 'cmd', '--once', '--file', file], { at, config })).toMatchObject({
    code: 6,
    stdout: '',
    stderr: `tokctl: error: the token that profile "cmd" got was over when it came
tokctl: hint: see what its source says of its end: tokctl get cmd -o json
`,
  })
  expect(existsSync(file)).toBe(false)
  expect(readFileSync(log, 'utf8')).toBe('\n')
})

describe('--install systemd', () => {
  const unitOf = (at: Scratch, name: string): string =>
    join(at.home, '.config', 'systemd', 'user', `tokctl-watch-${name}.service`)

  async function verified(unit: string, at: Scratch): Promise<void> {
    const runtime = join(at.path, 'run')
    mkdirSync(runtime, { mode: 0o700 })
    const checked = await run(['verify', '--user', unit], {
      at,
      program: ['systemd-analyze'],
      env: { XDG_RUNTIME_DIR: runtime },
    })
    expect(checked).toMatchObject({ code: 0, stderr: '' })
  }

  /** What systemd would start: the words of ExecStart, and Environment, each unquoted. */
  function started(unit: string): { words: string[]; env: Record<string, string>; cwd: string } {
    const lines = readFileSync(unit, 'utf8').split('\n')
    const unquoted = (line: string): string[] =>
      [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word]) =>
        word!.replace(/\\(.)/g, '$1').replace(/([%$])\1/g, '$1'),
      )
    const of = (key: string) => lines.filter(line => line.startsWith(`${key}=`))
    const env = of('Environment').flatMap(unquoted)
    return {
      words: unquoted(of('ExecStart')[0]!),
      env: Object.fromEntries(env.map(pair => [pair.split('=')[0]!, pair.slice(pair.indexOf('=') + 1)])),
      cwd: of('WorkingDirectory')[0]!.replace('WorkingDirectory=-', '').replaceAll('%%', '%'),
    }
  }

  test('writes a user unit that systemd-analyze finds nothing wrong with', async () => {
    const { at, options } = await corp()
    const file = join(at.path, 'a file with $HOME, 100% "quoted"')
    const args = ['watch', 'corp', '--file', file, '--install', 'systemd', '--format', 'json']
    const result = await run(args, options)
    expect(result).toMatchObject({
      code: 0,
      stdout: 'systemctl --user enable --now tokctl-watch-corp.service\n',
      stderr: '',
    })
    const unit = unitOf(at, 'corp')
    const text = readFileSync(unit, 'utf8')
    expect(text).toContain(
      `"watch" "corp" "--file" "${at.path}/a file with $$HOME, 100%% \\"quoted\\"" "--format" "json"\n`,
    )
    expect(text).toContain(`Environment="TOKCTL_STATE_DIR=${at.stateDir}"`)
    expect(text).not.toContain('client-secret-canary')
    // What a restart does not mend is not tried again: the command line, the configuration.
    expect(text).toContain('\nRestart=on-failure\nRestartSec=5\nRestartPreventExitStatus=2 3\n')
    await verified(unit, at)
  })

  test("has whole paths, and starts where a project's profile is found", async () => {
    const { at, auth, options } = await corp()
    const shop = join(at.path, 'a "shop" with 100% $HOME')
    at.write('a "shop" with 100% $HOME/.tokctl.toml', clientProfile('dev', auth.tokenEndpoint))
    const there = { ...options, cwd: shop }
    expect((await run(['trust', '--yes'], there)).code).toBe(0)
    const hook = ['--on-change', './reload now']
    const dev = await run(['watch', 'dev', '--file', 'dev.token', ...hook, '--install=systemd'], there)
    expect(dev).toMatchObject({ code: 0, stderr: '' })
    const [, name] = / tokctl-watch-(dev-[a-z0-9-]+-[0-9a-f]{12})\.service\n$/.exec(dev.stdout) ?? []
    const unit = unitOf(at, name!)
    await verified(unit, at)
    const { words, env, cwd } = started(unit)
    expect(cwd).toBe(shop)
    expect(words.slice(words.indexOf('watch'))).toEqual(
      ['watch', 'dev', '--file', join(shop, 'dev.token'), hook].flat(),
    )
    at.write('a "shop" with 100% $HOME/reload', '#!/bin/sh\n', 0o700)
    const once = await run([...words.slice(1), '--once'], {
      at,
      cwd,
      env: { ...options.env, ...env },
      program: words.slice(0, 1),
    })
    expect(once).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(join(shop, 'dev.token'), 'utf8')).toBe('token-1')

    const relative = { TOKCTL_CONFIG: 'c.toml', TOKCTL_STATE_DIR: 'st', TOKCTL_STORE_KEY_FILE: 'key' }
    const config = at.write('a "shop" with 100% $HOME/c.toml', clientProfile('two', auth.tokenEndpoint))
    const addresses = ['--gce', '127.0.0.1:0', '--variables', 'v']
    const two = await run(['--config', 'c.toml', 'watch', 'two', ...addresses, '--install', 'systemd'], {
      ...there,
      env: { ...options.env, ...relative, XDG_STATE_HOME: 'ignored' },
    })
    expect(two).toMatchObject({ code: 0, stderr: '' })
    const twice = started(unitOf(at, 'two'))
    expect(twice.words.slice(-8)).toEqual([
      '--config',
      config,
      'watch',
      'two',
      '--gce',
      '127.0.0.1:0',
      '--variables',
      join(shop, 'v'),
    ])
    expect(twice.env).toEqual({
      TOKCTL_CONFIG: config,
      TOKCTL_STATE_DIR: join(shop, 'st'),
      TOKCTL_STORE_KEY_FILE: join(shop, 'key'),
      TOKCTL_STORE: 'file',
    })
  })

  const mistakes: [args: string[], code: number, message: string][] = [
    [['corp', '--aws', '0.0.0.0:1'], 2, '--aws: "0.0.0.0:1" is not a loopback address and a port'],
    [['corp', '--file', '.'], 2, 'home is a directory, not a regular file'],
    [['corp', '--once'], 2, '--install: a unit that runs --once would end at once'],
    [
      ['corp', '--file', 'x', '--format', 'netrc'],
      2,
      'profile "corp" matches no host that a netrc could name',
    ],
    [['crop'], 3, 'unknown profile "crop"'],
  ]
  test.each(mistakes)(
    'writes nothing for %j: exit %i, as the start would be',
    async (args, code, message) => {
      const { at, options } = await corp()
      const result = await run(['watch', ...args, '--install', 'systemd'], options)
      expect(result).toMatchObject({ code, stdout: '' })
      expect(result.stderr).toContain(message)
      expect(existsSync(join(at.home, '.config', 'systemd'))).toBe(false)
    },
  )

  test('knows no other manager', async () => {
    const { options } = await corp()
    expect(await run(['watch', 'corp', '--install', 'launchd'], options)).toMatchObject({
      code: 2,
      stderr: 'tokctl: error: --install: "launchd" is not known\ntokctl: hint: write --install systemd\n',
    })
  })
})

const mistakes: [args: string[], code: number, message: string][] = [
  [['--format', 'yaml'], 2, '--format: "yaml" is not a form of file'],
  [['other', '--file', 'x'], 2, '--file: several profiles cannot share one file'],
  [['other', '--aws', '127.0.0.1:0'], 2, "--aws: an endpoint answers with one profile's tokens"],
  [['--once', '--aws', '127.0.0.1:0'], 2, '--aws: with --once there is nobody who answers'],
  [['--variables', 'x'], 2, '--variables: there is no endpoint that they could be of'],
  [['--aws', '0.0.0.0:80'], 2, '--aws: "0.0.0.0:80" is not a loopback address and a port'],
  [['--gce', 'localhost:80'], 2, '--gce: "localhost:80" is not a loopback address and a port'],
  [['--azure', '127.0.0.1:70000'], 2, '--azure: "127.0.0.1:70000" is not a loopback address and a port'],
  [['--on-change', ' '], 2, '--on-change: no command is named'],
  [['--on-change', '["a", 1]'], 2, '--on-change: no command is named'],
  [['--pass-token'], 2, '--pass-token: there is no command to pass it to'],
  [['--format', 'netrc', '--file', 'x'], 2, 'profile "corp" matches no host that a netrc could name'],
  [['crop'], 3, 'unknown profile "crop"; did you mean "corp"?'],
]
test.each(mistakes)('%j is a mistake: exit %i, and nothing was asked', async (args, code, message) => {
  const { auth, options } = await corp()
  const result = await run(['watch', 'corp', ...args], options)
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toContain(`tokctl: error: ${message}\n`)
  expect(auth.count()).toBe(0)
})

test('what a profile yields and nobody there could take is said at the start, as is a port that is taken', async () => {
  const { at, auth, options } = await corp()
  const keys = (members: string) => `source = "command"\ncommand = ["touch", "${at.home}/ran"]\n${members}`
  const config = [
    readFileSync(at.configFile, 'utf8'),
    `[profile.keys]\n${keys('members = { AccessKeyId = "a", SecretAccessKey = "s", SessionToken = "t" }')}`,
    `[profile.two]\n${keys('members = { AccessKeyId = "a", SessionToken = "t" }')}`,
  ]
  at.writeConfig(`${config.join('\n')}\n`)
  const port = `127.0.0.1:${new URL(auth.tokenEndpoint).port}`
  const wantsOne = 'profile "keys" yields named members, and these SDKs want one token'
  const without = 'name a profile without members'
  const write =
    'write members = { AccessKeyId = "…", SecretAccessKey = "…", SessionToken = "…" } in the profile'
  const cases: [args: string[], message: string, hint: string][] = [
    [['keys', '--gce', '127.0.0.1:0'], `--gce: ${wantsOne}`, without],
    [['keys', '--azure', '127.0.0.1:0'], `--azure: ${wantsOne}`, without],
    [['corp', '--aws', '127.0.0.1:0'], '--aws: profile "corp" yields a token, and AWS wants keys', write],
    [['two', '--aws', '127.0.0.1:0'], '--aws: profile "two" yields no SecretAccessKey', write],
    [
      ['keys', '--file', 'x', '--format', 'json'],
      '--format: profile "keys" yields named members, which "json" has no room for',
      'write --format token, which holds them all as JSON',
    ],
    [
      ['corp', '--gce', port],
      `cannot listen at ${port} (EADDRINUSE)`,
      'choose another port, or 0 for any that is free',
    ],
  ]
  const results = await Promise.all(cases.map(([args]) => run(['watch', ...args], options)))
  expect(results).toMatchObject(
    cases.map(([, message, hint]) => ({
      code: 3,
      stdout: '',
      stderr: `tokctl: error: ${message}\ntokctl: hint: ${hint}\n`,
    })),
  )
  expect([auth.count(), existsSync(join(at.home, 'ran')), existsSync(join(at.path, 'x'))]).toEqual([
    0,
    false,
    false,
  ])
})

test('a link that the token file was is replaced, and what it led to is left alone', async () => {
  const { at, options } = await corp()
  const other = at.write('other', 'mine')
  const file = join(at.path, 'token')
  symlinkSync(other, file)
  await run(['watch', 'corp', '--once', '--file', file], options)
  expect([readFileSync(file, 'utf8'), readFileSync(other, 'utf8')]).toEqual(['token-1', 'mine'])
})

test('what is no regular file is refused before anything is asked, and left alone', async () => {
  const { at, auth, options } = await corp()
  const pipe = join(at.path, 'pipe')
  execFileSync('mkfifo', [pipe])
  for (const args of [
    ['--once', '--file', pipe],
    ['--gce', '127.0.0.1:0', '--variables', pipe],
  ]) {
    expect(await run(['watch', 'corp', ...args], options)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: `tokctl: error: ${args.at(-2)}: ${pipe} is a named pipe, not a regular file\ntokctl: hint: name another one: ${args.at(-2)} FILE\n`,
    })
  }
  expect(statSync(pipe).isFIFO()).toBe(true)
  expect(auth.count()).toBe(0)
})

test('a disk that does not write is no bug: the path is told, and what to do', async () => {
  const { at, options } = await corp()
  const path = join(at.write('file', ''), 'below')
  for (const args of [
    ['--once', '--file', path],
    ['--gce', '127.0.0.1:0', '--variables', path],
  ]) {
    expect(await run(['watch', 'corp', ...args], options)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `tokctl: error: file ${path} cannot be written (ENOTDIR)\ntokctl: hint: name another one: ${args.at(-2)} FILE\n`,
    })
  }
})
