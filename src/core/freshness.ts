import type { CacheRecord } from '../store/record.ts'
import type { Failure, Outcome } from './outcome.ts'
import type { EpochMs } from './time.ts'
import type { Token } from './token.ts'

/** How much life a profile wants a token to have, as configured; what is not set scales with the token's lifetime. */
export interface Timing {
  readonly refreshBeforeMs: number | undefined
  readonly minValidityMs: number | undefined
  /** This machine's share of a jitter for this profile, 0 to 1. Asked for only near the end of a token's life. */
  jitter(of: Jitter): number
}

/** What is jittered. The shares have nothing to do with each other, lest one spread undoes the other's. */
export type Jitter = 'window' | 'first renewal'

/** What is known of a profile's token at one moment. */
export interface View {
  /** What the store holds for this very binding. */
  readonly record: CacheRecord | undefined
  /** How the last finished attempt ended. */
  readonly outcome: Outcome | undefined
}

/** What a caller wants. */
export interface GetAsk {
  /** Refuses every token that was there when it asked. */
  readonly force: boolean
  /** Never touches the network. */
  readonly cached: boolean
  /** Takes a stale token for an expired one: what the background renewal asks. */
  readonly renew: boolean
  /** Milliseconds of life the caller needs; stands above the profile's own. */
  readonly minValidityMs: number | undefined
  /** Milliseconds the whole call may take. */
  readonly timeoutMs: number
  /** The etags that were there before the caller waited; `undefined` before it waits. */
  readonly seen: Seen | undefined
}

/** The etags of a view: whatever finished after they were read is the caller's answer. */
export interface Seen {
  readonly outcome: string | undefined
  readonly record: string | undefined
}

export type Decision =
  | { readonly kind: 'serve'; readonly token: Token; readonly because: string; readonly failure?: Failure }
  | { readonly kind: 'serve_and_refresh'; readonly token: Token }
  | { readonly kind: 'refresh'; readonly because: string }
  | { readonly kind: 'fail'; readonly failure: Failure }
  | { readonly kind: 'not_cached' }
  | { readonly kind: 'too_short'; readonly lifetimeMs: number }

/** Reads the etags of a view. */
export function etagsOf({ record, outcome }: View): Seen {
  return { outcome: outcome?.etag, record: record?.etag }
}

/**
 * Decides what to do with what is known. Pure: reads no clock, no store.
 *
 * @param view - Record and outcome of one profile, both of its present binding.
 * @param ask - What the caller wants; with `seen`, what finished since is its answer, token or failure.
 * @param now - Milliseconds since the epoch.
 * @returns `serve` carries a `failure` when a remembered one keeps the token from being renewed; `too_short` when
 *   this profile's tokens never live as long as the caller needs.
 */
export function decide(view: View, ask: GetAsk, timing: Timing, now: EpochMs): Decision {
  const { record, outcome } = view
  const token = record?.token
  const failure = outcome?.failure

  if (ask.seen !== undefined && hasMoved(ask.seen, view)) {
    if (failure !== undefined && outcome?.etag !== ask.seen.outcome) {
      // Somebody with less patience gave up early: that says nothing to a caller who can wait longer.
      if (!gaveUpEarly(failure, ask)) return { kind: 'fail', failure }
    } else if (token !== undefined && (outcome === undefined || outcome.etag === record?.etag)) {
      return serveNew(token, ask, timing, now, 'another process fetched it')
    }
  }

  if (ask.force) return { kind: 'refresh', because: 'forced' }

  const state = token === undefined ? 'absent' : stateOf(token, ask, timing, now)
  const remembered =
    failure !== undefined && isInForce(failure, now) && !gaveUpEarly(failure, ask) ? failure : undefined
  switch (state) {
    case 'fresh':
      return { kind: 'serve', token: token!, because: 'fresh' }
    case 'stale':
      if (ask.cached) return { kind: 'serve', token: token!, because: 'stale, and only the cache was asked' }
      if (remembered !== undefined) {
        if (ask.renew) return { kind: 'fail', failure: remembered }
        return { kind: 'serve', token: token!, because: 'stale, renewal paused', failure: remembered }
      }
      return ask.renew ? { kind: 'refresh', because: 'stale' } : { kind: 'serve_and_refresh', token: token! }
    default: {
      if (ask.cached) return { kind: 'not_cached' }
      const lifetimeMs = token === undefined ? undefined : neverLongEnough(token, ask, timing, now)
      if (lifetimeMs !== undefined) return { kind: 'too_short', lifetimeMs }
      if (remembered !== undefined) return { kind: 'fail', failure: remembered }
      return { kind: 'refresh', because: state }
    }
  }
}

/**
 * Decides about a token that was fetched for this very call.
 * One that is short-lived by default is served all the same; one that misses what was asked for is not.
 */
export function serveNew(token: Token, ask: GetAsk, timing: Timing, now: EpochMs, because: string): Decision {
  const needed = ask.minValidityMs ?? timing.minValidityMs
  if (needed === undefined || token.expiresAt === undefined || token.expiresAt - now > needed) {
    return { kind: 'serve', token, because }
  }
  return { kind: 'too_short', lifetimeMs: token.expiresAt - token.obtainedAt }
}

/** When a token becomes stale; `undefined` for one of unknown lifetime. */
export function refreshAt(token: Token, timing: Timing): EpochMs | undefined {
  if (token.expiresAt === undefined) return undefined
  return Math.min(windowOpensAt(token, token.expiresAt, timing), token.renewAt ?? Number.POSITIVE_INFINITY)
}

function windowOpensAt({ obtainedAt }: Token, expiresAt: EpochMs, timing: Timing): EpochMs {
  return expiresAt - windowMs(expiresAt - obtainedAt, timing) * (1 - timing.jitter('window') / 5)
}

/**
 * When to renew a token that does not follow a good one: machines that signed in together, or came back together from an
 * outage, are all about to renew together for ever. Once, each does so early, by its own share of half the time, and after
 * that they are as far apart as the token lives.
 *
 * @returns Milliseconds since the epoch; `undefined` for a token of unknown lifetime.
 */
export function firstRenewalAt(token: Token, timing: Timing): EpochMs | undefined {
  if (token.expiresAt === undefined) return undefined
  const opensAt = windowOpensAt(token, token.expiresAt, timing)
  return Math.round(opensAt - ((opensAt - token.obtainedAt) / 2) * timing.jitter('first renewal'))
}

/** How much life a token must have left to be handed out to whoever asks for no more, in milliseconds. */
export function neededLife(token: Token, { minValidityMs }: Timing): number {
  const lifetimeMs = token.expiresAt === undefined ? 0 : token.expiresAt - token.obtainedAt
  return minValidityMs ?? defaultMinValidity(lifetimeMs)
}

/** When a token is not handed out any more, by the profile's own timing; `undefined` for one of unknown lifetime. */
export function expiredAt(token: Token | undefined, timing: Timing): EpochMs | undefined {
  return token?.expiresAt === undefined ? undefined : token.expiresAt - neededLife(token, timing)
}

/** A number from 0 to 1 that is the same at every call on this machine for this profile, and another one elsewhere. */
export function stableJitter(machine: string, profile: string, of: Jitter): number {
  // FNV-1a: spread is all that is asked of it, and it spares a hit the crypto module.
  let hash = 0x811c9dc5
  for (const char of `${of}\n${machine}\n${profile}`)
    hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193)
  hash ^= hash >>> 15
  return (Math.imul(hash, 0x2c1b3c6d) >>> 0) / 0xffffffff
}

/** Made in the future: the clock was set back, and how much life is left cannot be told. */
export function isFromTheFuture(token: Token, now: EpochMs): boolean {
  return token.obtainedAt > now + 60_000
}

/** Tells whether a remembered failure still stands in for an attempt. */
export function isInForce(failure: Failure, now: EpochMs): boolean {
  if (failure.until === 'changed') return true
  // A clock that was set back must not make a pause of seconds last for days.
  return now < failure.until && now >= failure.at - 1000
}

function hasMoved(seen: Seen, { record, outcome }: View): boolean {
  return outcome?.etag !== seen.outcome || (record?.etag !== seen.record && record !== undefined)
}

function gaveUpEarly(failure: Failure, ask: GetAsk): boolean {
  return failure.patienceMs !== undefined && failure.patienceMs * 2 < ask.timeoutMs
}

function windowMs(lifetimeMs: number, { refreshBeforeMs }: Timing): number {
  return refreshBeforeMs === undefined
    ? Math.min(300_000, lifetimeMs / 5)
    : Math.min(refreshBeforeMs, lifetimeMs / 2)
}

function minValidity(lifetimeMs: number, ask: GetAsk, timing: Timing): number {
  return ask.minValidityMs ?? timing.minValidityMs ?? defaultMinValidity(lifetimeMs)
}

function defaultMinValidity(lifetimeMs: number): number {
  return Math.min(60_000, lifetimeMs / 10)
}

function stateOf(token: Token, ask: GetAsk, timing: Timing, now: EpochMs): 'fresh' | 'stale' | 'expired' {
  if (isFromTheFuture(token, now)) return 'expired'
  if (token.expiresAt === undefined) return 'fresh'
  const lifetimeMs = token.expiresAt - token.obtainedAt
  const leftMs = token.expiresAt - now
  if (leftMs <= minValidity(lifetimeMs, ask, timing)) return 'expired'
  if (token.renewAt !== undefined && now >= token.renewAt) return 'stale'
  const window = windowMs(lifetimeMs, timing)
  if (leftMs > window) return 'fresh'
  return leftMs > window * (1 - timing.jitter('window') / 5) ? 'fresh' : 'stale'
}

// While a token lives, asking for another one of the same length is a request wasted.
function neverLongEnough(token: Token, ask: GetAsk, timing: Timing, now: EpochMs): number | undefined {
  const needed = ask.minValidityMs ?? timing.minValidityMs
  if (needed === undefined || token.expiresAt === undefined || token.expiresAt <= now) return undefined
  const lifetimeMs = token.expiresAt - token.obtainedAt
  return lifetimeMs > 0 && lifetimeMs <= needed ? lifetimeMs : undefined
}
