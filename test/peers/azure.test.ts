import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { type Corp, corp } from '../support/corp.ts'
import { type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// Azure's library for Node asks no program: it takes our token as the assertion of a federated identity, from a file or
// from a function. The authority is on loopback, over TLS.

vi.setConfig({ testTimeout: 150_000 })

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const { version } = JSON.parse(
  readFileSync(join(root, 'node_modules', '@azure', 'identity', 'package.json'), 'utf8'),
)

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})
afterAll(() => certificates.remove())

interface Peer extends Corp {
  readonly authority: Service
  /** Runs a program that makes `credential`, asks it for a token, and prints that or why there is none. */
  ask(credential: string): Promise<RunResult>
}

const tenant = '11111111-2222-3333-4444-555555555555'

async function peer(): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const authority = await startService({
    tls: certificates.server,
    hostname: 'localhost',
    open: /./,
    page: ({ path, body }, { url }) => {
      if (path.startsWith(`/${tenant}/v2.0/.well-known/openid-configuration`)) {
        const base = `${url}/${tenant}/oauth2/v2.0`
        const issuer = `${url}/${tenant}/v2.0`
        return {
          body: {
            issuer,
            token_endpoint: `${base}/token`,
            authorization_endpoint: `${base}/authorize`,
            jwks_uri: `${base}/keys`,
          },
        }
      }
      if (!path.startsWith(`/${tenant}/oauth2/v2.0/token`)) return undefined
      const [, n] = /^token-(\d+)$/.exec(new URLSearchParams(body).get('client_assertion') ?? '') ?? []
      return n === undefined
        ? { status: 401, body: { error: 'invalid_client', error_description: 'AADSTS700211: no' } }
        : { body: { access_token: `azure-${n}`, token_type: 'Bearer', expires_in: 3600 } }
    },
  })
  onTestFinished(() => authority.close())
  const env = {
    ...options.env,
    NODE_EXTRA_CA_CERTS: certificates.caFile,
    AZURE_TENANT_ID: tenant,
    AZURE_CLIENT_ID: 'app',
    AZURE_FEDERATED_TOKEN_FILE: join(at.path, 'token'),
    AZURE_AUTHORITY_HOST: authority.url,
  }
  const code = (credential: string): string => `
    import { ClientAssertionCredential, WorkloadIdentityCredential } from '@azure/identity'
    import { createTokctl } from 'tokctl'
    const how = { authorityHost: process.env.AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true, retryOptions: { maxRetries: 0 } }
    const credential = ${credential}
    const token = await credential.getToken('https://vault.azure.net/.default').catch(error => error)
    console.log(token.token ?? token.message)`
  return {
    ...made,
    authority,
    ask: credential =>
      run([], {
        ...options,
        program: [process.execPath, '--input-type=module', '--eval', code(credential)],
        cwd: root,
        timeoutMs: 100_000,
        env,
      }),
  }
}

const assertions = ({ requests }: Service) =>
  requests.map(({ body }) => new URLSearchParams(body).get('client_assertion')).filter(one => one !== null)

describe(`@azure/identity ${version}`, () => {
  const found = { code: 0, stdout: 'azure-1\n', stderr: '' }
  const fromLibrary = `new ClientAssertionCredential(process.env.AZURE_TENANT_ID, 'app', async () => {
    return (await createTokctl().get('corp')).accessToken
  }, how)`

  test('WorkloadIdentityCredential reads what `get` wrote into its file, line end and all', async () => {
    const { at, options, authority, ask } = await peer()
    at.write('token', (await run(['get', 'corp'], options)).stdoutBytes)
    expect(await ask('new WorkloadIdentityCredential(how)')).toMatchObject(found)
    expect(assertions(authority)).toEqual(['token-1'])
  })

  test('ClientAssertionCredential gets each assertion from the library, and the next program asks nobody for it', async () => {
    const { auth, authority, ask } = await peer()
    for (let time = 0; time < 2; time++) expect(await ask(fromLibrary)).toMatchObject(found)
    expect(assertions(authority)).toEqual(['token-1', 'token-1'])
    expect(auth.count()).toBe(1)
  })

  test('ClientAssertionCredential passes a failure of ours on, and sends no assertion', async () => {
    const { auth, authority, ask } = await peer()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { stdout, stderr } = await ask(fromLibrary)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/answered 401 \(invalid_client\)/)
    expect(assertions(authority)).toEqual([])
  })
})
