import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { makeCertificates } from '../support/certificates.ts'
import { type Corp, corp } from '../support/corp.ts'
import { startUpstream } from '../support/proxy-route.ts'
import { startRawServer } from '../support/raw-server.ts'
import { program, run, type Started, start } from '../support/run.ts'

/** The first line that a proxy prints: where it listens. */
async function address(proxy: Started, n = 1): Promise<string> {
  while (proxy.stdout.split('\n').length <= n) {
    if (proxy.child.exitCode !== null) throw new Error(`the proxy ended: ${proxy.stderr}`)
    await Promise.race([once(proxy.child.stdout!, 'data'), once(proxy.child, 'exit')])
  }
  return proxy.stdout.trimEnd()
}

/** An upstream that wants the newest token of the server. */
async function upstreamOf(
  { auth }: Corp,
  isGood = (token: string) => token === `token-${auth.requests.length}`,
) {
  return startUpstream((incoming, outgoing) => {
    const token = (incoming.headers.authorization ?? '').replace('Bearer ', '')
    outgoing.writeHead(isGood(token) ? 200 : 401).end(token)
  })
}

test('one command stands before an API: a token for forty at once, a new one when it is refused, and an end in peace', async () => {
  const setup = await corp()
  let refused = ''
  const upstream = await upstreamOf(setup, token => token !== refused)
  const proxy = start(['proxy', 'corp', '--upstream', `${upstream.origin}/api/`], setup.options)
  const at = await address(proxy)
  expect(at).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  const texts = async (n: number) =>
    Promise.all(Array.from({ length: n }, async () => (await fetch(`${at}/me`)).text()))
  expect(new Set(await texts(40))).toEqual(new Set(['token-1']))
  refused = 'token-1'
  expect(new Set(await texts(40))).toEqual(new Set(['token-2']))
  expect(setup.auth.requests).toHaveLength(2)
  expect(upstream.seen.every(({ url }) => url === '/api/me')).toBe(true)
  expect(await run(['get', 'corp'], setup.options)).toMatchObject({ stdout: 'token-2\n' })
  proxy.kill('SIGTERM')
  expect(await proxy.done).toMatchObject({ code: 0, stdout: `${at}\n`, stderr: '' })
})

test('tables [proxy.NAME] are routes: all of them, or those that are named', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const socket = join(setup.at.path, 'api.sock')
  const table = (name: string, listen: string) =>
    `[proxy.${name}]\nprofile = "corp"\nlisten = "${listen}"\nupstream = "${upstream.origin}"\n`
  const config = readFileSync(setup.at.configFile, 'utf8')
  setup.at.writeConfig(`${config}${table('api', '127.0.0.1:0')}${table('local', `unix:${socket}`)}`)
  const all = start(['proxy'], setup.options)
  const lines = (await address(all, 2)).split('\n')
  expect(lines[1]).toBe(`unix:${socket}`)
  expect(await (await fetch(`${lines[0]}/`)).text()).toBe('token-1')
  all.kill('SIGINT')
  expect(await all.done).toMatchObject({ code: 0, stderr: '' })
  expect(existsSync(socket)).toBe(false)
  const one = start(['proxy', 'local'], setup.options)
  expect(await address(one)).toBe(`unix:${socket}`)
  one.kill('SIGTERM')
  expect((await one.done).code).toBe(0)
})

const wrong: [what: string, args: string[], code: number, stderr: string][] = [
  [
    'a profile that nobody wrote',
    ['crop', '--upstream', 'https://api.example.com'],
    3,
    'tokctl: error: unknown profile "crop"; did you mean "corp"?\n',
  ],
  [
    'all interfaces',
    ['corp', '--upstream', 'https://api.example.com', '--listen', '0.0.0.0:8080'],
    2,
    'tokctl: error: --listen: only a literal loopback address is listened at: 127.0.0.1 or [::1]\ntokctl: hint: write: --listen 127.0.0.1:8080\n',
  ],
  [
    'a name',
    ['corp', '--upstream', 'https://api.example.com', '--listen', 'localhost:8080'],
    2,
    'tokctl: error: --listen: only a literal loopback address is listened at: 127.0.0.1 or [::1]\n',
  ],
  [
    'plain http to somewhere else',
    ['corp', '--upstream', 'http://api.example.com'],
    2,
    'tokctl: error: --upstream: plain http carries a token for everyone to read\ntokctl: hint: write: --upstream https://api.example.com\n',
  ],
  [
    'what is no URL',
    ['corp', '--upstream', 'api.example.com'],
    2,
    'tokctl: error: --upstream: expected a URL such as "https://api.example.com"\n',
  ],
  [
    'two profiles',
    ['corp', 'corp', '--upstream', 'https://api.example.com'],
    2,
    'tokctl: error: --upstream is for one profile\n',
  ],
  [
    'a size without a unit',
    ['corp', '--upstream', 'https://api.example.com', '--max-body', '10'],
    2,
    'tokctl: error: --max-body: "10" is not a size\n',
  ],
  ['neither tables nor an upstream', [], 2, 'tokctl: error: there is nothing to listen for\n'],
  [
    'a socket of a service manager that is not there',
    ['corp', '--upstream', 'https://api.example.com', '--listen', 'systemd'],
    2,
    'tokctl: error: proxy "corp": the service manager opened no socket\n',
  ],
]
test.each(wrong)('%s is said before anything is asked', async (_, args, code, stderr) => {
  const { auth, options } = await corp()
  const result = await run(['proxy', ...args], options)
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toContain(stderr)
  expect(auth.requests).toEqual([])
})

test('named members go to no upstream, and tables that cannot be are told by name', async () => {
  const { at, options } = await corp()
  const own = readFileSync(at.configFile, 'utf8')
  const keys = `[profile.keys]\nsource = "command"\ncommand = ["touch", "${at.home}/ran"]\nmembers = { KEY = "key" }\n`
  const upstream = 'https://api.example.com'
  const table = (name: string, profile: string) =>
    `[proxy.${name}]\nprofile = "${profile}"\nlisten = "127.0.0.1:0"\nupstream = "${upstream}"\n`
  at.writeConfig(`${own}${keys}${table('api', 'corp')}${table('git', 'corp')}`)
  expect(await run(['proxy', 'keys', '--upstream', upstream], options)).toMatchObject({
    code: 3,
    stdout: '',
    stderr:
      'tokctl: error: proxy "keys": profile "keys" yields named members, which are no token for a URL\n' +
      'tokctl: hint: name a profile without members\n',
  })
  expect(await run(['proxy', 'all'], options)).toMatchObject({
    code: 2,
    stdout: '',
    stderr:
      'tokctl: error: there is no table [proxy.all]\n' +
      'tokctl: hint: name some of these, or none for each of them: api, git; a profile wants --upstream\n',
  })
  at.writeConfig(`${own}${keys}${table('api', 'keys')}${table('git', 'crop')}`)
  const { code, stdout, stderr } = await run(['proxy'], options)
  expect([code, stdout]).toEqual([3, ''])
  expect(stderr).toMatch(
    /\d+: proxy\.api\.profile: profile "keys" yields named members, which are no token for a URL\n/,
  )
  expect(stderr).toMatch(/\d+: proxy\.git\.profile: unknown profile "crop"; did you mean corp\?\n/)
  expect(existsSync(join(at.home, 'ran'))).toBe(false)
})

test('a profile whose match does not cover the upstream gives it no token', async () => {
  const { options } = await corp('match = ["https://api.example.com/v1"]')
  const result = await run(['proxy', 'corp', '--upstream', 'https://api.example.com/v2'], options)
  expect(result).toMatchObject({
    code: 3,
    stderr:
      'tokctl: error: proxy "corp": the match of profile "corp" does not cover https://api.example.com/v2\n' +
      'tokctl: hint: add "https://api.example.com/v2" to its match, or take another profile\n',
  })
})

test('--client-auth writes a secret for its owner alone, asks for it, and takes it away; who cannot listen leaves it', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const file = join(setup.at.path, 'secret')
  const table = (name: string) =>
    `[proxy.${name}]\nprofile = "corp"\nlisten = "127.0.0.1:0"\nupstream = "${upstream.origin}"\nclient_auth = "${file}"\n`
  setup.at.writeConfig(`${readFileSync(setup.at.configFile, 'utf8')}${table('a')}${table('b')}`)
  const proxy = start(['proxy'], setup.options)
  const [a = '', b = ''] = (await address(proxy, 2)).split('\n')
  expect(statSync(file).mode & 0o777).toBe(0o600)
  const secret = readFileSync(file, 'utf8')
  expect(secret).toMatch(/^[\w-]{43}$/)
  const taken = ['--client-auth', file, '--listen', new URL(a).host]
  expect(await run(['proxy', 'corp', '--upstream', upstream.origin, ...taken], setup.options)).toMatchObject({
    code: 3,
    stdout: '',
    stderr: expect.stringContaining('(EADDRINUSE)'),
  })
  expect(readFileSync(file, 'utf8')).toBe(secret)
  expect((await fetch(a)).status).toBe(401)
  for (const at of [a, b]) {
    expect(await (await fetch(at, { headers: { authorization: `Bearer ${secret}` } })).text()).toBe('token-1')
  }
  proxy.kill('SIGTERM')
  expect((await proxy.done).code).toBe(0)
  expect(existsSync(file)).toBe(false)
})

test('--client-auth replaces nothing but an earlier secret', async () => {
  const { options, at } = await corp()
  const file = at.write('precious', 'my own words')
  const args = ['proxy', 'corp', '--upstream', 'https://api.example.com', '--client-auth']
  const refusedAt = (path: string) => ({
    code: 3,
    stdout: '',
    stderr:
      `tokctl: error: ${path} is no secret of clients, and stays as it is\n` +
      'tokctl: hint: name another file for it, or remove that one\n',
  })
  expect(await run([...args, file], options)).toMatchObject(refusedAt(file))
  expect(readFileSync(file, 'utf8')).toBe('my own words')
  const link = join(at.path, 'link')
  symlinkSync(at.write('old', 's'.repeat(43)), link)
  expect(await run([...args, link], options)).toMatchObject(refusedAt(link))
  expect(lstatSync(link).isSymbolicLink()).toBe(true)
})

test('a secret that cannot be written is said, and nothing is served', async () => {
  const { options, at } = await corp()
  const file = join(at.path, 'nowhere', 'secret')
  const args = ['proxy', 'corp', '--upstream', 'https://api.example.com', '--client-auth', file]
  expect(await run(args, options)).toMatchObject({
    code: 3,
    stdout: '',
    stderr: `tokctl: error: the secret of clients cannot be written to ${file} (ENOENT)\n`,
  })
})

/** strace with a kernel whose table of sockets cannot be had by these calls. */
const withoutTable = (calls: string): string[] => {
  const fault = `inject=${calls}:error=ENOENT`
  return ['strace', '-f', '-qq', '-o', '/dev/null', '-P', '/proc/net/tcp', '-e', fault, ...program]
}

test('where the kernel does not say whose a connection is, it does not start without a secret for clients', async () => {
  const setup = await corp()
  const args = ['proxy', 'corp', '--upstream', 'https://api.example.com']
  const options = { ...setup.options, program: withoutTable('?access,?faccessat,?faccessat2,?open,openat') }
  expect(await run(args, options)).toMatchObject({
    code: 3,
    stdout: '',
    stderr: expect.stringContaining(
      'tokctl: error: proxy "corp": this system does not say whose a connection is, so every user of this machine could use 127.0.0.1\n' +
        'tokctl: hint: add --client-auth FILE (client_auth in [proxy.corp]), or listen at unix:/path\n',
    ),
  })
})

test('where it says so no more, nobody is served', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const options = { ...setup.options, program: withoutTable('?open,openat') }
  const proxy = start(['proxy', 'corp', '--upstream', upstream.origin], options)
  await expect(fetch(await address(proxy))).rejects.toThrow('fetch failed')
  expect(upstream.seen).toEqual([])
})

/** Starts a proxy with a socket that a service manager opened. */
async function activated(
  setup: Corp,
  where: string | ReturnType<typeof createServer>,
  upstream: string,
  more: readonly string[] = [],
) {
  const listener = typeof where === 'string' ? createServer().listen(0, where) : where
  if (!listener.listening) await once(listener, 'listening')
  onTestFinished(() => void listener.close())
  const { port } = listener.address() as { port: number }
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle
  const command = [...program, 'proxy', 'corp', '--upstream', upstream, '--listen', 'systemd', ...more]
  const child = spawn('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...command], {
    env: {
      PATH: `${join(setup.at.path, 'bin')}:${process.env['PATH']}`,
      HOME: setup.at.home,
      TOKCTL_STATE_DIR: setup.at.stateDir,
      TOKCTL_STORE: 'file',
      CORP_SECRET: 'client-secret-canary',
      LISTEN_FDS: '1',
      NOTIFY_SOCKET: '/run/notify',
    },
    stdio: ['ignore', 'pipe', 'pipe', fd],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, port, listener }
}

test('it takes the socket that a service manager opened, and tells when it is ready and when it stops', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const told = join(setup.at.path, 'told')
  setup.at.write('bin/systemd-notify', `#!/bin/sh\necho "$NOTIFY_SOCKET $2" >> ${told}\n`, 0o755)
  const { child, port, listener } = await activated(setup, '127.0.0.1', upstream.origin)
  const [line] = await once(child.stdout!, 'data')
  listener.close()
  expect(line.toString()).toBe(`http://127.0.0.1:${port}\n`)
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('token-1')
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  expect(readFileSync(told, 'utf8')).toBe('/run/notify READY=1\n/run/notify STOPPING=1\n')
})

test('it takes no socket of a service manager that other machines reach', async () => {
  const setup = await corp()
  const { child } = await activated(setup, '0.0.0.0', 'https://api.example.com')
  const [said] = await once(child.stderr!, 'data')
  expect(said.toString()).toBe(
    'tokctl: error: proxy "corp": 0.0.0.0 is reached from other machines\n' +
      'tokctl: hint: write ListenStream=127.0.0.1:PORT, or the path of a unix socket, into the .socket unit\n',
  )
  expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(3)
})

/** A unix socket with this mode, as a service manager opens it, and a proxy that is started with it. */
async function activatedAt(setup: Corp, mode: number, upstream: string, more: readonly string[] = []) {
  const path = join(setup.at.path, `${mode}.sock`)
  const listener = createServer().listen(path)
  await once(listener, 'listening')
  chmodSync(path, mode)
  const { child } = await activated(setup, listener, upstream, more)
  const ask = async () => {
    await once(child.stdout!, 'data')
    // Whoever listens takes the file away when it stops.
    linkSync(path, `${path}.kept`)
    await new Promise(closed => listener.close(closed))
    renameSync(`${path}.kept`, path)
    const [answer] = await once(request({ socketPath: path, agent: false }).end(), 'response')
    return answer.resume().statusCode
  }
  return { child, path, ask }
}

test('it takes a unix socket of a service manager where it is this user’s alone, or asks for a secret there', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const { child, path } = await activatedAt(setup, 0o666, upstream.origin)
  const [said] = await once(child.stderr!, 'data')
  expect(said.toString()).toBe(
    `tokctl: error: proxy "corp": the socket of the service manager is not this user's alone: ${path} has mode 0666\n` +
      'tokctl: hint: write SocketMode=0600 (in a system unit SocketUser= too) into the .socket unit, or add --client-auth FILE (client_auth in [proxy.corp])\n',
  )
  expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(3)
  const asking = await activatedAt(setup, 0o777, upstream.origin, ['--client-auth', join(setup.at.path, 's')])
  expect(await asking.ask()).toBe(401)
  const own = await activatedAt(setup, 0o600, upstream.origin)
  expect(await own.ask()).toBe(200)
})

test.runIf(process.getuid?.() === 0)('another user of this machine is not served', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const proxy = start(['proxy', 'corp', '--upstream', upstream.origin], setup.options)
  const at = await address(proxy)
  const asked = `fetch(${JSON.stringify(at)}).then(r => r.text()).then(console.log, e => console.log(e.cause.code))`
  const stranger = spawn(process.execPath, ['-e', asked], { uid: 65_534, gid: 65_534, cwd: '/', env: {} })
  const [said] = await once(stranger.stdout!, 'data')
  expect(said.toString()).toMatch(/UND_ERR_SOCKET|ECONNRESET/)
  expect(upstream.seen).toEqual([])
  expect(await (await fetch(at)).text()).toBe('token-1')
  proxy.kill('SIGTERM')
  await proxy.done
})

test('it opens no debugger, whoever asks', async () => {
  const setup = await corp()
  const upstream = await upstreamOf(setup)
  const proxy = start(['proxy', 'corp', '--upstream', upstream.origin], setup.options)
  const at = await address(proxy)
  proxy.kill('SIGUSR1')
  expect(await (await fetch(at)).text()).toBe('token-1')
  proxy.kill('SIGTERM')
  expect(await proxy.done).toMatchObject({ code: 0, stderr: '' })
})

test('an upstream whose certificate nobody vouches for gets not a byte; with its authority named it is asked', async () => {
  const setup = await corp()
  const certificates = makeCertificates()
  onTestFinished(() => certificates.remove())
  const upstream = await startRawServer(
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine',
    certificates.server,
  )
  onTestFinished(() => upstream.close())
  const args = ['proxy', 'corp', '--upstream', `https://127.0.0.1:${upstream.port}`]
  for (const [more, status] of [
    [[], 502],
    [['--ca-file', certificates.caFile], 200],
  ] as const) {
    const proxy = start([...args, ...more], setup.options)
    const answer = await fetch(await address(proxy))
    expect(answer.status).toBe(status)
    expect(upstream.requests).toHaveLength(status === 200 ? 1 : 0)
    proxy.kill('SIGTERM')
    expect((await proxy.done).code).toBe(0)
  }
})
