// `npm run bench`: every figure is a ratio of two things measured in turn in the same run. Writes bench/latest.md.
// How each is taken, and why, is told in CONTRIBUTING.md.
import { spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { addBinary, binaryCauses } from './bench-binary.mjs'
import { startServer } from './bench-server.mjs'
import { addWatch, watchCauses } from './bench-watch.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const node = process.execPath
const tokctl = [node, join(root, 'bin', 'tokctl.js')]
const idle = [node, '-e', '0']
const atOnce = 64
const slowMs = 300

/** Told under the table of a row that is not reached. */
const causes = {
  ...binaryCauses,
  ...watchCauses,
  hit: 'A hit adds 6 to 7 ms to the start of Node: `node:crypto` 2.4, reading and compiling the program 1.4, its modules 0.6, the configuration, record and decision 2. Where NODE_EXTRA_CA_CERTS is not set, Node itself needs but 22 ms, and `node:crypto` alone is more than a tenth of that.',
  helper:
    'To a hit come one file of the program, 32 KB, and stdin; git and docker also read the URL. By instructions (valgrind, a warm cache): git and docker 1.03, kubectl 1.02.',
  keychain:
    'To a hit come `node:net` and the conversation with the bus and the keyring, which run as processes of their own on the same two processors.',
  outage: 'To a hit come the outcome file and the file of the program that tells errors.',
  cold: 'To a hit come about 20 ms: `node:http` and one exchange 9 to 12 (a bare POST, which alone is at 1.4), the lock addon 1.5, two files and their directories synced 1 to 4.',
  crowd:
    'The waiters poll while the leader works, on as many processors as there are; under load this row varies the most.',
}

const scratch = mkdtempSync(join(tmpdir(), 'tokctl-bench-'))
const cleanUps = [() => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 })]
const rows = []
const loadBefore = loadavg()[0]

try {
  await main()
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}

async function main() {
  const server = await startServer()
  cleanUps.push(server.close)
  // To look at while working: printed, and not written down.
  if (process.argv.includes('--one-file')) return addOneFile(server, await startKeyring())
  if (process.argv.includes('--watch')) return addWatch({ add, skip, newHome, server })
  const home = newHome('home', server)
  const begun = performance.now()

  await run(home.get('p0'))
  add('`get`, hit, file store ÷ `node -e 0`', 1.15, await pairs(60, idleIn(home), home.get('p0')), {
    cause: 'hit',
  })

  const given = process.env.NODE_EXTRA_CA_CERTS
  const extra = given && newHome('extra', server, 'file', { NODE_EXTRA_CA_CERTS: given })
  if (extra) {
    await run(extra.get('p0'))
    add(
      'the same, both with NODE_EXTRA_CA_CERTS set',
      1.15,
      await pairs(40, idleIn(extra), extra.get('p0')),
      { cause: 'hit' },
    )
  }

  for (const [words, input] of [
    ['git get', 'protocol=https\nhost=p0.example.com\n'],
    ['docker get', 'p0.example.com'],
    ['kubectl p0', ''],
  ]) {
    // `get` has the same pipe on stdin, so that making and filling it is not taken for work of the helper.
    add(
      `\`helper ${words}\`, hit ÷ \`get\`, hit`,
      1.05,
      await pairs(100, { ...home.get('p0'), input }, home.helper(words, input)),
      { cause: 'helper' },
    )
  }

  const completed = { command: [...tokctl, '__complete', 'profiles'], env: home.env }
  add(
    'names of 129 profiles for the completion of a shell ÷ `node -e 0`',
    1.3,
    await pairs(40, idleIn(home), completed),
  )

  await server.answer({ lifeS: 3600, afterMs: 0, status: 503 })
  const failing = { ...home.get('crowd8'), code: 5 }
  await run(failing)
  add(
    '`get` in an outage, answered from the outcome ÷ `get`, hit',
    1.3,
    await pairs(40, home.get('p0'), failing),
    {
      cause: 'outage',
    },
  )
  await server.answer({ lifeS: 3600, afterMs: 0 })

  const keyring = await startKeyring()
  if (typeof keyring === 'string') skip('`get`, hit, Secret Service ÷ `node -e 0`', 1.25, keyring)
  else {
    const kept = newHome('kept', server, 'keychain', keyring.env)
    await run(kept.get('p0'))
    add('`get`, hit, Secret Service ÷ `node -e 0`', 1.25, await pairs(40, idleIn(kept), kept.get('p0')), {
      cause: 'keychain',
    })
    if (extra) {
      const both = newHome('both', server, 'keychain', { ...keyring.env, NODE_EXTRA_CA_CERTS: given })
      await run(both.get('p0'))
      add(
        'the same, both with NODE_EXTRA_CA_CERTS set',
        1.25,
        await pairs(40, idleIn(both), both.get('p0')),
        { cause: 'keychain' },
      )
    }
  }

  if (isInstalled('time')) {
    add(
      'peak memory of a hit ÷ `node -e 0`',
      1.25,
      await pairs(11, idleIn(home), home.get('p0'), peakMemory),
      { unit: 'MB' },
    )
  } else skip('peak memory of a hit ÷ `node -e 0`', 1.25, 'GNU time is not installed')

  // A profile that was never asked for each time; the configuration itself is known by then.
  let fresh = 1
  add(
    '`get`, cold, one request to loopback ÷ `node -e 0`',
    1.4,
    await pairs(40, idleIn(home), () => home.get(`p${fresh++}`)),
    { cause: 'cold' },
  )

  if (extra) {
    add(
      'the same, both with NODE_EXTRA_CA_CERTS set',
      1.4,
      await pairs(40, idleIn(extra), () => extra.get(`p${fresh++}`)),
      { cause: 'cold' },
    )
  }

  add(
    `${atOnce} at once, expired, server answers after ${slowMs} ms: wall ÷ (${atOnce} hits at once + ${slowMs} ms)`,
    1.15,
    (await crowds(5, server, home)).map(({ base, value }) => ({ base: base + slowMs, value })),
    { cause: 'crowd' },
  )

  const crowded = newHome('crowded', server, 'file', {}, 1000)
  const alone = newHome('alone', server, 'file', {}, 1)
  for (const one of [crowded, alone]) for (let i = 0; i < 2; i++) await run(one.get('p0'))
  add(
    'hit with 1,000 profiles configured ÷ hit with 1',
    1.15,
    await pairs(40, alone.get('p0'), crowded.get('p0')),
  )

  if (typeof keyring !== 'string') {
    const lookup = {
      command: ['secret-tool', 'lookup', 'service', 'tokctl', 'account', 'p0'],
      env: keyring.env,
    }
    add('beside it: `secret-tool lookup` ÷ `node -e 0`', undefined, await pairs(15, idleIn(home), lookup))
  } else skip('beside it: `secret-tool lookup` ÷ `node -e 0`', undefined, keyring)
  if (isInstalled('gcloud')) {
    const file = join(scratch, 'gcloud-token')
    writeFileSync(file, 'token', { mode: 0o600 })
    const env = { PATH: process.env.PATH, HOME: scratch, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE: file }
    const command = ['gcloud', 'auth', 'print-access-token']
    await run({ command, env })
    add(
      'beside it: `gcloud auth print-access-token`, from a file ÷ `node -e 0`',
      undefined,
      await pairs(5, idleIn(home), { command, env }),
    )
  } else
    skip('beside it: `gcloud auth print-access-token` ÷ `node -e 0`', undefined, 'gcloud is not installed')
  const oidcAgent = isInstalled('oidc-token')
    ? 'it needs an account at a real provider'
    : 'oidc-agent is not installed'
  skip('beside it: `oidc-token` ÷ `node -e 0`', undefined, oidcAgent)

  await addOneFile(server, keyring)
  await addLibrary()
  await addWatch({ add, skip, newHome, server })
  write((performance.now() - begun) / 1000)
}

function addOneFile(server, keyring) {
  return addBinary({
    ...{ add, skip, newHome, idleIn, server, keyring, scratch },
    ...{ pairs, run, together, crowds, peakMemory, isInstalled },
  })
}

/** In memory: a process of its own, which measures both in turn. */
async function addLibrary() {
  const lines = []
  const child = spawn(node, ['--expose-gc', join(root, 'scripts', 'bench-library.mjs')], {
    env: { PATH: process.env.PATH, HOME: scratch },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  child.stdout.on('data', chunk => lines.push(chunk))
  const code = await new Promise(resolve => child.on('close', resolve))
  if (code !== 0) throw new Error(`the bench of the library ended with ${code}`)
  const rounds = JSON.parse(Buffer.concat(lines).toString())
  const of = kind => rounds.map(({ base, value }) => ({ base: base[kind], value: value[kind] }))
  const beside = "the library's cached `get` ÷ a Map lookup in a promise"
  add(`${beside} (to reach: 2 µs)`, undefined, of('ns'), { unit: 'ns' })
  add(`${beside}: allocated`, 1, of('bytes'), { unit: 'B' })
  const ns = median(of('ns').map(({ value }) => value))
  if (ns >= 2000) throw new Error(`a cached get takes ${Math.round(ns)} ns, 2 µs is the limit`)
}

/** Runs two commands in turn, the second after the first; a command may be made anew each time. */
async function pairs(n, first, second, measure = wallTime) {
  const found = []
  for (let i = -2; i < n; i++) {
    const base = await measure(typeof first === 'function' ? first() : first)
    const value = await measure(typeof second === 'function' ? second() : second)
    // The first two warm the caches of the file system.
    if (i >= 0) found.push({ base, value })
  }
  return found
}

async function wallTime(call) {
  const begun = performance.now()
  await run(call)
  return performance.now() - begun
}

async function peakMemory({ command, env }) {
  const told = join(scratch, 'time')
  await run({ command: ['time', '-f', '%M', '-o', told, ...command], env })
  return Number(readFileSync(told, 'utf8')) / 1024
}

function run({ command, env, input, code: expected = 0 }) {
  const stdin = input === undefined ? 'ignore' : 'pipe'
  const child = spawn(command[0], command.slice(1), { env, cwd: scratch, stdio: [stdin, 'pipe', 'pipe'] })
  // Whoever does not read it may be gone before all of it is written.
  child.stdin?.on('error', () => {}).end(input)
  let said = ''
  child.stdout.resume()
  child.stderr.on('data', text => {
    said += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => {
      if (code === expected) resolve()
      else reject(new Error(`"${command.join(' ')}" ended with ${code}: ${said}`))
    })
  })
}

/** A crowd on a token that has expired, at a server that takes `afterMs`; then the same crowd of hits. */
async function crowds(n, server, home, size = atOnce, afterMs = slowMs) {
  const found = []
  for (let i = 0; i < n; i++) {
    const call = home.get(`crowd${i}`)
    await server.answer({ lifeS: 1, afterMs: 0 })
    await run(call)
    await pause(1100)
    await server.answer({ lifeS: 3600, afterMs })
    const before = await server.requests()
    const value = await together(call, size)
    const sent = (await server.requests()) - before
    if (sent !== 1) throw new Error(`${sent} requests instead of one`)
    await server.answer({ lifeS: 3600, afterMs: 0 })
    found.push({ base: await together(call, size), value })
  }
  return found
}

async function together(call, n = atOnce) {
  const begun = performance.now()
  await Promise.all(Array.from({ length: n }, () => run(call)))
  return performance.now() - begun
}

function newHome(name, server, store = 'file', more = {}, profiles = 120, program = tokctl) {
  const path = join(scratch, name)
  mkdirSync(path, { mode: 0o700 })
  const config = join(path, 'config.toml')
  const names = [
    ...Array.from({ length: profiles }, (_, i) => `p${i}`),
    ...Array.from({ length: 9 }, (_, i) => `crowd${i}`),
  ]
  const tables = (profiles === 1 ? ['p0'] : names).map(
    name => `[profile.${name}]
source = "client_credentials"
token_endpoint = "${server.url}"
client_id = "${name}"
client_secret = { env = "BENCH_SECRET" }
scope = "api.read api.write"
match = ["https://${name}.example.com"]
`,
  )
  writeFileSync(config, tables.join('\n'), { mode: 0o600 })
  const env = {
    PATH: process.env.PATH,
    ...more,
    HOME: path,
    TOKCTL_CONFIG: config,
    TOKCTL_STATE_DIR: join(path, 'state'),
    TOKCTL_STORE: store,
    BENCH_SECRET: 'hush',
  }
  return {
    env,
    get: profile => ({ command: [...program, 'get', profile], env }),
    watch: names => [...program, 'watch', ...names],
    helper: (words, input) => ({ command: [...program, 'helper', ...words.split(' ')], env, input }),
  }
}

function idleIn({ env }) {
  return { command: idle, env }
}

/** The keyring that the tests use; they are TypeScript, which Node 20 does not run by itself. */
async function startKeyring() {
  const bundle = join(scratch, 'keyring.mjs')
  await build({
    absWorkingDir: root,
    entryPoints: ['test/support/keyring.ts'],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const { keyringMissing, startKeyring } = await import(pathToFileURL(bundle).href)
  const missing = keyringMissing()
  if (missing !== undefined) return missing
  const keyring = await startKeyring()
  cleanUps.push(() => keyring.stop())
  return keyring
}

function isInstalled(command) {
  return (process.env.PATH ?? '').split(delimiter).some(directory => {
    try {
      accessSync(join(directory, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function add(name, target, found, { unit = 'ms', cause } = {}) {
  const ratios = found.map(({ base, value }) => value / base)
  const figure = median(ratios)
  rows.push({
    name,
    target,
    figure: figure.toFixed(2),
    spread: `${quantile(ratios, 0.25).toFixed(2)}–${quantile(ratios, 0.75).toFixed(2)}`,
    absolute: `${median(found.map(one => one.value)).toFixed(1)} ÷ ${median(found.map(one => one.base)).toFixed(1)} ${unit}`,
    reached: target === undefined ? '' : figure <= target ? 'yes' : '**no**',
    n: found.length,
    cause: figure > target ? cause : undefined,
  })
  say()
}

function skip(name, target, why) {
  rows.push({
    name,
    target,
    figure: '—',
    spread: '',
    absolute: why,
    reached: target === undefined ? '' : 'not measured',
    n: 0,
  })
  say()
}

function say() {
  const { name, figure, spread, reached, absolute } = rows.at(-1)
  console.log(`${figure.padStart(6)}  ${spread.padEnd(11)} ${reached.padEnd(12)} ${name}: ${absolute}`)
}

function write(seconds) {
  const { model } = cpus()[0]
  const lines = rows.map(
    ({ name, target, figure, spread, absolute, reached, n }) =>
      `| ${name} | ${target === undefined ? '' : `≤ ${target.toFixed(2)}`} | ${figure} | ${spread} | ${absolute} | ${n || ''} | ${reached} |`,
  )
  const why = [...new Set(rows.map(row => row.cause).filter(Boolean))]
  const text = `# Speed

\`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: Node ${process.version}, ${process.platform} ${release()}, ${cpus().length} × ${model}; load ${loadBefore.toFixed(1)} before it began; ${Math.round(seconds)} s.
Each figure is the median of the ratios of pairs that ran one after the other; beside it the middle half of them, and the medians of both sides.

| row | to reach | figure | middle half | medians | pairs | reached |
|---|---|---|---|---|---|---|
${lines.join('\n')}
${why.map(cause => `\n- ${causes[cause]}`).join('')}
`
  mkdirSync(join(root, 'bench'), { recursive: true })
  writeFileSync(join(root, 'bench', 'latest.md'), text)
}

function median(values) {
  return quantile(values, 0.5)
}

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const below = sorted[Math.floor(at)]
  return below + (sorted[Math.ceil(at)] - below) * (at - Math.floor(at))
}
