import { maxHeaderBytes } from './exchange.ts'
import { serverName } from './server-name.ts'
import type { DirectWire } from './wire.ts'

// Node gives up on an address after a quarter of a second where a host has several, which a slow link does not meet.
const attemptTimeoutMs = 1000

/** Makes the wire for a direct request: `node:https` or `node:http`, whichever the URL needs, on a fresh connection. */
export const directWire: DirectWire = async (request, url, environment) => {
  const secure = url.protocol === 'https:'
  const { request: start } = secure ? await import('node:https') : await import('node:http')
  const tls =
    request.tls === undefined
      ? { rejectUnauthorized: true }
      : await (await import('./tls-options.ts')).tlsOptions(request.tls, environment)
  const body = request.body === undefined ? undefined : Buffer.from(request.body)
  const length =
    body === undefined && request.method === 'GET' ? {} : { 'content-length': String(body?.length ?? 0) }
  return events => {
    const options = {
      method: request.method,
      headers: { ...request.headers, ...length, 'accept-encoding': 'identity', connection: 'close' },
      agent: false as const,
      maxHeaderSize: maxHeaderBytes,
      insecureHTTPParser: false,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: attemptTimeoutMs,
      ...(secure ? { ...tls, servername: serverName(url.hostname) } : {}),
    }
    const sent = start(url, options)
    let isWhole = (): boolean => false
    sent.on('socket', socket => {
      socket.once(secure ? 'secureConnect' : 'connect', events.connected)
      // Node takes a reset that comes together with bytes for an end, and thereby an answer without a length for a whole one.
      // A connection that was reset has no other side any more.
      socket.prependOnceListener('end', () => {
        if (!isWhole() && socket.remoteAddress === undefined) events.fail(cutOff())
      })
    })
    sent.on('error', events.fail)
    // A 101 that names its new protocol; one that names none comes like any other answer.
    sent.on('upgrade', ({ statusCode = 0, rawHeaders }, socket) => {
      // Handed over, and no longer the request's to close.
      socket.destroy()
      events.head(statusCode, rawHeaders)
    })
    sent.on('response', response => {
      isWhole = () => response.complete
      events.head(response.statusCode ?? 0, response.rawHeaders)
      response.on('data', events.data)
      response.on('error', events.fail)
      response.on('end', events.end)
    })
    sent.end(body)
    return () => {
      sent.destroy()
    }
  }
}

function cutOff(): Error {
  return Object.assign(new Error('the connection was reset'), { code: 'ECONNRESET' })
}
