import type { LockCalls } from './lock.ts'

/** What runs this program: `node.ts` and `bun.ts` have one each, and nothing else asks which it is. */
export interface Runtime {
  /** Name and version. */
  readonly name: string
  /** The script to start another one with; `undefined` where the program is one file. */
  readonly script: string | undefined
  /** Whether its HTTP server can listen at a socket that was opened for it. */
  readonly takesOpenSockets: boolean
  /** The kernel's lock; `undefined` where there is no way to call it. */
  lockCalls(platform: string, arch: string): Promise<LockCalls | undefined>
  /** Keeps compiled code for the next start; called where more than a cached token was served. */
  saveCodeCache(): void
}
