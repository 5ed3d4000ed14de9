import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BadInput, type BadInputs, canary, holds } from '../support/bad-input.ts'
import { program, scratch, start } from '../support/run.ts'

// Whoever calls: another tool with what somebody wrote into a URL, a shell with what somebody wrote into an argument, and an
// environment that others may have shaped. Requests to the proxy have a table of their own in proxy.test.ts.

const asked = (protocol: string, op: string, input: string | Uint8Array, more: BadInput = {}): BadInput => ({
  kept: 'fresh',
  args: ['helper', protocol, op],
  input,
  ...more,
})
const git = (input: string | Uint8Array, op = 'get', more: BadInput = {}): BadInput =>
  asked('git', op, input, more)
const host = 'protocol=https\nhost=git.corp.test\n'
const nothing = { code: 0, stdout: '', stderr: /^$/, asked: 0 } as const
const answered = {
  code: 0,
  stdout: /^(?:capability\[\]=state\n)?username=oauth2\npassword=canary-access-4b1d\n/,
  stderr: /^$/,
  asked: 0,
} as const

const gits: BadInputs = [
  ['a line break hidden in an address', git('url=https://evil.test?%0ahost=git.corp.test\n\n'), nothing],
  ['nothing but an end', git('\n'), nothing],
  ['nothing at all', git(''), nothing],
  ['no protocol', git('host=git.corp.test\n\n'), nothing],
  ['no host', git('protocol=https\n\n'), nothing],
  [
    'a carriage return in the place of a line break',
    git('protocol=https\nhost=evil.test\rhost=git.corp.test\n\n'),
    nothing,
  ],
  [
    'carriage returns at the end of every line',
    git('protocol=https\r\nhost=git.corp.test\r\n\r\n'),
    answered,
  ],
  [
    'a carriage return at the end of one line',
    git('protocol=https\nhost=git.corp.test\r\n\n'),
    { ...nothing, stdout: /^(?!.*\r)/ },
  ],
  ['a null in the host', git('protocol=https\nhost=git.corp.test\0.evil.test\n\n'), nothing],
  ['a line without a value', git('protocol=https\nhost\n\n'), nothing],
  ['a million lines', git('x=y\n'.repeat(1_000_000)), nothing],
  [
    'more than is read',
    git('x=y\n'.repeat(1_500_000)),
    { code: 2, stderr: /standard input holds more than/ },
  ],
  ['a host twice', git(`${host}host=evil.test\n\n`), nothing],
  ['a protocol twice', git('protocol=https\nprotocol=http\nhost=git.corp.test\n\n'), nothing],
  [
    'letters of another script',
    git(Buffer.from('70726f746f636f6c3d68747470730a686f73743d67d1967466ff0a0a', 'hex')),
    nothing,
  ],
  ['an escape sequence', git('protocol=https\nhost=\u001b[2Jgit.corp.test\n\n'), nothing],
  ['another port', git('protocol=https\nhost=git.corp.test:8443\n\n'), nothing],
  [
    'attributes and capabilities of the future',
    git(`${host}capability[]=future\nfoo[]=\nbar=\n\n`),
    answered,
  ],
  ['the state of another helper', git(`capability[]=state\nstate[]=otherhelper.x=1\n${host}\n`), answered],
  [
    'a challenge that names a place to sign in',
    git(`${host}wwwauth[]=Bearer realm="x", authorization_uri="https://evil.test/authorize"\n\n`),
    answered,
  ],
  ['more after its end', git(`${host}\nhost=evil.test\n`), answered],
  ['an operation nobody knows', git(`${host}\n`, 'frobnicate'), nothing],
  ['an erasure of another password', git(`${host}username=oauth2\npassword=OLD\n\n`, 'erase'), nothing],
  [
    'something to store that is not to be kept',
    git(`capability[]=authtype\n${host}authtype=bearer\ncredential=x\nephemeral=1\n\n`, 'store'),
    nothing,
  ],
  ['something to store over what we keep', git(`${host}username=u\npassword=evil\n\n`, 'store'), nothing],
]

const docker = (input: string, op = 'get'): BadInput => asked('docker', op, input)
const unknown = {
  code: 1,
  stdout: 'credentials not found in native keychain\n',
  stderr: /^$/,
  asked: 0,
} as const
const dockers: BadInputs = [
  ['a line break within', docker('https://reg.corp.test\n.evil.test'), unknown],
  ['plain http', docker('http://reg.corp.test'), unknown],
  [
    'seventy thousand letters',
    docker(`https://reg.corp.test/${'a'.repeat(70_000)}`),
    { ...unknown, stdout: /^(?!.*canary)/ },
  ],
  [
    'a login that would take the place of ours',
    docker('{"ServerURL":"https://reg.corp.test","Username":"u","Secret":"evil"}', 'store'),
    { code: 1, stdout: /comes from profile "corp"/ },
  ],
  ['something to store that is no JSON', docker('{"ServerURL":', 'store'), { code: 1, stdout: /./ }],
  [
    'a list',
    docker('', 'list'),
    { code: 0, stdout: '{"git.corp.test":"oauth2","reg.corp.test":"oauth2"}\n' },
  ],
  [
    'an operation nobody knows',
    docker('https://reg.corp.test', 'frobnicate'),
    { code: 1, stdout: /unknown action/ },
  ],
]

const words = (args: readonly string[], more: BadInput = {}): BadInput => ({ kept: 'fresh', args, ...more })
const usage = (stderr: RegExp) => ({ code: 2, stderr, asked: 0 }) as const
const lines: BadInputs = [
  ['nothing', words([]), usage(/no command was named/)],
  [
    'a profile that does not exist',
    words(['get', 'copr']),
    { code: 3, stderr: /unknown profile "copr"; did you mean "corp"\?/, asked: 0 },
  ],
  [
    'an escape sequence as a profile',
    words(['get', '\u001b]0;x\u0007']),
    { code: 3, stderr: /unknown profile "\]0;x"/ },
  ],
  ['an escape sequence as a command', words(['\u001b[2Jget']), usage(/unknown command/)],
  ['an escape sequence as an option', words(['get', '--\u001b[2J']), usage(/unknown option/)],
  [
    'a profile that looks like an option',
    words(['get', '--', '--help']),
    { code: 3, stderr: /unknown profile "--help"/ },
  ],
  ['an empty profile', words(['get', '']), { code: 3, stderr: /unknown profile ""/ }],
  ['a dash that is none', words(['get', '\u2014profile', 'corp']), usage(/too many arguments/)],
  [
    'a secret behind an option that does not exist',
    words(['login', 'corp', '--client-secret', canary.client]),
    usage(/unknown option "--client-secret"/),
  ],
  [
    'a secret in an option that does not exist',
    words(['login', 'corp', `--client-secret=${canary.client}`]),
    usage(/unknown option "--client-secret"/),
  ],
  ['a token as a word too many', words(['get', 'corp', canary.access]), usage(/too many arguments/)],
  [
    'a token for a command that does not exist',
    words(['store', 'corp', canary.access]),
    usage(/unknown command "store"/),
  ],
  ...['1e99', '0', '-1', 'NaN', '2147483648ms1', '30'].map(
    time => [`a time of ${time}`, words(['get', 'corp', '--timeout', time]), usage(/--timeout/)] as const,
  ),
  ['a hundred thousand letters', words([`get${'a'.repeat(100_000)}`]), usage(/^.{0,300}\n/)],
]

const inEnv = (env: Record<string, string | undefined>, more: BadInput = {}): BadInput => ({ env, ...more })
const fine = { code: 0, stdout: 'fine-token\n', asked: 1 } as const
const environments: BadInputs = [
  [
    'that wants no diagnostic report',
    inEnv({ NODE_OPTIONS: '--report-on-fatalerror --report-uncaught-exception' }),
    fine,
  ],
  [
    'with every switch of our own and of others',
    inEnv({ DEBUG: '*', TOKCTL_LOG: 'trace', TOKCTL_VERBOSE: 'http', TOKCTL_DEBUG: '1' }),
    fine,
  ],
  ['in a place where today is yesterday', inEnv({ TZ: 'Pacific/Apia' }), fine],
  ['with a profile of its own', inEnv({ TOKCTL_PROFILE: 'corp\nother' }), fine],
  ['that names a socket', inEnv({ TOKCTL_SOCK: '/tmp/evil.sock' }), fine],
  [
    'with a session bus that nobody listens on',
    inEnv(
      { TOKCTL_STORE: 'keychain', DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' },
      { kept: 'nothing' },
    ),
    { code: 7, stderr: /nobody listens on the session bus/ },
  ],
  [
    'of a runner, where nobody sits',
    inEnv({ CI: '1' }, { kept: 'nothing' }),
    { code: 4, stderr: /run: tokctl login corp/, asked: 0 },
  ],
  [
    'in which kubectl says that nobody can be asked',
    inEnv(
      {
        KUBERNETES_EXEC_INFO:
          '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}',
      },
      { kept: 'nothing', args: ['helper', 'kubectl', 'corp'] },
    ),
    { code: 4, stderr: /run: tokctl login corp/, asked: 0 },
  ],
  [
    'with a proxy that nobody reaches, for this machine left aside',
    inEnv({ HTTPS_PROXY: 'http://127.0.0.1:1', ALL_PROXY: 'socks5://evil.test' }),
    fine,
  ],
  [
    'with a store that does not exist',
    inEnv({ TOKCTL_STORE: 'redis\u001b[2J' }, { kept: 'nothing' }),
    { code: 3, stderr: /unknown store kind/ },
  ],
  ['that lets everybody in', { program: ['sh', '-c', 'umask 000; exec "$@"', 'sh', ...program] }, fine],
  ['that lets nobody in', { program: ['sh', '-c', 'umask 777; exec "$@"', 'sh', ...program] }, fine],
  [
    'that wants core dumps',
    { program: ['sh', '-c', 'ulimit -c unlimited; exec "$@"', 'sh', ...program] },
    fine,
  ],
]

for (const [title, table] of Object.entries({
  'git says': gits,
  'docker says': dockers,
  'a command line of': lines,
  'an environment': environments,
}))
  describe(title, () => {
    test.each([...table])('%s', async (_, input, want) => {
      await holds(input, want)
    })
  })

test('what is kept for git stays, whatever was erased or stored', async () => {
  for (const [op, secret] of [
    ['erase', 'OLD'],
    ['store', 'evil'],
  ] as const) {
    const { world } = await holds(git(`${host}username=oauth2\npassword=${secret}\n\n`, op), nothing)
    expect((await world.run(['get', 'corp'])).stdout).toBe(`${canary.access}\n`)
  }
})

test('a reader that leaves after one byte is no failure that loses anything', async () => {
  const { world } = await holds(
    { program: ['bash', '-c', 'set -o pipefail; "$@" | head -c1', 'sh', ...program] },
    { code: 0, stdout: 'f', asked: 1 },
  )
  expect((await world.run()).stdout).toBe('f')
  expect(world.requests).toHaveLength(1)
})

test('git that leaves its end open is answered as soon as it says that it is done', async () => {
  const at = scratch()
  at.writeConfig(
    '[profile.corp]\nsource = "static"\ntoken = { env = "T" }\nmatch = ["https://git.corp.test"]\n',
  )
  const talking = start(['helper', 'git', 'get'], { at, env: { T: 'open-ended' }, keepInput: true })
  talking.child.stdin!.end(`${host}\n`)
  expect((await talking.done).stdout).toContain('password=open-ended\n')
})

test('a program of the same name where the caller stands is not the one that runs', async () => {
  const at = scratch()
  const work = join(at.path, 'work')
  mkdirSync(work)
  for (const name of ['cat', 'sh', 'secret-tool', 'security', 'git']) {
    writeFileSync(join(work, name), `#!/bin/sh\ntouch '${at.path}/ran'; echo planted\n`)
    chmodSync(join(work, name), 0o755)
  }
  at.write('token', 'real-token\n')
  at.writeConfig(`[profile.corp]\nsource = "command"\ncommand = ["cat", "${join(at.path, 'token')}"]\n`)
  const started = start(['get', 'corp'], { at, cwd: work, env: { PATH: `.::${process.env['PATH']}` } })
  expect(await started.done).toMatchObject({ code: 0, stdout: 'real-token\n' })
  expect(readdirSync(at.path)).not.toContain('ran')
})

test.each(['000', '077', '777'])('with umask %s everything that is made is ours alone', async umask => {
  const { world } = await holds(
    {
      kept: 'nothing',
      config:
        '[profile.corp]\nsource = "client_credentials"\ntoken_endpoint = "IDP/token"\nclient_id = "cid"\nclient_secret = { env = "CORP_CLIENT_SECRET" }\n',
      program: ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh', ...program],
    },
    fine,
  )
  const made = readdirSync(world.at.stateDir, { recursive: true, encoding: 'utf8' })
  expect(made.length).toBeGreaterThan(5)
  for (const name of made) {
    const { mode } = statSync(join(world.at.stateDir, name))
    expect([name, mode & 0o077]).toEqual([name, 0])
  }
})
