// Sealed files: AES-256-GCM. A file begins with 32 bytes that every version keeps as they are:
//
//   7 magic · 1 version · 8 key id · 12 nonce · 4 check (FNV-1a over the 28 bytes before)
//
// then the ciphertext and a tag of 16 bytes. The head and the key's kind and name are authenticated with it, so that a file
// renamed to another profile opens for neither. The check tells a damaged head from another key or a later version:
// damage reads as nothing kept, the other two are somebody's data and must be left alone.

import type { Secret } from '../core/secret.ts'

/** What is sealed, and of whom: it opens under the same label alone. */
export interface Label {
  readonly kind: string
  readonly name: string
}

/** Why a file does not open. */
export type Unsealable = 'damaged' | 'other_key' | 'newer'

/**
 * Opens what was sealed under that label.
 *
 * @param key - 32 bytes.
 * @returns `undefined` where it does not open, for whatever reason.
 */
export type OpenSealed = (key: Uint8Array, label: Label, sealed: Buffer) => Promise<Secret | undefined>

/** Seals without a module to load. */
export interface Sealer {
  /**
   * @param key - 32 bytes.
   * @param before - What lies there.
   * @returns `undefined` where that is not of this key and version: it may not be replaced without another look.
   */
  seal(key: Uint8Array, label: Label, text: Secret, before: Buffer | undefined): Promise<Buffer | undefined>
  /** Bytes that nobody can guess. */
  random(count: number): Buffer
}

/** Enciphered, its first 8 bytes tell keys apart without telling anything of them. */
export const keyIdBlock = 'tokctl key id 16'

const magic = Buffer.from('tokctl\0')
const version = 1
export const headBytes = 32
export const tagBytes = 16

/** The head of a new file. @param id - 8 bytes. @param nonce - 12 bytes. */
export function writeHead(id: Buffer, nonce: Buffer): Buffer {
  const start = Buffer.concat([magic, Buffer.from([version]), id, nonce])
  const check = Buffer.alloc(4)
  check.writeInt32LE(checkOf(start))
  return Buffer.concat([start, check])
}

/** Reads the head alone; whose key it is, is another question. */
export function inspectHead(
  sealed: Buffer,
): { readonly id: Buffer; readonly nonce: Buffer } | 'damaged' | 'newer' {
  if (sealed.length < headBytes || !sealed.subarray(0, magic.length).equals(magic)) return 'damaged'
  if (sealed.readInt32LE(28) !== checkOf(sealed.subarray(0, 28))) return 'damaged'
  if (sealed[magic.length] !== version) return 'newer'
  return { id: sealed.subarray(8, 16), nonce: sealed.subarray(16, 28) }
}

/** Against damage, not against anybody: what is forged fails the tag. */
function checkOf(start: Buffer): number {
  let hash = 0x811c9dc5
  for (const byte of start) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash | 0
}

/** What is authenticated beside the ciphertext. */
export function authenticated(head: Buffer, { kind, name }: Label): Buffer {
  return Buffer.concat([head, Buffer.from(`${kind}\0${name}`)])
}
