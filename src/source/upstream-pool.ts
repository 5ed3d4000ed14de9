import type { Dispatcher } from 'undici'
import connect from 'undici/lib/api/api-connect.js'
import Client from 'undici/lib/dispatcher/client.js'
import Pool from 'undici/lib/dispatcher/pool.js'
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js'
import type { Environment } from '../core/environment.ts'
import { connectTimeoutMs } from './exchange.ts'
import { proxyFor } from './proxy-rules.ts'
import type { TlsOptions } from './tls-options.ts'
import type { TlsMaterial } from './transport.ts'

/** Connections to one upstream; more requests wait for one of them. */
const connections = 256
/** Without any answer for so long, an upstream is given up. */
const headersMs = 300_000

/**
 * Makes the kept connections to one upstream, directly or through the proxy that the environment names for it. Neither follows
 * redirects, and a server's certificate is checked, whatever the environment says.
 *
 * @throws {TokctlError} `config_invalid` for TLS material that cannot be used, or a proxy of another kind than HTTP
 */
export async function openUpstream(
  origin: string,
  material: TlsMaterial | undefined,
  environment: Environment,
): Promise<Dispatcher> {
  const tlsFor = async (of: TlsMaterial | undefined): Promise<TlsOptions> =>
    of === undefined
      ? { rejectUnauthorized: true }
      : (await import('./tls-options.ts')).tlsOptions(of, environment)
  const tls = await tlsFor(material)
  // An answer may take its time between two parts: events, a build log. Whoever waits for it decides.
  const options = {
    connections,
    pipelining: 1,
    headersTimeout: headersMs,
    bodyTimeout: 0,
    maxHeaderSize: 65_536,
  }
  const proxy = proxyFor(new URL(origin), environment.env)
  if (proxy === undefined) {
    return new Pool(origin, { ...options, connect: { ...tls, timeout: connectTimeoutMs, keepAlive: true } })
  }
  return new ProxyAgent({
    ...options,
    uri: proxy.origin,
    ...(proxy.authorization === undefined ? {} : { token: proxy.authorization }),
    // The index would have put `connect` on every dispatcher.
    clientFactory: (at, of) => Object.assign(new Client(at, of), { connect }),
    proxyTunnel: origin.startsWith('https:'),
    requestTls: { ...tls, timeout: connectTimeoutMs },
    proxyTls: {
      ...(await tlsFor(material && { ...material, cert: undefined, key: undefined })),
      timeout: connectTimeoutMs,
    },
  })
}
