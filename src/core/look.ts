import type { Profile } from '../profile/profile.ts'
import { type CacheRecord, decodeRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { TokctlError } from './errors.ts'
import type { View } from './freshness.ts'
import type { Outcome } from './outcome.ts'
import type { ManagerPorts } from './ports.ts'

/** What is known of a profile now, as far as it belongs to its present configuration. */
export interface Look {
  /**
   * The record as it lies there, of whatever configuration.
   *
   * @throws {TokctlError} what the store throws; `store_failed` for a record that a newer tokctl wrote
   */
  raw(profile: Profile, store: Store): Promise<CacheRecord | undefined>
  /** @throws {TokctlError} what the store throws; `store_failed` for a record that a newer tokctl wrote */
  record(profile: Profile, store: Store): Promise<CacheRecord | undefined>
  outcome(profile: Profile): Outcome | undefined
  /** Both, of one moment; `record` where it was read already. */
  view(profile: Profile, store: Store, record?: CacheRecord): Promise<View>
}

/** Reads records and outcomes through the ports. */
export function createLook({ outcomes, notices }: ManagerPorts): Look {
  async function readRaw(profile: Profile, store: Store): Promise<CacheRecord | undefined> {
    const text = await store.get({ kind: 'profile', name: profile.name })
    if (text === undefined) return undefined
    const record = decodeRecord(text)
    if (record === 'newer') {
      const message = `the kept token of profile "${profile.name}" was written by a newer tokctl`
      throw new TokctlError('store_failed', message, { hint: 'upgrade tokctl', profile: profile.name })
    }
    return record
  }

  async function readRecord(profile: Profile, store: Store): Promise<CacheRecord | undefined> {
    const record = await readRaw(profile, store)
    if (record !== undefined && record.binding !== profile.binding) {
      notices.trace(`profile "${profile.name}": the kept token was made for another configuration`)
      // What was refused stays refused, whoever was served it, and a seed that was used up is used up.
      const { etag, rejected, seed, renewal } = record
      const emptied = { etag, binding: profile.binding, token: undefined, refreshToken: undefined, rejected }
      return {
        ...emptied,
        ...(seed === undefined ? {} : { seed }),
        ...(renewal === undefined ? {} : { renewal }),
      }
    }
    return record
  }

  function readOutcome(profile: Profile): Outcome | undefined {
    const outcome = outcomes.read(profile.name)
    return outcome?.binding === profile.binding ? outcome : undefined
  }

  return {
    raw: readRaw,
    record: readRecord,
    outcome: readOutcome,
    async view(profile, store, known) {
      const record = known ?? (await readRecord(profile, store))
      const outcome = readOutcome(profile)
      // The outcome is written after the record: one that tells of a token this record does not hold was finished since.
      const isNewer = outcome !== undefined && outcome.failure === undefined && outcome.etag !== record?.etag
      return { record: isNewer ? await readRecord(profile, store) : record, outcome }
    },
  }
}
