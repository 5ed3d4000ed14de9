import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/core/token.ts'
import type { DeviceCodeProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { fakeClock } from '../support/clock.ts'
import { directWire } from '../support/direct-wire.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type FakePerson, fakePerson } from '../support/person.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'
import { webPerson } from '../support/web-person.ts'

let certificates: Certificates
let server: OidcProvider
beforeAll(async () => {
  certificates = makeCertificates()
  server = await startOidcProvider(certificates)
})
afterAll(async () => {
  await server.close()
  certificates.remove()
})

const secret = { client_secret: { env: 'SECRET' } }

/** Signs in; time passes only where `meanwhile` has been gone through. */
async function signIn(
  given: Partial<DeviceCodeProfile>,
  person: FakePerson,
  meanwhile: () => Promise<unknown>,
): Promise<Token> {
  const clock = fakeClock(Date.now())
  const environment = bareEnvironment()
  const secrets = { SECRET: server.clientSecret, ...server.privateKeys }
  // What is sent takes real time: the clock of the sign-in must not make it late.
  const send = createSend({ environment, clock: fakeClock(), directWire })
  const { source: _, token_endpoint: __, client_secret: ___, ...common } = clientProfile()
  const profile: DeviceCodeProfile = {
    ...common,
    source: 'device_code',
    issuer: server.issuer,
    scope: 'openid',
    ...given,
  }
  const source = await createSource(profile, sourcePorts({ environment, clock, secrets, send }))
  const token = source.fetch({ timeoutMs: 300_000, signal: undefined, person })
  let done = false
  token.then(
    () => {
      done = true
    },
    () => {
      done = true
    },
  )
  await expect.poll(() => person.told).toContain('enter this code')
  await expect.poll(() => clock.sleepers).toBeGreaterThan(0)
  await clock.advance(5000)
  await expect.poll(() => polls()).toBe(1)
  await meanwhile()
  while (!done) {
    await clock.advance(1000)
    await new Promise(resolve => setImmediate(resolve))
  }
  return token
}

let before = 0
const polls = async (): Promise<number> =>
  (await server.requests()).slice(before).filter(each => each === 'POST /token').length

const methods: [client: string, given: Partial<DeviceCodeProfile>][] = [
  ['public', { client_auth: 'none' }],
  ['basic', { client_auth: 'client_secret_basic', ...secret }],
  ['post', { client_auth: 'client_secret_post', ...secret }],
  ['pk-ES256', { client_auth: 'private_key_jwt', private_key: { env: 'ES256' } }],
]
test.each(methods)('a person signs in on another device, for client %s: %j', async (client_id, given) => {
  before = (await server.requests()).length
  const person = fakePerson()
  const token = await signIn({ client_id, ...given }, person, async () => {
    const [, page = '', code = ''] = /open (\S+) on any device[^:]*:\s+(\S+)/.exec(person.told) ?? []
    expect(page).toBe(`${server.issuer}/device`)
    const ended = await webPerson().visit(page, { typed: { user_code: code } })
    expect(ended.status).toBe(200)
    expect(ended.text).toContain('Sign-in Success')
  })
  expect(await server.clientOf(token.accessToken.expose())).toBe(client_id)
  expect(token.refreshToken).toBeDefined()
  expect(await polls()).toBe(2)
  expect((await server.requests()).slice(before).filter(each => each.includes('/device/auth'))).toHaveLength(
    1,
  )
})

test('the address with the code in it needs no typing', async () => {
  before = (await server.requests()).length
  const person = fakePerson()
  const token = await signIn({ client_id: 'public', client_auth: 'none' }, person, () => {
    const [complete = ''] = /\S+user_code=\S+/.exec(person.told) ?? []
    return webPerson().visit(complete)
  })
  expect(await server.clientOf(token.accessToken.expose())).toBe('public')
})

test('a person who refuses is believed at once', async () => {
  before = (await server.requests()).length
  const person = fakePerson()
  const failed = signIn({ client_id: 'public', client_auth: 'none' }, person, () => {
    const [complete = ''] = /\S+user_code=\S+/.exec(person.told) ?? []
    return webPerson().visit(complete, { click: 'Cancel' })
  })
  await expect(failed).rejects.toMatchObject({ code: 'access_denied' })
  expect(await polls()).toBe(2)
})
