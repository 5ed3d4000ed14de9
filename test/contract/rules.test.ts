import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ahead, corp, startWaiting } from '../support/corp.ts'
import { run, straced } from '../support/run.ts'

// "How a token is decided", rule by rule, through the real program.

const patience = 60_000

test(
  'rule 1: a fresh token is printed at once: no lock, no network, no write',
  async () => {
    const { auth, at, options } = await corp()
    await run(['get', 'corp'], options)
    const log = `${at.path}/trace`
    const strace = straced(log, 'file,network,desc')
    const hit = await run(['get', 'corp'], { ...options, program: strace })
    expect(hit).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    const calls = readFileSync(log, 'utf8').split('\n')
    const written = calls.filter(
      call =>
        /open(at)?\(.*(O_WRONLY|O_RDWR|O_CREAT)|\b(rename|unlink|mkdir|chmod)(at2?)?\(/.test(call) &&
        !call.includes('/dev/null'),
    )
    expect(written).toEqual([])
    expect(calls.filter(call => /\b(connect|bind|sendto)\(|F_OFD_SETLK|flock\(/.test(call))).toEqual([])
    expect(auth.count()).toBe(1)
  },
  patience,
)

test(
  'rule 2: a stale token is printed at once, and one process renews it in the background',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    const gate = auth.hold()
    const stale = await run(['get', 'corp'], { ...options, env: { ...options.env, ...ahead('+57m') } })
    expect(stale).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    await gate.arrived(1)
    gate.release()
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'rule 3: when it is expired or absent one process asks, and all get its outcome',
  async () => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const all = await startWaiting(6, ['get', 'corp'], options)
    gate.release()
    for (const { code, stdout } of await Promise.all(all.map(one => one.done))) {
      expect({ code, stdout }).toEqual({ code: 0, stdout: 'token-1\n' })
    }
    const expired = { ...options, env: { ...options.env, ...ahead('+59m30s') } }
    auth.answer({ status: 503, headers: { 'retry-after': '60' } })
    const again = auth.hold()
    const failing = await startWaiting(6, ['get', 'corp'], expired)
    again.release()
    for (const { code, stdout } of await Promise.all(failing.map(one => one.done))) {
      expect({ code, stdout }).toEqual({ code: 5, stdout: '' })
    }
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'rule 4: a renewal that fails while the token is valid serves that token, with one warning line',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    auth.unavailable(600)
    await run(['refresh', 'corp', '--if-stale'], stale)
    const served = await run(['get', 'corp'], stale)
    expect(served).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(served.stderr).toMatch(
      /^tokctl: warning: using a token that expires in \d+[sm]; refresh failed: [^\n]*\n$/,
    )
  },
  patience,
)

test(
  'rule 5: what does not mend by itself is remembered until it is forced or the configuration changes',
  async () => {
    const { auth, at, options } = await corp()
    auth.answer({ status: 400, body: { error: 'invalid_grant' } })
    for (let i = 0; i < 3; i++)
      expect(await run(['get', 'corp'], options)).toMatchObject({ code: 6, stdout: '' })
    expect(auth.count()).toBe(1)
    expect(await run(['get', 'corp', '--force'], options)).toMatchObject({ code: 6 })
    expect(auth.count()).toBe(2)
    auth.answer('token')
    const toml = readFileSync(at.configFile, 'utf8')
    at.writeConfig(`${toml}scope = "other"\n`)
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
  },
  patience,
)

test(
  'rule 5: what is temporary is remembered for as long as Retry-After says',
  async () => {
    const { auth, options } = await corp()
    auth.unavailable(120)
    const first = await run(['get', 'corp'], options)
    expect(first.stderr).toMatch(/ answered 503.*\ntokctl: hint: try again in 2m, as the server asks\n$/)
    const early = await run(['get', 'corp'], { ...options, env: { ...options.env, ...ahead('+1m') } })
    expect(early).toMatchObject({ code: 5, stdout: '' })
    expect(early.stderr).toContain('the next attempt is in')
    expect(auth.count()).toBe(1)
    auth.answer('token')
    const late = await run(['get', 'corp'], { ...options, env: { ...options.env, ...ahead('+3m') } })
    expect(late).toMatchObject({ code: 0, stdout: 'token-1\n' })
  },
  patience,
)

test(
  'rule 5: a fresh token is served whatever is remembered',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    expect(await run(['refresh', 'corp'], options)).toMatchObject({ code: 6 })
    expect(await run(['get', 'corp'], options)).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  },
  patience,
)

test(
  'rule 6: force never returns the token that was there, and fails when its attempt fails',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    expect(await run(['get', 'corp', '--force'], options)).toMatchObject({ code: 0, stdout: 'token-2\n' })
    auth.unavailable(60)
    expect(await run(['get', 'corp', '--force'], options)).toMatchObject({ code: 5, stdout: '' })
  },
  patience,
)

test.each([
  ['scope', 'scope = "other"'],
  ['audience', 'audience = "https://other.example.com"'],
  ['resource', 'resource = "https://other.example.com"'],
  ['params', 'params = { tenant = "other" }'],
])(
  'rule 7: a token is bound to its %s: change it and the old token is not served',
  async (_, line) => {
    const { at, options } = await corp()
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-1\n' })
    const toml = readFileSync(at.configFile, 'utf8')
    at.writeConfig(`${toml}${line}\n`)
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-2\n' })
  },
  patience,
)

test(
  'rule 7: timing is not part of what shapes a token',
  async () => {
    const { at, options } = await corp()
    await run(['get', 'corp'], options)
    const toml = readFileSync(at.configFile, 'utf8')
    at.writeConfig(`${toml}refresh_before = "1m"\nmatch = ["https://api.example.com"]\n`)
    expect(await run(['get', 'corp'], options)).toMatchObject({ stdout: 'token-1\n' })
  },
  patience,
)

test(
  'rule 8: expires_in counts from the moment the request was sent',
  async () => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const before = Date.now()
    const pending = run(['get', 'corp', '-o', 'json'], options)
    await gate.arrived(1)
    const sentBy = Date.now()
    // The answer is on its way for a second and more: that is not added to the token's life.
    while (Date.now() - sentBy < 1100) await new Promise(resolve => setImmediate(resolve))
    gate.release()
    const { expires_at, obtained_at } = JSON.parse((await pending).stdout)
    expect(Date.parse(obtained_at)).toBeGreaterThanOrEqual(Math.floor(before / 1000) * 1000)
    expect(Date.parse(obtained_at)).toBeLessThanOrEqual(sentBy)
    expect(Date.parse(expires_at) - Date.parse(obtained_at)).toBe(3_600_000)
  },
  patience,
)

test(
  'rule 8: without a usable expires_in the exp of a JWT counts, else default_ttl, else it is served until refused',
  async () => {
    const part = (json: object): string => Buffer.from(JSON.stringify(json)).toString('base64url')
    const exp = Math.floor(Date.now() / 1000) + 1800
    const jwt = `${part({ alg: 'none' })}.${part({ exp })}.`
    const cases: [extra: string, body: object, left: number | null][] = [
      ['', { access_token: jwt, expires_in: null }, 1800],
      ['default_ttl = "10m"', { access_token: 'opaque', expires_in: 'soon' }, 600],
      ['', { access_token: 'opaque' }, null],
    ]
    for (const [extra, body, left] of cases) {
      const { auth, options } = await corp(extra)
      auth.answer({ body })
      const { expires_in } = JSON.parse((await run(['get', 'corp', '-o', 'json'], options)).stdout)
      if (left === null) expect(expires_in).toBeNull()
      else expect(Math.abs(expires_in - left)).toBeLessThanOrEqual(5)
    }
  },
  patience,
)
