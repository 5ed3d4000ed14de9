import { TokctlError } from '../core/errors.ts'
import { isFromTheFuture, neededLife, refreshAt, type Timing } from '../core/freshness.ts'
import { isLocal, type Manager } from '../core/manager.ts'
import type { Outcome } from '../core/outcome.ts'
import type { Secret } from '../core/secret.ts'
import { createSingleflight } from '../core/singleflight.ts'
import { type EpochMs, formatDuration, type ResidentClock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { Tokens, TokensAsk } from '../core/tokens.ts'
import type { Profile } from '../profile/profile.ts'
import { shownToken } from './shown-token.ts'
import type { Token as ShownToken } from './token.ts'

// The memory of a process that stays, in front of the manager. Rules:
//  - It decides nothing that the manager would decide otherwise: fresh is served, stale is served and renewed once,
//    everything else is the manager's.
//  - It is as old as one second at most: then the files that another process would have touched are looked at, by stat.
//  - One second after a reject, a logout or a change of configuration elsewhere, the old token is not served here either.

/** How long what other processes do may go unnoticed, in milliseconds. */
export const checkMs = 1000
/** A new token that is refused this soon says that the token is not what the service minds. */
const hopelessMs = 30_000
const firstPauseMs = 1000
/** What the manager may be late by. */
const graceMs = 1000
const maxPauseMs = 60_000
/** Expired entries are dropped together, no more often than this. */
const sweepMs = 1000
const keptRefusals = 8

/** What the cache stands on. */
export interface TokenCachePorts {
  readonly clock: ResidentClock
  /** @throws {TokctlError} `config_not_found`, `config_invalid`, `unknown_profile` */
  profile(name: string): Promise<Profile>
  managerOf(profile: Profile): Manager
  timing(profile: Profile): Timing
  /**
   * Changes when a file changes that others write: the configuration, the profile's outcome. A stat, no read.
   * The two are apart, because an outcome may still tell of the token that is here.
   */
  stamp(name: string): Stamp
  outcome(name: string): Outcome | undefined
  /** One line, about a token that is served although something went wrong. */
  warn(message: string): void
  readonly timeoutMs: number
}

/** Equal as long as nobody wrote the file. */
export interface Stamp {
  readonly config: string
  readonly outcome: string
}

/** A token in memory. */
export interface Entry {
  readonly profile: Profile
  readonly token: Token
  readonly shown: ShownToken
  /** Resolved, and the same for all who are served from memory: the one thing that a call would allocate. */
  readonly promised: Promise<ShownToken>
}

interface KeptEntry extends Entry {
  readonly expiresAt: EpochMs
  readonly refreshAt: EpochMs
  readonly neededLifeMs: number
  stamp: Stamp
  checkedAt: EpochMs
  /** It took the place of a token that a service refused. */
  readonly replacedAt: number | undefined
  failures: number
  /** On the monotonic clock: no renewal before. */
  pausedUntil: number
}

/** Tokens in memory, each with what the library shows of it. */
export interface TokenCache extends Tokens {
  peekEntry(name: string, minValidityMs?: number): Entry | undefined
  getEntry(name: string, ask?: TokensAsk): Promise<Entry>
  /** A profile, read again no more often than every second. @throws {TokctlError} as `get` */
  profile(name: string): Promise<Profile>
  /** Renews in the background, unless that runs already. @returns When that has ended, however it did. */
  renew(name: string): Promise<unknown>
  /** Forgets what is in memory, and nothing else. */
  clear(): void
}

/** Makes an empty cache. */
export function createTokenCache(ports: TokenCachePorts): TokenCache {
  const { clock } = ports
  const entries = new Map<string, KeptEntry>()
  const profiles = new Map<string, { profile: Profile; config: string; checkedAt: EpochMs }>()
  const refusals = new Map<string, Secret[]>()
  const renewals = new Map<string, Promise<KeptEntry>>()
  const flights = createSingleflight<Entry>()
  const rejections: { readonly name: string; readonly refused: Secret; readonly done: Promise<void> }[] = []
  /** When the last token of a profile was replaced, on the monotonic clock. */
  const replacedAt = new Map<string, number>()
  let sweepAt = Number.POSITIVE_INFINITY
  let cancelSweep = (): void => {}

  function peekEntry(name: string, minValidityMs?: number): Entry | undefined {
    const entry = entries.get(name)
    if (entry === undefined) return undefined
    const now = clock.now()
    if (now - entry.checkedAt >= checkMs || now < entry.checkedAt) {
      if (!isStillTrue(name, entry)) {
        entries.delete(name)
        return undefined
      }
      entry.checkedAt = now
    }
    if (entry.expiresAt - now <= (minValidityMs ?? entry.neededLifeMs)) return undefined
    if (isFromTheFuture(entry.token, now)) return undefined
    if (now >= entry.refreshAt && clock.monotonic() >= entry.pausedUntil) void renew(name)
    return entry
  }

  function isStillTrue(name: string, entry: KeptEntry): boolean {
    if (isLocal(entry.profile)) return false
    const stamp = ports.stamp(name)
    if (stamp.config !== entry.stamp.config) return false
    if (stamp.outcome === entry.stamp.outcome) return true
    const outcome = readOutcome(name)
    if (outcome === undefined || !tellsOf(outcome, entry)) return false
    entry.stamp = stamp
    return true
  }

  function readOutcome(name: string): Outcome | undefined {
    try {
      return ports.outcome(name)
    } catch {
      return undefined
    }
  }

  async function getEntry(name: string, ask: TokensAsk = {}): Promise<Entry> {
    const { force = false, minValidityMs, signal } = ask
    signal?.throwIfAborted()
    const hit = force ? undefined : peekEntry(name, minValidityMs)
    if (hit !== undefined) return hit
    const key = `${name} ${force} ${minValidityMs}`
    return flights.run(key, signal, () => inTime(miss(name, ask)))
  }

  // The manager stays for a refresh token that it sent. A process that stays too need not keep its callers for that.
  async function inTime<T>(work: Promise<T>): Promise<T> {
    const over = new AbortController()
    const limitMs = ports.timeoutMs
    const late = clock.sleep(limitMs + graceMs, over.signal).then(() => {
      if (over.signal.aborted) return new Promise<never>(() => {})
      throw new TokctlError('timeout', `no token within ${formatDuration(limitMs)}; its request goes on`)
    })
    try {
      return await Promise.race([work, late])
    } finally {
      over.abort()
    }
  }

  async function miss(name: string, { force = false, minValidityMs }: TokensAsk): Promise<KeptEntry> {
    // A renewal that runs since the old token was still good is the very request that is wanted now.
    if (!force && minValidityMs === undefined) {
      const renewal = renewals.get(name)
      if (renewal !== undefined) return renewal
    }
    const entry = await load(name, { force, minValidityMs })
    // Refused while it was being read.
    return isRefused(name, entry.token) ? load(name, { force, minValidityMs }) : entry
  }

  async function load(
    name: string,
    ask: { force?: boolean; minValidityMs?: number | undefined; renew?: boolean },
  ): Promise<KeptEntry> {
    // Before anything is read: what changes meanwhile is noticed at the next look.
    const stamp = ports.stamp(name)
    const checkedAt = clock.now()
    const profile = await ports.profile(name)
    profiles.set(name, { profile, config: stamp.config, checkedAt })
    const token = await ports.managerOf(profile).get(profile, { ...ask, timeoutMs: ports.timeoutMs })
    const entry = entryOf(profile, token, stamp, checkedAt)
    if (isRefused(name, token)) return entry
    const before = entries.get(name)
    // An old answer that was late does not push out a newer token.
    if (before !== undefined && before.token.obtainedAt > token.obtainedAt) return entry
    if (before?.token.accessToken.equals(token.accessToken)) {
      entries.set(name, { ...entry, failures: before.failures, pausedUntil: before.pausedUntil })
    } else entries.set(name, entry)
    sweepBy(entry.expiresAt)
    return entry
  }

  function entryOf(profile: Profile, token: Token, stamp: Stamp, checkedAt: EpochMs): KeptEntry {
    const timing = ports.timing(profile)
    const shown = shownToken(token)
    return {
      profile,
      token,
      shown,
      promised: Promise.resolve(shown),
      expiresAt: token.expiresAt ?? Number.POSITIVE_INFINITY,
      refreshAt: refreshAt(token, timing) ?? Number.POSITIVE_INFINITY,
      neededLifeMs: neededLife(token, timing),
      stamp,
      checkedAt,
      replacedAt: replacedAt.get(profile.name),
      failures: 0,
      pausedUntil: 0,
    }
  }

  function renewal(name: string): Promise<KeptEntry> {
    const running = renewals.get(name)
    if (running !== undefined) return running
    const started = load(name, { renew: true })
    renewals.set(name, started)
    started.catch(error => pause(name, error)).finally(() => renewals.delete(name))
    return started
  }

  async function renew(name: string): Promise<void> {
    await renewal(name).catch(() => {})
  }

  async function fresh(name: string): Promise<{ token: Token; refreshAt: EpochMs | undefined }> {
    const kept = peekEntry(name) === undefined ? undefined : entries.get(name)
    const isFresh = kept !== undefined && clock.now() < kept.refreshAt
    const { token, refreshAt } = isFresh ? kept : await renewal(name)
    return { token, refreshAt: Number.isFinite(refreshAt) ? refreshAt : undefined }
  }

  function pause(name: string, error: unknown): void {
    const entry = entries.get(name)
    if (entry === undefined) return
    const grown = Math.min(maxPauseMs, firstPauseMs * 2 ** Math.min(entry.failures, 10))
    const asked = error instanceof TokctlError ? error.retryAfterMs : undefined
    entry.pausedUntil = clock.monotonic() + Math.max(firstPauseMs, asked ?? grown)
    entry.failures++
    if (entry.failures > 1) return
    const left = formatDuration(entry.expiresAt - clock.now())
    const why = error instanceof TokctlError ? error.message : 'unexpected failure'
    ports.warn(`using a token that expires in ${left}; refresh failed: ${why}`)
  }

  async function reject(name: string, refused: Secret): Promise<void> {
    if (isRefusedText(name, refused)) return
    drop(name, refused)
    const running = rejections.find(other => other.name === name && other.refused.equals(refused))
    if (running !== undefined) return running.done
    const rejection = { name, refused, done: rejectForAll(name, refused) }
    rejections.push(rejection)
    try {
      await rejection.done
    } finally {
      rejections.splice(rejections.indexOf(rejection), 1)
    }
  }

  async function rejectForAll(name: string, refused: Secret): Promise<void> {
    const profile = await ports.profile(name)
    await ports.managerOf(profile).reject(profile, refused, ports.timeoutMs)
    refusals.set(name, [refused, ...(refusals.get(name) ?? [])].slice(0, keptRefusals))
    // A call that had read it before may have kept it again.
    drop(name, refused)
  }

  function drop(name: string, refused: Secret): void {
    if (entries.get(name)?.token.accessToken.equals(refused)) entries.delete(name)
  }

  function replace(name: string, refused: Secret, signal?: AbortSignal): Promise<Token> | undefined {
    const entry = entries.get(name)
    if (entry?.token.accessToken.equals(refused)) {
      const since = entry.replacedAt
      if (since !== undefined && clock.monotonic() - since < hopelessMs) return undefined
      replacedAt.set(name, clock.monotonic())
    }
    return reject(name, refused).then(() => get(name, { signal }))
  }

  function isRefused(name: string, token: Token): boolean {
    return isRefusedText(name, token.accessToken)
  }

  function isRefusedText(name: string, text: Secret): boolean {
    return refusals.get(name)?.some(other => other.equals(text)) === true
  }

  async function get(name: string, ask?: TokensAsk): Promise<Token> {
    return (await getEntry(name, ask)).token
  }

  function sweepBy(at: EpochMs): void {
    if (at >= sweepAt) return
    cancelSweep()
    sweepAt = at
    cancelSweep = clock.after(Math.max(sweepMs, at - clock.now()), sweep)
  }

  function sweep(): void {
    const now = clock.now()
    let next = Number.POSITIVE_INFINITY
    for (const [name, { expiresAt }] of entries) {
      if (expiresAt <= now) entries.delete(name)
      else next = Math.min(next, expiresAt)
    }
    sweepAt = Number.POSITIVE_INFINITY
    sweepBy(next)
  }

  return {
    peekEntry,
    getEntry,
    peek: (name, minValidityMs) => peekEntry(name, minValidityMs)?.token,
    get,
    fresh,
    reject,
    replace,
    renew,
    async forget(name) {
      const profile = await ports.profile(name)
      entries.delete(name)
      await ports.managerOf(profile).logout(profile, ports.timeoutMs)
      entries.delete(name)
    },
    async profile(name) {
      const known = profiles.get(name)
      const now = clock.now()
      if (known !== undefined && now - known.checkedAt < checkMs && now >= known.checkedAt)
        return known.profile
      const { config } = ports.stamp(name)
      const profile = known?.config === config ? known.profile : await ports.profile(name)
      profiles.set(name, { profile, config, checkedAt: now })
      return profile
    },
    clear() {
      entries.clear()
      cancelSweep()
      sweepAt = Number.POSITIVE_INFINITY
    },
  }
}

// A failed renewal leaves the token that it told of before; one that could not be kept is nowhere but here.
function tellsOf({ binding, obtainedAt, expiresAt, failure }: Outcome, { profile, token }: Entry): boolean {
  if (binding !== profile.binding) return false
  if (obtainedAt === token.obtainedAt && expiresAt === token.expiresAt) return true
  return failure?.code.startsWith('store_') === true && failure.at >= token.obtainedAt
}
