import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Token } from '../../src/core/token.ts'
import type { FetchRequest, Person } from '../../src/source/source.ts'
import type { StoreKey } from '../../src/store/store.ts'
import { CutShort, corp, type Machine, machine, minute, tokenOf } from '../support/machine.ts'

const somebody: Person = {
  tell() {},
  isTerminal: false,
  open: async () => true,
  pasted: () => new Promise(() => {}),
}
const refused = new TokctlError(
  'login_required',
  'profile "corp" needs a sign-in: the refresh token was refused (invalid_grant)',
  { hint: 'run: tokctl login corp' },
)
const full = new TokctlError('store_failed', 'no space left')

/** A server that takes each refresh token once, or `leeway` times. */
async function signedIn(leeway = 1): Promise<{ m: Machine; sent: string[] }> {
  const m = machine()
  const sent: string[] = []
  const used = new Map<string, number>()
  m.answer((request, n) => {
    if (request.person === undefined) {
      const token = request.kept?.refreshToken?.expose() ?? 'nothing'
      sent.push(token)
      const times = (used.get(token) ?? 0) + 1
      used.set(token, times)
      if (times > leeway) throw refused
    }
    return tokenNumber(m, n)
  })
  await m.manager().login(corp, somebody, 300_000)
  return { m, sent }
}

function tokenNumber(m: Machine, n: number): Token {
  return {
    accessToken: new Secret(`token-${n}`),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: m.clock.now(),
    expiresAt: m.clock.now() + 60 * minute,
    refreshToken: new Secret(`refresh-${n}`),
  }
}

const journalOf = (m: Machine): string => join(m.dir, 'journal', 'corp.journal')
const kept = (m: Machine): Record<string, unknown> => JSON.parse(m.items.get('profile/corp')!)

test('the answer of a renewal that was cut short is promoted by the next one, without a request', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  m.cutShort('after the answer')
  await expect(m.manager().get(corp)).rejects.toThrow(CutShort)
  expect(kept(m)['refresh_token']).toBe('refresh-1')
  expect(readFileSync(journalOf(m), 'latin1')).not.toMatch(/refresh-|token-/)
  m.cutShort(undefined)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  expect(sent).toEqual(['refresh-1'])
  expect(kept(m)).toMatchObject({ access_token: 'token-2', refresh_token: 'refresh-2' })
  expect(kept(m)).not.toHaveProperty('renewal_key')
  expect(existsSync(journalOf(m))).toBe(false)
  await m.clock.advance(61 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
})

test('an answer that was promoted too late is at least the session that renews it', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  m.cutShort('after the answer')
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  m.cutShort(undefined)
  await m.clock.advance(480 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
  expect(sent).toEqual(['refresh-1', 'refresh-2'])
})

test('a forced call promotes what was left behind, and then asks for more', async () => {
  const { m, sent } = await signedIn()
  m.cutShort('after the answer')
  await m
    .manager()
    .get(corp, { force: true })
    .catch(() => {})
  m.cutShort(undefined)
  expect(await tokenOf(m.manager().get(corp, { force: true }))).toBe('token-3')
  expect(sent).toEqual(['refresh-1', 'refresh-2'])
})

test('what was sent and not answered: the good token is used up, the old refresh token tried once, and the reason told', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(56 * minute)
  m.cutShort('before the answer')
  await expect(m.manager().get(corp, { renew: true })).rejects.toThrow(CutShort)
  m.cutShort(undefined)
  const at = '2027-01-15T08:56:00Z'

  await m.clock.advance(1 * minute)
  for (let i = 0; i < 3; i++) {
    await expect(m.manager().get(corp, { renew: true })).rejects.toMatchObject({ code: 'network_error' })
    expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
  }
  expect(m.renewals).toEqual([])
  expect(m.warnings).toEqual(
    Array(3).fill(
      `using a token that expires in 3m; refresh failed: a renewal was interrupted at ${at}, and its answer was lost`,
    ),
  )
  expect(sent).toEqual(['refresh-1'])

  await m.clock.advance(2 * minute)
  for (let i = 0; i < 3; i++) {
    await expect(m.manager().get(corp)).rejects.toMatchObject({
      code: 'login_required',
      message: expect.stringContaining(
        `needs a sign-in: the refresh token was refused (invalid_grant): a renewal was interrupted at ${at}, and its answer was lost`,
      ),
      hint: 'run: tokctl login corp',
    })
  }
  expect(sent).toEqual(['refresh-1', 'refresh-1'])
  expect(kept(m)['refresh_token']).toBe('refresh-1')

  await m.manager().login(corp, somebody, 300_000)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-4')
  expect(existsSync(journalOf(m))).toBe(false)
})

test('a server with leeway takes the old refresh token once more, and all goes on', async () => {
  const { m, sent } = await signedIn(2)
  await m.clock.advance(61 * minute)
  m.cutShort('before the answer')
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  m.cutShort(undefined)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
  await m.clock.advance(61 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-4')
  expect(sent).toEqual(['refresh-1', 'refresh-1', 'refresh-3'])
})

test('a repetition that is cut short itself is one again, and remembers when it all began', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  m.cutShort('before the answer')
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  await m.clock.advance(minute)
  const slow = new TokctlError('network_error', 'the server closed the connection without an answer')
  m.answer(() => {
    throw slow
  })
  await expect(m.manager().get(corp)).rejects.toMatchObject({ code: 'network_error' })
  await m.clock.advance(minute)
  m.cutShort(undefined)
  m.answer(() => {
    throw refused
  })
  await expect(m.manager().get(corp)).rejects.toMatchObject({
    code: 'login_required',
    message: expect.stringContaining('a renewal was interrupted at 2027-01-15T09:01:00Z'),
  })
  expect(sent).toEqual(['refresh-1'])
})

test.each([
  ['was never sent', 'discovery_failed', true],
  ['was sent, perhaps', 'network_error', false],
] as const)(
  'a renewal that %s, and whether it is repeated while the token is good',
  async (_, code, again) => {
    const { m } = await signedIn()
    await m.clock.advance(56 * minute)
    const before = m.fetches
    m.answer(
      () => {
        throw new TokctlError(code, 'the server')
      },
      (_, n) => tokenNumber(m, n),
    )
    for (let i = 0; i < 2; i++) {
      await m
        .manager()
        .get(corp, { renew: true })
        .catch(() => {})
      await m.clock.advance(2000)
    }
    expect(m.fetches - before).toBe(again ? 2 : 1)
    expect(existsSync(journalOf(m))).toBe(!again)
  },
)

test('a store that fails after the answer: the token is printed with one warning, also by those who come later', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  const failing = afterAnswer(m, async () => Promise.reject(full))
  for (let i = 0; i < 3; i++) {
    m.warnings.length = 0
    expect(await tokenOf(m.manager(failing).get(corp))).toBe('token-2')
    expect(m.warnings).toEqual(['the token is not kept: no space left'])
  }
  expect(sent).toEqual(['refresh-1'])
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  expect(kept(m)['refresh_token']).toBe('refresh-2')
  await m.clock.advance(61 * minute)
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
  expect(sent).toEqual(['refresh-1', 'refresh-2'])
})

test('a session that lies in the journal alone is not used up: with its token expired the store is what fails', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  const failing = afterAnswer(m, async () => Promise.reject(full))
  await m.manager(failing).get(corp)
  await m.clock.advance(61 * minute)
  await expect(m.manager(failing).get(corp)).rejects.toMatchObject({ code: 'store_failed' })
  expect(sent).toEqual(['refresh-1'])
  expect(await tokenOf(m.manager().get(corp))).toBe('token-3')
  expect(sent).toEqual(['refresh-1', 'refresh-2'])
})

test('a keychain that says yes and keeps nothing is found out before anything is sent', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  const lying = m.manager({ set: async () => {}, kind: 'keychain' })
  await expect(lying.get(corp)).rejects.toMatchObject({
    code: 'store_failed',
    message: 'the keychain said that it kept the session, and does not have it',
  })
  expect(sent).toEqual([])
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
})

test('a keychain that begins to lie after the answer: the token is printed, the journal keeps the session', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  expect(await tokenOf(m.manager(afterAnswer(m, async () => {})).get(corp))).toBe('token-2')
  expect(m.warnings).toEqual([
    'the token is not kept: the store said that it kept the session, and does not have it',
  ])
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  expect(kept(m)['refresh_token']).toBe('refresh-2')
  expect(sent).toEqual(['refresh-1'])
})

test('a sign-in that a keychain lies about is a failure, and says so', async () => {
  const { m } = await signedIn()
  const lying = m.manager({ set: async () => {} })
  await expect(lying.login(corp, somebody, 300_000)).rejects.toMatchObject({ code: 'store_failed' })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-1')
})

test('a session that another machine wrote meanwhile stays', async () => {
  const { m } = await signedIn()
  await m.clock.advance(61 * minute)
  m.answer((_, n) => {
    m.items.set(
      'profile/corp',
      JSON.stringify({ ...kept(m), etag: 'elsewhere', refresh_token: 'refresh-elsewhere' }),
    )
    return tokenNumber(m, n)
  })
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  expect(kept(m)).toMatchObject({ etag: 'elsewhere', refresh_token: 'refresh-elsewhere' })
  expect(existsSync(journalOf(m))).toBe(false)
})

test('a session that another machine wrote between the look and the request is the one that is used', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  let reads = 0
  const get = async ({ kind, name }: StoreKey) => {
    // The third reading is the one right before the request.
    if (++reads === 3) {
      const token = { access_token: 'token-elsewhere', expires_at: m.clock.now() + 60 * minute }
      m.items.set(
        'profile/corp',
        JSON.stringify({ ...kept(m), ...token, etag: 'elsewhere', refresh_token: 'r' }),
      )
    }
    const text = m.items.get(`${kind}/${name}`)
    return text === undefined ? undefined : new Secret(text)
  }
  expect(await tokenOf(m.manager({ get }).get(corp))).toBe('token-elsewhere')
  expect(sent).toEqual([])
})

test('a sign-out revokes the session that a renewal was given before it was cut short', async () => {
  const { m } = await signedIn()
  await m.clock.advance(61 * minute)
  m.cutShort('after the answer')
  await m
    .manager()
    .get(corp)
    .catch(() => {})
  await m.manager().logout(corp, 30_000)
  expect(m.revoked).toEqual(['refresh-2 token-2'])
  expect(m.items.size).toBe(0)
  expect(readdirSync(join(m.dir, 'journal'))).toEqual([])
})

test('who has no time to see a renewal through leaves it to another process, and keeps to its own time', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  const impatient = m
    .manager()
    .get(corp, { timeoutMs: 2000 })
    .catch(error => error)
  await m.clock.advance(1000)
  expect(m.renewals).toEqual(['corp'])
  await m.clock.advance(1100)
  expect(await impatient).toMatchObject({ code: 'lock_timeout' })
  expect(sent).toEqual([])

  const another = m.manager().get(corp, { timeoutMs: 5000 })
  await m.clock.advance(100)
  expect(m.renewals).toEqual(['corp'])
  await m.manager().get(corp, { renew: true })
  await m.clock.advance(100)
  expect(await tokenOf(another)).toBe('token-2')
  expect(sent).toEqual(['refresh-1'])
})

test('what was sent is waited for beyond the usual time of a call, and the call says so', async () => {
  const { m, sent } = await signedIn()
  await m.clock.advance(61 * minute)
  m.answer(async (request, n) => {
    sent.push(request.kept?.refreshToken?.expose() ?? '')
    await m.clock.sleep(31_000)
    return tokenNumber(m, n)
  })
  const caller = m.manager().get(corp)
  await m.clock.advance(31_000)
  expect(await tokenOf(caller)).toBe('token-2')
  expect(m.warnings).toEqual([
    'no answer within 30s: what was sent is waited for, up to 60s, so that no login is lost',
  ])
  expect(m.renewals).toEqual([])
  expect(await tokenOf(m.manager().get(corp))).toBe('token-2')
  expect(sent).toEqual(['refresh-1'])
  expect(kept(m)).toMatchObject({ refresh_token: 'refresh-2' })

  // Who asks for less than is usual has it done by a process that has the time.
  const hurried = m
    .manager()
    .get(corp, { force: true, timeoutMs: 29_000 })
    .catch(error => error)
  await m.clock.advance(29_100)
  expect(m.renewals).toEqual(['corp'])
  expect(await hurried).toMatchObject({ code: 'lock_timeout' })
})

test('where that other process ends without a word, the caller finds out for itself what is wrong', async () => {
  const { m } = await signedIn()
  await m.clock.advance(61 * minute)
  m.endRenewals()
  m.answer(() => {
    throw new TokctlError('secret_unresolved', 'variable CORP_SECRET is not set')
  })
  const caller = m
    .manager()
    .get(corp, { timeoutMs: 2000 })
    .catch(error => error)
  await m.clock.advance(100)
  expect(await caller).toMatchObject({ code: 'secret_unresolved' })
})

test('a refresh token that a server refused to a robot is not tried again', async () => {
  const { m } = await signedIn()
  await m.clock.advance(61 * minute)
  const tried: (string | undefined)[] = []
  const down = new TokctlError('server_error', 'token endpoint answered 503')
  const robot = async (request: FetchRequest): Promise<Token> => {
    const refreshToken = request.kept?.refreshToken
    tried.push(refreshToken?.expose())
    if (refreshToken !== undefined) await request.renewal?.refused(refreshToken)
    throw down
  }
  m.answer(robot)
  for (let i = 0; i < 3; i++) {
    await m
      .manager()
      .get(corp, { force: true })
      .catch(() => {})
  }
  expect(tried).toEqual(['refresh-1', undefined, undefined])
  expect(kept(m)['access_token']).toBe('token-1')
})

/** A store whose writes do something else from the moment on when the server has answered. */
function afterAnswer(m: Machine, instead: () => Promise<void>) {
  const before = m.fetches
  return {
    set: async ({ kind, name }: StoreKey, value: Secret) => {
      if (m.fetches > before) return instead()
      m.items.set(`${kind}/${name}`, value.expose())
    },
  }
}
