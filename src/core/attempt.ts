import type { Profile } from '../profile/profile.ts'
import type { FetchRequest, Kept, Person, TokenSource } from '../source/source.ts'
import type { CacheRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { TokctlError } from './errors.ts'
import { firstRenewalAt, type GetAsk, type View } from './freshness.ts'
import { failureUntil, keepToken, rememberFailure } from './keep.ts'
import { createLook } from './look.ts'
import type { ManagerPorts } from './ports.ts'
import { answerTimeoutMs, Superseded, type WatchedRenewal, watchRenewal } from './renewal.ts'
import { type EpochMs, formatDuration, formatInstant } from './time.ts'
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
  /** When a renewal was sent whose answer never came: this is its one repetition. */
  readonly interruptedAt?: EpochMs | undefined
}

/** What a source that ends in time may be late by. */
const graceMs = 500

/** Tells whether asking for this profile's token may use up a refresh token. */
export function spendsSession(profile: Profile, record: CacheRecord | undefined): boolean {
  return record?.refreshToken !== undefined || profile.source === 'refresh_token'
}

/**
 * Asks the source once, keeps its token and writes the outcome.
 *
 * @throws {TokctlError} The source's failure, remembered for everybody unless it depends on this caller alone.
 */
export async function attempt(ports: ManagerPorts, call: Attempt): Promise<Token> {
  const { profile, store, view, ask, timeoutMs, signal, person, interruptedAt } = call
  const { clock, notices } = ports
  // Its token is used up by the first request, whatever becomes of the answer.
  if (profile.source === 'refresh_token') refuseForgetful(store)
  const source = await ports.source(profile)
  let record = view?.record
  const isSignIn = person !== undefined
  let renewal = watchRenewal(ports, { profile, store, record, interruptedAt, isSignIn })
  try {
    // Nobody signs in for a session that cannot be kept.
    if (isSignIn) await renewal.prepare()
    return await lead()
  } catch (error) {
    if (isSignIn) await renewal.withdraw()
    throw error
  } finally {
    renewal.end()
  }

  async function lead(): Promise<Token> {
    let token: Token
    try {
      token = onItsOwn(await fetchOnce())
      await refuseRejected(ports, profile, token, record).catch(async error => {
        // The access token is not wanted, but the session that came with it is the only one there is now.
        if (token.refreshToken !== undefined) await keepToken(ports, call, renewal, token, false)
        throw error
      })
    } catch (error) {
      if (error instanceof TokctlError && signal?.aborted !== true) {
        const told = interruptedAt === undefined ? error : withInterruption(error, interruptedAt)
        // A sign-in that came to nothing leaves everything as it was, and what another profile lacks is told of that one.
        const isOwn = person === undefined && (error.profile ?? profile.name) === profile.name
        const until = isOwn && store.shared ? failureUntil(ports, view, told) : undefined
        const patienceMs = told.code === 'timeout' ? ask.timeoutMs : undefined
        if (until !== undefined) await rememberFailure(ports, call, told, until, patienceMs)
        throw (until === undefined || until === 'changed' ? told : withWait(told, until - clock.now())).of(
          profile.name,
        )
      }
      throw error
    }
    await keepToken(ports, call, renewal, token)
    signal?.throwIfAborted()
    return token
  }

  function onItsOwn(token: Token): Token {
    const followsGoodOne = person === undefined && (record?.token?.expiresAt ?? 0) > clock.now()
    const renewAt = followsGoodOne ? undefined : firstRenewalAt(token, ports.timing(profile))
    return renewAt === undefined ? token : { ...token, renewAt }
  }

  // Another machine, or another state directory, may share the store and not the lock: the session it wrote is tried once
  // before this one is given up.
  async function fetchOnce(): Promise<Token> {
    const used = person === undefined ? record?.refreshToken : undefined
    try {
      return await fetchFrom(source)
    } catch (error) {
      const isSuperseded = error instanceof Superseded
      if (!isSuperseded && (!isRefusedSession(error) || used === undefined)) throw error
      const newer = await createLook(ports).record(profile, store)
      const refreshToken = newer?.refreshToken
      if (!isSuperseded && (refreshToken === undefined || (used && refreshToken.equals(used)))) throw error
      notices.trace(`profile "${profile.name}": the session was renewed elsewhere`)
      const isFresh = newer?.token?.expiresAt === undefined || newer.token.expiresAt - clock.now() > graceMs
      renewal.end()
      record = newer
      renewal = watchRenewal(ports, { profile, store, record })
      if (newer?.token !== undefined && isFresh && !ask.force) return { ...newer.token, refreshToken }
      return await fetchFrom(source)
    }
  }

  function fetchFrom(from: TokenSource): Promise<Token> {
    if (person !== undefined) return inTime(from, { timeoutMs, person, renewal }, renewal)
    const { refreshToken, dpopKey, seed } = record ?? {}
    const kept: Kept = { refreshToken, dpopKey, seed }
    return inTime(from, { timeoutMs, kept, renewal }, renewal)
  }

  // A source keeps its own deadline; a secret's program, say, that does not is left behind a moment later. Nobody leaves a
  // renewal that was sent: its own deadline ends it.
  async function inTime(
    from: TokenSource,
    request: Omit<FetchRequest, 'signal'>,
    watched?: WatchedRenewal,
  ): Promise<Token> {
    const controller = new AbortController()
    const leave = (): void => controller.abort(signal?.reason)
    signal?.addEventListener('abort', leave)
    const ended = new AbortController()
    const late = clock.sleep(request.timeoutMs + graceMs, ended.signal).then(() => {
      if (ended.signal.aborted) return new Promise<never>(() => {})
      // A little of what was asked for is always gone by now.
      const limit = formatDuration(Math.ceil(request.timeoutMs / 100) * 100)
      if (watched?.isSent === true) {
        const atMost = formatDuration(answerTimeoutMs)
        notices.warn(
          `no answer within ${limit}: what was sent is waited for, up to ${atMost}, so that no login is lost`,
        )
        return new Promise<never>(() => {})
      }
      const error = new TokctlError('timeout', `the source gave no token within ${limit}`)
      controller.abort(error)
      throw error
    })
    try {
      if (signal?.aborted) leave()
      return await Promise.race([from.fetch({ ...request, signal: controller.signal }), late])
    } finally {
      ended.abort()
      signal?.removeEventListener('abort', leave)
    }
  }
}

function isRefusedSession(error: unknown): boolean {
  return error instanceof TokctlError && (error.code === 'login_required' || error.code === 'invalid_grant')
}

// Told here and not remembered: whoever comes later has less to wait.
function withWait(error: TokctlError, waitMs: number): TokctlError {
  const { code, message, hint, profile, retryAfterMs, more } = error
  if (retryAfterMs === undefined || hint !== undefined) return error
  const wait = `try again in ${formatDuration(Math.ceil(waitMs / 1000) * 1000)}, as the server asks`
  return new TokctlError(code, message, { hint: wait, profile, retryAfterMs, more })
}

// Whoever must sign in again wants to know why: it was nobody's doing but a process that ended at the wrong moment.
function withInterruption(error: TokctlError, at: EpochMs): TokctlError {
  if (!isRefusedSession(error)) return error
  const { code, message, hint, profile, retryAfterMs, more } = error
  const why = `a renewal was interrupted at ${formatInstant(at)}, and its answer was lost`
  return new TokctlError(code, `${message}: ${why}`, { hint, profile, retryAfterMs, more })
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
