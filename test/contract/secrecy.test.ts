import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AuthServer, startAuthServer } from '../support/auth-server.ts'
import { clientProfile, corp } from '../support/corp.ts'
import { run, type Scratch, scratch, start, straced } from '../support/run.ts'

const secret = 'client-secret-canary'
const basic = Buffer.from(`build-bot:${secret}`).toString('base64')

async function server(): Promise<AuthServer> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  return auth
}

/** A program of the test's own, that can be named in a configuration. */
function script(at: Scratch, name: string, body: string): string {
  return at.write(name, `#!/bin/sh\n${body}\n`, 0o700)
}

function listed(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split('\n').map(line => [line.replace(/=.*/, ''), line.replace(/^[^=]*=?/, '')]),
  )
}

test('what a program prints and says again as it fails is in no message, and not in what is remembered of it', async () => {
  const at = scratch()
  const failing = (name: string, stdout: string) =>
    script(at, name, `echo '${stdout}'; echo 'using canary-of-a-token' >&2; exit 2`)
  at.writeConfig(`[profile.line]
source = "command"
command = ["${failing('line', 'canary-of-a-token')}"]
[profile.words]
source = "command"
command = ["${failing('words', 'token: canary-of-a-token')}"]
[profile.json]
source = "command"
command = ["${failing('json', '{"credentials":{"secret":"canary-of-a-token"}}')}"]
[profile.reference]
source = "static"
token = { command = ["${failing('reference', 'canary-of-a-token')}"] }
`)
  const profiles = ['line', 'words', 'json', 'reference']
  for (const name of profiles) {
    const { code, stderr } = await run(['get', name], { at })
    expect({ name, code }).toEqual({ name, code: name === 'reference' ? 3 : 6 })
    expect(stderr).toMatch(/ended with exit code 2: using \[redacted\]\n/)
  }
  const told = await run(['status', '--json'], { at })
  expect(told.stdout).toContain('using [redacted]')
  const remembered = readdirSync(join(at.stateDir, 'outcomes')).map(file =>
    readFileSync(join(at.stateDir, 'outcomes', file), 'utf8'),
  )
  expect(remembered.length).toBeGreaterThan(0)
  expect(told.stdout + remembered.join('')).not.toContain('canary')
})

describe('--verbose tells what was decided', () => {
  test('why a token was asked for and why it was served, from which store, by which configuration', async () => {
    const { at, options } = await corp()
    const cold = await run(['get', 'corp', '--verbose'], options)
    expect(cold).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(cold.stderr).toContain(`tokctl: configuration ${at.configFile}\n`)
    expect(cold.stderr).toContain('tokctl: store file, by TOKCTL_STORE\n')
    expect(cold.stderr).toContain('tokctl: profile "corp": a request is needed (absent)\n')
    expect(cold.stderr).toMatch(/tokctl: POST http:\/\/127\.0\.0\.1:\d+\/token directly: 200 in \d+ ms\n/)
    const hit = await run(['-v', 'get', 'corp'], options)
    expect(hit.stderr).toContain('tokctl: profile "corp": served from the store (fresh)\n')
    for (const text of [cold.stderr, hit.stderr]) expect(text).not.toMatch(/token-1|client-secret/)
  })

  test('which profile a URL was answered from, without the user that it may name', async () => {
    const { options } = await corp('match = ["https://git.example.com"]')
    const asked = 'protocol=https\nhost=git.example.com\n\n'
    const found = await run(['-v', 'helper', 'git', 'get'], { ...options, input: asked })
    expect(found.stdout).toContain('password=token-1\n')
    expect(found.stderr).toContain('profile "corp" matches "https://git.example.com/"\n')
    const other = await run(['-v', 'helper', 'docker', 'get'], {
      ...options,
      input: 'https://me:hush-hush@evil.example\n',
    })
    expect(other.stderr).toContain('no profile matches an address that names a user\n')
    expect(other.stderr).not.toContain('hush')
  })

  test('a helper is silent unless TOKCTL_VERBOSE asks it to speak', async () => {
    const { options } = await corp('match = ["https://git.example.com"]')
    const asking = { ...options, input: 'protocol=https\nhost=git.example.com\n\n' }
    expect(await run(['helper', 'git', 'get'], asking)).toMatchObject({ code: 0, stderr: '' })
    const env = { ...options.env, TOKCTL_VERBOSE: '1' }
    const asked = await run(['helper', 'git', 'get'], { ...asking, env })
    expect(asked.stderr).toMatch(/served from the store \(fresh\)/)
    expect(asked.stderr).not.toMatch(/token-1/)
  })
})

describe('--debug-http tells what went over the wire', () => {
  test('the words of the protocol, and never a secret', async () => {
    const { auth, options } = await corp('scope = "api.read"')
    auth.answerNext({
      headers: { 'x-trace': 'trace-canary', 'set-cookie': 'session=cookie-canary' },
      body: {
        access_token: 'access-canary-1',
        refresh_token: 'refresh-canary-1',
        token_type: 'Bearer',
        expires_in: 3600,
        note: { deeper: ['nested-canary', 4242424242] },
      },
    })
    const { code, stdout, stderr } = await run(['get', 'corp', '--debug-http'], options)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'access-canary-1\n' })
    expect(stderr).toMatch(/^tokctl: http: > POST http:\/\/127\.0\.0\.1:\d+\/token$/m)
    expect(stderr).toContain('tokctl: http: > authorization: Basic [redacted]\n')
    expect(stderr).toContain('tokctl: http: >   grant_type=client_credentials\n')
    expect(stderr).toContain('tokctl: http: >   scope=api.read\n')
    expect(stderr).toContain('tokctl: http: < 200\n')
    expect(stderr).toContain('tokctl: http: < set-cookie: [redacted]\n')
    expect(stderr).toContain(
      '{"access_token":"[redacted]","refresh_token":"[redacted]","token_type":"Bearer","expires_in":3600,"note":{"deeper":["[redacted]","[redacted]"]}}',
    )
    expect(stderr).not.toMatch(/canary|4242424242/)
    expect(stderr).not.toContain(basic.slice(0, 12))
  })

  test.each([
    ['a page', 'text/html', '<p>page-canary-1</p>', /< {3}20 characters that are not JSON/],
    [
      'a form',
      'application/x-www-form-urlencoded',
      'access_token=form-canary-1&scope=a',
      /< {3}access_token=\[redacted\]/,
    ],
    [
      'members named after tokens',
      'application/json',
      `{"${'k'.repeat(50)}":1}`,
      /"\[redacted\]":"\[redacted\]"/,
    ],
  ])('an answer that is %s', async (_, type, body, shown) => {
    const { auth, options } = await corp()
    auth.answerNext({ headers: { 'content-type': type }, body })
    const { stderr } = await run(['get', 'corp', '--debug-http'], options)
    expect(stderr).toMatch(shown)
    expect(stderr).not.toMatch(/canary|kkkkk/)
  })

  test('TOKCTL_VERBOSE=http asks for both in the programs that call us', async () => {
    const { options } = await corp()
    const env = { ...options.env, TOKCTL_VERBOSE: 'http' }
    const { stderr } = await run(['get', 'corp'], { ...options, env })
    expect(stderr).toMatch(/directly: 200 in \d+ ms\n[\s\S]*tokctl: http: < 200\n/)
  })

  test('a hit has nothing to tell', async () => {
    const { options } = await corp()
    await run(['get', 'corp'], options)
    expect(await run(['get', 'corp', '--debug-http'], options)).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('a server that quotes what it was sent', () => {
  const levels = [[], ['--verbose'], ['--debug-http'], ['--json-errors'], ['-v', '--debug-http', '--debug']]
  test.each(levels.map(flags => [flags]))('is not quoted with %j', async flags => {
    const { auth, options } = await corp()
    auth.answerNext(({ headers }) => ({
      status: 400,
      body: {
        error: 'invalid_request',
        error_description: `you sent ${headers.authorization} that is ${secret}, ${encodeURIComponent(secret)}`,
      },
    }))
    const { code, stdout, stderr } = await run([...flags, 'get', 'corp'], options)
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' })
    expect(stderr).toContain('you sent Basic [redacted]')
    expect(stderr).not.toContain(secret)
    expect(stderr).not.toContain(basic.replace(/=+$/, ''))
  })

  test('is remembered without the quotation', async () => {
    const { at, auth, options } = await corp()
    auth.answerNext({ status: 401, body: { error: 'invalid_client', error_description: `not ${secret}` } })
    await run(['get', 'corp'], options)
    const again = await run(['get', 'corp'], options)
    expect(again.stderr).toContain('not [redacted]')
    for (const name of readdirSync(at.stateDir, { recursive: true, encoding: 'utf8' })) {
      const path = join(at.stateDir, name)
      if (/\.json$/.test(name)) expect(readFileSync(path, 'utf8')).not.toContain(secret)
    }
  })

  test('may cut the quotation short: what is left of a secret is taken out before the text is cut', async () => {
    const { auth, options } = await corp()
    auth.answerNext({
      status: 400,
      body: { error: 'invalid_request', error_description: `${'x'.repeat(190)} ${secret}` },
    })
    const { stderr } = await run(['get', 'corp'], options)
    expect(stderr).not.toMatch(/client-s/)
  })
})

describe('a program that is started', () => {
  const held = {
    CORP_SECRET: secret,
    OTHER_SECRET: 'other-canary',
    HEADER_SECRET: 'header-canary',
    PLAIN: 'plain',
    NODE_DEBUG: 'http',
    NODE_OPTIONS: '--max-old-space-size=200 --report-on-fatalerror',
    TOKCTL_STORE_KEY: Buffer.alloc(32, 7).toString('base64'),
    TOKCTL_VERBOSE: '0',
  }
  const others = (auth: AuthServer): string =>
    `${clientProfile('corp', auth.tokenEndpoint)}
[profile.other]
source = "static"
token = { env = "OTHER_SECRET" }
[profile.third]
source = "http"
url = "https://127.0.0.1:1/"
token_path = "token"
headers = { x-key = { env = "HEADER_SECRET" } }
`

  test('as a source of tokens gets our environment, without the secrets of other profiles and the keys of the store', async () => {
    const auth = await server()
    const at = scratch()
    const log = join(at.path, 'environment')
    const token = script(at, 'token', `env > '${log}'; echo command-token`)
    at.writeConfig(`${others(auth)}
[profile.mine]
source = "command"
command = ["${token}"]
pass_env = ["HEADER_SECRET"]
`)
    expect(await run(['get', 'mine'], { at, env: held })).toMatchObject({
      code: 0,
      stdout: 'command-token\n',
    })
    const got = listed(readFileSync(log, 'utf8'))
    expect(got).toMatchObject({ PLAIN: 'plain', HOME: at.home, HEADER_SECRET: 'header-canary' })
    for (const name of [
      'CORP_SECRET',
      'OTHER_SECRET',
      'TOKCTL_STORE_KEY',
      'TOKCTL_VERBOSE',
      'NODE_DEBUG',
      'NODE_OPTIONS',
    ])
      expect(got).not.toHaveProperty(name)
  })

  test('for a secret gets what its own profile names', async () => {
    const auth = await server()
    const at = scratch()
    const log = join(at.path, 'environment')
    const give = script(at, 'give', `env > '${log}'; echo '${secret}'`)
    at.writeConfig(
      `${others(auth)}
[profile.mine]
source = "client_credentials"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "mine"
client_secret = { command = ["${give}"] }
`,
    )
    expect(await run(['get', 'mine'], { at, env: held })).toMatchObject({ code: 0, stdout: 'token-1\n' })
    const got = listed(readFileSync(log, 'utf8'))
    expect(got).toMatchObject({ PLAIN: 'plain' })
    expect(Object.values(got).join()).not.toMatch(/canary/)
  })

  test('as a browser gets no secret at all', async () => {
    const auth = await server()
    const at = scratch()
    const log = join(at.path, 'environment')
    const browser = script(at, 'browser', `env > '${log}.new'; mv '${log}.new' '${log}'`)
    at.writeConfig(`${others(auth)}
[profile.me]
source = "authorization_code"
authorization_endpoint = "${auth.url}/authorize"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "me"
client_secret = { env = "PLAIN_SECRET" }
`)
    const env = { ...held, PLAIN_SECRET: 'own-canary', BROWSER: browser }
    const signing = start(['login', 'me', '--timeout', '20s'], { at, env })
    await expect.poll(() => readdirSync(at.path)).toContain('environment')
    signing.kill('SIGINT')
    await signing.done
    const got = listed(readFileSync(log, 'utf8'))
    expect(got).toMatchObject({ PLAIN: 'plain' })
    expect(Object.values(got).join()).not.toMatch(/canary/)
    expect(got).not.toHaveProperty('TOKCTL_STORE_KEY')
  })

  test('is never given a secret as an argument', async () => {
    const auth = await server()
    const at = scratch()
    const give = script(at, 'give', `/bin/echo '${secret}' > '${at.path}/copy'; cat '${at.path}/copy'`)
    at.writeConfig(
      clientProfile('corp', auth.tokenEndpoint).replace(
        '{ env = "CORP_SECRET" }',
        `{ command = ["${give}"] }`,
      ),
    )
    const log = join(at.path, 'execve.log')
    const strace = straced(log, 'execve', ['-s', '10000', '-v'])
    auth.expiresIn = 20
    // The first asks, the second is stale, so that a renewal is started beside it.
    expect(await run(['get', 'corp'], { at, program: strace })).toMatchObject({
      code: 0,
      stdout: 'token-1\n',
    })
    const calls = readFileSync(log, 'utf8')
    expect(calls).toContain(give)
    const ours = calls.split('\n').filter(line => !line.includes('/bin/echo'))
    expect(ours.join('\n')).not.toMatch(/client-secret-canary|token-1/)
  })
})

describe('a process that runs', () => {
  test('does not open a debugger for SIGUSR1, and goes on', async () => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const running = start(['get', 'corp'], options)
    await gate.arrived(1)
    running.kill('SIGUSR1')
    gate.release()
    expect(await running.done).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  })

  test('writes neither a diagnostic report nor a heap snapshot, whatever Node was asked for', async () => {
    const { at, options } = await corp()
    const probe = at.write(
      'probe.cjs',
      `process.on('exit', () => {
        const { reportOnSignal, reportOnFatalError, reportOnUncaughtException } = process.report
        const heard = process.listeners('SIGUSR2').map(each => String(each).replace(/\\s/g, ''))
        require('node:fs').writeFileSync(__dirname + '/probe.json', JSON.stringify({
          reportOnSignal, reportOnFatalError, reportOnUncaughtException, heard }))
      })`,
    )
    const asked =
      '--report-on-signal --report-signal=SIGUSR2 --report-on-fatalerror --report-uncaught-exception --heapsnapshot-signal=SIGUSR2'
    const env = { ...options.env, NODE_OPTIONS: `--require ${probe} ${asked}` }
    expect(await run(['get', 'corp'], { ...options, env })).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(JSON.parse(readFileSync(join(at.path, 'probe.json'), 'utf8'))).toEqual({
      reportOnSignal: false,
      reportOnFatalError: false,
      reportOnUncaughtException: false,
      heard: ['()=>{}'],
    })
  })
})
