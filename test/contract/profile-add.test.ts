import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { program, run, type Scratch, type Started, scratch, start } from '../support/run.ts'

const okta = [
  'profile',
  'add',
  'corp',
  '--provider',
  'okta',
  '--set',
  'domain=acme.okta.com',
  '--set',
  'client_id=0oa1',
  '--set',
  'scope=api.read',
]

const written = `# Okta, custom authorization server: a service
# Create an app integration "API Services" and let an access policy of the server allow the scope.
# Switch off the DPoP requirement that a new app has, unless the API takes tokens bound to a key.
# The audience is a setting of the authorization server.
# See https://developer.okta.com/docs/guides/implement-grant-type/clientcreds/main/
# See https://support.okta.com/help/s/article/enforce-token-binding-for-machine-to-machine-application-service-integrations
# Next: tokctl secret set corp-client
#       tokctl profile test corp
[profile.corp]
source         = "client_credentials"
token_endpoint = "https://acme.okta.com/oauth2/default/v1/token"
client_id      = "0oa1"
client_secret  = { secret = "corp-client" }
client_auth    = "client_secret_basic"
scope          = "api.read"
`

const configOf = (at: Scratch): string => readFileSync(at.configFile, 'utf8')
const other = '[profile.gh]\nsource = "command"\ncommand = ["gh", "auth", "token"]   # mine\n'

describe('profile add', () => {
  test('makes the file, shut to others, and prints what it wrote', async () => {
    const at = scratch()
    expect(await run(okta, { at })).toMatchObject({ code: 0, stdout: written, stderr: '' })
    expect(configOf(at)).toBe(written)
    expect(statSync(at.configFile).mode & 0o777).toBe(0o600)
    expect(statSync(dirname(at.configFile)).mode & 0o777).toBe(0o700)
    expect(readdirSync(dirname(at.configFile))).toEqual(['config.toml'])
    expect(await run(['profile', 'list'], { at })).toMatchObject({ stdout: 'corp  client_credentials\n' })
  })

  test('leaves what is there as it is, byte for byte', async () => {
    const at = scratch()
    at.writeConfig(`\ufeff${other}\r\n# the end`)
    expect(await run(okta, { at })).toMatchObject({ code: 0 })
    expect(configOf(at)).toBe(`\ufeff${other}\r\n# the end\r\n\r\n${written.replaceAll('\n', '\r\n')}`)
    expect(await run(['profile', 'show', 'gh'], { at })).toMatchObject({ code: 0 })
  })

  test('eight at once leave eight profiles', async () => {
    const at = scratch()
    const names = Array.from({ length: 8 }, (_, i) => `corp${i}`)
    const ended = await Promise.all(names.map(name => run(okta.with(2, name), { at })))
    expect(ended.map(({ code }) => code)).toEqual(Array(8).fill(0))
    const { stdout } = await run(['profile', 'list'], { at })
    expect(stdout.split('\n').filter(line => line !== '').length).toBe(8)
  })

  test('what it wrote is taken out again without a trace', async () => {
    const at = scratch()
    at.writeConfig(other)
    await run(okta, { at })
    expect(await run(['profile', 'remove', 'corp'], { at })).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    })
    expect(configOf(at)).toBe(other)
  })

  test('changes the file that a link leads to, and leaves the link', async () => {
    const at = scratch()
    const real = at.write('dotfiles/tokctl.toml', other)
    mkdirSync(dirname(at.configFile), { recursive: true, mode: 0o700 })
    symlinkSync(real, at.configFile)
    expect(await run(okta, { at })).toMatchObject({ code: 0 })
    expect(lstatSync(at.configFile).isSymbolicLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toBe(`${other}\n${written}`)
  })

  test('makes the file that a link leads to where there is none yet', async () => {
    const at = scratch()
    const real = join(at.path, 'dotfiles', 'tokctl.toml')
    mkdirSync(dirname(at.configFile), { recursive: true, mode: 0o700 })
    symlinkSync(real, at.configFile)
    expect(await run(okta, { at })).toMatchObject({ code: 0 })
    expect(lstatSync(at.configFile).isSymbolicLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toBe(written)
  })

  test('a path is relative to where its writer stands', async () => {
    const at = scratch()
    const args = [
      'profile',
      'add',
      'robot',
      '--provider',
      'google-service-account',
      '--set',
      'key_file=sa.json',
    ]
    expect(await run(args, { at })).toMatchObject({ code: 0 })
    expect(configOf(at)).toContain(`key_file = "${join(at.home, 'sa.json')}"`)
  })

  test('the providers are listed with what they need', async () => {
    const { code, stdout, stderr } = await run(['profile', 'add', '--list'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toHaveLength(27)
    expect(stdout).toMatch(/^auth0 +Auth0: a service \(domain, client_id, audience\)$/m)
  })

  const refusals: [name: string, args: string[], code: number, stderr: string][] = [
    [
      'things that are missing',
      ['profile', 'add', 'corp', '--provider', 'okta', '--set', 'client_id=0oa1'],
      2,
      'tokctl: error: provider "okta" needs domain, scope\ntokctl: hint: add: --set domain=acme.okta.com --set scope=api.read\n',
    ],
    [
      'a name that is taken',
      okta.with(2, 'gh'),
      2,
      'tokctl: error: profile "gh" exists already\ntokctl: hint: run: tokctl profile remove gh, or choose another name\n',
    ],
    [
      'a name that differs in letter case only',
      okta.with(2, 'GH'),
      2,
      'tokctl: error: nothing was written: profile.GH: differs from profile "gh" in letter case only\n',
    ],
    [
      'a name that is none',
      okta.with(2, '../gh'),
      2,
      'tokctl: error: "../gh" is not a name for a profile\ntokctl: hint: use up to 64 letters, digits, dots, dashes and underscores, a letter or digit first\n',
    ],
    [
      'no name',
      ['profile', 'add', '--provider', 'okta'],
      2,
      'tokctl: error: the new profile needs a name\ntokctl: hint: run: tokctl profile add NAME --provider PROVIDER\n',
    ],
    [
      'no provider',
      ['profile', 'add', 'corp'],
      2,
      'tokctl: error: --provider is missing\ntokctl: hint: run: tokctl profile add --list\n',
    ],
    [
      'a misspelt provider',
      okta.with(4, 'oktaa'),
      2,
      'tokctl: error: unknown provider "oktaa"; did you mean "okta"?\ntokctl: hint: run: tokctl profile add --list\n',
    ],
    [
      'an unknown provider',
      okta.with(4, 'constructor'),
      2,
      'tokctl: error: unknown provider "constructor"\ntokctl: hint: run: tokctl profile add --list\n',
    ],
    [
      'a secret that stands there',
      [...okta, '--set', 'client_secret=hunter2'],
      2,
      'tokctl: error: client_secret is a secret, and only where it is kept is written down\ntokctl: hint: write --set client_secret=env:NAME, client_secret=file:PATH or client_secret=secret:NAME\n',
    ],
    [
      'a key without a value',
      [...okta, '--set', 'hunter2'],
      2,
      'tokctl: error: --set: expected KEY=VALUE\ntokctl: hint: write --set client_id=0oa1b2c3\n',
    ],
    [
      'a host that is none',
      okta.with(6, 'domain=acme okta'),
      2,
      'tokctl: error: domain: "acme okta" is not of the form "acme.okta.com"\ntokctl: hint: write --set domain=acme.okta.com\n',
    ],
    [
      'what would not be valid',
      [...okta, '--set', 'refresh_before=soon'],
      2,
      'tokctl: error: nothing was written: profile.corp.refresh_before: expected a duration such as "500ms", "90s", "5m", "1h" or "2d", at most ten years\n',
    ],
  ]
  test.each(refusals)('%s: nothing is written', async (_, args, code, stderr) => {
    const at = scratch()
    at.writeConfig(other)
    expect(await run(args, { at })).toMatchObject({ code, stdout: '', stderr })
    expect(configOf(at)).toBe(other)
  })

  test('a configuration with a problem is told, and not touched', async () => {
    const at = scratch()
    at.writeConfig(`${other}colour = 1\n`)
    expect(await run(okta, { at })).toMatchObject({
      code: 3,
      stderr: 'tokctl: error: ~/.config/tokctl/config.toml:4: profile.gh.colour: unknown key\n',
    })
    expect(configOf(at)).toBe(`${other}colour = 1\n`)
  })

  test('a file whose profiles are all one value cannot be appended to', async () => {
    const at = scratch()
    const inline = 'profile = { gh = { source = "command", command = ["gh"] } }\n'
    at.writeConfig(inline)
    expect(await run(okta, { at })).toMatchObject({
      code: 2,
      stderr: 'tokctl: error: nothing was written: this key or table is defined a second time\n',
    })
    expect(configOf(at)).toBe(inline)
  })

  test('a directory where nobody can write is told', async () => {
    const at = scratch()
    const file = at.write('file', '')
    for (const config of ['/proc/tokctl/config.toml', join(file, 'config.toml')]) {
      const { code, stdout, stderr } = await run(['--config', config, ...okta], { at })
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
      expect(stderr).toMatch(
        /^tokctl: error: configuration file \S+ cannot be written \((?:ENOENT|EACCES|EEXIST|ENOTDIR)\)\ntokctl: hint: name another one: --config FILE\n$/,
      )
    }
    expect(existsSync(at.configFile)).toBe(false)
  })

  test('both profiles of a recipe are written or none', async () => {
    const at = scratch()
    const id = '[profile.pub-id]\nsource = "ci"\n'
    at.writeConfig(id)
    const args = ['profile', 'add', 'pub', '--provider', 'pypi', '--set', 'registry=pypi.example.com']
    expect(await run(args, { at })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('profile "pub-id" exists already'),
    })
    expect(configOf(at)).toBe(id)
  })
})

describe('on a terminal', () => {
  const inTerminal = (args: string): string[] => [
    '-qefc',
    `${program.map(word => `'${word}'`).join(' ')} ${args}`,
    '/dev/null',
  ]

  async function shows(started: Started, pattern: RegExp): Promise<void> {
    while (!pattern.test(started.stdout)) {
      if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  test('what is missing is asked for, and asked again when it is wrong', async () => {
    const at = scratch()
    const args = 'profile add corp --provider okta --set client_id=0oa1'
    const adding = start(inTerminal(args), { at, program: ['script'], keepInput: true })
    await shows(adding, /Okta domain, such as acme\.okta\.com: $/)
    adding.child.stdin!.write('not a host\r')
    await shows(adding, /domain: "not a host" is not of the form "acme\.okta\.com"\r\nOkta domain.*: $/)
    adding.child.stdin!.write('https://acme.okta.com/\r')
    await shows(adding, /scopes, separated by spaces, such as api\.read: $/)
    adding.child.stdin!.write('api.read\r')
    expect(await adding.done).toMatchObject({ code: 0 })
    expect(configOf(at)).toBe(written)
  })

  test('Ctrl-C while it asks writes nothing', async () => {
    const at = scratch()
    const adding = start(inTerminal('profile add corp --provider okta'), {
      at,
      program: ['script'],
      keepInput: true,
    })
    await shows(adding, /Okta domain.*: $/)
    adding.child.stdin!.write('\u0003')
    expect(await adding.done).toMatchObject({ code: 130 })
    expect(existsSync(at.configFile)).toBe(false)
  })

  test('--no-input asks nothing', async () => {
    const { code, stdout } = await run(inTerminal('--no-input profile add corp --provider spotify'), {
      program: ['script'],
    })
    expect(code).toBe(2)
    expect(stdout).toContain('provider "spotify" needs client_id')
  })
})

test.each(['add', 'remove', 'test'])('help of profile %s fits a screen', async command => {
  const { code, stdout } = await run(['profile', command, '--help'])
  expect(code).toBe(0)
  expect(stdout.split('\n').length).toBeLessThanOrEqual(25)
  expect(stdout).toContain(`tokctl profile ${command}`)
})

describe('profile remove', () => {
  test('takes out that one with its comments', async () => {
    const at = scratch()
    at.writeConfig(`# all\n\n# about a\n[profile.a]\nsource = "ci" # x\n\n${other}`)
    expect(await run(['profile', 'remove', 'a'], { at })).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(configOf(at)).toBe(`# all\n\n${other}`)
  })

  test('a profile that another one needs stays', async () => {
    const at = scratch()
    const text = `[profile.id]\nsource = "ci"\n[profile.x]\nsource = "token_exchange"\nissuer = "https://a.example"\nsubject_token = { profile = "id" }\n`
    at.writeConfig(text)
    expect(await run(['profile', 'remove', 'id'], { at })).toMatchObject({
      code: 2,
      stderr: 'tokctl: error: nothing was written: profile.x.subject_token.profile: unknown profile "id"\n',
    })
    expect(configOf(at)).toBe(text)
  })

  test('one within a value, and one that does not exist, are told', async () => {
    const at = scratch()
    const inline = 'profile = { gh = { source = "command", command = ["gh"] } }\n'
    at.writeConfig(inline)
    expect(await run(['profile', 'remove', 'gh'], { at })).toMatchObject({
      code: 3,
      stderr:
        'tokctl: error: profile "gh" stands within a value and cannot be taken out\ntokctl: hint: take it out with an editor\n',
    })
    expect(await run(['profile', 'remove', 'gj'], { at })).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('unknown profile "gj"; did you mean "gh"?'),
    })
    expect(configOf(at)).toBe(inline)
  })
})

describe('profile test', () => {
  test('shows what came and never the token, and keeps nothing', async () => {
    const { auth, at, options } = await corp('scope = "api.read"')
    const { code, stdout, stderr } = await run(['profile', 'test', 'corp'], options)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(
      /^profile {5}corp\ntoken type {2}Bearer\nlifetime {4}(?:60m|59m), until \S+Z\nscope {7}api\.read\nclock {7}as the server's\n$/,
    )
    expect(stdout).not.toContain('token-1')
    expect(auth.count()).toBe(1)
    expect(existsSync(join(at.stateDir, 'outcomes'))).toBe(false)
    expect(await run(['get', 'corp', '--cached'], options)).toMatchObject({ code: 5 })
    // Each test asks anew, also while a token is kept.
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-2\n' })
    await run(['profile', 'test', 'corp'], options)
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-2\n' })
    expect(auth.count()).toBe(3)
  })

  test('--json tells the same to programs, and how far the clocks differ', async () => {
    const { auth, options } = await corp()
    auth.answerNext({
      headers: { date: new Date(Date.now() + 90_000).toUTCString() },
      body: { access_token: 'hunter2', token_type: 'bearer', expires_in: 600, refresh_token: 'hunter2' },
    })
    const { stdout } = await run(['profile', 'test', 'corp', '--json'], options)
    const told = JSON.parse(stdout)
    expect(told).toMatchObject({ profile: 'corp', token_type: 'bearer', scope: null })
    expect(told.expires_in).toBeGreaterThan(590)
    expect(told.server_ahead).toBeGreaterThan(85)
    expect(told.server_ahead).toBeLessThan(95)
    expect(stdout).not.toContain('hunter2')
  })

  test('a refusal has its usual exit code and is not remembered', async () => {
    const { auth, options } = await corp()
    auth.answerNext({ status: 401, body: { error: 'invalid_client' } })
    const { code, stdout, stderr } = await run(['profile', 'test', 'corp'], options)
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' })
    expect(stderr).toContain('invalid_client')
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
  })

  test('what a test would use up is not tested', async () => {
    const at = scratch()
    at.writeConfig(
      '[profile.me]\nsource = "authorization_code"\nissuer = "https://a.example"\nclient_id = "a"\n' +
        '[profile.seed]\nsource = "refresh_token"\nissuer = "https://a.example"\nrefresh_token = { env = "R" }\n',
    )
    expect(await run(['profile', 'test', 'me'], { at })).toMatchObject({
      code: 4,
      stdout: '',
      stderr:
        'tokctl: error: profile "me" needs a sign-in, and a test keeps none\ntokctl: hint: run: tokctl login me\n',
    })
    expect(await run(['profile', 'test', 'seed'], { at })).toMatchObject({
      code: 2,
      stdout: '',
      stderr:
        'tokctl: error: a test would use up the refresh token of profile "seed"\ntokctl: hint: run: tokctl get seed\n',
    })
  })
})

test('from nothing to a token: add, secret, test, get', async () => {
  const { auth, options } = await corp()
  const at = scratch()
  const adding = ['profile', 'add', 'kc', '--provider', 'keycloak', '--set', `base=${auth.url}`]
  const rest = ['--set', 'realm=acme', '--set', 'client_id=build-bot', '--set', 'scope=orders']
  expect(await run([...adding, ...rest], { at })).toMatchObject({ code: 0 })
  expect(await run(['profile', 'test', 'kc'], { at })).toMatchObject({
    code: 7,
    stderr:
      'tokctl: error: no secret is kept under the name "kc-client"\ntokctl: hint: run: tokctl secret set kc-client\n',
  })
  const secret = options.env!['CORP_SECRET']!
  expect(await run(['secret', 'set', 'kc-client'], { at, input: secret })).toMatchObject({ code: 0 })
  expect(await run(['profile', 'test', 'kc'], { at })).toMatchObject({ code: 0 })
  expect(await run(['get', 'kc'], { at })).toMatchObject({ code: 0, stdout: 'token-2\n' })
  expect(auth.requests.map(({ path, params }) => [path, params['scope']])).toEqual([
    ['/realms/acme/protocol/openid-connect/token', 'orders'],
    ['/realms/acme/protocol/openid-connect/token', 'orders'],
  ])
  expect(auth.requests[0]!.headers.authorization).toBe(
    `Basic ${Buffer.from(`build-bot:${secret}`).toString('base64')}`,
  )
})

test('a configuration that others may write is not appended to', async () => {
  const at = scratch()
  const path = at.write(join('home', '.config', 'tokctl', 'config.toml'), other, 0o666)
  expect(await run(okta, { at })).toMatchObject({ code: 3, stdout: '' })
  expect(readFileSync(path, 'utf8')).toBe(other)
})
