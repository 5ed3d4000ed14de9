import { lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'

/** A child of a dead process may still be about to open what that one made. */
const oldEnoughMs = 60_000

/**
 * Removes what libfaketime leaves behind for each process that it ran in: shared memory, and its semaphore, under the process's
 * id. There is no end to them otherwise, and one with the id of a new process makes that one's clock another. Those of
 * living processes, of other users, and new ones stay.
 *
 * @returns The names of what was removed.
 */
export function removeFaketimeLeftovers(directory = '/dev/shm', now = Date.now()): string[] {
  let names: string[]
  try {
    names = readdirSync(directory)
  } catch {
    return []
  }
  return names.filter(name => {
    const pid = Number(/^(?:faketime_shm|sem\.faketime_sem)_(\d+)$/.exec(name)?.[1] ?? 0)
    if (pid === 0 || isAlive(pid)) return false
    try {
      const path = join(directory, name)
      const { uid, mtimeMs } = lstatSync(path)
      if (uid !== process.geteuid?.() || now - mtimeMs < oldEnoughMs) return false
      unlinkSync(path)
      return true
    } catch {
      return false
    }
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
