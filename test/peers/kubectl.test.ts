import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { describeClient, installPrograms } from '../support/client.ts'
import { ahead, type Corp, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// kubectl with tokctl as its exec plugin, against an API on loopback, over TLS.

vi.setConfig({ testTimeout: 150_000 })

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

const client = { command: 'kubectl', versionArgs: ['version', '--client'] }

interface Peer extends Corp {
  readonly api: Service
  readonly env: Record<string, string>
  kubectl(args: string[], more?: Partial<RunOptions>): Promise<RunResult>
}

/** `exec` is the plugin's part of the kubeconfig, over what is always in it; without it there is no user yet. */
async function peer(exec: Record<string, unknown> | undefined, scheme = 'https'): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const api = await startService({
    ...(scheme === 'https' && { tls: certificates.server }),
    challenge: 'Bearer',
    welcomes: authorization => /^Bearer token-\d+$/.test(authorization),
    page: ({ path }) => (path.startsWith('/version') ? { body: { major: '1', minor: '30' } } : undefined),
  })
  onTestFinished(() => api.close())
  const plugin = { command: 'tokctl', args: ['helper', 'kubectl', 'corp'], ...exec }
  // A kubeconfig may be JSON.
  const file = at.write(
    'kubeconfig',
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'c',
      clusters: [
        {
          name: 'c',
          cluster: {
            server: api.url,
            'certificate-authority-data': Buffer.from(certificates.ca).toString('base64'),
          },
        },
      ],
      users: exec === undefined ? [] : [{ name: 'u', user: { exec: plugin } }],
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    }),
  )
  const env = { ...options.env, PATH: installPrograms(at).path, KUBECONFIG: file }
  return {
    ...made,
    api,
    env,
    kubectl: (args, more = {}) =>
      run(args, {
        ...options,
        program: ['kubectl'],
        timeoutMs: 100_000,
        ...more,
        env: { ...env, ...more.env },
      }),
  }
}

const group = 'client.authentication.k8s.io'
const beta = { apiVersion: `${group}/v1beta1` }
const v1 = { apiVersion: `${group}/v1`, interactiveMode: 'IfAvailable' }
const version = ['get', '--raw', '/version']
const served = { code: 0, stdout: '{"major":"1","minor":"30"}', stderr: '' }
const byToken = ['Bearer token-1']

describeClient({ ...client, atLeast: [1, 20] }, () => {
  test('v1beta1: the API gets the token, and the next run asks nobody for it', async () => {
    const { auth, api, kubectl } = await peer(beta)
    expect(await kubectl(version)).toMatchObject(served)
    expect(await kubectl(version)).toMatchObject(served)
    expect(api.credentials()).toEqual(byToken)
    expect(auth.count()).toBe(1)
  })

  test('an API on plain http: kubectl does not ask us, and sends no token', async () => {
    const { auth, api, kubectl } = await peer(beta, 'http')
    expect(await kubectl(version)).toMatchObject({ code: 1, stdout: '' })
    expect(api.credentials()).toEqual([undefined])
    expect(auth.count()).toBe(0)
  })

  test('the cluster in the question changes nothing', async () => {
    const { api, kubectl } = await peer({ ...beta, provideClusterInfo: true })
    expect(await kubectl(version)).toMatchObject(served)
    expect(api.credentials()).toEqual(byToken)
  })

  // client-go runs the plugin again after a 401, but neither tells it why nor sends the request again.
  test("a 401 is kubectl's own failure, of which we are not told: after `reject` the next run gets another token", async () => {
    const { auth, api, kubectl, options } = await peer(beta)
    await kubectl(version)
    api.refused.add('token-1')
    for (let time = 0; time < 2; time++) {
      const refused = await kubectl(version)
      expect(refused).toMatchObject({ code: 1, stdout: '' })
      expect(refused.stderr).toMatch(/^error: You must be logged in to the server \(.*\)\n$/)
    }
    expect(auth.count()).toBe(1)
    await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
    expect(await kubectl(version)).toMatchObject(served)
    expect(api.credentials()).toEqual(['Bearer token-1', 'Bearer token-2'])
    expect(auth.count()).toBe(2)
  })

  test('a failure is shown with its hint, and nothing reaches the API', async () => {
    const { auth, api, kubectl } = await peer(beta)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stdout, stderr } = await kubectl(version)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^tokctl: error: .*\(invalid_client\).*$/m)
    expect(stderr).toMatch(/^tokctl: hint: /m)
    expect(stderr).toContain('executable tokctl failed with exit code 6')
    expect(api.requests).toEqual([])
  })

  test('forty at once with an expired token: one token request', async () => {
    const { auth, api, kubectl } = await peer(beta)
    await kubectl(version)
    const expired = { env: ahead('+61m'), timeoutMs: 140_000 }
    const all = await Promise.all(Array.from({ length: 40 }, () => kubectl(version, expired)))
    for (const one of all) expect(one).toMatchObject(served)
    expect(auth.count()).toBe(2)
    expect(api.credentials()).toEqual(['Bearer token-1', 'Bearer token-2'])
  })
})

describeClient({ ...client, atLeast: [1, 22] }, () => {
  // Debian's 1.20 crashes whenever it writes a user.
  test('`tokctl setup kubectl` is all that it takes', async () => {
    const { at, api, env, kubectl } = await peer(undefined)
    const setup = await run(['setup', 'kubectl', 'corp', '--as', 'u'], { at, env, timeoutMs: 100_000 })
    expect(setup).toMatchObject({ code: 0, stderr: '' })
    expect(await kubectl(version)).toMatchObject(served)
    // A kubectl that chooses its version by the server's asks for that while it is set up.
    expect(api.credentials()).toContain('Bearer token-1')
  })

  test.each(['Never', 'IfAvailable'])('v1, interactiveMode %s: the API gets the token', async mode => {
    const { auth, api, kubectl } = await peer({ ...v1, interactiveMode: mode })
    expect(await kubectl(version)).toMatchObject(served)
    expect(api.credentials()).toEqual(byToken)
    expect(auth.count()).toBe(1)
  })

  test('v1, interactiveMode Always without a terminal: kubectl does not ask us', async () => {
    const { auth, kubectl } = await peer({ ...v1, interactiveMode: 'Always' })
    const { code, stderr } = await kubectl(version)
    expect(code).toBe(1)
    expect(stderr).toContain('standard input is not a terminal')
    expect(auth.count()).toBe(0)
  })

  test('v1: the version that kubectl asks for goes before --api-version', async () => {
    const { api, kubectl } = await peer({
      ...v1,
      args: ['helper', 'kubectl', '--api-version', 'v1beta1', 'corp'],
    })
    expect(await kubectl(version)).toMatchObject(served)
    expect(api.credentials()).toEqual(byToken)
  })
})
