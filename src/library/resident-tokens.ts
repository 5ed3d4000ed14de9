import { statSync } from 'node:fs'
import { type App, timingOf } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { defaultTimeoutMs, type Manager } from '../core/manager.ts'
import { fileStem } from '../core/state-dir.ts'
import type { ResidentClock } from '../core/time.ts'
import { configFile } from '../profile/load.ts'
import type { FunctionProfile, Profile } from '../profile/profile.ts'
import { createTokenCache, type TokenCache } from './token-cache.ts'

/** What a process that stays stands on. */
export interface ResidentOptions {
  readonly app: App
  readonly environment: Environment
  readonly clock: ResidentClock
  readonly configFlag: string | undefined
  /** One line, about a token that is served although something went wrong. */
  warn(message: string): void
  /** Milliseconds that a call may wait. */
  readonly timeoutMs?: number | undefined
  /** Keys that are functions of this program, and what serves them. */
  readonly functions?: Functions
}

/** Keys that stand in no configuration. */
export interface Functions {
  profile(name: string): FunctionProfile | undefined
  readonly manager: Manager
}

/** The tokens of all profiles, in memory in front of the manager. */
export function residentTokens(options: ResidentOptions): TokenCache {
  const { app, environment, clock, configFlag, warn, timeoutMs = defaultTimeoutMs, functions } = options
  const config = configFile(environment, configFlag).path
  return createTokenCache({
    clock,
    timeoutMs,
    warn,
    async profile(name): Promise<Profile> {
      return functions?.profile(name) ?? app.profile(name)
    },
    managerOf: profile => (profile.source === 'function' ? functions!.manager : app.manager),
    timing: profile => timingOf(profile, environment),
    stamp(name) {
      if (functions?.profile(name) !== undefined) return { config: '', outcome: '' }
      const outcome = app.stateDir.file('outcomes', `${fileStem(name)}.json`)
      return { config: stampOf(config), outcome: stampOf(outcome) }
    },
    outcome: name => app.outcomes.read(name),
  })
}

/** Names the state of a file without reading it: one that is replaced has another inode, one written in place another time. */
export function stampOf(path: string): string {
  try {
    const { ino, size, mtimeNs } = statSync(path, { bigint: true })
    return `${ino} ${size} ${mtimeNs}`
  } catch {
    return 'none'
  }
}
