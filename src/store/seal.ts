import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { Secret } from '../core/secret.ts'
import {
  authenticated,
  headBytes,
  inspectHead,
  keyIdBlock,
  type Label,
  tagBytes,
  type Unsealable,
  writeHead,
} from './seal-head.ts'

/** 32 bytes that seal. */
export interface SealingKey {
  readonly bytes: Buffer
  /** Tells keys apart without telling anything of them: 8 bytes of a fixed block, enciphered. */
  readonly id: Buffer
}

/** @param bytes - Exactly 32. */
export function sealingKey(bytes: Buffer): SealingKey {
  // A check value as hardware security modules use it. A hash would load a second algorithm on the path of every hit.
  const cipher = createCipheriv('aes-256-ecb', bytes, null)
  return { bytes, id: cipher.update(keyIdBlock).subarray(0, 8) }
}

/** A key that nobody had before. */
export function newSealingKey(): SealingKey {
  return sealingKey(randomBytes(32))
}

/** Seals a text under a label, such as a key of the store. */
export function seal(key: SealingKey, label: Label, text: Secret): Buffer {
  const nonce = randomBytes(12)
  const head = writeHead(key.id, nonce)
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
  const head = inspectHead(sealed)
  if (typeof head === 'string') return head
  if (!head.id.equals(key.id)) return 'other_key'
  return sealed.length < headBytes + tagBytes ? 'damaged' : 'ours'
}
