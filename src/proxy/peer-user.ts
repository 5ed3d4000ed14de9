import { readFileSync } from 'node:fs'

/** The two ends of a TCP connection on this machine, as the server sees them. */
export interface Ends {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
}

/**
 * Finds whose socket the other end of a loopback connection is.
 *
 * @param read - Reads a file of `/proc/net`.
 * @returns The numeric user; `undefined` where the kernel does not say: another system, or a socket that is gone.
 * @see proc_net_tcp(5)
 */
export function peerUser(ends: Ends, read: (path: string) => string = readProc): number | undefined {
  const isV6 = ends.remoteAddress.includes(':')
  let table: string
  try {
    table = read(isV6 ? '/proc/net/tcp6' : '/proc/net/tcp')
  } catch {
    return undefined
  }
  // In the table of sockets the client's end is "local" where ours is "remote".
  const wanted = `${socketText(ends.remoteAddress, ends.remotePort)} ${socketText(ends.localAddress, ends.localPort)}`
  const at = table.indexOf(wanted)
  if (at < 0) return undefined
  const [state, , , , user] = table
    .slice(at + wanted.length, table.indexOf('\n', at))
    .trim()
    .split(/\s+/)
  // TIME_WAIT and the like belong to nobody any more, and are listed as root's.
  return state === '01' && user !== undefined ? Number(user) : undefined
}

function readProc(path: string): string {
  return readFileSync(path, 'latin1')
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
