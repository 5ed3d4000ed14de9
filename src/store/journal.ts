import type { Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'

/** A renewal that is about to be sent. */
export interface Intent {
  /** Of the profile that it renews. */
  readonly binding: string
  /** SHA-256 (hex) of the refresh token that it uses up. */
  readonly refreshToken: string
  readonly at: EpochMs
  /** SHA-256 (hex) of the handed-over refresh token that it began with. */
  readonly seed: string | undefined
  /** The key that its tokens will be bound to, as a JWK in JSON. */
  readonly dpopKey: Secret | undefined
  /** When the renewal was sent whose answer never came, where this is its one repetition. */
  readonly interruptedAt: EpochMs | undefined
}

/** The answer of a renewal, as it came; its body is a secret. */
export interface KeptAnswer {
  /** Who answered, as messages name it. */
  readonly from: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly sentAt: EpochMs
  readonly receivedAt: EpochMs
}

/** What a journal tells of the renewal it was kept for. */
export interface JournalEntry {
  readonly intent: Intent
  /** `undefined`: sent, perhaps, and unacknowledged. */
  readonly answer: KeptAnswer | undefined
}

/**
 * One file for each profile that says what is under way, so that whoever comes next knows what became of the refresh token.
 * All of it is sealed; the key lies in the profile's record and nowhere else.
 */
export interface Journal {
  /** @returns 32 bytes in base64 that nobody had before. */
  newKey(): Secret
  /**
   * Replaces the journal by an intent, with room for the answer, and waits for the disk.
   *
   * @throws {TokctlError} `store_failed`, `state_dir_unsafe`: nothing may be sent then
   */
  begin(profile: string, key: Secret, intent: Intent): void
  /**
   * Seals the answer into the room that was made for it, and waits for the disk.
   *
   * @throws {TokctlError} `store_failed` where the disk refused it twice, the second time in a new file
   */
  answer(profile: string, key: Secret, answer: KeptAnswer): void
  /**
   * @returns `undefined` where there is none, or none that this key opens.
   * @throws {TokctlError} `store_failed`, `state_dir_unsafe`
   */
  read(profile: string, key: Secret): JournalEntry | undefined
  /** Forgets it. A journal that cannot be removed is opened by no key once the record has changed. */
  clear(profile: string): void
  /**
   * Remembers that a handed-over refresh token was used, beside the record and not in it: it survives a damaged one.
   *
   * @param seed - SHA-256 (hex).
   */
  noteSeed(profile: string, seed: string): void
  /**
   * Whether that handed-over refresh token was used before, whatever became of the record.
   *
   * @throws {TokctlError} `store_failed` where what was remembered is a link, or another's
   */
  knowsSeed(profile: string, seed: string): boolean
}
