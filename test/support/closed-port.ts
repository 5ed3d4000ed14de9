import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { onTestFinished } from 'vitest'

/**
 * Keeps a port that nobody listens at as it is until the test has finished: the system would give it to the next server that
 * starts, of whatever test.
 */
export async function keepClosed(port: number): Promise<void> {
  // A connection that goes out from there takes it, and whoever connects to it is refused.
  const server = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as { port: number }
  const socket = connect({
    host: '127.0.0.1',
    port: address.port,
    localAddress: '127.0.0.1',
    localPort: port,
  })
  await once(socket, 'connect')
  onTestFinished(() => {
    socket.destroy()
    server.close()
  })
}
