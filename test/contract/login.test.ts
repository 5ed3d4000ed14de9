import { cpSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { ahead } from '../support/corp.ts'
import { type OidcProvider, startOidcProvider } from '../support/oidc-provider.ts'
import { type RunOptions, run, type Scratch, scratch, start } from '../support/run.ts'
import { webPerson } from '../support/web-person.ts'

// A person signs in at oidc-provider through the real program; refresh tokens rotate, and one that is used twice ends them all.

const patience = 60_000
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

function home(extra = ''): Scratch {
  const at = scratch()
  at.writeConfig(`[profile.me]
source = "authorization_code"
issuer = "${server.issuer}"
client_id = "public"
scope = "openid offline_access"
${extra}`)
  return at
}

async function signIn(at: Scratch): Promise<string> {
  const signingIn = start(['login', 'me', '--no-browser'], { at })
  const [url] = await signingIn.waitForStderr(/http:\/\/127\.0\.0\.1:\d+\/auth\?\S+/)
  await webPerson().visit(url)
  const done = await signingIn.done
  expect(done).toMatchObject({ code: 0, stdout: '' })
  return done.stderr
}

const later = (at: Scratch, offset: string): RunOptions => ({ at, env: ahead(offset) })

test(
  'a person signs in once: what is about to happen is told, stdout stays empty, and no request is made that is not needed',
  async () => {
    const at = home()
    const before = (await server.requests()).length
    const told = await signIn(at)
    expect(told).toContain(
      `signing in at ${server.issuer} as client "public", scope "openid offline_access"\n`,
    )
    expect(told).toMatch(
      /signed in: the token is good until \d{4}-\d\d-\d\dT\S+Z; it is renewed by itself from then on\nnext: tokctl get me\n/,
    )
    const { code, stdout, stderr } = await run(['get', 'me'], { at })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    // What else came was the person's browser.
    const ours = (await server.requests())
      .slice(before)
      .filter(line => !/ \/(?:auth|interaction)\b/.test(line))
    expect(ours).toEqual(['GET /.well-known/openid-configuration', 'POST /token'])
    expect(await server.find(stdout.trim())).toBeDefined()
  },
  patience,
)

test(
  'without a sign-in a pipe gets exit 4 at once, with the command to run, and no browser',
  async () => {
    const at = home()
    const before = (await server.requests()).length
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await run(['get', 'me'], { at })
      expect({ code, stdout }).toEqual({ code: 4, stdout: '' })
      expect(stderr).toMatch(
        /^tokctl: error: profile "me" needs a sign-in.*\ntokctl: hint: .*tokctl login me/,
      )
    }
    expect((await server.requests()).length).toBe(before)
  },
  patience,
)

test(
  'eight processes with an expired token and a rotating session: one refresh, and the next refresh works',
  async () => {
    const at = home()
    await signIn(at)
    const tokenRequests = async (): Promise<number> =>
      (await server.requests()).filter(line => line === 'POST /token').length
    const before = await tokenRequests()
    const eight = await Promise.all(Array.from({ length: 8 }, () => run(['get', 'me'], later(at, '+2h'))))
    expect(eight.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      Array(8).fill({ code: 0, stderr: '' }),
    )
    expect(new Set(eight.map(({ stdout }) => stdout)).size).toBe(1)
    expect((await tokenRequests()) - before).toBe(1)
    const next = await run(['get', 'me', '--force'], later(at, '+2h'))
    expect(next).toMatchObject({ code: 0, stderr: '' })
    expect(next.stdout).not.toBe(eight[0]!.stdout)
    expect((await tokenRequests()) - before).toBe(2)
  },
  patience,
)

test(
  'sign-out revokes and forgets; then a sign-in is needed again',
  async () => {
    const at = home()
    await signIn(at)
    const token = (await run(['get', 'me'], { at })).stdout.trim()
    expect(await run(['logout', 'me'], { at })).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await server.find(token)).toBeUndefined()
    expect(await run(['get', 'me'], { at })).toMatchObject({ code: 4, stdout: '' })
    await signIn(at)
    expect(await run(['logout', '--all'], { at })).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await run(['get', 'me'], { at })).toMatchObject({ code: 4 })
  },
  patience,
)

test(
  'while somebody signs in, a pipe does not queue behind the browser, and a second sign-in says who holds it',
  async () => {
    const at = home()
    const first = start(['login', 'me', '--no-browser'], { at })
    const [url] = await first.waitForStderr(/http:\/\/127\.0\.0\.1:\d+\/auth\?\S+/)
    const pipe = await run(['get', 'me', '--force'], { at })
    expect(pipe).toMatchObject({ code: 4, stdout: '' })
    expect(pipe.stderr).toContain(`a sign-in of profile "me" is under way in process ${first.pid}`)
    const second = await run(['login', 'me', '--no-browser', '--timeout', '300ms'], { at })
    expect(second).toMatchObject({ code: 5, stdout: '' })
    expect(second.stderr).toContain(`process ${first.pid}`)
    await webPerson().visit(url)
    expect(await first.done).toMatchObject({ code: 0 })
  },
  patience,
)

test(
  'a session that was revoked elsewhere: sign in again, said once to the server, and nothing is deleted',
  async () => {
    const at = home()
    await signIn(at)
    // Another machine with a copy of this session uses it up; then this one's is the old one, and the server ends them all.
    const copy = `${at.path}/copy`
    cpSync(at.stateDir, copy, { recursive: true })
    const elsewhere = await run(['get', 'me', '--force'], { at, env: { TOKCTL_STATE_DIR: copy } })
    expect(elsewhere).toMatchObject({ code: 0 })
    const before = (await server.requests()).length
    const first = await run(['get', 'me'], later(at, '+2h'))
    expect(first).toMatchObject({ code: 4, stdout: '' })
    expect(first.stderr).toMatch(
      /the refresh token was refused \(invalid_grant\)\ntokctl: hint: run: tokctl login me/,
    )
    expect(await run(['get', 'me'], later(at, '+2h'))).toMatchObject({ code: 4, stdout: '' })
    expect((await server.requests()).slice(before).filter(line => line === 'POST /token')).toHaveLength(1)
    await signIn(at)
    expect(await run(['get', 'me'], { at })).toMatchObject({ code: 0 })
  },
  patience,
)

test(
  'a profile bound to a key tells the thumbprint of the key',
  async () => {
    const at = home('dpop = true\n')
    await signIn(at)
    const json = JSON.parse((await run(['get', 'me', '-o', 'json'], { at })).stdout)
    expect(json).toMatchObject({ token_type: 'DPoP' })
    expect(json.jkt).toMatch(/^[\w-]{43}$/)
    expect((await run(['get', 'me', '-o', 'header'], { at })).stdout).toMatch(/^Authorization: DPoP \S+\n$/)
  },
  patience,
)

test(
  'a machine without a keychain refuses a sign-in before anything is sent',
  async () => {
    const at = home()
    const before = (await server.requests()).length
    const refused = await run(['login', 'me', '--no-browser'], { at, env: { TOKCTL_STORE: 'auto' } })
    expect(refused).toMatchObject({ code: 7, stdout: '' })
    expect(refused.stderr).toContain(
      'tokctl: hint: choose sealed files by name: kind = "file" under [store]\n',
    )
    expect((await server.requests()).length).toBe(before)
  },
  patience,
)

test(
  'a profile that needs no sign-in says so',
  async () => {
    const at = scratch()
    at.writeConfig('[profile.p]\nsource = "command"\ncommand = ["true"]\n')
    expect(await run(['login', 'p'], { at })).toMatchObject({
      code: 2,
      stderr:
        'tokctl: error: profile "p" needs no sign-in: its source is command\ntokctl: hint: run: tokctl get p\n',
    })
    expect(await run(['logout'], { at })).toMatchObject({ code: 2 })
  },
  patience,
)
