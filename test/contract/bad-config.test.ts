import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BadInput, type BadInputs, canary, holds, type World } from '../support/bad-input.ts'
import { run, scratch } from '../support/run.ts'

const good = `[profile.corp]
source = "client_credentials"
token_endpoint = "IDP/token"
client_id = "cid"
client_secret = { env = "CORP_CLIENT_SECRET" }
`
const withLines = (lines: string): BadInput => ({ config: good + lines })
const at = (line: number, rest: string): RegExp =>
  new RegExp(`^tokctl: error: ~/\\.config/tokctl/config\\.toml:${line}: ${rest}`, 'm')

/** In place of the configuration file there is something else. */
function instead(make: (path: string, world: World) => void): BadInput {
  return {
    config: false,
    before(world) {
      mkdirSync(dirname(world.at.configFile), { recursive: true })
      make(world.at.configFile, world)
    },
  }
}

const texts: BadInputs = [
  [
    'a byte-order mark is not part of it',
    { config: `\ufeff${good}` },
    { code: 0, stdout: 'fine-token\n', asked: 1 },
  ],
  [
    'two bytes for each letter',
    { config: Buffer.from(`\ufeff${good}`, 'utf16le') },
    { code: 3, stderr: /config\.toml:1: the file is not UTF-8/ },
  ],
  [
    'cut off in the middle',
    { config: good.slice(0, 70), kept: 'nothing' },
    { code: 3, stderr: /config\.toml:3: a string without its end/ },
  ],
  [
    'a table that reaches for the prototype',
    withLines('constructor = { prototype = { insecure = true } }'),
    { code: 3, stderr: at(6, 'profile\\.corp\\.constructor: unknown key') },
  ],
  [
    'a key that is the prototype',
    withLines('__proto__ = { source = "static" }'),
    { code: 3, stderr: at(6, 'profile\\.corp\\.__proto__: unknown key') },
  ],
  [
    'a profile whose name is a path',
    { config: good.replace('corp', '"../../.ssh/authorized_keys"') },
    { code: 3, stderr: at(1, 'profile\\."\\.\\./\\.\\./\\.ssh/authorized_keys": not a profile name') },
  ],
  [
    'a profile whose name holds a null',
    { config: good.replace('corp', '"corp\\u0000x"') },
    { code: 3, stderr: at(1, 'profile\\."corp x": not a profile name') },
  ],
  [
    'two profiles whose names look the same',
    { config: good.replace('corp', '"é"') + good.replace('corp', '"e\u0301"') },
    { code: 3, stderr: /:1: [\s\S]*:6: / },
  ],
  [
    'two profiles that differ in letter case alone',
    { config: good + good.replace('corp', 'Corp') },
    { code: 3, stderr: /:6: / },
  ],
  [
    'a key written wrongly',
    withLines('tokn_path = "a"'),
    { code: 3, stderr: at(6, 'profile\\.corp\\.tokn_path: unknown key; did you mean token_path\\?') },
  ],
  [
    'lifetimes that are no durations',
    withLines('refresh_before = -1\nmin_validity = 1e308\ndefault_ttl = "NaN"'),
    { code: 3, stderr: /:6: .*refresh_before[\s\S]*:7: .*min_validity[\s\S]*:8: .*default_ttl/ },
  ],
  [
    'times of zero',
    { config: '[profile.corp]\nsource = "command"\ncommand = ["true"]\ntimeout = "0s"\n' },
    { code: 3, stderr: at(4, 'profile\\.corp\\.timeout: ') },
  ],
  [
    'a secret in clear',
    { config: good.replace('{ env = "CORP_CLIENT_SECRET" }', '"hush-hush"') },
    {
      code: 3,
      stderr: /:5: profile\.corp\.client_secret: expected a reference, got a string\n(?![\s\S]*hush)/,
    },
  ],
  [
    'a command as one line for a shell',
    { config: '[profile.corp]\nsource = "command"\ncommand = "echo x; curl https://evil.test"\n' },
    { code: 3, stderr: at(3, 'profile\\.corp\\.command: expected a list of strings') },
  ],
]

const addresses: BadInputs = [
  ['with a query', 'issuer = "https://idp.test/?a=b"', 'issuer: '],
  ['with a fragment', 'issuer = "https://idp.test/#a"', 'issuer: a fragment does not belong'],
  ['of a file', 'revocation_endpoint = "file:///etc/passwd"', 'revocation_endpoint: expected an https URL'],
  ['of a script', 'revocation_endpoint = "javascript:alert(1)"', 'revocation_endpoint: '],
  [
    'whose host another parser reads differently',
    String.raw`revocation_endpoint = "https://idp.test\\@evil.test/"`,
    'revocation_endpoint: a backslash',
  ],
  [
    'with a line break',
    String.raw`revocation_endpoint = "https://idp.test/\r\nX-Evil: 1"`,
    'revocation_endpoint: must not hold control',
  ],
  ['with a user in it', 'revocation_endpoint = "https://me:you@idp.test/"', 'revocation_endpoint: '],
  ['without TLS', 'revocation_endpoint = "http://idp.test/"', 'revocation_endpoint: '],
  [
    'of a host that only begins like this machine',
    'revocation_endpoint = "http://localhost.evil.test/"',
    'revocation_endpoint: ',
  ],
].map(([name, line, told]) => [
  `an address ${name}`,
  withLines(line!),
  { code: 3, stderr: at(6, `profile\\.corp\\.${told}`), asked: 0 },
])

const http = '[profile.corp]\nsource = "http"\nurl = "IDP/x"\ntoken_path = "access_token"\n'
const requests: BadInputs = [
  [
    'headers that belong to the transport',
    {
      config: `${http}headers = { Host = "evil.test", Transfer-Encoding = "chunked", Content-Length = "0" }`,
    },
    {
      code: 3,
      stderr: /headers\.Host: [\s\S]*headers\.Transfer-Encoding: [\s\S]*headers\.Content-Length: /,
      asked: 0,
    },
  ],
  [
    'plain http to this very machine is allowed',
    { config: http },
    { code: 0, stdout: 'fine-token\n', asked: 1 },
  ],
]

const hosts: BadInputs = [
  ...[
    'github.com.evil.test',
    'evilgithub.com',
    'github.com@evil.test',
    'xgithub.com',
    'github.com.',
    'github.com:444',
  ].map(
    host =>
      [
        `is not matched by ${host}`,
        {
          config: `${good}match = ["github.com"]\n`,
          args: ['helper', 'git', 'get'],
          input: `protocol=https\nhost=${host}\n\n`,
        },
        { code: 0, asked: 0 },
      ] as const,
  ),
  [
    'is matched by itself',
    {
      config: `${good}match = ["github.com"]\n`,
      args: ['helper', 'git', 'get'],
      input: 'protocol=https\nhost=github.com\n\n',
    },
    { code: 0, stdout: /\npassword=fine-token\n/ },
  ],
  [
    'written with letters of another script is told as what it is',
    withLines('match = ["gіthub.com"]'),
    { code: 3, stderr: /xn--/ },
  ],
]

const places: BadInputs = [
  [
    'is a pipe',
    instead(path => execFileSync('mkfifo', [path])),
    { code: 3, stderr: /is not a regular file/ },
  ],
  [
    'is a device without an end',
    instead(path => symlinkSync('/dev/zero', path)),
    { code: 3, stderr: /is not a regular file/ },
  ],
  ['is a directory', instead(path => mkdirSync(path)), { code: 3, stderr: /is not a regular file/ }],
  [
    'is a socket',
    instead(path =>
      execFileSync(process.execPath, [
        '-e',
        'require("node:net").createServer().listen(process.argv[1], () => process.exit())',
        path,
      ]),
    ),
    { code: 3, stderr: /does not exist|not a regular file/ },
  ],
  [
    'is larger than any configuration',
    { config: `${good}# ${'A'.repeat(5_000_000)}\n` },
    { code: 3, stderr: /is larger than 4 MiB/ },
  ],
  [
    'belongs to another user',
    { kept: 'fresh', before: ({ at }) => chownSync(at.configFile, 65_534, 65_534) },
    { code: 3, stderr: /belongs to another user/ },
  ],
  [
    'can be written by others',
    { kept: 'fresh', before: ({ at }) => chmodSync(at.configFile, 0o622) },
    { code: 3, stderr: /can be written by others/ },
  ],
  [
    'is a link to a file of another user',
    {
      kept: 'fresh',
      before({ at }) {
        const elsewhere = join(at.path, 'elsewhere.toml')
        renameSync(at.configFile, elsewhere)
        chownSync(elsewhere, 65_534, 65_534)
        symlinkSync(elsewhere, at.configFile)
      },
    },
    { code: 3, stderr: /belongs to another user/ },
  ],
  [
    'is a link, or has a second name, and is still its owner’s',
    {
      kept: 'fresh',
      before({ at }) {
        const elsewhere = join(at.path, 'elsewhere.toml')
        linkSync(at.configFile, elsewhere)
      },
    },
    { code: 0, stdout: `${canary.access}\n` },
  ],
]

/** A project's own file, as a cloned repository brings it. */
function cloned(text: string): BadInput {
  return { kept: 'fresh', before: ({ at }) => writeFileSync(join(at.home, '.tokctl.toml'), text) }
}
const untouched = { code: 0, stdout: `${canary.access}\n`, asked: 0 } as const
const projects: BadInputs = [
  [
    'that names another endpoint',
    cloned(
      '[profile.corp]\nsource = "client_credentials"\ntoken_endpoint = "https://evil.test/token"\nclient_id = "x"\n',
    ),
    untouched,
  ],
  [
    'that names a program',
    cloned('[profile.corp]\nsource = "command"\ncommand = ["sh", "-c", "touch ran"]\n'),
    untouched,
  ],
  [
    'that is a link out of the repository',
    { kept: 'fresh', before: ({ at }) => symlinkSync(at.configFile, join(at.home, '.tokctl.toml')) },
    untouched,
  ],
  ['that is not TOML', cloned('\u0000\u0001'), untouched],
]

for (const [title, table] of Object.entries({
  'a configuration that is no good': texts,
  'an address in it': addresses,
  'a request in it': requests,
  'a host in it': hosts,
  'a configuration file that': places,
  'a file of a project that nobody trusted': projects,
}))
  describe(title, () => {
    test.each([...table])('%s', async (_, input, want) => {
      await holds(input, want)
    })
  })

test('a program that a project names is not run', async () => {
  const { world } = await holds(
    cloned('[profile.corp]\nsource = "command"\ncommand = ["sh", "-c", "touch ran"]\n'),
    untouched,
  )
  expect(execFileSync('ls', [world.at.home]).toString()).not.toContain('ran')
})

test('without a home directory nothing is looked for or made where the program happens to stand', async () => {
  const home = scratch()
  const env = {
    HOME: 'relative',
    TOKCTL_STATE_DIR: undefined,
    XDG_STATE_HOME: 'relative',
    XDG_CONFIG_HOME: 'relative',
  }
  home.write(
    'work/relative/.config/tokctl/config.toml',
    '[profile.corp]\nsource = "static"\ntoken = { env = "X" }\n',
  )
  const { code, stderr } = await run(['get', 'corp'], {
    at: home,
    env: { ...env, X: 'not-this-one' },
    cwd: join(home.path, 'work'),
  })
  expect(code).toBe(3)
  expect(stderr).toMatch(/config\.toml does not exist|unknown profile "corp"|there is no home directory/)
  expect(execFileSync('find', [join(home.path, 'work')]).toString()).not.toMatch(/state/)
})
