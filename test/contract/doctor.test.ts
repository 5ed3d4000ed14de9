import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { machine, type Probe, stateFindings, surroundings } from '../../src/cli/doctor-place.ts'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { startBus, startKeyring } from '../support/keyring.ts'
import { startProxy } from '../support/proxy-server.ts'
import { type RunOptions, run, scratch, start } from '../support/run.ts'
import { scratchState } from '../support/state.ts'

interface Finding {
  check: string
  level: string
  message: string
  hint: string | null
}

async function findings(
  options: RunOptions,
  ...args: string[]
): Promise<{ code: number | null; all: Finding[] }> {
  const { code, stdout, stderr } = await run(['doctor', '--json', ...args], options)
  expect(stderr).toBe('')
  const told = JSON.parse(stdout)
  expect(Object.keys(told)).toEqual(['ok', 'version', 'platform', 'arch', 'findings'])
  expect(told.ok).toBe(code === 0)
  for (const found of told.findings) expect(Object.keys(found)).toEqual(['check', 'level', 'message', 'hint'])
  return { code, all: told.findings }
}

function problemsIn(all: Finding[]): Finding[] {
  return all.filter(({ level }) => level === 'problem')
}

const docs = readFileSync(
  join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'docs', 'json.md'),
  'utf8',
)

test('all is well: exit 0, and each thing that was looked at is named and documented', async () => {
  const { auth, options } = await corp()
  const proxy =
    '[proxy.api]\nprofile = "corp"\nlisten = "127.0.0.1:0"\nupstream = "https://api.example.com"\n'
  options.at!.writeConfig(`${clientProfile('corp', auth.tokenEndpoint, `issuer = "${auth.url}"`)}\n${proxy}`)
  await run(['get', 'corp'], options)
  const { code, all } = await findings({ ...options, env: { ...options.env, SHELL: '/bin/bash' } })
  expect(problemsIn(all)).toEqual([])
  expect(code).toBe(0)
  const checks = new Set(all.map(({ check }) => check))
  for (const check of [
    'state',
    'config',
    'store',
    'size',
    'lock',
    'proxy',
    'ca',
    'server',
    'clock',
    'listen',
    'completion',
    'helper',
  ]) {
    expect([...checks]).toContain(check)
  }
  for (const check of checks) expect(docs).toContain(`\`${check}\``)
  const text = await run(['doctor'], options)
  expect(text).toMatchObject({ code: 0, stderr: '' })
  expect(text.stdout).toMatch(/\nall is well\n$/)
  expect(text.stdout).not.toContain('\u001b')
})

test('nothing that it prints is a secret: not those of the configuration, the keys, the proxies or the tokens', async () => {
  const { at, options } = await corp()
  at.writeConfig(
    `${readFileSync(at.configFile, 'utf8')}[profile.x]\nsource = "static"\ntoken = { env = "X" }\n`,
  )
  await run(['get', 'corp'], options)
  const proxy = await startProxy()
  onTestFinished(() => proxy.close())
  const env = {
    ...options.env,
    X: 'static-canary',
    TOKCTL_STORE_KEY: Buffer.from('canary-canary-canary-canary-cana').toString('base64'),
    http_proxy: `http://proxy-canary:pass-canary@127.0.0.1:${proxy.port}`,
  }
  for (const args of [['doctor'], ['doctor', '--json'], ['doctor', '--no-network', '-v']]) {
    const { stdout, stderr } = await run(args, { ...options, env })
    expect(stdout).toContain(`127.0.0.1:${proxy.port}`)
    expect(stdout + stderr).not.toMatch(/canary|Y2FuYXJ5|token-1/)
  }
})

test('--no-network asks no server, and without it no secret is sent', async () => {
  const { auth, options } = await corp()
  await findings(options, '--no-network')
  expect(auth.count()).toBe(0)
  await findings(options)
  expect(auth.requests.map(({ method, path, body }) => ({ method, path, body }))).toEqual([
    { method: 'GET', path: '/', body: '' },
  ])
  expect(auth.requests[0]!.headers.authorization).toBeUndefined()
})

describe('a problem is exit 1, and comes with what mends it', () => {
  test('no configuration', async () => {
    const { code, all } = await findings({ at: scratch() })
    expect(code).toBe(1)
    expect(problemsIn(all)).toMatchObject([{ check: 'config', hint: expect.stringContaining('create it') }])
  })

  test('unknown keys, each of them', async () => {
    const { at, options } = await corp('clientid = "x"\nscop = "y"')
    const { all } = await findings({ ...options, at })
    expect(problemsIn(all).map(({ check, message }) => [check, message.replace(/^.*?:\d+: /, '')])).toEqual([
      ['config', 'profile.corp.clientid: unknown key; did you mean client_id?'],
      ['config', 'profile.corp.scop: unknown key; did you mean scope?'],
    ])
  })

  test('a configuration that others may write', async () => {
    const { at, options } = await corp()
    chmodSync(at.configFile, 0o666)
    const [found] = problemsIn((await findings(options)).all)
    expect(found).toMatchObject({ check: 'config', hint: `run: chmod go-w ${at.configFile}` })
  })

  test('a server that does not answer', async () => {
    const { at, auth, options } = await corp()
    await auth.close()
    const [found] = problemsIn((await findings({ ...options, at })).all)
    expect(found).toMatchObject({ check: 'server', message: expect.stringContaining('(profile corp)') })
    expect(found!.hint).not.toBe(null)
  })

  test('an issuer without a discovery document', async () => {
    const { at, auth, options } = await corp()
    const bare = createServer((_, response) => response.writeHead(404).end())
    await new Promise<void>(resolve => bare.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void bare.close())
    const issuer = `http://127.0.0.1:${(bare.address() as AddressInfo).port}`
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, `issuer = "${issuer}"`))
    expect(problemsIn((await findings(options)).all)).toMatchObject([
      {
        check: 'server',
        message: `issuer ${issuer} shows no discovery document (404) (profile corp)`,
        hint: 'correct issuer, or name token_endpoint in the profile',
      },
    ])
  })

  test('a clock that is an hour off', async () => {
    const { options } = await corp()
    const { code, all } = await findings({ ...options, env: { ...options.env, ...ahead('+1h') } })
    expect(code).toBe(1)
    expect(problemsIn(all)).toMatchObject([
      {
        check: 'clock',
        message: expect.stringMatching(/^this clock is (59|60)m ahead of that of http:/),
        hint: 'run: sudo timedatectl set-ntp true',
      },
    ])
  })

  test('a state directory that others may enter, before anything mends it in passing', async () => {
    const { at, options } = await corp()
    mkdirSync(at.stateDir)
    chmodSync(at.stateDir, 0o755)
    const [found] = problemsIn((await findings(options)).all)
    expect(found).toMatchObject({ check: 'state', hint: `run: chmod 700 ${at.stateDir}` })
    expect(found!.message).toContain('(mode 0755)')
  })

  test('a state directory of somebody else, and one that is none', async () => {
    const { at, options } = await corp()
    mkdirSync(at.stateDir, { mode: 0o700 })
    chownSync(at.stateDir, 65534, 65534)
    expect(problemsIn((await findings(options)).all)[0]).toMatchObject({
      check: 'state',
      message: expect.stringContaining('belongs to another user'),
    })
    const file = at.write('file', '')
    const env = { ...options.env, TOKCTL_STATE_DIR: file }
    expect(problemsIn((await findings({ ...options, env })).all)[0]!.message).toContain('is not a directory')
    const below = { ...options.env, TOKCTL_STATE_DIR: join(file, 'state') }
    expect(problemsIn((await findings({ ...options, env: below })).all)[0]!.message).toContain(
      'cannot be made',
    )
  })

  test('a key that is none, and files that were sealed with another', async () => {
    const { options } = await corp()
    await run(['get', 'corp'], options)
    const bad = { ...options.env, TOKCTL_STORE_KEY: 'short' }
    expect(problemsIn((await findings({ ...options, env: bad })).all)).toMatchObject([
      {
        check: 'store',
        message: 'TOKCTL_STORE_KEY is not 32 bytes in base64',
        hint: 'make one with: openssl rand -base64 32',
      },
    ])
    const other = { ...options.env, TOKCTL_STORE_KEY: Buffer.alloc(32, 7).toString('base64') }
    expect(problemsIn((await findings({ ...options, env: other })).all)).toMatchObject([
      {
        check: 'store',
        message: expect.stringContaining('was sealed with another key'),
        hint: expect.stringContaining('rm '),
      },
    ])
  })

  test('a proxy variable that is none', async () => {
    const { options } = await corp()
    const { all } = await findings(
      { ...options, env: { ...options.env, http_proxy: 'socks5://user-canary@127.0.0.1:1' } },
      '--no-network',
    )
    expect(problemsIn(all)).toMatchObject([
      { check: 'proxy', hint: 'name an HTTP proxy, or exempt the host in NO_PROXY' },
    ])
    expect(JSON.stringify(all)).not.toContain('canary')
  })

  test('authorities that are not there', async () => {
    const { at, options } = await corp()
    const extra = { ...options.env, NODE_EXTRA_CA_CERTS: join(at.path, 'gone.pem') }
    const result = await run(['doctor', '--json'], { ...options, env: extra })
    expect(problemsIn(JSON.parse(result.stdout).findings)).toMatchObject([
      { check: 'ca', hint: 'run: unset NODE_EXTRA_CA_CERTS' },
    ])
    writeFileSync(
      at.configFile,
      `${readFileSync(at.configFile, 'utf8')}ca_file = "${join(at.path, 'none.pem')}"\n`,
    )
    expect(problemsIn((await findings(options)).all)).toMatchObject([
      { check: 'ca', message: expect.stringContaining('none.pem') },
    ])
  })

  test('a lock that is held for long, with who holds it', async () => {
    const { auth, options } = await corp()
    const gate = auth.hold('/token')
    const leader = start(['get', 'corp'], { ...options, env: { ...options.env } })
    await gate.arrived(1)
    const now = await findings(options)
    expect(now.all).toContainEqual({
      check: 'lock',
      level: 'note',
      message: expect.stringMatching(
        new RegExp(`^profile "corp" is being renewed by process ${leader.pid} since \\d+m?s$`),
      ),
      hint: null,
    })
    const later = await findings({ ...options, env: { ...options.env, ...ahead('+10m') } }, '--no-network')
    expect(problemsIn(later.all)).toMatchObject([
      {
        check: 'lock',
        message: expect.stringMatching(/since (599s|9m|10m)$/),
        hint: `if it hangs: kill ${leader.pid}`,
      },
    ])
    gate.release()
    // Looking did not disturb it.
    expect(await leader.done).toMatchObject({ code: 0, stdout: expect.stringMatching(/^token-\d\n$/) })
  })

  test('a tool that is told to ask us and cannot find us', async () => {
    const { at, options } = await corp()
    at.write('home/.docker/config.json', '{"credHelpers":{"r.example.com":"tokctl"}}')
    at.write('home/.gitconfig', '[credential]\n\thelper = !tokctl helper git\n')
    const empty = { ...options.env, PATH: at.home }
    const { all } = await findings({ ...options, env: empty }, '--no-network')
    expect(problemsIn(all)).toMatchObject([
      { check: 'helper', message: 'git is told to ask tokctl, and git-credential-tokctl is not in PATH' },
      {
        check: 'helper',
        message: 'docker is told to ask tokctl, and docker-credential-tokctl is not in PATH',
        hint: 'run: npm install --global tokctl',
      },
    ])
    at.write('bin/docker-credential-tokctl', '#!/bin/sh\n', 0o755)
    at.write('bin/tokctl', '#!/bin/sh\n', 0o755)
    const there = { ...options.env, PATH: join(at.path, 'bin') }
    expect(problemsIn((await findings({ ...options, env: there }, '--no-network')).all)).toEqual([])
  })
})

describe('the store', () => {
  test('a keychain that answers is named, and its strength', async () => {
    const keyring = await startKeyring()
    onTestFinished(() => keyring.stop())
    const { options } = await corp()
    const env = {
      ...options.env,
      ...keyring.env,
      XDG_CONFIG_HOME: undefined,
      HOME: options.at!.home,
      TOKCTL_STORE: undefined,
    }
    const { all } = await findings({ ...options, env }, '--no-network')
    expect(all).toContainEqual({
      check: 'store',
      level: 'ok',
      message: expect.stringMatching(/^keychain \(chosen by itself\): it answers; strong/),
      hint: null,
    })
  })

  test('one that is there and broken is a problem, with what to do', async () => {
    const keyring = await startKeyring()
    onTestFinished(() => keyring.stop())
    const { options } = await corp()
    keyring.freeze()
    const env = {
      ...options.env,
      ...keyring.env,
      XDG_CONFIG_HOME: undefined,
      HOME: options.at!.home,
      TOKCTL_STORE: 'keychain',
    }
    const { all } = await findings({ ...options, env }, '--no-network')
    expect(problemsIn(all)).toMatchObject([
      {
        check: 'store',
        message: expect.stringContaining('did not answer within'),
        hint: expect.stringContaining('kind = "file"'),
      },
    ])
  })

  test('none at all: files, and a problem only where a session would be lost', async () => {
    const bus = await startBus()
    onTestFinished(() => bus.stop())
    const { at, options } = await corp()
    const env = {
      ...options.env,
      ...bus.env,
      XDG_CONFIG_HOME: undefined,
      HOME: at.home,
      TOKCTL_STORE: undefined,
    }
    expect(problemsIn((await findings({ ...options, env }, '--no-network')).all)).toEqual([])
    at.writeConfig(
      '[profile.me]\nsource = "authorization_code"\nclient_id = "c"\nissuer = "https://idp.example.com"\n',
    )
    expect(problemsIn((await findings({ ...options, env }, '--no-network')).all)).toMatchObject([
      {
        check: 'store',
        message: 'no place for the sessions of "me"',
        hint: 'write kind = "file" under [store], or set TOKCTL_STORE=file',
      },
    ])
    // What is said once was not said here.
    expect(existsSync(join(at.stateDir, 'no-keychain'))).toBe(false)
  })

  test('a key that was given is told from one that lies beside the files', async () => {
    const { options } = await corp()
    const beside = await findings(options, '--no-network')
    expect(beside.all).toContainEqual(
      expect.objectContaining({
        check: 'store',
        level: 'note',
        message: expect.stringContaining('lies beside them'),
      }),
    )
    const env = { ...options.env, TOKCTL_STORE_KEY: Buffer.alloc(32, 7).toString('base64') }
    const given = await findings({ ...options, env }, '--no-network')
    expect(given.all).toContainEqual(
      expect.objectContaining({
        check: 'store',
        level: 'ok',
        message: expect.stringContaining('the key of TOKCTL_STORE_KEY'),
      }),
    )
  })
})

describe('the place', () => {
  const nowhere: Probe = { exists: () => false, read: () => undefined, fileSystem: () => undefined }
  const cases: [name: string, env: Record<string, string>, probe: Partial<Probe>, told: string[]][] = [
    ['nothing of note', {}, {}, []],
    ['WSL by its variable', { WSL_DISTRO_NAME: 'Debian' }, {}, ['runs in the Windows Subsystem for Linux']],
    [
      'WSL by its kernel',
      {},
      { read: path => (path === '/proc/version' ? 'Linux 5.15-microsoft-standard-WSL2' : undefined) },
      ['runs in the Windows Subsystem for Linux'],
    ],
    ['docker by its file', {}, { exists: path => path === '/.dockerenv' }, ['runs in a container']],
    ['podman by its variable', { container: 'podman' }, {}, ['runs in a container']],
    ['Kubernetes', { KUBERNETES_SERVICE_HOST: '10.0.0.1' }, {}, ['runs in a container']],
    ['SSH', { SSH_CONNECTION: '1 2 3 4' }, {}, ['runs over SSH']],
    ['GitHub', { CI: 'true', GITHUB_ACTIONS: 'true' }, {}, ['runs under GitHub Actions']],
    ['some CI', { CI: '1' }, {}, ['runs under a CI system']],
    [
      'all at once',
      { WSL_INTEROP: '', SSH_TTY: '/dev/pts/0', GITLAB_CI: 'true', container: 'lxc' },
      {},
      ['runs in a container', 'runs over SSH', 'runs under GitLab CI'],
    ],
  ]
  test.each(cases)('%s', (_, env, probe, told) => {
    const found = surroundings({ env }, { ...nowhere, ...probe })
    expect(found.map(({ message }) => message)).toEqual(told)
    expect(found.every(({ level }) => level === 'note')).toBe(true)
  })

  const systems: [name: string, type: number][] = [
    ['NFS', 0x6969],
    ['CIFS', 0xff534d42],
    // As a signed number, which some machines give.
    ['SMB2', 0xfe534d42 | 0],
    ['9P', 0x01021997],
  ]
  test.each(systems)('a state directory on %s', (name, type) => {
    const { environment, path, stateDir } = scratchState()
    stateDir.ensure()
    const found = stateFindings(path, environment, { ...machine, fileSystem: () => type })
    expect(found).toMatchObject([
      {
        level: 'problem',
        message: expect.stringContaining(`network file system (${name})`),
        hint: 'set TOKCTL_STATE_DIR to a directory on a local disk',
      },
    ])
  })

  test('the file system of this machine is asked for', () => {
    const told = spawnSync('stat', ['-f', '-c', '%t', '/proc'], { encoding: 'utf8' }).stdout.trim()
    expect(machine.fileSystem('/proc')).toBe(Number.parseInt(told, 16))
    expect(machine.fileSystem('/no/such/place')).toBeUndefined()
  })
})
