// The journal of a renewal: a file of fixed places, so that the answer goes into room that is there already.
//
//   0      length · sealed intent
//   8192   length · sealed answer
//
// Both lengths are 4 bytes, big-endian; zero where there is nothing. The answer is written in place: a torn one does not open,
// which reads as none, and the intent beside it is never touched again.

import { closeSync, constants, fchmodSync, fsyncSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { syncDirectory, writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { fileStem, type StateDir } from '../core/state-dir.ts'
import type { Intent, Journal, JournalEntry, KeptAnswer } from './journal.ts'
import { newSealingKey, type SealingKey, seal, sealingKey, unseal } from './seal.ts'
import { cannot, oursAlone, readTrusted } from './trusted-file.ts'

const answerAt = 8192
/** An answer with an id_token is seldom a quarter of this; a larger one makes the file grow. */
const roomBytes = 32_768
const lengthBytes = 4
/** A few, for profiles that are handed one after the other. */
const keptSeeds = 16
/** Enough of a digest to know a seed again, and too little to be of use to anybody. */
const seedDigits = 32

/** Opens the journals under the state directory. Makes nothing before the first intent. */
export function openJournal(stateDir: StateDir, environment: Pick<Environment, 'uid' | 'pid'>): Journal {
  const trust = oursAlone(environment)
  const pathOf = (profile: string): string => stateDir.file('journal', `${fileStem(profile)}.journal`)
  const seedsOf = (profile: string): string => stateDir.file('journal', `${fileStem(profile)}.seeds`)
  const labelOf = (part: 'intent' | 'answer', name: string) => ({ kind: `renewal ${part}`, name })
  let begun: { readonly path: string; readonly fd: number; readonly start: Buffer } | undefined

  function close(): void {
    if (begun !== undefined) closeSync(begun.fd)
    begun = undefined
  }

  function begin(profile: string, key: Secret, intent: Intent): void {
    close()
    const path = pathOf(profile)
    const sealed = seal(keyOf(key), labelOf('intent', profile), new Secret(encodeIntent(intent)))
    if (lengthBytes + sealed.length > answerAt) throw new Error('an intent is larger than its place')
    const start = Buffer.alloc(answerAt)
    start.writeUInt32BE(sealed.length)
    sealed.copy(start, lengthBytes)
    stateDir.ensure('journal')
    try {
      remove(path)
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | noFollow, 0o600)
      begun = { path, fd, start }
      fchmodSync(fd, 0o600)
      writeAll(fd, Buffer.concat([start, Buffer.alloc(roomBytes)]), 0)
      fsyncSync(fd)
      syncDirectory(dirname(path))
    } catch (error) {
      // A journal that is not whole says nothing, and the next one needs the room.
      close()
      tryRemove(path)
      throw cannot('write', path, error)
    }
  }

  function answer(profile: string, key: Secret, given: KeptAnswer): void {
    if (begun === undefined) throw new Error('an answer without an intent')
    const { path, fd, start } = begun
    const sealed = seal(keyOf(key), labelOf('answer', profile), new Secret(JSON.stringify(given)))
    const content = Buffer.alloc(lengthBytes + sealed.length)
    content.writeUInt32BE(sealed.length)
    sealed.copy(content, lengthBytes)
    try {
      writeAll(fd, content, answerAt)
      fsyncSync(fd)
    } catch {
      // After a failed fsync nothing is known of that file's pages: only a new file tells.
      try {
        writeFileAtomic(path, Buffer.concat([start, content]), environment.pid)
      } catch (error) {
        throw cannot('write', path, error)
      }
    }
  }

  function read(profile: string, key: Secret): JournalEntry | undefined {
    stateDir.check()
    const content = readTrusted(pathOf(profile), trust)
    if (content === undefined) return undefined
    const opened = (part: 'intent' | 'answer', at: number): string | undefined => {
      if (content.length < at + lengthBytes) return undefined
      const length = content.readUInt32BE(at)
      const sealed = content.subarray(at + lengthBytes, at + lengthBytes + length)
      const found = length === 0 ? undefined : unseal(keyOf(key), labelOf(part, profile), sealed)
      return found instanceof Secret ? found.expose() : undefined
    }
    const intent = decodeIntent(opened('intent', 0))
    if (intent === undefined) return undefined
    return { intent, answer: decodeAnswer(opened('answer', answerAt)) }
  }

  function seedsIn(profile: string): string[] {
    const content = readTrusted(seedsOf(profile), trust)
    try {
      const seeds: unknown = JSON.parse(content?.toString() ?? '[]')
      return Array.isArray(seeds) ? seeds.filter(seed => typeof seed === 'string') : []
    } catch {
      return []
    }
  }

  return {
    newKey: () => new Secret(newSealingKey().bytes.toString('base64')),
    begin,
    answer,
    read,
    clear(profile) {
      close()
      tryRemove(pathOf(profile))
    },
    noteSeed(profile, seed) {
      const short = seed.slice(0, seedDigits)
      const seeds = seedsIn(profile)
      if (seeds.includes(short)) return
      const path = seedsOf(profile)
      stateDir.ensure('journal')
      try {
        writeFileAtomic(path, `${JSON.stringify([short, ...seeds].slice(0, keptSeeds))}\n`, environment.pid)
      } catch (error) {
        throw cannot('write', path, error)
      }
    },
    knowsSeed(profile, seed) {
      stateDir.check()
      return seedsIn(profile).includes(seed.slice(0, seedDigits))
    },
  }
}

const noFollow = constants.O_NOFOLLOW ?? 0

function keyOf(key: Secret): SealingKey {
  const bytes = Buffer.from(key.expose(), 'base64')
  if (bytes.length !== 32) throw new TokctlError('store_failed', 'the key of a journal is not 32 bytes')
  return sealingKey(bytes)
}

function writeAll(fd: number, data: Buffer, at: number): void {
  for (let written = 0; written < data.length; )
    written += writeSync(fd, data, written, data.length - written, at + written)
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function tryRemove(path: string): void {
  try {
    unlinkSync(path)
  } catch {}
}

function encodeIntent({ binding, refreshToken, at, seed, dpopKey, interruptedAt }: Intent): string {
  return JSON.stringify({ v: 1, binding, refreshToken, at, seed, dpopKey: dpopKey?.expose(), interruptedAt })
}

function decodeIntent(text: string | undefined): Intent | undefined {
  const json = objectIn(text)
  if (json === undefined || json['v'] !== 1) return undefined
  const { binding, refreshToken, at, seed, dpopKey, interruptedAt } = json
  if (typeof binding !== 'string' || typeof refreshToken !== 'string' || !isInstant(at)) return undefined
  return {
    binding,
    refreshToken,
    at,
    seed: typeof seed === 'string' ? seed : undefined,
    dpopKey: typeof dpopKey === 'string' ? new Secret(dpopKey) : undefined,
    interruptedAt: isInstant(interruptedAt) ? interruptedAt : undefined,
  }
}

function decodeAnswer(text: string | undefined): KeptAnswer | undefined {
  const json = objectIn(text)
  if (json === undefined) return undefined
  const { from, status, headers, body, sentAt, receivedAt } = json
  if (typeof from !== 'string' || typeof body !== 'string' || !Number.isInteger(status)) return undefined
  if (!isInstant(sentAt) || !isInstant(receivedAt) || typeof headers !== 'object' || headers === null)
    return undefined
  const texts = Object.entries(headers).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
  return { from, status: status as number, headers: Object.fromEntries(texts), body, sentAt, receivedAt }
}

function objectIn(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text ?? '')
    return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function isInstant(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 8.64e15
}
