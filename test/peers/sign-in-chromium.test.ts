import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { AuthorizationCodeProfile } from '../../src/profile/profile.ts'
import { createSend } from '../../src/source/send.ts'
import { createSource } from '../../src/source/sources.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { type Chromium, startChromium } from '../support/chromium.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { fakePerson } from '../support/person.ts'
import { bareEnvironment, clientProfile, sourcePorts } from '../support/source-ports.ts'

let certificates: Certificates
let server: OidcProvider
let chromium: Chromium
beforeAll(async () => {
  certificates = makeCertificates()
  server = await startOidcProvider(certificates)
  chromium = await startChromium()
}, 60_000)
afterAll(async () => {
  await chromium?.close()
  await server?.close()
  certificates?.remove()
}, 60_000)

async function signIn(browse: (url: string) => Promise<void>): Promise<Token> {
  const environment = bareEnvironment()
  const send = createSend({ environment, clock: systemClock })
  const { source: _, token_endpoint: __, client_secret: ___, ...common } = clientProfile()
  const profile: AuthorizationCodeProfile = {
    ...common,
    source: 'authorization_code',
    issuer: server.issuer,
    client_id: 'public',
    client_auth: 'none',
    scope: 'openid profile email',
    prompt: 'login consent',
  }
  const source = await createSource(profile, sourcePorts({ environment, send }))
  let goes: (url: string) => void = () => {}
  const asked = new Promise<string>(resolve => {
    goes = resolve
  })
  const token = source.fetch({ timeoutMs: 50_000, signal: undefined, person: fakePerson(goes) })
  token.catch(() => {})
  await browse(await asked)
  return token
}

test('a person signs in with a real browser and ends on our page, which leaves no code behind', async () => {
  const token = await signIn(async url => {
    await chromium.go(url)
    await chromium.type('input[name=login]', 'jane')
    await chromium.type('input[name=password]', 'secret')
    await chromium.click('button[type=submit]')
    await chromium.click('button.login-submit[autofocus], form[action*=interaction] button')
    expect(await chromium.read('main.good h1')).toBe('You are signed in')
  })
  expect(await server.clientOf(token.accessToken.expose())).toBe('public')

  expect(await chromium.read('.who')).toBe('jane Doe (jane@example.com)')
  expect(await chromium.run('return [location.pathname, location.search, document.title]')).toEqual([
    '/callback',
    '',
    'You are signed in · tokctl',
  ])
  // The style was applied although the policy forbids any but its own, and nothing was asked of anybody.
  expect(await chromium.run("return getComputedStyle(document.querySelector('main')).borderRadius")).toBe(
    '16px',
  )
  expect(
    await chromium.run("return performance.getEntriesByType('resource').map(each => each.name)"),
  ).toEqual([])
  const ours = (await chromium.messages()).filter(text => text.includes('/callback'))
  expect(ours).toEqual([])
}, 60_000)

test('a person who cancels in a real browser reads so', async () => {
  const failed = signIn(async url => {
    await chromium.go(url)
    await chromium.click('a[href$="/abort"]')
    expect(await chromium.read('main.bad h1')).toBe('The sign-in did not work')
  })
  await expect(failed).rejects.toMatchObject({ code: 'access_denied' })
  expect(await chromium.read('main')).toContain('End-User aborted interaction')
  expect(await chromium.run('return location.search')).toBe('')
}, 60_000)
