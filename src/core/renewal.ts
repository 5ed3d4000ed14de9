// What makes a refresh token survive that is replaced by being used. The order, all of it under the lock:
//
//   look again · prove that the store keeps things · intent on disk · send · answer sealed and on disk · read it
//   store written and read back · journal cleared
//
// A process may end between any two of these. What it leaves behind tells the next one what to do: see recover.ts.

import type { Profile } from '../profile/profile.ts'
import type { Renewal, Spent } from '../source/source.ts'
import type { Journal } from '../store/journal.ts'
import { type BegunRenewal, type CacheRecord, encodeRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { TokctlError } from './errors.ts'
import { createLook } from './look.ts'
import type { ManagerPorts } from './ports.ts'
import type { EpochMs } from './time.ts'

/** A renewal as the one who leads it holds it. */
export interface WatchedRenewal extends Renewal {
  /** Whether the first byte went out: nothing may end the request any more. */
  readonly isSent: boolean
  /**
   * Keeps what came of it: compares, writes, reads back, and only then clears the journal.
   *
   * @returns False where the store holds a newer session by now, which stays.
   * @throws {TokctlError} whatever the store refuses; the journal then stays
   */
  keep(record: CacheRecord): Promise<boolean>
  /**
   * Before a person is asked for anything: the store shows that it keeps things.
   *
   * @throws {TokctlError} whatever the store refuses
   */
  prepare(): Promise<void>
  /** A sign-in that was prepared came to nothing: the store holds again what it held. */
  withdraw(): Promise<void>
  /** Lets signals count again. */
  end(): void
}

/** The record was replaced since it was looked at, which only another machine can do that shares the store. */
export class Superseded extends TokctlError {
  constructor() {
    super('store_failed', 'the kept session changes while it is renewed', { hint: 'try again' })
  }
}

/** What is renewed. */
export interface RenewalOf {
  readonly profile: Profile
  readonly store: Store
  /** What was looked at under the lock. */
  readonly record: CacheRecord | undefined
  /** When an earlier renewal was sent whose answer never came. */
  readonly interruptedAt?: EpochMs | undefined
  /** The record is that of a renewal that another process sent: its answer is kept in its place. */
  readonly resumed?: boolean
  /** A person begins a session of their own, whatever is kept. */
  readonly isSignIn?: boolean
}

/**
 * No server, and nothing in front of one, is known to take longer: what was sent and not answered by then is given up.
 * A process stays as long.
 */
export const answerTimeoutMs = 60_000

type Proof = CacheRecord & { readonly renewal: BegunRenewal }

/** Watches over one renewal. Costs nothing before the source says that it has something to lose. */
export function watchRenewal(
  ports: ManagerPorts,
  { profile, store, record, interruptedAt, resumed = false, isSignIn = false }: RenewalOf,
): WatchedRenewal {
  const { clock, notices } = ports
  const key = { kind: 'profile', name: profile.name } as const
  const look = createLook(ports)
  let journal: Journal | undefined
  /** What the store holds since it has proven itself. */
  let proof: Proof | undefined =
    resumed && record?.renewal ? { ...record, renewal: record.renewal } : undefined
  /** What it held before. */
  let before: CacheRecord | undefined
  let isBegun = false
  let release: (() => void) | undefined

  async function prove(kept: Journal): Promise<Proof> {
    before = await look.raw(profile, store)
    if (before?.etag !== record?.etag && !isSignIn) throw new Superseded()
    // The key of a journal that is there opens it until the intent has taken its place.
    const renewal = { key: before?.renewal?.key ?? kept.newKey(), at: clock.now() }
    const proven = { ...(before ?? (await nothing())), renewal }
    await write(proven)
    return proven
  }

  async function nothing(): Promise<CacheRecord> {
    const etag = record?.etag ?? (await ports.newEtag())
    return { etag, binding: profile.binding, token: undefined, refreshToken: undefined, rejected: [] }
  }

  async function write(next: CacheRecord): Promise<void> {
    const text = encodeRecord(next)
    await store.set(key, text)
    const found = await store.get(key)
    if (found?.equals(text) === true) return
    const where = store.kind === 'keychain' ? 'the keychain' : 'the store'
    throw new TokctlError('store_failed', `${where} said that it kept the session, and does not have it`, {
      hint: 'choose another store: kind = "file" under [store]',
    })
  }

  async function compareAndWrite(next: CacheRecord): Promise<boolean> {
    if (proof !== undefined && !isSignIn) {
      const found = await look.raw(profile, store)
      // A write that was given up may have been done all the same.
      if (found !== undefined && found.etag !== proof.etag && found.etag !== next.etag) return false
    }
    await write(next)
    return true
  }

  // Before the record, so that nobody who finds that one damaged takes the seed for a new one.
  function noteSeed(kept: Journal, seed: string): void {
    try {
      kept.noteSeed(profile.name, seed)
    } catch {
      // The record, which says the same, may find room yet.
    }
  }

  return {
    answerTimeoutMs,

    get isSent() {
      return release !== undefined
    },

    async intend({ refreshToken, seed, dpopKey }: Spent) {
      if (!store.shared) return
      journal ??= await ports.journal()
      proof ??= await prove(journal)
      journal.begin(profile.name, proof.renewal.key, {
        binding: profile.binding,
        refreshToken: await ports.digest(refreshToken),
        at: clock.now(),
        seed,
        dpopKey,
        interruptedAt,
      })
      isBegun = true
    },

    sent() {
      release ??= notices.hold()
    },

    answered(answer, headAt) {
      if (journal === undefined || proof === undefined) return
      try {
        journal.answer(profile.name, proof.renewal.key, answer)
      } catch (error) {
        // The store may still take what the journal could not; only where neither does is anything lost.
        const reason = error instanceof TokctlError ? error.message : 'error'
        notices.trace(`profile "${profile.name}": the answer is not in the journal: ${reason}`)
        return
      }
      if (headAt === undefined) return
      const tookMs = (clock.monotonic() - headAt).toFixed(2)
      notices.trace(
        `profile "${profile.name}": the answer is sealed and on disk ${tookMs} ms after its first byte`,
      )
    },

    untouched() {
      // What an earlier one did is as unknown as before.
      if (isBegun && interruptedAt === undefined) journal?.clear(profile.name)
    },

    async refused(refreshToken) {
      if (!store.shared) return
      const found = await look.raw(profile, store)
      // Another machine may have renewed the session since: that one is not refused.
      if (found?.refreshToken?.equals(refreshToken) !== true) return
      const { renewal: _, ...rest } = found
      await store.set(key, encodeRecord({ ...rest, refreshToken: undefined }))
      proof = undefined
    },

    async knowsSeed(seed) {
      return store.shared && (await ports.journal()).knowsSeed(profile.name, seed)
    },

    async keep(next) {
      // What is not shared has no journal and nobody who could come in between.
      if (!store.shared) {
        await store.set(key, encodeRecord(next))
        return true
      }
      if (next.refreshToken === undefined && proof === undefined && next.seed === undefined) {
        await store.set(key, encodeRecord(next))
        return true
      }
      journal ??= await ports.journal()
      if (next.seed !== undefined && next.seed !== record?.seed) noteSeed(journal, next.seed)
      const isKept = await compareAndWrite(next).catch(() => compareAndWrite(next))
      journal.clear(profile.name)
      return isKept
    },

    async prepare() {
      journal ??= await ports.journal()
      proof ??= await prove(journal)
    },

    async withdraw() {
      if (proof === undefined) return
      try {
        const found = await look.raw(profile, store)
        if (found?.etag !== proof.etag || found.renewal?.at !== proof.renewal.at) return
        if (before === undefined) await store.delete(key)
        else await store.set(key, encodeRecord(before))
      } catch {
        // A key without a journal says nothing, and the next write takes it away.
      }
    },

    pending: end,
    end,
  }

  function end(): void {
    release?.()
    release = undefined
  }
}
