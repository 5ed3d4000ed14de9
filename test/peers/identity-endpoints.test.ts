import { execFile } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { run, type Scratch, type Started, start } from '../support/run.ts'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))

interface Watched {
  readonly at: Scratch
  readonly watch: Started
  /** What the program that asks is to be given. */
  readonly env: Readonly<Record<string, string>>
  readonly auth: Awaited<ReturnType<typeof corp>>['auth']
}

const awsKeys = `[profile.keys]
source = "command"
command = ["printf", '{"AccessKeyId":"AKIATEST","SecretAccessKey":"hush","SessionToken":"session","Expiration":"2030-01-01T00:00:00Z"}']
members = { AccessKeyId = "AccessKeyId", SecretAccessKey = "SecretAccessKey", SessionToken = "SessionToken" }
expires_at_path = "Expiration"
`

/** The content of a file that a watch is to write whole. */
async function written(file: string, watch: Started): Promise<string> {
  while (!existsSync(file)) {
    if (watch.child.exitCode !== null) throw new Error(`the watch has ended: ${watch.stderr}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return readFileSync(file, 'utf8')
}

async function watched(flag: '--aws' | '--gce' | '--azure', profile = 'corp', config = ''): Promise<Watched> {
  const { at, auth, options } = await corp()
  if (config !== '') at.writeConfig(config)
  const file = join(at.path, 'variables')
  const watch = start(['watch', profile, flag, '127.0.0.1:0', '--variables', file], options)
  const lines = (await written(file, watch)).trim().split('\n')
  expect((statSync(file).mode & 0o777).toString(8)).toBe('600')
  const env = Object.fromEntries(lines.map(line => line.split(/=(.*)/s).slice(0, 2) as [string, string]))
  return { at, watch, env, auth }
}

/** Runs a script that uses an SDK, in an environment that has what the watch says and nothing else. */
async function script({ at, env }: Watched, code: string): Promise<string> {
  const file = at.write('sdk.mjs', code)
  const { stdout } = await execute(process.execPath, [file], {
    cwd: root,
    env: { PATH: process.env['PATH'], HOME: at.home, NODE_PATH: join(root, 'node_modules'), ...env },
  })
  return stdout
}

/** `import` from a script that lies elsewhere. */
const from = (name: string): string =>
  `import { createRequire } from 'node:module'\nconst sdk = createRequire(${JSON.stringify(join(root, 'package.json'))})('${name}')\n`

interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

function ask(url: string, headers: Record<string, string>, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request(url, { headers, method }, response => {
      let body = ''
      response.on('data', chunk => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }))
    })
      .on('error', reject)
      .end()
  })
}

describe('AWS', () => {
  test('the SDK gets keys from the container credentials endpoint', async () => {
    const made = await watched('--aws', 'keys', awsKeys)
    const told = await script(
      made,
      `${from('@aws-sdk/credential-providers')}console.log(JSON.stringify(await sdk.fromHttp({})()))`,
    )
    expect(JSON.parse(told)).toMatchObject({
      accessKeyId: 'AKIATEST',
      secretAccessKey: 'hush',
      sessionToken: 'session',
      expiration: '2030-01-01T00:00:00.000Z',
    })
  }, 60_000)

  test('nobody gets them without the secret', async () => {
    const { env } = await watched('--aws', 'keys', awsKeys)
    const url = env['AWS_CONTAINER_CREDENTIALS_FULL_URI']!
    const secret = readFileSync(env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE']!, 'utf8')
    expect(secret).toMatch(/^[\w-]{43}$/)
    for (const authorization of ['', 'x', `${secret}x`, `Bearer ${secret}`]) {
      expect(await ask(url, { authorization })).toMatchObject({ status: 401 })
    }
    expect((await ask(`${url}/more`, { authorization: secret })).status).toBe(404)
    expect((await ask(url, { authorization: secret })).status).toBe(200)
  })
})

describe('Google', () => {
  test('the SDK gets the token from the metadata server', async () => {
    const made = await watched('--gce')
    const told = await script(
      made,
      `${from('google-auth-library')}const { token } = await new sdk.Compute().getAccessToken()\nconsole.log(token)`,
    )
    expect(told).toBe('token-1\n')
    const found = await script(
      made,
      `${from('google-auth-library')}const auth = new sdk.GoogleAuth({ scopes: 'https://www.googleapis.com/auth/cloud-platform' })\nconsole.log((await auth.getAccessToken()))`,
    )
    expect(found).toBe('token-1\n')
    expect(made.auth.count()).toBe(1)
  }, 60_000)

  test('who does not send Metadata-Flavor, or was forwarded, gets nothing', async () => {
    const { env } = await watched('--gce')
    const url = `http://${env['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/token`
    const flavor = { 'metadata-flavor': 'Google' }
    expect((await ask(url, {})).status).toBe(403)
    expect((await ask(url, { ...flavor, 'x-forwarded-for': '10.0.0.1' })).status).toBe(403)
    const answer = await ask(url, flavor)
    expect(answer).toMatchObject({ status: 200, headers: { 'metadata-flavor': 'Google' } })
    expect(JSON.parse(answer.body)).toMatchObject({ access_token: 'token-1', token_type: 'Bearer' })
  })
})

describe('Azure', () => {
  test('the SDK gets the token from IDENTITY_ENDPOINT', async () => {
    const made = await watched('--azure')
    const told = await script(
      made,
      `${from('@azure/identity')}const { token, expiresOnTimestamp } = await new sdk.ManagedIdentityCredential().getToken('https://vault.example.com/.default')\nconsole.log(token, expiresOnTimestamp > Date.now())`,
    )
    expect(told).toBe('token-1 true\n')
  }, 60_000)

  test('nobody gets it without the header, and the answer has what the Python SDK reads', async () => {
    const { env } = await watched('--azure')
    const url = `${env['IDENTITY_ENDPOINT']}?api-version=2019-08-01&resource=https%3A%2F%2Fvault.example.com`
    expect((await ask(url, { 'x-identity-header': 'x' })).status).toBe(401)
    expect((await ask(url, {})).status).toBe(401)
    const secret = { 'x-identity-header': env['IDENTITY_HEADER']! }
    expect((await ask(env['IDENTITY_ENDPOINT']!, secret)).status).toBe(400)
    expect(JSON.parse((await ask(url, secret)).body)).toMatchObject({
      access_token: 'token-1',
      expires_on: expect.stringMatching(/^\d{10}$/),
      resource: 'https://vault.example.com',
      token_type: 'Bearer',
    })
  })
})

describe('an endpoint', () => {
  const closed: [name: string, headers: Record<string, string>, method: string, status: number][] = [
    ['a Host that a rebound name would send', { host: 'attacker.example.com' }, 'GET', 421],
    ['a Host without the port', { host: '127.0.0.1' }, 'GET', 421],
    ['a web page', { origin: 'https://attacker.example.com' }, 'GET', 403],
    ["a web page's image", { 'sec-fetch-site': 'cross-site' }, 'GET', 403],
    ['a PUT', {}, 'PUT', 405],
  ]
  test.each(closed)('is closed to %s', async (_, headers, method, status) => {
    const { env, auth } = await watched('--azure')
    const url = `${env['IDENTITY_ENDPOINT']}?resource=r`
    const answer = await ask(url, { 'x-identity-header': env['IDENTITY_HEADER']!, ...headers }, method)
    expect(answer.status).toBe(status)
    expect(answer.body).not.toContain('token-1')
    expect(auth.count()).toBeLessThanOrEqual(1)
  })

  // The second is asked by a socket of IPv6, which the kernel lists elsewhere.
  const families = ['127.0.0.1', '::ffff:127.0.0.1']
  const kinds: [flag: '--aws' | '--gce' | '--azure', own: number][] = [
    ['--gce', 200],
    ['--aws', 401],
    ['--azure', 401],
  ]
  test.skipIf(process.getuid?.() !== 0).each(kinds)(
    '%s is closed to another user, whatever its socket',
    async (flag, own) => {
      const { env, at } = await (flag === '--aws' ? watched(flag, 'keys', awsKeys) : watched(flag))
      const { host, pathname } = new URL(
        env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] ??
          env['IDENTITY_ENDPOINT'] ??
          `http://${env['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/token`,
      )
      const [, port] = host.split(':')
      const headers = { host, 'metadata-flavor': 'Google' }
      const code = `
      for (const host of ${JSON.stringify(families)}) {
        const options = { host, port: ${port}, path: ${JSON.stringify(pathname)}, headers: ${JSON.stringify(headers)}, agent: false }
        require('node:http').get(options, r => console.log(r.resume().statusCode))
      }`
      const as = (uid: string) =>
        run(['-e', code], {
          at,
          cwd: '/',
          program: ['setpriv', `--reuid=${uid}`, '--clear-groups', process.execPath],
        })
      expect((await as('65534')).stdout).toBe('403\n403\n')
      expect((await as('0')).stdout).toBe(`${own}\n${own}\n`)
    },
  )

  test('is gone with its files when the watch ends', async () => {
    const { env, watch, at } = await watched('--azure')
    const url = `${env['IDENTITY_ENDPOINT']}?resource=r`
    watch.kill('SIGTERM')
    expect((await watch.done).code).toBe(143)
    expect(existsSync(join(at.path, 'variables'))).toBe(false)
    expect(existsSync(join(at.stateDir, 'watch', 'corp.secret'))).toBe(false)
    await expect(ask(url, {})).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  test('tells which failure keeps the token away', async () => {
    const { at, auth, options } = await corp()
    auth.unavailable(60)
    const file = join(at.path, 'variables')
    const watch = start(['watch', 'corp', '--azure', '127.0.0.1:0', '--variables', file], options)
    await written(file, watch)
    const [, endpoint = '', secret = ''] =
      /IDENTITY_ENDPOINT=(.*)\nIDENTITY_HEADER=(.*)\n/.exec(readFileSync(file, 'utf8')) ?? []
    const answer = await ask(`${endpoint}?resource=r`, { 'x-identity-header': secret })
    expect(answer.status).toBe(503)
    expect(JSON.parse(answer.body).error.code).toBe('server_error')
  })
})
