import { type Profile, signsIn } from '../profile/profile.ts'
import type { Person } from '../source/source.ts'
import type { CacheRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { rememberedOf, TokctlError } from './errors.ts'
import { refreshAt, type View } from './freshness.ts'
import type { Outcome } from './outcome.ts'
import type { ManagerPorts } from './ports.ts'
import type { WatchedRenewal } from './renewal.ts'
import type { EpochMs } from './time.ts'
import type { Token } from './token.ts'

/** Whose token it is, and what was known of it before. */
export interface KeepFor {
  readonly profile: Profile
  readonly store: Store
  /** What was known when the lock was taken; `undefined` for a store that nobody shares. */
  readonly view: View | undefined
  /** Who signed in. */
  readonly person?: Person
}

/** What became of a token that was to be kept. */
export interface Kept {
  readonly record: CacheRecord
  /** Why the store did not take it. */
  readonly unkept: TokctlError | undefined
}

const maxPauseMs = 60_000
/** Longer than any server should ask for, so that one odd header does not shut a profile for a day. */
const maxRetryAfterMs = 3_600_000

/**
 * Keeps a token and tells everybody. Where the store does not take it, that is one warning and a pause: the token is good.
 *
 * @param isServed - False for a token that nobody is to get: what renews it is kept all the same.
 * @throws {TokctlError} of a sign-in that is not kept: it was for nothing, and the person is still there to be told
 */
export async function keepToken(
  ports: ManagerPorts,
  { profile, store, view, person }: KeepFor,
  renewal: Pick<WatchedRenewal, 'keep'>,
  token: Token,
  isServed = true,
): Promise<Kept> {
  const { clock, outcomes, notices } = ports
  // A sign-in begins a session of its own; whatever renews one goes on with what the answer left out (RFC 6749 §6).
  const before = person === undefined ? view?.record : undefined
  const dpopKey = token.dpopKey ?? before?.dpopKey
  const seed = token.seed ?? before?.seed
  const record: CacheRecord = {
    etag: await ports.newEtag(),
    binding: profile.binding,
    token: isServed ? { ...token, refreshToken: undefined } : undefined,
    refreshToken: store.keepsRefreshTokens ? token.refreshToken : undefined,
    ...(dpopKey === undefined ? {} : { dpopKey }),
    ...(seed === undefined ? {} : { seed }),
    rejected: view?.record?.rejected ?? [],
  }
  try {
    if (!(await renewal.keep(record))) {
      notices.trace(`profile "${profile.name}": the session was renewed elsewhere, and that one stays`)
      return { record, unkept: undefined }
    }
  } catch (error) {
    if (!(error instanceof TokctlError) || person !== undefined) throw error
    notices.warn(`the token is not kept: ${error.message}`)
    // One warning is enough: a disk that is full has no room for the outcome either.
    const quiet = { ...ports, notices: { ...notices, warn: notices.trace } }
    if (store.shared) await rememberFailure(quiet, { profile, view }, error, pauseUntil(ports, view, error))
    return { record, unkept: error }
  }
  if (store.shared && isServed) {
    const last = outcomes.read(profile.name)
    writeOutcome(ports, profile, {
      etag: record.etag,
      binding: profile.binding,
      finishedAt: clock.now(),
      store: storedIn(store),
      auto: ports.choosesStore() ? storedIn(store) : last?.auto,
      obtainedAt: token.obtainedAt,
      expiresAt: token.expiresAt,
      refreshAt: refreshAt(token, ports.timing(profile)),
      renewable: signsIn(profile) ? record.refreshToken !== undefined : undefined,
      failure: undefined,
    })
  }
  return { record, unkept: undefined }
}

/**
 * Until when a failure stands in for the next attempt.
 *
 * @returns `undefined` for what concerns this caller alone.
 */
export function failureUntil(
  ports: ManagerPorts,
  view: View | undefined,
  error: TokctlError,
): EpochMs | 'changed' | undefined {
  switch (rememberedOf(error.code)) {
    case 'never':
      return undefined
    case 'until_changed':
      return 'changed'
    case 'waiters':
      return ports.clock.now()
    case 'pause':
      return pauseUntil(ports, view, error)
  }
}

function pauseUntil({ clock }: ManagerPorts, view: View | undefined, error: TokctlError): EpochMs {
  return clock.now() + pauseMs(error.retryAfterMs, attemptsWith(view))
}

function attemptsWith(view: View | undefined): number {
  return (view?.outcome?.failure?.attempts ?? 0) + 1
}

function pauseMs(retryAfterMs: number | undefined, attempts: number): number {
  if (retryAfterMs !== undefined) return Math.min(Math.max(1000, retryAfterMs), maxRetryAfterMs)
  const grown = Math.min(maxPauseMs, 1000 * 2 ** Math.min(attempts - 1, 10))
  return Math.max(1000, Math.round(grown * (0.75 + Math.random() / 4)))
}

/** Tells everybody that an attempt failed, and until when none is to be made. @param patienceMs - Of a caller whose time ran out. */
export async function rememberFailure(
  ports: ManagerPorts,
  { profile, view }: Pick<KeepFor, 'profile' | 'view'>,
  { code, message, hint }: Pick<TokctlError, 'code' | 'message' | 'hint'>,
  until: EpochMs | 'changed',
  patienceMs?: number,
): Promise<void> {
  const { clock, outcomes } = ports
  const before = view?.outcome
  const now = clock.now()
  writeOutcome(ports, profile, {
    etag: await ports.newEtag(),
    binding: profile.binding,
    finishedAt: now,
    // Nothing was written, so nothing is recorded of where.
    store: before?.store,
    auto: outcomes.read(profile.name)?.auto,
    obtainedAt: before?.obtainedAt,
    expiresAt: before?.expiresAt,
    refreshAt: before?.refreshAt,
    renewable: before?.renewable,
    failure: { code, message, hint, at: now, until, attempts: attemptsWith(view), patienceMs },
  })
}

function writeOutcome({ outcomes, notices }: ManagerPorts, profile: Profile, outcome: Outcome): void {
  try {
    outcomes.write(profile.name, outcome)
  } catch (error) {
    // The record is kept; without the outcome others merely ask once more than they need to.
    const reason =
      error instanceof TokctlError ? error.message : ((error as NodeJS.ErrnoException).code ?? 'error')
    notices.warn(`cannot tell other processes how the request ended: ${reason}`)
  }
}

function storedIn(store: Store): 'keychain' | 'file' {
  return store.kind === 'file' ? 'file' : 'keychain'
}
