import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { program, run, type Scratch, scratch, straced } from '../support/run.ts'

/** A home in which `corp` is kept and fresh, and the server that gave it. */
async function warm(): Promise<Scratch> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(`[profile.corp]
source = "client_credentials"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "build-bot"
client_secret = { env = "CORP_SECRET" }
`)
  const cold = await run(['get', 'corp'], { at, env: { CORP_SECRET: 'hush' } })
  expect(cold).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  return at
}

interface Call {
  readonly name: string
  readonly text: string
  readonly path: string | undefined
}

/** What the kernel was asked for from the moment on when Node opened our script. */
async function trace(at: Scratch, args: string[]): Promise<Call[]> {
  const log = join(at.path, 'strace.log')
  const what = 'network,process,%file,write,writev,pwrite64,ftruncate,fsync,fdatasync'
  const tracer = straced(log, what, ['-s', '400'])
  expect(await run(args, { at, program: tracer })).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  const lines = readFileSync(log, 'utf8').split('\n')
  const start = lines.findIndex(line => /openat\(.*bin\/tokctl\.js/.test(line))
  expect(start).toBeGreaterThan(0)
  return lines.slice(start).flatMap(line => {
    const [, text = '', name = ''] = /^\d+ +((\w+)\(.*)$/.exec(line) ?? []
    return name === '' ? [] : [{ name, text, path: /"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] }]
  })
}

const named = (calls: Call[], pattern: RegExp): string[] =>
  calls.filter(({ name }) => pattern.test(name)).map(({ text }) => text)

// The second is read by commander, which is no reason to load more than it.
const hits = [[['get', 'corp']], [['get', 'corp', '--min-validity', '1m']]]

test.each(hits)(
  'a hit (%j) opens no socket, starts no program, and writes nothing but the token',
  async args => {
    const calls = await trace(await warm(), args)
    expect(named(calls, /^(socket|socketpair|connect|bind|sendto|sendmsg)$/)).toEqual([])
    expect(named(calls, /^(execve|execveat|fork|vfork)$/)).toEqual([])
    expect(calls.filter(({ text }) => /^clone3?\(/.test(text) && !text.includes('CLONE_THREAD'))).toEqual([])
    expect(
      named(
        calls,
        /^(rename|link|symlink|unlink|mkdir|rmdir|chmod|fchmod|chown|truncate|ftruncate|fsync|fdatasync|mknod)/,
      ),
    ).toEqual([])
    expect(
      named(calls, /^(open|openat|creat)/).filter(text => /O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)/.test(text)),
    ).toEqual([])
    const writes = named(calls, /^p?write/).filter(text => !isInside(text))
    expect(writes, writes.join('\n')).toHaveLength(1)
    expect(writes[0]).toMatch(/^write\(1, "token-1\\n", 8(\) += 8| <unfinished \.\.\.>)$/)
  },
)

// Where two threads call at once, strace shows the beginning of a call and its end apart.
// libuv talks to itself: eight bytes that hold the number 1 wake a thread, a star locks its table of signals.
function isInside(text: string): boolean {
  return /^write\(\d+, ("\\1\\0\\0\\0\\0\\0\\0\\0", 8|"\*", 1)(\)| <unfinished)/.test(text)
}

test('a miss waits for the disk with the record alone, not with what can be made again', async () => {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(`[profile.corp]
source = "client_credentials"
issuer = "${auth.url}"
client_id = "build-bot"
client_secret = { env = "CORP_SECRET" }
`)
  const log = join(at.path, 'strace.log')
  const tracer = straced(log, 'fsync,fdatasync', ['-y'])
  const options = { at, env: { CORP_SECRET: 'hush' }, program: tracer }
  expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  const state = readdirSync(at.stateDir)
  for (const made of ['cache', 'config', 'outcomes', 'records']) expect(state).toContain(made)
  const synced = [...readFileSync(log, 'utf8').matchAll(/sync\(\d+<([^>]*)>/g)]
    .map(([, path = '']) => path)
    .filter(path => path.startsWith(join(at.stateDir, '')))
    .map(path => path.slice(at.stateDir.length + 1).split('/')[0]!)
  expect(synced.filter(name => name === 'records')).toHaveLength(2)
  expect(synced.filter(name => /^(cache|config|outcomes)$/.test(name))).toEqual([])
})

test("a hit reads its one chunk and that one's code cache, the configuration and the record, and nothing else", async () => {
  const at = await warm()
  const calls = await trace(at, ['get', 'corp'])
  const read = calls
    .filter(({ name, text }) => /^open(at)?$/.test(name) && !text.includes('ENOENT'))
    .map(({ path = '' }) => path)
  const ours = read.filter(
    path => path.includes('/dist/') || path.includes('/bin/') || path.includes('node_modules'),
  )
  expect(ours.map(path => basename(path))).toEqual(['tokctl.js', 'main.cjs', 'main.cache'])
  const others = read.filter(
    path => !ours.includes(path) && !path.startsWith('/proc/') && !path.startsWith('/sys/'),
  )
  for (const path of others) {
    expect(path.startsWith(at.path) || path === '/etc/machine-id', path).toBe(true)
  }
})

test.each(hits)(
  'a hit (%j) loads no HTTP, no child process, no terminal and no lock addon into Node',
  async args => {
    const at = await warm()
    const probe = at.write(
      'probe.cjs',
      `process.on('exit', () => process._rawDebug(JSON.stringify(process.moduleLoadList)))`,
    )
    const { code, stderr } = await run(args, {
      at,
      program: [process.execPath, '--require', probe, ...program.slice(1)],
    })
    expect(code).toBe(0)
    const idle = await run([], {
      at,
      program: [process.execPath, '--require', probe, at.write('idle.cjs', '')],
    })
    const loaded = new Set<string>(JSON.parse(stderr))
    for (const name of JSON.parse(idle.stderr) as string[]) loaded.delete(name)
    const heavy =
      /^NativeModule (_?http|https|http2|net|_?tls|child_process|dns|os|perf_hooks|tty|zlib|worker_threads|readline|internal\/(child_process|tls|http|tty|net|dgram|webstreams|deps\/undici)\b)/
    expect([...loaded].filter(name => heavy.test(name))).toEqual([])
    expect([...loaded]).toContain('NativeModule crypto')
  },
)

test('commander, undici, the TOML parser, kleur, the lock and every source sit in chunks that a hit does not read', () => {
  const dist = join(program[1]!, '..', '..', 'dist', 'cli')
  const main = readFileSync(join(dist, 'main.cjs'), 'utf8')
  const packed = [
    ...main.matchAll(/^(?:\/\*\w+\*\/\(\{)?"\.\/([\w-]+?)(-[0-9A-Z]{8})?\.cjs":function/gm),
  ].map(([, name]) => name)
  expect(packed).toContain('main')
  expect(packed).toContain('file')
  expect(packed).not.toContain('lock')
  expect(packed).not.toContain('program')
  const own = [
    'send-proxied',
    'parse',
    'kleur',
    'client-credentials',
    'command',
    'static',
    'http',
    'keychain',
  ]
  expect(packed.filter(name => own.includes(name!))).toEqual([])
  const chunks = readdirSync(dist).map(name => name.replace(/(-[0-9A-Z]{8})?\.cjs$/, ''))
  for (const name of own) expect(chunks, name).toContain(name)
})
