import { Secret } from '../core/secret.ts'
import { authenticated, headBytes, inspectHead, type Label, tagBytes } from './seal-head.ts'

/**
 * Opens what `seal` made by the WebCrypto of the runtime, which is there already: the one file takes a third of a hit to load
 * `node:crypto`. Whose key it was is not asked: its id is authenticated too.
 *
 * @see OpenSealed
 */
export async function openSealed(key: Uint8Array, label: Label, sealed: Buffer): Promise<Secret | undefined> {
  const head = inspectHead(sealed)
  if (typeof head === 'string' || sealed.length < headBytes + tagBytes) return undefined
  const { subtle } = globalThis.crypto
  try {
    const imported = await subtle.importKey('raw', new Uint8Array(key), 'AES-GCM', false, ['decrypt'])
    const additionalData = new Uint8Array(authenticated(sealed.subarray(0, headBytes), label))
    const given = { name: 'AES-GCM', iv: new Uint8Array(head.nonce), additionalData, tagLength: tagBytes * 8 }
    const text = await subtle.decrypt(given, imported, new Uint8Array(sealed.subarray(headBytes)))
    return new Secret(Buffer.from(text).toString())
  } catch {
    return undefined
  }
}
