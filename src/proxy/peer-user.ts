import { readFile } from 'node:fs/promises'

/** The two ends of a TCP connection on this machine, as the server sees them. */
export interface Ends {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
}

/** Finds whose socket the other end of a loopback connection is: its numeric user, `undefined` where the kernel does not say. */
export type PeerLookup = (ends: Ends) => Promise<number | undefined>

/** Where Linux tells whose each connection is; with a 6 at its end for sockets of IPv6, which may be connected by IPv4. */
export const socketTable = '/proc/net/tcp'

/** A table is read in pieces, and a row may slip through between two: it is looked at so often before nobody is known. */
const looks = 3

/**
 * Makes the look-up. The kernel writes the table of all sockets for each reading, which takes it milliseconds: one reading,
 * beside the event loop, serves all connections that wait when it begins. A socket of IPv6 that is connected by IPv4 is in the
 * table of IPv6 alone, by its mapped address (RFC 4291 §2.5.5.2): that one is read for what is not in the other.
 *
 * @param read - Reads a file of `/proc/net`.
 */
export function createPeerLookup(read: (path: string) => Promise<string> = readProc): PeerLookup {
  const v4 = lookIn(() => read(socketTable))
  const v6 = lookIn(() => read(`${socketTable}6`))
  return async given => {
    const ends = unmapped(given)
    const isV6 = ends.remoteAddress.includes(':')
    const places: [table: TableLookup, wanted: string][] = isV6
      ? [[v6, rowText(ends)]]
      : [
          [v4, rowText(ends)],
          [v6, mappedRowText(ends)],
        ]
    for (let look = 0; look < looks; look++) {
      let isTold = false
      for (const [table, wanted] of places) {
        const users = await table(wanted)
        const user = users?.get(wanted)
        if (user !== undefined) return user
        isTold ||= users !== undefined
      }
      if (!isTold) return undefined
    }
    return undefined
  }
}

type Users = ReadonlyMap<string, number>
type TableLookup = (wanted: string) => Promise<Users | undefined>

/** One reading at a time; whoever comes while it runs waits for the next, since this one may have passed its row. */
function lookIn(read: () => Promise<string>): TableLookup {
  let waiting: Set<string> | undefined
  let next: Promise<Users | undefined> | undefined
  let running: Promise<unknown> = Promise.resolve()
  return wanted => {
    if (next === undefined || waiting === undefined) {
      const all = new Set<string>()
      waiting = all
      next = running.then(async () => {
        next = undefined
        waiting = undefined
        try {
          return usersOf(await read(), all)
        } catch {
          return undefined
        }
      })
      running = next
    }
    waiting.add(wanted)
    return next
  }
}

/**
 * Finds users in a table of sockets.
 *
 * @param wanted - `rowText` of each connection.
 * @returns Those that are there and belong to somebody.
 * @see proc_net_tcp(5)
 */
export function usersOf(table: string, wanted: ReadonlySet<string>): Map<string, number> {
  const users = new Map<string, number>()
  for (let at = table.indexOf('\n') + 1; at > 0 && at < table.length && users.size < wanted.size; ) {
    const end = table.indexOf('\n', at)
    const line = table.slice(at, end < 0 ? table.length : end)
    at = end < 0 ? table.length : end + 1
    const from = line.indexOf(': ') + 2
    const text = line.slice(from, line.indexOf(' ', line.indexOf(' ', from) + 1))
    if (!wanted.has(text)) continue
    // state, queues, timer, retransmissions, user, timeout, inode
    const [, , , , user, , inode] = line
      .slice(from + text.length)
      .trim()
      .split(/\s+/)
    // What was closed, or waits for its time to pass, has no inode: it belongs to nobody, and is listed as root's.
    if (user !== undefined && inode !== undefined && inode !== '0') users.set(text, Number(user))
  }
  return users
}

/** How the other end of a connection stands in the table, where its end is "local" and ours is "remote". */
export function rowText({ localAddress, localPort, remoteAddress, remotePort }: Ends): string {
  return `${socketText(remoteAddress, remotePort)} ${socketText(localAddress, localPort)}`
}

function mappedRowText(ends: Ends): string {
  return rowText(ends).replace(/^| /g, '$&0000000000000000FFFF0000')
}

const mapped = /^::ffff:(?=[\d.]+$)/i

/** With addresses of IPv4 where a server of both tells them in the form of IPv6. */
function unmapped({ localAddress, remoteAddress, ...ports }: Ends): Ends {
  return {
    localAddress: localAddress.replace(mapped, ''),
    remoteAddress: remoteAddress.replace(mapped, ''),
    ...ports,
  }
}

function readProc(path: string): Promise<string> {
  return readFile(path, 'latin1')
}

function socketText(address: string, port: number): string {
  const bytes = address.includes(':') ? v6Bytes(address) : address.split('.').map(Number)
  let text = ''
  // Groups of four bytes, each written as a number in the machine's order; everything Node runs on is little-endian.
  for (let i = 0; i < bytes.length; i += 4) {
    for (let j = 3; j >= 0; j--) text += (bytes[i + j] ?? 0).toString(16).toUpperCase().padStart(2, '0')
  }
  return `${text}:${port.toString(16).toUpperCase().padStart(4, '0')}`
}

function v6Bytes(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map(word => Number.parseInt(word, 16))
  const first = words(head)
  const last = tail === undefined ? [] : words(tail)
  const middle = tail === undefined ? [] : Array<number>(8 - first.length - last.length).fill(0)
  return [...first, ...middle, ...last].flatMap(word => [word >> 8, word & 0xff])
}
