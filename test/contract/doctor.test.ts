import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { App } from '../../src/app.ts'
import { directoryFindings } from '../../src/cli/doctor-config.ts'
import { lockFindings, machine, type Probe, stateFindings, surroundings } from '../../src/cli/doctor-place.ts'
import { completionFindings, helperFindings, toolsAsking } from '../../src/cli/doctor-tools.ts'
import type { Environment } from '../../src/core/environment.ts'
import { createLock, kernelLock } from '../../src/core/lock.ts'
import { loadLockAddon } from '../../src/core/lock-addon.ts'
import { tools } from '../../src/setup/tools.ts'
import { fakeClock } from '../support/clock.ts'
import { keepClosed } from '../support/closed-port.ts'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { asked, fakeMachine, matching, setUp } from '../support/fake-machine.ts'
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

function environmentOf(env: Record<string, string>): Environment {
  return { ...scratchState().environment, env, home: '/home/ada' }
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
    'profile',
    'secret',
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
    expect(stdout).toContain(`through proxy 127.0.0.1:${proxy.port}`)
    expect(stdout + stderr).not.toMatch(/canary|Y2FuYXJ5|token-1/)
  }
})

test('the query of an address, where a key may stand, is not shown, whatever the server says', async () => {
  const { at, auth, options } = await corp()
  const gone = createServer()
  await new Promise<void>(resolve => gone.listen(0, '127.0.0.1', resolve))
  const { port } = gone.address() as AddressInfo
  await new Promise(resolve => gone.close(resolve))
  const closed = `http://127.0.0.1:${port}/t`
  const query = '?api_key=query-canary'
  auth.answer({ status: 503, body: {} })
  at.writeConfig(
    `[profile.h]\nsource = "http"\nurl = "${closed}${query}"\ntoken_path = "t"\n` +
      `${clientProfile('down', `${auth.tokenEndpoint}${query}`)}${clientProfile('none', `${auth.url}/none${query}`)}`,
  )
  const { all } = await findings(options)
  expect(JSON.stringify(all)).not.toContain('canary')
  const problems = problemsIn(all).filter(({ check }) => check === 'server')
  expect(problems.map(({ hint }) => hint)).toContain(`see: curl -v ${closed}`)
  expect(problems.map(({ message }) => message)).toContain(`${auth.tokenEndpoint} answers 503 (profile down)`)
})

test('--no-network asks no server, and without it no secret is sent', async () => {
  const { auth, options } = await corp()
  await findings(options, '--no-network')
  expect(auth.count()).toBe(0)
  await findings(options)
  expect(auth.requests.map(({ method, path, body }) => ({ method, path, body }))).toEqual([
    { method: 'POST', path: '/token', body: '' },
  ])
  expect(auth.requests[0]!.headers.authorization).toBeUndefined()
})

describe('a problem is exit 1, and comes with what mends it', () => {
  test('no configuration', async () => {
    const { code, all } = await findings({ at: scratch() })
    expect(code).toBe(1)
    expect(problemsIn(all)).toMatchObject([
      { check: 'config', hint: expect.stringMatching(/^run: tokctl init/) },
    ])
  })

  test('unknown keys, each of them', async () => {
    const { at, options } = await corp('clientid = "x"\nscop = "y"')
    at.writeConfig(`[store]\nkind = "file"\n${readFileSync(at.configFile, 'utf8')}`)
    const env = { ...options.env, TOKCTL_STORE: undefined }
    const { all } = await findings({ ...options, env, at })
    expect(problemsIn(all).map(({ check, message }) => [check, message.replace(/^.*?:\d+: /, '')])).toEqual([
      ['config', 'profile.corp.clientid: unknown key; did you mean client_id?'],
      ['config', 'profile.corp.scop: unknown key; did you mean scope?'],
    ])
    // What the file says of the store counts all the same.
    expect(all.filter(({ check }) => check === 'store').map(({ message }) => message)).toEqual([
      expect.stringMatching(/^file \(the configuration says so\): /),
    ])
  })

  test('a configuration that others may write', async () => {
    const { at, options } = await corp()
    chmodSync(at.configFile, 0o666)
    const [found] = problemsIn((await findings(options)).all)
    expect(found).toMatchObject({ check: 'config', hint: `run: chmod go-w ${at.configFile}` })
  })

  test('a directory of the configuration that others may write, or that is another user’s', async () => {
    const { at, options } = await corp()
    const directory = dirname(at.configFile)
    chmodSync(directory, 0o777)
    chownSync(dirname(directory), 65534, 65534)
    const { all } = await findings(options, '--no-network')
    expect(problemsIn(all)).toMatchObject([
      {
        check: 'config',
        message:
          '~/.config/tokctl can be written by others (mode 0777), who can put another configuration there',
        hint: `run: chmod go-w ${directory}`,
      },
      {
        check: 'config',
        message: '~/.config belongs to another user, who can put another configuration there',
        hint: `run: sudo chown ${process.getuid!()} ${dirname(directory)}`,
      },
    ])
  })

  test.runIf(process.getuid?.() === 0)('a directory that may not be entered hides none above it', () => {
    const at = scratch()
    const path = at.write('open/closed/deep/config.toml', '')
    const open = join(at.path, 'open')
    chmodSync(at.path, 0o755)
    chmodSync(open, 0o777)
    const environment = { uid: 65_534, home: '/', platform: 'linux' } as Environment
    process.seteuid!(65_534)
    try {
      expect(() => statSync(dirname(path))).toThrow('EACCES')
      expect(directoryFindings(path, environment)).toMatchObject([
        {
          message: `${open} can be written by others (mode 0777), who can put another configuration there`,
          hint: `run: chmod go-w ${open}`,
        },
      ])
    } finally {
      process.seteuid!(0)
    }
  })

  test('a profile that is refused, one that fails, and one that waits for a person', async () => {
    const { at, auth, options } = await corp()
    const own = ['refused', 'failing'].map(name => clientProfile(name, `${auth.url}/${name}`)).join('')
    at.writeConfig(
      `${own}[profile.me]\nsource = "device_code"\nclient_id = "c"\nissuer = "https://idp.example.com"\n`,
    )
    auth.answer(({ path }) =>
      path === '/refused' ? { status: 401, body: { error: 'invalid_client' } } : { status: 503, body: {} },
    )
    await run(['exec', 'refused=A', '--', 'true'], options)
    await run(['get', 'failing', '--timeout', '1s'], options)
    const { code, all } = await findings(options, '--no-network')
    expect(code).toBe(1)
    expect(problemsIn(all)).toMatchObject([
      {
        check: 'profile',
        message: expect.stringMatching(/^profile "refused" was refused: .*invalid_client/),
        hint: 'when that is mended, run: tokctl refresh refused',
      },
      {
        check: 'profile',
        message: expect.stringMatching(/^profile "failing" cannot be renewed now: .*503/),
        hint: 'run: tokctl refresh failing',
      },
      { check: 'profile', message: 'profile "me" needs a sign-in', hint: 'run: tokctl login me' },
    ])
  })

  test('a variable, a file, a program or a kept secret that a profile names and that is not there', async () => {
    const { at, auth, options } = await corp()
    const bare = at.write('home/bare.sh', '', 0o600)
    const open = at.write('home/open', 'secret-canary', 0o666)
    const gone = join(at.home, 'gone')
    const secrets = [
      '{ env = "NOT_SET" }',
      `{ file = "${gone}" }`,
      `{ file = "${open}" }`,
      '{ command = ["no-such-program"] }',
      '{ secret = "kept" }',
    ]
    const profile = (secret: string, i: number): string =>
      clientProfile(`p${i}`, auth.tokenEndpoint).replace('{ env = "CORP_SECRET" }', secret)
    at.writeConfig(
      `${secrets.map(profile).join('')}${profile(secrets[0]!, 9)}[profile.run]\nsource = "command"\ncommand = ["${bare}"]\n`,
    )
    const { all } = await findings(options, '--no-network')
    expect(problemsIn(all).map(({ message, hint }) => [message, hint])).toEqual([
      ['environment variable "NOT_SET" is not set (profiles p0, p9)', 'run: export NOT_SET=…'],
      ['secret file ~/gone does not exist (profile p1)', `put it there: (umask 077; cat > ${gone})`],
      ['secret file ~/open can be written by others (profile p2)', `run: chmod 600 ${open}`],
      ['program "no-such-program" was not found (profile p3)', 'install it, or write its whole path'],
      [`program "${bare}" may not be run (profile run)`, `run: chmod +x ${bare}`],
      ['no secret is kept under the name "kept" (profile p4)', 'run: tokctl secret set kept'],
    ])
    expect(JSON.stringify(all)).not.toContain('canary')
  })

  test('a project whose file was changed since it was trusted', async () => {
    const { at, options } = await corp()
    const file = at.write(
      'home/shop/.tokctl.toml',
      '[profile.p]\nsource = "static"\ntoken = { env = "CORP_SECRET" }\n',
    )
    mkdirSync(join(dirname(file), '.git'))
    const there = { ...options, cwd: dirname(file) }
    const said = async (): Promise<unknown> =>
      (await findings(there, '--no-network')).all.find(({ check }) => check === 'project')
    const message = '~/shop/.tokctl.toml'
    const hint = `run: tokctl trust ${file}`
    expect(await said()).toMatchObject({
      level: 'note',
      message: `${message} is not trusted, and has no effect`,
      hint,
    })
    await run(['trust', '--yes'], there)
    expect(await said()).toMatchObject({ level: 'ok', message: `${message} is trusted as it is` })
    writeFileSync(file, `${readFileSync(file, 'utf8')}# more\n`)
    expect(await said()).toMatchObject({
      level: 'problem',
      message: `${message} was trusted, and has no effect since it, or what it names of the project, was changed`,
      hint,
    })
  })

  test('an endpoint that is not there or broken, and an issuer that calls itself another', async () => {
    const { at, auth, options } = await corp()
    const server = createServer((request, response) => {
      const body = { issuer: 'https://other.example.com', token_endpoint: 'https://other.example.com/token' }
      if (request.url?.startsWith('/.well-known/')) response.end(JSON.stringify(body))
      else response.writeHead(request.url === '/broken' ? 503 : 404).end()
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    at.writeConfig(
      clientProfile('corp', auth.tokenEndpoint) +
        clientProfile('gone', `${url}/gone`) +
        clientProfile('broken', `${url}/broken`) +
        clientProfile('other', auth.tokenEndpoint, `issuer = "${url}"`),
    )
    expect(problemsIn((await findings(options)).all)).toMatchObject([
      {
        check: 'server',
        message: `there is no token_endpoint at ${url}/gone (404) (profile gone)`,
        hint: 'run: tokctl profile show gone',
      },
      {
        check: 'server',
        message: `${url}/broken answers 503 (profile broken)`,
        hint: `see: curl -v ${url}/broken`,
      },
      { check: 'server', message: expect.stringContaining('a discovery document of another issuer') },
    ])
  })

  test('a server that does not answer', async () => {
    const { at, auth, options } = await corp()
    await auth.close()
    await keepClosed(Number(new URL(auth.url).port))
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

  test('a key that is none, one that is not there, files that were sealed with another, and one that is damaged', async () => {
    const { at, options } = await corp()
    await run(['get', 'corp'], options)
    const bad = { ...options.env, TOKCTL_STORE_KEY: 'short' }
    expect(problemsIn((await findings({ ...options, env: bad })).all)).toMatchObject([
      {
        check: 'store',
        message: 'TOKCTL_STORE_KEY is not 32 bytes in base64',
        hint: 'make one with: openssl rand -base64 32',
      },
    ])
    const gone = join(at.path, 'a key')
    const named = { ...options, env: { ...options.env, TOKCTL_STORE_KEY_FILE: gone } }
    const [missing] = problemsIn((await findings(named, '--no-network')).all)
    expect(missing).toMatchObject({
      message: `TOKCTL_STORE_KEY_FILE names ${gone}, which does not exist`,
      hint: `run: (umask 077; openssl rand -base64 32 > '${gone}')`,
    })
    const made = spawnSync('sh', ['-c', missing!.hint!.replace('run: ', '')])
    expect(made.status).toBe(0)
    const elsewhere = { ...named.env, TOKCTL_STATE_DIR: join(at.path, 'other') }
    expect(problemsIn((await findings({ ...named, env: elsewhere }, '--no-network')).all)).toEqual([])
    const other = { ...options.env, TOKCTL_STORE_KEY: Buffer.alloc(32, 7).toString('base64') }
    expect(problemsIn((await findings({ ...options, env: other })).all)).toMatchObject([
      {
        check: 'store',
        message: expect.stringContaining('was sealed with another key'),
        hint: expect.stringContaining('rm '),
      },
    ])
    const record = join(at.stateDir, 'records', 'profile-corp.sealed')
    writeFileSync(record, readFileSync(record).subarray(0, -4))
    expect(problemsIn((await findings(options)).all)).toMatchObject([
      { check: 'store', message: expect.stringContaining(`${record} is damaged`), hint: `run: rm ${record}` },
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
    const authority = join(at.path, 'ca.pem')
    const made = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${authority}.key`,
    ]
    spawnSync('openssl', ['req', '-x509', ...made, '-subj', '/CN=authority', '-out', authority])
    const there = await findings(
      { ...options, env: { ...options.env, NODE_EXTRA_CA_CERTS: authority } },
      '--no-network',
    )
    expect(there.all).toContainEqual(
      expect.objectContaining({
        check: 'ca',
        level: 'note',
        message: `NODE_EXTRA_CA_CERTS adds 1 authority from ${authority}`,
      }),
    )
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
    const now = await findings(options, '--no-network')
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

  test('every tool that setup knows is looked at, as setup leaves it; what it starts and is not there is named', async () => {
    expect(toolsAsking(environmentOf({}), []).map(({ name }) => name)).toEqual(Object.keys(tools))
    const node = '/usr/bin/node'
    const script = '/opt/tokctl/bin/tokctl.js'
    const profile = matching('corp', 'https://a.example.com')
    // What they write by a program of their own.
    const written: Record<string, readonly [file: string, text: string]> = {
      git: [
        '/home/ada/.gitconfig',
        `[credential "https://a.example.com"]\n\thelper = \n\thelper = "!${node} ${script} helper git"\n`,
      ],
      kubectl: [
        '/home/ada/.kube/config',
        `    exec:\n      args:\n      - ${script}\n      - helper\n      command: ${node}\n`,
      ],
      aws: [
        '/home/ada/.aws/config',
        `[profile corp]\ncredential_process = ${node} ${script} helper aws corp\n`,
      ],
    }
    for (const [name, load] of Object.entries(tools)) {
      // Without a file of its own tofu reads terraform's; either may be JSON.
      const tofurc = '{\n  "disable_checkpoint": true\n}\n'
      const fake = fakeMachine(name === 'tofu' ? { files: { '/home/ada/.tofurc': tofurc } } : {})
      const tool = await load()
      const named = tool.takesProfile ? { profile } : { profiles: [profile] }
      const [file, text] = written[name] ?? []
      if (file === undefined) await setUp(tool, fake, asked({ ...named, audience: 'a' }))
      else fake.files.set(file, text!)
      // The system's own look-up is what a tool without a path is found by.
      const PATH = scratch().path
      for (const [path, content] of fake.files) {
        if (path.startsWith('/home/ada/.local/bin/'))
          writeFileSync(join(PATH, basename(path)), content, { mode: 0o755 })
      }
      const look = (there: readonly string[]): Finding[] =>
        helperFindings(
          environmentOf({ PATH }),
          {
            exists: path => there.includes(path) || fake.files.has(path),
            read: path => fake.files.get(path) ?? fake.files.get(`/home/ada/.local/bin/${basename(path)}`),
            fileSystem: () => undefined,
            room: () => undefined,
            refusal: () => undefined,
          },
          [profile],
        ) as Finding[]
      const onPath = [...fake.files.keys()].map(path => join(PATH, basename(path)))
      expect(look([node, script, ...onPath])).toMatchObject([{ level: 'ok', message: `${name} asks tokctl` }])
      expect(look([node, ...onPath])).toMatchObject([
        {
          level: 'problem',
          message: `${name} is told to ask tokctl, and ${script} is not there`,
          hint: expect.stringMatching(new RegExp(`^run: tokctl setup ${name}( PROFILE)?$`)),
        },
      ])
    }
  })

  test('a tool that is told to ask us and cannot find us', async () => {
    const { at, options } = await corp()
    at.write('home/.docker/config.json', '{"credHelpers":{"r.example.com":"tokctl"}}')
    at.write('home/.gitconfig', '[credential]\n\thelper = !tokctl helper git\n')
    // Neither a pipe nor what the file of another says to the terminal does anything.
    execFileSync('mkfifo', [join(at.home, '.bazelrc'), join(at.home, 'ca')])
    const kubeconfig = at.write('kubeconfig', 'command: /opt/\u001b[31m/tokctl\n')
    const empty = { ...options.env, PATH: at.home, KUBECONFIG: kubeconfig }
    const { all } = await findings({ ...options, env: empty }, '--no-network')
    expect(problemsIn(all)).toMatchObject([
      { check: 'helper', message: 'git is told to ask tokctl, and git-credential-tokctl is not in PATH' },
      {
        check: 'helper',
        message: 'docker is told to ask tokctl, and docker-credential-tokctl is not in PATH',
        hint: 'run: npm install --global tokctl',
      },
      {
        check: 'helper',
        message: 'kubectl is told to ask tokctl, and /opt/ [31m/tokctl is not there',
        hint: 'run: tokctl setup kubectl PROFILE',
      },
    ])
    at.write('bin/docker-credential-tokctl', '#!/bin/sh\n', 0o755)
    at.write('bin/tokctl', '#!/bin/sh\n', 0o755)
    const there = { ...options.env, PATH: join(at.path, 'bin') }
    expect(problemsIn((await findings({ ...options, env: there }, '--no-network')).all)).toEqual([])
    at.writeConfig(`${readFileSync(at.configFile, 'utf8')}ca_file = "${at.home}/ca"\n`)
    const [first] = problemsIn((await findings(options, '--no-network')).all)
    expect(first).toMatchObject({
      check: 'ca',
      message: 'ca_file ~/ca holds no certificate that can be read',
    })
    expect(await run(['get', 'corp'], options)).toMatchObject({
      code: 3,
      stderr: `tokctl: error: ca_file ${at.home}/ca is not a regular file\n`,
    })
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
        check: 'profile',
        message: 'profile "me" needs a sign-in',
        hint: 'run: tokctl login me',
      },
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

test('a watcher is named with its process and its age, and is no problem however long it runs', async () => {
  const { stateDir } = scratchState()
  const lock = createLock(
    kernelLock(loadLockAddon(process.platform, process.arch)!, false),
    stateDir,
    fakeClock(),
    4711,
  )
  const app = { stateDir, lock: async () => lock } as unknown as App
  const names = ['@watch-corp', 'corp'].map(name => ({
    name,
    wait: { purpose: name === 'corp' ? 'login' : 'watch', timeoutMs: 0, signal: undefined } as const,
  }))
  const told: Finding[] = []
  const hold = ([first, ...rest]: typeof names): Promise<unknown> =>
    first === undefined
      ? lockFindings(app, ['corp', 'other'], fakeClock().now() + 7_200_000).then(found =>
          told.push(...(found as Finding[])),
        )
      : lock.withLock(first.name, first.wait, () => hold(rest))
  await hold(names)
  expect(told).toEqual([
    {
      check: 'lock',
      level: 'problem',
      message: 'profile "corp" is being signed in by process 4711 since 2h',
      hint: 'if it hangs: kill 4711',
    },
    { check: 'lock', level: 'note', message: 'profile "corp" is being watched by process 4711 since 2h' },
  ])
  expect(readdirSync(stateDir.file('locks')).filter(name => /other|configuration/.test(name))).toEqual([])
})

describe('a completion is believed where the shell loads it', () => {
  const file = '/home/ada/.zfunc/_tokctl'
  const vendor = '/usr/share/zsh/vendor-completions/_tokctl'
  const bash = '/home/ada/.local/share/bash-completion/completions/tokctl'
  const load = '/usr/share/bash-completion/bash_completion'
  const zshrc = '/home/ada/.zshrc'
  const cases: [name: string, shell: string, files: Record<string, string>, level: string, hint?: RegExp][] =
    [
      ['zsh, its directory before', 'zsh', { [file]: '', [zshrc]: 'fpath+=~/.zfunc\ncompinit' }, 'ok'],
      [
        'zsh, its directory too late',
        'zsh',
        { [file]: '', [zshrc]: 'compinit\nfpath+=~/.zfunc' },
        'note',
        /^run: printf .*fpath=/,
      ],
      [
        'zsh, only in a comment',
        'zsh',
        { [file]: '', [zshrc]: '# fpath+=~/.zfunc\ncompinit' },
        'note',
        /fpath=/,
      ],
      ['zsh, a framework', 'zsh', { [file]: '', [zshrc]: 'fpath+=~/.zfunc\n. $ZSH/oh-my-zsh.sh' }, 'ok'],
      ['zsh, sourced', 'zsh', { [zshrc]: 'compinit\nsource <(tokctl completion zsh)' }, 'ok'],
      ['zsh, of a package', 'zsh', { [vendor]: '', [zshrc]: 'compinit' }, 'ok'],
      [
        'zsh, of a package, not started',
        'zsh',
        { [vendor]: '' },
        'note',
        /^run: printf '%s\\n' 'autoload -Uz compinit && compinit' >> /,
      ],
      ['bash with bash-completion', 'bash', { [bash]: '', [load]: '' }, 'ok'],
      [
        'bash without it',
        'bash',
        { [bash]: '' },
        'note',
        /^run: echo '\. \/home\/ada\/.*tokctl' >> \/home\/ada\/\.bashrc$/,
      ],
      ['bash without it, sourced', 'bash', { [bash]: '', '/home/ada/.bashrc': `. ${bash}` }, 'ok'],
      ['fish', 'fish', { '/home/ada/.config/fish/completions/tokctl.fish': '' }, 'ok'],
    ]
  test.each(cases)('%s', (_, shell, files, level, hint) => {
    const probe = { ...machine, exists: (path: string) => path in files, read: (path: string) => files[path] }
    const [found] = completionFindings(environmentOf({ SHELL: `/bin/${shell}` }), probe)
    expect(found).toMatchObject({ level })
    if (hint !== undefined) expect(found!.hint).toMatch(hint)
  })
})

describe('the place', () => {
  const nowhere: Probe = {
    exists: () => false,
    read: () => undefined,
    fileSystem: () => undefined,
    room: () => undefined,
    refusal: () => undefined,
  }
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
        hint: 'run: export TOKCTL_STATE_DIR="/var/tmp/tokctl-$(id -u)"',
      },
    ])
  })

  const unusable: [name: string, probe: Partial<Probe>, told: string, hint: RegExp][] = [
    [
      'full',
      { room: () => 4096 },
      'is full: what is renewed could not be kept',
      /^free some space, see: df /,
    ],
    [
      'read-only',
      { refusal: () => 'EROFS' },
      'is on a read-only file system',
      /^run: export TOKCTL_STATE_DIR/,
    ],
    [
      'closed to us',
      { refusal: () => 'EACCES' },
      'cannot be written (EACCES)',
      /^run: export TOKCTL_STATE_DIR/,
    ],
  ]
  test.each(unusable)('a state directory that is %s, there or still to be made', (_, probe, told, hint) => {
    const { environment, path, stateDir } = scratchState()
    const look = (): unknown => stateFindings(path, environment, { ...machine, ...probe })
    const want = {
      level: 'problem',
      message: expect.stringContaining(told),
      hint: expect.stringMatching(hint),
    }
    expect(look()).toMatchObject([want])
    stateDir.ensure()
    expect(look()).toMatchObject([want])
    expect(stateFindings(path, environment, { ...machine, room: () => 1 << 20 })[0]?.level).toBe('ok')
  })

  test('the room and the rights on this machine are asked for, and nothing is left there', () => {
    const at = scratch()
    const told = spawnSync('stat', ['-f', '-c', '%a %S', at.path], { encoding: 'utf8' }).stdout.split(' ')
    const room = machine.room(at.path)!
    // Others write to the same disk meanwhile.
    expect(Math.abs(room / (Number(told[0]) * Number(told[1])) - 1)).toBeLessThan(0.2)
    expect(machine.room(join(at.path, 'none'))).toBeUndefined()
    const before = readdirSync(at.path)
    expect(machine.refusal(at.path)).toBeUndefined()
    expect(readdirSync(at.path)).toEqual(before)
    expect(machine.refusal(join(at.path, 'none'))).toBe('ENOENT')
  })

  test('the file system of this machine is asked for', () => {
    const told = spawnSync('stat', ['-f', '-c', '%t', '/proc'], { encoding: 'utf8' }).stdout.trim()
    expect(machine.fileSystem('/proc')).toBe(Number.parseInt(told, 16))
    expect(machine.fileSystem('/no/such/place')).toBeUndefined()
  })
})
