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
 * (`unsafe`), not let in (`refused`), nothing left to connect with (`exhausted`), gone or busy (`closed`), nonsense
 * (`malformed`), or an error reply (`answered`, with its name).
 */
export class DBusError extends Error {
  readonly kind: 'unreachable' | 'unsafe' | 'refused' | 'exhausted' | 'closed' | 'malformed' | 'answered'
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

// The two accessors stand for all three: `x` and `t` are bigint, `i` a number. `y` and `u` are read and written below.
const numbers: { readonly [code: string]: readonly [bytes: number, accessor: 'Int32LE' | 'BigInt64LE'] } = {
  i: [4, 'Int32LE'],
  x: [8, 'BigInt64LE'],
  t: [8, 'BigUInt64LE' as 'BigInt64LE'],
}

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
  return '({xt'.includes(code) ? 8 : 4
}

// Both run once or twice in a process: few functions of ours, and none of the language that is written in JavaScript
// itself, are what is soonest done.

class Writer {
  #bytes = Buffer.alloc(512)
  #at = 0

  get written(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  take(bytes: number, align: number): number {
    const start = (this.#at + align - 1) & -align
    this.#at = start + bytes
    if (this.#at > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], this.#at * 2)
    return start
  }

  byte(value: number): void {
    const start = this.take(1, 1)
    this.#bytes[start] = value
  }

  uint32(value: number, start = this.take(4, 4)): void {
    const bytes = this.#bytes
    bytes[start] = value
    bytes[start + 1] = value >>> 8
    bytes[start + 2] = value >>> 16
    bytes[start + 3] = value >>> 24
  }

  /** With its length before it, and the NUL that is there already. */
  text(value: string, isSignature: boolean): void {
    const length = Buffer.byteLength(value)
    if (isSignature) this.byte(length)
    else this.uint32(length)
    const start = this.take(length + 1, 1)
    this.#bytes.write(value, start)
  }

  bytes(value: Uint8Array): void {
    const start = this.take(value.length, 1)
    this.#bytes.set(value, start)
  }

  value({ code, of }: Type, value: Value): void {
    if (code === 's' || code === 'o' || code === 'g') this.text(value as string, code === 'g')
    else if (code === 'u') this.uint32(value as number)
    else if (code === 'y') this.byte(value as number)
    else if (code === 'b') this.uint32(value === true ? 1 : 0)
    else if (code === 'v') {
      const variant = value as Variant
      this.text(variant.signature, true)
      this.value(parseSignature(variant.signature)[0]!, variant.value)
    } else if (code === 'a') {
      const head = this.take(4, 4)
      const start = this.take(0, alignmentOf(of[0]!.code))
      if (Buffer.isBuffer(value)) this.bytes(value)
      else for (const item of value as Iterable<Value>) this.value(of[0]!, item)
      this.uint32(this.#at - start, head)
    } else if (of.length > 0) {
      this.take(0, 8)
      for (let i = 0; i < of.length; i++) this.value(of[i]!, (value as Value[])[i]!)
    } else {
      const [bytes, accessor] = numbers[code]!
      const start = this.take(bytes, bytes)
      this.#bytes[`write${accessor}`](value as never, start)
    }
  }
}

/** Writes values one after the other, aligned from the start of the buffer. */
export function encodeValues(signature: string, values: readonly Value[]): Buffer {
  const writer = new Writer()
  const types = parseSignature(signature)
  for (let i = 0; i < types.length; i++) writer.value(types[i]!, values[i]!)
  return writer.written
}

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  take(bytes: number, align: number): number {
    const start = (this.at + align - 1) & -align
    if (start + bytes > this.#bytes.length) throw malformed('cut short')
    this.at = start + bytes
    return start
  }

  byte(): number {
    const start = this.take(1, 1)
    return this.#bytes[start]!
  }

  uint32(): number {
    return uint32At(this.#bytes, this.take(4, 4))
  }

  text(isSignature: boolean): string {
    const length = isSignature ? this.byte() : this.uint32()
    const start = this.take(length + 1, 1)
    return this.#bytes.toString('utf8', start, start + length)
  }

  value({ code, of }: Type, depth: number): Value {
    if (depth > maxDepth) throw malformed('too deep')
    if (code === 's' || code === 'o' || code === 'g') return this.text(code === 'g')
    if (code === 'u') return this.uint32()
    if (code === 'y') return this.byte()
    if (code === 'b') return this.uint32() !== 0
    if (code === 'v') return this.variant(depth)
    if (code === 'a') return this.#array(of[0]!, depth + 1)
    if (of.length > 0) {
      this.take(0, 8)
      return this.values(of, depth + 1)
    }
    const [bytes, accessor] = numbers[code]!
    const start = this.take(bytes, bytes)
    return this.#bytes[`read${accessor}`](start)
  }

  values(types: readonly Type[], depth: number): Value[] {
    const values: Value[] = []
    for (let i = 0; i < types.length; i++) values.push(this.value(types[i]!, depth))
    return values
  }

  variant(depth: number): Variant {
    const signature = this.text(true)
    if (signature === 's' || signature === 'o') return { signature, value: this.text(false) }
    const types = parseSignature(signature)
    if (types.length !== 1) throw malformed('bad variant')
    return { signature, value: this.value(types[0]!, depth + 1) }
  }

  #array(element: Type, depth: number): Value {
    const length = this.uint32()
    const start = this.take(0, alignmentOf(element.code))
    const end = start + length
    if (end > this.#bytes.length) throw malformed('cut short')
    if (element.code === 'y') return this.#bytes.subarray(this.take(length, 1), end)
    const items: Value[] = []
    // Every value is at least one byte long, so this ends.
    while (this.at < end) items.push(this.value(element, depth))
    if (this.at !== end) throw malformed('array out of step')
    return element.code === '{' ? new Map(items as [Value, Value][]) : items
  }
}

function uint32At(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

/**
 * Reads values one after the other, to the end of the buffer, which must be used up.
 *
 * @throws {DBusError} `malformed`
 */
export function decodeValues(signature: string, buffer: Buffer): Value[] {
  const reader = new Reader(buffer, 0)
  const values = reader.values(parseSignature(signature), 0)
  if (reader.at !== buffer.length) throw malformed('bytes left over')
  return values
}

/** The header's fields by their codes from 1 on, with the one type that each has. */
const fields = [
  ['path', 'o'],
  ['interface', 's'],
  ['member', 's'],
  ['errorName', 's'],
  ['replySerial', 'u'],
  ['destination', 's'],
  ['sender', 's'],
  ['signature', 'g'],
] as const

const headBytes = 16

/** Writes a whole message. */
export function encodeMessage(message: Message): Buffer {
  const body = message.signature === '' ? noBytes : encodeValues(message.signature, message.body)
  const writer = new Writer()
  writer.take(headBytes, 1)
  for (let i = 0; i < fields.length; i++) {
    const [field, type] = fields[i]!
    const value = message[field]
    if (value === undefined || value === '') continue
    writer.take(0, 8)
    writer.byte(i + 1)
    writer.text(type, true)
    if (type === 'u') writer.uint32(value as number)
    else writer.text(value as string, type === 'g')
  }
  const headEnd = writer.take(0, 1)
  // Little-endian, version 1.
  writer.uint32(0x01_00_00_6c | (message.type << 8), 0)
  writer.uint32(body.length, 4)
  writer.uint32(message.serial, 8)
  writer.uint32(headEnd - headBytes, 12)
  writer.take(0, 8)
  writer.bytes(body)
  return writer.written
}

const noBytes = Buffer.alloc(0)

/**
 * Reads a whole message.
 *
 * @throws {DBusError} `malformed`
 */
export function decodeMessage(buffer: Buffer): Message {
  if (buffer.length < headBytes) throw malformed('cut short')
  const [headEnd, bodyStart] = measure(buffer)
  if (headEnd > buffer.length) throw malformed('cut short')
  const reader = new Reader(buffer.subarray(0, headEnd), headBytes)
  const found: { [field: string]: Value } = {}
  while (reader.at < headEnd) {
    reader.take(0, 8)
    const [field, type] = fields[reader.byte() - 1] ?? []
    const { signature, value } = reader.variant(0)
    if (field !== undefined && signature !== type) throw malformed('bad header field')
    if (field !== undefined) found[field] = value
  }
  const signature = (found['signature'] ?? '') as string
  const body =
    signature === '' && bodyStart === buffer.length ? [] : decodeValues(signature, buffer.subarray(bodyStart))
  return { ...found, type: buffer[1]!, serial: uint32At(buffer, 8), signature, body }
}

function measure(head: Buffer): [headEnd: number, bodyStart: number, end: number] {
  const headEnd = headBytes + uint32At(head, 12)
  const bodyStart = Math.ceil(headEnd / 8) * 8
  const end = bodyStart + uint32At(head, 4)
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
    let rest = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
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
