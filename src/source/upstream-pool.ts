import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { buildConnector as Connectors, Dispatcher } from 'undici'
import connect from 'undici/lib/api/api-connect.js'
import buildConnector from 'undici/lib/core/connect.js'
import Client from 'undici/lib/dispatcher/client.js'
import Pool from 'undici/lib/dispatcher/pool.js'
import type { Environment } from '../core/environment.ts'
import { connectTimeoutMs } from './exchange.ts'
import { type HttpProxy, proxyFor } from './proxy-rules.ts'
import type { TlsOptions } from './tls-options.ts'
import type { TlsMaterial } from './transport.ts'

/** Connections to one upstream; more requests wait for one of them. */
const connections = 256
/** Without any answer for so long, an upstream is given up. */
const headersMs = 300_000

/** The way to one origin. */
export interface Upstream {
  /** Kept connections. */
  readonly dispatcher: Dispatcher
  /** A connection of its own, TLS included. */
  connect(): Promise<Duplex>
}

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
): Promise<Upstream> {
  const tlsFor = async (of: TlsMaterial | undefined): Promise<TlsOptions> =>
    of === undefined
      ? { rejectUnauthorized: true }
      : (await import('./tls-options.ts')).tlsOptions(of, environment)
  const url = new URL(origin)
  const direct = buildConnector({ ...(await tlsFor(material)), timeout: connectTimeoutMs, keepAlive: true })
  const proxy = proxyFor(url, environment.env)
  // The client certificate is for the upstream alone.
  const connector =
    proxy === undefined
      ? direct
      : tunnelThrough(
          proxy,
          await tlsFor(material && { ...material, cert: undefined, key: undefined }),
          direct,
        )
  const { protocol, host, hostname, port } = url
  return {
    // An answer may take its time between two parts: events, a build log. Whoever waits for it decides.
    dispatcher: new Pool(origin, {
      connections,
      pipelining: 1,
      headersTimeout: headersMs,
      bodyTimeout: 0,
      maxHeaderSize: 65_536,
      connect: connector,
    }),
    connect: () =>
      new Promise((resolve, reject) => {
        const to = { protocol, host, hostname: hostname.replace(/^\[|\]$/g, ''), port }
        connector(to, (error, socket) => (error === null ? resolve(socket) : reject(error)))
      }),
  }
}

/** A tunnel to the upstream for each connection, so that the proxy sees neither a request nor a token (RFC 9110 §9.3.6). */
function tunnelThrough(
  proxy: HttpProxy,
  tls: TlsOptions,
  direct: Connectors.connector,
): Connectors.connector {
  const toProxy = new Client(proxy.origin, { connect: { ...tls, timeout: connectTimeoutMs } })
  // The index would have put `connect` on every dispatcher.
  const open = connect.bind(toProxy) as (
    to: Omit<Dispatcher.ConnectOptions, 'origin'>,
  ) => Promise<Dispatcher.ConnectData>
  return (to, callback) => {
    const port = to.port || (to.protocol === 'https:' ? '443' : '80')
    const target = `${to.hostname.includes(':') ? `[${to.hostname}]` : to.hostname}:${port}`
    const headers = {
      host: target,
      ...(proxy.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }),
    }
    open({ path: target, headers }).then(
      ({ statusCode, socket }) => {
        if (statusCode === 200 && to.protocol === 'https:') {
          direct({ ...to, httpSocket: socket as Socket }, callback)
        } else if (statusCode === 200) callback(null, socket as Socket)
        else {
          socket.on('error', () => {}).destroy()
          callback(Object.assign(new Error('no tunnel'), { code: `PROXY_${statusCode}` }), null)
        }
      },
      error => callback(error, null),
    )
  }
}
