import { createHash } from 'node:crypto'

// A signature of nobody ("ad hoc") over a 64-bit Mach-O file: macOS ends a program whose pages are not those that were signed.
// The form is that of Apple's cs_blobs.h, as its linker writes it.

const pageBits = 12
const [segment, codeSignature] = [0x19, 0x1d]
const [superBlob, codeDirectory] = [0xfade0cc0, 0xfade0c02]
const [directoryVersion, directoryBytes] = [0x20400, 88]
/** Ad hoc, and made by the linker. */
const directoryFlags = 0x20002
const mainProgram = 1n
const sha256 = 2

/**
 * Signs a program anew, in place of the signature that it had.
 *
 * @param bytes - A Mach-O file of one architecture that was signed before.
 * @param name - What the signature calls it.
 * @returns The signed file.
 */
export function signAdHoc(bytes, name) {
  const { signature, text, linkEdit } = commandsOf(bytes)
  const limit = bytes.readUInt32LE(signature + 8)
  const identifier = Buffer.from(`${name}\0`)
  const pages = Math.ceil(limit / 2 ** pageBits)
  const hashesAt = directoryBytes + identifier.length
  const directory = Buffer.alloc(hashesAt + pages * 32)
  const words = [codeDirectory, directory.length, directoryVersion, directoryFlags, hashesAt, directoryBytes]
  for (const [at, word] of [...words, 0, pages, limit].entries()) directory.writeUInt32BE(word, at * 4)
  directory.set([32, sha256, 0, pageBits], 36)
  directory.writeBigUInt64BE(bytes.readBigUInt64LE(text + 40), 64)
  directory.writeBigUInt64BE(bytes.readBigUInt64LE(text + 48), 72)
  directory.writeBigUInt64BE(mainProgram, 80)
  directory.set(identifier, directoryBytes)

  const head = Buffer.alloc(20)
  const whole = head.length + directory.length
  for (const [at, word] of [superBlob, whole, 1, 0, head.length].entries()) head.writeUInt32BE(word, at * 4)
  const signed = Buffer.concat([bytes.subarray(0, limit), head, directory])
  // Of the first page, so before it is hashed.
  signed.writeUInt32LE(whole, signature + 12)
  const size = BigInt(signed.length) - signed.readBigUInt64LE(linkEdit + 40)
  signed.writeBigUInt64LE(size, linkEdit + 48)
  signed.writeBigUInt64LE((size + 0x3fffn) & ~0x3fffn, linkEdit + 32)
  for (let page = 0; page < pages; page++) {
    const from = page * 2 ** pageBits
    const content = signed.subarray(from, Math.min(limit, from + 2 ** pageBits))
    signed.set(createHash('sha256').update(content).digest(), limit + head.length + hashesAt + page * 32)
  }
  return signed
}

/** Where the load commands stand that tell of the signature, the code and the last segment. */
function commandsOf(bytes) {
  if (bytes.readUInt32LE(0) !== 0xfeedfacf) throw new Error('no Mach-O file of 64 bits')
  const found = {}
  let at = 32
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    const kind = bytes.readUInt32LE(at)
    if (kind === codeSignature) found.signature = at
    if (kind === segment) {
      const name = bytes.toString('latin1', at + 8, at + 24).replace(/\0+$/, '')
      if (name === '__TEXT') found.text = at
      if (name === '__LINKEDIT') found.linkEdit = at
    }
    at += bytes.readUInt32LE(at + 4)
  }
  for (const name of ['signature', 'text', 'linkEdit']) {
    if (found[name] === undefined) throw new Error(`a Mach-O file without a command for its ${name}`)
  }
  return found
}
