import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Tokens } from '../core/tokens.ts'
import { isLoopback } from '../profile/match.ts'
import { type Admission, hostsOf, type Refusal, refusalOf } from './admission.ts'
import { answerFailure, breakOff } from './failure.ts'
import { Exchange, type Forwarding, type Patience } from './forward.ts'
import { exposureOf } from './inherited-socket.ts'
import { addOne, countRequest, createRouteMetrics, prometheusText, type RouteMetrics } from './metrics.ts'
import { createPeerLookup } from './peer-user.ts'
import type { ProxyRoute } from './route.ts'
import { listenAtSocketFile } from './socket-file.ts'
import { endUpgrade, forwardUpgrade } from './upgrade.ts'

/** What all routes share. */
export interface ProxyOptions {
  readonly clock: Clock
  readonly tokens: Tokens
  /**
   * The user whose connections are taken; `undefined` where the system does not say whose a connection is: there clients must show
   * a secret, or come by a unix socket.
   */
  readonly uid: number | undefined
  /** For tests, which have no half a minute. */
  readonly limits?: Partial<ProxyLimits>
}

/** What clients may take, in pieces and milliseconds. */
export interface ProxyLimits extends Patience {
  /** More connections than these are ended at once. */
  readonly connections: number
  /** A whole request header must be there in this time. */
  readonly headerMs: number
  /** A connection on which nothing is asked is closed. */
  readonly idleMs: number
  /** How often it is looked for such clients. */
  readonly watchMs: number
  /** How long what runs may take to end once the proxy is closed. */
  readonly drainMs: number
}

/** A proxy that listens. */
export interface LoopbackProxy {
  /** Where each route can be reached, in their order: `http://127.0.0.1:8080` or `unix:/path`. */
  readonly addresses: readonly string[]
  /** Takes no more requests, lets those that run end, and ends them after ten seconds. */
  close(): Promise<void>
}

const maxHeaderBytes = 32_768
/** What applies where nothing else is said. */
export const proxyLimits: ProxyLimits = {
  connections: 4096,
  headerMs: 10_000,
  idleMs: 60_000,
  clientStallMs: 30_000,
  // The kernel shows that a client takes something only when a good part of its buffer is free again: with one of 4 MiB, and 15 kB
  // a second, every 100 seconds.
  clientTakeMs: 300_000,
  watchMs: 5000,
  drainMs: 10_000,
}
/** sd_listen_fds(3): the first one. */
const inheritedFd = 3

/**
 * Listens for every route, and forwards what is let in with that route's token.
 *
 * @throws {TokctlError} `config_invalid` for an address that cannot be listened at, or where others than this user would be served
 */
export async function startProxy(
  routes: readonly ProxyRoute[],
  options: ProxyOptions,
): Promise<LoopbackProxy> {
  const all = new Map<string, RouteMetrics>()
  for (const { name } of routes) all.set(name, createRouteMetrics())
  const open: Listener[] = []
  try {
    for (const route of routes) open.push(await listen(route, all, options))
  } catch (error) {
    await Promise.all(open.map(listener => listener.close()))
    throw error
  }
  return {
    addresses: open.map(({ address }) => address),
    close: async () => {
      await Promise.all(open.map(listener => listener.close()))
    },
  }
}

interface Listener {
  readonly address: string
  close(): Promise<void>
}

async function listen(
  route: ProxyRoute,
  all: ReadonlyMap<string, RouteMetrics>,
  { clock, tokens, uid, limits: chosen }: ProxyOptions,
): Promise<Listener> {
  const limits = { ...proxyLimits, ...chosen }
  const metrics = all.get(route.name) as RouteMetrics
  const forwarding: Forwarding = { route, metrics, clock, tokens }
  // An array without holes: a Set makes a new table every so many deletions, and each table that is old in the heap keeps all
  // later ones there, with the requests in them, until the whole heap is collected.
  const exchanges: Exchange[] = []
  const peerUser = createPeerLookup()
  /** Connections of which it is not known yet whose they are. */
  const strangers = new Map<Duplex, Promise<void>>()
  /** Connections on which something came that is no HTTP. */
  const lost = new WeakSet<Duplex>()
  /** Connections that Node's server has let go. */
  const upgraded = new Set<Duplex>()
  let admission: Admission = { hosts: undefined, clientSecret: route.clientSecret }

  const server = createServer({
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: limits.headerMs,
    requestTimeout: 0,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: limits.watchMs,
  })
  // A field that were left out beyond a number might be the one that says who asks.
  server.maxHeadersCount = 0
  server.maxConnections = limits.connections
  server.on('drop', () => addOne(metrics.refused, 'connections'))
  server.on('connection', (socket: Socket) => {
    // Node tells this to the answer whose turn it is, and not to those that wait behind it.
    socket.on('close', () => {
      for (let i = exchanges.length - 1; i >= 0; i--) {
        const exchange = exchanges[i] as Exchange
        if (exchange.incoming.socket === socket) finish(exchange)
      }
    })
    const { localAddress, localPort = 0, remoteAddress, remotePort = 0 } = socket
    // Of a unix socket its mode says who may; one that others may use was refused.
    if (uid === undefined || localAddress === undefined || remoteAddress === undefined) return
    const told = peerUser({ localAddress, localPort, remoteAddress, remotePort }).then(user => {
      strangers.delete(socket)
      if (user === uid) return
      addOne(metrics.refused, 'user')
      socket.destroy()
    })
    strangers.set(socket, told)
  })
  server.on('request', serve)
  server.on('checkContinue', serve)
  server.on('checkExpectation', serve)
  server.on('upgrade', upgrade)
  // Node would answer CONNECT by closing the connection without a word.
  server.on('connect', (_: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => {})
    onceKnown(socket, () => {
      addOne(metrics.refused, 'method')
      if (interruptsAnswer(socket)) return
      endUpgrade(socket, 405, 'method')
    })
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    // Told of each piece that still comes.
    if (lost.has(socket)) return
    lost.add(socket)
    socket.on('error', () => {})
    onceKnown(socket, () => {
      addOne(metrics.refused, 'framing')
      if (interruptsAnswer(socket)) return
      const status =
        error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
      // A parser that lost its way says nothing of where the next request begins.
      if (socket.writable) endUpgrade(socket, status, 'framing')
      ;(socket as Socket).destroySoon()
    })
  })

  /** Goes on once the connection is known to be this user's; one of somebody else gets not a word. */
  function onceKnown(socket: Duplex, then: () => void): void {
    const told = strangers.size === 0 ? undefined : strangers.get(socket)
    if (told === undefined) then()
    else void told.then(() => socket.destroyed || then())
  }

  /**
   * Ends a connection on which something came that cannot be answered in its turn, while a request before it is not answered to
   * the end: whatever were said now would be taken for a part of that answer.
   */
  function interruptsAnswer(socket: Duplex): boolean {
    let isAnswering = false
    for (const { incoming, outgoing } of exchanges) {
      if (incoming.socket !== socket || outgoing.writableEnded) continue
      // The body of one that has not been answered may be what is wrong, and this be the answer to it.
      if (!outgoing.headersSent && !incoming.complete) continue
      isAnswering = true
      // Not one that has said nothing: Bun would say 200 first.
      if (outgoing.headersSent) breakOff(outgoing)
    }
    if (isAnswering) socket.destroy()
    return isAnswering
  }

  function serve(incoming: IncomingMessage, outgoing: ServerResponse): void {
    onceKnown(incoming.socket, () => serveKnown(incoming, outgoing))
  }

  function serveKnown(incoming: IncomingMessage, outgoing: ServerResponse): void {
    outgoing.sendDate = false
    const refusal = refusalOf(incoming, admission)
    if (refusal !== undefined) return void refuse(incoming, outgoing, refusal)
    if (incoming.url?.startsWith('/.tokctl/')) return void answerItself(incoming.url, outgoing)
    const exchange = new Exchange(incoming, outgoing, forwarding)
    exchange.place = exchanges.push(exchange) - 1
    metrics.inFlight++
    outgoing.on('close', () => finish(exchange))
    exchange.start()
  }

  function finish(exchange: Exchange): void {
    const { place, outgoing, startedAt } = exchange
    if (place < 0) return
    exchange.close()
    const last = exchanges.pop() as Exchange
    if (last !== exchange) exchanges[place] = last
    last.place = place
    exchange.place = -1
    metrics.inFlight--
    // 499 is nginx's word for a client that did not wait.
    const status = outgoing.headersSent ? outgoing.statusCode : 499
    countRequest(metrics, status, (clock.monotonic() - startedAt) / 1000)
  }

  function upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    upgraded.add(socket)
    socket.on('error', () => {}).on('close', () => upgraded.delete(socket))
    onceKnown(socket, () => {
      if (interruptsAnswer(socket)) return void addOne(metrics.refused, 'framing')
      const refusal = refusalOf(incoming, admission) ?? upgradeRefusal(incoming)
      if (refusal === undefined) return void forwardUpgrade(incoming, socket, head, forwarding)
      addOne(metrics.refused, refusal.reason)
      endUpgrade(socket, refusal.status, refusal.reason)
    })
  }

  function refuse(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    { status, reason, message }: Refusal,
  ): void {
    addOne(metrics.refused, reason)
    answerFailure(outgoing, status, reason, message, {
      connection: 'close',
      ...(status === 401 ? { 'www-authenticate': 'Bearer realm="tokctl"' } : {}),
      ...(status === 405 ? { allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' } : {}),
    })
    incoming.resume()
  }

  function answerItself(url: string, outgoing: ServerResponse): void {
    const [path] = url.split('?')
    if (path === '/.tokctl/metrics') {
      outgoing.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
      outgoing.end(prometheusText(all))
    } else if (path === '/.tokctl/health') {
      const text = `${JSON.stringify({ status: 'ok', route: route.name, in_flight: metrics.inFlight })}\n`
      outgoing.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      outgoing.end(text)
    } else answerFailure(outgoing, 404, 'not_found', 'there are /.tokctl/health and /.tokctl/metrics')
  }

  if (route.listen.kind === 'tcp') refuseOpenAddress(route, uid, route.listen.host)
  const { address, host, hosts, remove } = await bind(server, route)
  try {
    if (host !== undefined) refuseOpenAddress(route, uid, host)
    else if (route.listen.kind === 'inherited') refuseOpenSocket(route, uid)
  } catch (error) {
    server.close()
    throw error
  }
  admission = { ...admission, hosts }

  const watch = setInterval(() => {
    const now = clock.monotonic()
    for (const exchange of exchanges) {
      if (exchange.isStalled(now, limits)) exchange.abort()
    }
  }, limits.watchMs)
  watch.unref()
  return {
    address,
    async close() {
      clearInterval(watch)
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeIdleConnections()
      const limit = setTimeout(() => {
        for (const exchange of exchanges) exchange.abort()
        for (const socket of upgraded) socket.destroy()
        server.closeAllConnections()
      }, limits.drainMs)
      await closed
      clearTimeout(limit)
      remove()
      await route.dispatcher.destroy()
    },
  }
}

function upgradeRefusal({ method, headers }: IncomingMessage): Refusal | undefined {
  const isWebSocket = headers.upgrade?.toLowerCase() === 'websocket' && method === 'GET'
  // h2c would let a client speak past the checks of every further request.
  return isWebSocket ? undefined : { status: 400, reason: 'upgrade', message: 'only WebSocket is passed on' }
}

/** Nobody is served at an address that others can reach unseen: another machine, or another user where nothing tells them apart. */
function refuseOpenAddress({ name, clientSecret }: ProxyRoute, uid: number | undefined, host: string): void {
  const shown = host.includes(':') ? `[${host}]` : host
  if (!isLoopback(shown)) {
    throw new TokctlError('config_invalid', `proxy "${name}": ${shown} is reached from other machines`, {
      hint: 'write ListenStream=127.0.0.1:PORT, or the path of a unix socket, into the .socket unit',
    })
  }
  if (uid !== undefined || clientSecret !== undefined) return
  throw new TokctlError(
    'config_invalid',
    `proxy "${name}": this system does not say whose a connection is, so every user of this machine could use ${shown}`,
    { hint: `add --client-auth FILE (client_auth in [proxy.${name}]), or listen at unix:/path` },
  )
}

/** Nor at a unix socket that a service manager made for everybody, as systemd does where its unit says nothing of a mode. */
function refuseOpenSocket({ name, clientSecret }: ProxyRoute, uid: number | undefined): void {
  if (clientSecret !== undefined) return
  const why = uid === undefined ? 'this system does not say where it is' : exposureOf(inheritedFd, uid)
  if (why === undefined) return
  throw new TokctlError(
    'config_invalid',
    `proxy "${name}": the socket of the service manager is not this user's alone: ${why}`,
    {
      hint: `write SocketMode=0600 (in a system unit SocketUser= too) into the .socket unit, or add --client-auth FILE (client_auth in [proxy.${name}])`,
    },
  )
}

interface Bound {
  readonly address: string
  /** Of a TCP socket. */
  readonly host: string | undefined
  readonly hosts: ReadonlySet<string> | undefined
  remove(): void
}

async function bind(server: Server, { listen, name }: ProxyRoute): Promise<Bound> {
  if (listen.kind === 'unix') {
    const remove = await listenAtSocketFile(server, listen.path)
    return { address: `unix:${listen.path}`, host: undefined, hosts: undefined, remove }
  }
  const where = listen.kind === 'tcp' ? { host: listen.host, port: listen.port } : { fd: inheritedFd }
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const place =
        listen.kind === 'tcp' ? `${listen.host}:${listen.port}` : 'the socket of the service manager'
      const hint =
        error.code === 'EADDRINUSE' ? { hint: 'choose another port, or 0 for any that is free' } : {}
      reject(
        new TokctlError('config_invalid', `proxy "${name}": cannot listen at ${place} (${error.code})`, hint),
      )
    })
    server.listen(where, resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') {
    return { address: `unix:${address ?? ''}`, host: undefined, hosts: undefined, remove() {} }
  }
  const { address: host, port }: AddressInfo = address
  const shown = host.includes(':') ? `[${host}]` : host
  return { address: `http://${shown}:${port}`, host, hosts: hostsOf(host, port), remove() {} }
}
