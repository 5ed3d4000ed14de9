import { main } from './main.ts'
import { openSealed } from './store/web-unseal.ts'

// The program as one file, with Bun in it: what differs from Node is chosen here and nowhere else.

void main({
  name: `bun ${process.versions['bun']}`,
  script: undefined,
  // It would listen at another one, at every address, without a word.
  takesOpenSockets: false,
  lockCalls: async platform =>
    platform === 'win32'
      ? (await import('./core/lock-embedded.ts')).embeddedLock()
      : (await import('./core/lock-calls.ts')).systemLockCalls(platform),
  busSocket: async (platform, mayBlock) =>
    (mayBlock ? (await import('./store/blocking-socket.ts')).blockingSockets(platform) : undefined) ??
    (await import('./store/bun-socket.ts')).bunSockets(platform),
  openSealed,
  sealer: async () => (await import('./store/web-seal.ts')).webSealer,
  // It was built to compile later than usual: what has ended after 15 ms is done sooner without.
  compileSooner: () => Bun.unsafe.setJITPolicy(1),
  directWire: async (...request) => (await import('./source/send-by-socket.ts')).socketWire(...request),
  // Its bytecode is in it.
  saveCodeCache() {},
})
