import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { describeClient, installPrograms } from '../support/client.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// Go with tokctl in GOAUTH, and a module proxy on loopback, over TLS, that lets nobody in without the token.

vi.setConfig({ testTimeout: 150_000 })

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

interface Peer extends Corp {
  readonly proxy: Service
  readonly env: Record<string, string>
  go(args: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer(path: string): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const proxy = await startService({
    tls: certificates.server,
    challenge: 'Bearer',
    welcomes: authorization => /^Bearer token-\d+$/.test(authorization),
    page: ({ path }) => {
      if (path === '/modules/example.com/parcel/@v/list') return { body: 'v1.0.0\n' }
      if (path === '/modules/example.com/parcel/@v/v1.0.0.info') return { body: { Version: 'v1.0.0' } }
      if (path === '/modules/example.com/parcel/@v/v1.0.0.mod') return { body: 'module example.com/parcel\n' }
      return undefined
    },
  })
  onTestFinished(() => proxy.close())
  at.writeConfig(clientProfile('corp', made.auth.tokenEndpoint, `match = ["${proxy.url}/modules"]`))
  const env = {
    ...options.env,
    PATH: installPrograms(at).path,
    GOAUTH: 'tokctl helper goauth',
    GOPROXY: `${proxy.url}/modules`,
    GONOSUMDB: '*',
    GOTOOLCHAIN: 'local',
    GOFLAGS: '-modcacherw',
    SSL_CERT_FILE: certificates.caFile,
  }
  return {
    ...made,
    proxy,
    env,
    go: (args, more = {}) =>
      run(args, { ...options, program: [path], timeoutMs: 100_000, ...more, env: { ...env, ...more.env } }),
  }
}

const list = ['list', '-m', '-versions', 'example.com/parcel']

test('what Go is told for a URL names that URL: it looks for no path between it and the host', async () => {
  const { options } = await corp('match = ["https://proxy.example.com/modules"]')
  const input = 'HTTP/1.1 401 Unauthorized\n\n'
  const url = 'https://proxy.example.com/modules/example.com/parcel/@v/list'
  expect(await run(['helper', 'goauth', url], { ...options, input })).toMatchObject({
    code: 0,
    stdout: `${url}\nhttps://proxy.example.com/modules\n\nAuthorization: Bearer token-1\n\n`,
    stderr: '',
  })
})

describeClient({ command: 'go', versionArgs: ['version'], atLeast: [1, 24] }, ({ path }) => {
  const found = { code: 0, stdout: 'example.com/parcel v1.0.0\n', stderr: '' }

  test('of a path that a profile matches each file is asked for twice, the second time with the token', async () => {
    const { auth, proxy, go } = await peer(path)
    expect(await go(list)).toMatchObject(found)
    expect(proxy.requests.length).toBeGreaterThan(2)
    proxy.requests.forEach(({ authorization, status }, i) => {
      expect([authorization, status]).toEqual(i % 2 === 0 ? [undefined, 401] : ['Bearer token-1', 200])
    })
    expect(await go(list)).toMatchObject(found)
    expect(auth.count()).toBe(1)
  })

  test('`tokctl setup go` is all that it takes', async () => {
    const { at, proxy, go, env } = await peer(path)
    const without = { ...env, GOAUTH: undefined }
    expect(await run(['setup', 'go'], { at, env: without })).toMatchObject({ code: 0, stderr: '' })
    expect(await go(list, { env: without })).toMatchObject(found)
    expect(proxy.credentials()).toEqual([undefined, 'Bearer token-1'])
  })

  test('of a host that a profile matches every file is got with the token, as soon as there is one', async () => {
    const { at, auth, proxy, go } = await peer(path)
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, `match = ["${proxy.url}/"]`))
    expect(await go(list)).toMatchObject(found)
    const seen = proxy.requests.map(({ authorization }) => authorization)
    expect(seen[0]).toBe(undefined)
    expect(new Set(seen.slice(1))).toEqual(new Set(['Bearer token-1']))
    expect(await go(list)).toMatchObject(found)
    expect(proxy.requests.filter(({ status }) => status === 401)).toHaveLength(1)
    expect(auth.count()).toBe(1)
  })

  test('a host that no profile matches gets no token', async () => {
    const { at, auth, proxy, go } = await peer(path)
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    expect(await go(list)).toMatchObject({ code: 1, stdout: '' })
    expect(proxy.credentials()).toEqual([undefined])
    expect(auth.count()).toBe(0)
  })

  test('a failure of ours is shown with -x alone, with its hint, and the proxy gets no token', async () => {
    const { auth, proxy, go } = await peer(path)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stderr } = await go(['list', '-x', ...list.slice(1)])
    expect(code).toBe(1)
    expect(stderr).toContain('could not run command tokctl helper goauth: exit status 6')
    expect(stderr).toMatch(/^tokctl: error: token endpoint \S+ answered 401 \(invalid_client\)$/m)
    expect(stderr).toMatch(/^tokctl: hint: /m)
    expect(proxy.credentials()).toEqual([undefined])
  })

  // The response that Go hands us does not tell which token it sent.
  test('a token that was refused is offered again until `reject`', async () => {
    const { auth, proxy, go, options } = await peer(path)
    await go(list)
    proxy.refused.add('token-1')
    expect(await go(list)).toMatchObject({ code: 1, stdout: '' })
    await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
    expect(await go(list)).toMatchObject(found)
    expect(auth.count()).toBe(2)
  })
})
