import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { exitCodeOf, TokctlError } from '../core/errors.ts'
import type { Token } from '../core/token.ts'
import type { Forwarding } from './forward.ts'
import { answerFields, requestFields } from './header-fields.ts'
import { addOne, countRejected } from './metrics.ts'

/**
 * Passes a WebSocket on (RFC 6455 §4): the handshake with our token, then bytes both ways until one side ends.
 * A 401 makes the token be renewed and the handshake be tried once more; any other answer than 101 goes to the client as it is,
 * without its body, and ends the connection.
 */
export async function forwardUpgrade(
  incoming: IncomingMessage,
  client: Duplex,
  head: Buffer,
  { route, tokens, metrics }: Forwarding,
): Promise<void> {
  const left = new AbortController()
  let upstream: Dispatcher.DispatchController | undefined
  /** The upstream wants a nonce in the proof that the last one did not have. */
  let isNonceNew = false
  client.on('error', () => {})
  client.on('close', () => {
    left.abort()
    upstream?.abort(new Error('the client left'))
  })
  try {
    const token = tokens.peek(route.profile) ?? (await tokens.get(route.profile, { signal: left.signal }))
    let status = await shake(token, true)
    if (status === 401 && isNonceNew) status = await shake(token, true)
    if (status !== 401) return
    const successor = tokens.replace(route.profile, token.accessToken, left.signal)
    if (successor === undefined) return endUpgrade(client, 401)
    countRejected(metrics, token)
    metrics.repeated++
    await shake(await successor, false)
  } catch (error) {
    if (left.signal.aborted) return
    if (!(error instanceof TokctlError)) return endUpgrade(client, 500, 'internal_error')
    addOne(metrics.withoutToken, error.code)
    endUpgrade(client, exitCodeOf(error.code) === 5 ? 503 : 502, error.code)
  }

  /** @returns The status, of which 401 is not passed on while it is the first. */
  function shake(token: Token, isFirst: boolean): Promise<number> {
    return new Promise(settle => {
      let isSettled = false
      const resolve = (status: number): void => {
        isSettled = true
        settle(status)
      }
      const path = `${route.upstream.path}${incoming.url}`
      const headers = requestFields(incoming, route.upstream.host, route.authorization(token))
      const { dpopKey, accessToken } = token
      const nonce = dpopKey === undefined ? undefined : route.prover.nonce()
      if (dpopKey !== undefined) headers.push('dpop', route.prover.proof(dpopKey, accessToken, 'GET', path))
      const options = {
        origin: route.upstream.origin,
        path,
        method: 'GET' as const,
        headers,
        upgrade: 'websocket',
      }
      route.dispatcher.dispatch(options, {
        onRequestStart(controller) {
          upstream = controller
          if (left.signal.aborted) controller.abort(new Error('the client left'))
        },
        onRequestUpgrade(controller, status, _, socket) {
          const fields = answerFields(controller.rawHeaders)
          client.write(
            `${headText(status, 'Switching Protocols', fields)}connection: upgrade\r\nupgrade: websocket\r\n\r\n`,
          )
          join(client, socket, head)
          addOne(metrics.requests, status)
          resolve(status)
        },
        onResponseStart(controller, status, answered, reason) {
          if (status < 200) return
          const given = answered['dpop-nonce'] as string | undefined
          isNonceNew = dpopKey !== undefined && route.prover.keepNonce(given, nonce)
          if (status !== 401 || !isFirst) {
            addOne(metrics.requests, status)
            endUpgrade(client, status, undefined, reason)
          }
          resolve(status)
          controller.abort(new Error('no upgrade'))
        },
        onResponseError() {
          if (isSettled) return
          metrics.upstreamFailures++
          endUpgrade(client, 502, 'upstream_failed')
          resolve(502)
        },
      })
    })
  }
}

/**
 * Answers a handshake with an empty answer, and ends the connection.
 *
 * @param code - Of a failure of ours.
 * @param reason - That of the upstream, where the status is the upstream's.
 */
export function endUpgrade(
  client: Duplex,
  status: number,
  code?: string,
  reason = STATUS_CODES[status] ?? '',
): void {
  const fields = code === undefined ? [] : ['tokctl-error', code]
  client.end(`${headText(status, reason, fields)}content-length: 0\r\nconnection: close\r\n\r\n`)
}

function headText(status: number, reason: string, fields: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
  return text
}

function join(client: Duplex, upstream: Duplex, head: Buffer): void {
  const endBoth = (): void => {
    client.destroy()
    upstream.destroy()
  }
  client.on('close', endBoth)
  upstream.on('close', endBoth)
  upstream.on('error', endBoth)
  if (head.length > 0) upstream.write(head)
  client.pipe(upstream)
  upstream.pipe(client)
}
