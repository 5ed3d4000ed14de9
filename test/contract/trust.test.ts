import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { heldFiles } from '../../src/profile/held-files.ts'
import { isTrusted, projectProfiles, readProject, trust } from '../../src/profile/project.ts'
import { ahead, type Corp, clientProfile, corp } from '../support/corp.ts'
import {
  program,
  type RunOptions,
  type RunResult,
  run,
  type Started,
  start,
  straced,
} from '../support/run.ts'
import { scratchState } from '../support/state.ts'

const quoted = program.map(word => `'${word}'`).join(' ')

interface Shop extends Corp {
  /** The project's directory, a repository below the home. */
  readonly directory: string
  readonly file: string
  tokctl(args: string[], changes?: RunOptions): Promise<RunResult>
}

/** A home with the user's own `corp`, and a project whose file has `dev`. */
async function shop(extra = ''): Promise<Shop> {
  const made = await corp()
  const { at, auth, options } = made
  const directory = join(at.home, 'src', 'shop')
  const file = at.write('home/src/shop/.tokctl.toml', clientProfile('dev', `${auth.url}/dev`, extra), 0o644)
  mkdirSync(join(directory, '.git'))
  return {
    ...made,
    directory,
    file,
    tokctl: (args, changes = {}) => run(args, { ...options, cwd: directory, ...changes }),
  }
}

function inTerminal(command: string, options: RunOptions): Started {
  return start(['-qefc', command, '/dev/null'], { ...options, program: ['script'], keepInput: true })
}

async function shows(started: Started, pattern: RegExp): Promise<void> {
  while (!pattern.test(started.stdout)) {
    if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

const unknown = 'tokctl: error: unknown profile "dev"\n'

test('before it is trusted it has no effect: no profile, no URL, no request; only what is missing names it', async () => {
  const { tokctl, auth } = await shop('match = ["https://git.example.com"]')
  const missing = await tokctl(['get', 'dev'])
  expect(missing).toMatchObject({ code: 3, stdout: '' })
  expect(missing.stderr).toBe(
    `${unknown}tokctl: hint: if it stands in ~/src/shop/.tokctl.toml, which is not trusted, run: tokctl trust\n`,
  )
  const asked = await tokctl(['helper', 'git', 'get'], { input: 'protocol=https\nhost=git.example.com\n\n' })
  expect(asked.stdout).toBe('')
  expect((await tokctl(['profile', 'list'])).stdout).toMatch(/^corp .*\n$/)
  expect((await tokctl(['status', '--json'])).stdout).not.toContain('dev')
  expect(auth.count()).toBe(0)
  expect(await tokctl(['get', 'corp'])).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
})

test.each([
  ['trust', ['--yes'], 'fsync', 'ENOSPC', '(ENOSPC): the disk is full', 'make room'],
  ['untrust', [], 'unlink', 'EROFS', '(EROFS): it is on a disk that cannot be written', 'set TOKCTL'],
])(
  '%s on a disk that does not take it is exit 7, and no bug',
  async (command, words, call, code, message, hint) => {
    const { at, tokctl } = await shop()
    if (command === 'untrust') await tokctl(['trust', '--yes'])
    const inject = ['-e', `inject=${call}:error=${code}`]
    const strace = ['strace', '-f', '-qq', '-o', join(at.path, 'log'), '-e', `trace=${call}`, ...inject]
    const done = await tokctl([command, ...words], { program: [...strace, ...program] })
    expect(done).toMatchObject({ code: 7, stdout: '' })
    expect(done.stderr).toMatch(/^tokctl: error: (a file|file .*) cannot be written /m)
    expect(done.stderr).toContain(message)
    expect(done.stderr).toContain(`\ntokctl: hint: ${hint}`)
  },
)

test('once trusted it counts, from below its directory too; edited it does not, and its old bytes count again', async () => {
  const { tokctl, directory, file, auth } = await shop()
  expect(await tokctl(['trust', '--yes'])).toMatchObject({ code: 0, stdout: '' })
  const below = join(directory, 'deep', 'er')
  mkdirSync(below, { recursive: true })
  expect(await tokctl(['get', 'dev'], { cwd: below })).toMatchObject({
    code: 0,
    stdout: 'token-1\n',
    stderr: '',
  })
  expect(await tokctl(['exec', 'dev', '--', 'sh', '-c', 'echo "$TOKEN"'])).toMatchObject({
    code: 0,
    stdout: 'token-1\n',
    stderr: '',
  })
  const bytes = readFileSync(file)
  writeFileSync(file, `${bytes}# one letter more\n`)
  expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3, stdout: '' })
  expect(auth.count()).toBe(1)
  writeFileSync(file, bytes)
  expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 0, stdout: 'token-1\n' })
  expect(await tokctl(['untrust'])).toMatchObject({ code: 0, stdout: '', stderr: '' })
  expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3 })
  expect(await tokctl(['untrust'])).toMatchObject({ code: 0 })
})

test('trust is of a place: the same bytes elsewhere, trust record copied or not, are another file', async () => {
  const { tokctl, at, file } = await shop()
  await tokctl(['trust', '--yes'])
  const other = join(at.home, 'src', 'other')
  mkdirSync(other)
  copyFileSync(file, join(other, '.tokctl.toml'))
  expect(await tokctl(['get', 'dev'], { cwd: other })).toMatchObject({ code: 3 })
  const trust = join(at.stateDir, 'trust')
  const [record = ''] = readdirSync(trust)
  for (const name of ['other', 'shop'])
    copyFileSync(join(trust, record), join(trust, record.replace(/^shop/, name)))
  expect(await tokctl(['get', 'dev'], { cwd: other })).toMatchObject({ code: 3 })
  renameSync(join(at.home, 'src', 'shop'), join(at.home, 'src', 'moved'))
  expect(await tokctl(['get', 'dev'], { cwd: join(at.home, 'src', 'moved') })).toMatchObject({ code: 3 })
})

test('it is looked for up to the root of the repository, and neither in the home nor beside a named configuration', async () => {
  const { tokctl, at, file, directory } = await shop()
  await tokctl(['trust', '--yes'])
  const inner = join(directory, 'vendor')
  mkdirSync(join(inner, '.git'), { recursive: true })
  expect(await tokctl(['get', 'dev'], { cwd: inner })).toMatchObject({ code: 3 })
  expect(await tokctl(['get', 'dev', '--config', at.configFile])).toMatchObject({
    code: 3,
    stderr: `${unknown}tokctl: hint: run: tokctl --config ${at.configFile} profile list\n`,
  })
  copyFileSync(file, join(at.home, '.tokctl.toml'))
  const { code, stderr } = await tokctl(['trust', '--yes'], { cwd: at.home })
  expect(code).toBe(2)
  expect(stderr).toContain('no .tokctl.toml here')
})

test('without a configuration of one’s own a project works by itself', async () => {
  const { tokctl, at } = await shop()
  rmSync(at.configFile)
  expect(await tokctl(['get', 'dev'])).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('run: tokctl trust'),
  })
  await tokctl(['trust', '--yes'])
  expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  expect((await tokctl(['status'])).stdout).toMatch(/\ndev@shop-[0-9a-f]{12} /)
  expect(await tokctl(['profile', 'remove', 'dev'])).toMatchObject({
    code: 2,
    stderr:
      'tokctl: error: profile "dev" is not yours: it stands in ~/src/shop/.tokctl.toml, a project\'s file\ntokctl: hint: edit that file, or run: tokctl untrust\n',
  })
})

describe('nobody is asked', () => {
  test('headless is no, with exit 2 and what to run', async () => {
    const { tokctl } = await shop()
    const { code, stdout, stderr } = await tokctl(['trust'])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(
      'error: nobody is here to confirm it, so it is not trusted\ntokctl: hint: look at it, then run: tokctl trust --yes\n',
    )
    expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3 })
  })

  test.each([
    ['y\n', 0, 0],
    ['n\n', 1, 3],
    ['\n', 1, 3],
  ])('a terminal is asked: %j', async (typed, trusting, getting) => {
    const { tokctl, options, directory } = await shop()
    const asking = inTerminal(`exec ${quoted} trust`, { ...options, cwd: directory })
    await shows(asking, /trust this file, as it is now\? \[y\/N\] /)
    asking.child.stdin!.write(typed)
    expect((await asking.done).code).toBe(trusting)
    expect((await tokctl(['get', 'dev'])).code).toBe(getting)
  })

  test('with --no-input it is not, on a terminal either', async () => {
    const { options, directory } = await shop()
    const asking = inTerminal(`exec ${quoted} trust --no-input`, { ...options, cwd: directory })
    expect((await asking.done).code).toBe(2)
  })

  test('what is edited while the question stands is not what is trusted', async () => {
    const { tokctl, options, directory, file } = await shop()
    const asking = inTerminal(`exec ${quoted} trust`, { ...options, cwd: directory })
    await shows(asking, /\[y\/N\] /)
    writeFileSync(file, `${readFileSync(file)}# changed\n`)
    asking.child.stdin!.write('y\n')
    await asking.done
    expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3 })
  })
})

test('everything that the file would do is shown first: programs, variables, files, servers, authorities', async () => {
  const { tokctl, at, auth, file } = await shop()
  const long = `${'x'.repeat(300)}; rm -rf`
  writeFileSync(
    file,
    `[profile.build]
source = "command"
command = ["sh", "-c", "${long}\\u202e"]
[profile.dev]
source = "client_credentials"
token_endpoint = "${auth.url}/dev"
client_id = "c"
client_secret = { command = ["op", "read", "op://vault/item"] }
[profile.far]
source = "client_credentials"
issuer = "https://evil.example.com"
client_id = "c"
client_secret = { env = "AWS_SECRET_ACCESS_KEY" }
ca_file = "ca.pem"
match = ["https://api.example.com"]
[profile.key]
source = "jwt_bearer"
token_endpoint = "https://evil.example.com/token"
iss = "me"
private_key = { file = "${at.home}/.ssh/id_rsa" }
[profile.own]
source = "static"
token = { secret = "dev" }
`,
  )
  const { code, stderr } = await tokctl(['trust', '--yes'])
  expect(code).toBe(0)
  const id = /dev@(shop-[0-9a-f]{12})/.exec(stderr)?.[1]
  expect(stderr).toBe(`~/src/shop/.tokctl.toml:
  build (command)
    runs: sh -c "${long}\\u202e"
  dev (client_credentials)
    runs: op read op://vault/item
    sends to ${auth.url}/dev
  far (client_credentials)
    reads the variable AWS_SECRET_ACCESS_KEY
    sends to https://evil.example.com, which your own configuration does not name
    trusts the authorities of ~/src/shop/ca.pem
    its token goes to https://api.example.com
  key (jwt_bearer)
    reads the file ~/.ssh/id_rsa, outside the project
    sends to https://evil.example.com/token, which your own configuration does not name
  own (static)
    reads the secret dev@${id}, kept with: tokctl secret set dev@${id}
`)
  expect((await tokctl(['trust'])).stderr).toBe('~/src/shop/.tokctl.toml is trusted as it is\n')
})

test('a job’s identity, the end of a link, and an address that stands in a key file are shown too', async () => {
  const { at, tokctl } = await shop()
  at.write('home/.ssh/id_rsa', 'private')
  symlinkSync(join(at.home, '.ssh'), join(at.home, 'src', 'shop', 'keys'))
  at.write(
    'home/src/shop/.tokctl.toml',
    `[profile.job]
source = "ci"
provider = "kubernetes"
token_file = "/etc/passwd"
[profile.other]
source = "ci"
token_env = "CORP_SECRET"
[profile.link]
source = "static"
token = { file = "keys/id_rsa" }
[profile.robot]
source = "jwt_bearer"
key_file = "robot.json"
`,
    0o644,
  )
  const { stderr } = await tokctl(['trust', '--yes'])
  for (const line of [
    "takes the CI job's own identity token",
    'reads the file /etc/passwd, outside the project',
    'reads the variable CORP_SECRET',
    'reads the file ~/src/shop/keys/id_rsa, a link to ~/.ssh/id_rsa, outside the project',
    'sends to the token_uri that its key file names, whatever that says by then',
  ]) {
    expect(stderr).toContain(`    ${line}\n`)
  }
})

test('what it reads and runs of the project is held to what was shown: a link that is turned, or a script that is edited, ends the trust', async () => {
  const { at, tokctl, directory } = await shop()
  for (const name of ['one', 'two']) at.write(`home/keys/${name}`, `of-${name}`)
  const link = join(directory, 'key')
  const turn = (target: string): void => {
    rmSync(link, { force: true })
    symlinkSync(target, link)
  }
  turn(join(at.home, 'keys', 'one'))
  at.write('home/src/shop/own', 'first')
  const script = at.write('home/src/shop/token.sh', '#!/bin/sh\necho of-script\n', 0o755)
  at.write(
    'home/src/shop/.tokctl.toml',
    `[profile.link]
source = "static"
token = { file = "key" }
[profile.own]
source = "static"
token = { file = "own" }
[profile.run]
source = "command"
command = ["sh", "token.sh"]
default_ttl = "1s"
`,
  )
  expect((await tokctl(['trust', '--yes'])).stderr).toContain(
    'reads the file ~/src/shop/key, a link to ~/keys/one',
  )
  const get = async (name: string): Promise<unknown> => {
    const { code, stdout } = await tokctl(['get', name])
    return code === 0 ? stdout.trim() : code
  }
  expect(await get('link')).toBe('of-one')
  expect(await get('run')).toBe('of-script')
  // A secret of its own may be renewed; what it is used for stays what it was.
  at.write('home/src/shop/own', 'second')
  expect(await get('own')).toBe('second')

  turn(join(at.home, 'keys', 'two'))
  expect(await get('link')).toBe(3)
  turn(join(at.home, 'keys', 'one'))
  expect(await get('link')).toBe('of-one')
  writeFileSync(script, '#!/bin/sh\necho of-another\n')
  expect(await get('run')).toBe(3)
  expect(await tokctl(['trust', '--yes'])).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('runs: sh token.sh'),
  })
  // The first token may still be fresh. A script of that name elsewhere in the project was never shown.
  at.write('home/src/shop/deep/token.sh', 'echo of-the-deep\n')
  const forced = await tokctl(['get', 'run', '--force'], { cwd: join(directory, 'deep') })
  expect(forced).toMatchObject({ code: 0, stdout: 'of-another\n' })
})

test('a secret is found under whatever name a header or a field has, and is the project’s own', async () => {
  const { tokctl, file, auth } = await shop()
  writeFileSync(
    file,
    `[profile.dev]
source = "http"
url = "${auth.url}/dev"
method = "POST"
token_path = "access_token"
headers = { claims = { secret = "corp-client" } }
form = { params = { command = ["sh", "-c", "echo of-the-command"] }, members = { env = "HOME" } }
`,
  )
  const { stderr } = await tokctl(['trust', '--yes'])
  expect(stderr).toContain('reads the secret corp-client')
  expect(stderr).toContain('runs: sh -c')
  expect(stderr).toContain('reads the variable HOME')
  // The one that the user keeps under that name is the user's.
  const kept = await tokctl(['get', 'dev'])
  expect(kept.stderr).toMatch(/kept under the name "corp-client@\S+"/)
  expect(auth.count()).toBe(0)
})

test('what a project would make one believe is held too: its authorities and key files by their bytes, what is not there yet by its place', async () => {
  const { environment, stateDir, path: state } = scratchState()
  const directory = join(dirname(state), 'shop')
  mkdirSync(directory)
  const file = join(directory, '.tokctl.toml')
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text)
  write('ca.pem', 'one')
  write(
    '.tokctl.toml',
    '[profile.a]\nsource = "jwt_bearer"\nkey_file = "later.json"\nca_file = "ca.pem"\n[profile.b]\nsource = "static"\ntoken = { file = "later" }\n[profile.c]\nsource = "command"\ncommand = ["sh", "later.sh", "--key=later.key"]\n',
  )
  const source = readProject(file, environment)
  const held = await heldFiles(file, (await projectProfiles(source, environment)).values())
  await trust(source, held, stateDir, environment)
  const counts = (): Promise<boolean> => isTrusted(source, stateDir, environment)
  expect(await counts()).toBe(true)
  write('later', 'a secret')
  expect(await counts()).toBe(true)
  rmSync(join(directory, 'later'))
  symlinkSync('/etc/passwd', join(directory, 'later'))
  expect(await counts()).toBe(false)
  rmSync(join(directory, 'later'))
  write('ca.pem', 'two')
  expect(await counts()).toBe(false)
  write('ca.pem', 'one')
  expect(await counts()).toBe(true)
  for (const name of ['later.json', 'later.sh', 'later.key']) {
    write(name, '{}')
    expect(await counts(), name).toBe(false)
    rmSync(join(directory, name))
    expect(await counts(), name).toBe(true)
  }
  // What is the user's own, elsewhere, is no project's to turn.
  const outside = await heldFiles(file, [
    {
      ...(await projectProfiles(source, environment)).values().next().value!,
      ca_file: '/etc/hosts',
    } as never,
  ])
  expect(outside.map(({ path }) => path)).toEqual([join(directory, 'later.json')])
})

test('the project’s directory is known by what it is, not by how it is spelt: in another letter case, through a link, below a mount', async () => {
  const at = realpathSync(dirname(scratchState().path))
  const directory = join(at, 'shop')
  mkdirSync(directory)
  writeFileSync(join(directory, 'run.sh'), 'true')
  symlinkSync(directory, join(at, 'link'))
  const named = (program: string) => [
    { name: 'a', source: 'command', command: [program], pass_env: [], match: [], binding: '' } as never,
  ]
  const file = join(directory, '.tokctl.toml')
  const paths = async (program: string, identity?: (path: string) => string | undefined): Promise<string[]> =>
    (await heldFiles(file, named(program), identity)).map(({ path }) => path)
  expect(await paths(join(at, 'link', 'run.sh'))).toEqual([join(at, 'link', 'run.sh')])
  // A stat of a system that ignores letter case, and one of a second mount of the project, whose paths have other names.
  const folded = (path: string): string => path.toLowerCase()
  const other = join(at, 'SHOP', 'run.sh')
  expect(await paths(other)).toEqual([])
  expect(await paths(other, folded)).toEqual([other])
  const mounted = (path: string): string => path.replace(join(at, 'mnt'), directory)
  expect(await paths(join(at, 'mnt', 'bin', 'x'), mounted)).toEqual([join(at, 'mnt', 'bin', 'x')])
  expect(await paths(join(at, 'shop-2', 'run.sh'), folded)).toEqual([])
  // Of a project in the uppermost directory everything is.
  expect((await heldFiles('/.tokctl.toml', named('/bin/sh'))).map(({ path }) => path)).toEqual(['/bin/sh'])
})

describe('the user’s own is out of its reach', () => {
  test('a name of the user’s is refused, and one that the user takes later is the user’s', async () => {
    const { tokctl, at, auth, file } = await shop()
    writeFileSync(file, clientProfile('corp', `${auth.url}/evil`))
    const refused = await tokctl(['trust', '--yes'])
    expect(refused).toMatchObject({ code: 3 })
    expect(refused.stderr).toContain('profile "corp" is one of your own, which always comes first')
    writeFileSync(file, clientProfile('dev', `${auth.url}/evil`))
    await tokctl(['trust', '--yes'])
    at.writeConfig(readFileSync(at.configFile, 'utf8') + clientProfile('dev', `${auth.url}/mine`))
    await tokctl(['get', 'dev'])
    expect(auth.requests.map(({ path }) => path)).toEqual(['/mine'])
  })

  test('its tokens have places of their own: two projects and the user under one name disturb nobody', async () => {
    const { tokctl, at, auth, file, directory } = await shop()
    const other = join(at.home, 'src', 'other')
    at.write('home/src/other/.tokctl.toml', clientProfile('dev', `${auth.url}/other`), 0o644)
    for (const cwd of [directory, other]) await tokctl(['trust', '--yes'], { cwd })
    auth.answer(({ path }) => ({
      body: { access_token: `of${path}`, token_type: 'bearer', expires_in: 600 },
    }))
    for (let i = 0; i < 2; i++) {
      expect((await tokctl(['get', 'dev'])).stdout).toBe('of/dev\n')
      expect((await tokctl(['get', 'dev'], { cwd: other })).stdout).toBe('of/other\n')
    }
    expect(auth.count()).toBe(2)
    expect(file).toContain('shop')
  })

  test('it can name neither the user’s profiles, nor keychain items, nor the store, nor a proxy', async () => {
    const { tokctl, auth, file } = await shop()
    const cases: [toml: string, told: RegExp][] = [
      [
        `[profile.x]\nsource = "token_exchange"\ntoken_endpoint = "${auth.url}/evil"\nclient_id = "c"\nsubject_token = { profile = "corp" }\n`,
        /unknown profile "corp"/,
      ],
      [
        '[profile.x]\nsource = "static"\ntoken = { keychain = { service = "s", account = "a" } }\n',
        /a project cannot read what other applications keep/,
      ],
      ['[store]\nkind = "memory"\n', /a project cannot choose where tokens are kept/],
      [
        '[profile.dev]\nsource = "static"\ntoken = { env = "T" }\n[proxy.api]\nprofile = "dev"\nlisten = "127.0.0.1:0"\nupstream = "https://evil.test"\n',
        /proxy\.api: a project cannot say where this machine listens/,
      ],
    ]
    for (const [toml, told] of cases) {
      writeFileSync(file, toml)
      const { code, stderr } = await tokctl(['trust', '--yes'])
      expect(code).toBe(3)
      expect(stderr).toMatch(told)
    }
  })

  test('a kept secret is its own: the user’s of that name is not read, and its own can be set', async () => {
    const { tokctl, file } = await shop()
    writeFileSync(file, '[profile.p]\nsource = "static"\ntoken = { secret = "shared" }\n')
    await tokctl(['secret', 'set', 'shared'], { input: 'user-canary' })
    await tokctl(['trust', '--yes'])
    const { code, stdout, stderr } = await tokctl(['get', 'p'])
    expect({ code, stdout }).toEqual({ code: 7, stdout: '' })
    const name = /tokctl secret set (shared@shop-[0-9a-f]{12})/.exec(stderr)?.[1]
    await tokctl(['secret', 'set', name!], { input: 'project-canary' })
    expect(await tokctl(['get', 'p'])).toMatchObject({ code: 0, stdout: 'project-canary\n' })
  })

  test('a URL that the user’s own profiles match is theirs, however much longer the project’s path is', async () => {
    const { tokctl, at, auth } = await shop(
      'match = ["https://git.example.com/team/secret", "https://other.example.com"]',
    )
    at.writeConfig(
      readFileSync(at.configFile, 'utf8').replace('source', 'match = ["https://git.example.com"]\nsource'),
    )
    await tokctl(['trust', '--yes'])
    auth.answer(({ path }) => ({
      body: { access_token: `of${path}`, token_type: 'bearer', expires_in: 600 },
    }))
    const asked = async (host: string, path: string): Promise<string> =>
      (await tokctl(['helper', 'git', 'get'], { input: `protocol=https\nhost=${host}\npath=${path}\n\n` }))
        .stdout
    expect(await asked('git.example.com', 'team/secret')).toContain('password=of/token\n')
    expect(await asked('other.example.com', 'x')).toContain('password=of/dev\n')
  })
})

describe('a file that cannot be trusted', () => {
  const cases: [name: string, spoil: (file: string) => void, told: string][] = [
    [
      'a link',
      file => {
        renameSync(file, `${file}.real`)
        symlinkSync(`${file}.real`, file)
      },
      'is a link',
    ],
    ['somebody else’s', file => chownSync(file, 65534, 65534), 'belongs to another user'],
    ['one that everybody may write', file => chmodSync(file, 0o666), 'can be written by everybody'],
    [
      'a directory',
      file => {
        rmSync(file)
        mkdirSync(file)
      },
      'is not a regular file',
    ],
  ]
  test.each(cases)('%s is refused, and trusted before it counts no more', async (_, spoil, told) => {
    const { tokctl, file, auth } = await shop()
    await tokctl(['trust', '--yes'])
    spoil(file)
    expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3, stdout: '' })
    const { code, stderr } = await tokctl(['trust', '--yes'])
    expect(code).toBe(3)
    expect(stderr).toContain(told)
    expect(auth.count()).toBe(0)
  })

  test('a trust record that others may write is none', async () => {
    const { tokctl, at } = await shop()
    await tokctl(['trust', '--yes'])
    const [record = ''] = readdirSync(join(at.stateDir, 'trust'))
    chmodSync(join(at.stateDir, 'trust', record), 0o666)
    expect(await tokctl(['get', 'dev'])).toMatchObject({ code: 3 })
  })
})

test('a stale token of a project is renewed in the background, in its place', async () => {
  const { tokctl, auth, options } = await shop('min_validity = "1s"')
  await tokctl(['trust', '--yes'])
  await tokctl(['get', 'dev'])
  const later = { env: { ...options.env, ...ahead('+56m') } }
  const gate = auth.hold('/dev')
  const stale = await tokctl(['get', 'dev'], later)
  expect(stale).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  await gate.arrived(1)
  gate.release()
  const cached = async (): Promise<string> => (await tokctl(['get', 'dev', '--cached'], later)).stdout
  await expect.poll(cached).toBe('token-2\n')
})

test('a hit of the user’s own looks for no project, and one of a project asks nobody', async () => {
  const { tokctl, at, auth } = await shop()
  await tokctl(['trust', '--yes'])
  for (const name of ['corp', 'dev']) await tokctl(['get', name])
  const log = join(at.path, 'strace.log')
  const traced = async (name: string): Promise<string> => {
    await tokctl(['get', name], {
      program: straced(log, '%file,network'),
    })
    return readFileSync(log, 'utf8')
  }
  expect(await traced('corp')).not.toMatch(/tokctl\.toml|\/trust\//)
  const calls = await traced('dev')
  expect(calls).toContain('.tokctl.toml')
  expect(calls).not.toMatch(/socket\(|connect\(|O_(WRONLY|RDWR)[^\n]*state/)
  expect(auth.count()).toBe(2)
})
