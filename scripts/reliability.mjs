// `npm run reliability [-- --iterations 10000] [--program dist/bin/tokctl] [--beside node]`: ends the program at every call that
// matters, at every moment after the answer, and in crowds, with a server that takes each refresh token once; writes
// bench/reliability.md. Linux; wants strace.
//
// A login is lost outside the window where its answer was sealed and on disk before the process ended: the program says so
// under --verbose, and strace shows it. Nothing else is taken for granted.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { cpus, loadavg, release, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const calls = [
  'write',
  'writev',
  'pwrite64',
  'fsync',
  'rename',
  'unlink',
  'connect',
  'read',
  'sendto',
  'recvfrom',
]
const { values: given } = parseArgs({
  options: {
    iterations: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '3' },
    renewals: { type: 'string', default: '300' },
    program: { type: 'string' },
    beside: { type: 'string' },
    homes: { type: 'string', default: '3' },
    life: { type: 'string', default: '2' },
  },
})
const onNode = [process.execPath, join(root, 'bin', 'tokctl.js')]
/** On Node, or the one file that --program names. */
const tokctl = given.program === undefined ? onNode : [resolve(given.program)]
/** What one of each twentieth crowd runs: --beside names it, so that both programs meet over one session. */
const stranger =
  given.beside === undefined ? tokctl : given.beside === 'node' ? onNode : [resolve(given.beside)]
const iterations = Number(given.iterations)
const crowdLifeS = Number(given.life)

const scratch = mkdtempSync(join(tmpdir(), 'tokctl-reliability-'))
const total = {
  kills: 0,
  lost: 0,
  lostOutside: 0,
  torn: 0,
  clear: 0,
  locks: 0,
  doubles: 0,
  temporary: 0,
  odd: [],
}
const rows = []
const windowQuiet = []
const windowBeside = []
const windowCrowd = []
const disk = []
const begun = performance.now()
const loadBefore = loadavg()[0]
const server = await startServer()
try {
  await quiet(Number(given.renewals))
  await sweep()
  await delays(Number(given.rounds))
  await crowds(iterations)
  await fullDisk()
  write()
} finally {
  await server.close()
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 })
}
if (total.lostOutside + total.torn + total.clear + total.locks + total.doubles + total.odd.length > 0)
  process.exitCode = 1

/** W on a machine that does nothing else of ours. */
async function quiet(n) {
  const home = await newHome('quiet')
  for (let i = 0; i < n; i++)
    windowQuiet.push(...sealedAfter((await run(home, ['get', 'me', '--force'])).stderr))
  for (let i = 0; i < n && stranger !== tokctl; i++)
    windowBeside.push(
      ...sealedAfter((await start(home, ['get', 'me', '--force'], [], true, stranger).done).stderr),
    )
}

/** At each call of one renewal, from the moment on when the program reads its configuration. */
async function sweep() {
  const home = await newHome('sweep')
  const counts = await countCalls(home)
  for (const name of calls) {
    const { first, last } = counts[name]
    const row = newRow(`killed at each \`${name}\``)
    for (let n = first; n <= last; n++) {
      const log = join(scratch, 'strace.log')
      const inject = [
        'strace',
        '-f',
        '-qq',
        '-y',
        '-o',
        log,
        '-e',
        `trace=fsync,pwrite64,${name}`,
        '-e',
        `inject=${name}:signal=KILL:when=${n}`,
      ]
      server.forget()
      const ended = await run(home, ['get', 'me', '--force'], inject)
      if (ended.code === null || ended.code === 137) row.kills++
      const lines = readFileSync(log, 'utf8').split('\n')
      const at = lines.findIndex(line => /pwrite64\(\d+<[^>]*\.journal>.*, 8192\)/.test(line))
      const isSealed = at >= 0 && lines.slice(at).some(line => /fsync\(\d+<[^>]*\.journal>\) += 0/.test(line))
      await settle(home, row, isSealed || sealedAfter(ended.stderr).length > 0, `${name} ${n}`)
    }
  }
}

/** So many milliseconds after the server has answered. */
async function delays(rounds) {
  const home = await newHome('delays')
  const row = newRow('killed 0–60 ms after the server answered')
  for (let round = 0; round < rounds; round++) {
    for (let ms = 0; ms <= 60; ms++) {
      server.forget()
      const one = start(home, ['get', 'me', '--force'])
      server.onAnswer = () => setTimeout(() => one.child.kill('SIGKILL'), ms)
      const ended = await one.done
      server.onAnswer = undefined
      if (ended.signal === 'SIGKILL') row.kills++
      await settle(home, row, sealedAfter(ended.stderr).length > 0, `${ms} ms`)
    }
  }
}

/** Eight at once whose token has expired, one in five of them killed at some moment. */
async function crowds(n) {
  const row = newRow(`${n.toLocaleString('en')} times 8 parallel gets, 20 % killed`)
  const names = Array.from({ length: Number(given.homes) }, (_, i) => `crowd${i}`)
  const homes = await Promise.all(names.map(name => newHome(name, crowdLifeS)))
  let left = n
  /** How long a crowd takes, so that it is killed at any moment of it. */
  let usualMs = 600
  await Promise.all(
    homes.map(async home => {
      while (left-- > 0) {
        await pause(Math.max(0, crowdLifeS * 1000 - (Date.now() - home.family.at)))
        home.family.presented.clear()
        home.family.refusals = 0
        const begins = performance.now()
        const all = Array.from({ length: 8 }, (_, i) =>
          start(home, ['get', 'me'], [], true, i === 7 && left % 20 === 0 ? stranger : tokctl),
        )
        const killed = new Set()
        for (const one of all) {
          if (Math.random() >= 0.2) continue
          killed.add(one)
          setTimeout(() => one.child.kill('SIGKILL'), Math.random() * usualMs)
        }
        const ended = await Promise.all(all.map(one => one.done))
        usualMs += (performance.now() - begins - usualMs) / 20
        const dead = ended.filter(({ signal }) => signal === 'SIGKILL')
        row.kills += dead.length
        for (const { stderr } of ended) windowCrowd.push(...sealedAfter(stderr))
        // A refusal is sealed too, of which a process that was killed then does not tell.
        const untoldRefusals = home.family.refusals - ended.filter(toldRefusal).length
        const sealedAndKilled = dead.filter(one => sealedAfter(one.stderr).length > 0 && !toldRefusal(one))
        const isSealed = sealedAndKilled.length > untoldRefusals
        const alive = ended.filter(({ signal }) => signal === null)
        for (const { code, stderr } of alive) {
          if (stderr.includes('is damaged')) row.torn++
          if (code === 5 && /did not finish within/.test(stderr)) row.locks++
          else if (code !== 0 && code !== 4) total.odd.push(`crowd: exit ${code}: ${lastLine(stderr)}`)
        }
        if (dead.length === 0) {
          for (const times of home.family.presented.values()) if (times > 1) row.doubles++
        } else for (const times of home.family.presented.values()) if (times > 1 + dead.length) row.doubles++
        if (alive.some(({ code }) => code === 4)) await lose(home, row, isSealed, 'crowd')
        row.clear += inTheClear(home)
      }
    }),
  )
  total.temporary = homes.reduce(
    (sum, home) => sum + filesOf(home).filter(path => path.endsWith('.tmp')).length,
    0,
  )
}

/** A disk of its own that fills up between request and answer, and one that cannot be written. */
async function fullDisk() {
  const home = await newHome('disk', 3600, false)
  mkdirSync(home.state, { mode: 0o700 })
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k,mode=0700', 'tmpfs', home.state])
  if (mounted.status !== 0) {
    disk.push('A disk of its own: not run, because nothing can be mounted here.')
    return
  }
  try {
    await run(home, ['get', 'me'])
    const filler = join(home.state, 'filler')
    server.onRequest = () => {
      for (let size = 65_536; size >= 1; size = Math.floor(size / 2))
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(size), { flag: 'a' })
        } catch {}
    }
    const full = await run(home, ['get', 'me', '--force'], [], false)
    server.onRequest = undefined
    const warnings = full.stderr.split('\n').filter(line => line.includes('warning:')).length
    const asked = home.family.requests
    const again = await run(home, ['get', 'me', '--force'], [], false)
    const unsent = home.family.requests === asked
    rmSync(filler)
    const next = await run(home, ['get', 'me'])
    const renewed = await run(home, ['get', 'me', '--force'])
    const isRight = full.code === 0 && again.code === 7 && unsent && next.code === 0 && renewed.code === 0
    disk.push(
      `A tmpfs that fills up between request and answer: the token is printed (exit ${full.code}, ${warnings} warning${warnings === 1 ? '' : 's'}); while it is full a forced renewal is exit ${again.code} and ${unsent ? 'nothing is sent' : 'SOMETHING IS SENT'}; with room again the session goes on out of the journal (exit ${renewed.code}).`,
    )
    if (!isRight)
      total.odd.push(
        `full disk: ${full.code} ${again.code} ${unsent} ${next.code} ${renewed.code}: ${lastLine(again.stderr)}`,
      )
    spawnSync('mount', ['-o', 'remount,ro', home.state])
    const before = home.family.requests
    const served = await run(home, ['get', 'me'])
    const refused = await run(home, ['get', 'me', '--force'])
    spawnSync('mount', ['-o', 'remount,rw', home.state])
    const after = await run(home, ['get', 'me', '--force'])
    disk.push(
      `The same, read-only: the good token is served (exit ${served.code}), a forced renewal is exit ${refused.code} and ${home.family.requests === before + 1 ? 'nothing is sent' : 'SOMETHING IS SENT'}; writable again it goes on (exit ${after.code}).`,
    )
    if (served.code !== 0 || refused.code !== 7 || after.code !== 0)
      total.odd.push(`read-only: ${served.code} ${refused.code} ${after.code}`)
  } finally {
    spawnSync('umount', [home.state])
  }
}

/** What the next one finds after a kill. */
async function settle(home, row, isSealed, where) {
  const next = await run(home, ['get', 'me', '--force'])
  if (next.stderr.includes('is damaged')) row.torn++
  if (next.code === 5 && /did not finish within/.test(next.stderr)) row.locks++
  // One repetition is what an interrupted renewal may cost.
  for (const times of home.family.presented.values()) if (times > 2) row.doubles++
  if (next.code === 4) await lose(home, row, isSealed, where, next.stderr)
  else if (next.code !== 0) total.odd.push(`${where}: exit ${next.code}: ${lastLine(next.stderr)}`)
  row.clear += inTheClear(home)
}

async function lose(home, row, isSealed, where, told = '') {
  row.lost++
  if (isSealed) {
    row.lostOutside++
    total.odd.push(`${where}: lost although the answer was on disk`)
  }
  if (told !== '' && !told.includes('a renewal was interrupted at'))
    total.odd.push(`${where}: lost without a word of the interruption: ${lastLine(told)}`)
  home.begin()
  const again = await run(home, ['get', 'me', '--force'])
  if (again.code !== 0)
    total.odd.push(`${where}: no new session: exit ${again.code}: ${lastLine(again.stderr)}`)
}

async function countCalls(home) {
  const log = join(scratch, 'count.log')
  await run(
    home,
    ['get', 'me', '--force'],
    ['strace', '-f', '-qq', '-o', log, '-e', `trace=openat,${calls.join(',')}`],
  )
  const lines = readFileSync(log, 'utf8').split('\n')
  const main = lines[0].split(' ')[0]
  const begins = lines.findIndex(line => line.includes('/config.toml"'))
  const counts = Object.fromEntries(calls.map(name => [name, { first: 1, last: 0 }]))
  for (const [i, line] of lines.entries()) {
    const [, pid, name] = /^(\d+) +(\w+)\(/.exec(line) ?? []
    if (pid !== main || counts[name] === undefined) continue
    counts[name].last++
    if (i < begins) counts[name].first++
  }
  return counts
}

async function newHome(name, lifeS = 3600, isFirst = true) {
  const path = join(scratch, name)
  mkdirSync(path, { mode: 0o700 })
  const config = join(path, 'config.toml')
  const family = server.family(name, lifeS)
  writeFileSync(
    config,
    `[profile.me]\nsource = "refresh_token"\ntoken_endpoint = "${server.url}"\nclient_id = "${name}"\nclient_auth = "none"\nrefresh_token = { env = "SEED" }\n`,
    { mode: 0o600 },
  )
  const state = join(path, 'state')
  const env = {
    PATH: process.env.PATH,
    HOME: path,
    TOKCTL_CONFIG: config,
    TOKCTL_STATE_DIR: state,
    TOKCTL_STORE: 'file',
    TOKCTL_VERBOSE: '1',
  }
  const home = {
    path,
    state,
    env,
    family,
    begin() {
      family.newest = `canary-${name}-seed-${++family.seeds}`
      env.SEED = family.newest
    },
  }
  home.begin()
  if (isFirst) await run(home, ['get', 'me'])
  return home
}

function start({ env, path }, args, before = [], isVerbose = true, program = tokctl) {
  const command = [...before, ...program, ...args]
  const given = isVerbose ? env : { ...env, TOKCTL_VERBOSE: '' }
  const child = spawn(command[0], command.slice(1), {
    env: { ...given },
    cwd: path,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', text => (stdout += text))
  child.stderr.on('data', text => (stderr += text))
  const done = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  return { child, done }
}

function run(home, args, before, isVerbose) {
  return start(home, args, before, isVerbose).done
}

/** One family of refresh tokens for each client; each is taken once, and there is no leeway. */
async function startServer() {
  const families = new Map()
  const http = createServer((request, response) => {
    let body = ''
    request.on('data', text => (body += text))
    request.on('end', () => {
      const form = new URLSearchParams(body)
      const family = families.get(form.get('client_id'))
      const sent = form.get('refresh_token')
      family.requests++
      family.presented.set(sent, (family.presented.get(sent) ?? 0) + 1)
      made.onRequest?.()
      response.setHeader('content-type', 'application/json')
      if (sent !== family.newest) {
        family.refusals++
        response.statusCode = 400
        response.end('{"error":"invalid_grant"}')
        return
      }
      const n = ++family.rotations
      family.newest = `canary-${family.name}-refresh-${n}`
      family.at = Date.now()
      const token = {
        access_token: `canary-${family.name}-token-${n}`,
        token_type: 'Bearer',
        expires_in: family.lifeS,
      }
      response.end(JSON.stringify({ ...token, refresh_token: family.newest }))
      made.onAnswer?.()
    })
  })
  await new Promise((resolve, reject) => http.once('error', reject).listen(0, '127.0.0.1', resolve))
  const made = {
    url: `http://127.0.0.1:${http.address().port}/token`,
    onAnswer: undefined,
    onRequest: undefined,
    family(name, lifeS) {
      const family = {
        name,
        lifeS,
        newest: '',
        seeds: 0,
        rotations: 0,
        requests: 0,
        refusals: 0,
        presented: new Map(),
        at: 0,
      }
      families.set(name, family)
      return family
    },
    forget() {
      for (const family of families.values()) family.presented.clear()
    },
    close() {
      http.closeAllConnections()
      return new Promise(resolve => http.close(resolve))
    },
  }
  return made
}

function sealedAfter(stderr) {
  return [...stderr.matchAll(/sealed and on disk ([\d.]+) ms after its first byte/g)].map(([, ms]) =>
    Number(ms),
  )
}

function toldRefusal({ stderr }) {
  return / directly: 400 in /.test(stderr)
}

function filesOf({ state }) {
  return readdirSync(state, { recursive: true })
    .map(name => join(state, name))
    .filter(path => statSync(path, { throwIfNoEntry: false })?.isFile())
}

function inTheClear(home) {
  return filesOf(home).filter(path => {
    try {
      return readFileSync(path, 'latin1').includes('canary')
    } catch {
      return false
    }
  }).length
}

function versionOf([file, ...args]) {
  const { stdout } = spawnSync(file, [...args, '--version'], { encoding: 'utf8' })
  return /\) (\w+ \S+)/.exec(stdout)?.[1] ?? 'an unknown runtime'
}

function lastLine(text) {
  return text.trim().split('\n').slice(-2).join(' / ')
}

function newRow(name) {
  const row = { name, kills: 0, lost: 0, lostOutside: 0, torn: 0, clear: 0, locks: 0, doubles: 0 }
  rows.push(row)
  process.stderr.write(`${name}\n`)
  return row
}

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.length === 0
    ? Number.NaN
    : sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)]
}

function write() {
  for (const row of rows)
    for (const key of Object.keys(total)) if (typeof row[key] === 'number') total[key] += row[key]
  const line = row =>
    `| ${row.name} | ${row.kills} | ${row.torn} | ${row.clear} | ${row.locks} | ${row.doubles} | ${row.lost} | ${row.lostOutside} |`
  const window = (name, values) =>
    `| ${name} | ${values.length} | ${quantile(values, 0.5).toFixed(2)} | ${quantile(values, 0.99).toFixed(2)} | ${Math.max(...values).toFixed(2)} |`
  const text = `# Reliability

\`npm run reliability -- --iterations ${iterations}\` on ${new Date().toISOString().slice(0, 10)}: ${versionOf(tokctl)}${stranger === tokctl ? '' : `, one of each twentieth crowd ${versionOf(stranger)}`}, ${process.platform} ${release()}, ${cpus().length} × ${cpus()[0].model}; load ${loadBefore.toFixed(1)} before it began; ${Math.round((performance.now() - begun) / 60_000)} min.
The server takes each refresh token once, without leeway, so that every answer that does not reach the disk is a login lost.${iterations < 10_000 ? `\n**The crowd ran ${iterations.toLocaleString('en')} of the 10,000 times that are wanted.**` : ''}

| | kills | records torn | tokens in clear on disk | orphan locks | double refreshes | logins lost in W | logins lost outside W |
|---|---|---|---|---|---|---|---|
${rows
  .map(line)
  .map((text, i) =>
    text.replace(
      /\| (\d+) \| (\d+) \|$/,
      `| ${rows[i].lost - rows[i].lostOutside} | ${rows[i].lostOutside} |`,
    ),
  )
  .join('\n')}
| **all** | **${total.kills}** | **${total.torn}** | **${total.clear}** | **${total.locks}** | **${total.doubles}** | **${total.lost - total.lostOutside}** | **${total.lostOutside}** |

W is the time from the first byte of the answer to the sealed answer on disk, as the program measures it itself (\`--verbose\`); to reach: p99 below 20 ms.

| W | renewals | p50 ms | p99 ms | most ms |
|---|---|---|---|---|
${window('one at a time', windowQuiet)}
${stranger === tokctl ? '' : `${window(`one at a time, ${versionOf(stranger)}`, windowBeside)}\n`}${window(`eight at once, in ${given.homes} homes`, windowCrowd)}

Reached: ${quantile(windowQuiet, 0.99) < 20 ? 'yes' : '**no**'} one at a time, ${quantile(windowCrowd, 0.99) < 20 ? 'yes' : '**no**'} in crowds.

- A login counts as lost in W where the server had replaced the refresh token and its answer was not yet on disk.
- Node sends and receives with write, writev and read, Bun with sendto and recvfrom; all are swept, whether or not they happen.
- A double refresh is a refresh token that was sent more often than once and once more for each process that was killed.
- Temporary files left by killed processes, each sealed like what it was to replace: ${total.temporary}.
${disk.map(text => `- ${text}`).join('\n')}${total.odd.map(text => `\n- **Unexpected:** ${text}`).join('')}
`
  mkdirSync(join(root, 'bench'), { recursive: true })
  writeFileSync(join(root, 'bench', 'reliability.md'), text)
  process.stderr.write(text)
}
