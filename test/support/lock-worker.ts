import { closeSync, openSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../src/core/environment.ts'
import { linkLock } from '../../src/core/link-lock.ts'
import { createLock, kernelLock } from '../../src/core/lock.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import { systemClock } from '../../src/core/time.ts'
import { lockCalls } from './lock-calls.ts'

// A process that takes a lock and says so, one line a step; started by the lock's contract suite.
// `once`: enters, proves that it is alone, leaves. `hold`: enters and stays until a line comes on stdin.

const [mechanism, dir, key, mode, timeout] = process.argv.slice(2) as [
  string,
  string,
  string,
  'once' | 'hold',
  string,
]
const environment = {
  env: { TOKCTL_STATE_DIR: dir },
  platform: process.platform,
  arch: process.arch,
  pid: process.pid,
  uid: process.geteuid?.(),
} as unknown as Environment

const made = mechanism === 'kernel' ? kernelLock(lockCalls, false) : linkLock(systemClock, process.pid)
const lock = createLock(made, stateDir(environment), systemClock, process.pid)

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

let told = false
const result = await lock
  .withLock(
    key,
    {
      purpose: 'refresh',
      timeoutMs: Number(timeout),
      signal: undefined,
      onWait(holder) {
        if (!told) say(`waiting ${holder?.pid}`)
        told = true
      },
    },
    async () => {
      const inside = join(dir, `${key}.inside`)
      closeSync(openSync(inside, 'wx'))
      say('held')
      if (mode === 'hold') await new Promise(resolve => process.stdin.once('data', resolve))
      unlinkSync(inside)
    },
  )
  .catch(error => {
    say(`failed ${error.code}`)
    process.exit(1)
  })
say(result.kind === 'held' ? 'freed' : result.kind)
process.exit(0)
