import { type EpochMs, parseInstant } from '../core/time.ts'

/** No lifetime is believed beyond ten years: what is further away is "never", and instants stay exact numbers. */
const maxLifetimeMs = 3650 * 86_400_000
/** `Date` has whole seconds and the answer was under way: less than this is no difference between two clocks. */
const noiseMs = 5000

/** What an answer said about its token's life, as it was found there. */
export interface ToldLifetime {
  /** Seconds from `obtainedAt`. */
  readonly expiresIn?: unknown
  /** An instant: RFC 3339 with an offset, or seconds since the epoch, by the server's clock. */
  readonly expiresAt?: unknown
  /** Looked into only when it is a JWT. */
  readonly accessToken: string
}

/**
 * Works out when a token ends, on the local clock. Pure.
 *
 * What the answer says counts; a JWT's `exp` may shorten that, or stands in for it where nothing usable was said, and then
 * `defaultTtlMs`. Less than no time is `obtainedAt`: the token serves this call alone.
 *
 * @param serverAheadMs - How far the server's clock is ahead of ours.
 * @returns `undefined` for an unknown lifetime.
 */
export function expiryOf(
  told: ToldLifetime,
  obtainedAt: EpochMs,
  serverAheadMs: number,
  defaultTtlMs: number | undefined,
): EpochMs | undefined {
  const seconds = readSeconds(told.expiresIn)
  const absolute = readExpiresAt(told.expiresAt)
  const jwt = readJwtExp(told.accessToken)
  const ends = [
    seconds === undefined
      ? undefined
      : obtainedAt + Math.floor(Math.min(seconds, maxLifetimeMs / 1000) * 1000),
    absolute === undefined ? undefined : absolute - serverAheadMs,
    jwt === undefined ? undefined : jwt - serverAheadMs,
  ].filter(end => end !== undefined)
  if (ends.length === 0) return defaultTtlMs === undefined ? undefined : obtainedAt + defaultTtlMs
  return Math.min(Math.max(Math.floor(Math.min(...ends)), obtainedAt), obtainedAt + maxLifetimeMs)
}

/**
 * Reads an `expires_in`: a number, or a string of digits, that is not negative.
 *
 * @returns Seconds, possibly infinite; `undefined` for everything else, which is an unknown lifetime and never "for ever".
 */
export function readSeconds(value: unknown): number | undefined {
  if (typeof value === 'number') return value >= 0 ? value : undefined
  if (typeof value !== 'string' || !/^\s*\d+(\.\d+)?\s*$/.test(value)) return undefined
  return Number(value)
}

/** Reads an absolute expiry; a number that would be milliseconds (beyond the year 5000 as seconds) is not one. */
function readExpiresAt(value: unknown): EpochMs | undefined {
  const seconds = readSeconds(value)
  if (seconds !== undefined) return seconds > 0 && seconds < 1e11 ? seconds * 1000 : undefined
  return typeof value === 'string' ? parseInstant(value.trim()) : undefined
}

function readJwtExp(token: string): EpochMs | undefined {
  const { exp } = readJwtClaims(token) ?? {}
  return typeof exp === 'number' && exp < 1e11 ? exp * 1000 : undefined
}

/**
 * Reads what a token says that is a signed JWT. Nothing is verified: it is a hint, and the token stays opaque.
 *
 * @returns `undefined` for what is none; the claims have no prototype.
 * @see RFC 7519 §4
 */
export function readJwtClaims(token: string): Readonly<Record<string, unknown>> | undefined {
  const parts = token.split('.')
  if (parts.length !== 3 || !/^[A-Za-z0-9_-]+$/.test(parts[1] ?? '')) return undefined
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString())
    if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return undefined
    return Object.assign(Object.create(null), claims)
  } catch {
    return undefined
  }
}

/**
 * How far the server's clock is ahead of ours, by the `Date` of its answer. Pure.
 *
 * @param sentAt - and `receivedAt`: the answer was made somewhere between.
 * @returns Milliseconds; 0 where it said nothing usable or the difference may be the way's.
 */
export function serverAhead(date: string | undefined, sentAt: EpochMs, receivedAt: EpochMs): number {
  const at = readHttpDate(date)
  if (at === undefined) return 0
  const ahead = at - (sentAt + receivedAt) / 2
  return Math.abs(ahead) < noiseMs + (receivedAt - sentAt) / 2 ? 0 : Math.round(ahead)
}

/**
 * Reads a `Retry-After`: seconds, or a date by the server's clock.
 *
 * @returns Milliseconds between a second and an hour; `undefined` for anything else, a date in the past included.
 * @see RFC 9110 §10.2.3
 */
export function readRetryAfter(
  value: string | undefined,
  serverDate: string | undefined,
  now: EpochMs,
): number | undefined {
  const text = value?.trim() ?? ''
  const at = readHttpDate(text)
  const ms = /^\d+$/.test(text)
    ? Number(text) * 1000
    : at === undefined
      ? -1
      : at - (readHttpDate(serverDate) ?? now)
  return ms < 0 ? undefined : Math.min(Math.max(ms, 1000), 3_600_000)
}

function readHttpDate(text: string | undefined): EpochMs | undefined {
  // Date.parse takes nearly anything; a date that is meant as one has a day name and GMT.
  if (text === undefined || !/^[A-Z][a-z]{2,8},? .*\d{2}:\d{2}:\d{2}.* GMT$/.test(text)) return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}
