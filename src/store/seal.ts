// Sealed files: AES-256-GCM. A file begins with 32 bytes that every version keeps as they are:
//
//   7 magic · 1 version · 8 key id · 12 nonce · 4 check (FNV-1a over the 28 bytes before)
//
// then the ciphertext and a tag of 16 bytes. The head and the key's kind and name are authenticated with it, so that a file
// renamed to another profile opens for neither. The check tells a damaged head from another key or a later version:
// damage reads as nothing kept, the other two are somebody's data and must be left alone.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { Secret } from '../core/secret.ts'

/** What is sealed, and of whom: it opens under the same label alone. */
export interface Label {
  readonly kind: string
  readonly name: string
}

/** 32 bytes that seal. */
export interface SealingKey {
  readonly bytes: Buffer
  /** Tells keys apart without telling anything of them: 8 bytes of a fixed block, enciphered. */
  readonly id: Buffer
}

/** Why a file does not open. */
export type Unsealable = 'damaged' | 'other_key' | 'newer'

const magic = Buffer.from('tokctl\0')
const version = 1
const headBytes = 32
const tagBytes = 16

/** @param bytes - Exactly 32. */
export function sealingKey(bytes: Buffer): SealingKey {
  // A check value as hardware security modules use it. A hash would load a second algorithm on the path of every hit.
  const cipher = createCipheriv('aes-256-ecb', bytes, null)
  return { bytes, id: cipher.update('tokctl key id 16').subarray(0, 8) }
}

/** A key that nobody had before. */
export function newSealingKey(): SealingKey {
  return sealingKey(randomBytes(32))
}

/** Seals a text under a label, such as a key of the store. */
export function seal(key: SealingKey, label: Label, text: Secret): Buffer {
  const nonce = randomBytes(12)
  const start = Buffer.concat([magic, Buffer.from([version]), key.id, nonce])
  const head = Buffer.concat([start, checkOf(start)])
  const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce, { authTagLength: tagBytes })
  cipher.setAAD(authenticated(head, label))
  return Buffer.concat([head, cipher.update(text.expose(), 'utf8'), cipher.final(), cipher.getAuthTag()])
}

/** Opens what `seal` made under the same label; never gives a part of it. */
export function unseal(key: SealingKey, label: Label, sealed: Buffer): Secret | Unsealable {
  const found = inspectSeal(key, sealed)
  if (found !== 'ours') return found
  const head = sealed.subarray(0, headBytes)
  const decipher = createDecipheriv('aes-256-gcm', key.bytes, head.subarray(16, 28), {
    authTagLength: tagBytes,
  })
  decipher.setAAD(authenticated(head, label))
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  try {
    const text = decipher.update(sealed.subarray(headBytes, sealed.length - tagBytes))
    return new Secret(Buffer.concat([text, decipher.final()]).toString())
  } catch {
    return 'damaged'
  }
}

/** Reads the head alone: whether this key is the one. */
export function inspectSeal(key: SealingKey, sealed: Buffer): 'ours' | Unsealable {
  const start = sealed.subarray(0, 28)
  if (sealed.length < headBytes || !start.subarray(0, magic.length).equals(magic)) return 'damaged'
  if (!sealed.subarray(28, headBytes).equals(checkOf(start))) return 'damaged'
  if (start[magic.length] !== version) return 'newer'
  if (!start.subarray(8, 16).equals(key.id)) return 'other_key'
  return sealed.length < headBytes + tagBytes ? 'damaged' : 'ours'
}

/** Against damage, not against anybody: what is forged fails the tag. */
function checkOf(start: Buffer): Buffer {
  let hash = 0x811c9dc5
  for (const byte of start) hash = Math.imul(hash ^ byte, 0x01000193)
  const check = Buffer.alloc(4)
  check.writeInt32LE(hash)
  return check
}

function authenticated(head: Buffer, { kind, name }: Label): Buffer {
  return Buffer.concat([head, Buffer.from(`${kind}\0${name}`)])
}
