// `npm run bench:proxy`: requests per second through the loopback proxy, and through others, before one nginx that answers
// 1 KB. Needs wrk, nginx and haproxy; writes bench/proxy.md.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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
const labels = {
  direct: 'nothing: the upstream itself',
  nginx: 'nginx',
  haproxy: 'haproxy',
  bare: 'a bare node:http proxy',
  tokctl: '`tokctl proxy`',
}

try {
  await main()
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
    for (const [name, runs] of measured) runs.push(wrk(port[name], seconds))
  }
  const rows = [...measured].map(([name, runs]) => [name, median(runs)])
  const of = name => rows.find(([row]) => row === name)[1]
  const text = `# The loopback proxy

64 connections, answers of 1 KB from one nginx on the same machine (${cpus().length} processors), ${rounds} runs of ${seconds} s each in turn;
each figure is a median. Absolute figures differ from machine to machine; the ratio is what is to be held: at least 1.2.

| through | requests/s | p50 ms | p99 ms |
|---|---|---|---|
${rows.map(([name, m]) => `| ${labels[name]} | ${Math.round(m.rate)} | ${m.p50.toFixed(2)} | ${m.p99.toFixed(2)} |`).join('\n')}

tokctl ÷ bare node:http: **${(of('tokctl').rate / of('bare').rate).toFixed(2)}** (to reach: 1.2)
`
  writeFileSync(join(root, 'bench', 'proxy.md'), text)
  console.log(text)
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
  run('haproxy', ['-f', haproxy])
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
  run(process.execPath, ['-e', bare])
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
  run(process.execPath, [join(root, 'bin', 'tokctl.js'), '--config', config, ...args])
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
  children.push(spawn(command, args, { env, stdio: 'ignore' }))
}

function wrk(port, duration) {
  const args = ['-t1', `-c${connections}`, `-d${duration}`, '--latency', `http://127.0.0.1:${port}/`]
  const { stdout } = spawnSync('wrk', args, { encoding: 'utf8' })
  if (/Non-2xx/.test(stdout)) throw new Error(`a proxy failed:\n${stdout}`)
  return {
    rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)[1]),
    p50: latency(stdout, 50),
    p99: latency(stdout, 99),
  }
}

function latency(stdout, percent) {
  const [, value, unit] = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout)
  return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit]
}

function median(runs) {
  const middle = key => runs.map(run => run[key]).sort((a, b) => a - b)[Math.floor(runs.length / 2)]
  return { rate: middle('rate'), p50: middle('p50'), p99: middle('p99') }
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
