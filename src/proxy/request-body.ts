import type { IncomingMessage } from 'node:http'
import { Transform } from 'node:stream'

/** Bodies up to this size are kept until the answer is there, so that a request can be sent a second time. */
export const keptBodyBytes = 65_536

/** The client sent more than it may, or went away in the middle. */
export class BodyFailure extends Error {
  readonly status: 400 | 408 | 413

  constructor(status: 400 | 408 | 413, message: string) {
    super(message)
    this.status = status
  }
}

/** The body of a request on its way to the upstream. */
export type RequestBody =
  | { readonly kind: 'none' }
  /** Whole in memory. */
  | { readonly kind: 'kept'; readonly bytes: Buffer }
  | { readonly kind: 'stream'; readonly stream: Transform; readonly repeatable: () => Buffer | undefined }

/** Told while a body is taken. */
export interface BodyEvents {
  /** It will be taken: nothing that its header says stands against it. */
  onBegin(): void
  /** The client sent something. */
  onProgress(): void
}

/** Tells whether a body follows the header. */
export function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length']
  return length === undefined ? headers['transfer-encoding'] !== undefined : length !== '0'
}

/**
 * Takes the body of a request: a short one whole, a long one as a stream that remembers its beginning.
 *
 * @throws {BodyFailure} too much, or the client left
 */
export async function takeBody(
  incoming: IncomingMessage,
  maxBytes: number,
  events: BodyEvents,
): Promise<RequestBody> {
  const length = incoming.headers['content-length']
  if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes)
  events.onBegin()
  if (length !== undefined && Number(length) <= keptBodyBytes) {
    return { kind: 'kept', bytes: await readWhole(incoming, events) }
  }
  return streamed(incoming, maxBytes, events)
}

function readWhole(incoming: IncomingMessage, { onProgress }: BodyEvents): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => {
      onProgress()
      chunks.push(chunk)
    })
    incoming.on('end', () => resolve(Buffer.concat(chunks)))
    incoming.on('error', () => reject(left()))
    incoming.on('close', () => reject(left()))
  })
}

function streamed(incoming: IncomingMessage, maxBytes: number, { onProgress }: BodyEvents): RequestBody {
  let kept: Buffer[] | undefined = []
  let size = 0
  let isWhole = false
  const stream = new Transform({
    transform(chunk: Buffer, _, done) {
      onProgress()
      size += chunk.length
      if (size > keptBodyBytes) kept = undefined
      kept?.push(chunk)
      if (size > maxBytes) done(tooLarge(maxBytes))
      else done(null, chunk)
    },
    flush(done) {
      isWhole = true
      done()
    },
  })
  incoming.on('error', () => stream.destroy(left()))
  incoming.on('close', () => {
    if (!incoming.complete) stream.destroy(left())
  })
  // Whoever does not take it to its end hears of it from the answer, not from here.
  stream.on('error', () => {})
  incoming.pipe(stream)
  return {
    kind: 'stream',
    stream,
    repeatable: () => (isWhole && kept !== undefined ? Buffer.concat(kept) : undefined),
  }
}

function tooLarge(maxBytes: number): BodyFailure {
  return new BodyFailure(413, `the body is longer than ${maxBytes} bytes`)
}

function left(): BodyFailure {
  return new BodyFailure(400, 'the client left in the middle of its request')
}
