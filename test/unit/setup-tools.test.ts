import { describe, expect, test } from 'vitest'
import type { SetupAsk } from '../../src/setup/setup.ts'
import { tools } from '../../src/setup/tools.ts'
import { asked, type FakeMachine, fakeMachine, matching, setUp } from '../support/fake-machine.ts'

// What each tool's configuration becomes: from text to text, and back again.

const home = '/home/ada'
const launchers = `${home}/.local/state/tokctl/launchers`
const corp = matching('corp', 'https://git.example.com/team', 'reg.example.com:5000')
const own = '/usr/bin/node /opt/tokctl/bin/tokctl.js'
const launcher = (words: string): string =>
  `#!/bin/sh\n# written by tokctl setup\nexec ${own} ${words} "$@"\n`
const keys = { ...matching('keys'), members: { AccessKeyId: 'a', SecretAccessKey: 'b' } } as typeof corp

interface Case {
  readonly tool: string
  readonly what: string
  readonly ask?: Partial<SetupAsk>
  readonly env?: Record<string, string>
  readonly file: string
  readonly before?: string
  readonly after: string
  /** Other files that are there afterwards, with their text. */
  readonly beside?: Record<string, string>
}

const named = { profile: corp }
const cases: Case[] = [
  {
    tool: 'docker',
    what: 'nothing there',
    file: `${home}/.docker/config.json`,
    after: '{\n\t"credHelpers": {\n\t\t"reg.example.com:5000": "tokctl"\n\t}\n}\n',
    beside: { [`${home}/.local/bin/docker-credential-tokctl`]: launcher('helper docker') },
  },
  {
    tool: 'docker',
    what: 'sign-ins of others, a directory of its own, and Docker Hub',
    ask: { profiles: [matching('hub', 'https://index.docker.io/v1/')] },
    env: { DOCKER_CONFIG: '/d', PATH: `${home}/.local/bin` },
    file: '/d/config.json',
    before: '{\n  "auths": { "x": { "auth": "YTpi" } },\n  "credHelpers": {\n    "x": "ecr-login"\n  }\n}',
    after:
      '{\n  "auths": { "x": { "auth": "YTpi" } },\n  "credHelpers": {\n    "x": "ecr-login",\n    "https://index.docker.io/v1/": "tokctl"\n  }\n}',
  },
  {
    tool: 'bazel',
    what: 'no line end at the end',
    file: `${home}/.bazelrc`,
    before: 'build --jobs=4 # mine',
    after: `build --jobs=4 # mine\ncommon --credential_helper=git.example.com=${launchers}/tokctl-bazel\ncommon --credential_helper=reg.example.com=${launchers}/tokctl-bazel`,
    beside: { [`${launchers}/tokctl-bazel`]: launcher('helper bazel') },
  },
  {
    tool: 'cargo',
    what: 'nothing there',
    file: `${home}/.cargo/config.toml`,
    after: `[registry]\nglobal-credential-providers = ["cargo:token", "${launchers}/tokctl-cargo"]  # written by tokctl setup\n`,
    beside: { [`${launchers}/tokctl-cargo`]: launcher('helper cargo') },
  },
  {
    tool: 'cargo',
    what: 'a table of registry, comments, Windows line ends, the old name of the file',
    env: { CARGO_HOME: '/c' },
    file: '/c/config',
    before: '# mine\r\n[registry] # here\r\ndefault = "my"\r\n\r\n[build]\r\njobs = 2\r\n',
    after: `# mine\r\n[registry] # here\r\nglobal-credential-providers = ["cargo:token", "${launchers}/tokctl-cargo"]  # written by tokctl setup\r\ndefault = "my"\r\n\r\n[build]\r\njobs = 2\r\n`,
  },
  {
    tool: 'cargo',
    what: 'providers over several lines',
    file: `${home}/.cargo/config.toml`,
    before: '[registry]\nglobal-credential-providers = [ # "x]"\n  "cargo:token",\n  "cargo:libsecret"\n]\n',
    after: `[registry]\nglobal-credential-providers = [ # "x]"\n  "cargo:token",\n  "cargo:libsecret",\n  "${launchers}/tokctl-cargo"\n]\n`,
  },
  {
    tool: 'cargo',
    what: 'comments behind and below the last provider',
    file: `${home}/.cargo/config.toml`,
    before:
      "[registry]\r\nglobal-credential-providers = [\r\n\t'cargo:token', # me, too\r\n\t# none other\r\n]\r\n",
    after: `[registry]\r\nglobal-credential-providers = [\r\n\t'cargo:token', # me, too\r\n\t"${launchers}/tokctl-cargo",\r\n\t# none other\r\n]\r\n`,
  },
  {
    tool: 'cargo',
    what: 'a table of dotted keys',
    file: `${home}/.cargo/config.toml`,
    before: 'registry.default = "my" # here\n[build]\njobs = 2\n',
    after: `registry.default = "my" # here\nregistry.global-credential-providers = ["cargo:token", "${launchers}/tokctl-cargo"]  # written by tokctl setup\n[build]\njobs = 2\n`,
  },
  {
    tool: 'cargo',
    what: 'a table in that of registry alone',
    file: `${home}/.cargo/config.toml`,
    before: '[registry.x]\ny = 1\n',
    after: `[registry.x]\ny = 1\n[registry]\nglobal-credential-providers = ["cargo:token", "${launchers}/tokctl-cargo"]  # written by tokctl setup\n`,
  },
  {
    tool: 'cargo',
    what: 'providers on one line, that end with a comma, and no table',
    file: `${home}/.cargo/config.toml`,
    before: "registry.global-credential-providers = ['cargo:token',]",
    after: `registry.global-credential-providers = ['cargo:token', "${launchers}/tokctl-cargo",]`,
  },
  {
    tool: 'terraform',
    what: 'a block in a comment, and one of a string',
    file: `${home}/.terraformrc`,
    before:
      '# credentials_helper "x" {}\nplugin_cache_dir = "// credentials_helper" /* credentials_helper "y" {} */\n',
    after:
      '# credentials_helper "x" {}\nplugin_cache_dir = "// credentials_helper" /* credentials_helper "y" {} */\ncredentials_helper "tokctl" {} # written by tokctl setup\n',
    beside: { [`${home}/.terraform.d/plugins/terraform-credentials-tokctl`]: launcher('helper terraform') },
  },
  ...(['terraform', 'tofu'] as const).flatMap((tool): Case[] => [
    {
      tool,
      what: 'JSON on one line',
      env: { TF_CLI_CONFIG_FILE: '/t/rc.json' },
      file: '/t/rc.json',
      before: '{"disable_checkpoint": true}',
      after: '{"disable_checkpoint": true,"credentials_helper":{"tokctl":{}}}',
      beside: { [`${home}/.terraform.d/plugins/terraform-credentials-tokctl`]: launcher('helper terraform') },
    },
  ]),
  {
    tool: 'terraform',
    what: 'JSON over several lines',
    file: `${home}/.terraformrc`,
    before: '{\n  "disable_checkpoint": true\n}\n',
    after: '{\n  "disable_checkpoint": true,\n  "credentials_helper": {\n    "tokctl": {}\n  }\n}\n',
  },
  {
    tool: 'terraform',
    what: 'another file',
    env: { TF_CLI_CONFIG_FILE: '/t/rc' },
    file: '/t/rc',
    after: 'credentials_helper "tokctl" {} # written by tokctl setup\n',
  },
  {
    tool: 'tofu',
    what: 'its own file',
    file: `${home}/.tofurc`,
    before: 'disable_checkpoint = true\n',
    after: 'disable_checkpoint = true\ncredentials_helper "tokctl" {} # written by tokctl setup\n',
  },
  {
    tool: 'go',
    what: 'other settings',
    file: `${home}/.config/go/env`,
    before: 'GOFLAGS=-mod=mod\nGOPROXY=https://p.example\n',
    after: `GOFLAGS=-mod=mod\nGOPROXY=https://p.example\nGOAUTH=${own} helper goauth; netrc\n`,
  },
  {
    tool: 'go',
    what: 'other commands, which stay behind ours',
    env: { GOENV: '/g/env' },
    file: '/g/env',
    before: 'GOAUTH=git /src; netrc\nGOFLAGS=-x\n',
    after: `GOAUTH=${own} helper goauth; git /src; netrc\nGOFLAGS=-x\n`,
  },
  {
    tool: 'pip',
    what: 'a section that is there',
    file: `${home}/.config/pip/pip.conf`,
    before: '# mine\n[global]\nindex-url = https://u@reg.example.com/simple\n[install]\nuser = yes\n',
    after:
      '# mine\n[global]\n# written by tokctl setup\nkeyring-provider = subprocess\nindex-url = https://u@reg.example.com/simple\n[install]\nuser = yes\n',
    beside: { [`${home}/.local/bin/keyring`]: launcher('helper keyring') },
  },
  {
    tool: 'pip',
    what: 'the old place',
    file: `${home}/.pip/pip.conf`,
    before: '[list]\nformat = json',
    after: '[list]\nformat = json\n[global]\n# written by tokctl setup\nkeyring-provider = subprocess',
  },
  {
    tool: 'uv',
    what: 'tables, which a key of the top comes before',
    env: { XDG_CONFIG_HOME: '/x', PATH: `${home}/.local/bin` },
    file: '/x/uv/uv.toml',
    before: '[[index]]\nurl = "https://reg.example.com/simple"\n',
    after:
      'keyring-provider = "subprocess"  # written by tokctl setup\n[[index]]\nurl = "https://reg.example.com/simple"\n',
  },
  {
    tool: 'pnpm',
    what: 'other registries',
    ask: named,
    file: `${home}/.npmrc`,
    before: '; mine\n//other.example.com/:_authToken=x\n',
    after: `; mine\n//other.example.com/:_authToken=x\n//git.example.com/team/:tokenHelper=${launchers}/tokctl-pnpm-corp\n//reg.example.com:5000/:tokenHelper=${launchers}/tokctl-pnpm-corp\n`,
    beside: { [`${launchers}/tokctl-pnpm-corp`]: launcher('helper pnpm corp') },
  },
  {
    tool: 'pnpm',
    what: 'another file',
    ask: { profile: matching('p', 'https://r.example/') },
    env: { NPM_CONFIG_USERCONFIG: '/n/rc' },
    file: '/n/rc',
    after: `//r.example/:tokenHelper=${launchers}/tokctl-pnpm-p\n`,
  },
  {
    tool: 'vault',
    what: 'nothing there',
    file: `${home}/.vault`,
    after: `token_helper = "${launchers}/tokctl-vault"\n`,
    beside: { [`${launchers}/tokctl-vault`]: launcher('helper vault --client vault') },
  },
  {
    tool: 'bao',
    what: 'another file',
    env: { BAO_CONFIG_PATH: '/b' },
    file: '/b',
    before: '# mine\n',
    after: `# mine\ntoken_helper = "${launchers}/tokctl-bao"\n`,
    beside: { [`${launchers}/tokctl-bao`]: launcher('helper vault --client bao') },
  },
  {
    tool: 'bao',
    what: 'the file of Vault, which it reads where none of its own is named',
    env: { VAULT_CONFIG_PATH: '/v' },
    file: '/v',
    after: `token_helper = "${launchers}/tokctl-bao"\n`,
  },
  {
    tool: 'aws',
    what: 'no command line of AWS, and other profiles',
    ask: { profile: keys, as: 'prod' },
    file: `${home}/.aws/config`,
    before: '# mine\n[default]\nregion = eu-west-1\n\n[profile prod]\nregion = eu-north-1\n',
    after: `# mine\n[default]\nregion = eu-west-1\n\n[profile prod]\ncredential_process = ${own} helper aws keys\nregion = eu-north-1\n`,
  },
  {
    tool: 'aws',
    what: 'another file, and the profile that has no name',
    ask: { profile: keys, as: 'default' },
    env: { AWS_CONFIG_FILE: '/a' },
    file: '/a',
    after: `[default]\ncredential_process = ${own} helper aws keys\n`,
  },
  {
    tool: 'gcp',
    what: 'nothing there',
    ask: { profile: corp, audience: '//iam.googleapis.com/x' },
    env: { CLOUDSDK_CONFIG: '/gc' },
    file: '/gc/tokctl-corp.json',
    after: `${JSON.stringify(
      {
        type: 'external_account',
        audience: '//iam.googleapis.com/x',
        subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
        token_url: 'https://sts.googleapis.com/v1/token',
        credential_source: { executable: { command: `${own} helper gcp corp`, timeout_millis: 30_000 } },
      },
      null,
      2,
    )}\n`,
  },
]

describe.each(cases)(
  '$tool with $what',
  ({ tool: name, ask: given, env, file, before, after, beside = {} }) => {
    const make = (): FakeMachine =>
      fakeMachine({
        files: before === undefined ? {} : { [file]: before },
        ...(env === undefined ? {} : { env: { PATH: `${home}/.local/bin:/usr/bin`, ...env } }),
      })
    const ask = asked(given?.profile === undefined ? { profiles: [corp], ...given } : given)

    test('is set up, once; taken back, nothing of ours is left', async () => {
      const machine = make()
      const original = new Map(machine.files)
      const tool = await tools[name]!()
      expect(await setUp(tool, machine, ask)).toEqual([])
      expect(machine.files.get(file)).toBe(after)
      for (const [path, text] of Object.entries(beside)) expect(machine.files.get(path)).toBe(text)
      expect((await tool.plan(ask, machine)).changes).toEqual([])
      await setUp(tool, machine, { ...ask, remove: true })
      expect(machine.files).toEqual(original)
      expect((await tool.plan({ ...ask, remove: true }, machine)).changes).toEqual([])
    })

    test('is set up anew by a tokctl that has moved', async () => {
      const machine = make()
      const tool = await tools[name]!()
      const moved = { ...machine, program: ['/usr/local/bin/tokctl'] }
      await setUp(tool, moved, ask)
      await setUp(tool, machine, ask)
      const all = [...machine.files.values()].join('\n')
      expect(all).not.toContain('/usr/local/bin/tokctl')
      expect(machine.files.get(file)).toContain('tokctl')
      expect((await tool.plan(ask, machine)).changes).toEqual([])
    })
  },
)

describe('somebody else’s setting in our place stays, and is named', () => {
  const foreign: [tool: string, file: string, text: string, message: RegExp][] = [
    [
      'docker',
      `${home}/.docker/config.json`,
      '{"credHelpers":{"reg.example.com:5000":"ecr-login"}}',
      /config\.json: credHelpers\."reg\.example\.com:5000" is "ecr-login" already$/,
    ],
    ['docker', `${home}/.docker/config.json`, '{"a":', /config\.json: is not JSON$/],
    ['docker', `${home}/.docker/config.json`, '[]', /expected an object, and credHelpers an object in it$/],
    ['docker', `${home}/.docker/config.json`, '{"credHelpers":[]}', /credHelpers an object in it$/],
    [
      'docker',
      `${home}/.local/bin/docker-credential-tokctl`,
      '#!/bin/sh\n',
      /is there already, and is not ours$/,
    ],
    [
      'bazel',
      `${home}/.bazelrc`,
      'build --credential_helper=git.example.com=/bin/other\n',
      /the setting is "build --credential_helper=git\.example\.com=\/bin\/other" already$/,
    ],
    ['cargo', `${home}/.cargo/config.toml`, '[registry\n', /config\.toml: .+/],
    [
      'cargo',
      `${home}/.cargo/config.toml`,
      '[registry]\nglobal-credential-providers = "x"\n',
      /registry\.global-credential-providers: expected a list$/,
    ],
    [
      'cargo',
      `${home}/.cargo/config.toml`,
      'registry = { default = "x" }\n',
      /is written in a way that cannot be edited here$/,
    ],
    [
      'terraform',
      `${home}/.terraformrc`,
      'credentials_helper "other" {\n}\n',
      /credentials_helper is "other" already$/,
    ],
    ['terraform', `${home}/.terraformrc`, ' {"a": 1', /\.terraformrc: is not JSON$/],
    [
      'terraform',
      `${home}/.terraformrc`,
      '{"credentials_helper": {"other": {}}}',
      /credentials_helper is "other" already$/,
    ],
    ...['[]', 'null'].map((value): [string, string, string, RegExp] => [
      'terraform',
      `${home}/.terraformrc`,
      `{"credentials_helper": ${value}}`,
      /is written in a way that cannot be edited here$/,
    ]),
    ['go', `${home}/.config/go/env`, 'GOAUTH=off\n', /GOAUTH is "off" already$/],
    [
      'pip',
      `${home}/.config/pip/pip.conf`,
      '[global]\nkeyring-provider = disabled\n',
      /is "disabled" already$/,
    ],
    ['uv', `${home}/.config/uv/uv.toml`, 'keyring-provider = "disabled"\n', /is "disabled" already$/],
    ['uv', `${home}/.config/uv/uv.toml`, 'a = \n', /uv\.toml: .+/],
    ['pnpm', `${home}/.npmrc`, '//git.example.com/team/:tokenHelper=/bin/x\n', /is "\/bin\/x" already$/],
    ['vault', `${home}/.vault`, 'token_helper = "/bin/x"\n', /is "\/bin\/x" already$/],
    [
      'aws',
      `${home}/.aws/config`,
      '[profile keys]\ncredential_process = /bin/x\n',
      /credential_process of \[profile keys\] is "\/bin\/x" already$/,
    ],
    [
      'aws',
      `${home}/.aws/credentials`,
      '[keys]\naws_access_key_id = A\n',
      /profile keys is "a pair of keys" already$/,
    ],
    ['gcp', `${home}/.config/gcloud/tokctl-corp.json`, '{}', /is there already, and is not ours$/],
  ]
  test.each(foreign)('%s: %s holding %j', async (name, file, text, message) => {
    const machine = fakeMachine({ files: { [file]: text } })
    const profile = name === 'aws' ? keys : name === 'pnpm' || name === 'gcp' ? corp : undefined
    const ask = asked({ profiles: [corp], profile, audience: '//iam.googleapis.com/x' })
    const tool = await tools[name]!()
    await expect(tool.plan(ask, machine)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(message),
    })
    expect([...machine.files]).toEqual([[file, text]])
  })
})

test('cargo: where the file cannot be edited, what the hint says is enough', async () => {
  const tool = await tools['cargo']!()
  const file = `${home}/.cargo/config.toml`
  const machine = fakeMachine({ files: { [file]: 'registry = { default = "x" }\n' } })
  const path = `${launchers}/tokctl-cargo`
  await expect(tool.plan(asked(), machine)).rejects.toMatchObject({
    hint: `add "${path}" to global-credential-providers of [registry] there, then run this again`,
  })
  machine.files.set(file, `registry = { default = "x", global-credential-providers = ["${path}"] }\n`)
  await setUp(tool, machine, asked())
  expect(machine.files.get(path)).toBe(launcher('helper cargo'))
})

test('cargo: a provider that a person put behind ours, or into our line, keeps its place and stays', async () => {
  const tool = await tools['cargo']!()
  const file = `${home}/.cargo/config.toml`
  const list = (...items: string[]): string =>
    `[registry]\nglobal-credential-providers = ["${items.join('", "')}"]  # written by tokctl setup\n`
  const machine = fakeMachine({
    files: { [file]: list('cargo:token', '/old/tokctl-cargo', 'mine', '/older/tokctl-cargo') },
  })
  await setUp(tool, machine, asked())
  expect(machine.files.get(file)).toBe(list('cargo:token', `${launchers}/tokctl-cargo`, 'mine'))
  await setUp(tool, machine, asked({ remove: true }))
  expect(machine.files.get(file)).toBe(list('cargo:token', 'mine'))
})

test.each([
  ['git', {}, 'no profile matches any URL, so that no server could be set up'],
  ['docker', { profile: keys }, 'profile "keys" does not match any URL, so that no server could be set up'],
  ['kubectl', {}, 'setup kubectl: the configuration of kubectl names one profile'],
  ['pnpm', {}, 'setup pnpm: the configuration of pnpm names one profile'],
  ['aws', { profile: corp }, 'profile "corp" yields a token, and AWS wants keys'],
  ['gcp', { profile: corp }, 'setup gcp: --audience is missing: the provider of the workload identity pool'],
] as const)('%s says what it lacks', async (name, given, message) => {
  const tool = await tools[name]!()
  const machine = fakeMachine({ programs: ['/usr/bin/kubectl'], says: () => ({ exitCode: 0, stdout: '{}' }) })
  await expect(tool.plan(asked(given), machine)).rejects.toMatchObject({ code: 'usage', message })
})

describe('what goes by its name on PATH', () => {
  const pip = tools['pip']!

  test('a keyring that comes later is asked where we have no answer', async () => {
    const machine = fakeMachine({ programs: ['/usr/bin/keyring'] })
    await setUp(await pip(), machine, asked())
    const text = machine.files.get(`${home}/.local/bin/keyring`)
    expect(text).toContain(`${own} helper keyring "$@"`)
    expect(text).toMatch(/\nexec \/usr\/bin\/keyring "\$@"\n$/)
    expect((await (await pip()).plan(asked(), machine)).changes).toEqual([])
  })

  test.each([
    [
      'first comes another',
      { PATH: `/usr/bin:${home}/.local/bin` },
      'comes before "/home/ada/.local/bin" on PATH',
    ],
    ['our directory is not on PATH', { PATH: '/bin' }, 'is started by its name, and there is none on PATH'],
  ])('%s: nothing is written', async (_, env, words) => {
    const machine = fakeMachine({ programs: ['/usr/bin/keyring'], env })
    await expect((await pip()).plan(asked(), machine)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(words),
    })
  })

  test('a docker launcher of ours whose path wants quotes is renewed as any other', async () => {
    const docker = await tools['docker']!()
    const file = `${home}/.local/bin/docker-credential-tokctl`
    const machine = fakeMachine({ programs: [file] })
    machine.files.set(
      file,
      `#!/bin/sh\n# written by tokctl setup\nexec '/old home/tokctl.js' helper docker "$@"\n`,
    )
    const ask = asked({ profiles: [matching('hub', 'https://reg.example.com')] })
    await setUp(docker, machine, ask)
    expect(machine.files.get(file)).toBe(launcher('helper docker'))
  })

  test('a docker helper that is installed is not, where it would have to know what was named', async () => {
    const docker = await tools['docker']!()
    const given = { isNamed: true, programs: ['/usr/bin/docker-credential-tokctl'] }
    const ask = asked({ profiles: [corp] })
    const machine = fakeMachine(given)
    await setUp(docker, machine, ask)
    expect(machine.files.get(`${home}/.local/bin/docker-credential-tokctl`)).toBe(launcher('helper docker'))
    expect((await docker.plan(ask, machine)).next).toEqual([])
    // Where ours would not be found it is said.
    const late = fakeMachine({ ...given, env: { PATH: `/usr/bin:${home}/.local/bin` } })
    const { changes, next } = await docker.plan(ask, { ...late, find: () => given.programs[0] })
    expect(changes).toHaveLength(1)
    expect(next).toEqual([
      'set TOKCTL_CONFIG and TOKCTL_STATE_DIR wherever /usr/bin/docker-credential-tokctl is started: it is not told them otherwise',
    ])
  })

  test('a docker helper that is a binary of ours in ~/.local/bin is used, and stays', async () => {
    const docker = await tools['docker']!()
    const path = `${home}/.local/bin/docker-credential-tokctl`
    const machine = fakeMachine({ programs: [path] })
    const binary = {
      ...machine,
      read(file: string) {
        if (file === path) throw new Error('is larger than 4 MiB')
        return machine.read(file)
      },
    }
    const ask = asked({ profiles: [corp] })
    await setUp(docker, binary, ask)
    expect([...machine.files.keys()]).toEqual([`${home}/.docker/config.json`])
    await setUp(docker, binary, { ...ask, remove: true })
    expect(machine.files.size).toBe(0)
  })

  test('a docker helper that is installed is used as it is, and pip and uv share theirs', async () => {
    const installed = fakeMachine({ programs: ['/usr/bin/docker-credential-tokctl'] })
    await setUp(await tools['docker']!(), installed, asked({ profiles: [corp] }))
    expect([...installed.files.keys()]).toEqual([`${home}/.docker/config.json`])

    const machine = fakeMachine()
    for (const name of ['pip', 'uv']) await setUp(await tools[name]!(), machine, asked())
    await setUp(await pip(), machine, asked({ remove: true }))
    expect([...machine.files.keys()]).toEqual([`${home}/.local/bin/keyring`, `${home}/.config/uv/uv.toml`])
    await setUp(await tools['uv']!(), machine, asked({ remove: true }))
    expect(machine.files.size).toBe(0)
  })
})

describe('by the tool’s own means', () => {
  test('aws is told by aws configure, where it is installed', async () => {
    const machine = fakeMachine({ programs: ['/usr/bin/aws'] })
    expect(await setUp(await tools['aws']!(), machine, asked({ profile: keys }))).toEqual([
      `aws configure set credential_process ${own} helper aws keys --profile keys`,
    ])
  })

  const users = (exec: object): string => JSON.stringify({ users: [{ name: 'corp', user: { exec } }] })
  const ours = { command: '/usr/bin/node', args: ['/opt/tokctl/bin/tokctl.js', 'helper', 'kubectl', 'corp'] }

  async function kubectl(view: string, help: string, given: Partial<SetupAsk> = {}): Promise<string[]> {
    const machine = fakeMachine({
      programs: ['/usr/bin/kubectl'],
      says: command => ({ stdout: command.includes('--help') ? help : view }),
    })
    return setUp(await tools['kubectl']!(), machine, asked({ profile: corp, ...given }))
  }
  const set = (version: string, mode: string, user = 'corp'): string =>
    `kubectl config set-credentials ${user} --exec-api-version=client.authentication.k8s.io/${version}${mode} --exec-command=/usr/bin/node --exec-arg=/opt/tokctl/bin/tokctl.js --exec-arg=helper --exec-arg=kubectl --exec-arg=corp`

  test('kubectl sets a user, in the version that it can write', async () => {
    expect(await kubectl('{"users":null}', '--exec-interactive-mode')).toEqual([
      set('v1', ' --exec-interactive-mode=Never'),
    ])
    expect(await kubectl('{"users":null}', '', { as: 'me' })).toEqual([set('v1beta1', '', 'me')])
  })

  test('kubectl: a user of ours is left, renewed or taken away, and that of another is an error', async () => {
    expect(await kubectl(users(ours), '')).toEqual([])
    expect(await kubectl(users({ ...ours, command: '/old/node' }), '')).toEqual([
      'kubectl config delete-user corp',
      set('v1beta1', ''),
    ])
    expect(await kubectl(users(ours), '', { remove: true })).toEqual(['kubectl config delete-user corp'])
    const foreign = users({ command: 'aws', args: ['eks', 'get-token'] })
    expect(await kubectl(foreign, '', { remove: true })).toEqual([])
    await expect(kubectl(foreign, '')).rejects.toMatchObject({
      code: 'config_invalid',
      message: 'kubeconfig: user corp is "aws" already',
      hint: 'run: tokctl setup kubectl corp --as ANOTHER-NAME',
    })
    await expect(kubectl('{', '')).rejects.toMatchObject({ code: 'config_invalid' })
  })

  const git = async (settings: string, given: Partial<SetupAsk> = {}): Promise<string[]> => {
    const file = `${home}/.gitconfig`
    const machine = fakeMachine({
      files: settings === '' ? {} : { [file]: '# mine\n' },
      says: command => ({
        exitCode: settings === '' ? 1 : 0,
        stdout: command.includes('--show-origin')
          ? settings.replace(/[^\0]+\0/g, entry => `file:${file}\0${entry}`)
          : settings,
      }),
    })
    return setUp(await tools['git']!(), machine, asked({ profiles: [corp], ...given }))
  }
  const mine = `!${own} helper git`

  test('git: an empty helper comes before ours, so that no other helper keeps the token', async () => {
    expect(await git('')).toEqual([
      "git config --global --add credential.https://git.example.com/team.helper ''",
      `git config --global --add credential.https://git.example.com/team.helper '${mine}'`,
      'git config --global credential.https://git.example.com/team.useHttpPath true',
      "git config --global --add credential.https://reg.example.com:5000.helper ''",
      `git config --global --add credential.https://reg.example.com:5000.helper '${mine}'`,
    ])
  })

  test('git --store: is the only helper, before which those of the system count no more', async () => {
    expect(await git('', { profiles: [], store: true })).toEqual([
      "git config --global --add credential.helper ''",
      `git config --global --add credential.helper '${mine} --store'`,
    ])
    const both = await git('', { profiles: [matching('r', 'r.example')], store: true })
    expect(both).toHaveLength(4)
    const set = `credential.helper\n\0credential.helper\n${mine} --store\0`
    expect(await git(set, { profiles: [], store: true })).toEqual([])
    expect(await git(set, { profiles: [], remove: true })).toEqual([
      'git config --global --unset-all credential.helper',
    ])
    await expect(git('credential.helper\nstore\0', { store: true })).rejects.toMatchObject({
      code: 'config_invalid',
      message: 'git: credential.helper is "store" already',
    })
  })

  test.each([
    ['below ours', 'credential.https://r.example.helper\n\0', 'credential.helper'],
    ['below a section that is there', 'credential.https://r.example.username\nme\0', 'credential.helper'],
    ...['https://r.example/', 'https://me@r.example:443', 'https://*.example', 'https://r.example/part'].map(
      (url): [string, string, string] => [
        `that stands for ${url}`,
        'credential.https://r.example.helper\n\0',
        `credential.${url}.helper`,
      ],
    ),
  ])('git: a helper that stores, %s, would be told our token: it is named', async (_, before, key) => {
    const hint = "in git's configuration, or take it out and run: tokctl setup git --store"
    await expect(
      git(`${before}${key}\nstore\0`, { profiles: [matching('r', 'r.example')] }),
    ).rejects.toMatchObject({
      code: 'config_invalid',
      message: `git: ${key}, which is "store", would be told the token for https://r.example`,
      hint: `move it above [credential "https://r.example"] ${hint}`,
    })
  })

  test('git: a helper of the shell is not quoted, since it may hold a password', async () => {
    const key = 'credential.https://r.example.helper'
    await expect(
      git(`${key}\n!f() { echo password=hush; }; f\0`, { profiles: [matching('r', 'r.example')] }),
    ).rejects.toMatchObject({ message: `git: ${key} is a command of the shell already` })
  })

  test('git: what is ours is left, renewed or taken away, and that of another is an error', async () => {
    const key = 'credential.https://reg.example.com:5000.helper'
    const ask = { profiles: [matching('r', 'reg.example.com:5000')] }
    expect(await git(`credential.helper\nstore\0${key}\n\0${key}\n${mine}\0`, ask)).toEqual([])
    expect(await git(`${key}\n!/old/tokctl helper git\0`, ask)).toEqual([
      `git config --global --unset-all ${key} 'tokctl.* helper git( --store( --timeout[= ][^ ]+)?)?$'`,
      `git config --global --add ${key} ''`,
      `git config --global --add ${key} '${mine}'`,
    ])
    expect(await git(`${key}\n\0${key}\n!/old/tokctl helper git\0`, ask)).toEqual([
      `git config --global --replace-all ${key} '${mine}' 'tokctl.* helper git( --store( --timeout[= ][^ ]+)?)?$'`,
    ])
    const timed = '!/old/tokctl helper git --store --timeout 8h'
    expect(await git(`${key}\n\0${key}\n${timed}\0`, { remove: true })).toEqual([
      `git config --global --unset-all ${key}`,
    ])
    // A URL in another case is another place: whoever is asked there is not in our way.
    const path = { profiles: [matching('r', 'https://reg.example.com/Team')] }
    const added = await git('credential.https://reg.example.com/team.helper\nstore\0', path)
    expect(added.join('\n')).toContain("credential.https://reg.example.com/Team.helper '!")
    expect(await git(`${key}\n\0${key}\n${mine}\0credential.helper\nstore\0`, { remove: true })).toEqual([
      `git config --global --unset-all ${key}`,
    ])
    expect(await git(`${key}\nstore\0`, { ...ask, remove: true })).toEqual([])
    await expect(git(`${key}\nstore\0`, ask)).rejects.toMatchObject({
      code: 'config_invalid',
      message: `git: ${key} is "store" already`,
      hint: `run: git config --global --unset-all ${key}`,
    })
  })
})

test('on Windows a launcher is a batch file, and what starts nothing but .exe files is refused', async () => {
  const machine = fakeMachine({ platform: 'win32', program: ['C:\\node.exe', 'C:\\100%\\tokctl.js'] })
  await setUp(await tools['vault']!(), machine, asked())
  expect(machine.files.get(`${launchers}/tokctl-vault.cmd`)).toBe(
    '@rem written by tokctl setup\r\n@"C:\\node.exe" "C:\\100%%\\tokctl.js" "helper" "vault" "--client" "vault" %*\r\n',
  )
  await expect((await tools['terraform']!()).plan(asked(), machine)).rejects.toMatchObject({
    code: 'usage',
    message: 'terraform starts nothing but .exe files on Windows',
  })
})

describe('what is taken back is ours alone', () => {
  const audience = '//iam.googleapis.com/x'
  const configs = `${home}/.config/gcloud`

  test('gcp: under whatever name it was written, of that profile or under that name where one is said', async () => {
    const tool = await tools['gcp']!()
    const other = matching('other')
    const make = async (): Promise<FakeMachine> => {
      const machine = fakeMachine({ files: { [`${configs}/tokctl-foreign.json`]: '{}' } })
      await setUp(tool, machine, asked({ profile: corp, audience }))
      await setUp(tool, machine, asked({ profile: corp, audience, as: 'second' }))
      await setUp(tool, machine, asked({ profile: other, audience }))
      return machine
    }
    const left = (machine: FakeMachine): string[] =>
      [...machine.files.keys()].map(path => path.slice(configs.length + 1))
    for (const [given, want] of [
      [{}, []],
      [{ profile: corp }, ['tokctl-other.json']],
      [{ as: 'second' }, ['tokctl-corp.json', 'tokctl-other.json']],
    ] as const) {
      const machine = await make()
      await setUp(tool, machine, asked({ ...given, remove: true }))
      expect(left(machine)).toEqual(['tokctl-foreign.json', ...want])
    }
  })

  test('gcp: a launcher, written where a path wants quotes, goes with the last file that starts it', async () => {
    const tool = await tools['gcp']!()
    const ask = asked({ profile: corp, audience })
    const given = { program: ['/opt/tokctl', '--config', '/my config.toml'] }
    const machine = fakeMachine(given)
    const path = `${launchers}/tokctl-gcp-corp`
    const names = (): string[] => [...machine.files.keys()].map(each => each.slice(each.lastIndexOf('/') + 1))
    await setUp(tool, machine, ask)
    expect(machine.files.get(path)).toBe(
      `#!/bin/sh\n# written by tokctl setup\nexec /opt/tokctl --config '/my config.toml' helper gcp corp "$@"\n`,
    )
    const written = JSON.parse(machine.files.get(`${configs}/tokctl-corp.json`)!)
    expect(written.credential_source.executable.command).toBe(path)
    expect((await tool.plan(ask, machine)).changes).toEqual([])
    await setUp(tool, machine, { ...ask, as: 'second' })
    await setUp(tool, machine, asked({ remove: true, as: 'second' }))
    expect(names()).toEqual(['tokctl-gcp-corp', 'tokctl-corp.json'])
    // As it is found again without that path.
    const plain = { ...machine, program: ['/opt/tokctl'] }
    await setUp(tool, plain, ask)
    expect(names()).toEqual(['tokctl-corp.json'])
    await setUp(tool, machine, ask)
    await setUp(tool, machine, asked({ remove: true, profile: corp }))
    expect(names()).toEqual([])
    const blank = fakeMachine({ ...given, launchers: '/my state/launchers' })
    await expect(tool.plan(ask, blank)).rejects.toMatchObject({
      code: 'usage',
      message: 'gcp cannot be given the path "/my state/launchers/tokctl-gcp-corp"',
      hint: 'set TOKCTL_STATE_DIR to a path without blanks and quotes',
    })
  })

  test('aws: a section that was there stays, one that is empty then goes, and so does that of a name alone', async () => {
    const tool = await tools['aws']!()
    const file = `${home}/.aws/config`
    const before = '[profile keys]\n[default]\nregion = x\n'
    const machine = fakeMachine({ files: { [file]: before, [`${file}.tokctl-backup`]: before } })
    await setUp(tool, machine, asked({ profile: keys }))
    await setUp(tool, machine, asked({ profile: keys, as: 'second' }))
    machine.files.set(file, `${machine.files.get(file)}[profile late]\nregion = y\n`)
    await setUp(tool, machine, asked({ remove: true, as: 'second' }))
    expect(machine.files.get(file)).toMatch(/^\[profile keys\]\ncredential_process = .*\n\[default\]\n/)
    expect(machine.files.get(file)).not.toContain('second')
    await setUp(tool, machine, asked({ remove: true }))
    expect(machine.files.get(file)).toBe(`${before}[profile late]\nregion = y\n`)
  })

  test.each([
    ['before', 'credentials_helper "tokctl" {}\n', ''],
    ['since', '# mine\n', 'credentials_helper "tokctl" {\n  args = []\n}\n'],
    ['before, in JSON', '{"credentials_helper": {"tokctl": {}}}', ''],
    ['before, in a list', '{"credentials_helper": [{"tokctl": {"args": ["x"]}}]}', ''],
  ])('terraform: a block that a person wrote %s stays, with what it starts', async (_, before, since) => {
    const tool = await tools['terraform']!()
    const file = `${home}/.terraformrc`
    const machine = fakeMachine({ files: { [file]: before } })
    await setUp(tool, machine, asked())
    machine.files.set(file, machine.files.get(file) + since)
    await setUp(tool, machine, asked({ remove: true }))
    expect(machine.files.get(file)).toBe(before + since)
    expect([...machine.files.keys()]).toContain(`${home}/.terraform.d/plugins/terraform-credentials-tokctl`)
  })

  test('terraform: a member of JSON that a person gave arguments since stays, with what it starts', async () => {
    const tool = await tools['terraform']!()
    const file = `${home}/.terraformrc`
    const machine = fakeMachine({ files: { [file]: '{"a": 1}' } })
    const { changes, next } = await tool.plan(asked(), machine)
    expect(changes.map(change => 'says' in change && change.says.at(-1))).toContain(
      '+ "credentials_helper": {"tokctl": {}}',
    )
    expect(next).toEqual([expect.stringMatching(/^for a host that no profile matches set TF_TOKEN_…/)])
    machine.apply({ changes })
    const text = machine.files.get(file)!.replace('{}', '{"args": []}')
    machine.files.set(file, text)
    await setUp(tool, machine, asked({ remove: true }))
    expect(machine.files.get(file)).toBe(text)
    expect(machine.files.size).toBe(2)
  })

  test('kubectl: what is kept of several files is the one that it writes', async () => {
    const tool = await tools['kubectl']!()
    const view = (name: string): string => JSON.stringify({ users: [{ name }] })
    const machine = fakeMachine({
      files: { '/b': '', '/c': '' },
      env: { PATH: '/usr/bin', KUBECONFIG: '/a::/b:/c' },
      programs: ['/usr/bin/kubectl'],
      says: command => ({ stdout: command.includes('/c') ? view('corp') : view('other') }),
    })
    for (const [as, file] of [
      ['corp', '/c'],
      ['new', '/b'],
    ] as const) {
      const { changes } = await tool.plan(asked({ profile: corp, as }), machine)
      expect(changes).toMatchObject([{ rewrites: [file] }])
    }
  })
})

test('docker names no part of a registry, so a profile that matches a part alone is never asked there', async () => {
  const part = asked({ profiles: [matching('part', 'https://reg.example.com/team')] })
  await expect((await tools['docker']!()).plan(part, fakeMachine())).rejects.toMatchObject({
    code: 'usage',
    message: 'no profile matches a whole registry, and docker names no part of one',
  })
})

test('git: of a server that one profile matches whole there is one helper, which is told the path where that decides', async () => {
  const tool = await tools['git']!()
  const sections = async (...match: string[]): Promise<string[]> => {
    const lines = await setUp(tool, fakeMachine(), asked({ profiles: [matching('r', ...match)] }))
    return lines.flatMap(line => /credential\.(\S+)\.(?:useHttpPath|helper '!)/.exec(line)?.[0] ?? [])
  }
  expect(await sections('https://r.example', 'https://r.example/a')).toEqual([
    "credential.https://r.example.helper '!",
    'credential.https://r.example.useHttpPath',
  ])
  expect(await sections('https://r.example/a', 'https://r.example/b')).toEqual(
    ['a', 'b'].flatMap(path => [
      `credential.https://r.example/${path}.helper '!`,
      `credential.https://r.example/${path}.useHttpPath`,
    ]),
  )
  expect(await sections('r.example')).toEqual(["credential.https://r.example.helper '!"])
})
