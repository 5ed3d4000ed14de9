import type { ServerResponse } from 'node:http'
import { exitCodeOf, type TokctlError } from '../core/errors.ts'
import { addOne, type RouteMetrics } from './metrics.ts'

/**
 * Answers a request that got nowhere: one line of text, and `tokctl-error` with the code, so that it is not taken for the
 * upstream's own. Where an answer had begun the connection ends.
 *
 * @param code - A word; of a token that could not be had, the error's own.
 */
export function answerFailure(
  outgoing: ServerResponse,
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (outgoing.headersSent) return void breakOff(outgoing)
  const text = `tokctl: ${message}\n`
  outgoing.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'tokctl-error': code,
    ...headers,
  })
  outgoing.end(text)
}

/** Ends the connection of an answer that is not whole, so that nobody takes it for one. */
export function breakOff(outgoing: ServerResponse): void {
  // For HTTP/1.0 the end of the connection may be the end of the answer: it must be seen to be broken.
  const { socket, req } = outgoing
  if (req.httpVersionMinor === 0 && socket?.remoteAddress !== undefined) socket.resetAndDestroy()
  outgoing.destroy()
}

/** Answers a request that there is no token for: 503 for what passes by itself, 502 for what does not. */
export function answerWithoutToken(
  outgoing: ServerResponse,
  error: TokctlError,
  metrics: RouteMetrics,
): void {
  addOne(metrics.withoutToken, error.code)
  const passes = exitCodeOf(error.code) === 5
  const seconds = Math.ceil((error.retryAfterMs ?? 0) / 1000)
  const text = error.hint === undefined ? error.message : `${error.message}; ${error.hint}`
  answerFailure(
    outgoing,
    passes ? 503 : 502,
    error.code,
    text,
    seconds > 0 ? { 'retry-after': String(seconds) } : {},
  )
}
