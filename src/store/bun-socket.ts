import { connectFailure } from './blocking-socket.ts'
import { netSocket } from './net-socket.ts'
import type { OpenSocket } from './socket.ts'

/**
 * Sockets with events for a runtime whose `node:net` calls most of what goes wrong ECONNREFUSED or ENOENT: a bus that is
 * busy, one that may not be entered, a process that has too many files open. There the system is asked once more.
 */
export function bunSockets(platform: string): OpenSocket {
  return (path, events) => {
    let isOpen = false
    return netSocket(path, {
      ...events,
      opened() {
        isOpen = true
        events.opened()
      },
      failed(error: NodeJS.ErrnoException) {
        if (isOpen || error.code === 'ECONNRESET') return events.failed(error)
        // One that takes connections now took none a moment ago.
        const code = connectFailure(platform, path) ?? 'EAGAIN'
        events.failed(Object.assign(new Error(`the socket cannot be reached (${code})`), { code }))
      },
    })
  }
}
