import type { Lease } from '../core/lease.ts'
import type { Lock } from '../core/lock.ts'
import type { Clock } from '../core/time.ts'

/** A lock for what only this process has: the same rules as that of all processes, and no file. */
export function processLock(clock: Clock, pid: number): Lock {
  const held = new Map<string, Promise<void>>()
  const leases = new Map<string, Lease>()

  async function untilFreed(freed: Promise<void>, timeoutMs: number, signal: AbortSignal | undefined) {
    const over = new AbortController()
    const either = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
    await Promise.race([freed, clock.sleep(timeoutMs, either)])
    over.abort()
  }

  return {
    how: "this process's own",
    async withLock(key, wait, work) {
      const start = clock.monotonic()
      for (;;) {
        wait.signal?.throwIfAborted()
        if (wait.leave?.()) return { kind: 'left' }
        const freed = held.get(key)
        if (freed === undefined) break
        const last = leases.get(key)
        const holder = last?.released === true ? undefined : last
        const waitedMs = clock.monotonic() - start
        wait.onWait?.(holder, waitedMs)
        if (waitedMs >= wait.timeoutMs) return { kind: 'timeout', holder }
        await untilFreed(freed, wait.timeoutMs - waitedMs, wait.signal)
      }
      let free = (): void => {}
      held.set(
        key,
        new Promise(resolve => {
          free = resolve
        }),
      )
      const last = leases.get(key)
      let lease: Lease | undefined
      const writeLease = (): void => {
        lease = { pid, purpose: wait.purpose, since: clock.now() }
        leases.set(key, lease)
      }
      try {
        if (wait.keepLease !== true) writeLease()
        return { kind: 'held', value: await work(last, writeLease) }
      } finally {
        if (lease !== undefined) leases.set(key, { ...lease, released: true })
        held.delete(key)
        free()
      }
    },
  }
}
