import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { Tokens } from '../core/tokens.ts'
import { answerFailure, answerWithoutToken, breakOff } from './failure.ts'
import {
  announcedTrailers,
  answerFields,
  requestFields,
  requestTrailers,
  trailerFields,
} from './header-fields.ts'
import { countRejected, type RouteMetrics } from './metrics.ts'
import { BodyFailure, hasBody, type RequestBody, takeBody } from './request-body.ts'
import type { ProxyRoute } from './route.ts'
import { sendWithTrailers } from './trailing-request.ts'

// A request on its way. Rules:
//  - What needs neither a body nor a promise gets none: most requests go out in the very turn in which they came.
//  - A 401 makes the token be renewed, and the request be sent once more where its body is still there.
//  - What fails is answered, or ends the connection where an answer had begun.

/** What requests of one route are forwarded with. */
export interface Forwarding {
  readonly route: ProxyRoute
  readonly tokens: Tokens
  readonly metrics: RouteMetrics
  readonly clock: Clock
}

/** How long clients may do nothing, in milliseconds. */
export interface Patience {
  /** While they are to send. */
  readonly clientStallMs: number
  /** While they are to take. */
  readonly clientTakeMs: number
}

/** Of the body of an answer that nobody will see, so many bytes are read for the connection's sake, and for so long. */
const discardedBytes = 65_536
const discardedMs = 2000
/** Of a request that was answered before its end, so much is still taken, so that its client reads the answer. */
const lingerBytes = 1_048_576
const lingerMs = 2000
const noBody: RequestBody = { kind: 'none' }

/** One request, its client, and what was sent for it. */
export class Exchange {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly forwarding: Forwarding
  /** The request that goes on at present. */
  upstream: Dispatcher.DispatchController | undefined
  hasLeft = false
  /** One more request each: for a token that was refused, a proof without the nonce, and a connection that was closed. */
  mayRenew = true
  mayProve = true
  mayReconnect = true
  /** Where it stands among those that run; -1 once it is over. */
  place = -1
  /** On the monotonic clock. */
  readonly startedAt: number
  #body: RequestBody = noBody
  /** When the client was last seen to do something, or had nothing to do. */
  #clientActedAt: number
  /** There is something of the answer that the client has not taken. */
  #isToTake = false
  #left: AbortController | undefined

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, forwarding: Forwarding) {
    this.incoming = incoming
    this.outgoing = outgoing
    this.forwarding = forwarding
    this.startedAt = forwarding.clock.monotonic()
    this.#clientActedAt = this.startedAt
  }

  /** Sends the request to the upstream with our token in the place of the client's, and its answer back. */
  start(): void {
    const { route, tokens } = this.forwarding
    if (!hasBody(this.incoming)) {
      const token = tokens.peek(route.profile)
      if (token !== undefined) return void this.#sendOrFail(token)
    }
    this.#startLater().catch(error => this.#fail(error))
  }

  #sendOrFail(token: Token): void {
    try {
      this.#send(token)
    } catch (error) {
      this.#fail(error)
    }
  }

  async #startLater(): Promise<void> {
    const { incoming, outgoing } = this
    const { route, tokens } = this.forwarding
    if (hasBody(incoming)) {
      // Whoever waits for this word has not been let in before (RFC 9110 §10.1.1).
      const expects = /^100-continue$/i.test(incoming.headers.expect ?? '')
      const taken = takeBody(incoming, route.maxBodyBytes, {
        onBegin: () => expects && outgoing.writeContinue(),
        // Who sends on, and takes nothing of what comes back, is not excused by it.
        onProgress: () => this.#isToTake || this.#clientActed(),
      })
      this.#body = await taken
    }
    const token =
      tokens.peek(route.profile) ?? (await tokens.get(route.profile, { signal: this.#leftSignal() }))
    this.#send(token)
  }

  /** Sends it once more, as soon as there is a token. */
  repeat(next: Promise<Token>): void {
    next
      .then(token => {
        // Nothing was thrown away before this was certain.
        this.#body = this.bodyAgain() as RequestBody
        this.forwarding.metrics.repeated++
        this.#send(token)
      })
      .catch(error => this.#fail(error))
  }

  #send(token: Token): void {
    if (this.hasLeft) return
    const { incoming } = this
    const { route } = this.forwarding
    const path = `${route.upstream.path}${incoming.url}`
    const method = incoming.method as Dispatcher.HttpMethod
    const headers = requestFields(incoming, route.upstream.host, route.authorization(token))
    const { dpopKey, accessToken } = token
    const attempt = new Attempt(this, token, dpopKey === undefined ? undefined : route.prover.nonce())
    if (dpopKey !== undefined) headers.push('dpop', route.prover.proof(dpopKey, accessToken, method, path))
    const body = this.#body
    const { trailer, 'transfer-encoding': coding } = incoming.headers
    if (trailer !== undefined && coding !== undefined) {
      headers.push('trailer', trailer)
      const trailers = (): [string, string][] => requestTrailers(incoming.rawTrailers)
      return void sendWithTrailers({ path, method, headers, body, trailers }, route.connect, attempt)
    }
    const sent = body.kind === 'none' ? null : body.kind === 'kept' ? body.bytes : body.stream
    route.dispatcher.dispatch({ origin: route.upstream.origin, path, method, headers, body: sent }, attempt)
  }

  /** The same body once more; `undefined` where it is gone, or not whole yet. */
  bodyAgain(): RequestBody | undefined {
    if (this.#body.kind !== 'stream') return this.#body
    const bytes = this.#body.repeatable()
    return bytes && { kind: 'kept', bytes }
  }

  /** From now on there is something that the client is to take, or there is nothing more. */
  isToTake(isIt: boolean): void {
    this.#isToTake = isIt
    this.#clientActed()
  }

  #clientActed(): void {
    this.#clientActedAt = this.forwarding.clock.monotonic()
  }

  /**
   * Tells whether the client has not sent, or not taken, for longer than it may.
   *
   * @param now - On the monotonic clock.
   */
  isStalled(now: number, { clientStallMs, clientTakeMs }: Patience): boolean {
    const { incoming, outgoing } = this
    const body = this.#body
    // It cannot send what the upstream does not take. And once an answer has begun it may have nothing to say, as in a stream
    // both ways: until one side ends that, it holds no more than an answer without end does.
    const isToSend =
      !outgoing.headersSent &&
      !incoming.complete &&
      !(body.kind === 'stream' && body.stream.writableNeedDrain)
    // Nor can it take the answer while one before it on the same connection is not over.
    const waitsItsTurn = outgoing.socket === null
    if (waitsItsTurn || !(this.#isToTake || isToSend)) this.#clientActedAt = now
    return now - this.#clientActedAt > (this.#isToTake ? clientTakeMs : clientStallMs)
  }

  /** Ends both sides. */
  abort(): void {
    // Not the answer alone: Bun would say 200 first.
    this.incoming.socket.destroy()
    this.outgoing.destroy()
  }

  /** The answer is out, or the client has gone. */
  close(): void {
    const { incoming, outgoing } = this
    if (!outgoing.writableFinished) {
      this.hasLeft = true
      this.#left?.abort()
      this.upstream?.abort(new Error('the client left'))
    } else if (hasBody(incoming) && !incoming.complete) linger(incoming)
  }

  #leftSignal(): AbortSignal {
    this.#left ??= new AbortController()
    if (this.hasLeft) this.#left.abort()
    return this.#left.signal
  }

  #fail(error: unknown): void {
    const { outgoing } = this
    if (this.hasLeft) return
    if (error instanceof BodyFailure) return void answerFailure(outgoing, error.status, 'body', error.message)
    if (error instanceof TokctlError) return void answerWithoutToken(outgoing, error, this.forwarding.metrics)
    answerFailure(outgoing, 500, 'internal_error', 'unexpected failure')
  }
}

/** One time that a request is sent, and what comes back. */
class Attempt implements Dispatcher.DispatchHandler {
  readonly #exchange: Exchange
  readonly #token: Token
  /** Of the proof that was sent. */
  readonly #nonce: string | undefined
  #isAnswering = false
  /** The bytes of the answer that are still to come; not a number where nobody said how many. */
  #left = Number.NaN
  /** The bytes that were read of an answer that is not passed on. */
  #discarded: number | undefined
  #discarding: NodeJS.Timeout | undefined

  constructor(exchange: Exchange, token: Token, nonce: string | undefined) {
    this.#exchange = exchange
    this.#token = token
    this.#nonce = nonce
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#exchange.upstream = controller
    if (this.#exchange.hasLeft) controller.abort(new Error('the client left'))
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
    reason?: string,
  ): void {
    // Early hints and the like are for the connection that they came on.
    if (status < 200) return
    if (this.#token.dpopKey !== undefined && this.#wantsProof(controller, status, headers)) return
    if (status === 401 && this.#exchange.mayRenew && this.#replace(controller)) return
    const fields = answerFields(controller.rawHeaders)
    this.#left = lengthIn(fields)
    // It has no content, and may not say how long that were (RFC 9110 §8.6).
    if (status === 204) dropLength(fields)
    const { outgoing } = this.#exchange
    if (Number.isNaN(this.#left) && mayHaveTrailers(outgoing, status)) {
      const announced = announcedTrailers(controller.rawHeaders)
      if (announced !== undefined) fields.push('trailer', announced)
    }
    // Node keeps a reason that it refuses, and would refuse our own answer for it.
    outgoing.writeHead(status, /[^\t\x20-\x7e\x80-\xff]/.test(reason ?? '') ? '' : (reason ?? ''), fields)
    this.#isAnswering = true
    // Without a body whatever its length says (RFC 9110 §15.4.5): undici would miss it, and fail.
    if (status === 204 || status === 304) this.#end()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#discarded !== undefined) {
      this.#discarded += chunk.length
      if (this.#discarded > discardedBytes) controller.abort(new Error('refused'))
      return
    }
    const exchange = this.#exchange
    this.#left -= chunk.length
    // The last one goes out together with the end, and a short answer with its header.
    if (this.#left === 0) return void this.#end(chunk)
    if (exchange.outgoing.write(chunk)) return
    exchange.isToTake(true)
    controller.pause()
    exchange.outgoing.once('drain', () => {
      exchange.isToTake(false)
      controller.resume()
    })
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    clearTimeout(this.#discarding)
    if (this.#discarded !== undefined) return
    const { outgoing } = this.#exchange
    if (outgoing.writableEnded) return
    const trailers = trailerFields(controller.rawTrailers)
    if (trailers !== undefined) outgoing.addTrailers(trailers)
    this.#end()
  }

  #end(chunk?: Buffer): void {
    const { outgoing } = this.#exchange
    outgoing.end(chunk)
    // What is out of our hands is the client's to take.
    this.#exchange.isToTake(true)
  }

  onResponseError(_: unknown, error: Error): void {
    clearTimeout(this.#discarding)
    if (this.#discarded !== undefined || this.#exchange.hasLeft) return
    const { incoming, outgoing, forwarding } = this.#exchange
    if (outgoing.writableEnded) return
    // The client must not take what it has for the whole.
    if (this.#isAnswering) return void breakOff(outgoing)
    if (error instanceof BodyFailure) return void answerFailure(outgoing, error.status, 'body', error.message)
    forwarding.metrics.upstreamFailures++
    const code = (error as NodeJS.ErrnoException).code ?? ''
    // A kept connection that the upstream closed just now. What has no effect may be asked twice (RFC 9110 §9.2.2).
    const isClosed = code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
    const mayRepeat =
      this.#exchange.mayReconnect && !hasBody(incoming) && /^(GET|HEAD|OPTIONS)$/.test(incoming.method ?? '')
    if (isClosed && mayRepeat) {
      this.#exchange.mayReconnect = false
      return void this.#exchange.repeat(Promise.resolve(this.#token))
    }
    const isSlow = /TIMEOUT|ETIMEDOUT/.test(code)
    const what = isSlow ? 'the upstream did not answer in time' : 'the upstream cannot be reached'
    answerFailure(
      outgoing,
      isSlow ? 504 : 502,
      isClosed ? 'upstream_closed' : 'upstream_failed',
      `${what} (${code || 'error'})`,
    )
  }

  /** Has a token that was refused replaced. @returns Whether the request is sent again, so that this answer is nobody's. */
  #replace(controller: Dispatcher.DispatchController): boolean {
    const { forwarding } = this.#exchange
    const successor = forwarding.tokens.replace(forwarding.route.profile, this.#token.accessToken)
    if (successor === undefined) return false
    countRejected(forwarding.metrics, this.#token)
    if (!this.#sendAgain(controller, successor)) return false
    this.#exchange.mayRenew = false
    return true
  }

  /** A server that wants its nonce in the proof has nothing against the token (RFC 9449 §9). @returns As `#replace`. */
  #wantsProof(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
  ): boolean {
    const exchange = this.#exchange
    const { prover } = exchange.forwarding.route
    const isNew = prover.keepNonce(headers['dpop-nonce'] as string | undefined, this.#nonce)
    if (!isNew || status !== 401 || !exchange.mayProve) return false
    exchange.mayProve = false
    if (this.#sendAgain(controller, Promise.resolve(this.#token))) return true
    exchange.mayRenew = false
    return false
  }

  #sendAgain(controller: Dispatcher.DispatchController, next: Promise<Token>): boolean {
    if (this.#exchange.bodyAgain() === undefined) {
      // For those who come after it.
      next.catch(() => {})
      return false
    }
    this.#discarded = 0
    this.#discarding = setTimeout(() => controller.abort(new Error('refused')), discardedMs)
    this.#exchange.repeat(next)
    return true
  }
}

/** Tells whether an answer of no known length goes out in chunks. */
function mayHaveTrailers({ req }: ServerResponse, status: number): boolean {
  return req.method !== 'HEAD' && status !== 204 && status !== 304 && req.httpVersionMinor > 0
}

function dropLength(fields: string[]): void {
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    if (fields[i]?.toLowerCase() === 'content-length') fields.splice(i, 2)
  }
}

function lengthIn(fields: readonly string[]): number {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    if (name.length === 14 && name.toLowerCase() === 'content-length') return Number(fields[i + 1])
  }
  return Number.NaN
}

/** Takes what a client still sends after its answer, for a while: closed at once, the answer would be lost on its way. */
function linger(incoming: IncomingMessage): void {
  let left = lingerBytes
  const limit = setTimeout(() => incoming.destroy(), lingerMs)
  limit.unref()
  incoming.unpipe()
  incoming.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) incoming.destroy()
  })
  incoming.on('end', () => clearTimeout(limit))
  incoming.resume()
}
