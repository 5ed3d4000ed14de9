import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import type { Profile } from '../../src/profile/profile.ts'
import type { FetchRequest, Person } from '../../src/source/source.ts'
import { corp, machine, minute, tokenOf } from '../support/machine.ts'

const somebody: Person = {
  tell() {},
  isTerminal: false,
  open: async () => true,
  pasted: () => new Promise(() => {}),
}

const needed = new TokctlError('login_required', 'profile "corp" needs a sign-in')
const refused = new TokctlError('login_required', 'the refresh token was refused (invalid_grant)')

/** A server with rotation: each refresh token renews once. */
function rotating(start = 1_800_000_000_000): (request: FetchRequest, n?: number) => Token {
  let generation = 0
  return (request, n = 1) => {
    const used = request.kept?.refreshToken?.expose()
    if (request.person === undefined) {
      if (used === undefined) throw needed
      if (used !== `refresh-${generation}`) throw refused
    }
    generation++
    return {
      accessToken: new Secret(`token-${n}`),
      tokenType: 'Bearer',
      scope: undefined,
      obtainedAt: start,
      expiresAt: start + n * 60 * minute,
      refreshToken: new Secret(`refresh-${generation}`),
    }
  }
}

test('a sign-in keeps the session, and renewals rotate it', async () => {
  const m = machine()
  m.answer(rotating())
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'login_required' })
  expect(await tokenOf(m.manager().login(corp, somebody, 300_000))).toBe('token-2')
  await m.clock.advance(121 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
  await m.clock.advance(60 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-4')
})

test('eight managers with an expired token and a rotating session: one refresh, and the next one works', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  const callers = Array.from({ length: 8 }, () => tokenOf(m.manager().get(corp)))
  await m.clock.advance(2000)
  expect(new Set(await Promise.all(callers))).toEqual(new Set(['token-2']))
  await m.clock.advance(60 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
})

test('that a sign-in is needed is remembered, and ends with the sign-in', async () => {
  const m = machine()
  m.answer(rotating())
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  expect(m.fetches).toBe(1)
  await m.manager().login(corp, somebody, 300_000)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a refused session is given up, remembered, and not deleted', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  const kept = m.items.get('profile/corp')
  m.answer(refused)
  await m.clock.advance(61 * minute)
  for (let i = 0; i < 3; i++) {
    await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'login_required' })
  }
  expect(m.fetches).toBe(2)
  expect(m.items.get('profile/corp')).toBe(kept)
})

test('a session that another machine renewed is adopted before this one is given up', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  const elsewhere = JSON.parse(m.items.get('profile/corp')!)
  m.answer((request, n) => {
    const used = request.kept?.refreshToken?.expose()
    if (used === 'refresh-elsewhere')
      return { ...rotating(m.clock.now())({ ...request, person: somebody }, n) }
    m.items.set(
      'profile/corp',
      JSON.stringify({ ...elsewhere, etag: 'x', refresh_token: 'refresh-elsewhere' }),
    )
    throw refused
  })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
})

test('a token that another machine fetched is adopted as it is', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  const elsewhere = JSON.parse(m.items.get('profile/corp')!)
  m.answer(() => {
    const token = { access_token: 'token-elsewhere', expires_at: m.clock.now() + 60 * minute }
    m.items.set(
      'profile/corp',
      JSON.stringify({ ...elsewhere, ...token, etag: 'x', refresh_token: 'refresh-elsewhere' }),
    )
    throw refused
  })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-elsewhere')
  expect(JSON.parse(m.items.get('profile/corp')!).refresh_token).toBe('refresh-elsewhere')
})

test('while somebody signs in, others do not queue behind the browser', async () => {
  const m = machine()
  let finish!: (token: Token) => void
  m.answer(() => new Promise<Token>(resolve => (finish = resolve)))
  const signingIn = m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(10)
  const pipe = m
    .manager()
    .get(corp)
    .catch(error => error)
  await m.clock.advance(100)
  expect(await pipe).toMatchObject({
    code: 'login_required',
    message: `a sign-in of profile "corp" is under way in process ${process.pid}`,
  })
  finish(rotating()({ person: somebody } as FetchRequest, 5))
  expect(await tokenOf(signingIn)).toBe('token-5')
})

test('two sign-ins at once: the second waits and takes the first one’s session', async () => {
  const m = machine()
  let finish!: (token: Token) => void
  m.answer(() => new Promise<Token>(resolve => (finish = resolve)))
  const first = m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(10)
  const second = m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(1000)
  finish(rotating()({ person: somebody } as FetchRequest, 5))
  await m.clock.advance(1000)
  expect([await tokenOf(first), await tokenOf(second)]).toEqual(['token-5', 'token-5'])
  expect(m.fetches).toBe(1)
})

test('a sign-in that comes to nothing leaves the session and what is remembered as they were', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  const kept = m.items.get('profile/corp')
  m.answer(new TokctlError('access_denied', 'the sign-in was refused (access_denied)'))
  await expect(m.manager().login(corp, somebody, 300_000)).rejects.toMatchObject({ code: 'access_denied' })
  expect(m.items.get('profile/corp')).toBe(kept)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
})

test('a store that keeps no session refuses a sign-in before anything is asked', async () => {
  const m = machine()
  for (const store of [{ keepsRefreshTokens: false }, { shared: false }]) {
    await expect(m.manager(store).login(corp, somebody, 300_000)).rejects.toMatchObject({
      code: 'store_unavailable',
      hint: 'choose sealed files by name: kind = "file" under [store]',
    })
  }
  expect(m.fetches).toBe(0)
})

test('a refresh token that nobody asked for is dropped where it would not be kept safely', async () => {
  const m = machine()
  m.answer(request => rotating()({ ...request, person: somebody }, 1))
  await m.manager({ keepsRefreshTokens: false }).get(corp)
  expect(m.items.get('profile/corp')).not.toContain('refresh-1')
})

test('a sign-out revokes and forgets', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.manager().logout(corp, 30_000)
  expect(m.revoked).toEqual(['refresh-1 token-1'])
  expect(m.items.size).toBe(0)
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'login_required' })
})

test('a sign-out forgets also when revoking fails, with a warning', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  m.failRevocation(new TokctlError('network_error', 'cannot reach the server'))
  await m.manager().logout(corp, 30_000)
  expect(m.items.size).toBe(0)
  expect(m.warnings).toEqual([
    'the session is forgotten here, but the server did not revoke it: cannot reach the server',
  ])
})

test('a sign-out forgets a record that cannot be read', async () => {
  const m = machine()
  m.items.set('profile/corp', '{half a rec')
  await m.manager().logout(corp, 30_000)
  expect(m.items.size).toBe(0)
})

test('a sign-out waits for a renewal that runs', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  let finish!: (token: Token) => void
  m.answer(() => new Promise<Token>(resolve => (finish = resolve)))
  const renewal = m.manager().get(corp)
  await m.clock.advance(10)
  const signOut = m.manager().logout(corp, 30_000)
  await m.clock.advance(1000)
  expect(m.revoked).toEqual([])
  finish(rotating(m.clock.now())({ person: somebody } as FetchRequest, 5))
  await renewal
  await m.clock.advance(1000)
  await signOut
  expect(m.revoked).toEqual(['refresh-1 token-5'])
})

test('a seed that was signed out is remembered as used', async () => {
  const m = machine()
  const seeded: Profile = {
    name: 'corp',
    source: 'refresh_token',
    refresh_token: { env: 'SEED' },
    client_auth: 'none',
    basic_encoding: 'rfc6749',
    resource: [],
    params: {},
    match: [],
    binding: 'b1',
  }
  m.answer(request => ({ ...rotating()({ ...request, person: somebody }, 1), seed: 'hash-of-seed' }))
  await m.manager().get(seeded)
  await m.manager().logout(seeded, 30_000)
  let kept: unknown
  m.answer(request => {
    kept = request.kept
    throw needed
  })
  await m
    .manager()
    .get(seeded)
    .catch(() => {})
  expect(kept).toEqual({ refreshToken: undefined, dpopKey: undefined, seed: 'hash-of-seed' })
})

test('a session made with another configuration is forgotten at a sign-out, and shown to nobody', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.manager().logout({ ...corp, binding: 'b2' }, 30_000)
  expect(m.revoked).toEqual([])
  expect(m.items.size).toBe(0)
  expect(m.warnings).toEqual([
    'the session was made with another configuration: it is forgotten here, but not revoked',
  ])
})

test('a sign-out forgets what the store cannot read', async () => {
  const m = machine()
  m.items.set('profile/corp', 'sealed with another key')
  const get = () => Promise.reject(new TokctlError('store_failed', 'the record was sealed with another key'))
  await m.manager({ get }).logout(corp, 30_000)
  expect(m.items.size).toBe(0)
  expect(m.warnings).toEqual([
    'the session could not be read, so nothing was revoked: the record was sealed with another key',
  ])
})

test('a sign-out that is interrupted forgets, and then says that it was interrupted', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  const interrupted = AbortSignal.abort(new TokctlError('interrupted', 'interrupted'))
  m.failRevocation(new TokctlError('interrupted', 'interrupted'))
  const lock = m.manager({ shared: false }).logout(corp, 30_000, interrupted)
  await expect(lock).rejects.toMatchObject({ code: 'interrupted' })
  expect(m.items.size).toBe(0)
})

test('what another profile lacks is not remembered as this one’s failure', async () => {
  const m = machine()
  m.answer(new TokctlError('login_required', 'profile "me" needs a sign-in', { profile: 'me' }), 60 * minute)
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'login_required', profile: 'me' })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('the session that comes with a rejected token is kept: it is the only one there is now', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.manager().reject(corp, new Secret('token-2'), 1000)
  await m.manager().reject(corp, new Secret('token-1'), 1000)
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'token_rejected' })
  expect(await tokenOf(m.manager().get(corp, { force: true }))).toBe('token-3')
})

test('neither a signal nor an impatient caller ends a refresh that was sent', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  for (const [timeoutMs, reason] of [
    [30_000, 'interrupted'],
    [300, undefined],
  ] as const) {
    const leaver = new AbortController()
    let finish!: () => void
    const next = rotating(m.clock.now())
    m.answer((request, n) => {
      expect(request.renewal?.answerTimeoutMs).toBeGreaterThan(30_000)
      return new Promise(resolve => (finish = () => resolve(next({ ...request, person: somebody }, n))))
    })
    const caller = m
      .manager({ shared: false })
      .get(corp, { force: true, timeoutMs }, leaver.signal)
      .catch(e => e)
    await m.clock.advance(1000)
    if (reason !== undefined) leaver.abort(new TokctlError(reason, reason))
    finish()
    await m.clock.advance(10)
    const ended = await caller
    expect(reason === undefined ? ended.accessToken.expose() : ended.code).toBe(reason ?? 'token-3')
    expect(JSON.parse(m.items.get('profile/corp')!).access_token).toBe(
      reason === undefined ? 'token-3' : 'token-2',
    )
  }
})

test('nothing is sent before the store has shown that it can keep the next session', async () => {
  const m = machine()
  m.answer(rotating())
  await m.manager().login(corp, somebody, 300_000)
  await m.clock.advance(61 * minute)
  const full = { set: () => Promise.reject(new TokctlError('store_failed', 'no space left')) }
  await expect(m.manager(full).get(corp)).rejects.toMatchObject({ code: 'store_failed' })
  expect(m.fetches).toBe(1)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a sign-in that cannot be kept is refused before a person is asked for anything', async () => {
  const m = machine()
  m.answer(rotating())
  const full = { set: () => Promise.reject(new TokctlError('store_failed', 'no space left')) }
  const forgetful = { set: async () => {} }
  for (const [store, message] of [
    [full, 'no space left'],
    [forgetful, 'the store said that it kept the session, and does not have it'],
  ] as const) {
    await expect(m.manager(store).login(corp, somebody, 300_000)).rejects.toMatchObject({
      code: 'store_failed',
      message,
    })
  }
  expect(m.fetches).toBe(0)
})

test('a sign-in that comes to nothing, where nothing was kept, leaves nothing', async () => {
  const m = machine()
  m.answer(() => {
    expect([...m.items.keys()]).toEqual(['profile/corp'])
    throw refused
  })
  await expect(m.manager().login(corp, somebody, 300_000)).rejects.toMatchObject({ code: 'login_required' })
  expect([...m.items]).toEqual([])
})
