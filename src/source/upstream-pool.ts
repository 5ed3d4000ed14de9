import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { buildConnector as Connectors, Dispatcher } from 'undici'
import buildConnector from 'undici/lib/core/connect.js'
import symbols from 'undici/lib/core/symbols.js'
import Pool from 'undici/lib/dispatcher/pool.js'
import type { Environment } from '../core/environment.ts'
import { connectTimeoutMs } from './exchange.ts'
import { openTunnel } from './open-tunnel.ts'
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
 * @param connectMs - For name lookup, tunnel, connection and TLS handshake together.
 * @throws {TokctlError} `config_invalid` for TLS material that cannot be used, or a proxy of another kind than HTTP
 */
export async function openUpstream(
  origin: string,
  material: TlsMaterial | undefined,
  environment: Environment,
  connectMs = connectTimeoutMs,
): Promise<Upstream> {
  const tlsFor = async (of: TlsMaterial | undefined): Promise<TlsOptions> =>
    of === undefined
      ? { rejectUnauthorized: true }
      : (await import('./tls-options.ts')).tlsOptions(of, environment)
  const url = new URL(origin)
  const direct = buildConnector({ ...(await tlsFor(material)), timeout: connectMs, keepAlive: true })
  const proxy = proxyFor(url, environment.env)
  // The client certificate is for the upstream alone.
  const connector =
    proxy === undefined
      ? direct
      : tunnelThrough(
          proxy,
          await tlsFor(material && { ...material, cert: undefined, key: undefined }),
          direct,
          connectMs,
        )
  const { protocol, host, hostname, port } = url
  // An answer may take its time between two parts: events, a build log. Whoever waits for it decides.
  const dispatcher = new Pool(origin, {
    connections,
    pipelining: 1,
    headersTimeout: headersMs,
    bodyTimeout: 0,
    maxHeaderSize: 65_536,
    connect: connector,
  })
  dispatcher.on('connect', (_, targets) => passOverContinue(targets.at(-1)))
  return {
    dispatcher,
    connect: () =>
      new Promise((resolve, reject) => {
        const to = { protocol, host, hostname: hostname.replace(/^\[|\]$/g, ''), port }
        connector(to, (error, socket) => (error === null ? resolve(socket) : reject(error)))
      }),
  }
}

/**
 * Has undici pass over a 100 that nobody asked for, as it does any other interim answer (RFC 9110 §15.2); it would end the
 * connection. It has no option for this, so its reader of answers is told another number: 102, which says nothing either.
 */
function passOverContinue(client: Dispatcher | undefined): void {
  const { kParser, kSocket } = symbols
  const parser = (client as Inside | undefined)?.[kSocket]?.[kParser]
  if (parser === undefined) return
  const { onHeadersComplete } = parser
  parser.onHeadersComplete = (status, ...more) =>
    onHeadersComplete.call(parser, status === 100 ? 102 : status, ...more)
}

/** A client of undici, its connection, and what reads there. */
interface Inside {
  [kSocket: symbol]: { [kParser: symbol]: Reader | undefined } | undefined
}

interface Reader {
  onHeadersComplete(status: number, isUpgrade: boolean, keepsAlive: boolean): number
}

/**
 * A tunnel to the upstream for each connection, so that the proxy sees neither a request nor a token (RFC 9110 §9.3.6). Tunnels
 * are opened beside each other, over a connection to the proxy each.
 */
function tunnelThrough(
  proxy: HttpProxy,
  tls: TlsOptions,
  direct: Connectors.connector,
  connectMs: number,
): Connectors.connector {
  const toProxy = new Pool(proxy.origin, { connect: { ...tls, timeout: connectMs } })
  const open = openTunnel.bind(toProxy) as (
    to: Omit<Dispatcher.ConnectOptions, 'origin'>,
  ) => Promise<Dispatcher.ConnectData>
  return (to, callback) => {
    const port = to.port || (to.protocol === 'https:' ? '443' : '80')
    const target = `${to.hostname.includes(':') ? `[${to.hostname}]` : to.hostname}:${port}`
    const headers = {
      host: target,
      ...(proxy.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }),
    }
    const over = new AbortController()
    const limit = setTimeout(() => {
      done(Object.assign(new Error('no tunnel in time'), { code: 'UND_ERR_CONNECT_TIMEOUT' }))
    }, connectMs)
    const done = (error: Error | null, socket?: Socket): void => {
      if (over.signal.aborted) return
      clearTimeout(limit)
      over.abort()
      if (socket === undefined) callback(error ?? new Error('no tunnel'), null)
      else callback(null, socket)
    }
    open({ path: target, headers, signal: over.signal }).then(({ statusCode, socket }) => {
      const tunnel = socket as Socket
      tunnel.on('error', () => {})
      if (statusCode !== 200) {
        tunnel.destroy()
        done(Object.assign(new Error('no tunnel'), { code: `PROXY_${statusCode}` }))
      } else if (to.protocol === 'https:') {
        const giveUp = (): void => void tunnel.destroy()
        over.signal.addEventListener('abort', giveUp)
        direct({ ...to, httpSocket: tunnel }, (error, secured) => {
          over.signal.removeEventListener('abort', giveUp)
          if (error !== null) tunnel.destroy()
          done(error, secured ?? undefined)
        })
      } else done(null, tunnel)
    }, done)
  }
}
