import type { Environment } from '../../src/core/environment.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { type StateDir, stateDir } from '../../src/core/state-dir.ts'
import { type Scratch, scratch } from './run.ts'

/** A home with the environment that a process in it would have. */
export interface ConfigHome extends Scratch {
  readonly environment: Environment
  readonly state: StateDir
  /** The same home under another environment. */
  with(changes: Partial<Environment>): ConfigHome
}

/** Makes a home for loading configurations in this very process. */
export function configHome(env: Environment['env'] = {}): ConfigHome {
  const at = scratch()
  const uid = process.getuid?.()
  return around(at, {
    env: { HOME: at.home, TOKCTL_STATE_DIR: at.stateDir, ...env },
    platform: process.platform,
    arch: process.arch,
    pid: process.pid,
    uid,
    cwd: at.path,
    home: at.home,
    self: [],
  })
}

function around(at: Scratch, environment: Environment): ConfigHome {
  return {
    ...at,
    environment,
    state: stateDir(environment),
    with: changes => around(at, { ...environment, ...changes }),
  }
}

/** The failure of a call that has to fail as foreseen. */
export async function failureOf(call: () => unknown): Promise<TokctlError> {
  let given: unknown
  try {
    given = await call()
  } catch (error) {
    if (error instanceof TokctlError) return error
    throw error
  }
  throw new Error(`expected a TokctlError, got ${JSON.stringify(given)}`)
}
