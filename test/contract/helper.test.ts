import { readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ahead, clientProfile, corp } from '../support/corp.ts'
import { programFile, programNamed, type RunOptions, run, scratch, start, straced } from '../support/run.ts'

const matching = 'match = ["https://git.example.com", "https://reg.example.com"]'
const asked = 'protocol=https\nhost=git.example.com\n'
const silent = { code: 0, stdout: '', stderr: '' }

const git = (verb: string, options: RunOptions, input = asked) =>
  run(['helper', 'git', verb], { ...options, input })

describe('git', () => {
  test('get answers with the token, once asked for, and store of it costs no request and no write', async () => {
    const { auth, at, options } = await corp(matching)
    auth.expiresIn = undefined
    const answer = { code: 0, stdout: 'username=oauth2\npassword=token-1\n', stderr: '' }
    expect(await git('get', options)).toMatchObject(answer)
    expect(await git('get', options)).toMatchObject(answer)
    const log = join(at.path, 'trace')
    const strace = straced(log, 'openat')
    const input = `${asked}username=oauth2\npassword=token-1\n`
    expect(await run(['helper', 'git', 'store'], { ...options, input, program: strace })).toMatchObject(
      silent,
    )
    const opened = readFileSync(log, 'utf8')
    expect(opened).toMatch(/main\.cjs|libc\.so/)
    expect(opened).not.toContain('config.toml')
    expect(opened).not.toContain(at.stateDir)
    expect(auth.count()).toBe(1)
  })

  test('a request ends at its blank line, however long the pipe stays open', async () => {
    const { options } = await corp(matching)
    const { child, done } = start(['helper', 'git', 'get'], { ...options, keepInput: true })
    child.stdin?.write(`${asked}\nhost=reg.example.com\n`)
    expect(await done).toMatchObject({ code: 0, stderr: '' })
    expect((await done).stdout).toContain('password=token-1\n')
  })

  test('erase drops the token that was refused, and no other', async () => {
    const { auth, options } = await corp(matching)
    await git('get', options)
    expect(await git('erase', options, `${asked}username=oauth2\npassword=another\n`)).toMatchObject(silent)
    expect(await git('erase', options, asked)).toMatchObject(silent)
    expect(await git('erase', options, `${asked}username=someone\n`)).toMatchObject(silent)
    expect((await git('get', options)).stdout).toContain('password=token-1\n')
    expect(await git('erase', options, `${asked}username=oauth2\npassword=token-1\n`)).toMatchObject(silent)
    expect((await git('get', options)).stdout).toContain('password=token-2\n')
    expect(auth.count()).toBe(2)
  })

  test('erase ends no session: the refresh token stays', async () => {
    const { auth, options } = await corp(matching)
    auth.answerNext({
      body: { access_token: 'first', token_type: 'Bearer', expires_in: 3600, refresh_token: 'stay' },
    })
    const config = readFileSync(options.at!.configFile, 'utf8').replace(
      'source = "client_credentials"',
      'source = "refresh_token"\nrefresh_token = { env = "SEED" }',
    )
    options.at!.writeConfig(config)
    const signedIn = { ...options, env: { ...options.env, SEED: 'seed' } }
    expect((await git('get', signedIn)).stdout).toContain('password=first\n')
    expect(await git('erase', signedIn, `${asked}password=first\n`)).toMatchObject(silent)
    expect((await git('get', signedIn)).stdout).toContain('password=token-1\n')
    expect(auth.requests.map(({ params }) => params['refresh_token'])).toEqual(['seed', 'stay'])
  })

  test('a git that carries state is given another token after a 401, in the same run', async () => {
    const { auth, options } = await corp(matching)
    const first = await git('get', options, `capability[]=state\n${asked}`)
    expect(first.stdout).toMatch(/^password=token-1$/m)
    expect(first.stdout).toMatch(/^continue=1$/m)
    const state = /^state\[\]=tokctl:\d+$/m.exec(first.stdout)![0]
    const again = `capability[]=state\n${asked}username=oauth2\n${state}\n`
    const second = await git('get', options, again)
    expect(second.stdout).toMatch(/^password=token-2$/m)
    expect(second.stdout).not.toContain('continue')
    // What was refused is no longer what is kept: nothing more to reject.
    expect((await git('get', options, again)).stdout).toMatch(/^password=token-2$/m)
    expect(auth.count()).toBe(2)
  })

  const others: [name: string, input: string][] = [
    ['another host', 'protocol=https\nhost=other.example.com\n'],
    ['http in place of https', 'protocol=http\nhost=git.example.com\n'],
    ['another port', 'protocol=https\nhost=git.example.com:8443\n'],
    ['a host that only begins like ours', 'protocol=https\nhost=git.example.com.evil.example\n'],
    ['a CR that hides a host', 'protocol=https\nhost=git.example.com\rhost=x\n'],
    ['bytes that are no UTF-8', `protocol=https\nhost=git.example.com\u00ff\n`],
  ]
  test.each(others)('%s: silence', async (_, input) => {
    const { auth, options } = await corp(matching)
    const bytes = Buffer.from(input, 'latin1')
    for (const verb of ['get', 'erase']) {
      expect(await run(['helper', 'git', verb], { ...options, input: bytes })).toMatchObject(silent)
    }
    expect(auth.count()).toBe(0)
  })

  test('a user that is named gets the token if the profile names none, or the same', async () => {
    const { options } = await corp(matching)
    const alice = `${asked}username=alice\n`
    expect((await git('get', options, alice)).stdout).toContain('username=alice\npassword=token-1\n')
    const bot = await corp(`${matching}\nusername = "bot"`)
    expect(await git('get', bot.options, alice)).toMatchObject(silent)
    expect((await git('get', bot.options, `${asked}username=bot\n`)).stdout).toContain('username=bot\n')
    expect(await git('erase', bot.options, `${alice}password=token-1\n`)).toMatchObject(silent)
    expect((await git('get', bot.options)).stdout).toContain('password=token-1\n')
  })

  test('of two profiles for one place the user tells which is meant', async () => {
    const { auth, at, options } = await corp(`${matching}\nusername = "bot"`)
    const alice = `match = ["https://git.example.com"]\nusername = "alice"`
    const both = [readFileSync(at.configFile, 'utf8'), clientProfile('alice', `${auth.url}/alice`, alice)]
    at.writeConfig(both.join('\n'))
    for (const user of ['alice', 'bot']) {
      const { stdout } = await git('get', options, `${asked}path=team/x\nusername=${user}\n`)
      expect(stdout).toContain(`username=${user}\npassword=`)
    }
    expect(await git('get', options, `${asked}username=carol\n`)).toMatchObject(silent)
    expect(auth.requests.map(request => request.path)).toEqual(['/alice', '/token'])
  })

  test('the profile with the longest path is found among many', async () => {
    const { auth, at, options } = await corp(matching)
    const more = Array.from({ length: 30 }, (_, i) =>
      clientProfile(`p${i}`, `${auth.url}/p${i}`, `match = ["https://GIT.example.com/team/${i}"]`),
    )
    at.writeConfig([readFileSync(at.configFile, 'utf8'), ...more].join('\n'))
    for (const path of ['team/7/repo.git', 'team/70', 'team/8/repo.git']) {
      expect(await git('get', options, `${asked}path=${path}\n`)).toMatchObject({ code: 0, stderr: '' })
    }
    expect(auth.requests.map(request => request.path)).toEqual(['/p7', '/token', '/p8'])
  })

  test('a failure is one line and its exit code, and stdout stays empty', async () => {
    const { auth, options } = await corp(matching)
    auth.unavailable()
    const { code, stdout, stderr } = await git('get', options)
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: .*503.*\n(tokctl: hint: .*\n)?$/)
  })

  test('a token that is served although its renewal failed comes without a warning', async () => {
    const { auth, options } = await corp(matching)
    await git('get', options)
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    auth.unavailable(600)
    await run(['refresh', 'corp', '--if-stale'], stale)
    expect((await run(['get', 'corp'], stale)).stderr).toMatch(/^tokctl: warning: /)
    const served = await git('get', stale)
    expect(served).toMatchObject({ code: 0, stderr: '' })
    expect(served.stdout).toContain('password=token-1\n')
  })

  test('verbs of later gits get no word, and do not need a configuration', async () => {
    expect(await run(['helper', 'git', 'frobnicate'], { input: asked })).toMatchObject(silent)
    expect(await run(['helper', 'git', 'capability'])).toMatchObject({
      code: 0,
      stdout: 'version 0\ncapability authtype\ncapability state\n',
      stderr: '',
    })
  })

  test('without a configuration get is a failure that says so', async () => {
    const { code, stdout, stderr } = await git('get', {})
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: configuration file .* does not exist\n/)
  })
})

describe('under its other names', () => {
  const cases: [name: string, args: string[], input: string, stdout: string | RegExp][] = [
    ['git-credential-tokctl', ['get'], asked, 'username=oauth2\npassword=token-1\n'],
    [
      'docker-credential-tokctl',
      ['get'],
      'reg.example.com',
      '{"ServerURL":"reg.example.com","Username":"oauth2","Secret":"token-1"}\n',
    ],
    ['terraform-credentials-tokctl', ['get', 'reg.example.com'], '', '{"token":"token-1"}\n'],
    [
      'cargo-credential-tokctl',
      ['--cargo-plugin'],
      '{"v":1,"registry":{"index-url":"sparse+https://reg.example.com/"},"kind":"get","operation":"read"}\n',
      '{"v":[1]}\n{"Ok":{"kind":"get","token":"Bearer token-1","cache":"session","operation_independent":true}}\n',
    ],
  ]
  test.each(cases)('%s', async (name, args, input, stdout) => {
    const { auth, at, options } = await corp(matching)
    auth.expiresIn = undefined
    expect(await run(args, { ...options, input, program: programNamed(name) })).toMatchObject({
      code: 0,
      stdout,
      stderr: '',
    })
    // As npm installs it: a link of that name.
    const link = join(at.path, name)
    symlinkSync(programFile(name), link)
    expect(basename(link)).toBe(name)
    expect(await run(args, { ...options, input, program: [link] })).toMatchObject({ code: 0, stdout })
    expect(auth.count()).toBe(1)
  })

  test('a stale token is renewed in the background all the same', async () => {
    const { auth, options } = await corp(matching)
    await git('get', options)
    const gate = auth.hold()
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    const served = await run(['get'], {
      ...stale,
      input: asked,
      program: programNamed('git-credential-tokctl'),
    })
    expect(served).toMatchObject({ code: 0, stderr: '' })
    await gate.arrived(1)
    gate.release()
  })
})

describe('docker', () => {
  const docker = (verb: string, options: RunOptions, input = '') =>
    run(['helper', 'docker', verb], { ...options, input })

  test('get, list and erase', async () => {
    const { options } = await corp(`${matching}\nusername = "AWS"`)
    expect(await docker('list', options)).toMatchObject({ code: 0, stdout: '{}\n', stderr: '' })
    expect(await docker('get', options, 'reg.example.com/team/image')).toMatchObject({
      code: 0,
      stdout: '{"ServerURL":"reg.example.com/team/image","Username":"AWS","Secret":"token-1"}\n',
    })
    expect(await docker('list', options, 'unused')).toMatchObject({
      code: 0,
      stdout: '{"git.example.com":"AWS","reg.example.com":"AWS"}\n',
      stderr: '',
    })
    expect(await docker('erase', options, 'reg.example.com')).toMatchObject(silent)
    expect((await docker('get', options, 'reg.example.com')).stdout).toContain('token-1')
  })

  test('store takes our own token and refuses any other', async () => {
    const { options } = await corp(matching)
    await docker('get', options, 'reg.example.com')
    const store = (server: string, secret: string) =>
      docker('store', options, JSON.stringify({ ServerURL: server, Username: 'u', Secret: secret }))
    expect(await store('reg.example.com', 'token-1')).toMatchObject(silent)
    expect(await store('reg.example.com', 'typed')).toMatchObject({
      code: 1,
      stdout: 'tokctl: the token for this place comes from profile "corp"; another one is not kept\n',
      stderr: '',
    })
    expect(await store('other.example.com', 'typed')).toMatchObject({
      code: 1,
      stdout: 'tokctl keeps no passwords, and no profile matches this server\n',
      stderr: '',
    })
  })

  test('list waits for no input, and tells on stdout what it cannot read', async () => {
    const { at, options } = await corp(matching)
    const { done } = start(['helper', 'docker', 'list'], { ...options, keepInput: true })
    expect(await done).toMatchObject({ code: 0, stdout: '{}\n', stderr: '' })
    rmSync(at.configFile)
    const { code, stdout, stderr } = await docker('list', options)
    expect([code, stderr]).toEqual([1, ''])
    expect(stdout).toMatch(/^tokctl: .*config\.toml.*\n$/)
  })

  test('not found, and a failure, both on stdout', async () => {
    const { auth, options } = await corp(matching)
    expect(await docker('get', options, 'other.example.com')).toMatchObject({
      code: 1,
      stdout: 'credentials not found in native keychain\n',
      stderr: '',
    })
    auth.unavailable()
    const { code, stdout, stderr } = await docker('get', options, 'reg.example.com')
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^tokctl: .*503.*\n$/)
  })
})

describe('the others', () => {
  test('kubectl, pnpm and gcp take the profile by name; an unknown one is exit 3', async () => {
    const { auth, options } = await corp()
    auth.expiresIn = undefined
    const info = '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{}}'
    const env = { ...options.env, KUBERNETES_EXEC_INFO: info }
    expect(await run(['helper', 'kubectl', 'corp'], { ...options, env })).toMatchObject({
      code: 0,
      stdout:
        '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"token":"token-1"}}\n',
      stderr: '',
    })
    expect((await run(['helper', 'pnpm', 'corp'], options)).stdout).toBe('Bearer token-1\n')
    expect((await run(['helper', 'gcp', 'corp'], options)).stdout).toContain('"id_token":"token-1"')
    expect(await run(['helper', 'kubectl', 'crop'], options)).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(/^tokctl: error: unknown profile "crop"; did you mean "corp"\?\n/),
    })
  })

  test('cargo is answered line by line, without waiting for the end', async () => {
    const { options } = await corp(matching)
    const plugin = start(['helper', 'cargo', '--cargo-plugin'], { ...options, keepInput: true })
    const { stdin, stdout } = plugin.child
    const next = () => new Promise<string>(resolve => stdout!.once('data', data => resolve(`${data}`)))
    expect(await next()).toBe('{"v":[1]}\n')
    const ask = (kind: string) =>
      `{"v":1,"registry":{"index-url":"sparse+https://reg.example.com/"},"kind":"${kind}"}\n`
    stdin!.write(ask('get').slice(0, 20))
    stdin!.write(ask('get').slice(20))
    expect(JSON.parse(await next())).toMatchObject({ Ok: { token: 'Bearer token-1' } })
    stdin!.write(ask('logout'))
    expect(await next()).toBe('{"Err":{"kind":"operation-not-supported"}}\n')
    stdin!.end()
    expect(await plugin.done).toMatchObject({ code: 0, stderr: '' })
  })

  test('goauth tells what is at hand without a request, and more when it is asked', async () => {
    const { auth, options } = await corp(matching)
    expect(await run(['helper', 'goauth'], options)).toMatchObject(silent)
    expect(auth.count()).toBe(0)
    const told = 'https://git.example.com\nhttps://reg.example.com\n\nAuthorization: Bearer token-1\n\n'
    const input = 'HTTP/1.1 401 Unauthorized\n\n'
    expect(await run(['helper', 'goauth', 'https://reg.example.com/x'], { ...options, input })).toMatchObject(
      {
        code: 0,
        stdout: `https://reg.example.com/x\n${told}`,
        stderr: '',
      },
    )
    expect((await run(['helper', 'goauth'], options)).stdout).toBe(told)
  })

  test('keyring knows its options, and leaves with 1 and no word for what is not ours', async () => {
    const { options } = await corp(matching)
    const args = ['helper', 'keyring', 'get', 'https://reg.example.com/simple', '--mode', 'creds']
    expect(await run(args, options)).toMatchObject({ code: 0, stdout: 'oauth2\ntoken-1\n', stderr: '' })
    expect(await run(['helper', 'keyring', 'get', 'other.example.com', 'u'], options)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: '',
    })
  })

  test('a protocol that is not spoken is exit 2', async () => {
    const { code, stdout, stderr } = await run(['helper', 'svn'])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: helper: "svn" is no protocol that is spoken here\n/)
  })
})

test("a helper's hit reads what a hit reads and one file more, opens no socket and listens to no signal", async () => {
  const { at, options } = await corp(matching)
  await git('get', options)
  for (const [args, input] of [
    [['git', 'get'], asked],
    [['docker', 'get'], 'reg.example.com'],
    [['kubectl', 'corp'], ''],
  ] as const) {
    const log = join(at.path, 'trace')
    writeFileSync(log, '')
    const strace = straced(log, 'openat,connect,socket,execve,rt_sigaction')
    const { code, stdout } = await run(['helper', ...args], { ...options, input, program: strace })
    expect(code).toBe(0)
    expect(stdout).toContain('token-1')
    const lines = readFileSync(log, 'utf8').split('\n')
    const calls = lines.slice(lines.findIndex(line => /openat\(.*bin\/tokctl\.js/.test(line)))
    expect(calls.filter(call => /\b(connect|socket|execve|rt_sigaction)\(/.test(call))).toEqual([])
    const ours = calls.flatMap(call => /"[^"]*\/dist\/cli\/([^"]+)"/.exec(call)?.[1] ?? [])
    expect(ours).toEqual(['main.cjs', 'main.cache', 'helper.cjs', 'helper.cache'])
  }
})

describe('aws', () => {
  const keys = (n: number): string =>
    JSON.stringify({
      Keys: { Id: `AKIA${n}`, Secret: `canary-${n}`, Token: `session-${n}`, End: '2037-01-01T00:00:00Z' },
    })
  // Each run of it gives the next keys.
  const config = (at: { path: string }): string => `
[profile.keys]
source = "command"
command = ["/bin/sh", "-c", 'echo x >> ${at.path}/runs; sed -n "$(wc -l < ${at.path}/runs)p" ${at.path}/answers']
members = { AccessKeyId = "Keys.Id", SecretAccessKey = "Keys.Secret", SessionToken = "Keys.Token" }
expires_at_path = "Keys.End"
`
  const home = () => {
    const at = scratch()
    at.writeConfig(config(at))
    at.write('answers', `${keys(1)}\n${keys(2)}\n`)
    return at
  }

  test('keys are fetched once, kept sealed, and answered from there', async () => {
    const at = home()
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await run(['helper', 'aws', 'keys'], { at })
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(JSON.parse(stdout)).toMatchObject({
        Version: 1,
        AccessKeyId: 'AKIA1',
        SecretAccessKey: 'canary-1',
      })
      expect(stdout).toMatch(/"Expiration":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"\}\n$/)
    }
    expect(readFileSync(join(at.path, 'runs'), 'utf8')).toBe('x\n')
    for (const file of readdirSync(at.stateDir, { recursive: true, withFileTypes: true })) {
      if (file.isFile())
        expect(readFileSync(join(file.parentPath, file.name), 'latin1')).not.toContain('canary')
    }
    expect((await run(['status'], { at })).stdout).toMatch(/^keys +command +fresh/m)
  })

  test('get prints the members as one line, which reject takes; and as JSON and variables', async () => {
    const at = home()
    const line = '{"AccessKeyId":"AKIA1","SecretAccessKey":"canary-1","SessionToken":"session-1"}\n'
    expect(await run(['get', 'keys'], { at })).toMatchObject({ code: 0, stdout: line, stderr: '' })
    const json = JSON.parse((await run(['get', 'keys', '-o', 'json'], { at })).stdout)
    expect(json).toMatchObject({ profile: 'keys', members: JSON.parse(line), expires_in: expect.any(Number) })
    expect(json).not.toHaveProperty('access_token')
    expect((await run(['get', 'keys', '-o', 'env'], { at })).stdout).toBe(
      "export AccessKeyId='AKIA1'\nexport SecretAccessKey='canary-1'\nexport SessionToken='session-1'\n",
    )
    for (const form of ['header', 'curl', 'netrc']) {
      expect(await run(['get', 'keys', '-o', form], { at })).toMatchObject({
        code: 2,
        stdout: '',
        stderr: `tokctl: error: profile "keys" yields named members, which "${form}" has no room for\ntokctl: hint: run: tokctl get keys -o json\n`,
      })
    }
    expect(await run(['reject', 'keys'], { at, input: line })).toMatchObject(silent)
    expect(JSON.parse((await run(['helper', 'aws', 'keys'], { at })).stdout)).toMatchObject({
      AccessKeyId: 'AKIA2',
    })
  })

  test('keys are no token for another tool: told in its own words, with nothing beside them', async () => {
    const at = home()
    const { code, stdout, stderr } = await run(['helper', 'gcp', 'keys'], { at })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({
      success: false,
      code: 'usage',
      message: expect.stringMatching(/^this profile yields named members, and the tool asks for one token /),
    })
    expect(await run(['helper', 'pnpm', 'keys'], { at })).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^tokctl: error: this profile yields named members/),
    })
  })

  test('a profile of one token is no answer, and says what is missing', async () => {
    const { options } = await corp()
    expect(await run(['helper', 'aws', 'corp'], options)).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(
        /^tokctl: error: the profile yields no AccessKeyId and no SecretAccessKey\ntokctl: hint: write members = /,
      ),
    })
  })
})

describe('gcp with an output file', () => {
  test('the answer stands there too, for its owner alone', async () => {
    const { auth, at, options } = await corp()
    const output = join(at.path, 'out.json')
    const env = { ...options.env, GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE: output }
    const { stdout, stderr } = await run(['helper', 'gcp', 'corp'], { ...options, env })
    expect(stderr).toBe('')
    expect(readFileSync(output, 'utf8')).toBe(stdout)
    expect(statSync(output).mode & 0o777).toBe(0o600)
    expect(JSON.parse(stdout)).toMatchObject({ success: true, id_token: 'token-1' })
    expect(auth.count()).toBe(1)
  })

  test('one that cannot be written is done without, unless the library reads nothing else', async () => {
    const { at, options } = await corp()
    const output = join(at.path, 'nowhere', 'out.json')
    const env = { ...options.env, GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE: output }
    const served = await run(['helper', 'gcp', 'corp'], { ...options, env })
    expect(served).toMatchObject({ code: 0, stderr: '' })
    expect(served.stdout).toContain('"id_token":"token-1"')
    const interactive = { ...env, GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE: '1' }
    expect(await run(['helper', 'gcp', 'corp'], { ...options, env: interactive })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `tokctl: error: cannot write "${output}" (ENOENT)\n`,
    })
  })
})

describe('get -o netrc', () => {
  test('is a line for each host that the profile matches, and curl takes it', async () => {
    const { auth, at, options } = await corp(
      'match = ["http://127.0.0.1:1", "https://b.example/x", "https://b.example"]\nusername = "bot"',
    )
    const { code, stdout, stderr } = await run(['get', 'corp', '-o', 'netrc'], options)
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: 'machine 127.0.0.1 login bot password token-1\nmachine b.example login bot password token-1\n',
      stderr: '',
    })
    const file = at.write('netrc', stdout)
    const curl = { ...options, program: ['curl', '--silent', '--netrc-file', file] }
    expect((await run([`${auth.url}/hello`], curl)).code).toBe(0)
    expect(auth.requests.at(-1)?.headers.authorization).toBe(
      `Basic ${Buffer.from('bot:token-1').toString('base64')}`,
    )
  })

  test('a profile that matches nothing, or has a user that cannot be written, is a wrong command', async () => {
    const nothing = await corp()
    expect(await run(['get', 'corp', '-o', 'netrc'], nothing.options)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(
        /^tokctl: error: profile "corp" matches no host that a netrc could name\ntokctl: hint: write match = /,
      ),
    })
    const spaced = await corp('match = ["b.example"]\nusername = "a b"')
    expect(await run(['get', 'corp', '-o', 'netrc'], spaced.options)).toMatchObject({
      code: 2,
      stdout: '',
      stderr:
        'tokctl: error: the username of profile "corp" holds a character that a netrc cannot\n' +
        'tokctl: hint: write another username = "…" in the profile\n',
    })
  })
})
