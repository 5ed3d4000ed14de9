import type { Profile } from '../profile/profile.ts'
import type { TokenSource } from '../source/source.ts'
import type { Journal } from '../store/journal.ts'
import type { Store } from '../store/store.ts'
import type { Timing } from './freshness.ts'
import type { Lease } from './lease.ts'
import type { Lock } from './lock.ts'
import type { Outcomes } from './outcome.ts'
import type { Secret } from './secret.ts'
import type { Clock } from './time.ts'

/** What the manager tells while it works. None of it holds a secret. */
export interface Notices {
  /** One line for people, about a token that is served all the same. */
  warn(message: string): void
  /** A decision, for `--verbose`. */
  trace(message: string | (() => string)): void
  /** A line of what went over the wire, redacted; absent unless `--debug-http` asks for it. */
  readonly wireLog?: ((line: string) => void) | undefined
  /** Keeps signals from ending the process until the answer is in. @returns What ends that. */
  hold(): () => void
  /** The cache does not settle this call: a request, a lock or another process is needed. */
  onMiss(): void
  /** Another process holds the lock; told again and again while it does. */
  waiting(profile: string, holder: Lease | undefined, waitedMs: number): void
}

/** What is revoked at a sign-out. */
export interface Session {
  readonly accessToken: Secret | undefined
  readonly refreshToken: Secret | undefined
}

/** A renewal that another process does. */
export interface StartedRenewal {
  /** Resolves when that process has ended, however it did. */
  readonly ended: Promise<unknown>
}

/** What the manager stands on. Whatever a cache hit does not need is a function that is called on a miss. */
export interface ManagerPorts {
  readonly clock: Clock
  readonly outcomes: Outcomes
  /** @param timeoutMs - Of the whole call: a reading that is slower is given up. */
  store(profile: Profile, timeoutMs?: number): Promise<Store>
  /** Whether the store was `auto`'s to choose, so that its choice is recorded. */
  choosesStore(): boolean
  source(profile: Profile): Promise<TokenSource>
  /** Revokes a session at its server (RFC 7009); does nothing where there is nothing to revoke. */
  revoke(
    profile: Profile,
    session: Session,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void>
  lock(): Promise<Lock>
  timing(profile: Profile): Timing
  /**
   * Starts a renewal that outlives this process; does not wait for it.
   *
   * @param force - However good the kept token is.
   */
  renewLater(profile: Profile, force: boolean): Promise<StartedRenewal>
  journal(): Promise<Journal>
  /** Random, never the same twice. */
  newEtag(): Promise<string>
  /** SHA-256, in hexadecimal. */
  digest(secret: Secret): Promise<string>
  readonly notices: Notices
}
