import { type App, timingOf } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import type { Outcome } from '../core/outcome.ts'
import { type EpochMs, formatInstant } from '../core/time.ts'
import { type Profile, signsIn } from '../profile/profile.ts'

/**
 * What can be said of a profile without asking the keychain. `absent`: nobody asked yet. `local`: it lies on this machine and
 * is read there at each call.
 */
export const states = [
  'fresh',
  'stale',
  'expired',
  'absent',
  'local',
  'failing',
  'refused',
  'login_required',
] as const
export type State = (typeof states)[number]

/** One profile, as `status` knows it. */
export interface Row {
  readonly profile: string
  readonly source: string
  readonly state: State
  readonly store: string | undefined
  readonly expiresAt: EpochMs | undefined
  readonly refreshAt: EpochMs | undefined
  readonly obtainedAt: EpochMs | undefined
  readonly failure: { readonly code: string; readonly message: string; readonly at: EpochMs } | undefined
  readonly nextAttemptAt: EpochMs | undefined
}

/** Reads what is known of a profile from its outcome file alone. */
export function rowOf(profile: Profile, app: App, environment: Environment, now: EpochMs): Row {
  const found = app.outcomes.read(profile.name)
  const outcome = found?.binding === profile.binding ? found : undefined
  const failure = outcome?.failure
  const until = failure?.until
  return {
    profile: profile.name,
    source: profile.source,
    state: stateOf(outcome, profile, environment, now),
    store: outcome?.store,
    expiresAt: profile.source === 'static' ? profile.expires_at : outcome?.expiresAt,
    refreshAt: outcome?.renewable === false ? undefined : outcome?.refreshAt,
    obtainedAt: outcome?.obtainedAt,
    failure: failure && { code: failure.code, message: failure.message, at: failure.at },
    nextAttemptAt: typeof until === 'number' && until > now ? until : undefined,
  }
}

function stateOf(
  outcome: Outcome | undefined,
  profile: Profile,
  environment: Environment,
  now: EpochMs,
): State {
  if (profile.source === 'static' && !('command' in profile.token))
    return profile.expires_at !== undefined && profile.expires_at <= now ? 'expired' : 'local'
  const nothing = signsIn(profile) && outcome?.renewable !== true ? 'login_required' : 'absent'
  if (outcome === undefined) return nothing
  const { obtainedAt, expiresAt, refreshAt, renewable, failure } = outcome
  const lifetimeMs = obtainedAt === undefined || expiresAt === undefined ? 0 : expiresAt - obtainedAt
  const minValidityMs = timingOf(profile, environment).minValidityMs ?? Math.min(60_000, lifetimeMs / 10)
  const isUsable = obtainedAt !== undefined && (expiresAt === undefined || expiresAt - now > minValidityMs)
  if (isUsable && (refreshAt === undefined || now < refreshAt)) return 'fresh'
  if (failure?.code === 'login_required') return 'login_required'
  // One whose pause is over stays the last that is known.
  if (failure !== undefined && !isUsable) return failure.until === 'changed' ? 'refused' : 'failing'
  if (renewable === false) return 'login_required'
  if (isUsable) return 'stale'
  return obtainedAt === undefined ? nothing : 'expired'
}

/** A row as `--json` gives it: `docs/json.md` promises its members. */
export function rowJson(row: Row): Record<string, unknown> {
  const instant = (at: EpochMs | undefined): string | null => (at === undefined ? null : formatInstant(at))
  const { failure } = row
  return {
    profile: row.profile,
    source: row.source,
    state: row.state,
    store: row.store ?? null,
    obtained_at: instant(row.obtainedAt),
    expires_at: instant(row.expiresAt),
    refresh_at: instant(row.refreshAt),
    failure:
      failure === undefined
        ? null
        : { code: failure.code, message: failure.message, at: formatInstant(failure.at) },
    next_attempt_at: instant(row.nextAttemptAt),
  }
}
