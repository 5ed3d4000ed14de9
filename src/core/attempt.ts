import type { Profile } from '../profile/profile.ts'
import type { FetchRequest, Kept, Person, TokenSource } from '../source/source.ts'
import { type CacheRecord, encodeRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { rememberedOf, TokctlError } from './errors.ts'
import { type GetAsk, refreshAt, type View } from './freshness.ts'
import { createLook } from './look.ts'
import type { Outcome } from './outcome.ts'
import type { ManagerPorts } from './ports.ts'
import { formatDuration } from './time.ts'
import type { Token } from './token.ts'

// What the one process that holds the lock does: ask the source, keep the token, tell everybody how it ended.

/** What the attempt is about. */
export interface Attempt {
  readonly profile: Profile
  readonly store: Store
  /** What was known when the lock was taken; `undefined` for a store that nobody shares. */
  readonly view: View | undefined
  readonly ask: GetAsk
  /** Milliseconds that are left of the call. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Who signs in; the session that is kept is then not asked to renew anything. */
  readonly person?: Person
}

/** A refresh goes on for this long, whoever is impatient. */
const sessionMs = 10_000
const maxPauseMs = 60_000
/** What a source that ends in time may be late by. */
const graceMs = 500
/** Longer than any server should ask for, so that one odd header does not shut a profile for a day. */
const maxRetryAfterMs = 3_600_000

/**
 * Asks the source once, keeps its token and writes the outcome.
 *
 * @throws {TokctlError} The source's failure, remembered for everybody unless it depends on this caller alone.
 */
export async function attempt(
  ports: ManagerPorts,
  { profile, store, view, ask, timeoutMs, signal, person }: Attempt,
): Promise<Token> {
  const { clock, outcomes, notices } = ports
  const key = { kind: 'profile', name: profile.name } as const
  // Its token is used up by the first request, whatever becomes of the answer.
  if (profile.source === 'refresh_token') refuseForgetful(store)
  const source = await ports.source(profile)
  let token: Token
  try {
    token = await fetchFrom(source)
    await refuseRejected(ports, profile, token, view?.record).catch(async error => {
      // The access token is not wanted, but the session that came with it is the only one there is now.
      if (token.refreshToken !== undefined)
        await store.set(key, encodeRecord(await recordOf(token, undefined)))
      throw error
    })
  } catch (error) {
    if (error instanceof TokctlError && signal?.aborted !== true) {
      // A sign-in that came to nothing leaves everything as it was, and what another profile lacks is told of that one.
      const isOwn = person === undefined && (error.profile ?? profile.name) === profile.name
      if (isOwn) await rememberFailure(error, rememberedOf(error.code))
      throw error.of(profile.name)
    }
    throw error
  }
  await keep(token)
  signal?.throwIfAborted()
  return token

  // Another machine, or another state directory, may share the store and not the lock: the session it wrote is tried once
  // before this one is given up.
  async function fetchFrom(source: TokenSource): Promise<Token> {
    const request = requestWith(view?.record)
    // A refresh token may be used up by being sent: nothing is sent before the store has shown that it can keep the next.
    const isSession = request.kept?.refreshToken !== undefined && view?.record !== undefined
    if (isSession) await store.set(key, encodeRecord(view.record))
    try {
      return isSession ? await toItsEnd(source, request) : await inTime(source, request)
    } catch (error) {
      if (!isRefusedSession(error) || request.kept?.refreshToken === undefined) throw error
      const newer = await createLook(ports).record(profile, store)
      const refreshToken = newer?.refreshToken
      if (refreshToken === undefined || refreshToken.equals(request.kept.refreshToken)) throw error
      notices.trace(`profile "${profile.name}": the session was renewed elsewhere`)
      const isFresh = newer?.token?.expiresAt === undefined || newer.token.expiresAt - clock.now() > graceMs
      if (newer?.token !== undefined && isFresh && !ask.force) return { ...newer.token, refreshToken }
      return await inTime(source, requestWith(newer))
    }
  }

  function requestWith(record: CacheRecord | undefined): Omit<FetchRequest, 'signal'> {
    if (person !== undefined) return { timeoutMs, person }
    const { refreshToken, dpopKey, seed } = record ?? {}
    const kept: Kept = { refreshToken, dpopKey, seed }
    return { timeoutMs, kept }
  }

  // From the first byte on the server may have made this refresh token the old one: neither a signal nor an impatient caller
  // ends the request, only its own time does.
  async function toItsEnd(source: TokenSource, request: Omit<FetchRequest, 'signal'>): Promise<Token> {
    const release = notices.hold()
    try {
      const patienceMs = Math.max(timeoutMs, sessionMs)
      return await source.fetch({ ...request, timeoutMs: patienceMs, signal: undefined })
    } finally {
      release()
    }
  }

  // A source keeps its own deadline; a secret's program, say, that does not is left behind a moment later.
  async function inTime(source: TokenSource, request: Omit<FetchRequest, 'signal'>): Promise<Token> {
    const controller = new AbortController()
    const leave = (): void => controller.abort(signal?.reason)
    signal?.addEventListener('abort', leave)
    const ended = new AbortController()
    const late = clock.sleep(timeoutMs + graceMs, ended.signal).then(() => {
      if (ended.signal.aborted) return undefined as never
      const error = new TokctlError('timeout', `the source gave no token within ${formatDuration(timeoutMs)}`)
      controller.abort(error)
      throw error
    })
    try {
      if (signal?.aborted) leave()
      return await Promise.race([source.fetch({ ...request, signal: controller.signal }), late])
    } finally {
      ended.abort()
      signal?.removeEventListener('abort', leave)
    }
  }

  async function recordOf(token: Token, served: Token | undefined): Promise<CacheRecord> {
    // A sign-in begins a session of its own; whatever renews one goes on with what the answer left out (RFC 6749 §6).
    const before = person === undefined ? view?.record : undefined
    const dpopKey = token.dpopKey ?? before?.dpopKey
    const seed = token.seed ?? before?.seed
    return {
      etag: await ports.newEtag(),
      binding: profile.binding,
      token: served && { ...served, refreshToken: undefined },
      refreshToken: store.keepsRefreshTokens ? token.refreshToken : undefined,
      ...(dpopKey === undefined ? {} : { dpopKey }),
      ...(seed === undefined ? {} : { seed }),
      rejected: view?.record?.rejected ?? [],
    }
  }

  async function keep(token: Token): Promise<void> {
    const record = await recordOf(token, token)
    const { etag } = record
    const text = encodeRecord(record)
    try {
      // What holds a session is worth a second try.
      await store
        .set(key, text)
        .catch(error => (token.refreshToken ? store.set(key, text) : Promise.reject(error)))
    } catch (error) {
      // A sign-in that is not kept was for nothing, and the person is still there to be told.
      if (!(error instanceof TokctlError) || person !== undefined) throw error
      notices.warn(`the token is not kept: ${error.message}`)
      await rememberFailure(error, 'pause')
      return
    }
    if (!store.shared) return
    const last = outcomes.read(profile.name)
    writeOutcome({
      etag,
      binding: profile.binding,
      finishedAt: clock.now(),
      store: storedIn(store),
      auto: ports.choosesStore() ? storedIn(store) : last?.auto,
      obtainedAt: token.obtainedAt,
      expiresAt: token.expiresAt,
      refreshAt: refreshAt(token, ports.timing(profile)),
      failure: undefined,
    })
  }

  async function rememberFailure(
    error: TokctlError,
    remembered: ReturnType<typeof rememberedOf>,
  ): Promise<void> {
    if (!store.shared || remembered === 'never') return
    const now = clock.now()
    const before = view?.outcome
    const attempts = (before?.failure?.attempts ?? 0) + 1
    const until =
      remembered === 'until_changed'
        ? 'changed'
        : remembered === 'waiters'
          ? now
          : now + pauseMs(error.retryAfterMs, attempts)
    writeOutcome({
      etag: await ports.newEtag(),
      binding: profile.binding,
      finishedAt: now,
      // Nothing was written, so nothing is recorded of where.
      store: before?.store,
      auto: outcomes.read(profile.name)?.auto,
      obtainedAt: before?.obtainedAt,
      expiresAt: before?.expiresAt,
      refreshAt: before?.refreshAt,
      failure: {
        code: error.code,
        message: error.message,
        hint: error.hint,
        at: now,
        until,
        attempts,
        patienceMs: error.code === 'timeout' ? ask.timeoutMs : undefined,
      },
    })
  }

  function writeOutcome(outcome: Outcome): void {
    try {
      outcomes.write(profile.name, outcome)
    } catch (error) {
      // The record is kept; without the outcome others merely ask once more than they need to.
      const reason =
        error instanceof TokctlError ? error.message : ((error as NodeJS.ErrnoException).code ?? 'error')
      notices.warn(`cannot tell other processes how the request ended: ${reason}`)
    }
  }
}

function isRefusedSession(error: unknown): boolean {
  return error instanceof TokctlError && (error.code === 'login_required' || error.code === 'invalid_grant')
}

function storedIn(store: Store): 'keychain' | 'file' {
  return store.kind === 'file' ? 'file' : 'keychain'
}

function pauseMs(retryAfterMs: number | undefined, attempts: number): number {
  if (retryAfterMs !== undefined) return Math.min(Math.max(1000, retryAfterMs), maxRetryAfterMs)
  const grown = Math.min(maxPauseMs, 1000 * 2 ** Math.min(attempts - 1, 10))
  return Math.max(1000, Math.round(grown * (0.75 + Math.random() / 4)))
}

/**
 * Refuses a token that a service refused before.
 *
 * @throws {TokctlError} `token_rejected`
 */
export async function refuseRejected(
  ports: Pick<ManagerPorts, 'digest'>,
  profile: Profile,
  token: Token,
  record: CacheRecord | undefined,
): Promise<void> {
  if (!record?.rejected.length) return
  if (!record.rejected.includes(await ports.digest(token.accessToken))) return
  throw new TokctlError('token_rejected', 'the source gave the token that was rejected before', {
    hint:
      profile.source === 'static'
        ? `replace the kept token, then run: tokctl get ${profile.name}`
        : `look at what the source gives, then run: tokctl refresh ${profile.name}`,
    profile: profile.name,
  })
}

/**
 * Refuses a store that would lose a session, before anything is sent.
 *
 * @throws {TokctlError} `store_unavailable`
 */
export function refuseForgetful(store: Store): void {
  if (store.shared && store.keepsRefreshTokens) return
  const why = store.shared
    ? 'there is no keychain on this machine to keep a session in'
    : 'the memory store keeps no session'
  throw new TokctlError('store_unavailable', why, {
    hint: 'choose sealed files by name: kind = "file" under [store]',
  })
}
