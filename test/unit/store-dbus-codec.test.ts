import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DBusError,
  decodeMessage,
  decodeValues,
  encodeMessage,
  encodeValues,
  Frames,
  type Message,
  type Value,
} from '../../src/store/dbus-codec.ts'

const maxMessageBytes = 16 * 1024 * 1024

/** A signature with a value that fits it. */
type Typed = readonly [signature: string, value: Value]

const text = fc.string({ unit: 'grapheme', maxLength: 20 }).map(s => s.replaceAll('\0', ''))
const scalar: fc.Arbitrary<Typed> = fc.oneof(
  fc.integer({ min: 0, max: 255 }).map((n): Typed => ['y', n]),
  fc.boolean().map((b): Typed => ['b', b]),
  fc.integer().map((n): Typed => ['i', n]),
  fc.integer({ min: 0, max: 0xffff_ffff }).map((n): Typed => ['u', n]),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n): Typed => ['x', n]),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n): Typed => ['t', n]),
  text.map((s): Typed => ['s', s]),
  fc.constant<Typed>(['o', '/a/b']),
  fc.constant<Typed>(['g', 'a{sv}(ii)']),
  fc.uint8Array({ maxLength: 40 }).map((bytes): Typed => ['ay', Buffer.from(bytes)]),
)
const { typed } = fc.letrec<{ typed: Typed }>(tie => ({
  typed: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    scalar,
    tie('typed').map(([signature, value]): Typed => ['v', { signature, value }]),
    fc.array(tie('typed'), { minLength: 1, maxLength: 4 }).map((members): Typed => {
      return [`(${members.map(([s]) => s).join('')})`, members.map(([, v]) => v)]
    }),
    tie('typed')
      .filter(([signature]) => signature !== 'y')
      .chain(([signature, value]) =>
        fc.integer({ min: 0, max: 3 }).map((n): Typed => [`a${signature}`, Array<Value>(n).fill(value)]),
      ),
    fc
      .tuple(tie('typed'), fc.uniqueArray(text, { maxLength: 3 }))
      .map(([[signature, value], keys]): Typed => {
        return [`a{s${signature}}`, new Map<Value, Value>(keys.map(key => [key, value]))]
      }),
  ),
}))

const call: Message = {
  type: 1,
  serial: 1,
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
  member: 'Hello',
  destination: 'org.freedesktop.DBus',
  signature: '',
  body: [],
}

/** An answer such as GetSecret gives. */
const answer: Message = {
  type: 2,
  serial: 7,
  replySerial: 3,
  sender: ':1.5',
  signature: '(oayays)ao',
  body: [
    ['/s/1', Buffer.alloc(0), Buffer.from('sécret'), 'text/plain'],
    ['/a', '/b/c'],
  ],
}

test('writes the first message of every connection as the specification has it', () => {
  const bytes = encodeMessage(call)
  expect(bytes.subarray(0, 16).toString('hex')).toBe('6c010001' + '00000000' + '01000000' + '6d000000')
  expect(bytes.length).toBe(128)
  expect(bytes.subarray(16, 24).toString('hex')).toBe('01016f0015000000')
  expect(bytes.includes(Buffer.from('\x03\x01s\0\x05\0\0\0Hello\0', 'latin1'))).toBe(true)
})

test('what is written is read again, whatever the types', () => {
  fc.assert(
    fc.property(fc.array(typed, { maxLength: 4 }), members => {
      const signature = members.map(([s]) => s).join('')
      fc.pre(signature.length < 250)
      const values = members.map(([, v]) => v)
      expect(decodeValues(signature, encodeValues(signature, values))).toEqual(values)
    }),
    { numRuns: 400 },
  )
})

test('a message comes back whole, however it was cut on the way', () => {
  const both = Buffer.concat([encodeMessage(call), encodeMessage(answer)])
  for (let cut = 0; cut <= both.length; cut++) {
    const frames = new Frames()
    expect([...frames.push(both.subarray(0, cut)), ...frames.push(both.subarray(cut))]).toEqual([
      call,
      answer,
    ])
  }
  const frames = new Frames()
  const oneByOne = [...both].flatMap(byte => frames.push(Buffer.from([byte])))
  expect(oneByOne).toEqual([call, answer])
})

/** Decoding must end with values or with a DBusError, and soon. */
function decodesOrRefuses(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(DBusError)
    expect((error as DBusError).kind).toBe('malformed')
  }
}

describe('the decoder is total', () => {
  test('over random bytes of any signature', () => {
    const signature = fc.oneof(
      typed.map(([s]) => s),
      fc.string({ unit: fc.constantFrom(...'ybiuxtsogva(){}hz'), maxLength: 12 }),
    )
    fc.assert(
      fc.property(signature, fc.uint8Array({ maxLength: 200 }), (signature, bytes) => {
        decodesOrRefuses(() => decodeValues(signature, Buffer.from(bytes)))
      }),
      { numRuns: 1000 },
    )
  })

  test('over random streams', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), chunks => {
        const frames = new Frames()
        decodesOrRefuses(() => {
          for (const chunk of chunks) frames.push(Buffer.from(chunk))
        })
        // With a true start, so that more than the first check is met.
        const begun = new Frames()
        decodesOrRefuses(() => {
          begun.push(Buffer.from('6c020001', 'hex'))
          for (const chunk of chunks) begun.push(Buffer.from(chunk))
        })
      }),
      { numRuns: 500 },
    )
  })

  test('over every message cut short', () => {
    const whole = encodeMessage(answer)
    for (let length = 0; length < whole.length; length++) {
      expect(() => decodeMessage(whole.subarray(0, length))).toThrow(DBusError)
    }
  })

  test('over every message with one byte changed', () => {
    const whole = encodeMessage(answer)
    for (let at = 0; at < whole.length; at++) {
      for (const bit of [0x01, 0x08, 0x80, 0xff]) {
        const changed = Buffer.from(whole)
        changed[at]! ^= bit
        decodesOrRefuses(() => new Frames().push(changed))
        decodesOrRefuses(() => decodeMessage(changed))
      }
    }
  })
})

const refused: [name: string, signature: string, hex: string, message: string][] = [
  ['a string longer than the message', 's', 'ff000000' + '6100', 'malformed message: cut short'],
  ['an array longer than the message', 'au', 'f0ffffff', 'malformed message: cut short'],
  [
    'an array that ends within an element',
    'au',
    '06000000' + '01000000' + '0200',
    'malformed message: cut short',
  ],
  [
    'elements that overlap the end of their array',
    'as',
    '05000000' + '01000000' + '6100',
    'malformed message: array out of step',
  ],
  ['bytes left over', 'y', '0101', 'malformed message: bytes left over'],
  ['a variant of two types', 'v', '027979' + '00' + '0101', 'malformed message: bad variant'],
  ['a variant of none', 'v', '0000', 'malformed message: bad variant'],
  ['an unknown type', 'z', '00', 'malformed message: bad signature'],
  ['an array of nothing', 'a', '00000000', 'malformed message: bad signature'],
  ['a structure without an end', '(y', '00', 'malformed message: bad signature'],
  ['an empty structure', '()', '', 'malformed message: bad signature'],
  ['a dictionary whose key is an array', 'a{ayy}', '00000000', 'malformed message: bad dictionary'],
  ['a dictionary of three', 'a{yyy}', '00000000', 'malformed message: bad dictionary'],
  ['arrays a hundred deep', `${'a'.repeat(100)}y`, '00000000', 'malformed message: signature too deep'],
]
test.each(refused)('refuses %s', (_, signature, hex, message) => {
  let found: unknown
  try {
    decodeValues(signature, Buffer.from(hex, 'hex'))
  } catch (error) {
    found = error
  }
  expect(found).toBeInstanceOf(DBusError)
  expect(found).toMatchObject({ kind: 'malformed', message })
})

test('refuses variants nested without end', () => {
  const nested = Buffer.concat([
    ...Array.from({ length: 5000 }, () => Buffer.from('\x01v\0')),
    Buffer.from('\x01y\0\x07'),
  ])
  expect(() => decodeValues('v', nested)).toThrow('malformed message: too deep')
})

test('refuses a message beyond 16 MiB before any of it is kept', () => {
  const head = encodeMessage(call).subarray(0, 16)
  head.writeUInt32LE(maxMessageBytes, 4)
  expect(() => new Frames().push(head)).toThrow('malformed message: message too large')
  const fields = encodeMessage(call).subarray(0, 16)
  fields.writeUInt32LE(0xffff_fff0, 12)
  expect(() => new Frames().push(fields)).toThrow('malformed message: message too large')
})

test('refuses another byte order and another version', () => {
  const big = encodeMessage(call)
  big[0] = 0x42
  expect(() => new Frames().push(big)).toThrow('malformed message: not little-endian, version 1')
  const later = encodeMessage(call)
  later[3] = 2
  expect(() => decodeMessage(later)).toThrow('malformed message: not little-endian, version 1')
})

test('refuses a header field of the wrong type, and passes over fields it does not know', () => {
  const wrong = encodeMessage({ ...call, member: 'Hello' })
  const at = wrong.indexOf(Buffer.from('\x03\x01s\0', 'latin1'))
  wrong[at + 2] = 'o'.charCodeAt(0)
  expect(() => decodeMessage(wrong)).toThrow('malformed message: bad header field')
  const unknown = encodeMessage(call)
  unknown[at] = 77
  const { member: _, ...rest } = call
  expect(decodeMessage(unknown)).toEqual(rest)
})
