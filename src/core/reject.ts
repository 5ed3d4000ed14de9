import type { Profile } from '../profile/profile.ts'
import { type CacheRecord, encodeRecord } from '../store/record.ts'
import { lockTimeout } from './lease.ts'
import { createLook } from './look.ts'
import type { ManagerPorts } from './ports.ts'
import type { Secret } from './secret.ts'

/** A few of them, so that a source that takes turns is not believed either. */
const keptRejections = 8

/**
 * Drops the kept access token if it is the very one that was refused; any other stays, and so does what renews it.
 * A refused token is remembered whether or not it is the kept one.
 *
 * @throws {TokctlError} `lock_timeout`, or what the store throws
 */
export async function reject(
  ports: ManagerPorts,
  profile: Profile,
  refused: Secret,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const { outcomes, notices } = ports
  const look = createLook(ports)
  const store = await ports.store(profile, timeoutMs)

  async function drop(): Promise<void> {
    const digest = await ports.digest(refused)
    const record = (await look.record(profile, store)) ?? (await nothing())
    const isKept = record.token?.accessToken.equals(refused) === true
    const rejected = [digest, ...record.rejected.filter(other => other !== digest)].slice(0, keptRejections)
    const token = isKept ? undefined : record.token
    await store.set({ kind: 'profile', name: profile.name }, encodeRecord({ ...record, token, rejected }))
    notices.trace(
      `profile "${profile.name}": ${isKept ? 'the kept token was rejected' : 'the rejected token is not the one that is kept'}`,
    )
    const outcome = isKept ? look.outcome(profile) : undefined
    // The same etag: nobody's attempt has finished, there is only no token any more to tell of.
    if (outcome !== undefined) {
      const gone = { obtainedAt: undefined, expiresAt: undefined, refreshAt: undefined }
      outcomes.write(profile.name, { ...outcome, ...gone })
    }
  }

  async function nothing(): Promise<CacheRecord> {
    const etag = await ports.newEtag()
    return { etag, binding: profile.binding, token: undefined, refreshToken: undefined, rejected: [] }
  }

  if (!store.shared) return drop()
  const lock = await ports.lock()
  const result = await lock.withLock(
    profile.name,
    {
      purpose: 'reject',
      timeoutMs,
      signal,
      onWait: (holder, waitedMs) => notices.waiting(profile.name, holder, waitedMs),
    },
    drop,
  )
  if (result.kind === 'timeout') throw lockTimeout(profile.name, result.holder, timeoutMs)
}
