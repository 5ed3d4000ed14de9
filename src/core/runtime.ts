import type { DirectWire } from '../source/wire.ts'
import type { OpenSealed, Sealer } from '../store/seal-head.ts'
import type { OpenSocket } from '../store/socket.ts'
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
  /**
   * How it connects to the session bus; `undefined` where `node:net` does it.
   *
   * @param mayBlock - Whether a socket may hold up the whole process while it waits.
   */
  busSocket(platform: string, mayBlock: boolean): Promise<OpenSocket | undefined>
  /** Opens a sealed file without a module to load; `undefined` where that is no gain. */
  readonly openSealed: OpenSealed | undefined
  /** Seals one without a module to load; `undefined` where that is no gain. */
  readonly sealer: (() => Promise<Sealer>) | undefined
  /** Told by what stays and has much to do: compile it as early as the runtime would by itself. */
  compileSooner(): void
  /** HTTP without a proxy in between; `undefined` where `node:http` does it best. */
  readonly directWire: DirectWire | undefined
  /** Keeps compiled code for the next start; called where more than a cached token was served. */
  saveCodeCache(): void
}
