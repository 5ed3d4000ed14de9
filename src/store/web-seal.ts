import type { Secret } from '../core/secret.ts'
import {
  authenticated,
  inspectHead,
  keyIdBlock,
  type Label,
  type Sealer,
  tagBytes,
  writeHead,
} from './seal-head.ts'

/** Seals as `seal.ts` does, by the WebCrypto of the runtime, which is there already. */
export const webSealer: Sealer = {
  async seal(key: Uint8Array, label: Label, text: Secret, before: Buffer | undefined) {
    const id = await keyId(key)
    if (before !== undefined) {
      const head = inspectHead(before)
      // Another key's, or a newer version's: whether it may be replaced, the other one says.
      if (typeof head === 'string' || !head.id.equals(id)) return undefined
    }
    const { subtle } = globalThis.crypto
    const imported = await subtle.importKey('raw', new Uint8Array(key), 'AES-GCM', false, ['encrypt'])
    const nonce = webSealer.random(12)
    const head = writeHead(id, nonce)
    const given = {
      name: 'AES-GCM',
      iv: new Uint8Array(nonce),
      additionalData: new Uint8Array(authenticated(head, label)),
      tagLength: tagBytes * 8,
    }
    const sealed = await subtle.encrypt(given, imported, new TextEncoder().encode(text.expose()))
    return Buffer.concat([head, Buffer.from(sealed)])
  },
  random: count => Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(count))),
}

/** One block enciphered is what the counter mode makes of zeros, with that block as its counter. */
async function keyId(key: Uint8Array): Promise<Buffer> {
  const { subtle } = globalThis.crypto
  const imported = await subtle.importKey('raw', new Uint8Array(key), 'AES-CTR', false, ['encrypt'])
  const counter = new TextEncoder().encode(keyIdBlock)
  return Buffer.from(
    await subtle.encrypt({ name: 'AES-CTR', counter, length: 64 }, imported, new Uint8Array(8)),
  )
}
