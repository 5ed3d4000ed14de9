import { request } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { RequestBody } from './request-body.ts'

/** A request as undici takes it, and what follows its body. */
export interface TrailingRequest {
  readonly method: string
  readonly path: string
  /** Name, value, name, value … */
  readonly headers: readonly string[]
  readonly body: RequestBody
  /** Read once the body has ended. */
  trailers(): readonly [string, string][]
}

const headersMs = 300_000
const maxHeaderBytes = 65_536

/**
 * Sends a request that announces trailer fields, which undici cannot send, over a connection of its own (RFC 9110 §6.5), and
 * tells of its answer what undici would tell.
 */
export function sendWithTrailers(
  { method, path, headers, body, trailers }: TrailingRequest,
  connect: () => Promise<Duplex>,
  handler: Dispatcher.DispatchHandler,
): void {
  let failure: Error | undefined
  let end = (error: Error): void => {
    failure ??= error
  }
  let paused = false
  let resume = (): void => {}
  let pause = (): void => {}
  const controller = {
    rawHeaders: null as string[] | null,
    rawTrailers: null as string[] | null,
    get aborted() {
      return failure !== undefined
    },
    get paused() {
      return paused
    },
    get reason() {
      return failure ?? null
    },
    abort: (reason: Error) => end(reason),
    pause() {
      paused = true
      pause()
    },
    resume() {
      paused = false
      resume()
    },
  }
  let isOver = false
  const fail = (error: Error): void => {
    if (isOver) return
    isOver = true
    if (body.kind === 'stream') body.stream.destroy()
    handler.onResponseError?.(controller, failure ?? error)
  }
  handler.onRequestStart?.(controller, undefined)
  connect().then(socket => {
    if (failure !== undefined) {
      socket.destroy()
      return fail(failure)
    }
    const onward = request({
      method,
      path,
      headers: [...headers, 'connection', 'close', 'transfer-encoding', 'chunked'],
      maxHeaderSize: maxHeaderBytes,
      createConnection: () => socket,
    })
    let limit: NodeJS.Timeout | undefined
    let isAnswered = false
    end = error => {
      failure ??= error
      onward.destroy(error)
    }
    onward.on('error', error => {
      clearTimeout(limit)
      fail(error)
    })
    // Closed without an answer, and without an error where the upstream changes to another protocol unasked.
    onward.on('close', () => {
      clearTimeout(limit)
      if (!isAnswered) fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' }))
    })
    onward.on('response', answer => {
      isAnswered = true
      clearTimeout(limit)
      pause = () => answer.pause()
      resume = () => answer.resume()
      controller.rawHeaders = answer.rawHeaders
      answer.on('data', (chunk: Buffer) => handler.onResponseData?.(controller, chunk))
      answer.on('error', fail)
      answer.on('end', () => {
        if (isOver || !answer.complete) return
        isOver = true
        controller.rawTrailers = answer.rawTrailers
        handler.onResponseEnd?.(controller, answer.trailers as never)
      })
      try {
        handler.onResponseStart?.(controller, answer.statusCode ?? 0, answer.headers, answer.statusMessage)
      } catch (error) {
        end(error as Error)
      }
    })
    const finish = (): void => {
      onward.addTrailers(trailers())
      onward.end()
      // An upload takes as long as it takes.
      if (isAnswered) return
      limit = setTimeout(() => {
        onward.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }))
      }, headersMs)
      limit.unref()
    }
    if (body.kind !== 'stream') {
      if (body.kind === 'kept') onward.write(body.bytes)
      return finish()
    }
    // While the connection was made it may have grown too long, or its client have left.
    if (body.stream.errored) return end(body.stream.errored)
    body.stream.on('error', error => end(error))
    body.stream.on('end', finish)
    body.stream.pipe(onward, { end: false })
  }, fail)
}
