import { netSocket } from '../../src/store/net-socket.ts'
import type { OpenSocket } from '../../src/store/socket.ts'

/** The ways to a bus that the runtime of this test has, as `node.ts` or `bun.ts` chooses among them. */
export const busSockets: readonly (readonly [name: string, open: OpenSocket])[] =
  'bun' in process.versions && process.platform === 'linux'
    ? [
        [
          'a socket with events',
          (await import('../../src/store/bun-socket.ts')).bunSockets(process.platform),
        ],
        [
          'a socket that blocks',
          (await import('../../src/store/blocking-socket.ts')).blockingSockets(process.platform)!,
        ],
      ]
    : [['a socket with events', netSocket]]
