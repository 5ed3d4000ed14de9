import type { Profile } from '../profile/profile.ts'
import type { CacheRecord } from '../store/record.ts'
import type { Store } from '../store/store.ts'
import { exitCodeOf, TokctlError } from './errors.ts'
import { expiredAt, type View } from './freshness.ts'
import { keepToken, rememberFailure } from './keep.ts'
import type { ManagerPorts } from './ports.ts'
import { watchRenewal } from './renewal.ts'
import { type EpochMs, formatInstant } from './time.ts'

/** What a renewal that was cut short left behind. */
export type Recovered =
  /** Nothing that matters: it was not sent, or what came of it is kept. */
  | { readonly kind: 'nothing' }
  /** Its answer, which is kept now; `unkept` is why the store did not take it: the journal then stays. */
  | { readonly kind: 'promoted'; readonly record: CacheRecord; readonly unkept: TokctlError | undefined }
  /** It may have been sent, and nobody knows what the server did. */
  | { readonly kind: 'interrupted'; readonly at: EpochMs }

/**
 * Looks at what a renewal left behind that ended before its time, and keeps its answer where there is one. Under the lock.
 *
 * @param view - Its record names the journal's key.
 * @throws {TokctlError} `store_failed`, `state_dir_unsafe`, or a secret's: a journal that cannot be read is not done without
 */
export async function recover(
  ports: ManagerPorts,
  profile: Profile,
  store: Store,
  view: View,
): Promise<Recovered> {
  const { notices } = ports
  const { record } = view
  if (record?.renewal === undefined || !store.shared) return { kind: 'nothing' }
  const journal = await ports.journal()
  const entry = journal.read(profile.name, record.renewal.key)
  // Never whole, so never sent; or of a configuration that is not in force, whose session is not this one's to take.
  if (entry === undefined || entry.intent.binding !== profile.binding) return { kind: 'nothing' }
  const { intent, answer } = entry
  const interrupted = { kind: 'interrupted', at: intent.interruptedAt ?? intent.at } as const
  if (answer === undefined) return interrupted
  const source = await ports.source(profile)
  try {
    const kept = {
      refreshToken: record.refreshToken,
      dpopKey: intent.dpopKey ?? record.dpopKey,
      seed: intent.seed ?? record.seed,
    }
    const token = await source.readRenewal?.(answer, kept)
    if (token === undefined) return interrupted
    notices.trace(`profile "${profile.name}": a renewal was cut short; its answer is taken from the journal`)
    const renewal = watchRenewal(ports, { profile, store, record, resumed: true })
    return { kind: 'promoted', ...(await keepToken(ports, { profile, store, view }, renewal, token)) }
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    // It may be read once what it is read with is there again.
    if (exitCodeOf(error.code) === 3 || exitCodeOf(error.code) === 7) throw error
    // A refusal of the repetition says the same as the one before: the answer was lost.
    if (error.code === 'invalid_response' || intent.interruptedAt !== undefined) return interrupted
    // It was refused, which uses nothing up; whoever asks next is told so by the server itself.
    journal.clear(profile.name)
    return { kind: 'nothing' }
  }
}

/**
 * Tells everybody that a renewal was interrupted: the token that is still good is used up before the old refresh token is
 * tried again.
 */
export async function rememberInterruption(
  ports: ManagerPorts,
  profile: Profile,
  view: View,
  at: EpochMs,
): Promise<void> {
  const until = expiredAt(view.record?.token, ports.timing(profile)) ?? ports.clock.now()
  const message = `a renewal was interrupted at ${formatInstant(at)}, and its answer was lost`
  const failure = new TokctlError('network_error', message, { hint: `run: tokctl refresh ${profile.name}` })
  await rememberFailure(ports, { profile, view }, failure, until)
}
