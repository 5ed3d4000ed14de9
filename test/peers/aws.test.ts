import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { describeClient, installPrograms } from '../support/client.ts'
import { type Corp, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// The AWS CLI and the SDK for JavaScript, which get keys by `credential_process`, and an STS on loopback that tells
// them by their signature.

vi.setConfig({ testTimeout: 150_000 })

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

const { version } = JSON.parse(
  readFileSync(join(root, 'node_modules', '@aws-sdk', 'credential-providers', 'package.json'), 'utf8'),
)

interface Peer extends Corp {
  readonly sts: Service
  /** Runs a program in a home whose AWS profile is `prod`. */
  ask(program: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer({ ends = true } = {}): Promise<Peer> {
  const made = await corp()
  const { at, auth, options } = made
  const end = ends ? { Expiration: new Date(Date.now() + 3_600_000).toISOString() } : {}
  let given = 0
  auth.answer(() => {
    given++
    const keys = { AccessKeyId: `AKIA${given}`, SecretAccessKey: 'canary', SessionToken: `session-${given}` }
    return { body: { Credentials: { ...keys, ...end } } }
  })
  at.writeConfig(`[profile.keys]
source = "http"
url = "${auth.url}/keys"
members = { AccessKeyId = "Credentials.AccessKeyId", SecretAccessKey = "Credentials.SecretAccessKey", SessionToken = "Credentials.SessionToken" }
${ends ? 'expires_at_path = "Credentials.Expiration"' : ''}
`)
  const sts = await startService({
    welcomes: (authorization, { headers }) => {
      const [, n] = /^AWS4-HMAC-SHA256 Credential=AKIA(\d+)\//.exec(authorization) ?? []
      return n !== undefined && headers['x-amz-security-token'] === `session-${n}`
    },
    page: ({ body }) =>
      body.includes('Action=GetCallerIdentity')
        ? { headers: { 'content-type': 'text/xml' }, body: identity }
        : undefined,
  })
  onTestFinished(() => sts.close())
  const { bin, path } = installPrograms(at)
  at.write(
    'home/.aws/config',
    `[profile prod]\nregion = eu-west-1\ncredential_process = ${join(bin, 'tokctl')} helper aws keys\n`,
  )
  const env = {
    ...options.env,
    PATH: path,
    AWS_PROFILE: 'prod',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ENDPOINT_URL_STS: sts.url,
  }
  return {
    ...made,
    sts,
    ask: (program, more = {}) =>
      run([], { ...options, program, timeoutMs: 100_000, ...more, env: { ...env, ...more.env } }),
  }
}

const identity = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::123456789012:assumed-role/build/me</Arn><UserId>AROA:me</UserId><Account>123456789012</Account>
</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`

const usedKeys = ({ requests }: Service) =>
  requests.map(({ authorization }) => /Credential=(AKIA\d+)\//.exec(authorization ?? '')?.[1])

const account = '123456789012'
const silent = { code: 0, stderr: '' }

describe(`@aws-sdk/credential-providers ${version}`, () => {
  /** A program that asks STS twice who it is, and says that or why not. */
  const whoami = [
    process.execPath,
    '--input-type=module',
    '--eval',
    `import { fromProcess } from '@aws-sdk/credential-providers'
    import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
    const client = new STSClient({ credentials: fromProcess({ profile: 'prod' }), maxAttempts: 1 })
    try {
      for (let time = 0; time < 2; time++) {
        console.log((await client.send(new GetCallerIdentityCommand({}))).Account)
      }
    } catch (error) {
      console.log(error.message)
    }`,
  ]
  // Its own word about the Node that it runs on.
  const env = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' }
  const found = { ...silent, stdout: `${account}\n${account}\n` }

  test('fromProcess: requests are signed with the keys, and the next program asks nobody for them', async () => {
    const { auth, sts, ask } = await peer()
    for (let time = 0; time < 2; time++) expect(await ask(whoami, { cwd: root, env })).toMatchObject(found)
    expect(usedKeys(sts)).toEqual(['AKIA1', 'AKIA1', 'AKIA1', 'AKIA1'])
    expect(auth.count()).toBe(1)
  })

  test('keys whose end is not told are taken', async () => {
    const { sts, ask } = await peer({ ends: false })
    expect(await ask(whoami, { cwd: root, env })).toMatchObject(found)
    expect(usedKeys(sts)).toEqual(['AKIA1', 'AKIA1'])
  })

  test('eight programs at once: the keys are got once', async () => {
    const { auth, sts, ask } = await peer()
    const all = await Promise.all(Array.from({ length: 8 }, () => ask(whoami, { cwd: root, env })))
    for (const one of all) expect(one).toMatchObject(found)
    expect(new Set(usedKeys(sts))).toEqual(new Set(['AKIA1']))
    expect(auth.count()).toBe(1)
  })

  test('a failure is told with its hint, and nothing is sent', async () => {
    const { auth, sts, ask } = await peer()
    auth.answer({ body: { Credentials: {} } })
    const { stdout, stderr } = await ask(whoami, { cwd: root, env })
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^tokctl: error: .*AccessKeyId/m)
    expect(usedKeys(sts)).toEqual([])
  })
})

describeClient({ command: 'aws', atLeast: [1, 16] }, ({ path }) => {
  const words = ['sts', 'get-caller-identity', '--query', 'Account', '--output', 'text']
  const whoami = ({ sts }: Peer) => [path, ...words, '--endpoint-url', sts.url]

  test('requests are signed with the keys, and the next run asks nobody for them', async () => {
    const made = await peer()
    const { auth, sts, ask } = made
    for (let time = 0; time < 2; time++) {
      expect(await ask(whoami(made))).toMatchObject({ ...silent, stdout: `${account}\n` })
    }
    expect(usedKeys(sts)).toEqual(['AKIA1', 'AKIA1'])
    expect(auth.count()).toBe(1)
  })

  test('`tokctl setup aws` is all that it takes', async () => {
    const made = await peer()
    const { at, sts, ask } = made
    at.write('home/.aws/config', '[profile prod]\nregion = eu-west-1\n')
    const setup = await ask(['tokctl', 'setup', 'aws', 'keys', '--as', 'prod'])
    expect(setup).toMatchObject(silent)
    expect(await ask(whoami(made))).toMatchObject({ ...silent, stdout: `${account}\n` })
    expect(usedKeys(sts)).toEqual(['AKIA1'])
  })

  test('a failure is told with its hint, and nothing is sent', async () => {
    const made = await peer()
    const { auth, sts, ask } = made
    auth.answer({ body: { Credentials: {} } })
    const { code, stdout, stderr } = await ask(whoami(made))
    expect({ code, stdout }).toEqual({ code: 255, stdout: '' })
    expect(stderr).toMatch(/custom-process: tokctl: error: .*AccessKeyId/)
    expect(usedKeys(sts)).toEqual([])
  })
})
