import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { type StateDir, stateDir as stateDirOf } from '../../src/core/state-dir.ts'

/** A machine in little: an environment with a state directory of its own, removed when the test has finished. */
export function scratchState(
  env: Record<string, string> = {},
  platform: NodeJS.Platform = 'linux',
): { environment: Environment; stateDir: StateDir; path: string } {
  const home = mkdtempSync(join(tmpdir(), 'tokctl-state-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  const path = join(home, 'state')
  const environment: Environment = {
    env: { TOKCTL_STATE_DIR: path, ...env },
    platform,
    arch: process.arch,
    pid: process.pid,
    uid: process.getuid?.(),
    cwd: home,
    home,
    self: [],
  }
  return { environment, stateDir: stateDirOf(environment), path }
}
