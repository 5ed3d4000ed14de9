import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { Tokens } from '../core/tokens.ts'
import { answerFailure, answerWithoutToken } from './failure.ts'
import { answerFields, requestFields, texts } from './header-fields.ts'
import { countRejected, type RouteMetrics } from './metrics.ts'
import { BodyFailure, type RequestBody, takeBody } from './request-body.ts'
import type { ProxyRoute } from './route.ts'

/** What requests of one route are forwarded with. */
export interface Forwarding {
  readonly route: ProxyRoute
  readonly tokens: Tokens
  readonly metrics: RouteMetrics
  readonly clock: Clock
}

/** A request on its way, as the watch over slow clients sees it. */
export interface Exchange {
  /** On the monotonic clock: since when the client was to send or to take something; `undefined` while it is not its turn. */
  clientTurnSince: number | undefined
  /** Ends both sides. */
  abort(): void
}

/** How sending went: the answer was passed on, nothing came back, or the token was refused and gets a successor. */
type Sent = 'answered' | 'no_answer' | { readonly successor: Promise<Token> }

/** Of the body of an answer that nobody will see, so many bytes are read for the connection's sake. */
const discardedBytes = 65_536

/**
 * Sends a request to the upstream with our token in the place of the client's, and its answer back.
 * A 401 makes the token be renewed, and the request sent once more where its body is still there.
 * What fails is answered, or ends the connection where an answer had begun.
 */
export async function forward(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { route, tokens, metrics, clock }: Forwarding,
  exchange: Exchange,
): Promise<void> {
  const left = new AbortController()
  let upstream: Dispatcher.DispatchController | undefined
  exchange.abort = () => {
    outgoing.destroy()
  }
  outgoing.on('close', () => {
    if (outgoing.writableFinished) return
    left.abort()
    upstream?.abort(new Error('the client left'))
  })
  const clientsTurn = (): void => {
    exchange.clientTurnSince = clock.monotonic()
  }
  try {
    clientsTurn()
    const body = await takeBody(incoming, route.maxBodyBytes, clientsTurn)
    if (body.kind !== 'stream') exchange.clientTurnSince = undefined
    const token = tokens.peek(route.profile) ?? (await tokens.get(route.profile, { signal: left.signal }))
    const sent = await send(body, token, true)
    if (sent === 'answered') return
    const next = sent === 'no_answer' ? token : await sent.successor
    metrics.repeated++
    // Nothing was thrown away before this was certain.
    await send(bodyAgain(body) as RequestBody, next, false)
  } catch (error) {
    if (left.signal.aborted) return
    if (error instanceof BodyFailure) return answerFailure(outgoing, error.status, 'body', error.message)
    if (!(error instanceof TokctlError)) throw error
    answerWithoutToken(outgoing, error, metrics)
  } finally {
    // Bytes that nobody wants any more would be read as the connection's next request.
    if (!incoming.complete) outgoing.once('finish', () => incoming.destroy())
  }

  function send(body: RequestBody, token: Token, isFirst: boolean): Promise<Sent> {
    return new Promise(resolve => {
      let isAnswering = false
      let discarded: number | undefined
      const options = {
        origin: route.upstream.origin,
        path: `${route.upstream.path}${incoming.url}`,
        method: incoming.method as Dispatcher.HttpMethod,
        headers: requestFields(incoming.rawHeaders, route.upstream.host, route.authorization(token)),
        body: body.kind === 'none' ? null : body.kind === 'kept' ? body.bytes : body.stream,
      }
      const begin = (status: number, reason: string | undefined, raw: readonly string[]): void => {
        isAnswering = true
        exchange.clientTurnSince = undefined
        outgoing.writeHead(status, reason ?? '', answerFields(raw))
      }
      route.dispatcher.dispatch(options, {
        onRequestStart(controller) {
          upstream = controller
          if (left.signal.aborted) controller.abort(new Error('the client left'))
        },
        onResponseStart(controller, status, _, reason) {
          upstream = controller
          // Early hints and the like are for the connection that they came on.
          if (status < 200) return
          const raw = texts(controller.rawHeaders)
          if (status !== 401) return begin(status, reason, raw)
          const isWhole = bodyAgain(body) !== undefined
          const successor = isFirst ? tokens.replace(route.profile, token.accessToken) : undefined
          successor?.catch(() => {})
          if (successor !== undefined) countRejected(metrics, token)
          if (successor === undefined || !isWhole) begin(status, reason, raw)
          else {
            discarded = 0
            resolve({ successor })
          }
        },
        onResponseData(controller, chunk) {
          if (discarded !== undefined) {
            discarded += chunk.length
            if (discarded > discardedBytes) controller.abort(new Error('refused'))
          } else if (!outgoing.write(chunk)) {
            clientsTurn()
            controller.pause()
            outgoing.once('drain', () => {
              exchange.clientTurnSince = undefined
              controller.resume()
            })
          }
        },
        onResponseEnd(controller) {
          if (discarded !== undefined) return
          const trailers = texts(controller.rawTrailers)
          if (trailers.length > 0) outgoing.addTrailers(pairs(answerFields(trailers)))
          outgoing.end()
          resolve('answered')
        },
        onResponseError(_, error) {
          if (discarded !== undefined) return
          resolve(failed(error, isAnswering, isFirst && body.kind === 'none'))
        },
      })
    })
  }

  function failed(error: Error, isAnswering: boolean, mayRepeat: boolean): Sent {
    if (left.signal.aborted) return 'answered'
    if (isAnswering) {
      // The client must not take what it has for the whole.
      outgoing.destroy()
      return 'answered'
    }
    if (error instanceof BodyFailure) {
      answerFailure(outgoing, error.status, 'body', error.message)
      return 'answered'
    }
    metrics.upstreamFailures++
    const code = (error as NodeJS.ErrnoException).code ?? ''
    // A kept connection that the upstream closed just now. What has no effect may be asked twice (RFC 9110 §9.2.2).
    const isClosed = code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
    if (isClosed && mayRepeat && /^(GET|HEAD|OPTIONS)$/.test(incoming.method ?? '')) return 'no_answer'
    const isSlow = /TIMEOUT|ETIMEDOUT/.test(code)
    const what = isSlow ? 'the upstream did not answer in time' : 'the upstream cannot be reached'
    answerFailure(
      outgoing,
      isSlow ? 504 : 502,
      isClosed ? 'upstream_closed' : 'upstream_failed',
      `${what} (${code || 'error'})`,
    )
    return 'answered'
  }
}

/** The same body once more; `undefined` where it is gone, or not whole yet. */
function bodyAgain(body: RequestBody): RequestBody | undefined {
  if (body.kind !== 'stream') return body
  const bytes = body.repeatable()
  return bytes && { kind: 'kept', bytes }
}

function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i < raw.length; i += 2) found.push([raw[i] as string, raw[i + 1] as string])
  return found
}
