import { maxHeaderBytes } from './exchange.ts'

// One answer of HTTP/1.1 as it comes over a connection that ends with it (RFC 9112). Read as strictly as Node does: whatever
// could be understood in two ways is refused. The codes of its errors are those of Node's parser, which messages are made of.

/** Told of an answer, part by part. */
export interface HttpReaderEvents {
  /** Also of each informational one before it. @param rawHeaders - Names and values in turn, as they came. */
  head(status: number, rawHeaders: readonly string[]): void
  data(chunk: Uint8Array): void
  /** The answer is whole; what comes after it is not looked at. */
  end(): void
}

/** Reads one answer from the bytes of a connection. */
export interface HttpReader {
  /** @throws An error with a `code` that begins with `HPE_`: that is no HTTP, or too much of it */
  take(chunk: Uint8Array): void
  /**
   * The connection has ended.
   *
   * @throws An error of code `ECONNRESET` where the answer is not whole
   */
  close(): void
}

/** What comes next on the connection. */
type State = 'head' | 'length' | 'rest' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailers' | 'done'

const statusLine = /^HTTP\/1\.[01] ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/
const fieldLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/
const chunkLine = /^0*([0-9a-fA-F]{1,16})(;[\t\x20-\x7e\x80-\xff]*)?$/
const start = Buffer.from('HTTP/1.')

/** Makes a reader for one answer to a request that was no HEAD. */
export function httpReader(events: HttpReaderEvents): HttpReader {
  let state: State = 'head'
  /** Of a head, a chunk's first line or its end: what has come of it. */
  let kept = Buffer.alloc(0)
  /** Bytes of the body, or of this chunk, that are still to come. */
  let left = 0
  /** Bytes of this head, this chunk's first line, or the trailers. */
  let size = 0
  /** Bytes of the extensions of all chunks. */
  let extensions = 0

  function line(): string | undefined {
    const end = kept.indexOf(0x0a)
    if (size + (end < 0 ? kept.length : end + 1) > maxHeaderBytes) {
      throw fault(state === 'chunk-size' ? 'HPE_CHUNK_EXTENSIONS_OVERFLOW' : 'HPE_HEADER_OVERFLOW')
    }
    if (end < 0) return undefined
    if (kept[end - 1] !== 0x0d) throw fault('HPE_CR_EXPECTED')
    size += end + 1
    const text = kept.toString('latin1', 0, end - 1)
    kept = kept.subarray(end + 1)
    return text
  }

  let status = 0
  let headers: string[] = []

  function readHead(): boolean {
    if (status === 0) {
      skipEmptyLines()
      const known = Math.min(kept.length, start.length)
      if (!kept.subarray(0, known).equals(start.subarray(0, known))) throw fault('HPE_INVALID_CONSTANT')
    }
    const text = line()
    if (text === undefined) return false
    if (status === 0) {
      status = Number(statusLine.exec(text)?.[1] ?? 0)
      if (status === 0) throw fault('HPE_INVALID_STATUS')
    } else if (text === '') endHead()
    else headers.push(...field(text))
    return true
  }

  // Of an answer before it, say (RFC 9112 §2.2).
  function skipEmptyLines(): void {
    const from = kept.findIndex(byte => byte !== 0x0d && byte !== 0x0a)
    const skipped = from < 0 ? kept.length : from
    size += skipped
    kept = kept.subarray(skipped)
  }

  function endHead(): void {
    const [code, fields] = [status, headers]
    status = 0
    headers = []
    // There may be many before the answer itself; whoever waits for that one keeps the time.
    size = 0
    if (code >= 200 || code === 101) state = framing(code, fields)
    events.head(code, fields)
    // Nothing of it is to come.
    if (state === 'length' && left === 0) finish()
  }

  // RFC 9112 §6.3
  function framing(code: number, fields: readonly string[]): State {
    const codings = valuesOf(fields, 'transfer-encoding')
    const lengths = valuesOf(fields, 'content-length')
    left = 0
    if (code === 101 || code === 204 || code === 304) return 'length'
    if (codings.length > 0) {
      if (lengths.length > 0) throw fault('HPE_UNEXPECTED_CONTENT_LENGTH')
      const coding = codings.join().toLowerCase()
      // Of RFC 2616: none at all.
      if (coding === 'identity') return 'rest'
      if (coding !== 'chunked') throw fault('HPE_INVALID_TRANSFER_ENCODING')
      return 'chunk-size'
    }
    if (lengths.length === 0) return 'rest'
    const [length = ''] = lengths
    if (lengths.length > 1) throw fault('HPE_UNEXPECTED_CONTENT_LENGTH')
    if (!/^\d{1,15}$/.test(length)) throw fault('HPE_INVALID_CONTENT_LENGTH')
    left = Number(length)
    return 'length'
  }

  function readChunkSize(): boolean {
    const text = line()
    if (text === undefined) return false
    const [, digits, extension = ''] = chunkLine.exec(text) ?? []
    if (digits === undefined) throw fault('HPE_INVALID_CHUNK_SIZE')
    extensions += extension.length
    if (extensions > maxHeaderBytes) throw fault('HPE_CHUNK_EXTENSIONS_OVERFLOW')
    // Of no interest any more: each chunk has a first line, and there may be many.
    size = 0
    left = Number.parseInt(digits, 16)
    state = left === 0 ? 'trailers' : 'chunk'
    return true
  }

  function readChunkEnd(): boolean {
    if (kept.length < 2) return false
    if (kept[0] !== 0x0d || kept[1] !== 0x0a) throw fault('HPE_STRICT')
    kept = kept.subarray(2)
    state = 'chunk-size'
    return true
  }

  function readTrailer(): boolean {
    const text = line()
    if (text === undefined) return false
    if (text === '') finish()
    else field(text)
    return true
  }

  function readData(): boolean {
    if (kept.length === 0) return false
    const bytes = state === 'rest' ? kept : kept.subarray(0, left)
    kept = kept.subarray(bytes.length)
    left -= bytes.length
    events.data(bytes)
    if (state === 'length' && left === 0) finish()
    else if (state === 'chunk' && left === 0) state = 'chunk-end'
    return true
  }

  function finish(): void {
    state = 'done'
    events.end()
  }

  const steps: Readonly<Record<Exclude<State, 'done'>, () => boolean>> = {
    head: readHead,
    length: readData,
    rest: readData,
    chunk: readData,
    'chunk-size': readChunkSize,
    'chunk-end': readChunkEnd,
    trailers: readTrailer,
  }

  return {
    take(chunk) {
      // What the runtime tells of may be overwritten by what comes next.
      kept = Buffer.concat([kept, chunk])
      while (state !== 'done' && steps[state]()) {}
    },
    close() {
      if (state === 'done') return
      if (state !== 'rest') throw fault('ECONNRESET')
      finish()
    },
  }
}

function field(text: string): [name: string, value: string] {
  const [, name, value] = fieldLine.exec(text) ?? []
  if (name === undefined || value === undefined) throw fault('HPE_INVALID_HEADER_TOKEN')
  return [name, value.trim()]
}

function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, at) => at % 2 === 1 && fields[at - 1]?.toLowerCase() === name)
}

function fault(code: string): Error {
  return Object.assign(new Error(code), { code })
}
