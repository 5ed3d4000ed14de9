import { once } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

/** What the proxy was asked for. */
export interface ProxiedRequest {
  readonly method: string
  /** `HOST:PORT` of a CONNECT, else the absolute URL. */
  readonly target: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

/** An HTTP proxy on a loopback port: CONNECT tunnels and absolute URLs. */
export interface ProxyServer {
  readonly port: number
  readonly requests: readonly ProxiedRequest[]
  close(): Promise<void>
}

/** How it behaves. */
export interface ProxyOptions {
  /** Asked for in `Proxy-Authorization`; anything else is answered 407. */
  readonly authorization?: string
  /** Answers every CONNECT with this status. */
  readonly refuse?: number
  /** Takes the connection and never says anything. */
  readonly silent?: boolean
  /** Closes the connection in the place of an answer to a CONNECT. */
  readonly closes?: boolean
  /** Opens tunnels, and passes nothing on in them. */
  readonly deaf?: boolean
  /** Is handed what opens each tunnel, in the place of it. */
  readonly hold?: (open: () => void) => void
  /** Speaks TLS to its clients. */
  readonly tls?: TlsOptions
}

export async function startProxy(options: ProxyOptions = {}): Promise<ProxyServer> {
  const requests: ProxiedRequest[] = []
  const sockets = new Set<Socket>()
  const track = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  }
  const http: Server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headers } = incoming
    requests.push({ method, target: url, headers })
    if (options.authorization !== undefined && headers['proxy-authorization'] !== options.authorization) {
      outgoing.writeHead(407, { 'proxy-authenticate': 'Basic' }).end()
      return
    }
    const { 'proxy-authorization': _, 'proxy-connection': __, ...passed } = headers
    const onward = request(url, { method, headers: passed, agent: false }, answer => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      answer.pipe(outgoing)
      answer.on('error', () => outgoing.destroy())
    })
    onward.on('socket', track)
    onward.on('information', ({ statusCode }) => {
      if (statusCode === 103) outgoing.writeEarlyHints({ link: '</x>; rel=preload' })
    })
    onward.on('error', () => outgoing.destroy())
    outgoing.on('close', () => onward.destroy())
    incoming.pipe(onward)
  })
  http.on('connect', (incoming, socket: Socket, head: Buffer) => {
    requests.push({ method: 'CONNECT', target: incoming.url ?? '', headers: incoming.headers })
    if (options.silent) return
    if (options.closes) return void socket.destroy()
    if (options.refuse !== undefined) return void socket.end(`HTTP/1.1 ${options.refuse} No\r\n\r\n`)
    if (
      options.authorization !== undefined &&
      incoming.headers['proxy-authorization'] !== options.authorization
    ) {
      return void socket.end('HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n')
    }
    const [host = '', port = ''] = (incoming.url ?? '').split(':')
    const open = (): void => {
      const onward = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        if (options.deaf) return
        onward.write(head)
        onward.pipe(socket)
        socket.pipe(onward)
      })
      track(onward)
      onward.on('error', () => socket.end('HTTP/1.1 502 Gone\r\n\r\n'))
    }
    if (options.hold === undefined) open()
    else options.hold(open)
  })
  http.on('connection', track)
  const listener =
    options.tls === undefined
      ? http
      : createTlsServer(options.tls, socket => void http.emit('connection', socket))
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    requests,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      if (!listener.listening) return
      listener.close()
      await once(listener, 'close')
    },
  }
}
