import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { describeClient, findClient } from '../support/client.ts'
import { ahead, clientProfile } from '../support/corp.ts'
import { startKeyring } from '../support/keyring.ts'
import { dockerConfig, imageDigest, type RegistryPeer, registryPeer } from '../support/registry.ts'
import { type RunResult, run } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// The clients of container registries, with docker-credential-tokctl on the PATH.

vi.setConfig({ testTimeout: 150_000 })

const skopeo = (peer: RegistryPeer, more = {}): Promise<RunResult> =>
  peer.ask('skopeo', ['inspect', '--tls-verify=false', `docker://${peer.registry.host}/team/app:1`], more)

describe(`skopeo ${findClient('skopeo')?.version}`, () => {
  const found = { code: 0, stdout: expect.stringContaining(imageDigest), stderr: '' }

  test('Basic: the registry gets the token as the password, and the next run asks nobody for it', async () => {
    const peer = await registryPeer('basic')
    expect(await skopeo(peer)).toMatchObject(found)
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic oauth2:token-1'])
    expect(peer.auth.count()).toBe(1)
  })

  test('`tokctl setup docker` is all that it takes', async () => {
    const peer = await registryPeer('basic')
    rmSync(join(peer.at.path, dockerConfig))
    expect(await peer.ask('tokctl', ['setup', 'docker'])).toMatchObject({ code: 0, stderr: '' })
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic oauth2:token-1'])
  })

  test('a copy gets through to the last blob', async () => {
    const peer = await registryPeer('basic')
    const from = `docker://${peer.registry.host}/team/app:1`
    expect(await peer.ask('skopeo', ['copy', '--src-tls-verify=false', from, 'dir:image'])).toMatchObject({
      code: 0,
      stderr: '',
    })
    expect(peer.registry.requests.filter(({ path }) => path.includes('/blobs/'))).toHaveLength(1)
  })

  test("the registry's own token endpoint gets the token, with the profile's user; the registry gets what it gave", async () => {
    const peer = await registryPeer('token', 'username = "robot"')
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic robot:token-1', 'Bearer registry-token'])
  })

  test('of a user <token> the token goes to the token endpoint as a refresh token', async () => {
    const peer = await registryPeer('token', 'username = "<token>"')
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Bearer registry-token'])
    const asked = peer.registry.requests.find(({ path }) => path === '/token')
    expect(asked?.body).toContain('grant_type=refresh_token&refresh_token=token-1&')
  })

  test('a registry that no profile matches gets no token', async () => {
    const peer = await registryPeer('basic')
    peer.at.writeConfig(
      clientProfile('corp', peer.auth.tokenEndpoint, 'match = ["https://other.example.com"]'),
    )
    const { code, stdout, stderr } = await skopeo(peer)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('unauthorized')
    // An empty user with an empty password is skopeo's own last try.
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic :'])
    expect(peer.auth.count()).toBe(0)
  })

  test('a failure is shown with its hint, and nothing reaches the registry', async () => {
    const peer = await registryPeer('basic')
    peer.auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stderr } = await skopeo(peer)
    expect(code).toBe(1)
    expect(stderr).toMatch(/tokctl: .*\(invalid_client\)/)
    expect(peer.registry.credentials()).toEqual([])
  })

  // No client of a registry tells its helper that a credential was refused.
  test('a token that was refused is offered again until `reject`', async () => {
    const peer = await registryPeer('basic')
    await skopeo(peer)
    peer.registry.refused.add('token-1')
    expect(await skopeo(peer)).toMatchObject({ code: 1, stdout: '' })
    await run(['reject', 'corp'], { ...peer.options, input: 'token-1\n' })
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.auth.count()).toBe(2)
  })

  test('login keeps our own token and no other, and logout ends nothing', async () => {
    const peer = await registryPeer('basic')
    await skopeo(peer)
    const login = ['login', '--tls-verify=false', '-u', 'me', '--password-stdin', peer.registry.host]
    expect(await peer.ask('skopeo', login, { input: 'token-1' })).toMatchObject({ code: 0, stderr: '' })
    const other = await peer.ask('skopeo', login, { input: 'token-7' })
    expect(other.code).toBe(1)
    expect(other.stderr).toContain(
      String.raw`tokctl: the token for this place comes from profile \"corp\"; another one is not kept`,
    )
    expect(await peer.ask('skopeo', ['logout', peer.registry.host])).toMatchObject({ code: 0, stderr: '' })
    expect(await skopeo(peer)).toMatchObject(found)
    expect(peer.auth.count()).toBe(1)
  })

  test('forty at once with an expired token: one token request', async () => {
    const peer = await registryPeer('basic')
    await skopeo(peer)
    const expired = { env: ahead('+61m'), timeoutMs: 140_000 }
    const all = await Promise.all(Array.from({ length: 40 }, () => skopeo(peer, expired)))
    for (const one of all) expect(one).toMatchObject(found)
    expect(peer.auth.count()).toBe(2)
    expect(new Set(peer.registry.credentials())).toEqual(
      new Set([undefined, 'Basic oauth2:token-1', 'Basic oauth2:token-2']),
    )
  })

  test('the token is kept in the Secret Service, and served from there', async () => {
    const keyring = await startKeyring()
    onTestFinished(() => keyring.stop())
    const peer = await registryPeer('basic')
    const { DBUS_SESSION_BUS_ADDRESS } = keyring.env
    const more = { env: { TOKCTL_STORE: 'keychain', DBUS_SESSION_BUS_ADDRESS } }
    for (let time = 0; time < 2; time++) expect(await skopeo(peer, more)).toMatchObject(found)
    expect(peer.auth.count()).toBe(1)
    const lookup = ['secret-tool', 'lookup', 'service', 'tokctl', 'account', 'corp']
    const kept = await run([], { ...peer.options, ...more, program: lookup })
    expect(JSON.parse(kept.stdout)).toMatchObject({ access_token: 'token-1' })
  })
})

describeClient({ command: 'docker', atLeast: [20, 10] }, () => {
  const inspect = (peer: RegistryPeer) =>
    peer.ask('docker', ['manifest', 'inspect', '--insecure', `${peer.registry.host}/team/app:1`])
  const found = { code: 0, stdout: expect.stringContaining('"schemaVersion": 2'), stderr: '' }

  test('manifest inspect: the registry gets the token as the password, and the next run asks nobody for it', async () => {
    const peer = await registryPeer('basic')
    expect(await inspect(peer)).toMatchObject(found)
    expect(await inspect(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic oauth2:token-1'])
    expect(peer.auth.count()).toBe(1)
  })

  test("manifest inspect: the registry's token endpoint gets the token", async () => {
    const peer = await registryPeer('token')
    expect(await inspect(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic oauth2:token-1', 'Bearer registry-token'])
  })

  test('manifest inspect: of a user <token> it gets it as a refresh token', async () => {
    const peer = await registryPeer('token', 'username = "<token>"')
    expect(await inspect(peer)).toMatchObject(found)
    const asked = peer.registry.requests.find(({ path }) => path === '/token')
    expect(asked?.body).toContain('grant_type=refresh_token&refresh_token=token-1&')
  })

  test('`tokctl setup docker` is all that it takes', async () => {
    const peer = await registryPeer('basic')
    rmSync(join(peer.at.path, dockerConfig))
    expect(await peer.ask('tokctl', ['setup', 'docker'])).toMatchObject({ code: 0, stderr: '' })
    expect(await inspect(peer)).toMatchObject(found)
    expect(peer.registry.credentials()).toEqual([undefined, 'Basic oauth2:token-1'])
  })

  test('logout needs no engine and ends nothing', async () => {
    const peer = await registryPeer('basic')
    await inspect(peer)
    expect(await peer.ask('docker', ['logout', peer.registry.host])).toMatchObject({ code: 0, stderr: '' })
    expect(await inspect(peer)).toMatchObject(found)
    expect(peer.auth.count()).toBe(1)
  })

  /** An engine that hears what the CLI asks of it, and does it. */
  async function engine(): Promise<Service> {
    const made = await startService({
      open: /./,
      page: ({ path }) =>
        path === '/_ping' ? { headers: { 'api-version': '1.41' }, body: 'OK' } : { body: { status: 'done' } },
    })
    onTestFinished(() => made.close())
    return made
  }
  const decoded = (header: unknown): unknown => JSON.parse(Buffer.from(`${header}`, 'base64url').toString())

  test('pull hands the token to the engine', async () => {
    const peer = await registryPeer('basic')
    const { url, requests } = await engine()
    const env = { DOCKER_HOST: url.replace('http:', 'tcp:') }
    const pull = ['pull', '--quiet', `${peer.registry.host}/team/app:1`]
    expect(await peer.ask('docker', pull, { env })).toMatchObject({ code: 0, stderr: '' })
    const asked = requests.find(({ path }) => path.includes('/images/create'))
    const expected = { username: 'oauth2', password: 'token-1' }
    expect(decoded(asked?.headers['x-registry-auth'])).toMatchObject(expected)
  })

  test('a classic build hands over all that is kept, by list and get, and asks for no new token', async () => {
    const peer = await registryPeer('basic')
    const { url, requests } = await engine()
    peer.at.write(dockerConfig, JSON.stringify({ credsStore: 'tokctl' }))
    const never = clientProfile('never', `${peer.auth.url}/never`, 'match = ["https://never.example.com"]')
    const corp = clientProfile('corp', peer.auth.tokenEndpoint, `match = ["https://${peer.registry.host}"]`)
    peer.at.writeConfig(`${corp}${never}`)
    await inspect(peer)
    const env = { DOCKER_HOST: url.replace('http:', 'tcp:'), DOCKER_BUILDKIT: '0' }
    const built = await peer.ask('docker', ['build', '--quiet', '-'], { env, input: 'FROM scratch\n' })
    expect(built.code).toBe(0)
    const asked = requests.find(({ path }) => path.includes('/build'))
    expect(decoded(asked?.headers['x-registry-config'])).toEqual({
      [peer.registry.host]: expect.objectContaining({ username: 'oauth2', password: 'token-1' }),
    })
    expect(peer.auth.requests.map(({ path }) => path)).toEqual(['/token'])
  })
})
