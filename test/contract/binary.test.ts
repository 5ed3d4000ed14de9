import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { makeCertificates } from '../support/certificates.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { keyringMissing, startKeyring } from '../support/keyring.ts'
import { rawAnswer, startRawServer } from '../support/raw-server.ts'
import { oneFile, type RunResult, run, scratch, straced } from '../support/run.ts'

const [file] = oneFile as [string]

describe('its names', () => {
  test.each([
    ['git-credential-tokctl', ['get'], 'protocol=https\nhost=corp.example.com\n\n', /^password=token-1$/m],
    ['docker-credential-tokctl', ['get'], 'corp.example.com', /"Secret":"token-1"/],
    ['tokctl', ['get', 'corp'], '', /^token-1\n$/],
  ])('a link called %s is that helper', async (name, args, input, answer) => {
    const { at, options } = await corp('match = ["https://corp.example.com"]')
    const link = join(at.path, name)
    symlinkSync(file, link)
    const { code, stdout, stderr } = await run(args, { ...options, program: [link], input })
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(answer)
  })

  test('what it writes for other tools names the file, and no script', async () => {
    const { options } = await corp('match = ["https://corp.example.com"]')
    const { stdout } = await run(['setup', 'git', '--print'], { ...options, program: oneFile })
    expect(stdout).toContain(`${realpathSync(file)} `)
    expect(stdout).not.toMatch(/bunfs|bun |node|\.js/)
  })
})

describe('the runtime in it', () => {
  const canary = 'CANARY-OF-FOREIGN-CODE'

  /** One hit, one miss and one word about itself, in that environment and directory. */
  async function ask(
    { options }: Corp,
    env: Readonly<Record<string, string>>,
    cwd?: string,
  ): Promise<RunResult[]> {
    const all: RunResult[] = []
    for (const args of [['get', 'corp', '--force'], ['get', 'corp'], ['--version']]) {
      all.push(
        await run(args, {
          ...options,
          program: oneFile,
          env: { ...options.env, ...env },
          ...(cwd === undefined ? {} : { cwd }),
        }),
      )
    }
    return all
  }

  function expectUntouched(all: readonly RunResult[]): void {
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(all.map(() => [0, '']))
    expect(all.map(({ stdout }) => stdout)).toEqual([
      'token-1\n',
      'token-1\n',
      expect.stringMatching(/^tokctl \d.* bun \d/),
    ])
  }

  const variables: [string, (write: (name: string, text: string) => string) => Record<string, string>][] = [
    ['BUN_BE_BUN', () => ({ BUN_BE_BUN: '1' })],
    ['BUN_OPTIONS', write => ({ BUN_OPTIONS: `--preload ${write('evil.js', `console.log('${canary}')`)}` })],
    ['BUN_OPTIONS with an inspector', () => ({ BUN_OPTIONS: '--inspect-brk=127.0.0.1:0' })],
    ['BUN_INSPECT', () => ({ BUN_INSPECT: '127.0.0.1:0?break=1', BUN_INSPECT_NOTIFY: 'unix:///nowhere' })],
    ['BUN_INSPECT_PRELOAD', write => ({ BUN_INSPECT_PRELOAD: write('evil.js', `console.log('${canary}')`) })],
    ['BUN_CONFIG_VERBOSE_FETCH', () => ({ BUN_CONFIG_VERBOSE_FETCH: 'curl' })],
    ['BUN_JSC_*', () => ({ BUN_JSC_dumpOptions: '1', BUN_JSC_dumpModuleLoadingState: '1' })],
    ['JSC_*', () => ({ JSC_dumpOptions: '1' })],
    [
      'NODE_OPTIONS',
      write => ({ NODE_OPTIONS: `--require ${write('evil.js', `console.log('${canary}')`)}` }),
    ],
    ['NODE_OPTIONS with an inspector', () => ({ NODE_OPTIONS: '--inspect-brk=127.0.0.1:0' })],
  ]
  test.each(variables)('does nothing that %s says', async (_, variable) => {
    const made = await corp()
    expectUntouched(
      await ask(
        made,
        variable((name, text) => made.at.write(name, text)),
      ),
    )
  })

  test('writes no file that a variable names', async () => {
    const made = await corp()
    const into = join(made.at.path, 'into')
    mkdirSync(into)
    const places = ['BYTECODE_ORDER_OUT', 'BYTECODE_ORDER_NAMES_OUT', 'BYTECODE_DIGEST_OUT'].map(
      name => [`BUN_${name}`, join(into, name)] as const,
    )
    const env = {
      ...Object.fromEntries(places),
      BUN_RUNTIME_TRANSPILER_CACHE_PATH: into,
      BUN_JSC_useSamplingProfiler: '1',
      BUN_JSC_samplingProfilerPath: into,
      NODE_COMPILE_CACHE: into,
      NODE_V8_COVERAGE: into,
    }
    expectUntouched(await ask(made, env))
    expect(readdirSync(into)).toEqual([])
  })

  test('trusts whom Node trusts: neither what variables of OpenSSL name nor what lies in its directories', async () => {
    const certificates = makeCertificates()
    onTestFinished(() => certificates.remove())
    execFileSync('openssl', ['rehash', certificates.dir])
    const answer = '{"access_token":"token-1","token_type":"Bearer"}'
    const headers = { 'Content-Type': 'application/json' }
    const server = await startRawServer(rawAnswer(200, headers, answer), certificates.server)
    onTestFinished(() => server.close())
    const config = clientProfile('corp', `https://localhost:${server.port}/token`)
    const env = { CORP_SECRET: 'client-secret-canary' }

    const at = scratch()
    const log = join(at.path, 'strace.log')
    const foreign = { ...env, SSL_CERT_FILE: certificates.caFile, SSL_CERT_DIR: certificates.dir }
    const program = straced(log, '?open,openat', [], oneFile)
    const refused = await run(['get', 'corp'], { at, config, env: foreign, program })
    expect([refused.code, refused.stdout]).toEqual([5, ''])
    expect(refused.stderr).toContain('is signed by an authority that is not trusted here')
    expect(server.requests).toEqual([])
    const opened = readFileSync(log, 'utf8')
    expect(opened).toMatch(/"[^"]+"/)
    expect(opened).not.toMatch(/\/(ssl|pki|certs)\//)
    expect(opened).not.toContain(certificates.dir)

    const trusting = { ...env, NODE_EXTRA_CA_CERTS: certificates.caFile }
    const served = await run(['get', 'corp'], { config, env: trusting, program: oneFile })
    expect([served.code, served.stdout, served.stderr]).toEqual([0, 'token-1\n', ''])
  })

  test('reads nothing of the directory it is in', async () => {
    const made = await corp()
    const { at } = made
    const evil = at.write(
      'here/evil.js',
      `require('fs').writeFileSync('loaded', ''); console.log('${canary}')`,
    )
    at.write(
      'here/.env',
      `CORP_SECRET=from-dotenv\nTOKCTL_STATE_DIR=${at.path}/elsewhere\nBUN_OPTIONS=--preload ${evil}`,
    )
    at.write('here/.env.local', `TOKCTL_STATE_DIR=${at.path}/elsewhere`)
    at.write('here/.env.production', `TOKCTL_STATE_DIR=${at.path}/elsewhere`)
    at.write('here/bunfig.toml', `preload = ["${evil}"]\nlogLevel = "debug"\n[run]\nbun = true\n`)
    at.write(
      'here/package.json',
      `{ "type": "module", "main": "${evil}", "imports": { "#a": "${evil}" }, "name": `,
    )
    at.write('here/tsconfig.json', `{ "compilerOptions": { "paths": { "*": ["${evil}"] } }`)
    for (const name of ['commander', 'undici', 'smol-toml', 'fs-native-extensions', 'kleur']) {
      at.write(`here/node_modules/${name}/index.js`, `console.log('${canary}')`)
    }
    const cwd = join(at.path, 'here')
    expectUntouched(await ask(made, {}, cwd))
    expect(made.auth.requests[0]!.headers['authorization']).toBe(
      `Basic ${Buffer.from('build-bot:client-secret-canary').toString('base64')}`,
    )
    expect(existsSync(join(cwd, 'loaded'))).toBe(false)
    expect(existsSync(join(at.path, 'elsewhere'))).toBe(false)
    const traced = await run(['get', 'corp'], {
      ...made.options,
      cwd,
      program: ['strace', '-f', '-e', 'trace=open,openat,connect,socket,bind,listen', ...oneFile],
    })
    expect(traced.stdout).toBe('token-1\n')
    expect(traced.stderr).not.toMatch(/"(\.env|bunfig|package\.json|tsconfig|node_modules)|\/here[/"]/)
    expect(traced.stderr).not.toMatch(/bind\(|listen\(|AF_INET/)
  })
})

// Its runtime starts some for an event loop that has work, for a heap that grows, and to compile: fifty hits at once would
// each wait for the others'.
test.skipIf(keyringMissing() !== undefined || process.arch !== 'x64')(
  'a hit from the keychain starts no thread, and asks the bus in three turns',
  async () => {
    const keyring = await startKeyring()
    onTestFinished(() => keyring.stop())
    const { at, options } = await corp()
    const env = { ...options.env, DBUS_SESSION_BUS_ADDRESS: keyring.address, TOKCTL_STORE: 'keychain' }
    const call = { ...options, env, program: oneFile }
    expect(await run(['get', 'corp'], call)).toMatchObject({ code: 0, stdout: 'token-1\n' })
    const log = join(at.path, 'strace.log')
    const traced = straced(log, 'clone,clone3,sendto,connect', [], oneFile)
    const hit = await run(['get', 'corp'], { ...call, program: traced })
    expect(hit).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    const calls = readFileSync(log, 'utf8').match(/(?<=^\d+ +)\w+(?=\()/gm)
    expect(calls).toEqual(['connect', 'sendto', 'sendto', 'sendto'])
  },
)

test('takes no socket of a service manager, and says so: its runtime would listen at another one', async () => {
  const { at, options } = await corp()
  at.writeConfig(`${clientProfile('corp', 'http://127.0.0.1:9/token')}
[proxy.api]
profile = "corp"
listen = "systemd"
upstream = "https://api.example.com"
`)
  const activated = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0'
  const { code, stderr } = await run(['proxy', 'api'], {
    ...options,
    program: ['sh', '-c', activated, ...oneFile],
  })
  expect(code).toBe(2)
  expect(stderr).toContain(
    'proxy "api": this program, which is one file, takes no socket that a service manager opened',
  )
  expect(stderr).toContain('start the one on Node, or name an address: --listen 127.0.0.1:8080')
})

test('a key that is bound to RSA-PSS, which its runtime does not know, is told as such', async () => {
  const { privateKey } = generateKeyPairSync('rsa-pss', {
    modulusLength: 2048,
    publicKeyEncoding: { format: 'pem', type: 'spki' },
    privateKeyEncoding: { format: 'pem', type: 'pkcs8' },
  })
  const { auth, at, options } = await corp()
  const profile = clientProfile('corp', auth.tokenEndpoint)
  at.writeConfig(profile.replace('client_secret =', 'client_auth = "private_key_jwt"\nprivate_key ='))
  const env = { CORP_SECRET: privateKey }
  const { code, stderr } = await run(['get', 'corp'], { ...options, program: oneFile, env })
  expect(code).toBe(3)
  expect(stderr).toContain('private_key is a key of a type that this program cannot use')
  expect(auth.requests).toEqual([])
})

test('what is built into it for another system is what package-lock.json has, and nothing else', async () => {
  const at = scratch()
  const npm = '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\necho other >"$1/evil.tgz"\necho evil.tgz\n'
  at.write('bin/npm', npm, 0o755)
  const { code, stderr } = await run(['darwin-arm64'], {
    at,
    env: { PATH: `${join(at.path, 'bin')}:${process.env['PATH']}` },
    program: [process.execPath, join(dirname(dirname(dirname(file))), 'scripts', 'build-binary.mjs')],
  })
  expect([code, stderr]).toEqual([
    1,
    'build:binary: @napi-rs/keyring-darwin-arm64 is not what package-lock.json says\n',
  ])
})
