import { statSync } from 'node:fs'
import { writeFileAtomic } from './atomic-file.ts'
import { type ErrorCode, isErrorCode, printable } from './errors.ts'
import { readStateFile } from './read-file.ts'
import { fileStem, type StateDir } from './state-dir.ts'
import type { EpochMs } from './time.ts'

/** A failed attempt, as all callers of the profile are told of it. */
export interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string | undefined
  /** When it failed. */
  readonly at: EpochMs
  /** Nothing is asked before; `changed`: not before a login, `--force` or a change of configuration. */
  readonly until: EpochMs | 'changed'
  /** How many attempts failed in a row. */
  readonly attempts: number
  /** For an attempt that ran out of time: how long its caller was willing to wait. */
  readonly patienceMs: number | undefined
}

/** The stores that outlive a process. */
export type StoredIn = 'keychain' | 'file'

/** How the last finished attempt of a profile ended. Holds no secret. */
export interface Outcome {
  /** Random; new with each finished attempt. */
  readonly etag: string
  readonly binding: string
  /** When the attempt ended. */
  readonly finishedAt: EpochMs
  /** Where the record was written last; `undefined` before the first time. */
  readonly store: StoredIn | undefined
  /** Which store `auto` took at its first write, and takes from then on. */
  readonly auto: StoredIn | undefined
  /** Of the last token that was kept, whether or not this attempt failed. */
  readonly obtainedAt: EpochMs | undefined
  readonly expiresAt: EpochMs | undefined
  readonly refreshAt: EpochMs | undefined
  /** Of a session that a person began: whether it goes on without one. `undefined` of any other, and where nothing is known. */
  readonly renewable: boolean | undefined
  readonly failure: Failure | undefined
}

/** The outcome files. Reading one takes a tenth of a millisecond and asks nobody. */
export interface Outcomes {
  /**
   * @returns The outcome, of whatever binding; `undefined` where there is none that can be read.
   * @throws {TokctlError} `state_dir_unsafe`
   */
  read(profile: string): Outcome | undefined
  /** Another text whenever another outcome may lie there; costs less than to read it. */
  stamp(profile: string): string
  /** @throws {TokctlError} `state_dir_unsafe`, or the system's error */
  write(profile: string, outcome: Outcome): void
}

/** Opens the outcome files under the state directory. */
export function openOutcomes(stateDir: StateDir, pid: number): Outcomes {
  const fileOf = (profile: string): string => stateDir.file('outcomes', `${fileStem(profile)}.json`)
  return {
    read(profile) {
      stateDir.check()
      const text = readStateFile(fileOf(profile))
      return text === undefined ? undefined : decode(text)
    },
    stamp(profile) {
      try {
        const found = statSync(fileOf(profile), { throwIfNoEntry: false })
        return found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`
      } catch {
        return ''
      }
    },
    write(profile, outcome) {
      stateDir.ensure('outcomes')
      writeFileAtomic(fileOf(profile), encode(outcome), pid, false)
    },
  }
}

function encode({
  etag,
  binding,
  finishedAt,
  store,
  auto,
  obtainedAt,
  expiresAt,
  refreshAt,
  renewable,
  failure,
}: Outcome): string {
  return `${JSON.stringify({
    etag,
    binding,
    finished_at: finishedAt,
    store,
    auto,
    obtained_at: obtainedAt,
    expires_at: expiresAt,
    refresh_at: refreshAt,
    renewable,
    failure: failure && {
      code: failure.code,
      message: failure.message,
      hint: failure.hint,
      at: failure.at,
      until: failure.until,
      attempts: failure.attempts,
      patience_ms: failure.patienceMs,
    },
  })}\n`
}

function decode(text: string): Outcome | undefined {
  let json: Record<string, unknown>
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof json !== 'object' || json === null) return undefined
  const { etag, binding } = json
  if (typeof etag !== 'string' || typeof binding !== 'string') return undefined
  return {
    etag,
    binding,
    finishedAt: number(json['finished_at']) ?? 0,
    store: storedIn(json['store']),
    auto: storedIn(json['auto']),
    obtainedAt: number(json['obtained_at']),
    expiresAt: number(json['expires_at']),
    refreshAt: number(json['refresh_at']),
    renewable: typeof json['renewable'] === 'boolean' ? json['renewable'] : undefined,
    failure: decodeFailure(json['failure']),
  }
}

const longestPauseMs = 3_600_000

function decodeFailure(found: unknown): Failure | undefined {
  if (typeof found !== 'object' || found === null) return undefined
  const { code, message, hint, at, until, attempts, patience_ms } = found as Record<string, unknown>
  if (!isErrorCode(code) || typeof message !== 'string' || number(at) === undefined) return undefined
  if (until !== 'changed' && number(until) === undefined) return undefined
  return {
    code,
    message: printable(message),
    hint: typeof hint === 'string' ? printable(hint) : undefined,
    at: at as number,
    // No pause is longer than this, whatever the file says.
    until: until === 'changed' ? until : Math.min(until as number, (at as number) + longestPauseMs),
    attempts: number(attempts) ?? 1,
    patienceMs: number(patience_ms),
  }
}

function storedIn(value: unknown): StoredIn | undefined {
  return value === 'keychain' || value === 'file' ? value : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
