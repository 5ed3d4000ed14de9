import type { DirectWire } from '../../src/source/wire.ts'

/** HTTP as the runtime that runs this test sends it: what `node.ts` or `bun.ts` chooses. */
export const directWire: DirectWire | undefined =
  'bun' in process.versions ? (await import('../../src/source/send-by-socket.ts')).socketWire : undefined
