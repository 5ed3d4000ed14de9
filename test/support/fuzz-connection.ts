import type { Server } from 'node:http'
import { Duplex } from 'node:stream'

/** Gives a server these bytes as the first of a connection, and reads nothing of what it says; done when it returns. */
export function feedConnection(server: Server, bytes: Buffer): void {
  const socket = new Duplex({
    read() {},
    write(_, __, done) {
      done()
    },
  })
  server.emit('connection', socket)
  socket.emit('data', bytes)
  socket.destroy()
}
