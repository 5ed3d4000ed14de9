import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const script = fileURLToPath(new URL('../../scripts/sign-mach-o.mjs', import.meta.url))
const { signAdHoc }: { signAdHoc(bytes: Buffer, name: string): Buffer } = await import(script)

/** A program of two segments that some other bytes were signed as. */
function machO(codeBytes: number): Buffer {
  const file = Buffer.alloc(codeBytes + 64, 7)
  file.fill(0, 0, 32 + 72 * 2 + 16)
  for (const [at, word] of [0xfeedfacf, 0x01000007, 3, 2, 3, 72 * 2 + 16].entries())
    file.writeUInt32LE(word, at * 4)
  const segment = (at: number, name: string, from: number, size: number): void => {
    file.writeUInt32LE(0x19, at)
    file.writeUInt32LE(72, at + 4)
    file.write(name, at + 8, 'latin1')
    file.writeBigUInt64LE(BigInt(from), at + 40)
    file.writeBigUInt64LE(BigInt(size), at + 48)
  }
  segment(32, '__TEXT', 0, 4096)
  segment(104, '__LINKEDIT', 4096, file.length - 4096)
  for (const [at, word] of [0x1d, 16, codeBytes, 64].entries()) file.writeUInt32LE(word, 176 + at * 4)
  return file
}

test('a signature of nobody holds each page of the file, the first one with what tells of it', () => {
  const signed = signAdHoc(machO(10_000), 'tokctl')
  const [from, length] = [signed.readUInt32LE(184), signed.readUInt32LE(188)]
  expect(from + length).toBe(signed.length)
  // Of the last segment, which ends with the file.
  expect(4096n + signed.readBigUInt64LE(104 + 48)).toBe(BigInt(signed.length))
  expect(signed.readBigUInt64LE(104 + 32) % 0x4000n).toBe(0n)
  const word = (at: number): number => signed.readUInt32BE(from + at)
  expect([word(0), word(4), word(8), word(12)]).toEqual([0xfade0cc0, length, 1, 0])
  const directory = word(16)
  const [magic, bytes, version, flags, hashes, name, special, pages, limit] = Array.from(
    { length: 9 },
    (_, i) => word(directory + i * 4),
  ) as [number, number, number, number, number, number, number, number, number]
  expect([magic, directory + bytes, special, limit]).toEqual([0xfade0c02, length, 0, 10_000])
  expect([version, flags]).toEqual([0x20400, 0x20002])
  expect([...signed.subarray(from + directory + 36, from + directory + 40)]).toEqual([32, 2, 0, 12])
  expect(signed.toString('latin1', from + directory + name, from + directory + name + 7)).toBe('tokctl\0')
  expect(pages).toBe(3)
  for (let page = 0; page < pages; page++) {
    const content = signed.subarray(page * 4096, Math.min(limit, page * 4096 + 4096))
    const at = from + directory + hashes + page * 32
    expect(signed.subarray(at, at + 32)).toEqual(createHash('sha256').update(content).digest())
  }
})

test('what is no program of macOS, or was never signed, is not signed', () => {
  expect(() => signAdHoc(Buffer.from('\x7fELF and some more of it'), 'tokctl')).toThrow('no Mach-O file')
  const bare = machO(5000)
  bare.writeUInt32LE(0x1e, 176)
  expect(() => signAdHoc(bare, 'tokctl')).toThrow('without a command for its signature')
})
