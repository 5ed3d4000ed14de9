import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import { describeFailure, type Phase } from './network-failure.ts'
import { type HttpRequest, type HttpResponse, TransportError } from './transport.ts'
import type { Wire, WireEvents } from './wire.ts'

/** Bytes of a decoded body that are taken; more is refused. */
export const maxBodyBytes = 1_048_576
/** Bytes of all headers of an answer that are taken. */
export const maxHeaderBytes = 16_384
/** Milliseconds for name lookup, connection and TLS handshake together. */
export const connectTimeoutMs = 10_000

/**
 * Sees one request through: deadlines, the caller's leave, the cap on the body, its decoding.
 * Every transport goes through here, so that they cannot differ in any of it.
 *
 * @param open - Makes the wire; what it loads counts against the deadline.
 * @param proxy - `HOST:PORT` of the proxy in between.
 */
export async function exchange(
  request: HttpRequest,
  url: URL,
  proxy: string | undefined,
  clock: Clock,
  open: () => Promise<Wire>,
): Promise<HttpResponse> {
  const place = { host: url.host, proxy }
  const answer = await new Promise<RawAnswer>((resolve, reject) => {
    const over = new AbortController()
    const connected = new AbortController()
    const startedAt = clock.monotonic()
    let deadline = new AbortController()
    const chunks: Uint8Array[] = []
    let phase: Phase = 'connecting'
    let size = 0
    let status = 0
    let headAt = 0
    let headers: Readonly<Record<string, string>> = {}
    let close = (): void => {}

    const settle = (finish: () => void): void => {
      if (over.signal.aborted) return
      over.abort()
      connected.abort()
      deadline.abort()
      request.signal?.removeEventListener('abort', leave)
      close()
      finish()
    }
    const fail = (error: Error): void => settle(() => reject(error))
    const leave = (): void => settle(() => reject(request.signal?.reason))

    if (request.signal?.aborted) return leave()
    request.signal?.addEventListener('abort', leave)
    const endAfter = (ms: number, limitMs: number): void => {
      deadline.abort()
      deadline = new AbortController()
      const { signal } = deadline
      void clock.sleep(ms, signal).then(() => {
        if (!signal.aborted) fail(tooSlow(url.host, phase, limitMs))
      })
    }
    endAfter(request.timeoutMs, request.timeoutMs)
    if (connectTimeoutMs < request.timeoutMs) {
      void clock.sleep(connectTimeoutMs, connected.signal).then(() => {
        if (phase === 'connecting') fail(tooSlow(proxy ?? url.host, phase, connectTimeoutMs))
      })
    }

    const events: WireEvents = {
      connected() {
        if (over.signal.aborted) return
        phase = 'waiting'
        connected.abort()
        if (request.onSent === undefined) return
        request.signal?.removeEventListener('abort', leave)
        const { answerTimeoutMs = 0 } = request
        const leftMs = request.timeoutMs - (clock.monotonic() - startedAt)
        if (answerTimeoutMs > leftMs) endAfter(answerTimeoutMs, answerTimeoutMs)
        request.onSent()
      },
      head(code, rawHeaders) {
        if (code === 101) return fail(switched(url.host))
        // An informational answer; the real one follows (RFC 9110 §15.2).
        if (code < 200) return
        phase = 'reading'
        status = code
        headAt = clock.monotonic()
        headers = joinHeaders(rawHeaders)
      },
      data(chunk) {
        size += chunk.length
        if (size > maxBodyBytes) fail(tooLarge(url.host))
        else chunks.push(chunk)
      },
      end: () => settle(() => resolve({ status, headers, headAt, body: Buffer.concat(chunks) })),
      fail: error => fail(describeFailure(error, phase, place)),
    }
    open().then(
      wire => {
        if (over.signal.aborted) return
        try {
          close = wire(events)
          // It may have failed before it returned.
          if (over.signal.aborted) close()
        } catch (error) {
          events.fail(error)
        }
      },
      error => fail(error instanceof Error ? error : new Error('transport cannot be loaded')),
    )
  })
  const { status, headers, headAt } = answer
  return { status, headers, headAt, body: await decodeBody(answer, url.host) }
}

interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly headAt: number
  readonly body: Buffer
}

function joinHeaders(raw: readonly string[]): Readonly<Record<string, string>> {
  const headers: Record<string, string> = Object.create(null)
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    const value = raw[i + 1] ?? ''
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
  }
  return headers
}

function tooSlow(host: string, phase: Phase, ms: number): TransportError {
  const limit = ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`
  const what =
    phase === 'connecting'
      ? 'cannot be connected to'
      : phase === 'waiting'
        ? 'did not answer'
        : 'did not finish its answer'
  const error = new TransportError('timeout', `${host} ${what} within ${limit}`, true)
  return phase === 'connecting' ? error.unsent() : error
}

// Without having been asked to: no answer will follow.
function switched(host: string): TransportError {
  const message = `${host} answered 101: it switches to a protocol that was not asked for`
  return new TransportError('invalid_response', message, false)
}

function tooLarge(host: string): TokctlError {
  return new TokctlError('invalid_response', `answer of ${host} is larger than 1 MiB`)
}

async function decodeBody({ headers, body }: RawAnswer, host: string): Promise<string> {
  const encoding = headers['content-encoding']?.trim().toLowerCase() || 'identity'
  const plain = encoding === 'identity' || body.length === 0 ? body : await decompress(body, encoding, host)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(plain)
  } catch {
    throw new TokctlError('invalid_response', `answer of ${host} is not UTF-8`)
  }
}

// We ask for identity, but some gateways compress all the same.
async function decompress(body: Buffer, encoding: string, host: string): Promise<Buffer> {
  const zlib = await import('node:zlib')
  const limit = { maxOutputLength: maxBodyBytes }
  try {
    if (encoding === 'gzip' || encoding === 'x-gzip') return zlib.gunzipSync(body, limit)
    if (encoding === 'br') return zlib.brotliDecompressSync(body, limit)
    // RFC 9110 §8.4.1.2 means the zlib format; some servers send the bare one, which never starts with this nibble.
    if (encoding === 'deflate') {
      return ((body[0] ?? 0) & 0x0f) === 8 ? zlib.inflateSync(body, limit) : zlib.inflateRawSync(body, limit)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(host)
    throw new TokctlError('invalid_response', `answer of ${host} cannot be decompressed (${encoding})`)
  }
  throw new TokctlError('invalid_response', `answer of ${host} is encoded in a way that was not asked for`)
}
