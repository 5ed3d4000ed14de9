import { readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { describeClient, installPrograms } from '../support/client.ts'
import { type Corp, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// Google's library for Node and gcloud, which run us for the subject token of an external account, and an STS on loopback.

vi.setConfig({ testTimeout: 150_000 })

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

const { version } = JSON.parse(
  readFileSync(join(root, 'node_modules', 'google-auth-library', 'package.json'), 'utf8'),
)

interface Peer extends Corp {
  readonly sts: Service
  ask(program: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

const credentialFile = 'credential.json'
const urn = 'urn:ietf:params:oauth:token-type:'

/** `executable` is that part of the credential's configuration, over what is always in it. Its files are in the home. */
async function peer({ output_file }: { output_file?: string } = {}, type = 'jwt'): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const sts = await startService({
    open: /./,
    page: ({ path, body }) => {
      if (path === '/v1/introspect') return { body: { active: true, username: 'me@example.com' } }
      const form = new URLSearchParams(body)
      const { groups } = /^token-(?<n>\d+)$/.exec(form.get('subject_token') ?? '') ?? {}
      if (groups === undefined) return { status: 400, body: { error: 'invalid_grant' } }
      const access_token = `google-${groups['n']}`
      return {
        body: {
          access_token,
          issued_token_type: `${urn}access_token`,
          token_type: 'Bearer',
          expires_in: 3600,
        },
      }
    },
  })
  onTestFinished(() => sts.close())
  const { bin, path } = installPrograms(at)
  const executable = {
    command: `${join(bin, 'tokctl')} helper gcp corp`,
    ...(output_file !== undefined && { output_file: join(at.path, output_file) }),
  }
  const file = at.write(
    credentialFile,
    JSON.stringify({
      type: 'external_account',
      audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/v',
      subject_token_type: `${urn}${type}`,
      token_url: `${sts.url}/v1/token`,
      token_info_url: `${sts.url}/v1/introspect`,
      credential_source: { executable },
    }),
  )
  const env = {
    ...options.env,
    PATH: path,
    GOOGLE_APPLICATION_CREDENTIALS: file,
    GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES: '1',
    GOOGLE_CLOUD_PROJECT: 'project',
  }
  return {
    ...made,
    sts,
    ask: (program, more = {}) =>
      run([], { ...options, program, timeoutMs: 100_000, ...more, env: { ...env, ...more.env } }),
  }
}

describe(`google-auth-library ${version}`, () => {
  /** A program that asks for an access token, and prints it or why there is none. */
  const print = [
    process.execPath,
    '--input-type=module',
    '--eval',
    `import { GoogleAuth } from 'google-auth-library'
    const auth = new GoogleAuth({ scopes: 'https://www.googleapis.com/auth/cloud-platform' })
    console.log(await auth.getAccessToken().catch(error => error.message))`,
  ]
  const found = { code: 0, stdout: 'google-1\n', stderr: '' }

  test.each(['jwt', 'id_token', 'saml2'])(
    'as %s: STS gets the token, and the next program asks nobody for it',
    async type => {
      const { auth, sts, ask } = await peer({}, type)
      for (let time = 0; time < 2; time++) expect(await ask(print, { cwd: root })).toMatchObject(found)
      for (const { body } of sts.requests) {
        expect(new URLSearchParams(body).get('subject_token')).toBe('token-1')
        expect(new URLSearchParams(body).get('subject_token_type')).toBe(`${urn}${type}`)
      }
      expect(sts.requests).toHaveLength(2)
      expect(auth.count()).toBe(1)
    },
  )

  test.each([
    ['', ''],
    [' also where the configuration has a blank in its path,', 'my '],
  ])('`tokctl setup gcp` is all that it takes,%s but for the address of STS', async (_, blank) => {
    const { at, auth, sts, ask } = await peer()
    const config = at.write(`${blank}config.toml`, readFileSync(at.configFile, 'utf8'))
    const audience = '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/v'
    const setup = await ask([
      'tokctl',
      ...['--config', config],
      ...['setup', 'gcp', 'corp', '--audience', audience],
    ])
    expect(setup).toMatchObject({ code: 0, stderr: '' })
    const written = readFileSync(join(at.home, '.config', 'gcloud', 'tokctl-corp.json'), 'utf8')
    at.write(credentialFile, written.replace('https://sts.googleapis.com', sts.url))
    expect(await ask(print, { cwd: root })).toMatchObject(found)
    expect(auth.count()).toBe(1)
  })

  test('an output_file is written for its owner alone, and while it lasts we are not asked', async () => {
    const { at, ask } = await peer({ output_file: 'answer.json' })
    expect(await ask(print, { cwd: root })).toMatchObject(found)
    const file = join(at.path, 'answer.json')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ success: true, id_token: 'token-1' })
    at.writeConfig('this = "would be an error"')
    expect(await ask(print, { cwd: root })).toMatchObject(found)
  })

  test('a failure is told with its hint, and STS is not asked', async () => {
    const { auth, sts, ask } = await peer()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { stdout, stderr } = await ask(print, { cwd: root })
    expect(stderr).toBe('')
    expect(stdout).toMatch(
      /invalid_client and error message: token endpoint .* answered 401 .*check client_id/,
    )
    expect(sts.requests).toEqual([])
  })

  test('ten programs at once: one token request', async () => {
    const { auth, ask } = await peer()
    const all = await Promise.all(Array.from({ length: 10 }, () => ask(print, { cwd: root })))
    for (const one of all) expect(one).toMatchObject(found)
    expect(auth.count()).toBe(1)
  })
})

describeClient({ command: 'gcloud', atLeast: [400, 0] }, ({ path }) => {
  const env = { CLOUDSDK_CORE_DISABLE_PROMPTS: '1', CLOUDSDK_CORE_DISABLE_USAGE_REPORTING: '1' }

  test('auth login --cred-file: STS gets the token, and print-access-token asks nobody for another', async () => {
    const { at, auth, sts, ask } = await peer()
    const login = [path, 'auth', 'login', '--cred-file', join(at.path, credentialFile)]
    const { code, stderr } = await ask(login, { env })
    expect(stderr).toContain('Authenticated with external account credentials')
    expect(code).toBe(0)
    expect(await ask([path, 'auth', 'print-access-token'], { env })).toMatchObject({
      code: 0,
      stdout: 'google-1\n',
    })
    expect(sts.requests.filter(({ body }) => body.includes('subject_token=token-1'))).not.toEqual([])
    expect(auth.count()).toBe(1)
  })

  test('a failure is told with its hint, and STS is not asked', async () => {
    const { at, auth, sts, ask } = await peer()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const login = [path, 'auth', 'login', '--cred-file', join(at.path, credentialFile)]
    const { code, stderr } = await ask(login, { env })
    expect(code).toBe(1)
    expect(stderr).toContain('(invalid_client)')
    expect(stderr).toContain('check client_id, client_secret and client_auth of the profile')
    expect(sts.requests).toEqual([])
  })
})
