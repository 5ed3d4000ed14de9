// `npm run bench:proxy`: requests per second through the loopback proxy, and through others, before one nginx that answers
// 1 KB; `-- --million` sends a million through ours instead, and looks at its memory. Needs wrk, nginx and haproxy; writes
// its own part of bench/proxy.md.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const rounds = 3
const seconds = 4
const connections = 64
const scratch = mkdtempSync(join(tmpdir(), 'tokctl-proxy-bench-'))
const children = []
const pids = {}
const labels = {
  direct: 'nothing: the upstream itself',
  nginx: 'nginx',
  haproxy: 'haproxy',
  bare: 'a bare node:http proxy',
  tokctl: '`tokctl proxy`',
}

const page = join(root, 'bench', 'proxy.md')
const memoryHead = '## Memory'

try {
  if (process.argv.includes('--million')) await million()
  else await main()
} finally {
  // Killed outright, nginx would leave its workers behind.
  for (const child of children) child.kill('SIGTERM')
  rmSync(scratch, { recursive: true, force: true })
}

async function main() {
  for (const command of ['wrk', 'nginx', 'haproxy']) {
    if (spawnSync(command, ['-v']).error) throw new Error(`bench:proxy needs ${command}`)
  }
  const port = Object.fromEntries(
    await Promise.all(
      ['direct', 'nginx', 'haproxy', 'bare', 'tokctl'].map(async name => [name, await freePort()]),
    ),
  )
  await startAll(port)
  const measured = new Map(Object.keys(port).map(name => [name, []]))
  // A warm-up for each, thrown away, then in turn.
  for (const name of measured.keys()) wrk(port[name], 2)
  for (let round = 0; round < rounds; round++) {
    for (const [name, runs] of measured) runs.push(wrk(port[name], seconds, pids[name]))
  }
  const rows = [...measured].map(([name, runs]) => [name, median(runs)])
  const of = name => rows.find(([row]) => row === name)[1]
  const direct = of('direct')
  const added = (of, at) => Math.max(0, of - at).toFixed(2)
  const text = `# The loopback proxy

64 connections, answers of 1 KB from one nginx on the same machine (${cpus().length} processors), ${rounds} runs of ${seconds} s each in turn;
each figure is a median, and latencies are what is added to the upstream's own. Absolute figures differ from machine to machine;
the ratio is what is to be held: at least 1.2.

| through | requests/s | CPU µs/request | added p50 ms | added p99 ms |
|---|---|---|---|---|
${rows.map(([name, m]) => `| ${labels[name]} | ${Math.round(m.rate)} | ${Number.isNaN(m.cpu) ? '' : Math.round(m.cpu)} | ${added(m.p50, direct.p50)} | ${added(m.p99, direct.p99)} |`).join('\n')}

tokctl ÷ bare node:http: **${(of('tokctl').rate / of('bare').rate).toFixed(2)}** (to reach: 1.2)
`
  const [, memory] = written().split(memoryHead)
  writeFileSync(page, memory === undefined ? text : `${text}\n${memoryHead}${memory}`)
  console.log(text)
}

async function million() {
  const port = { direct: await freePort(), tokctl: await freePort() }
  await startAll(port)
  const rows = []
  let done = 0
  for (const until of [100_000, 250_000, 500_000, 750_000, 1_000_000]) {
    while (done < until) done += wrk(port.tokctl, 3).requests
    const text = readFileSync(`/proc/${pids.tokctl}/status`, 'utf8')
    const kib = field => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(text)[1])
    rows.push([done, kib('VmRSS') / 1024, kib('VmHWM') / 1024])
    console.log(...rows.at(-1))
    writeMemory(rows)
  }
}

function writeMemory(rows) {
  const text = `${memoryHead}

\`npm run bench:proxy -- --million\`: one process, 64 connections at a time, resident memory as the kernel tells it.

| after so many requests | MiB | most so far, MiB |
|---|---|---|
${rows.map(([n, now, most]) => `| ${n.toLocaleString('en')} | ${now.toFixed(1)} | ${most.toFixed(1)} |`).join('\n')}
`
  const [before] = written().split(memoryHead)
  writeFileSync(page, `${before.trimEnd()}\n\n${text}`)
}

function written() {
  try {
    return readFileSync(page, 'utf8')
  } catch {
    return ''
  }
}

async function startAll(port) {
  const docs = join(scratch, 'www')
  mkdirSync(docs)
  writeFileSync(join(docs, 'index.html'), 'x'.repeat(1024))
  const nginx = (name, server) => {
    const at = join(scratch, name)
    mkdirSync(at)
    const file = join(at, 'nginx.conf')
    const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map(k => `${k}_temp_path ${at}/${k};`)
      .join(' ')
    writeFileSync(
      file,
      `${process.getuid() === 0 ? 'user root; ' : ''}worker_processes 1; daemon off; pid ${at}/pid; error_log /dev/null;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000; ${places}
upstream up { server 127.0.0.1:${port.direct}; keepalive 64; keepalive_requests 1000000; }
server { listen 127.0.0.1:${port[name]}; ${server} } }
`,
    )
    run('nginx', ['-p', at, '-c', file])
  }
  nginx('direct', `location / { root ${docs}; }`)
  if (port.nginx !== undefined)
    nginx(
      'nginx',
      `location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer t"; }`,
    )
  const haproxy = join(scratch, 'haproxy.cfg')
  writeFileSync(
    haproxy,
    `global
  nbthread 1
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
  http-reuse always
frontend f
  bind 127.0.0.1:${port.haproxy}
  http-request set-header Authorization "Bearer t"
  default_backend b
backend b
  server s 127.0.0.1:${port.direct}
`,
  )
  if (port.haproxy !== undefined) pids.haproxy = run('haproxy', ['-f', haproxy])
  const bare = `const http = require('node:http')
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 })
http.createServer((incoming, outgoing) => {
  const onward = http.request({ host: '127.0.0.1', port: ${port.direct}, path: incoming.url, method: incoming.method, agent,
    headers: { ...incoming.headers, authorization: 'Bearer t' } }, answer => {
    outgoing.writeHead(answer.statusCode, answer.headers)
    answer.pipe(outgoing)
  })
  onward.on('error', () => outgoing.destroy())
  incoming.pipe(onward)
}).listen(${port.bare}, '127.0.0.1')`
  if (port.bare !== undefined) pids.bare = run(process.execPath, ['-e', bare])
  const config = join(scratch, 'config.toml')
  writeFileSync(config, '[profile.bench]\nsource = "static"\ntoken = { env = "BENCH_TOKEN" }\n', {
    mode: 0o600,
  })
  const args = [
    'proxy',
    'bench',
    '--upstream',
    `http://127.0.0.1:${port.direct}`,
    '--listen',
    `127.0.0.1:${port.tokctl}`,
  ]
  pids.tokctl = run(process.execPath, [join(root, 'bin', 'tokctl.js'), '--config', config, ...args])
  for (const name of Object.keys(port)) await reachable(port[name])
}

function run(command, args) {
  const env = {
    PATH: process.env.PATH,
    HOME: scratch,
    TOKCTL_STATE_DIR: join(scratch, 'state'),
    TOKCTL_STORE: 'file',
    BENCH_TOKEN: 'bench-token',
  }
  const child = spawn(command, args, { env, stdio: 'ignore' })
  children.push(child)
  return child.pid
}

function wrk(port, duration, pid) {
  const before = cpuOf(pid)
  const args = ['-t1', `-c${connections}`, `-d${duration}`, '--latency', `http://127.0.0.1:${port}/`]
  const { stdout } = spawnSync('wrk', args, { encoding: 'utf8' })
  if (/Non-2xx/.test(stdout)) throw new Error(`a proxy failed:\n${stdout}`)
  const requests = Number(/(\d+) requests in/.exec(stdout)[1])
  return {
    requests,
    cpu: (cpuOf(pid) - before) / requests,
    rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]),
    p50: latency(stdout, 50),
    p99: latency(stdout, 99),
  }
}

/** Microseconds of processor that a process has had; hundredths of a second are what the kernel counts in. */
function cpuOf(pid) {
  if (pid === undefined) return Number.NaN
  const [, fields] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
  const [user, system] = fields.split(' ').slice(11)
  return (Number(user) + Number(system)) * 10_000
}

function latency(stdout, percent) {
  const [, value, unit] = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout)
  return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit]
}

function median(runs) {
  const middle = key => runs.map(run => run[key]).sort((a, b) => a - b)[Math.floor(runs.length / 2)]
  return { rate: middle('rate'), cpu: middle('cpu'), p50: middle('p50'), p99: middle('p99') }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

async function reachable(port) {
  for (let i = 0; i < 100; i++) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await new Promise(resolve => {
      socket.on('connect', () => resolve(true))
      socket.on('error', () => resolve(false))
    })
    socket.destroy()
    if (isThere) return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error(`nobody listens at port ${port}`)
}
