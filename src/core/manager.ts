import type { Profile } from '../profile/profile.ts'
import type { Person } from '../source/source.ts'
import type { Store } from '../store/store.ts'
import type { Attempt } from './attempt.ts'
import { exitCodeOf, TokctlError } from './errors.ts'
import {
  type Decision,
  decide,
  etagsOf,
  type GetAsk,
  isInForce,
  type Seen,
  serveNew,
  type View,
} from './freshness.ts'
import { type Lease, lockTimeout, signInUnderWay } from './lease.ts'
import type { LockResult } from './lock.ts'
import { createLook } from './look.ts'
import type { Failure } from './outcome.ts'
import type { ManagerPorts, StartedRenewal } from './ports.ts'
import type { Secret } from './secret.ts'
import { createSingleflight } from './singleflight.ts'
import { type EpochMs, formatDuration } from './time.ts'
import type { Token } from './token.ts'

/** What can be asked of a profile's token. */
export interface Manager {
  /**
   * @param signal - As a function it is asked for where the cache does not settle the call, and not before.
   * @throws {TokctlError} whatever kept the token from being there
   */
  get(profile: Profile, ask?: Partial<GetAsk>, signal?: AbortSignal | (() => AbortSignal)): Promise<Token>
  /**
   * Signs a person in and keeps the session.
   *
   * @returns The token; that of another sign-in, where this one waited for it to end.
   */
  login(profile: Profile, person: Person, timeoutMs: number, signal?: AbortSignal): Promise<Token>
  /** Revokes the session where the server offers that, and forgets it in any case. */
  logout(profile: Profile, timeoutMs: number, signal?: AbortSignal): Promise<void>
  /** Never serves this very token again; any other stays. */
  reject(profile: Profile, refused: Secret, timeoutMs: number, signal?: AbortSignal): Promise<void>
}

/** A new holder has written its lease by then. */
const lateLeaseMs = 20
/** A spawned renewal that has not taken the lock after this long is not coming. */
const handOverMs = 10_000
export const defaultTimeoutMs = 30_000
/** Who has less left than this when its turn comes leaves what it must not cancel to a process of its own. */
const hurriedMs = 10_000

const defaultAsk: GetAsk = {
  force: false,
  cached: false,
  renew: false,
  minValidityMs: undefined,
  timeoutMs: defaultTimeoutMs,
  seen: undefined,
}

/**
 * Looks, decides, takes the lock, looks again, fetches, keeps.
 *
 * One rule for sharing: whatever finished after I looked is mine, token or failure.
 */
export function createManager(ports: ManagerPorts): Manager {
  const { clock, outcomes, notices } = ports
  const look = createLook(ports)
  const flights = createSingleflight<Token>()

  async function get(
    profile: Profile,
    partial: Partial<GetAsk> = {},
    given?: AbortSignal | (() => AbortSignal),
  ): Promise<Token> {
    const ask: GetAsk = { ...defaultAsk, ...partial }
    const theSignal = (): AbortSignal | undefined => (typeof given === 'function' ? given() : given)
    const store = await ports.store(profile, ask.timeoutMs)
    if (isLocal(profile)) return readLocal(profile, store, ask, theSignal())
    // The record alone settles a hit; only what is not fresh is worth another file.
    let view: View = { record: await look.record(profile, store), outcome: undefined }
    let decision = decide(view, ask, ports.timing(profile), clock.now())
    if (decision.kind !== 'serve' || decision.because !== 'fresh') {
      notices.onMiss()
      view = await look.view(profile, store, view.record)
      decision = decide(view, ask, ports.timing(profile), clock.now())
    }
    notices.trace(`profile "${profile.name}": ${describe(decision)}`)
    switch (decision.kind) {
      case 'serve_and_refresh':
        await renewOnce(profile, false)
        return decision.token
      case 'refresh': {
        const signal = theSignal()
        const seen = etagsOf(view)
        const key = `${profile.name} ${ask.force} ${ask.renew} ${ask.minValidityMs} ${seen.outcome} ${seen.record}`
        return flights.run(key, signal, () => refresh(profile, store, { ...ask, seen }, signal))
      }
      case 'fail':
        if (mayHaveAnswer(view, decision.failure))
          return refresh(profile, store, { ...ask, seen: etagsOf(view) }, theSignal())
        return settle(profile, decision, ask)
      default:
        return settle(profile, decision, ask)
    }
  }

  // The failure was told before that renewal began, or it was the store's alone: the journal may hold a good answer.
  function mayHaveAnswer({ record, outcome }: View, failure: Failure): boolean {
    if (record?.renewal === undefined) return false
    return record.renewal.at > (outcome?.finishedAt ?? 0) || exitCodeOf(failure.code) === 7
  }

  async function refresh(
    profile: Profile,
    store: Store,
    ask: GetAsk & { seen: Seen },
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    // What no other process sees cannot be shared with it either.
    if (!store.shared)
      return lead({
        profile,
        store,
        view: { record: await look.record(profile, store), outcome: undefined },
        ask,
        timeoutMs: ask.timeoutMs,
        signal,
      })
    const start = clock.monotonic()
    const leftMs = (): number => Math.max(0, ask.timeoutMs - (clock.monotonic() - start))
    const lock = await ports.lock()
    const purpose = ask.renew ? 'renewal' : 'refresh'
    let passed = ask.seen.outcome
    let isLeft = false
    let stamp: string | undefined
    // Asked so often that whoever waits looks only whether there is something to read.
    const hasEnded = (): boolean => {
      const now = outcomes.stamp(profile.name)
      if (now === stamp) return false
      stamp = now
      return outcomes.read(profile.name)?.etag !== passed
    }
    for (;;) {
      // Who asked for less than is usual means it; others stay until what they sent is answered.
      const isHurried = (ask.timeoutMs < defaultTimeoutMs || leftMs() < hurriedMs) && !ask.renew && !isLeft
      const wait = {
        purpose,
        timeoutMs: leftMs(),
        signal,
        // Who leaves the work to another process leaves that one's lease as well.
        keepLease: isHurried,
        leave: hasEnded,
        onWait: (holder: Lease | undefined, waitedMs: number) => {
          // A browser may stay open for minutes. A holder that died left its lease: the next one says so in no time.
          if (holder?.purpose === 'login' && waitedMs > lateLeaseMs)
            throw signInUnderWay(profile.name, holder)
          notices.waiting(profile.name, holder, waitedMs)
        },
      } as const
      const result: LockResult<Token | 'hand over'> = await lock.withLock(
        profile.name,
        wait,
        async (_, writeLease) => {
          const seen = await lookAgain(profile, store, ask)
          const { view, decision, interruptedAt } = await resume(profile, store, ask, seen)
          if (decision.kind !== 'refresh') return settle(profile, decision, ask)
          const call = { profile, store, view, ask, timeoutMs: leftMs(), signal, interruptedAt }
          // From its first byte on it must not be cancelled, and this caller has not the time to see it through.
          const { spendsSession } = await import('./attempt.ts')
          if (isHurried && spendsSession(profile, view.record)) return 'hand over'
          if (isHurried) writeLease()
          return lead(call)
        },
      )
      if (result.kind === 'timeout') throw lockTimeout(profile.name, result.holder, ask.timeoutMs)
      if (result.kind === 'held' && result.value !== 'hand over') return result.value
      if (result.kind === 'held') {
        // Where that process ends without a word, this one finds out for itself what is wrong.
        isLeft = await leaveToAnother(profile, ask, passed, leftMs, signal)
      }
      // Somebody finished while this process waited; only if that is no answer to it does it go on to the lock.
      passed = outcomes.read(profile.name)?.etag
      const { decision } = await lookAgain(profile, store, ask)
      if (decision.kind !== 'refresh') return settle(profile, decision, ask)
    }
  }

  // A renewal that was cut short is looked into before anybody is asked.
  async function resume(
    profile: Profile,
    store: Store,
    ask: GetAsk,
    seen: { view: View; decision: Decision },
  ): Promise<{ view: View; decision: Decision; interruptedAt?: EpochMs }> {
    const { view, decision } = seen
    const isWanted =
      decision.kind === 'refresh' || (decision.kind === 'fail' && mayHaveAnswer(view, decision.failure))
    if (!isWanted || view.record?.renewal === undefined) return seen
    const { recover } = await import('./recover.ts')
    const found = await recover(ports, profile, store, view)
    const timing = ports.timing(profile)
    if (found.kind === 'promoted') {
      const renewed = { record: found.record, outcome: undefined }
      const next = decide(renewed, { ...ask, seen: undefined }, timing, clock.now())
      // What the store does not keep must not be used up: the journal is the only place where it is.
      if (next.kind === 'refresh' && found.unkept !== undefined) throw found.unkept
      return { view: { ...renewed, outcome: look.outcome(profile) }, decision: next }
    }
    if (found.kind === 'nothing' || decision.kind !== 'refresh') return seen
    // The server may have ended the whole session when it hears the old refresh token again, a good access token with it.
    const plain = { ...ask, renew: false, seen: undefined }
    const { token } = view.record
    const state = decide({ record: view.record, outcome: undefined }, plain, timing, clock.now())
    const isUsable = token !== undefined && (state.kind === 'serve' || state.kind === 'serve_and_refresh')
    if (!isUsable) return { ...seen, interruptedAt: found.at }
    const { rememberInterruption } = await import('./recover.ts')
    await rememberInterruption(ports, profile, view, found.at)
    const told = await lookAgain(profile, store, { ...ask, seen: undefined })
    if (told.decision.kind !== 'refresh') return told
    return { view, decision: { kind: 'serve', token, because: 'its renewal was interrupted' } }
  }

  /** @returns Whether the other process ended without telling an outcome. */
  async function leaveToAnother(
    profile: Profile,
    ask: GetAsk,
    passed: string | undefined,
    leftMs: () => number,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const isForced = ask.force || ask.minValidityMs !== undefined
    const started = await renewOnce(profile, isForced)
    let hasEnded = false
    started?.ended.then(() => {
      hasEnded = true
    })
    for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 50)) {
      if (outcomes.read(profile.name)?.etag !== passed) return false
      if (hasEnded) return true
      if (leftMs() <= 0) throw lockTimeout(profile.name, undefined, ask.timeoutMs)
      await clock.sleep(Math.min(pauseMs, leftMs()), signal)
      signal?.throwIfAborted()
    }
  }

  async function lead(call: Attempt): Promise<Token> {
    const { attempt } = await import('./attempt.ts')
    const token = await attempt(ports, call)
    const { profile, ask } = call
    return settle(profile, serveNew(token, ask, ports.timing(profile), clock.now(), 'fetched'), ask)
  }

  async function lookAgain(
    profile: Profile,
    store: Store,
    ask: GetAsk,
  ): Promise<{ view: View; decision: Decision }> {
    const view = await look.view(profile, store)
    const decision = decide(view, ask, ports.timing(profile), clock.now())
    notices.trace(`profile "${profile.name}": looked again: ${describe(decision)}`)
    return { view, decision }
  }

  async function renewOnce(profile: Profile, force: boolean): Promise<StartedRenewal | undefined> {
    const lock = await ports.lock()
    const wait = { purpose: 'renewal', timeoutMs: 0, signal: undefined, keepLease: true } as const
    try {
      const result = await lock.withLock(profile.name, wait, async (last, writeLease) => {
        // A renewal that was started a moment ago has yet to take the lock.
        if (last?.purpose === 'renewal' && isComing(profile, last)) return undefined
        writeLease()
        return ports.renewLater(profile, force)
      })
      return result.kind === 'held' ? result.value : undefined
    } catch (error) {
      // The token is good; that nothing renews it yet is worth a line, not a failure.
      const reason =
        error instanceof TokctlError ? error.message : ((error as NodeJS.ErrnoException).code ?? 'error')
      notices.warn(`cannot start a renewal: ${reason}`)
      return undefined
    }
  }

  function isComing(profile: Profile, last: Lease): boolean {
    const finishedAt = outcomes.read(profile.name)?.finishedAt ?? 0
    return Math.abs(clock.now() - last.since) < handOverMs && finishedAt < last.since
  }

  // A token that lies on this machine is read where it lies: a copy would only be the old one when it is replaced.
  async function readLocal(
    profile: Profile,
    store: Store,
    ask: GetAsk,
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    const [record, source] = await Promise.all([look.record(profile, store), ports.source(profile)])
    const token = await source.fetch({ timeoutMs: ask.timeoutMs, signal })
    if (record?.rejected.length)
      await (await import('./attempt.ts')).refuseRejected(ports, profile, token, record)
    return settle(
      profile,
      serveNew(token, ask, ports.timing(profile), clock.now(), 'read where it lies'),
      ask,
    )
  }

  function settle(profile: Profile, decision: Decision, ask: GetAsk): Token {
    switch (decision.kind) {
      case 'serve':
      case 'serve_and_refresh': {
        const failure = decision.kind === 'serve' ? decision.failure : undefined
        if (failure !== undefined) {
          const left = formatDuration((decision.token.expiresAt ?? 0) - clock.now())
          notices.warn(`using a token that expires in ${left}; refresh failed: ${failure.message}`)
        }
        return decision.token
      }
      case 'fail':
        throw recall(profile, decision.failure)
      case 'not_cached':
        throw new TokctlError('not_cached', `no usable token of profile "${profile.name}" is kept`, {
          hint: `run: tokctl get ${profile.name}`,
          profile: profile.name,
        })
      case 'too_short': {
        const needed = ask.minValidityMs ?? profile.min_validity_ms ?? 0
        throw new TokctlError(
          'lifetime_too_short',
          `tokens of profile "${profile.name}" live ${formatDuration(decision.lifetimeMs)}, less than the ${formatDuration(needed)} asked for`,
          { hint: 'ask for less with --min-validity or min_validity', profile: profile.name },
        )
      }
      case 'refresh':
        throw new Error('a decision to refresh was not carried out')
    }
  }

  function recall(profile: Profile, failure: Failure): TokctlError {
    const agoMs = Math.max(0, clock.now() - failure.at)
    const leftMs = failure.until === 'changed' ? undefined : Math.max(0, failure.until - clock.now())
    const isNews = agoMs < 1000 || !isInForce(failure, clock.now())
    const ago = `${formatDuration(agoMs)} ago`
    const next =
      leftMs === undefined ? '' : `; the next attempt is in ${formatDuration(Math.max(1000, leftMs))}`
    return new TokctlError(failure.code, isNews ? failure.message : `${failure.message} (${ago}${next})`, {
      hint:
        failure.until === 'changed' && failure.code !== 'login_required'
          ? `${failure.hint ? `${failure.hint}; then ` : ''}run: tokctl refresh ${profile.name}`
          : failure.hint,
      profile: profile.name,
      retryAfterMs: leftMs,
    })
  }

  return {
    get,
    login: async (...call) => (await import('./sign-in.ts')).login(ports, ...call),
    logout: async (...call) => (await import('./sign-in.ts')).logout(ports, ...call),
    reject: async (...call) => (await import('./reject.ts')).reject(ports, ...call),
  }
}

/**
 * Tells whether a token lies on this machine and is read there each time.
 * A program that reads a secret may be slow, and may ask a person: its token is worth keeping.
 */
export function isLocal(profile: Profile): boolean {
  return profile.source === 'static' && !('command' in profile.token)
}

function describe(decision: Decision): string {
  switch (decision.kind) {
    case 'serve':
      return `served from the store (${decision.because})`
    case 'serve_and_refresh':
      return 'served from the store (stale), renewal in the background'
    case 'refresh':
      return `a request is needed (${decision.because})`
    case 'fail':
      return `fails as before (${decision.failure.code})`
    case 'not_cached':
      return 'nothing usable is kept'
    case 'too_short':
      return 'its tokens do not live long enough'
  }
}
