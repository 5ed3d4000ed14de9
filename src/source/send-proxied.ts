// Straight from their files: the index loads fetch, WebSocket, caches and more, and takes three times as long.
import Client from 'undici/lib/dispatcher/client.js'
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js'
import { connectTimeoutMs, maxHeaderBytes } from './exchange.ts'
import { openTunnel } from './open-tunnel.ts'
import type { HttpProxy } from './proxy-rules.ts'
import type { TlsOptions } from './tls-options.ts'
import type { HttpRequest } from './transport.ts'
import type { Wire } from './wire.ts'

/**
 * Makes the wire for a request through an HTTP proxy: CONNECT for https, an absolute URL for http, as curl does it.
 *
 * @param tls - Towards the server, inside the tunnel.
 * @param proxyTls - Towards a proxy that is itself reached by https; it never gets the client certificate.
 */
export function proxiedWire(
  request: HttpRequest,
  url: URL,
  proxy: HttpProxy,
  tls: TlsOptions,
  proxyTls: TlsOptions,
): Wire {
  return events => {
    const agent = new ProxyAgent({
      uri: proxy.origin,
      ...(proxy.authorization === undefined ? {} : { token: proxy.authorization }),
      clientFactory: (origin, options) => Object.assign(new Client(origin, options), { connect: openTunnel }),
      proxyTunnel: url.protocol === 'https:',
      requestTls: { ...tls, timeout: connectTimeoutMs },
      proxyTls: { ...proxyTls, timeout: connectTimeoutMs },
      maxHeaderSize: maxHeaderBytes,
      pipelining: 0,
      // The exchange keeps the time.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    agent.dispatch(
      {
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method: request.method,
        headers: { ...request.headers, 'accept-encoding': 'identity' },
        body: request.body ?? null,
        reset: true,
      },
      {
        onRequestStart: events.connected,
        onResponseStart(controller, status) {
          const raw = (controller.rawHeaders ?? []) as readonly (Buffer | string)[]
          events.head(
            status,
            raw.map(part => part.toString('latin1' as BufferEncoding)),
          )
        },
        onResponseData: (_, chunk) => events.data(chunk),
        onResponseEnd: events.end,
        onResponseError(_, error) {
          // undici's own words for a 101: there is no code for it.
          if (error.message === 'bad upgrade') events.head(101, [])
          else events.fail(error)
        },
      },
    )
    return () => {
      void agent.destroy().catch(() => {})
    }
  }
}
