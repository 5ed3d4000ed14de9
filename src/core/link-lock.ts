import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import type { Lease } from './lease.ts'
import { isNoFile, type LockMechanism } from './lock.ts'
import { readRegularFile } from './read-file.ts'
import type { Clock, EpochMs } from './time.ts'

// The lock where the addon has no binary (musl, 32-bit ARM): files numbered by generation, each made with link(2), which
// succeeds for one process only. The highest number says who holds the lock; a released or dead holder is followed by
// the next number. The highest file is never removed, so whoever links a number late sees a higher one and steps back.

/** Which process this is, in a way that outlives a reused process id. */
interface Owner {
  readonly host: string
  readonly boot: string
  readonly pid: number
  /** Clock ticks since boot; empty where the system does not tell. */
  readonly started: string
}

/** What a generation's file holds. It is linked or renamed whole, so it is never seen half written. */
interface Content {
  readonly owner: Owner
  readonly released: boolean
  readonly lease: Lease | undefined
  readonly at: EpochMs
}

/** A holder on another host, or on a system without /proc, cannot be asked whether it lives: it is believed for this long. */
const foreignLeaseMs = 600_000

const maxBytes = 65_536

let counter = 0

/** A lock made with link(2). Same promises as the kernel's, a little slower. */
export function linkLock(clock: Clock, pid: number): LockMechanism {
  const owner = ownerOf(pid)

  function write(path: string, content: Content): string {
    const temporary = `${path}.${pid}.${counter++}.tmp`
    try {
      const fd = openSync(temporary, 'wx', 0o600)
      try {
        writeFileSync(fd, `${JSON.stringify(content)}\n`)
        // Or a crash of the machine leaves a generation that names no holder.
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
    } catch (error) {
      remove(temporary)
      throw error
    }
    return temporary
  }

  function replace(file: string, path: string, content: Content): void {
    const temporary = write(path, content)
    try {
      renameSync(temporary, file)
    } catch (error) {
      remove(temporary)
      throw error
    }
  }

  return {
    how: 'made with link(2)',
    tryLock(path) {
      const current = highest(path)
      if (current > 0 && isHeld(fileOf(path, current), clock)) return undefined
      const mine = current + 1
      const content: Content = {
        owner,
        released: false,
        lease: leaseIn(fileOf(path, current)),
        at: clock.now(),
      }
      const unique = write(path, content)
      try {
        linkSync(unique, fileOf(path, mine))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
        throw error
      } finally {
        unlinkSync(unique)
      }
      if (highest(path) > mine) {
        remove(fileOf(path, mine))
        return undefined
      }
      for (const generation of generations(path)) if (generation < mine) remove(fileOf(path, generation))
      let lease = content.lease
      return {
        writeLease(next) {
          lease = next
          try {
            replace(fileOf(path, mine), path, { ...content, lease })
          } catch {
            // A full disk: the lock holds all the same.
          }
        },
        free() {
          try {
            replace(fileOf(path, mine), path, { ...content, lease, released: true })
          } catch {
            // An empty one is held by nobody, and takes no room on a full disk.
            truncateSync(fileOf(path, mine))
          }
        },
      }
    },
    lastLease(path) {
      try {
        return leaseIn(fileOf(path, highest(path)))
      } catch {
        return undefined
      }
    },
  }
}

function fileOf(path: string, generation: number): string {
  return `${path}.${generation}`
}

function generations(path: string): number[] {
  const prefix = `${basename(path)}.`
  return readdirSync(dirname(path))
    .filter(name => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map(name => Number(name.slice(prefix.length)))
}

function highest(path: string): number {
  return Math.max(0, ...generations(path))
}

function isHeld(file: string, clock: Clock): boolean {
  const content = readContent(file)
  // The holder of a later generation cleaned up, so look again.
  if (content === 'gone') return true
  // Torn by a crash: whoever wrote it is no more, since a living holder's is whole.
  if (content === undefined || content.released) return false
  const found = content.owner
  const here = ownerOf(found.pid)
  if (found.host !== here.host || here.boot === '') return clock.now() - content.at < foreignLeaseMs
  return found.boot === here.boot && here.started !== '' && found.started === here.started
}

function leaseIn(file: string): Lease | undefined {
  const content = readContent(file)
  return content === 'gone' ? undefined : content?.lease
}

function readContent(file: string): Content | 'gone' | undefined {
  const found = readRegularFile(file, maxBytes, constants.O_NOFOLLOW ?? 0)
  if ('failure' in found) {
    if (found.failure === 'missing') return 'gone'
    if (found.failure === 'too_large') return undefined
    if (found.failure === 'not_regular') throw isNoFile(file)
    throw Object.assign(new Error('cannot be read'), { code: found.code, path: file })
  }
  try {
    const content = JSON.parse(found.bytes.toString('utf8'))
    return typeof content?.owner?.pid === 'number' ? content : undefined
  } catch {
    return undefined
  }
}

function ownerOf(pid: number): Owner {
  return {
    host: hostname(),
    boot: read('/proc/sys/kernel/random/boot_id').trim(),
    pid,
    started: startTime(pid),
  }
}

function startTime(pid: number): string {
  // Field 22 of proc_pid_stat(5), counted behind the command name, which may hold spaces and parentheses.
  const stat = read(join('/proc', String(pid), 'stat'))
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie holds nothing any more.
  return fields[0] === 'Z' ? 'ended' : (fields[19] ?? '')
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function remove(file: string): void {
  try {
    unlinkSync(file)
  } catch {}
}
