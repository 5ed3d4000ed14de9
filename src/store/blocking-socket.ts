import { dlopen, ptr, read } from 'bun:ffi'
import type { OpenSocket, Socket, SocketEvents } from './socket.ts'

// A hit asks the bus three times and has nothing else to do meanwhile. What an event loop wants for that, `node:net` and its
// threads, takes the one file as long as all the rest of a hit; the system's own calls take next to nothing.

/** Of Linux, on all its processors that matter here. */
const unixStream = { family: 1, type: 1 | 0o2000000 }
/** SOL_SOCKET and SO_SNDTIMEO, which holds for connect(2) as well: a bus that takes no connection must not hold us. */
const sendTimeout = [1, 21] as const
const sendLimitS = 2
const pollIn = 1
/** MSG_DONTWAIT, MSG_NOSIGNAL. */
const [withoutWaiting, withoutSignal] = [0x40, 0x4000]
const addressBytes = 110
const chunkBytes = 16_384
const errorNames: { readonly [errno: number]: string } = {
  2: 'ENOENT',
  11: 'EAGAIN',
  13: 'EACCES',
  20: 'ENOTDIR',
  91: 'EPROTOTYPE',
  111: 'ECONNREFUSED',
}

/**
 * Sockets by the system's own calls, which hold up the whole process while they wait.
 *
 * @returns `undefined` where there is no such C library: musl, and any system but Linux.
 */
export function blockingSockets(platform: string): OpenSocket | undefined {
  if (platform !== 'linux') return undefined
  try {
    const calls = load()
    return (path, events) => connect(calls, path, events)
  } catch {
    return undefined
  }
}

type Calls = ReturnType<typeof load>

function load() {
  return dlopen('libc.so.6', {
    socket: { args: ['int', 'int', 'int'], returns: 'int' },
    setsockopt: { args: ['int', 'int', 'int', 'ptr', 'int'], returns: 'int' },
    connect: { args: ['int', 'ptr', 'int'], returns: 'int' },
    send: { args: ['int', 'ptr', 'usize', 'int'], returns: 'int' },
    recv: { args: ['int', 'ptr', 'usize', 'int'], returns: 'int' },
    poll: { args: ['ptr', 'usize', 'int'], returns: 'int' },
    close: { args: ['int'], returns: 'int' },
    __errno_location: { args: [], returns: 'ptr' },
  }).symbols
}

function connect(calls: Calls, path: string, events: SocketEvents): Socket {
  // struct sockaddr_un; an abstract name is as long as the address says, a path ends with NUL.
  const name = Buffer.from(path)
  if (name.length > addressBytes - 3) throw failure('ENAMETOOLONG')
  const address = Buffer.alloc(addressBytes)
  address.writeUInt16LE(unixStream.family, 0)
  address.set(name, 2)
  let fd = calls.socket(unixStream.family, unixStream.type, 0)
  const timeout = Buffer.alloc(16)
  timeout.writeUInt32LE(sendLimitS, 0)
  calls.setsockopt(fd, ...sendTimeout, ptr(timeout), timeout.length)
  const length = path.startsWith('\0') ? 2 + name.length : addressBytes
  if (calls.connect(fd, ptr(address), length) < 0) {
    const errno = read.i32(calls.__errno_location(), 0)
    close()
    throw failure(errorNames[errno] ?? `E${errno}`)
  }

  function close(): void {
    if (fd >= 0) calls.close(fd)
    fd = -1
  }

  return {
    write(data) {
      let written = 0
      while (fd >= 0 && written < data.length) {
        const rest = data.subarray(written)
        const sent = calls.send(fd, ptr(rest), rest.length, withoutSignal)
        if (sent <= 0) return events.ended()
        written += sent
      }
    },
    wait(ms) {
      const asked = Buffer.alloc(8)
      asked.writeInt32LE(fd, 0)
      asked.writeInt16LE(pollIn, 4)
      // A signal ends the waiting as well; whoever waits looks at the clock and comes again.
      if (fd < 0 || calls.poll(ptr(asked), 1, Math.ceil(ms)) <= 0) return false
      const chunk = Buffer.allocUnsafeSlow(chunkBytes)
      const received = calls.recv(fd, ptr(chunk), chunk.length, withoutWaiting)
      if (received <= 0) events.ended()
      else events.received(chunk.subarray(0, received))
      return true
    },
    close,
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`the socket cannot be reached (${code})`), { code })
}
