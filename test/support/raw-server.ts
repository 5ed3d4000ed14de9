import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

/** What came in on one connection: everything up to the end of the body that Content-Length tells. */
export interface RawRequest {
  readonly text: string
  readonly socket: Socket
}

/** A server that answers literal bytes, so that it can say what no HTTP library would. */
export interface RawServer {
  readonly port: number
  readonly requests: readonly string[]
  /** Resolves with the next request that arrives from now on. */
  arrived(): Promise<void>
  /** Cuts every connection off. */
  reset(): void
  close(): Promise<void>
}

/** @param answer - Bytes to send before the connection is ended, or a function that does what it likes with the socket. */
export async function startRawServer(
  answer: string | Uint8Array | ((request: RawRequest) => void),
  tls?: TlsOptions,
): Promise<RawServer> {
  const sockets = new Set<Socket>()
  const connections = new Set<Socket>()
  const requests: string[] = []
  const waiting: (() => void)[] = []
  const serve = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let text = ''
    let done = false
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (done || !isWhole(text)) return
      done = true
      requests.push(text)
      for (const wake of waiting.splice(0)) wake()
      if (typeof answer === 'function') answer({ text, socket })
      else socket.end(answer)
    })
  }
  const server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve)
  server.on('connection', (socket: Socket) => connections.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    arrived: () => new Promise(resolve => waiting.push(resolve)),
    reset: () => {
      for (const connection of connections) connection.resetAndDestroy()
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return false
  const length = Number(/^content-length: *(\d+)/im.exec(text.slice(0, end))?.[1] ?? 0)
  return text.length >= end + 4 + length
}

/** One answer as bytes; Content-Length is right unless the headers bring their own. */
export function rawAnswer(
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string | Uint8Array = '',
): Uint8Array {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const all = { 'Content-Length': String(bytes.length), ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} Said\r\n${lines.join('')}\r\n`), bytes])
}
