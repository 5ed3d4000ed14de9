// `npm run smoke`: packs the program, installs it as a user does, and asks it for tokens, on whatever system this is.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const isWindows = process.platform === 'win32'
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'tokctl-smoke-')))
let requests = 0
const server = createServer((request, response) => {
  requests++
  request.resume()
  response.setHeader('content-type', 'application/json')
  response.end(`{"access_token":"token-${requests}","token_type":"Bearer","expires_in":3600}`)
})

try {
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const prefix = join(scratch, 'prefix')
  npm('pack', '--ignore-scripts', '--pack-destination', scratch)
  const tarball = readdirSync(scratch).find(name => name.endsWith('.tgz'))
  npm('install', '--global', '--prefix', prefix, '--no-audit', '--no-fund', join(scratch, tarball))

  const config = join(scratch, 'config.toml')
  const url = `http://127.0.0.1:${server.address().port}/token`
  const secret = '{ env = "SMOKE_SECRET" }'
  writeFileSync(
    config,
    `[profile.corp]\nsource = "client_credentials"\ntoken_endpoint = "${url}"\nclient_id = "smoke"\nclient_secret = ${secret}\n`,
    { mode: 0o600 },
  )
  mkdirSync(join(scratch, 'home'))
  const env = {
    ...process.env,
    PATH: `${isWindows ? prefix : join(prefix, 'bin')}${delimiter}${process.env.PATH}`,
    HOME: join(scratch, 'home'),
    TOKCTL_CONFIG: config,
    TOKCTL_STATE_DIR: join(scratch, 'state'),
    TOKCTL_STORE: 'file',
    SMOKE_SECRET: 'hush',
  }
  const tokctl = (...args) => ask(env, args)
  expect('--version', (await tokctl('--version')).startsWith('tokctl '))
  const crowd = await Promise.all(Array.from({ length: 8 }, () => tokctl('get', 'corp')))
  expect('eight at once get one token', crowd.every(text => text === 'token-1\n') && requests === 1)
  expect('a hit asks nobody', (await tokctl('get', 'corp')) === 'token-1\n' && requests === 1)
  expect('refresh asks once', (await tokctl('refresh', 'corp')) === '' && requests === 2)
  expect('a name of its own', (await ask(env, ['get'], 'git-credential-tokctl')) === '')
} finally {
  server.close()
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 })
}

function npm(...args) {
  const { status } = spawnSync('npm', args, {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: isWindows,
  })
  if (status !== 0) throw new Error(`npm ${args[0]} ended with ${status}`)
}

async function ask(env, args, program = 'tokctl') {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'], shell: isWindows })
  child.stdin.end()
  let out = ''
  let said = ''
  child.stdout.on('data', text => {
    out += text
  })
  child.stderr.on('data', text => {
    said += text
  })
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${said}`)
  return out
}

function expect(what, isSo) {
  if (!isSo) throw new Error(`smoke: not so: ${what}`)
  console.log(`smoke: ${what}`)
}
