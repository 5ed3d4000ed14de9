import type { LockCalls } from '../../src/core/lock.ts'

/** The kernel's lock as the runtime that runs this test calls it: what `node.ts` or `bun.ts` chooses. */
export const lockCalls: LockCalls =
  'bun' in process.versions
    ? (await import('../../src/core/lock-calls.ts')).systemLockCalls(process.platform)!
    : (await import('../../src/core/lock-addon.ts')).loadLockAddon(process.platform, process.arch)!
