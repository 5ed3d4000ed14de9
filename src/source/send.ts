import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import { readEndpointUrl } from './endpoint-url.ts'
import { exchange } from './exchange.ts'
import { proxyFor } from './proxy-rules.ts'
import type { TlsOptions } from './tls-options.ts'
import type { Send, TlsMaterial } from './transport.ts'
import type { DirectWire } from './wire.ts'

/** What a transport stands on. */
export interface SendPorts {
  readonly environment: Environment
  readonly clock: Clock
  /** What the runtime does better than `node:http`. */
  readonly directWire?: DirectWire | undefined
  /** Says what went over the wire, for `--verbose`; never a query, a header or a body. */
  readonly trace?: (message: string) => void
  /** Told each line of what went over the wire, redacted, for `--debug-http`; nothing is made of it where it is absent. */
  readonly wireLog?: ((line: string) => void) | undefined
}

/**
 * Makes the transport. Each request goes directly or through the proxy that the environment names for it; only what that
 * request needs is loaded.
 */
export function createSend({ environment, clock, directWire, trace, wireLog }: SendPorts): Send {
  async function tlsFor(material: TlsMaterial | undefined): Promise<TlsOptions> {
    if (material === undefined) return { rejectUnauthorized: true }
    return (await import('./tls-options.ts')).tlsOptions(material, environment)
  }

  return async request => {
    const url = readEndpointUrl(request.url)
    if (typeof url === 'string') throw new TokctlError('config_invalid', `an address cannot be asked: ${url}`)
    const proxy = proxyFor(url, environment.env)
    const startedAt = clock.monotonic()
    const log = wireLog === undefined ? undefined : { say: wireLog, ...(await import('./wire-log.ts')) }
    for (const line of log?.describeRequest(request) ?? []) log?.say(line)
    const response = await exchange(request, url, proxy?.label, clock, async () => {
      if (proxy === undefined) {
        return (directWire ?? (await import('./send-direct.ts')).directWire)(request, url, environment)
      }
      const tls = await tlsFor(request.tls)
      const proxyTls = await tlsFor(request.tls && { ...request.tls, cert: undefined, key: undefined })
      return (await import('./send-proxied.ts')).proxiedWire(request, url, proxy, tls, proxyTls)
    })
    request.onAnswer?.(response)
    const way = proxy === undefined ? 'directly' : `through proxy ${proxy.label}`
    const tookMs = Math.round(clock.monotonic() - startedAt)
    trace?.(`${request.method} ${url.origin}${url.pathname} ${way}: ${response.status} in ${tookMs} ms`)
    for (const line of log?.describeResponse(response) ?? []) log?.say(line)
    return response
  }
}
