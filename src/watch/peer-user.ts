import { readFileSync } from 'node:fs'

/** One end of a TCP connection. */
export interface TcpEnd {
  readonly address: string
  readonly port: number
}

/**
 * Tells which user a loopback connection comes from, by the kernel's table of sockets.
 *
 * @param client - The other side's end, as we see it.
 * @param server - Our own end.
 * @returns `undefined` where it cannot be told: not Linux, or the connection is gone.
 */
export function peerUser(client: TcpEnd, server: TcpEnd): number | undefined {
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let text: string
    try {
      text = readFileSync(file, 'latin1')
    } catch {
      continue
    }
    for (const line of text.split('\n')) {
      const [, local = '', remote = '', , , , , uid] = line.trim().split(/\s+/)
      if (isEnd(local, client) && isEnd(remote, server)) return Number(uid)
    }
  }
  return undefined
}

function isEnd(shown: string, { address, port }: TcpEnd): boolean {
  const [hex = '', hexPort = ''] = shown.split(':')
  return Number.parseInt(hexPort, 16) === port && addressOf(hex) === address
}

// Words of four bytes, each as this processor keeps it: those that Node runs on keep the lowest byte first.
function addressOf(hex: string): string | undefined {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap(word => Buffer.from(word, 'hex').reverse().toJSON().data)
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.length !== 16) return undefined
  if (bytes.slice(0, 15).every(byte => byte === 0) && bytes[15] === 1) return '::1'
  const isMapped = bytes.slice(0, 10).every(byte => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  return isMapped ? bytes.slice(12).join('.') : undefined
}
