import { lstatSync, statSync } from 'node:fs'
import { DBusError, encodeMessage, Frames, type Message, type Value } from './dbus-codec.ts'
import type { OpenSocket, Socket, SocketEvents } from './socket.ts'

/** Where a bus listens; an abstract path starts with NUL. */
export interface BusAddress {
  readonly path: string
  readonly guid: string | undefined
}

/** What is asked of whom. */
export interface MethodCall {
  readonly destination: string
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly signature?: string
  readonly body?: Value[]
}

/** On whose behalf something is asked. */
export interface Caller {
  /** How many milliseconds are left to it; asked only where the socket blocks. */
  leftMs?(): number
}

/** One connection to a bus. */
export interface Bus {
  /**
   * Asks on behalf of a caller; all that is asked in the same turn goes out in one write.
   *
   * @throws {DBusError}, or the reason for which the caller was made to leave
   */
  call(call: MethodCall, caller: Caller): Promise<Message>
  /** Rejects all that this caller waits for, at once; late answers are dropped and others served on. */
  // Not an AbortSignal: the first one with a listener costs a process as much as half a question to the bus.
  leave(caller: Caller, reason: unknown): void
  /** Ends the connection; whoever still waits gets `closed`. */
  close(): void
}

/**
 * Reads addresses such as `unix:path=/run/user/1000/bus;unix:abstract=/tmp/x,guid=0f…`; leaves out all that are not unix sockets.
 *
 * @see D-Bus specification, "Server Addresses"
 */
export function parseAddresses(text: string, runtimeDir: string | undefined): BusAddress[] {
  const addresses: BusAddress[] = []
  for (const address of text.split(';')) {
    const { path, abstract, runtime, guid } = valuesOf(address)
    const found =
      path || (abstract && `\0${abstract}`) || (runtime === 'yes' && runtimeDir ? `${runtimeDir}/bus` : '')
    if (found) addresses.push({ path: found, guid: guid || undefined })
  }
  return addresses
}

function valuesOf(address: string): { readonly [key: string]: string } {
  const values: { [key: string]: string } = {}
  if (!address.startsWith('unix:')) return values
  try {
    for (const pair of address.slice('unix:'.length).split(',')) {
      const at = pair.indexOf('=')
      const value = pair.slice(at + 1)
      if (at > 0) values[pair.slice(0, at)] ??= value.includes('%') ? decodeURIComponent(value) : value
    }
    return values
  } catch {
    return {}
  }
}

// Whoever listens is given secrets, and EXTERNAL tells the server who we are, not us who it is. So a socket file must belong
// to us or to root. An abstract name is anybody's once its bus has ended, so there the server must know the guid, which a
// bus tells only to those whom it lets in: this user.
function refuseForeign({ path, guid }: BusAddress, uid: number | undefined): void {
  if (path.startsWith('\0')) {
    if (guid === undefined) throw new DBusError('unsafe', `${path.slice(1)} comes without a guid`)
  } else if (isForeign(lstatSync(path).uid, uid) || isForeign(statSync(path).uid, uid)) {
    throw new DBusError('unsafe', `${path} belongs to another user`)
  }
}

function isForeign(owner: number, uid: number | undefined): boolean {
  return owner !== 0 && owner !== uid
}

interface Waiter {
  readonly caller?: Caller
  resolve(reply: Message): void
  reject(error: unknown): void
}

/** The bus itself, as somebody to ask. */
export const driver = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
}

/** Codes of an address where nobody listens. Any other leaves open that a bus is there. */
const absent = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ECONNREFUSED', 'EPROTOTYPE', 'ENOTSOCK'])
const forbidden = new Set(['EACCES', 'EPERM'])
const exhausted = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'])

/** Whether the other side took the connection and threw it away. */
function isReset({ code }: NodeJS.ErrnoException): boolean {
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** Why an address gives no connection. */
function unconnected(error: NodeJS.ErrnoException, path: string): DBusError {
  if (error instanceof DBusError) return error
  const { code = 'error' } = error
  if (absent.has(code)) return new DBusError('unreachable', `${path} (${code})`)
  if (code === 'EAGAIN') return new DBusError('closed', 'the bus takes no more connections')
  if (forbidden.has(code))
    return new DBusError('refused', `the session bus may not be used, ${path} (${code})`)
  if (exhausted.has(code))
    return new DBusError('exhausted', `nothing is left for a connection to the session bus (${code})`)
  return new DBusError('closed', `the session bus cannot be reached, ${path} (${code})`)
}

/**
 * Opens a connection to the first address where somebody listens; it may be used at once.
 *
 * @param opener - In whose time that happens.
 */
export function openBus(
  addresses: readonly BusAddress[],
  uid: number | undefined,
  openSocket: OpenSocket,
  opener: Caller = {},
): Bus {
  const waiting = new Map<number, Waiter>()
  const frames = new Frames()
  let serial = 0
  let failure: unknown
  let socket: Socket | undefined
  let isOpen = false
  let greeting = ''
  let isGreeted = false
  // The identity is left out: the server takes the one that the socket tells, which is right in a user namespace as well.
  let unsent: Uint8Array[] = [Buffer.from('\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n')]
  send({ ...driver, member: 'Hello' }, { resolve() {}, reject: fail })
  tryNext(addresses, new DBusError('unreachable', 'no address of a unix socket'))

  function tryNext([address, ...others]: readonly BusAddress[], previous: DBusError): void {
    if (address === undefined) fail(previous)
    if (address === undefined || failure !== undefined) return
    // There is no bus only where that is so of every address.
    const next = (error: Error): void =>
      tryNext(others, previous.kind === 'unreachable' ? unconnected(error, address.path) : previous)
    const lost = new DBusError('closed', 'the bus closed the connection')
    const events: SocketEvents = {
      opened() {
        isOpen = true
        flush()
      },
      received: data => receive(data, address.guid),
      // Bun tells the end of a connection before its beginning, where both come at once.
      failed: error => (isOpen || isReset(error) ? fail(lost) : next(error)),
      ended: () => fail(lost),
    }
    try {
      refuseForeign(address, uid)
      socket = openSocket(address.path, events, () => (opener.leftMs?.() ?? 0) / (others.length + 1))
      if (socket.wait !== undefined) isOpen = true
    } catch (error) {
      next(error as Error)
    }
  }

  function send(call: MethodCall, waiter: Waiter): void {
    unsent.push(encodeMessage({ signature: '', body: [], ...call, type: 1, serial: ++serial }))
    waiting.set(serial, waiter)
    queueMicrotask(flush)
  }

  function flush(): void {
    if (!isOpen || failure !== undefined || unsent.length === 0) return
    socket?.write(unsent.length === 1 ? unsent[0]! : Buffer.concat(unsent))
    unsent = []
    // Where a socket blocks, nothing else is to be done meanwhile. Whose time has passed is told so by his own timer.
    for (let left = leftMs(); left > 0; left = leftMs()) socket?.wait?.(left)
  }

  /** For how long somebody waits on a socket that blocks. */
  function leftMs(): number {
    if (socket?.wait === undefined || failure !== undefined) return 0
    let left = 0
    for (const { caller } of waiting.values()) left = Math.max(left, caller?.leftMs?.() ?? 0)
    return left
  }

  function receive(data: Buffer, guid: string | undefined): void {
    try {
      for (const message of frames.push(isGreeted ? data : greet(data, guid))) settle(message)
    } catch (error) {
      fail(error)
    }
  }

  function greet(data: Buffer, guid: string | undefined): Buffer {
    greeting += data.toString('latin1')
    const from = greeting.startsWith('DATA') ? greeting.indexOf('\r\n') + 2 : 0
    const end = greeting.indexOf('\r\n', from)
    const line = end < 0 ? '' : greeting.slice(from, end)
    if (!line.startsWith('OK ')) {
      if (line !== '' || greeting.length > 1024) {
        throw new DBusError('refused', 'the bus does not let this user in')
      }
      return Buffer.alloc(0)
    }
    const told = line.slice('OK '.length).trimEnd()
    if (guid !== undefined && guid !== told) throw new DBusError('unsafe', 'another bus listens there')
    isGreeted = true
    return Buffer.from(greeting.slice(end + 2), 'latin1')
  }

  function settle(message: Message): void {
    const waiter = waiting.get(message.replySerial ?? 0)
    if (message.type === 2) waiter?.resolve(message)
    if (message.type === 3) waiter?.reject(new DBusError('answered', 'an error reply', message.errorName))
    if (message.type === 2 || message.type === 3) waiting.delete(message.replySerial ?? 0)
  }

  function fail(error: unknown): void {
    if (failure !== undefined) return
    failure = error
    socket?.close()
    abandon(error)
  }

  function abandon(reason: unknown, caller?: Caller): void {
    for (const [number, waiter] of waiting) {
      if (caller !== undefined && waiter.caller !== caller) continue
      waiting.delete(number)
      waiter.reject(reason)
    }
  }

  return {
    call: (call, caller) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) reject(failure)
        else send(call, { caller, resolve, reject })
      }),
    leave: (caller, reason) => abandon(reason, caller),
    close: () => fail(new DBusError('closed', 'the connection was closed')),
  }
}
