import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { TokctlError } from './errors.ts'
import type { Lease, LeasePurpose } from './lease.ts'
import { readStateFile } from './read-file.ts'
import { shellWord } from './shell-word.ts'
import { fileStem, type StateDir } from './state-dir.ts'
import type { Clock } from './time.ts'

/** How long and how a caller waits for a lock. */
export interface LockWait {
  readonly purpose: LeasePurpose
  /** Milliseconds; 0 tries once. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Asked before each try: true ends the wait without the lock, because what it was wanted for has happened. */
  leave?(): boolean
  /** Leaves the lease as it was; the work writes it, or does not. */
  readonly keepLease?: boolean
  /** Told at failed tries, from the first moments on at most ten times a second. */
  onWait?(holder: Lease | undefined, waitedMs: number): void
}

/** What became of the wait. */
export type LockResult<T> =
  | { readonly kind: 'held'; readonly value: T }
  | { readonly kind: 'left' }
  | { readonly kind: 'timeout'; readonly holder: Lease | undefined }

/** One lock per key, for all processes of a user; free again when its holder dies, whatever it died of. */
export interface Lock {
  /** How it is made, in words. */
  readonly how: string
  /**
   * Waits for the lock and does the work while holding it.
   *
   * @param work - Gets the lease that was written last before this one, and what writes this one.
   * @throws {TokctlError} `state_dir_unsafe`; what the signal gives as its reason; whatever `work` throws
   */
  withLock<T>(
    key: string,
    wait: LockWait,
    work: (last: Lease | undefined, writeLease: () => void) => Promise<T>,
  ): Promise<LockResult<T>>
}

/** One way to take and free a lock on a path. The path itself is never deleted. */
export interface LockMechanism {
  readonly how: string
  /**
   * @returns `undefined` while somebody holds it.
   * @throws The system's error
   */
  tryLock(path: string): HeldLock | undefined
  /** The lease written last, whether or not it is still held; whoever takes the lock finds it until there is another one. */
  lastLease(path: string): Lease | undefined
}

/** A lock that is held. */
export interface HeldLock {
  /** Says for what it is held. Failing to is not an error: only nobody can tell then by whom. */
  writeLease(lease: Lease): void
  free(): void
}

/** Between two tries: whoever waits is late by as much, and sixty others try meanwhile. */
const longestPauseMs = 50
/** The holder is looked at again at every try of the first moments, and then so often. */
const [firstMs, tellingMs] = [50, 100]

/** Waits by polling: the kernel offers no wait that could be given up or timed out. */
export function createLock(mechanism: LockMechanism, stateDir: StateDir, clock: Clock, pid: number): Lock {
  return {
    how: mechanism.how,
    async withLock(key, wait, work) {
      const path = `${stateDir.ensure('locks')}/${fileStem(key)}.lock`
      const start = clock.monotonic()
      let pauseMs = 3
      let toldAtMs = 0
      for (;;) {
        wait.signal?.throwIfAborted()
        if (wait.leave?.()) return { kind: 'left' }
        const held = attempt(mechanism, path)
        if (held !== undefined) {
          const last = mechanism.lastLease(path)
          let lease: Lease | undefined
          const writeLease = (): void => {
            lease = { pid, purpose: wait.purpose, since: clock.now() }
            held.writeLease(lease)
          }
          try {
            if (wait.keepLease !== true) writeLease()
            return { kind: 'held', value: await work(last, writeLease) }
          } finally {
            // Until the next holder has written its own, nobody is to take this one for it.
            if (lease !== undefined) held.writeLease({ ...lease, released: true })
            held.free()
          }
        }
        const waitedMs = clock.monotonic() - start
        const isOver = waitedMs >= wait.timeoutMs
        if (isOver || waitedMs < firstMs || waitedMs - toldAtMs >= tellingMs) {
          toldAtMs = waitedMs
          const holder = holderOf(mechanism.lastLease(path))
          wait.onWait?.(holder, waitedMs)
          if (isOver) return { kind: 'timeout', holder }
        }
        // Spread out, so that sixty waiters do not knock at the same instant.
        await clock.sleep(
          Math.min(pauseMs * (0.5 + Math.random() / 2), wait.timeoutMs - waitedMs),
          wait.signal,
        )
        pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      }
    },
  }
}

function holderOf(lease: Lease | undefined): Lease | undefined {
  return lease?.released === true ? undefined : lease
}

function attempt(mechanism: LockMechanism, path: string): HeldLock | undefined {
  try {
    return mechanism.tryLock(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) throw error
    throw cannotLock((error as NodeJS.ErrnoException).path ?? path, code)
  }
}

const elsewhere = 'set TOKCTL_STATE_DIR to a directory'

function cannotLock(path: string, code: string): TokctlError {
  const word = shellWord(path)
  const directory = shellWord(dirname(path))
  const [what, hint] = troubles(word, directory)[code] ?? [
    `cannot be locked (${code})`,
    `${elsewhere} on a local disk`,
  ]
  return new TokctlError('state_dir_unsafe', `lock file ${path} ${what}`, { hint })
}

function troubles(word: string, directory: string): { readonly [code: string]: readonly [string, string] } {
  const mayNot = ['may not be written', `run: chmod -R u+rwX ${directory}`] as const
  const isFull = ['cannot be written: the disk is full', `see: df -h ${directory}`] as const
  return {
    ELOOP: ['is a link', `run: rm ${word}`],
    EISDIR: ['is a directory', `run: rm -r ${word}`],
    ENOTDIR: ['is in something that is not a directory', `run: rm ${directory}`],
    [notRegular]: ['is not a file', `run: rm -r ${word}`],
    [notOurs]: ['belongs to another user', `run: rm ${word}`],
    ENXIO: ['is not a file', `run: rm ${word}`],
    EACCES: mayNot,
    EPERM: mayNot,
    EROFS: ['is on a disk that cannot be written', `${elsewhere} that can be written`],
    ENOSPC: isFull,
    EDQUOT: isFull,
  }
}

/** Stands for a pipe or a device, which opens like a file. */
const notRegular = 'EFTYPE'
/** Stands for a file of another user, which opens for root, or where it is open to all. */
const notOurs = 'ENOTOURS'

/** What a mechanism throws where the path of a lock names no regular file. */
export function isNoFile(path: string): Error {
  return Object.assign(new Error('not a regular file'), { code: notRegular, path })
}

/** The kernel's calls, which JavaScript has no function for. An error has the system's `code`: `EAGAIN` while another holds it. */
export interface LockCalls {
  tryLock(fd: number, offset: number, length: number, exclusive: boolean): void
  unlock(fd: number, offset: number, length: number): void
}

/**
 * A lock of the kernel: F_OFD_SETLK on Linux, flock on macOS, LockFileEx on Windows.
 *
 * @param uid - Whose the lock files must be: another's could be held for ever.
 */
export function kernelLock(calls: LockCalls, isWindows: boolean, uid?: number): LockMechanism {
  // Windows locks are mandatory: the range lies behind the lease, so that others can read who holds it.
  const offset = isWindows ? 2 ** 30 : 0
  const length = isWindows ? 1 : 0
  return {
    how: "the kernel's own",
    tryLock(path) {
      // O_CLOEXEC is Node's default: a child never inherits the descriptor, so it cannot keep the lock alive.
      const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NONBLOCK ?? 0)
      const fd = openSync(path, flags | (constants.O_NOFOLLOW ?? 0), 0o600)
      try {
        const found = fstatSync(fd)
        if (!found.isFile()) throw isNoFile(path)
        if (uid !== undefined && found.uid !== uid)
          throw Object.assign(new Error('not ours'), { code: notOurs, path })
        calls.tryLock(fd, offset, length, true)
        // Somebody removed the file by hand since it was opened: the lock on it excludes nobody.
        if (!isWindows && !isStillAt(path, fd)) throw Object.assign(new Error(), { code: 'EAGAIN' })
      } catch (error) {
        closeSync(fd)
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined
        throw error
      }
      return {
        writeLease: lease => overwrite(fd, encodeLease(lease)),
        free() {
          try {
            calls.unlock(fd, offset, length)
          } finally {
            closeSync(fd)
          }
        },
      }
    },
    lastLease: path => readLease(path),
  }
}

function isStillAt(path: string, fd: number): boolean {
  try {
    return fstatSync(fd).ino === statSync(path).ino
  } catch {
    return false
  }
}

const leaseBytes = 128

function overwrite(fd: number, line: string): void {
  try {
    // One write of one length, so that a reader never sees half a line.
    writeSync(fd, line.padEnd(leaseBytes), 0)
  } catch {
    // A full disk: the lock holds all the same.
  }
}

/** Writes a lease as one line. */
export function encodeLease({ pid, purpose, since, released }: Lease): string {
  return `${JSON.stringify({ pid, purpose, since, released })}\n`
}

/** Reads a lease; `undefined` for anything that is none. */
export function readLease(path: string): Lease | undefined {
  try {
    const { pid, purpose, since, released } = JSON.parse(readStateFile(path) ?? '')
    if (!Number.isSafeInteger(pid) || typeof purpose !== 'string' || typeof since !== 'number')
      return undefined
    const lease: Lease = { pid, purpose: purpose as LeasePurpose, since }
    return released === true ? { ...lease, released } : lease
  } catch {
    return undefined
  }
}
