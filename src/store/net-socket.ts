import { connect } from 'node:net'
import type { Socket, SocketEvents } from './socket.ts'

/** A socket whose events come while others do their work. */
export function netSocket(path: string, events: SocketEvents): Socket {
  const socket = connect({ path })
  socket.on('connect', events.opened)
  socket.on('data', events.received)
  socket.on('error', events.failed)
  socket.on('end', events.ended)
  return {
    write: data => void socket.write(data),
    close: () => void socket.destroy(),
  }
}
