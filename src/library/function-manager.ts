import { createHash, randomBytes } from 'node:crypto'
import { TokctlError } from '../core/errors.ts'
import type { Timing } from '../core/freshness.ts'
import { createManager, type Manager } from '../core/manager.ts'
import type { Outcome, Outcomes } from '../core/outcome.ts'
import type { Notices } from '../core/ports.ts'
import { Secret } from '../core/secret.ts'
import type { Clock, EpochMs } from '../core/time.ts'
import { isTokenText, type Token } from '../core/token.ts'
import type { FunctionProfile, Profile } from '../profile/profile.ts'
import type { TokenSource } from '../source/source.ts'
import { memoryStore } from '../store/memory.ts'
import { processLock } from './process-lock.ts'
import type { Source, SourceToken } from './source-from.ts'

/** What the manager of functions stands on. */
export interface FunctionManagerPorts {
  readonly clock: Clock
  readonly pid: number
  readonly notices: Notices
  /** The function of a key. */
  source(name: string): Source | undefined
  timing(profile: Profile): Timing
  /** Renews in this process. @returns When that has ended, however it did. */
  renew(name: string): Promise<unknown>
}

/** The same manager by the same rules, for tokens of functions: store, outcomes and lock are this process's own. */
export function createFunctionManager(ports: FunctionManagerPorts): Manager {
  const { clock, pid, notices } = ports
  // What is shared is shared among the callers in this process: all of them see this store and this lock.
  const store = { ...memoryStore(), shared: true, keepsRefreshTokens: false }
  const lock = processLock(clock, pid)
  return createManager({
    clock,
    outcomes: memoryOutcomes(),
    store: async () => store,
    choosesStore: () => false,
    source: async profile => functionSource(profile.name, ports),
    revoke: async () => {},
    lock: async () => lock,
    timing: ports.timing,
    renewLater: async profile => ({ ended: ports.renew(profile.name) }),
    // A function leaves no refresh token, and so nothing to lose.
    async journal() {
      throw new Error('a function has no session to keep a journal of')
    },
    newEtag: async () => randomBytes(12).toString('base64url'),
    digest: async secret => createHash('sha256').update(secret.expose()).digest('hex'),
    notices,
  })
}

/** The profile that a function stands for. */
export function functionProfile(
  name: string,
  { match, refreshBeforeMs, minValidityMs }: Source,
): FunctionProfile {
  return {
    name,
    source: 'function',
    match: match ?? [],
    binding: '',
    ...(refreshBeforeMs === undefined ? {} : { refresh_before_ms: refreshBeforeMs }),
    ...(minValidityMs === undefined ? {} : { min_validity_ms: minValidityMs }),
  }
}

function memoryOutcomes(): Outcomes {
  const outcomes = new Map<string, Outcome>()
  return {
    read: name => outcomes.get(name),
    stamp: name => outcomes.get(name)?.etag ?? '',
    write: (name, outcome) => void outcomes.set(name, outcome),
  }
}

function functionSource(name: string, { clock, source }: FunctionManagerPorts): TokenSource {
  return {
    async fetch({ timeoutMs, signal = new AbortController().signal }) {
      const obtainedAt = clock.now()
      let given: SourceToken
      try {
        given = await source(name)!.fetch({ profile: name, signal, timeoutMs })
      } catch (error) {
        if (error instanceof TokctlError || signal.aborted) throw error
        throw failed(name, 'threw an error', 'throw a TokctlError to say more')
      }
      return readToken(name, given, obtainedAt)
    },
  }
}

function readToken(name: string, given: SourceToken, obtainedAt: EpochMs): Token {
  const { accessToken, tokenType, scope, expiresAt, expiresInMs } = given ?? {}
  if (typeof accessToken !== 'string' || !isTokenText(accessToken)) {
    throw failed(name, 'gave no accessToken that is one or more visible ASCII characters')
  }
  for (const [key, value] of Object.entries({ expiresAt, expiresInMs })) {
    if (value !== undefined && !Number.isFinite(value)) throw failed(name, `gave an ${key} that is no number`)
  }
  return {
    accessToken: new Secret(accessToken),
    tokenType: tokenType ?? 'Bearer',
    scope,
    obtainedAt,
    expiresAt: expiresAt ?? (expiresInMs === undefined ? undefined : obtainedAt + expiresInMs),
    refreshToken: undefined,
  }
}

function failed(name: string, what: string, hint?: string): TokctlError {
  return new TokctlError('command_failed', `the function behind "${name}" ${what}`, { hint, profile: name })
}
