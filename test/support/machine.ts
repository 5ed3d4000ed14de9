import { createHash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import type { TokctlError } from '../../src/core/errors.ts'
import { createLock, kernelLock, loadLockAddon } from '../../src/core/lock.ts'
import { createManager, type Manager } from '../../src/core/manager.ts'
import { openOutcomes } from '../../src/core/outcome.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import type { Token } from '../../src/core/token.ts'
import type { CommandProfile } from '../../src/profile/profile.ts'
import type { FetchRequest, TokenSource } from '../../src/source/source.ts'
import type { Store, StoreKey } from '../../src/store/store.ts'
import { type FakeClock, fakeClock } from './clock.ts'

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

/** A lifetime in milliseconds, or what goes wrong; a function sees the request. */
export type Answer =
  | number
  | Error
  | Promise<number>
  | ((request: FetchRequest, n: number) => Promise<Token> | Token)

/** Makes a machine with nothing kept, whose source gives tokens of an hour. */
export function machine(): Machine {
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
  }

  const source: TokenSource = {
    async fetch(request) {
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!
      const n = ++made.fetches
      if (typeof answer === 'function') return answer(request, n)
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
        return createLock(kernelLock(loadLockAddon(environment)!, false), dirs, clock, process.pid)
      },
      timing: profile => ({
        refreshBeforeMs: profile.refresh_before_ms,
        minValidityMs: profile.min_validity_ms,
        jitter: () => 0,
      }),
      renewLater: async profile => void made.renewals.push(profile.name),
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
