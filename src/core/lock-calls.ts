import { dlopen, ptr, read } from 'bun:ffi'
import { constants } from 'node:os'
import type { LockCalls } from './lock.ts'

// The system's calls themselves, for the one-file program: its runtime cannot load what fs-native-extensions calls of libuv.
// They are the same calls, so that both programs exclude each other.

/** F_OFD_SETLK of fcntl(2): the lock belongs to the open file, not to the process. */
const setOpenFileLock = 37
const [writeLock, unlock] = [1, 2]
/** Of flock(2). */
const [exclusively, withoutWaiting, free] = [2, 4, 8]

/**
 * The kernel's lock by its own calls: fcntl on Linux, flock on macOS.
 *
 * @returns `undefined` where there is no such C library: musl, where fs-native-extensions has no binary either.
 */
export function systemLockCalls(platform: string): LockCalls | undefined {
  try {
    return platform === 'darwin' ? withFlock() : withFcntl()
  } catch {
    return undefined
  }
}

function withFcntl(): LockCalls {
  const { symbols } = dlopen('libc.so.6', {
    fcntl: { args: ['int', 'int', 'ptr'], returns: 'int' },
    __errno_location: { args: [], returns: 'ptr' },
  })
  const set = (fd: number, type: number, offset: number, length: number): void => {
    // struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
    const range = Buffer.alloc(32)
    range.writeInt16LE(type, 0)
    range.writeBigInt64LE(BigInt(offset), 8)
    range.writeBigInt64LE(BigInt(length), 16)
    if (symbols.fcntl(fd, setOpenFileLock, ptr(range)) < 0)
      throw failure(read.i32(symbols.__errno_location(), 0))
  }
  return {
    tryLock: (fd, offset, length) => set(fd, writeLock, offset, length),
    unlock: (fd, offset, length) => set(fd, unlock, offset, length),
  }
}

function withFlock(): LockCalls {
  const { symbols } = dlopen('libSystem.B.dylib', {
    flock: { args: ['int', 'int'], returns: 'int' },
    __error: { args: [], returns: 'ptr' },
  })
  const set = (fd: number, operation: number): void => {
    if (symbols.flock(fd, operation) < 0) throw failure(read.i32(symbols.__error(), 0))
  }
  return {
    tryLock: fd => set(fd, exclusively | withoutWaiting),
    unlock: fd => set(fd, free),
  }
}

function failure(errno: number): Error {
  // EAGAIN has a second name, and Linux one errno for both.
  const name = errno === constants.errno.EAGAIN ? 'EAGAIN' : nameOf(errno)
  return Object.assign(new Error(`the file cannot be locked (${name})`), { code: name, errno })
}

function nameOf(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `E${errno}`
}
