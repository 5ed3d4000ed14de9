import { createHash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { createLock, kernelLock } from '../../src/core/lock.ts'
import { createManager, type Manager } from '../../src/core/manager.ts'
import { openOutcomes } from '../../src/core/outcome.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import type { Token } from '../../src/core/token.ts'
import type { CommandProfile } from '../../src/profile/profile.ts'
import type { FetchRequest, TokenSource } from '../../src/source/source.ts'
import { openJournal } from '../../src/store/journal-file.ts'
import type { Store, StoreKey } from '../../src/store/store.ts'
import { type FakeClock, fakeClock } from './clock.ts'
import { lockCalls } from './lock-calls.ts'

/** One minute, in milliseconds. */
export const minute = 60_000
/** A profile as validated; the source in these tests is the machine's own. */
export const corp: CommandProfile = {
  name: 'corp',
  source: 'command',
  command: ['token'],
  timeout_ms: 30_000,
  match: [],
  binding: 'b1',
}

/** Managers that share a machine: one state directory, one store, one clock. */
export interface Machine {
  readonly clock: FakeClock
  readonly items: Map<string, string>
  readonly warnings: string[]
  readonly renewals: string[]
  readonly opened: { lock: number; source: number }
  /** The next answers of the source; the last one stays. */
  answer(...answers: Answer[]): void
  readonly fetches: number
  /** Ends processes from now on in the middle of a renewal, the server having done its part; `undefined` ends none. */
  cutShort(where: Cut | undefined): void
  /** Renewals that are left to other processes end at once, without a word. */
  endRenewals(): void
  /** Whether the store is `auto`'s to choose. */
  auto(chooses: boolean): void
  /** Each session that was revoked: refresh token, access token. */
  readonly revoked: string[]
  /** What revoking ends with. */
  failRevocation(error: TokctlError): void
  /** A manager as a process of its own has it. */
  manager(overrides?: Partial<Store>): Manager
  readonly dir: string
}

/** Where a process ends. */
export type Cut = 'before the answer' | 'after the answer'

/** Stands for the end of a process: nothing here foresees it, so nothing tidies up after it. */
export class CutShort extends Error {}

/** A lifetime in milliseconds, or what goes wrong; a function sees the request. */
export type Answer =
  | number
  | Error
  | Promise<number>
  | ((request: FetchRequest, n: number) => Promise<Token> | Token)

/** Makes a machine with nothing kept, whose source gives tokens of an hour. */
export function machine({ jitter = 0 } = {}): Machine {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-manager-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const environment = {
    env: { TOKCTL_STATE_DIR: dir },
    platform: process.platform,
    arch: process.arch,
    pid: process.pid,
    uid: process.geteuid?.(),
  } as unknown as Environment
  const clock = fakeClock()
  const items = new Map<string, string>()
  const answers: Answer[] = [60 * minute]
  const made = {
    warnings: [] as string[],
    renewals: [] as string[],
    auto: true,
    opened: { lock: 0, source: 0 },
    fetches: 0,
    revoked: [] as string[],
    revocation: undefined as TokctlError | undefined,
    ended: new Promise<void>(() => {}),
    cut: undefined as Cut | undefined,
  }

  const source: TokenSource = {
    async fetch(request) {
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!
      if (typeof answer === 'function') return renewed(request, () => answer(request, ++made.fetches))
      const n = ++made.fetches
      const lifetimeMs = await answer
      if (lifetimeMs instanceof Error) throw lifetimeMs
      const obtainedAt = clock.now()
      const token: Token = {
        accessToken: new Secret(`token-${n}`),
        tokenType: 'Bearer',
        scope: undefined,
        obtainedAt,
        expiresAt: obtainedAt + lifetimeMs,
        refreshToken: undefined,
      }
      return token
    },
    async readRenewal({ body, sentAt }, kept) {
      const found = JSON.parse(body)
      return {
        accessToken: new Secret(found.access_token),
        tokenType: 'Bearer',
        scope: undefined,
        obtainedAt: sentAt,
        expiresAt: found.expires_at,
        refreshToken: found.refresh_token === undefined ? kept.refreshToken : new Secret(found.refresh_token),
      }
    },
  }

  // What the token endpoint's client does around a request that uses up a refresh token.
  async function renewed(request: FetchRequest, ask: () => Promise<Token> | Token): Promise<Token> {
    const { renewal, kept } = request
    if (renewal === undefined || kept?.refreshToken === undefined) return ask()
    await renewal.intend({ refreshToken: kept.refreshToken, seed: kept.seed, dpopKey: kept.dpopKey })
    try {
      const sentAt = clock.now()
      renewal.sent()
      const token = await ask()
      if (made.cut === 'before the answer') throw new CutShort()
      const body = JSON.stringify({
        access_token: token.accessToken.expose(),
        refresh_token: token.refreshToken?.expose(),
        expires_at: token.expiresAt,
      })
      const when = { sentAt, receivedAt: clock.now() }
      renewal.answered({ from: 'the server', status: 200, headers: {}, body, ...when }, undefined)
      if (made.cut === 'after the answer') throw new CutShort()
      return token
    } catch (error) {
      if (error instanceof TokctlError && !isUnacknowledged(error)) renewal.untouched()
      throw error
    }
  }

  function isUnacknowledged({ code }: TokctlError): boolean {
    return code === 'network_error' || code === 'timeout' || code === 'invalid_response'
  }

  function manager(overrides: Partial<Store> = {}): Manager {
    const name = ({ kind, name }: StoreKey): string => `${kind}/${name}`
    const store: Store = {
      kind: 'file',
      shared: true,
      keepsRefreshTokens: true,
      get: async key => {
        const text = items.get(name(key))
        return text === undefined ? undefined : new Secret(text)
      },
      set: async (key, value) => void items.set(name(key), value.expose()),
      delete: async key => items.delete(name(key)),
      list: async () => [],
      close() {},
      ...overrides,
    }
    const dirs = stateDir(environment)
    return createManager({
      clock,
      outcomes: openOutcomes(dirs, process.pid),
      store: async () => store,
      choosesStore: () => made.auto,
      source: async () => {
        made.opened.source++
        return source
      },
      revoke: async (_, { accessToken, refreshToken }) => {
        made.revoked.push(`${refreshToken?.expose()} ${accessToken?.expose()}`)
        if (made.revocation !== undefined) throw made.revocation
      },
      lock: async () => {
        made.opened.lock++
        return createLock(kernelLock(lockCalls, false), dirs, clock, process.pid)
      },
      timing: profile => ({
        refreshBeforeMs: profile.refresh_before_ms,
        minValidityMs: profile.min_validity_ms,
        jitter: () => jitter,
      }),
      renewLater: async profile => {
        made.renewals.push(profile.name)
        return { ended: made.ended }
      },
      journal: async () => openJournal(dirs, environment),
      newEtag: async () => randomUUID(),
      digest: async secret => createHash('sha256').update(secret.expose()).digest('hex'),
      notices: {
        warn: message => made.warnings.push(message),
        trace() {},
        hold: () => () => {},
        waiting() {},
        onMiss() {},
      },
    })
  }

  return {
    clock,
    items,
    dir,
    manager,
    warnings: made.warnings,
    renewals: made.renewals,
    opened: made.opened,
    answer: (...next) => void answers.splice(0, answers.length, ...next),
    revoked: made.revoked,
    failRevocation(error) {
      made.revocation = error
    },
    cutShort(where) {
      made.cut = where
    },
    endRenewals() {
      made.ended = Promise.resolve()
    },
    auto(chooses) {
      made.auto = chooses
    },
    get fetches() {
      return made.fetches
    },
  }
}

/** The text of a token that is to come. */
export async function tokenOf(promise: Promise<Token>): Promise<string> {
  return (await promise).accessToken.expose()
}
