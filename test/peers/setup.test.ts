import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { describeClient, findClient, installPrograms } from '../support/client.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { dockerConfig, imageDigest, registryPeer } from '../support/registry.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, type ServiceOptions, startService } from '../support/service.ts'

// What `tokctl setup` wrote is all that a client needs: it gets in, and not any more once it is taken back.

vi.setConfig({ testTimeout: 150_000 })

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

interface Peer extends Corp {
  readonly service: Service
  setup(...args: string[]): Promise<RunResult>
  ask(program: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

/** A home of one profile, `corp`, which matches a service that lets nobody in without its token. */
async function peer(service: ServiceOptions, path = '', env: RunOptions['env'] = {}): Promise<Peer> {
  const made = await corp()
  const { at } = made
  const started = await startService(service)
  onTestFinished(() => started.close())
  at.writeConfig(clientProfile('corp', made.auth.tokenEndpoint, `match = ["${started.url}${path}"]`))
  const local = join(at.home, '.local', 'bin')
  const PATH = `${local}:${installPrograms(at).path}`
  const options = { ...made.options, env: { ...made.options.env, PATH, ...env } }
  return {
    ...made,
    options,
    service: started,
    setup: (...args) => run(['setup', ...args], options),
    ask: (program, more = {}) =>
      run([], { ...options, program, timeoutMs: 100_000, ...more, env: { ...options.env, ...more.env } }),
  }
}

const done = { code: 0, stderr: '' }
const bearer = (authorization: string): boolean => /^Bearer token-\d+$/.test(authorization)

describeClient({ command: 'kubectl', versionArgs: ['version', '--client'], atLeast: [1, 20] }, () => {
  test('setup kubectl: a context that names the user gets in, and the file comes back with its comments', async () => {
    const page: ServiceOptions['page'] = ({ path }) =>
      path.startsWith('/version') ? { body: { major: '1', minor: '30' } } : undefined
    const made = await peer({ tls: certificates.server, challenge: 'Bearer', welcomes: bearer, page })
    const { at, service, setup, ask } = made
    const before = `# mine
apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
    server: ${service.url}
    certificate-authority: ${certificates.caFile}
contexts:
- name: c
  context: {cluster: c, user: corp}
current-context: c
users: []
`
    at.write('home/.kube/config', before)
    const written = await setup('kubectl', 'corp')
    expect(written).toMatchObject(done)
    expect(written.stdout).toContain('next: kubectl config set-context --current --user=corp\n')
    expect(readFileSync(join(at.home, '.kube', 'config.tokctl-backup'), 'utf8')).toBe(before)
    const version = ['kubectl', 'get', '--raw', '/version']
    expect(await ask(version)).toMatchObject({ ...done, stdout: '{"major":"1","minor":"30"}' })
    expect(service.credentials()).toContain('Bearer token-1')
    // It is asked without a token going to a server: it calls one that hangs up, and has its credential by then.
    const before1 = service.credentials().length
    const list = async () => JSON.parse((await setup('--list', 'kubectl', '--json')).stdout).tools[0]
    expect(await list()).toMatchObject({ configured: true, works: true, asked: 'tool', problem: null })
    expect(service.credentials()).toHaveLength(before1)
    // Nor to a proxy of that context, by a kubectl of any kind; and nothing of the asking is left.
    let calls = 0
    const proxy = createServer(socket => {
      calls++
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const config = readFileSync(join(at.home, '.kube', 'config'), 'utf8')
    const proxied = config.replace(/( +)server: .*/, `$&\n$1proxy-url: ${proxyUrl}`)
    expect(proxied).toContain(proxyUrl)
    at.write('home/.kube/config', proxied)
    const TMPDIR = join(at.path, 'tmp')
    mkdirSync(TMPDIR)
    const env = { ...made.options.env, HTTPS_PROXY: proxyUrl, TMPDIR }
    const asked = await run(['setup', '--list', 'kubectl', '--json'], { ...made.options, env })
    proxy.close()
    expect(JSON.parse(asked.stdout).tools[0]).toMatchObject({ works: true, asked: 'tool', problem: null })
    expect(calls).toBe(0)
    expect(readdirSync(TMPDIR)).toEqual([])
    at.write('home/.kube/config', config)
    expect((await setup('kubectl', 'corp')).stdout).toBe('nothing to change: kubectl asks tokctl\n')
    expect(await setup('kubectl', '--remove')).toMatchObject({
      ...done,
      stdout: expect.stringMatching(/^\$ kubectl config delete-user corp\n/),
    })
    expect((await ask(version)).code).toBe(1)
  })
})

describeClient({ command: 'aws', atLeast: [1, 18] }, () => {
  test('setup aws: the profile has keys, which the CLI itself tells', async () => {
    const { at, auth, options } = await corp()
    auth.answer({ body: { K: 'AKIACANARY', S: 'secret' } })
    at.writeConfig(`[profile.keys]
source = "http"
url = "${auth.url}/keys"
members = { AccessKeyId = "K", SecretAccessKey = "S" }
`)
    const before = '# mine\n[default]\nregion = eu-west-1\n'
    at.write('home/.aws/config', before)
    const env = { ...options.env, PATH: installPrograms(at).path }
    const setup = (...args: string[]) => run(['setup', 'aws', ...args], { ...options, env })
    const written = await setup('keys')
    expect(written).toMatchObject(done)
    expect(written.stdout).toMatch(
      /^\$ aws configure set credential_process '[^']+tokctl helper aws keys' --profile keys\n/,
    )
    const { stdout } = await run(['configure', 'list', '--profile', 'keys'], {
      ...options,
      env,
      program: ['aws'],
    })
    expect(stdout).toMatch(/access_key .*NARY .*custom-process/)
    const list = await run(['setup', '--list', 'aws', '--json'], { ...options, env })
    expect(JSON.parse(list.stdout).tools[0]).toMatchObject({
      installed: true,
      configured: true,
      works: true,
      asked: 'tool',
    })
    expect((await setup('keys')).stdout).toBe('nothing to change: aws asks tokctl\n')
    expect(await setup('--remove')).toMatchObject(done)
    expect(readFileSync(join(at.home, '.aws', 'config'), 'utf8').trimEnd()).toBe(before.trimEnd())
  })
})

describe(`docker’s configuration, with skopeo ${findClient('skopeo')?.version}`, () => {
  test('setup docker: the registry lets it in, and not any more when it is taken back', async () => {
    const { at, options, registry, ask } = await registryPeer('basic')
    at.write(dockerConfig, '{\n\t"auths": {}\n}')
    const PATH = installPathOf(at.path)
    const setup = (...args: string[]) =>
      run(['setup', 'docker', ...args], { ...options, env: { ...options.env, PATH } })
    const look = () =>
      ask('skopeo', ['inspect', '--tls-verify=false', `docker://${registry.host}/team/app:1`])
    expect((await look()).code).toBe(1)
    expect(await setup()).toMatchObject(done)
    expect(await look()).toMatchObject({ code: 0, stdout: expect.stringContaining(imageDigest) })
    expect(await setup('--remove')).toMatchObject(done)
    expect(readFileSync(join(at.path, dockerConfig), 'utf8')).toBe('{\n\t"auths": {}\n}')
    expect((await look()).code).toBe(1)
  })
})

/** Where `installPrograms` put them. */
function installPathOf(path: string): string {
  return `${join(path, 'bin')}:${process.env['PATH']}`
}

describeClient({ command: 'cargo', atLeast: [1, 74] }, () => {
  test('setup cargo: a registry that no provider is named for gets the token', async () => {
    const { at, service, setup, ask } = await peer(
      {
        challenge: 'Cargo',
        welcomes: bearer,
        page: ({ path }, { url }) => {
          if (path === '/index/config.json')
            return { body: { dl: `${url}/dl`, api: url, 'auth-required': true } }
          return path.startsWith('/api/v1/crates?q=')
            ? { body: { crates: [], meta: { total: 0 } } }
            : undefined
        },
      },
      '/index',
      { RUSTUP_HOME: process.env['RUSTUP_HOME'] ?? join(homedir(), '.rustup') },
    )
    const before = `[registries.my] # mine\nindex = "sparse+${service.url}/index/"\n`
    at.write('home/.cargo/config.toml', before)
    expect(await setup('cargo')).toMatchObject(done)
    const search = ['cargo', 'search', '--registry', 'my', 'anything']
    expect(await ask(search)).toMatchObject({ code: 0, stdout: '' })
    expect(service.credentials()).toEqual([undefined, 'Bearer token-1'])
    expect(await setup('cargo', '--remove')).toMatchObject(done)
    expect(readFileSync(join(at.home, '.cargo', 'config.toml'), 'utf8')).toBe(before)
    expect((await ask(search)).code).not.toBe(0)
  })
})

describeClient({ command: 'terraform', atLeast: [0, 12] }, () => {
  test('setup terraform: its own registry is asked with the token', async () => {
    const env = { SSL_CERT_FILE: certificates.caFile, SSL_CERT_DIR: '/nowhere', CHECKPOINT_DISABLE: '1' }
    const { at, service, setup, ask } = await peer(
      {
        tls: certificates.server,
        welcomes: bearer,
        open: /^\/\.well-known\//,
        page: ({ path }) =>
          path.startsWith('/.well') ? { body: { 'modules.v1': '/v1/modules/' } } : undefined,
      },
      '',
      env,
    )
    at.write('home/.terraformrc', '# mine\n')
    at.write('work/main.tf', `module "a" {\n  source = "${service.host}/team/app/loop"\n}\n`)
    const init = ['terraform', 'init', '-no-color', '-input=false']
    expect(await setup('terraform')).toMatchObject(done)
    await ask(init, { cwd: join(at.path, 'work') })
    expect(service.requests.find(({ path }) => path.endsWith('/versions'))?.authorization).toBe(
      'Bearer token-1',
    )
    expect(await setup('terraform', '--remove')).toMatchObject(done)
    expect(readFileSync(join(at.home, '.terraformrc'), 'utf8')).toBe('# mine\n')
  })
})

describeClient({ command: 'pip', atLeast: [23, 1] }, ({ path: pip }) => {
  test('setup pip: an index whose URL names a user gets the token', async () => {
    const { at, service, setup, ask } = await peer(
      {
        page: ({ path }) =>
          path === '/simple/parcel/'
            ? { headers: { 'content-type': 'text/html' }, body: '<!DOCTYPE html>' }
            : undefined,
      },
      '',
      { PIP_DISABLE_PIP_VERSION_CHECK: '1' },
    )
    const index = `${service.url.replace('//', '//me@')}/simple/`
    at.write('home/.config/pip/pip.conf', `[global]\nindex-url = ${index}\n`)
    expect(await setup('pip')).toMatchObject(done)
    await ask([pip, 'download', '--no-deps', '--no-input', '--no-cache-dir', 'parcel'])
    expect(service.credentials()).toContain('Basic me:token-1')
    expect(await setup('pip', '--remove')).toMatchObject(done)
    expect(readFileSync(join(at.home, '.config/pip/pip.conf'), 'utf8')).toBe(
      `[global]\nindex-url = ${index}\n`,
    )
  })
})

describe('pnpm', () => {
  const modules = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'node_modules')

  test.each([['pnpm-10/bin/pnpm.cjs'], ['pnpm/bin/pnpm.mjs']])(
    'setup pnpm, %s: the registry gets the token',
    async program => {
      const { at, service, setup, ask } = await peer(
        {
          challenge: 'Bearer',
          welcomes: bearer,
          page: ({ path }) =>
            path.startsWith('/parcel')
              ? { body: { name: 'parcel', 'dist-tags': {}, versions: {} } }
              : undefined,
        },
        '',
        { CI: 'true' },
      )
      at.write('home/.npmrc', `registry=${service.url}/`)
      at.write('work/package.json', '{"name":"w","version":"1.0.0","dependencies":{"parcel":"1.0.0"}}')
      expect(await setup('pnpm', 'corp')).toMatchObject(done)
      await ask([process.execPath, join(modules, program), 'install', '--no-frozen-lockfile'], {
        cwd: join(at.path, 'work'),
      })
      expect(service.credentials()).toContain('Bearer token-1')
      expect(await setup('pnpm', '--remove')).toMatchObject(done)
      expect(readFileSync(join(at.home, '.npmrc'), 'utf8')).toBe(`registry=${service.url}/`)
    },
  )
})

test('git takes what setup git wrote, from the first clone on', async () => {
  const page: ServiceOptions['page'] = () => undefined
  const { at, service, setup, ask } = await peer({ page }, '/team')
  expect(await setup('git')).toMatchObject(done)
  // No repository is there; that it was let in so far is what counts.
  await ask(['git', 'clone', `${service.url}/team/repo.git`, join(at.path, 'repo')])
  expect(service.credentials()).toEqual([undefined, 'Basic oauth2:token-1'])
})
