import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ahead, type Corp, corp } from '../support/corp.ts'
import {
  program,
  programFile,
  type RunOptions,
  type RunResult,
  run,
  type Scratch,
  scratch,
  start,
} from '../support/run.ts'

// `tokctl setup` as a person runs it, against files, and against git itself.

const matching = 'match = ["https://git.example.com/team", "https://reg.example.com"]'
/** The command that is written: the state directory of this home goes along. */
const own = (at: Scratch): string => `/usr/bin/env TOKCTL_STATE_DIR=${at.stateDir} ${ownWords}`
const ownWords = program.join(' ')

interface Home extends Corp {
  readonly file: (name: string) => string
  setup(...args: string[]): Promise<RunResult>
}

/** A home whose `~/.local/bin` comes first on PATH. */
async function home(extra = matching, env: RunOptions['env'] = {}): Promise<Home> {
  const made = await corp(extra)
  const { at } = made
  const PATH = `${join(at.home, '.local', 'bin')}:${process.env['PATH']}`
  const options = { ...made.options, at, env: { ...made.options.env, PATH, ...env } }
  return {
    ...made,
    options,
    file: name => readFileSync(join(at.home, name), 'utf8'),
    setup: (...args) => run(['setup', ...args], options),
  }
}

const inHome = (at: Scratch): string[] =>
  readdirSync(at.home, { recursive: true, withFileTypes: true })
    .filter(entry => !entry.isDirectory())
    .map(entry => join(entry.parentPath, entry.name).slice(at.home.length + 1))
    .filter(name => !name.startsWith('.config/tokctl/'))
    .sort()

test('--print shows what would be changed, and changes nothing', async () => {
  const { at, setup, auth } = await home()
  const { code, stdout, stderr } = await setup('docker', '--print')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toBe(
    `new ~/.local/bin/docker-credential-tokctl\n  + #!/bin/sh\n  + # written by tokctl setup\n  + exec ${own(at)} helper docker "$@"\nnew ~/.docker/config.json\n  + credHelpers: "reg.example.com": "tokctl"\n`,
  )
  expect(inHome(at)).toEqual([])
  expect(auth.count()).toBe(0)
})

test('what was written is printed, twice changes nothing, and --remove restores the file and its mode', async () => {
  const { at, setup, file } = await home()
  const before = '{\n  "auths": {\n    "x": { "auth": "Y2FuYXJ5" }\n  }\n}'
  at.write('home/.docker/config.json', before, 0o640)
  const done = await setup('docker')
  expect(done).toMatchObject({ code: 0, stderr: '' })
  expect(done.stdout).toContain('  backup: ~/.docker/config.json.tokctl-backup\n')
  expect(done.stdout).not.toContain('Y2FuYXJ5')
  expect(JSON.parse(file('.docker/config.json'))).toEqual({
    ...JSON.parse(before),
    credHelpers: { 'reg.example.com': 'tokctl' },
  })
  expect(file('.docker/config.json.tokctl-backup')).toBe(before)
  for (const name of ['config.json', 'config.json.tokctl-backup']) {
    expect(statSync(join(at.home, '.docker', name)).mode & 0o777).toBe(0o640)
  }
  expect(await setup('docker')).toMatchObject({
    code: 0,
    stdout: 'nothing to change: docker asks tokctl\n',
    stderr: '',
  })
  const undone = await setup('docker', '--remove')
  expect(undone.stdout).toBe(
    'remove ~/.local/bin/docker-credential-tokctl\n~/.docker/config.json\n  - credHelpers: "reg.example.com": "tokctl"\n',
  )
  expect(inHome(at)).toEqual(['.docker/config.json'])
  expect(file('.docker/config.json')).toBe(before)
  expect(statSync(join(at.home, '.docker/config.json')).mode & 0o777).toBe(0o640)
  expect((await setup('docker', '--remove')).stdout).toBe('nothing to change: docker does not ask tokctl\n')
})

describe('a launcher', () => {
  test('knows its words, is its owner’s alone, and answers', async () => {
    const { at, setup, options } = await home()
    expect(await setup('bazel')).toMatchObject({ code: 0, stderr: '' })
    const launcher = join(at.stateDir, 'launchers', 'tokctl-bazel')
    expect(statSync(launcher).mode & 0o777).toBe(0o700)
    expect(statSync(join(at.stateDir, 'launchers')).mode & 0o777).toBe(0o700)
    const input = '{"uri":"https://reg.example.com/x"}'
    const answer = await run(['get'], { ...options, program: [launcher], input })
    expect(answer).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(answer.stdout)).toMatchObject({ headers: { Authorization: ['Bearer token-1'] } })
    await setup('bazel', '--remove')
    expect(existsSync(launcher)).toBe(false)
    expect(inHome(at)).toEqual([])
  })

  test('of pnpm is one for each profile, and takes no argument', async () => {
    const { at, setup, options } = await home()
    await setup('pnpm', 'corp')
    const launcher = join(at.stateDir, 'launchers', 'tokctl-pnpm-corp')
    expect(readFileSync(join(at.home, '.npmrc'), 'utf8')).toBe(
      `//git.example.com/team/:tokenHelper=${launcher}\n//reg.example.com/:tokenHelper=${launcher}\n`,
    )
    expect(await run([], { ...options, program: [launcher] })).toMatchObject({
      code: 0,
      stdout: 'Bearer token-1\n',
      stderr: '',
    })
  })

  test('of vault and of bao answers get with the token alone, each for the server that this program goes to', async () => {
    const { setup, options, file } = await home()
    const addresses = { VAULT_ADDR: 'https://reg.example.com', BAO_ADDR: 'https://other.example.com' }
    for (const [tool, answer] of [
      ['vault', 'token-1'],
      ['bao', ''],
    ] as const) {
      expect((await setup(tool)).stdout).toContain(`never by -address`)
      const [, launcher = ''] = /"(.*)"/.exec(file(`.${tool}`))!
      const env = { ...options.env, ...addresses }
      const told = await run(['get'], { ...options, env, program: [launcher] })
      expect(told).toMatchObject({ code: 0, stdout: answer, stderr: '' })
    }
  })

  test('of keyring asks the keyring that was there where we have no answer', async () => {
    const { at, setup, options } = await home()
    const real = at.write('real/keyring', '#!/bin/sh\necho "real $*"\n', 0o755)
    const PATH = `${join(at.home, '.local', 'bin')}:${join(real, '..')}:${process.env['PATH']}`
    const with2 = { ...options, env: { ...options.env, PATH } }
    expect(await run(['setup', 'pip'], with2)).toMatchObject({ code: 0 })
    const keyring = { ...with2, program: [join(at.home, '.local', 'bin', 'keyring')] }
    expect((await run(['get', 'https://reg.example.com/simple/', 'u'], keyring)).stdout).toBe('token-1\n')
    expect(await run(['get', 'https://other.example.com/', 'u'], keyring)).toMatchObject({
      code: 0,
      stdout: 'real get https://other.example.com/ u\n',
      stderr: '',
    })
    expect((await run(['set', 'a', 'b'], keyring)).stdout).toBe('real set a b\n')
    expect((await setup('pip', '--remove')).code).toBe(0)
  })

  test('carries the configuration and the state that were meant, so that it answers in any environment', async () => {
    const { at, options } = await home()
    const config = at.write('other.toml', readFileSync(at.configFile, 'utf8'))
    at.writeConfig('')
    const launcher = join(at.stateDir, 'launchers', 'tokctl-bazel')
    const want = `exec ${own(at)} --config ${config} helper bazel "$@"\n`
    // Both relative to where the command was typed.
    const env = { ...options.env, TOKCTL_CONFIG: 'other.toml', TOKCTL_STATE_DIR: 'state' }
    await run(['setup', 'bazel'], { ...options, env, cwd: at.path })
    expect(readFileSync(launcher, 'utf8')).toContain(want)
    expect(await run(['setup', 'bazel', '--config', config], options)).toMatchObject({
      stdout: 'nothing to change: bazel asks tokctl\n',
    })
    const bare = { CORP_SECRET: 'x', PATH: '/nowhere', TOKCTL_STATE_DIR: undefined, HOME: '/nowhere' }
    const input = '{"uri":"https://reg.example.com/x"}'
    const answer = await run(['get'], { ...options, env: bare, cwd: '/', program: [launcher], input })
    expect(answer).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Bearer token-1') })
  })

  test('is not written where the tool would read its path as something else', async () => {
    const { at, setup, options } = await home()
    const env = { ...options.env, TOKCTL_STATE_DIR: join(at.path, 'my state') }
    for (const words of [['cargo'], ['vault'], ['pnpm', 'corp']]) {
      const { code, stdout, stderr } = await run(['setup', ...words], { ...options, env })
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toContain(`${words[0]} cannot be given the path "${at.path}/my state/launchers/tokctl-`)
      expect(stderr).toContain('hint: set TOKCTL_STATE_DIR to a path without blanks and quotes\n')
    }
    expect(inHome(at)).toEqual([])
    expect((await setup('cargo', '--remove')).code).toBe(0)
    // Bazel knows quotes.
    await run(['setup', 'bazel'], { ...options, env })
    expect(readFileSync(join(at.home, '.bazelrc'), 'utf8')).toContain(
      `common "--credential_helper=reg.example.com=${at.path}/my state/launchers/tokctl-bazel"\n`,
    )
    await run(['setup', 'bazel', '--remove'], { ...options, env })
    expect(inHome(at)).toEqual([])
  })
})

test('--remove: a block that a person wrote stays, and is not said to be gone', async () => {
  const { at, setup, file } = await home()
  const text = '{"credentials_helper": {"tokctl": {}}}'
  const path = at.write('home/.terraformrc', text)
  const stays = `credentials_helper "tokctl" was not written by setup; take it out of ${path}, then run this again`
  expect(await setup('terraform', '--remove')).toMatchObject({
    code: 0,
    stdout: `nothing to change: ${stays}\n`,
    stderr: '',
  })
  expect(file('.terraformrc')).toBe(text)
})

describe('files of a bad shape', () => {
  const refused = async (made: Home, message: string): Promise<void> => {
    const file = join(made.at.home, '.bazelrc')
    const { code, stdout, stderr } = await made.setup('bazel')
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toContain(`tokctl: error: "${file}" ${message}\n`)
    expect(existsSync(join(made.at.stateDir, 'launchers'))).toBe(false)
  }

  test('a dotfile that is a link stays one: what it leads to is changed, and restored', async () => {
    const made = await home()
    const real = made.at.write('dotfiles/bazelrc', 'build --jobs=4\n')
    const link = join(made.at.home, '.bazelrc')
    symlinkSync(real, link)
    await made.setup('bazel')
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toMatch(/^build --jobs=4\ncommon --credential_helper=/)
    await made.setup('bazel', '--remove')
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toBe('build --jobs=4\n')
  })

  test('a link to nowhere', async () => {
    const made = await home()
    symlinkSync(join(made.at.path, 'nowhere'), join(made.at.home, '.bazelrc'))
    await refused(made, 'is a link to a file that is not there')
  })

  test('a directory', async () => {
    const made = await home()
    mkdirSync(join(made.at.home, '.bazelrc'))
    await refused(made, 'is no file')
  })

  test('a file that is read-only', async () => {
    const made = await home()
    made.at.write('home/.bazelrc', '# mine\n', 0o444)
    await refused(made, 'is read-only')
    expect(made.file('.bazelrc')).toBe('# mine\n')
    expect(statSync(join(made.at.home, '.bazelrc')).mode & 0o777).toBe(0o444)
  })

  test('bytes that are no text', async () => {
    const made = await home()
    writeFileSync(join(made.at.home, '.bazelrc'), Buffer.from([0x23, 0xff, 0x0a]))
    await refused(made, 'is not UTF-8, and is left as it is')
    expect(readFileSync(join(made.at.home, '.bazelrc'))).toEqual(Buffer.from([0x23, 0xff, 0x0a]))
  })

  test('JSON that is none is left as it is', async () => {
    const { at, setup, file } = await home()
    at.write('home/.docker/config.json', '{ "auths": ')
    const { code, stderr } = await setup('docker')
    expect(code).toBe(3)
    expect(stderr).toMatch(
      /^tokctl: error: .*config\.json: is not JSON\ntokctl: hint: mend it, then run this again\n$/,
    )
    expect(file('.docker/config.json')).toBe('{ "auths": ')
  })
})

test('Ctrl-C while a tool rewrites its own file leaves it as it was', async () => {
  const { at, options, file } = await home()
  const before = '# mine\nusers: []\n'
  at.write('home/.kube/config', before)
  const kubectl = at.write(
    'slow/kubectl',
    `#!/bin/sh
case "$*" in
  *view*) echo '{"users":null}' ;;
  *--help*) ;;
  *) echo half > "$HOME/.kube/config"; echo at work >> "$HOME/sign"; exec sleep 600 ;;
esac
`,
    0o755,
  )
  const sign = join(at.home, 'sign')
  execFileSync('mkfifo', [sign])
  const env = { ...options.env, PATH: `${join(kubectl, '..')}:${options.env!['PATH']}` }
  const setup = start(['setup', 'kubectl', 'corp'], { ...options, env })
  // Opens when the other end does.
  await readFile(sign)
  setup.kill('SIGINT')
  expect(await setup.done).toMatchObject({ code: 130, stdout: '' })
  expect(file('.kube/config')).toBe(before)
  expect(inHome(at).filter(name => name.startsWith('.kube'))).toEqual(['.kube/config'])
})

test('several setups at once on one file lose nothing, and each says what it did', async () => {
  const { at, options } = await home()
  const names = ['a', 'b', 'c', 'd']
  const profile = (name: string): string =>
    `[profile.${name}]\nsource = "static"\ntoken = { env = "T" }\nmatch = ["https://${name}.example.com"]\n`
  at.writeConfig(names.map(profile).join(''))
  const all = await Promise.all(
    names.flatMap(name => ['pnpm', 'git'].map(tool => run(['setup', tool, name], options))),
  )
  for (const one of all) expect(one).toMatchObject({ code: 0, stderr: '' })
  const rc = readFileSync(join(at.home, '.npmrc'), 'utf8')
  const config = readFileSync(join(at.home, '.gitconfig'), 'utf8')
  for (const name of names) {
    expect(rc).toContain(`//${name}.example.com/:tokenHelper=${at.stateDir}/launchers/tokctl-pnpm-${name}\n`)
    expect(
      config.split(`[credential "https://${name}.example.com"]\n\thelper = \n\thelper = !`),
    ).toHaveLength(2)
  }
  await Promise.all(names.map(name => run(['setup', 'pnpm', name, '--remove'], options)))
  expect(existsSync(join(at.home, '.npmrc'))).toBe(false)
})

describe('git', () => {
  const fill = (options: RunOptions, url = 'https://git.example.com/team/repo.git'): Promise<RunResult> => {
    const { protocol, host, pathname } = new URL(url)
    return run(['credential', 'fill'], {
      ...options,
      env: { ...options.env, GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: 'true' },
      program: ['git'],
      input: `protocol=${protocol.slice(0, -1)}\nhost=${host}\npath=${pathname.slice(1)}\n`,
    })
  }

  test('git itself gets the token afterwards, and comments, other helpers and other servers stay', async () => {
    const { at, setup, options, file } = await home()
    const before = '# mine\n[credential]\n\thelper = store\n[user]\n\tname = Ada # me\n'
    at.write('home/.gitconfig', before)
    const done = await setup('git')
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect(done.stdout).toContain(
      `~/.gitconfig\n  $ git config --global --add credential.https://git.example.com/team.helper ''\n  $ git config --global --add credential.https://git.example.com/team.helper '!${own(at)} helper git'\n`,
    )
    expect(file('.gitconfig').startsWith(before)).toBe(true)
    expect((await fill(options)).stdout).toContain('password=token-1\n')
    expect((await setup('git')).stdout).toBe('nothing to change: git asks tokctl\n')
    // The helper that stores is told of every other place, another part of the same server included, and not of ours.
    const approve = async (path: string): Promise<void> => {
      const input = `protocol=https\nhost=git.example.com\npath=${path}\nusername=u\npassword=p\n`
      await run(['credential', 'approve'], { ...options, program: ['git'], input })
    }
    await approve('team/repo.git')
    expect(existsSync(join(at.home, '.git-credentials'))).toBe(false)
    await approve('other/repo.git')
    expect((await fill(options, 'https://git.example.com/other/x.git')).stdout).toContain('password=p\n')
    await setup('git', '--remove')
    expect(file('.gitconfig')).toBe(before)
    expect((await fill(options)).stdout).not.toContain('token-1')
  })

  test('another file is respected, and one that git cannot read is told', async () => {
    const { at, options } = await home()
    const file = at.write('g', '[broken\n')
    const env = { ...options.env, GIT_CONFIG_GLOBAL: file }
    const broken = await run(['setup', 'git'], { ...options, env })
    expect(broken).toMatchObject({ code: 3, stdout: '' })
    expect(broken.stderr).toMatch(/^tokctl: error: git cannot read its configuration: .*bad config/)
    writeFileSync(file, '')
    expect(await run(['setup', 'git'], { ...options, env })).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(file, 'utf8')).toContain('[credential "https://git.example.com/team"]')
  })

  test('a file that is read-only, or that git would leave half done, is left as it is', async () => {
    const { at, setup, file, options } = await home()
    const before = '[user]\n\tname = Ada\n'
    const path = at.write('home/.gitconfig', before, 0o444)
    expect(await setup('git')).toMatchObject({
      code: 3,
      stdout: '',
      stderr: `tokctl: error: "${path}" is read-only\ntokctl: hint: run: chmod u+w ${path}\n`,
    })
    at.write('home/.gitconfig', before)
    // A git whose third step fails.
    const git = at.write(
      'broken/git',
      `#!/bin/sh\ncase "$*" in *useHttpPath*) echo "error: no space" >&2; exit 4; esac\nexec /usr/bin/git "$@"\n`,
      0o755,
    )
    const env = { ...options.env, PATH: `${join(git, '..')}:${options.env!['PATH']}` }
    expect(await run(['setup', 'git'], { ...options, env })).toMatchObject({
      code: 6,
      stdout: '',
      stderr: 'tokctl: error: "git config --file" failed: error: no space\n',
    })
    expect(file('.gitconfig')).toBe(before)
    expect(inHome(at)).toEqual(['.gitconfig'])
  })

  test('what was there before stays when ours is taken back, however much was edited in between', async () => {
    const { at, setup, file, options } = await home()
    const before = `[credential "https://git.example.com/team"]
\thelper =
\tuseHttpPath = true
[credential "https://reg.example.com"]
\tusername = ada
`
    at.write('home/.gitconfig', before)
    await setup('git')
    // Somebody else writes into it, and sets by hand what setup did not.
    const edit = (...args: string[]) => run(['config', '--global', ...args], { ...options, program: ['git'] })
    await edit('user.name', 'Ada')
    await edit('credential.https://reg.example.com.useHttpPath', 'true')
    expect((await setup('git')).stdout).toBe('nothing to change: git asks tokctl\n')
    await setup('git', '--remove')
    expect(file('.gitconfig')).toBe(`${before}\tuseHttpPath = true\n[user]\n\tname = Ada\n`)
    expect((await setup('git', '--remove')).stdout).toBe('nothing to change: git does not ask tokctl\n')
  })

  test('what stands in its way is named, and how to take it out', async () => {
    const { at, setup } = await home()
    at.write('home/.gitconfig', '[credential]\n\thelper = store\n')
    expect(await setup('git', '--store')).toMatchObject({
      code: 3,
      stderr:
        'tokctl: error: git: credential.helper is "store" already\n' +
        'tokctl: hint: run: git config --global --unset-all credential.helper\n',
    })
  })

  test('a helper that stores is found where it is included too', async () => {
    const { at, setup, file } = await home()
    at.write('home/more', '[credential]\n\thelper = store\n')
    const before = '[credential "https://reg.example.com"]\n\tusername = ada\n[include]\n\tpath = more\n'
    at.write('home/.gitconfig', before)
    const { code, stderr } = await setup('git')
    expect(code).toBe(3)
    expect(stderr).toContain('git: credential.helper, which is "store", would be told the token for')
    expect(file('.gitconfig')).toBe(before)
    // Above ours it is told of other places alone.
    at.write('home/.gitconfig', '[include]\n\tpath = more\n[credential "https://reg.example.com"]\n')
    expect(await setup('git')).toMatchObject({ code: 0, stderr: '' })
  })

  test('--list does not take somebody else’s password for an answer of ours', async () => {
    const { at, setup, options } = await home('match = ["https://git.example.com"]')
    await setup('git')
    const path = join(at.home, '.gitconfig')
    // Ours is gone from where it was, and another one answers.
    const gone = readFileSync(path, 'utf8').replace(programFile(), '/gone/tokctl.js')
    const other = '\thelper = "!f() { test $1 = get && echo username=u && echo password=other; }; f"\n'
    writeFileSync(path, gone + other)
    const { stdout } = await run(['setup', '--list', 'git', '--json'], options)
    expect(JSON.parse(stdout).tools[0]).toMatchObject({ configured: true, works: false, problem: null })
  })

  test('--list asks git, and says of a helper that fails that it does not work', async () => {
    const { at, setup, options, auth } = await home()
    const row = async (more: RunOptions = options): Promise<unknown> =>
      JSON.parse((await run(['setup', '--list', 'git', '--json'], more)).stdout).tools[0]
    const want = { tool: 'git', installed: true, configured: false, works: null, asked: null, problem: null }
    expect(await row()).toEqual(want)
    await setup('git')
    expect(await row()).toEqual({ ...want, configured: true, works: true, asked: 'tool' })
    expect((await setup('--list', 'git')).stdout).toBe(
      'TOOL  INSTALLED  SET UP  WORKS  ASKED\ngit   yes        yes     yes    the tool\n',
    )
    auth.unavailable()
    const later = { ...options, env: { ...options.env, ...ahead('+2h') } }
    const fails = { ...want, configured: true, works: false, asked: 'tool' }
    expect(await row(later)).toEqual({ ...fails, problem: expect.stringContaining('answered 503') })
    writeFileSync(at.configFile, `${readFileSync(at.configFile, 'utf8')}colour = "red"\n`)
    const problem = expect.stringContaining('profile.corp.colour: unknown key')
    expect(await row()).toMatchObject({ configured: true, problem })
  })
})

describe('--list, of tools that can only be asked with a server,', () => {
  // What they say of themselves; all else is their configuration.
  const stubs: Record<string, string> = {
    go: 'sed -n s/^GOAUTH=//p "$HOME/.config/go/env"',
    ...Object.fromEntries(
      'docker gcloud bazel cargo terraform tofu pip uv pnpm'.split(' ').map(name => [name, '']),
    ),
  }
  const names = Object.keys(stubs).map(name => (name === 'gcloud' ? 'gcp' : name))
  const url = 'https://reg.example.com'

  async function setUpAll(): Promise<Home & { rows(): Promise<Record<string, unknown>> }> {
    const made = await home(`match = ["${url}"]`)
    const { at } = made
    for (const [name, text] of Object.entries(stubs)) at.write(`tools/${name}`, `#!/bin/sh\n${text}\n`, 0o700)
    const PATH = `${join(at.home, '.local', 'bin')}:${join(at.path, 'tools')}:/usr/bin:/bin`
    const options = { ...made.options, env: { ...made.options.env, PATH } }
    const setup = (...args: string[]) => run(['setup', ...args], options)
    const more: Record<string, string[]> = {
      gcp: ['corp', '--audience', '//iam.googleapis.com/x'],
      pnpm: ['corp'],
    }
    for (const name of names) {
      expect(await setup(name, ...(more[name] ?? [])), name).toMatchObject({ code: 0, stderr: '' })
    }
    const rows = async (): Promise<Record<string, unknown>> => {
      const { code, stdout, stderr } = await setup('--list', '--json')
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).not.toContain('token-1')
      const found = (JSON.parse(stdout) as { tools: Record<string, unknown>[] }).tools
      return Object.fromEntries(
        found
          .filter(({ tool }) => names.includes(`${tool}`))
          .map(({ tool, configured, works, asked, problem }) => [
            tool,
            { configured, works, asked, problem },
          ]),
      )
    }
    return { ...made, setup, options, rows }
  }

  const each = (row: unknown): Record<string, unknown> => Object.fromEntries(names.map(name => [name, row]))

  test('asks the command that their configuration has, and believes none but our answer', async () => {
    const { at, rows, setup, auth } = await setUpAll()
    const good = { configured: true, works: true, asked: 'command', problem: null }
    expect(await rows()).toEqual(each(good))
    expect(auth.count()).toBe(1)
    expect((await setup('--list', 'bazel')).stdout).toBe(
      'TOOL   INSTALLED  SET UP  WORKS  ASKED\nbazel  yes        yes     yes    its command\n',
    )

    // The launchers are somebody else's now, and what is named by its path is gone.
    const other = '#!/bin/sh\n# written by tokctl setup\ncat >/dev/null\necho "{\\"token\\":\\"other\\"}"\n'
    const launchers = [join(at.stateDir, 'launchers'), join(at.home, '.local', 'bin')]
    const plugins = join(at.home, '.terraform.d', 'plugins')
    for (const directory of [...launchers, plugins]) {
      for (const name of readdirSync(directory)) writeFileSync(join(directory, name), other)
    }
    for (const name of ['.config/go/env', '.config/gcloud/tokctl-corp.json']) {
      const path = join(at.home, name)
      writeFileSync(path, readFileSync(path, 'utf8').replace(programFile(), '/gone/tokctl'))
    }
    expect(await rows()).toEqual(each({ ...good, works: false }))

    for (const name of readdirSync(launchers[0]!)) rmSync(join(launchers[0]!, name))
    const { stdout } = await setup('--list', 'bazel', '--json')
    expect(JSON.parse(stdout).tools[0]).toMatchObject({
      configured: true,
      works: false,
      problem: expect.stringContaining('tokctl-bazel'),
    })
  })
})

test('--list knows every tool, on a machine without any and without a configuration', async () => {
  const at = scratch()
  const { code, stdout, stderr } = await run(['setup', '--list', '--json'], { at, env: { PATH: '/nowhere' } })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const { tools } = JSON.parse(stdout) as { tools: Record<string, unknown>[] }
  expect(tools.map(({ tool }) => tool)).toEqual(
    'git docker kubectl aws gcp bazel cargo terraform tofu go pip uv pnpm vault bao'.split(' '),
  )
  for (const tool of tools) {
    expect(tool).toMatchObject({ installed: false, configured: false, works: null, problem: null })
  }
})

test('a wrong command line is exit 2 and says what is right', async () => {
  const { setup } = await home()
  for (const [args, message] of [
    [[], 'setup: no tool was named'],
    [['gti'], 'setup: "gti" is no tool that can be set up; did you mean "git"?'],
    [['kubectl'], 'setup kubectl: the configuration of kubectl names one profile'],
    [['aws', 'corp', '--as', '-x'], '--as: "-x" is not a name'],
  ] as const) {
    const { code, stdout, stderr } = await setup(...args)
    expect({ code, stdout }, stderr).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(`tokctl: error: ${message}\n`)
  }
  expect(await setup('git', 'crop')).toMatchObject({ code: 3, stdout: '' })
})

test('a profile of a project is not written into a configuration that holds everywhere', async () => {
  const { at, options } = await home('')
  const project = join(at.path, 'shop')
  at.write(
    'shop/.tokctl.toml',
    '[profile.dev]\nsource = "command"\ncommand = ["true"]\nmatch = ["https://shop.example.com"]\n',
  )
  const there = { ...options, cwd: project }
  expect((await run(['trust', '--yes'], there)).code).toBe(0)
  expect(await run(['setup', 'git', 'dev'], there)).toMatchObject({
    code: 2,
    stdout: '',
    stderr:
      'tokctl: error: profile "dev" belongs to a project, and tools ask from anywhere\ntokctl: hint: write it into your own configuration\n',
  })
  expect(await run(['setup', 'git'], there)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no profile matches any URL'),
  })
})
