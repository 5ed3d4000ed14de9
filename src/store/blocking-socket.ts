import { dlopen, ptr, read } from 'bun:ffi'
import type { OpenSocket, Socket, SocketEvents } from './socket.ts'

// A hit asks the bus three times and has nothing else to do meanwhile. What an event loop wants for that, `node:net` and its
// threads, takes the one file as long as all the rest of a hit; the system's own calls take next to nothing.

/** Of Linux, on all its processors that matter here. */
const unixStream = { family: 1, type: 1 | 0o2000000 }
/** SOL_SOCKET and SO_SNDTIMEO, which holds for connect(2) as well, and where 0 is no limit. */
const sendTimeout = [1, 21] as const
const leastWaitMs = 1
const nonBlocking = 0o4000
const [pollIn, pollOut] = [1, 4]
/** MSG_DONTWAIT, MSG_NOSIGNAL. */
const [withoutWaiting, withoutSignal] = [0x40, 0x4000]
const addressBytes = 110
const chunkBytes = 16_384
const errorNames: { readonly [errno: number]: string } = {
  1: 'EPERM',
  2: 'ENOENT',
  4: 'EINTR',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  20: 'ENOTDIR',
  23: 'ENFILE',
  24: 'EMFILE',
  40: 'ELOOP',
  91: 'EPROTOTYPE',
  97: 'EAFNOSUPPORT',
  104: 'ECONNRESET',
  105: 'ENOBUFS',
  111: 'ECONNREFUSED',
}

/**
 * Sockets by the system's own calls, which hold up the whole process while they wait.
 *
 * @returns `undefined` where there is no such C library: musl, and any system but Linux.
 */
export function blockingSockets(platform: string): OpenSocket | undefined {
  const calls = loadOn(platform)
  return calls && ((path, events, leftMs) => connect(calls, path, events, leftMs))
}

/**
 * Why a socket takes no connection, as the system tells it by its own call.
 *
 * @returns Its code, such as `EAGAIN`; `undefined` where it takes one, and `unknown` where that call cannot be made.
 */
export function connectFailure(platform: string, path: string): string | undefined {
  const calls = loadOn(platform)
  if (calls === undefined) return 'unknown'
  try {
    calls.close(connected(calls, path, () => 0))
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

type Calls = ReturnType<typeof load>

function loadOn(platform: string): Calls | undefined {
  if (platform !== 'linux') return undefined
  try {
    return load()
  } catch {
    return undefined
  }
}

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

function connect(calls: Calls, path: string, events: SocketEvents, leftMs: () => number): Socket {
  let fd = connected(calls, path, leftMs)
  let unsent: Uint8Array = new Uint8Array(0)

  function send(): void {
    while (fd >= 0 && unsent.length > 0) {
      const sent = calls.send(fd, ptr(unsent), unsent.length, withoutSignal | withoutWaiting)
      unsent = unsent.subarray(Math.max(0, sent))
      if (sent >= 0) continue
      const code = lastCode(calls)
      if (code === 'EAGAIN') return
      if (code !== 'EINTR') events.ended()
    }
  }

  function receive(): boolean {
    const chunk = Buffer.allocUnsafeSlow(chunkBytes)
    const received = calls.recv(fd, ptr(chunk), chunk.length, withoutWaiting)
    if (received < 0 && /^(EAGAIN|EINTR)$/.test(lastCode(calls))) return false
    if (received <= 0) events.ended()
    else events.received(chunk.subarray(0, received))
    return true
  }

  return {
    write(data) {
      unsent = unsent.length === 0 ? data : Buffer.concat([unsent, data])
      send()
    },
    wait(ms) {
      const asked = Buffer.alloc(8)
      asked.writeInt32LE(fd, 0)
      asked.writeInt16LE(unsent.length === 0 ? pollIn : pollIn | pollOut, 4)
      // A signal ends the waiting as well; whoever waits looks at the clock and comes again.
      if (fd < 0 || calls.poll(ptr(asked), 1, Math.ceil(ms)) <= 0) return false
      if (unsent.length > 0) send()
      return fd >= 0 && receive()
    },
    close() {
      if (fd >= 0) calls.close(fd)
      fd = -1
    },
  }
}

/** The descriptor of a socket that is connected. */
function connected(calls: Calls, path: string, leftMs: () => number): number {
  // struct sockaddr_un; an abstract name is as long as the address says, a path ends with NUL.
  const name = Buffer.from(path)
  if (name.length > addressBytes - 3) throw failure('ENAMETOOLONG')
  const address = Buffer.alloc(addressBytes)
  address.writeUInt16LE(unixStream.family, 0)
  address.set(name, 2)
  const length = path.startsWith('\0') ? 2 + name.length : addressBytes
  let ms = 0
  for (;;) {
    const fd = calls.socket(unixStream.family, ms > 0 ? unixStream.type : unixStream.type | nonBlocking, 0)
    if (fd < 0) throw failure(lastCode(calls))
    if (ms > 0) limit(calls, fd, ms)
    if (calls.connect(fd, ptr(address), length) === 0) return fd
    const code = lastCode(calls)
    calls.close(fd)
    if (code !== 'EAGAIN' && code !== 'EINTR') throw failure(code)
    // A crowd may fill the bus's queue for a moment: the system lets it in one by one, which asking again would not do.
    const left = leftMs()
    if (left < leastWaitMs || (code === 'EAGAIN' && ms > 0)) throw failure('EAGAIN')
    ms = left
  }
}

function limit(calls: Calls, fd: number, ms: number): void {
  // struct timeval
  const timeout = Buffer.alloc(16)
  timeout.writeUInt32LE(Math.floor(ms / 1000), 0)
  timeout.writeUInt32LE(Math.floor((ms % 1000) * 1000), 8)
  calls.setsockopt(fd, ...sendTimeout, ptr(timeout), timeout.length)
}

function lastCode(calls: Calls): string {
  const errno = read.i32(calls.__errno_location(), 0)
  return errorNames[errno] ?? `E${errno}`
}

function failure(code: string): Error {
  return Object.assign(new Error(`the socket cannot be reached (${code})`), { code })
}
