import type { Profile } from '../profile/profile.ts'
import type { Person } from '../source/source.ts'
import { type CacheRecord, decodeRecord, encodeRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { attempt, refuseForgetful } from './attempt.ts'
import { TokctlError } from './errors.ts'
import { etagsOf, type GetAsk } from './freshness.ts'
import { type Lease, lockTimeout } from './lease.ts'
import type { LockWait } from './lock.ts'
import { createLook } from './look.ts'
import type { ManagerPorts } from './ports.ts'
import type { Token } from './token.ts'

/**
 * Signs a person in under the `login` lease and keeps the session.
 *
 * @returns The token; that of another sign-in, where this one waited for it to end.
 * @throws {TokctlError} `store_unavailable` before anything is sent, where the store keeps no session; `lock_timeout`, or
 *   what the sign-in failed with
 */
export async function login(
  ports: ManagerPorts,
  profile: Profile,
  person: Person,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Token> {
  const store = await ports.store(profile)
  refuseForgetful(store)
  const look = createLook(ports)
  const seen = etagsOf(await look.view(profile, store))
  const ask: GetAsk = { force: true, cached: false, renew: false, minValidityMs: undefined, timeoutMs, seen }
  const lock = await ports.lock()
  const startedAt = ports.clock.monotonic()
  const result = await lock.withLock(
    profile.name,
    waitFor(ports, profile, 'login', timeoutMs, signal),
    async () => {
      const view = await look.view(profile, store)
      const token = view.record?.token
      const isNew = view.outcome?.etag !== seen.outcome && view.outcome?.etag === view.record?.etag
      if (isNew && view.outcome?.failure === undefined && token !== undefined) return token
      const leftMs = Math.max(0, timeoutMs - (ports.clock.monotonic() - startedAt))
      return attempt(ports, { profile, store, view, ask, timeoutMs: leftMs, signal, person })
    },
  )
  if (result.kind === 'timeout') throw lockTimeout(profile.name, result.holder, timeoutMs)
  if (result.kind === 'held') return result.value
  throw new Error('a wait that nothing ends was left')
}

/**
 * Waits for a renewal that runs, revokes the session where the server offers that, and forgets it: also when revoking
 * fails, and when the record cannot be read.
 *
 * @throws {TokctlError} `lock_timeout`, or what the store throws when it cannot forget
 */
export async function logout(
  ports: ManagerPorts,
  profile: Profile,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const store = await ports.store(profile)
  const forget = async (): Promise<void> => {
    const record = await readAny()
    if (record !== undefined) await revoke((await cutShort(record)) ?? record)
    await drop(profile, store, record)
    if (record?.renewal !== undefined) (await ports.journal()).clear(profile.name)
    await tellOthers()
    signal?.throwIfAborted()
  }

  async function tellOthers(): Promise<void> {
    const outcome = ports.outcomes.read(profile.name)
    if (outcome === undefined) return
    ports.outcomes.write(profile.name, {
      store: outcome.store,
      auto: outcome.auto,
      finishedAt: ports.clock.now(),
      etag: await ports.newEtag(),
      binding: profile.binding,
      obtainedAt: undefined,
      expiresAt: undefined,
      refreshAt: undefined,
      renewable: undefined,
      failure: undefined,
    })
  }

  // The session that a renewal was given before it was cut short is the one to revoke.
  async function cutShort(record: CacheRecord): Promise<CacheRecord | undefined> {
    if (record.renewal === undefined || record.binding !== profile.binding) return undefined
    const { recover } = await import('./recover.ts')
    const found = await recover(ports, profile, store, { record, outcome: undefined }).catch(() => undefined)
    return found?.kind === 'promoted' ? found.record : undefined
  }

  // What cannot be read cannot be revoked, and is forgotten all the same.
  async function readAny(): Promise<CacheRecord | undefined> {
    try {
      const text = await store.get({ kind: 'profile', name: profile.name })
      const record = text === undefined ? undefined : decodeRecord(text)
      return record === 'newer' ? undefined : record
    } catch (error) {
      if (!(error instanceof TokctlError) || error.code !== 'store_failed') throw error
      ports.notices.warn(`the session could not be read, so nothing was revoked: ${error.message}`)
      return undefined
    }
  }

  async function revoke({ binding, token, refreshToken }: CacheRecord): Promise<void> {
    // The server it was made at is not the one that is configured now, and this one is not to see it.
    if (binding !== profile.binding) {
      if (token === undefined && refreshToken === undefined) return
      ports.notices.warn(
        'the session was made with another configuration: it is forgotten here, but not revoked',
      )
      return
    }
    try {
      await ports.revoke(profile, { accessToken: token?.accessToken, refreshToken }, timeoutMs, signal)
    } catch (error) {
      if (!(error instanceof TokctlError) && signal?.aborted !== true) throw error
      if (!(error instanceof TokctlError)) return
      ports.notices.warn(`the session is forgotten here, but the server did not revoke it: ${error.message}`)
    }
  }

  if (!store.shared) return forget()
  const lock = await ports.lock()
  const result = await lock.withLock(
    profile.name,
    waitFor(ports, profile, 'logout', timeoutMs, signal),
    forget,
  )
  if (result.kind === 'timeout') throw lockTimeout(profile.name, result.holder, timeoutMs)
}

// A seed that was used up is remembered, so that the next call does not begin with it again.
async function drop(profile: Profile, store: Store, record: CacheRecord | undefined): Promise<void> {
  const key = { kind: 'profile', name: profile.name } as const
  if (profile.source !== 'refresh_token' || record?.seed === undefined) {
    await store.delete(key)
    return
  }
  const { etag, binding, seed, rejected } = record
  await store.set(
    key,
    encodeRecord({ etag, binding, token: undefined, refreshToken: undefined, seed, rejected }),
  )
}

function waitFor(
  { notices }: ManagerPorts,
  profile: Profile,
  purpose: 'login' | 'logout',
  timeoutMs: number,
  signal: AbortSignal | undefined,
): LockWait {
  const onWait = (holder: Lease | undefined, waitedMs: number): void =>
    notices.waiting(profile.name, holder, waitedMs)
  return { purpose, timeoutMs, signal, onWait }
}
