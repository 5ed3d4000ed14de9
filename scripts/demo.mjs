// `npm run demo`: an authorization server on loopback, and tokctl asking it cold, warm, and forty times at once.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const tokctl = join(dirname(dirname(fileURLToPath(import.meta.url))), 'bin', 'tokctl.js')
const crowd = 40
const shortLifeS = 3

const scratch = mkdtempSync(join(tmpdir(), 'tokctl-demo-'))
const running = new Set()
const server = await startServer()
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    cleanUp()
    process.exit(1)
  })
}

try {
  await show()
} catch (error) {
  console.error(`demo: ${error.message}`)
  process.exitCode = 1
} finally {
  cleanUp()
}

async function show() {
  const config = join(scratch, 'config.toml')
  writeFileSync(
    config,
    `[profile.demo]
source        = "client_credentials"
issuer        = "${server.url}"
client_id     = "demo"
client_secret = { env = "DEMO_SECRET" }
`,
    { mode: 0o600 },
  )
  console.log(`oidc-provider listens on ${server.url}. Each token request to it is counted.`)

  server.lifeS = shortLifeS
  const [cold] = await step('tokctl get demo', 'cold: nothing is kept yet', 1)
  expect(server.tokenRequests === 1, 'the first call makes one request')

  const [warm] = await step('tokctl get demo', 'warm: read from the store, no network', 1)
  expect(warm.token === cold.token && server.tokenRequests === 1, 'the second call makes none')

  console.log(`\n  (that token lives ${shortLifeS} s; waiting until it has expired)`)
  await pause(cold.begun + shortLifeS * 1000 + 250 - performance.now())
  server.lifeS = 3600

  const many = await step(
    `for i in $(seq ${crowd}); do tokctl get demo & done; wait`,
    'expired: all at once',
    crowd,
  )
  const tokens = new Set(many.map(one => one.token))
  expect(tokens.size === 1 && !tokens.has(cold.token), 'all of them print the same new token')
  expect(server.tokenRequests === 2, 'only one of them asks the server')
  console.log(`\nThree rounds, ${crowd + 2} tokens printed, ${server.tokenRequests} requests made.`)
}

async function step(command, remark, times) {
  console.log(`\n$ ${command}    # ${remark}`)
  const begun = performance.now()
  const results = await Promise.all(Array.from({ length: times }, () => get()))
  const ms = Math.round(performance.now() - begun)
  const printed = new Map()
  for (const { token } of results) printed.set(token, (printed.get(token) ?? 0) + 1)
  for (const [token, n] of printed) console.log(`${shorten(token)}${n > 1 ? `    printed ${n} times` : ''}`)
  console.log(
    `  ${ms} ms; the server has counted ${server.tokenRequests} token request${server.tokenRequests === 1 ? '' : 's'}`,
  )
  return results
}

function shorten(token) {
  return token.length > 20 ? `${token.slice(0, 12)}…${token.slice(-4)}` : token
}

function get() {
  const begun = performance.now()
  const child = spawn(process.execPath, [tokctl, 'get', 'demo'], {
    env: {
      PATH: process.env.PATH,
      HOME: scratch,
      TOKCTL_CONFIG: join(scratch, 'config.toml'),
      TOKCTL_STATE_DIR: join(scratch, 'state'),
      TOKCTL_STORE: 'file',
      DEMO_SECRET: server.secret,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', text => {
    stdout += text
  })
  child.stderr.on('data', text => {
    stderr += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => {
      running.delete(child)
      if (code === 0) resolve({ token: stdout.trim(), begun })
      else reject(new Error(`tokctl get demo ended with ${code}: ${stderr.trim()}`))
    })
  })
}

function expect(isSo, what) {
  if (!isSo) throw new Error(`it should be that ${what}`)
}

/** oidc-provider with one client; tokens live as long as `lifeS` says when they are made. */
async function startServer() {
  const secret = 'a-secret-for-loopback-only-0123456789'
  const server = createServer((request, response) => {
    if (request.url === '/token') state.tokenRequests++
    handle(request, response)
  })
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const state = {
    url: `http://127.0.0.1:${server.address().port}`,
    secret,
    lifeS: 3600,
    tokenRequests: 0,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
  const handle = await quietly(async () => {
    const { Provider } = await import('oidc-provider')
    const provider = new Provider(state.url, {
      clients: [
        {
          client_id: 'demo',
          client_secret: secret,
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        },
      ],
      features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
      ttl: { ClientCredentials: () => state.lifeS },
      cookies: { keys: [secret] },
    })
    return provider.callback()
  })
  return state
}

/** oidc-provider warns of what does not matter here: keys for development, a Node that it was not tried on. */
async function quietly(work) {
  const { info, warn } = console
  const { emitWarning } = process
  Object.assign(console, { info() {}, warn() {} })
  process.emitWarning = () => {}
  try {
    return await work()
  } finally {
    Object.assign(console, { info, warn })
    process.emitWarning = emitWarning
  }
}

function cleanUp() {
  for (const child of running) child.kill('SIGKILL')
  server.close()
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 })
}
