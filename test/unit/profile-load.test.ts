import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { compiledVersion } from '../../src/profile/compiled.ts'
import { configFile, loadCandidates, loadConfig, loadProfile } from '../../src/profile/load.ts'
import { type ConfigHome, configHome, failureOf } from '../support/config-home.ts'

// Counts how often the parser is asked: a compiled copy that is used asks it never.
const { parses } = vi.hoisted(() => ({ parses: { count: 0 } }))
vi.mock('smol-toml', async importOriginal => {
  const real = await importOriginal<typeof import('smol-toml')>()
  return {
    ...real,
    parse: (...args: Parameters<typeof real.parse>) => {
      parses.count++
      return real.parse(...args)
    },
  }
})

async function parsesDuring(work: () => Promise<unknown>): Promise<number> {
  const before = parses.count
  await work()
  return parses.count - before
}

const toml = `[profile.corp]
source = "static"
token = { env = "T" }
username = "one"
[profile.gh]
source = "command"
command = ["./gh"]
`

function load(at: ConfigHome, name = 'corp', flag?: string) {
  return loadProfile(at.environment, at.state, name, flag)
}

function compiledPath(at: ConfigHome): string {
  const directory = at.state.file('config')
  const [name, ...more] = readdirSync(directory)
  expect(more).toEqual([])
  return join(directory, name!)
}

describe('the configuration file', () => {
  const base: Environment = {
    env: {},
    platform: 'linux',
    arch: 'x64',
    pid: 1,
    uid: 1000,
    cwd: '/srv',
    home: '/home/ada',
    self: [],
  }
  const cases: [
    name: string,
    env: Environment['env'],
    flag: string | undefined,
    path: string,
    chosenBy: string,
  ][] = [
    ["the user's own", {}, undefined, '/home/ada/.config/tokctl/config.toml', 'default'],
    ['where XDG says', { XDG_CONFIG_HOME: '/x' }, undefined, '/x/tokctl/config.toml', 'default'],
    [
      'not where XDG may not say',
      { XDG_CONFIG_HOME: 'x' },
      undefined,
      '/home/ada/.config/tokctl/config.toml',
      'default',
    ],
    [
      'what the environment names',
      { XDG_CONFIG_HOME: '/x', TOKCTL_CONFIG: '/e.toml' },
      undefined,
      '/e.toml',
      'TOKCTL_CONFIG',
    ],
    [
      'relative to the working directory',
      { TOKCTL_CONFIG: 'e.toml' },
      undefined,
      '/srv/e.toml',
      'TOKCTL_CONFIG',
    ],
    [
      'an empty variable names nothing',
      { TOKCTL_CONFIG: '' },
      undefined,
      '/home/ada/.config/tokctl/config.toml',
      'default',
    ],
    ['the flag before all', { TOKCTL_CONFIG: '/e.toml' }, '../f.toml', '/f.toml', '--config'],
  ]
  test.each(cases)('is %s', (_, env, flag, path, chosenBy) => {
    expect(configFile({ ...base, env }, flag)).toEqual({ path, chosenBy })
  })

  test('is under APPDATA on Windows', () => {
    const windows = { ...base, platform: 'win32' as const }
    expect(configFile({ ...windows, env: { APPDATA: '/app' } }, undefined).path).toBe(
      '/app/tokctl/config.toml',
    )
    expect(configFile(windows, undefined).path).toBe('/home/ada/AppData/Roaming/tokctl/config.toml')
  })

  test('that is missing is told with a way to begin', async () => {
    const at = configHome()
    const failure = await failureOf(() => load(at))
    expect(failure).toMatchObject({
      code: 'config_not_found',
      message: 'configuration file ~/.config/tokctl/config.toml does not exist',
    })
    // The hint is a configuration that works.
    at.writeConfig(failure.hint!.slice(failure.hint!.indexOf('profile.gh')))
    expect((await load(at, 'gh')).profile).toMatchObject({
      source: 'command',
      command: ['gh', 'auth', 'token'],
    })
  })

  test('that is named but missing is told with who named it', async () => {
    const at = configHome({ TOKCTL_CONFIG: 'missing.toml' })
    expect(await failureOf(() => load(at))).toMatchObject({
      code: 'config_not_found',
      message: `configuration file ${join(at.path, 'missing.toml')} does not exist; TOKCTL_CONFIG names it`,
      hint: 'run: unset TOKCTL_CONFIG',
    })
    expect(await failureOf(() => load(at, 'corp', 'other.toml'))).toMatchObject({
      code: 'config_not_found',
      message: `configuration file ${join(at.path, 'other.toml')} does not exist; --config names it`,
      hint: `create ${join(at.path, 'other.toml')}, or leave --config out`,
    })
  })

  test('gives its problems with the home directory as ~', async () => {
    const at = configHome()
    at.writeConfig('\n[profile.corp]\nsource = "static"\ntokn = 1')
    expect(await failureOf(() => load(at))).toMatchObject({
      code: 'config_invalid',
      message: '~/.config/tokctl/config.toml:2: profile.corp: token is missing: the token',
      more: ['~/.config/tokctl/config.toml:4: profile.corp.tokn: unknown key; did you mean token?'],
    })
  })

  test.each(['620', '602', '666'])('with mode %s is refused, compiled or not', async mode => {
    const at = configHome()
    const path = at.writeConfig(toml)
    await load(at)
    chmodSync(path, Number.parseInt(mode, 8))
    expect(await failureOf(() => load(at))).toMatchObject({
      code: 'config_invalid',
      message: 'configuration file ~/.config/tokctl/config.toml can be written by others',
      hint: `run: chmod go-w ${path}`,
    })
  })

  test('that everybody may read is fine: it holds no secret', async () => {
    const at = configHome()
    chmodSync(at.writeConfig(toml), 0o644)
    expect((await load(at)).profile.name).toBe('corp')
  })

  test('of another user is refused, and one of root is not', async () => {
    const at = configHome()
    const path = at.writeConfig(toml)
    const owner = statSync(path).uid
    const stranger = at.with({ uid: owner + 1 })
    if (owner === 0) expect((await load(stranger)).profile.name).toBe('corp')
    else {
      expect(await failureOf(() => load(stranger))).toMatchObject({
        code: 'config_invalid',
        message: 'configuration file ~/.config/tokctl/config.toml belongs to another user',
        hint: `run: sudo chown ${owner + 1} ${path}`,
      })
    }
  })

  test('may be a link', async () => {
    const at = configHome()
    const target = at.write('dotfiles/tokctl.toml', toml)
    mkdirSync(join(at.home, '.config', 'tokctl'), { recursive: true })
    symlinkSync(target, at.configFile)
    expect((await load(at)).profile.name).toBe('corp')
  })

  test('that is a pipe, a device or a directory is refused at once', async () => {
    const at = configHome()
    const pipe = join(at.path, 'pipe')
    execFileSync('mkfifo', [pipe])
    for (const path of [pipe, '/dev/zero', '/dev/null', at.home]) {
      const failure = await failureOf(() => load(at, 'corp', path))
      expect(failure.code).toBe('config_invalid')
      expect(failure.message).toMatch(/ is not a regular file$/)
    }
  })

  test('is at most 4 MiB', async () => {
    const at = configHome()
    at.writeConfig('#'.repeat(4 * 1024 * 1024))
    expect((await loadConfig(at.environment, at.state)).profiles.size).toBe(0)
    at.writeConfig('#'.repeat(4 * 1024 * 1024 + 1))
    expect(await failureOf(() => load(at))).toMatchObject({
      code: 'config_invalid',
      message: 'configuration file ~/.config/tokctl/config.toml is larger than 4 MiB',
    })
  })
})

describe('an unknown profile', () => {
  const cases: [asked: string, message: string, hint: string][] = [
    ['crop', 'unknown profile "crop"; did you mean "corp"?', 'run: tokctl profile list'],
    ['CORP', 'unknown profile "CORP"; did you mean "corp"?', 'run: tokctl profile list'],
    ['elsewhere', 'unknown profile "elsewhere"', 'run: tokctl profile list'],
    ['', 'unknown profile ""', 'run: tokctl profile list'],
    ['\u001b]0;x\u0007', 'unknown profile "]0;x"', 'run: tokctl profile list'],
    ['corp {"name', 'unknown profile "corp {"name"', 'run: tokctl profile list'],
    ['auto\ncorp', 'unknown profile "auto corp"', 'run: tokctl profile list'],
    ['__proto__', 'unknown profile "__proto__"', 'run: tokctl profile list'],
  ]
  test.each(cases)('%j is told with the nearest name', async (asked, message, hint) => {
    const at = configHome()
    at.writeConfig(toml)
    await load(at)
    expect(await failureOf(() => load(at, asked))).toMatchObject({ code: 'unknown_profile', message, hint })
  })

  test('in a file without profiles is told with a way to begin', async () => {
    const at = configHome()
    at.writeConfig('')
    expect(await failureOf(() => load(at))).toMatchObject({
      code: 'unknown_profile',
      message: 'unknown profile "corp": ~/.config/tokctl/config.toml has no profile',
      hint: expect.stringContaining('put into it: profile.gh = {'),
    })
  })
})

describe('the compiled copy', () => {
  test('is made by the first load and spares the second the parser', async () => {
    const at = configHome()
    at.writeConfig(`[store]\nkind = "memory"\n${toml}`)
    expect(await parsesDuring(() => load(at))).toBe(1)
    expect(statSync(compiledPath(at)).mode & 0o777).toBe(0o600)
    let first: unknown
    let whole: unknown
    expect(
      await parsesDuring(async () => {
        first = await load(at, 'gh')
        whole = await loadConfig(at.environment, at.state)
      }),
    ).toBe(0)
    unlinkSync(compiledPath(at))
    expect(await load(at, 'gh')).toEqual(first)
    unlinkSync(compiledPath(at))
    expect(await loadConfig(at.environment, at.state)).toEqual(whole)
    expect(first).toMatchObject({
      config: { file: at.configFile, store: 'memory' },
      profile: { name: 'gh', command: [join(at.home, '.config', 'tokctl', 'gh')], timeout_ms: 30_000 },
    })
  })

  test('keeps what is read from it apart from the parser: a change in it alone would show', async () => {
    const at = configHome()
    at.writeConfig(toml)
    await load(at)
    const path = compiledPath(at)
    writeFileSync(
      path,
      readFileSync(path, 'latin1').replace('"username":"one"', '"username":"two"'),
      'latin1',
    )
    expect((await load(at)).profile.username).toBe('two')
  })

  const changes: [name: string, change: (at: ConfigHome) => void][] = [
    ['one byte of the configuration changed', at => at.writeConfig(toml.replace('"one"', '"eno"'))],
    ['a comment was added', at => at.writeConfig(`${toml}#`)],
    ['the configuration got shorter', at => at.writeConfig(toml.slice(0, -1))],
    ['the copy is empty', at => writeFileSync(compiledPath(at), '')],
    [
      'the copy lost its end',
      at => writeFileSync(compiledPath(at), readFileSync(compiledPath(at)).subarray(0, -8)),
    ],
    [
      'the copy holds zeros where lines were',
      at => {
        const copy = readFileSync(compiledPath(at))
        writeFileSync(compiledPath(at), copy.fill(0, copy.indexOf('\ncorp {') + 10, copy.length - 8))
      },
    ],
    [
      'the copy is of another version',
      at => {
        const copy = readFileSync(compiledPath(at), 'latin1')
        expect(copy).toContain(`tokctl-config ${compiledVersion}\n`)
        writeFileSync(
          compiledPath(at),
          copy.replace(/^tokctl-config \d+/, `tokctl-config ${compiledVersion + 1}`),
        )
      },
    ],
    [
      'the copy belongs to another file',
      at => {
        const copy = readFileSync(compiledPath(at), 'latin1')
        writeFileSync(
          compiledPath(at),
          copy.replaceAll(at.configFile, at.configFile.replace('config.', 'conf1g.')),
        )
      },
    ],
    ['the copy can be written by others', at => chmodSync(compiledPath(at), 0o622)],
    [
      'the copy is a directory',
      at => {
        const path = compiledPath(at)
        unlinkSync(path)
        mkdirSync(path)
      },
    ],
  ]
  test.each(changes)('is not believed when %s', async (_, change) => {
    const at = configHome()
    at.writeConfig(toml)
    await load(at)
    change(at)
    let profile: unknown
    expect(
      await parsesDuring(async () => {
        profile = (await load(at)).profile
      }),
    ).toBe(1)
    expect(profile).toMatchObject({ name: 'corp', source: 'static', token: { env: 'T' } })
  })

  test.each(changes.slice(0, -1))('is made anew when %s', async (_, change) => {
    const at = configHome()
    at.writeConfig(toml)
    await load(at)
    change(at)
    await load(at)
    expect(await parsesDuring(() => load(at))).toBe(0)
  })

  test('follows the home directory, which ~ stands for', async () => {
    const at = configHome()
    at.writeConfig('[profile.corp]\nsource = "static"\ntoken = { file = "~/t" }')
    expect((await load(at)).profile).toMatchObject({ token: { file: join(at.home, 't') } })
    const moved = at.with({ home: '/elsewhere' })
    expect((await load(moved, 'corp', at.configFile)).profile).toMatchObject({
      token: { file: '/elsewhere/t' },
    })
  })

  test('is one for each configuration file', async () => {
    const at = configHome()
    const [a, b] = [
      at.write('a/config.toml', toml),
      at.write('b/config.toml', toml.replace('"one"', '"two"')),
    ]
    await load(at, 'corp', a)
    await load(at, 'corp', b)
    const users: (string | undefined)[] = []
    expect(
      await parsesDuring(async () => {
        for (const path of [a, b]) users.push((await load(at, 'corp', path)).profile.username)
      }),
    ).toBe(0)
    expect(users).toEqual(['one', 'two'])
  })

  test('is not made of a configuration with a problem', async () => {
    const at = configHome()
    at.writeConfig(`${toml}\n[profile.x]\n`)
    await failureOf(() => load(at))
    await failureOf(() => load(at))
    expect(readdirSync(at.path)).not.toContain('config')
    expect(() => readdirSync(at.state.file('config'))).toThrow('ENOENT')
  })

  test('is done without where the state directory cannot be written or is not ours', async () => {
    const home = configHome()
    const file = home.writeConfig(toml)
    const env = { ...home.environment.env, TOKCTL_STATE_DIR: join(file, 'state') }
    const at = home.with({ env })
    expect(await parsesDuring(() => load(at))).toBe(1)
    expect(await parsesDuring(() => load(at))).toBe(1)

    const other = configHome()
    other.writeConfig(toml)
    await load(other)
    const owner = statSync(other.stateDir).uid
    expect(await parsesDuring(() => load(other.with({ uid: owner === 0 ? 1 : 0 })).catch(() => {}))).toBe(
      owner === 0 ? 1 : 0,
    )
  })

  test('a name that it lacks is looked for in the configuration itself', async () => {
    const at = configHome()
    at.writeConfig(toml)
    await load(at)
    const path = compiledPath(at)
    writeFileSync(path, readFileSync(path, 'latin1').replace('\ncorp {', '\nc0rp {'), 'latin1')
    expect((await load(at)).profile.name).toBe('corp')
  })

  test('what it holds is tied to its version: whoever changes the one raises the other', async () => {
    const at = configHome()
    at.writeConfig(`[profile.cc]
source = "client_credentials"
issuer = "https://idp.example.com"
client_id = "a"
client_secret = { env = "S" }
[profile.web]
source = "http"
url = "https://a.example"
token_path = "t"
[profile.cmd]
source = "command"
command = ["gh"]
[profile.st]
source = "static"
token = { env = "T" }
[profile.me]
source = "authorization_code"
issuer = "https://idp.example.com"
client_id = "a"
redirect_port = 8400
dpop = true
[profile.tv]
source = "device_code"
issuer = "https://idp.example.com"
client_id = "a"
[profile.seeded]
source = "refresh_token"
issuer = "https://idp.example.com"
refresh_token = { env = "R" }
[profile.robot]
source = "jwt_bearer"
key_file = { env = "SERVICE_ACCOUNT" }
scope = "a"
[profile.swap]
source = "token_exchange"
issuer = "https://idp.example.com"
subject_token = { profile = "runner" }
[profile.runner]
source = "ci"
[profile.app]
source = "github_app"
client_id = "Iv1.a"
installation_id = 1
private_key = { env = "K" }
match = ["https://Git.example.com/team", "git.example.com:8443", "http://[::1]"]
`)
    await load(at, 'cc')
    const copy = readFileSync(compiledPath(at), 'latin1')
    const body = copy.slice(copy.indexOf('\nauto\n'))
    expect({ version: compiledVersion, body: body.split('\n') }).toMatchInlineSnapshot(`
      {
        "body": [
          "",
          "auto",
          "cc {"name":"cc","match":[],"source":"client_credentials","issuer":"https://idp.example.com","client_id":"a","client_secret":{"env":"S"},"client_auth":"client_secret_basic","basic_encoding":"rfc6749","resource":[],"params":{},"binding":"f2c593381ab2a6a8fd327a4ed961b315a67b93b00d805ff65d60f8b90af8310d"}",
          "web {"name":"web","match":[],"source":"http","url":"https://a.example","token_path":"t","method":"GET","headers":{},"binding":"1e21c6cb08cb6c5c98bdf990721a55771c2ef7c7b6098cd2375a49f6b894f659"}",
          "cmd {"name":"cmd","match":[],"source":"command","command":["gh"],"timeout_ms":30000,"binding":"03b4fd4a1a1daecdbb888910baf39d059b037242ffeb6ec29b85af2c44c744dc"}",
          "st {"name":"st","match":[],"source":"static","token":{"env":"T"},"binding":"4d1607580ef76224b352e5d64a40b6ffa29b99818d3620c53d95c8f06911d59a"}",
          "me {"name":"me","match":[],"source":"authorization_code","issuer":"https://idp.example.com","client_id":"a","dpop":true,"redirect_port":8400,"client_auth":"none","basic_encoding":"rfc6749","resource":[],"params":{},"binding":"14f3da28a6b8dfa27ee1e816e5cc10d9f6d0f1476a7e58f7f20c3e83330795a3"}",
          "tv {"name":"tv","match":[],"source":"device_code","issuer":"https://idp.example.com","client_id":"a","client_auth":"none","basic_encoding":"rfc6749","resource":[],"params":{},"binding":"2642ff3991f4fcf8a09a1a8d44046b3bf482188d74896623e76ffa32570404ee"}",
          "seeded {"name":"seeded","match":[],"source":"refresh_token","issuer":"https://idp.example.com","refresh_token":{"env":"R"},"client_auth":"none","basic_encoding":"rfc6749","resource":[],"params":{},"binding":"c903c817388216104d1c30036b19268302b978cf30b633c287217f37ae30b4fe"}",
          "robot {"name":"robot","match":[],"source":"jwt_bearer","scope":"a","key_file":{"env":"SERVICE_ACCOUNT"},"client_auth":"none","basic_encoding":"rfc6749","resource":[],"params":{},"claims":{},"scope_in_assertion":true,"binding":"1acc1b92c1bb7f3e08049eb57bde36989434dcd7e16df19583a4847dfe0c3f2d"}",
          "swap {"name":"swap","match":[],"source":"token_exchange","issuer":"https://idp.example.com","subject_token":{"profile":"runner"},"client_auth":"none","basic_encoding":"rfc6749","resource":[],"params":{},"subject_token_type":"urn:ietf:params:oauth:token-type:jwt","binding":"f399193ed9346b10482b663e87845f7227837568d8cc3560e048841477c9f4f2","job_bound":true}",
          "runner {"name":"runner","match":[],"source":"ci","provider":"auto","binding":"fd7c050c1af1be9f4de8754d9e7be94ecec0da2e915c4c8c7682480fc0a00e29","job_bound":true}",
          "app {"name":"app","match":["https://Git.example.com/team","git.example.com:8443","http://[::1]"],"source":"github_app","client_id":"Iv1.a","installation_id":"1","private_key":{"env":"K"},"repositories":[],"permissions":{},"api_url":"https://api.github.com","binding":"e6fea1d1c30936b339a873f55b5b4143597491e17b4ef2762b18c6efa7516a3e"}",
          "@git.example.com app",
          "@[::1] app",
          "end 13",
          "",
        ],
        "version": 6,
      }
    `)
  })
})

describe('of a thousand profiles', () => {
  test('each is found, in one line of the copy', async () => {
    const at = configHome()
    const names = Array.from({ length: 1000 }, (_, i) => `p${i}`)
    at.writeConfig(
      names.map(name => `[profile.${name}]\nsource = "static"\ntoken = { env = "T_${name}" }\n`).join(''),
    )
    expect((await loadConfig(at.environment, at.state)).profiles.size).toBe(1000)
    const decode = vi.spyOn(JSON, 'parse')
    for (const name of ['p0', 'p1', 'p10', 'p99', 'p999']) {
      expect(await parsesDuring(() => load(at, name))).toBe(0)
      expect((await load(at, name)).profile).toMatchObject({ name, token: { env: `T_${name}` } })
    }
    // Only what was asked for is decoded, however much there is.
    expect(decode.mock.calls.length).toBe(10)
    expect(Math.max(...decode.mock.calls.map(([text]) => text.length))).toBeLessThan(500)
    decode.mockRestore()
    const { profiles } = await loadConfig(at.environment, at.state)
    expect([...profiles.keys()]).toEqual(names)
  })
})

describe('the profiles that may match a URL', () => {
  const many = `${toml}[profile.one]
source = "command"
command = ["one"]
match = ["https://API.example.com/team"]
[profile.two]
source = "command"
command = ["two"]
match = ["other.example.com"]
`

  async function names(at: ConfigHome, url: string): Promise<string[]> {
    const { profiles } = await loadCandidates(at.environment, at.state, url)
    return Array.from(profiles, ({ name }) => name)
  }

  test('are all of them where nothing is compiled, and then those alone that hold its host', async () => {
    const at = configHome()
    at.writeConfig(many)
    expect(await names(at, 'https://api.example.com/')).toEqual(['corp', 'gh', 'one', 'two'])
    const parsed = await parsesDuring(async () => {
      expect(await names(at, 'https://api.example.com/team/x?y')).toEqual(['one'])
      expect(await names(at, 'https://Api.Example.com:443/')).toEqual(['one'])
      expect(await names(at, 'other.example.com')).toEqual(['two'])
      expect(await names(at, 'https://nobody.example.com')).toEqual([])
    })
    expect(parsed).toBe(0)
  })

  test('are read from the configuration itself when a line of the compiled copy is lost or torn', async () => {
    const at = configHome()
    at.writeConfig(many)
    await load(at)
    const path = compiledPath(at)
    const compiled = readFileSync(path, 'utf8')
    const losses = [
      compiled.replace(/^one \{.*\n/m, ''),
      compiled.replace(/^one \{/m, 'one ['),
      ...['\0', ' '].map(blank =>
        compiled.replace(/^@api\.example\.com.*/m, line => blank.repeat(line.length)),
      ),
      compiled.replace(/^@api\.example\.com.*\n/m, ''),
    ]
    for (const torn of losses) {
      expect(torn).not.toBe(compiled)
      writeFileSync(path, torn)
      expect(await names(at, 'https://api.example.com/')).toContain('one')
    }
  })
})
