// The part of the D-Bus wire format that a client needs: little-endian, no file descriptors.
// What arrives is not trusted: whatever it is, decoding ends, and throws DBusError or nothing.

/** A value on the wire: `ay` is a Buffer, a dictionary a Map, a structure or another array an array, `x` and `t` bigint. */
export type Value = number | bigint | boolean | string | Buffer | Variant | Value[] | Map<Value, Value>

/** A value that brings its own type. */
export interface Variant {
  readonly signature: string
  readonly value: Value
}

/** One message; the header fields that it lacks are `undefined`. */
export interface Message
  extends Partial<Record<'path' | 'interface' | 'member' | 'errorName' | 'destination' | 'sender', string>> {
  /** 1 a call, 2 its reply, 3 an error reply, 4 a signal. */
  readonly type: number
  readonly serial: number
  readonly replySerial?: number
  readonly signature: string
  readonly body: Value[]
}

/**
 * Everything that goes wrong on a bus. `kind`: no such bus (`unreachable`), a socket that may be somebody else's
 * (`unsafe`), not let in (`refused`), gone (`closed`), nonsense (`malformed`), or an error reply (`answered`, with its name).
 */
export class DBusError extends Error {
  readonly kind: 'unreachable' | 'unsafe' | 'refused' | 'closed' | 'malformed' | 'answered'
  readonly errorName: string | undefined

  constructor(kind: DBusError['kind'], message: string, errorName?: string) {
    super(message)
    this.kind = kind
    this.errorName = errorName
  }
}

const maxMessageBytes = 16 * 1024 * 1024
const maxDepth = 64

interface Type {
  readonly code: string
  readonly of: readonly Type[]
}

// The two accessors stand for all five: `x` and `t` are bigint, the others number.
const numbers: { readonly [code: string]: readonly [bytes: number, accessor: 'UInt8' | 'BigInt64LE'] } = {
  y: [1, 'UInt8'],
  i: [4, 'Int32LE' as 'UInt8'],
  u: [4, 'UInt32LE' as 'UInt8'],
  x: [8, 'BigInt64LE'],
  t: [8, 'BigUInt64LE' as 'BigInt64LE'],
}
const uint32: Type = { code: 'u', of: [] }
const signatureType: Type = { code: 'g', of: [] }

function malformed(what: string): DBusError {
  return new DBusError('malformed', `malformed message: ${what}`)
}

function parseSignature(signature: string): Type[] {
  let at = 0
  const types: Type[] = []
  while (at < signature.length) types.push(one(0))
  return types

  function one(depth: number): Type {
    const code = signature[at++] ?? ' '
    if (depth > maxDepth) throw malformed('signature too deep')
    if ('yiuxtbsogv'.includes(code)) return { code, of: [] }
    if (code === 'a' && signature[at] !== '{') return { code, of: [one(depth + 1)] }
    if (code !== 'a' && code !== '(') throw malformed('bad signature')
    if (code === 'a') at++
    const of: Type[] = []
    do of.push(one(depth + 1))
    while (signature[at] !== (code === 'a' ? '}' : ')'))
    at++
    if (code === '(') return { code, of }
    if (of.length !== 2 || 'av('.includes(of[0]!.code)) throw malformed('bad dictionary')
    return { code, of: [{ code: '{', of }] }
  }
}

function alignmentOf(code: string): number {
  if ('ygv'.includes(code)) return 1
  return '({'.includes(code) ? 8 : (numbers[code]?.[0] ?? 4)
}

/** Writes values one after the other, aligned from the start of the buffer. */
export function encodeValues(signature: string, values: readonly Value[]): Buffer {
  let buffer = Buffer.alloc(512)
  let at = 0
  for (const [i, type] of parseSignature(signature).entries()) write(type, values[i]!)
  return buffer.subarray(0, at)

  function take(bytes: number, align: number): number {
    const start = Math.ceil(at / align) * align
    at = start + bytes
    if (at > buffer.length) buffer = Buffer.concat([buffer], at * 2)
    return start
  }

  function write({ code, of }: Type, value: Value): void {
    const number = numbers[code]
    if (number !== undefined) {
      const start = take(number[0], number[0])
      buffer[`write${number[1]}`](value as never, start)
    } else if (code === 'b') write(uint32, value === true ? 1 : 0)
    else if (code === 'v') {
      const variant = value as Variant
      write(signatureType, variant.signature)
      write(parseSignature(variant.signature)[0]!, variant.value)
    } else if (code === 'a') {
      const head = take(4, 4)
      const start = take(0, alignmentOf(of[0]!.code))
      if (Buffer.isBuffer(value)) take(value.length, 1)
      if (Buffer.isBuffer(value)) buffer.set(value, start)
      else for (const item of value as Iterable<Value>) write(of[0]!, item)
      buffer.writeUInt32LE(at - start, head)
    } else if (of.length > 0) {
      take(0, 8)
      for (const [i, type] of of.entries()) write(type, (value as Value[])[i]!)
    } else {
      const bytes = Buffer.from(`${value}\0`)
      write(code === 'g' ? { code: 'y', of } : uint32, bytes.length - 1)
      const start = take(bytes.length, 1)
      buffer.set(bytes, start)
    }
  }
}

/**
 * Reads values one after the other, to the end of the buffer, which must be used up.
 *
 * @throws {DBusError} `malformed`
 */
export function decodeValues(signature: string, buffer: Buffer): Value[] {
  let at = 0
  const values = parseSignature(signature).map(type => read(type, 0))
  if (at !== buffer.length) throw malformed('bytes left over')
  return values

  function take(bytes: number, align: number): number {
    const start = Math.ceil(at / align) * align
    if (start + bytes > buffer.length) throw malformed('cut short')
    at = start + bytes
    return start
  }

  function read({ code, of }: Type, depth: number): Value {
    if (depth > maxDepth) throw malformed('too deep')
    const number = numbers[code]
    if (number !== undefined) return buffer[`read${number[1]}`](take(number[0], number[0]))
    if (code === 'b') return read(uint32, depth) !== 0
    if (code === 'v') {
      const inner = read(signatureType, depth) as string
      const types = parseSignature(inner)
      if (types.length !== 1) throw malformed('bad variant')
      return { signature: inner, value: read(types[0]!, depth + 1) }
    }
    if (code === 'a') return readArray(of[0]!, depth + 1)
    if (of.length > 0) {
      take(0, 8)
      return of.map(type => read(type, depth + 1))
    }
    const length = read(code === 'g' ? { code: 'y', of } : uint32, depth) as number
    const start = take(length + 1, 1)
    return buffer.toString('utf8', start, start + length)
  }

  function readArray(element: Type, depth: number): Value {
    const length = read(uint32, depth) as number
    const start = take(0, alignmentOf(element.code))
    if (start + length > buffer.length) throw malformed('cut short')
    if (element.code === 'y') return buffer.subarray(take(length, 1), at)
    const items: Value[] = []
    // Every value is at least one byte long, so this ends.
    while (at < start + length) items.push(read(element, depth))
    if (at !== start + length) throw malformed('array out of step')
    return element.code === '{' ? new Map(items as [Value, Value][]) : items
  }
}

const headerSignature = 'yyyyuua(yv)'
const fields = 'path interface member errorName replySerial destination sender signature'.split(' ')
const fieldTypes = 'osssussg'

/** Writes a whole message. */
export function encodeMessage(message: Message): Buffer {
  const body = encodeValues(message.signature, message.body)
  const entries = fields.flatMap((field, i): Value[] => {
    const value = message[field as keyof Message]
    return value === undefined || value === '' ? [] : [[i + 1, { signature: fieldTypes[i]!, value }]]
  })
  const head = encodeValues(headerSignature, [0x6c, message.type, 0, 1, body.length, message.serial, entries])
  return Buffer.concat([head, Buffer.alloc(-head.length & 7), body])
}

/**
 * Reads a whole message.
 *
 * @throws {DBusError} `malformed`
 */
export function decodeMessage(buffer: Buffer): Message {
  if (buffer.length < 16) throw malformed('cut short')
  const [headEnd, bodyStart] = measure(buffer)
  const head = decodeValues(headerSignature, buffer.subarray(0, headEnd))
  const found: { [field: string]: Value } = {}
  for (const [code, { signature, value }] of head[6] as [number, Variant][]) {
    const field = fields[code - 1]
    if (field !== undefined && signature !== fieldTypes[code - 1]) throw malformed('bad header field')
    if (field !== undefined) found[field] = value
  }
  const signature = (found['signature'] ?? '') as string
  const body = decodeValues(signature, buffer.subarray(bodyStart))
  return { ...found, type: head[1] as number, serial: head[5] as number, signature, body }
}

function measure(head: Buffer): [headEnd: number, bodyStart: number, end: number] {
  const headEnd = 16 + head.readUInt32LE(12)
  const bodyStart = Math.ceil(headEnd / 8) * 8
  const end = bodyStart + head.readUInt32LE(4)
  if (head[0] !== 0x6c || head[3] !== 1) throw malformed('not little-endian, version 1')
  if (end > maxMessageBytes) throw malformed('message too large')
  return [headEnd, bodyStart, end]
}

/** Cuts a stream of bytes into messages, however it was split on the way. */
export class Frames {
  #chunks: Buffer[] = []
  #length = 0

  /** @throws {DBusError} `malformed`, also for a message beyond 16 MiB; the stream cannot be used any further then */
  push(chunk: Buffer): Message[] {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    if (this.#length < 16) return []
    // Only the first chunk must hold a head; a large body is put together once, when all of it is here.
    if (this.#chunks[0]!.length < 16) this.#chunks = [Buffer.concat(this.#chunks)]
    if (this.#length < measure(this.#chunks[0]!)[2]) return []
    let rest = Buffer.concat(this.#chunks)
    const messages: Message[] = []
    while (rest.length >= 16) {
      const end = measure(rest)[2]
      if (rest.length < end) break
      messages.push(decodeMessage(rest.subarray(0, end)))
      rest = rest.subarray(end)
    }
    this.#chunks = rest.length > 0 ? [rest] : []
    this.#length = rest.length
    return messages
  }
}
