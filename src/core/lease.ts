import { TokctlError } from './errors.ts'
import type { EpochMs } from './time.ts'

/** What a lock is held for. Nobody without a terminal queues behind a `login`. */
export type LeasePurpose = 'refresh' | 'renewal' | 'reject' | 'login' | 'logout' | 'edit' | 'watch'

/** Who holds a lock, or held it last, and for what. */
export interface Lease {
  readonly pid: number
  readonly purpose: LeasePurpose
  readonly since: EpochMs
  /** Its holder has let go, or somebody else holds the lock and is about to say so. */
  readonly released?: boolean
}

const doings: Readonly<Record<LeasePurpose, string>> = {
  refresh: 'renewed',
  renewal: 'renewed',
  reject: 'used',
  login: 'signed in',
  logout: 'signed out',
  edit: 'edited',
  watch: 'watched',
}

/** What is done to a profile under a lease, as in `is being renewed`. */
export function doing({ purpose }: Lease): string {
  return doings[purpose]
}

/** Says what came of a wait that ran out. */
export function lockTimeout(profile: string, holder: Lease | undefined, timeoutMs: number): TokctlError {
  const who = holder === undefined ? 'another process' : `process ${holder.pid}`
  const how = holder === undefined ? 'renewed' : doings[holder.purpose]
  return new TokctlError(
    'lock_timeout',
    `profile "${profile}" is being ${how} by ${who}, which did not finish within ${Math.round(timeoutMs / 100) / 10}s`,
    { hint: 'try again, or allow more time with --timeout', profile },
  )
}

/** Says that a person is signing in elsewhere: nobody queues behind a browser. */
export function signInUnderWay(profile: string, holder: Lease): TokctlError {
  return new TokctlError(
    'login_required',
    `a sign-in of profile "${profile}" is under way in process ${holder.pid}`,
    {
      hint: 'finish that sign-in, then try again',
      profile,
    },
  )
}
