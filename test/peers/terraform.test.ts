import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { describeClient, installPrograms } from '../support/client.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// Terraform with tokctl as its credentials helper, and a private module registry on loopback, over TLS.

vi.setConfig({ testTimeout: 150_000 })

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

interface Peer extends Corp {
  readonly registry: Service
  terraform(args: string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer(block = 'credentials_helper "tokctl" {}'): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  at.write('module/main.tf', 'output "answer" {\n  value = 42\n}\n')
  const archive = execFileSync('tar', ['-cz', '-C', join(at.path, 'module'), 'main.tf'])
  const registry = await startService({
    tls: certificates.server,
    challenge: 'Bearer',
    open: /^\/\.well-known\/|^\/archive/,
    welcomes: authorization => /^Bearer token-\d+$/.test(authorization),
    page: ({ path }, { url }) => {
      if (path === '/.well-known/terraform.json') return { body: { 'modules.v1': '/v1/modules/' } }
      if (path === '/v1/modules/team/app/loop/versions') {
        return { body: { modules: [{ versions: [{ version: '1.0.0' }] }] } }
      }
      if (path === '/v1/modules/team/app/loop/1.0.0/download') {
        return { status: 204, headers: { 'x-terraform-get': `${url}/archive.tar.gz` } }
      }
      if (path.startsWith('/archive.tar.gz')) return { body: archive }
      return undefined
    },
  })
  onTestFinished(() => registry.close())
  at.writeConfig(clientProfile('corp', made.auth.tokenEndpoint, `match = ["https://${registry.host}"]`))
  const { bin, path } = installPrograms(at)
  const plugins = join(at.home, '.terraform.d', 'plugins')
  mkdirSync(plugins, { recursive: true })
  symlinkSync(join(bin, 'terraform-credentials-tokctl'), join(plugins, 'terraform-credentials-tokctl'))
  at.write('home/.terraformrc', `disable_checkpoint = true\n${block}\n`)
  at.write(
    'configuration/main.tf',
    `module "app" {
  source  = "${registry.host}/team/app/loop"
  version = "1.0.0"
}
`,
  )
  const env = {
    ...options.env,
    PATH: path,
    SSL_CERT_FILE: certificates.caFile,
    SSL_CERT_DIR: at.home,
    TF_IN_AUTOMATION: '1',
  }
  return {
    ...made,
    registry,
    terraform: (args, more = {}) =>
      run(args, {
        ...options,
        program: ['terraform'],
        cwd: join(at.path, 'configuration'),
        timeoutMs: 100_000,
        ...more,
        env: { ...env, ...more.env },
      }),
  }
}

const init = ['init', '-no-color', '-input=false']

test('a helper that Terraform starts answers after the words of its block', async () => {
  const { at, options } = await corp('match = ["https://registry.example.com"]')
  const { bin } = installPrograms(at)
  const program = [join(bin, 'terraform-credentials-tokctl'), '--any', 'word']
  expect(await run(['get', 'registry.example.com'], { ...options, program })).toMatchObject({
    code: 0,
    stdout: '{"token":"token-1"}\n',
    stderr: '',
  })
})

describeClient({ command: 'terraform', atLeast: [0, 12] }, () => {
  const initialized = { code: 0, stdout: expect.stringContaining('successfully initialized'), stderr: '' }

  test('init gets a module with the token, discovery included, and the next one asks nobody for it', async () => {
    const { auth, registry, terraform } = await peer()
    expect(await terraform(init)).toMatchObject(initialized)
    const seen = registry.requests.map(({ path, authorization }) => `${path} ${authorization}`)
    expect(seen.slice(0, 3)).toEqual([
      '/.well-known/terraform.json Bearer token-1',
      '/v1/modules/team/app/loop/versions Bearer token-1',
      '/v1/modules/team/app/loop/1.0.0/download Bearer token-1',
    ])
    expect(await terraform([...init, '-upgrade'])).toMatchObject(initialized)
    expect(auth.count()).toBe(1)
  })

  test('`tokctl setup terraform` is all that it takes, of a file that is JSON too', async () => {
    const { at, auth, registry, terraform, options } = await peer('')
    rmSync(join(at.home, '.terraform.d'), { recursive: true })
    at.write('home/.terraformrc', '{"disable_checkpoint": true}')
    const written = await run(['setup', 'terraform'], options)
    expect(written).toMatchObject({ code: 0, stderr: '' })
    expect(written.stdout).toMatch(/^next: for a host that no profile matches set TF_TOKEN_…, or write /m)
    expect(await terraform(init)).toMatchObject(initialized)
    expect(registry.credentials()).toContain('Bearer token-1')
    // What is said to be left to do for other hosts.
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    const text = JSON.parse(readFileSync(join(at.home, '.terraformrc'), 'utf8'))
    const credentials = { [registry.host]: { token: 'token-8' } }
    at.write('home/.terraformrc', JSON.stringify({ ...text, credentials }))
    expect(await terraform([...init, '-upgrade'])).toMatchObject(initialized)
    expect(registry.credentials()).toEqual(expect.arrayContaining(['Bearer token-8']))
    const listed = await run(['setup', '--list', 'terraform', '--json'], options)
    expect(JSON.parse(listed.stdout).tools[0]).toMatchObject({ configured: true })
  })

  test('words in the block change nothing', async () => {
    const { registry, terraform } = await peer('credentials_helper "tokctl" {\n  args = ["--any", "word"]\n}')
    expect(await terraform(init)).toMatchObject(initialized)
    expect(registry.credentials()).toContain('Bearer token-1')
  })

  test('a host that no profile matches is asked without a token', async () => {
    const { auth, at, registry, terraform } = await peer()
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    const { code, stderr } = await terraform(init)
    expect(code).toBe(1)
    expect(stderr).toContain('Error accessing remote module registry')
    expect(registry.credentials()).toEqual([undefined])
    expect(auth.count()).toBe(0)
  })

  // Terraform tells its helper nothing of a 401.
  test('a token that was refused is offered again until `reject`', async () => {
    const { auth, registry, terraform, options } = await peer()
    await terraform(init)
    registry.refused.add('token-1')
    expect(await terraform([...init, '-upgrade'])).toMatchObject({ code: 1 })
    await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
    expect(await terraform([...init, '-upgrade'])).toMatchObject(initialized)
    expect(auth.count()).toBe(2)
  })

  test('a failure of ours stands in the log of Terraform alone, with its hint, and the registry gets no token', async () => {
    const { auth, registry, terraform } = await peer()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stderr } = await terraform(init, { env: { TF_LOG: 'WARN' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/tokctl: error: token endpoint \S+ answered 401 \(invalid_client\)$/m)
    expect(stderr).toMatch(/^tokctl: hint: /m)
    expect(registry.credentials()).toEqual([undefined])
  })

  test('logout is answered, and ends nothing', async () => {
    const { auth, registry, terraform } = await peer()
    await terraform(init)
    const { code, stdout, stderr } = await terraform(['logout', registry.host])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('"tokctl" credentials helper')
    expect(await terraform([...init, '-upgrade'])).toMatchObject(initialized)
    expect(auth.count()).toBe(1)
  })
})
