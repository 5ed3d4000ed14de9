import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { TokctlError } from '../core/errors.ts'
import type { SignInPage } from './sign-in-page.ts'

// What arrives here may come from any page in any browser of this machine, and from any of its users. Rules:
//  - Only the browser that went through our sign-in knows its state. Nobody else can end it, or make it fail.
//  - Nothing is told that is not on the page; one path exists, one method, one host.

/** The parameters that the browser was sent back with, and the way to answer it. */
export interface Redirect {
  readonly params: URLSearchParams
  /** Shows the browser how it ended. To be called once; resolves when the page is on its way. */
  answer(page: SignInPage): Promise<void>
}

/** A listener for one redirect. */
export interface RedirectListener {
  /** `http://127.0.0.1:PORT/callback` */
  readonly redirectUri: string
  /** The first redirect that knows the state. */
  readonly redirect: Promise<Redirect>
  /** Ends every connection and frees the port. */
  close(): Promise<void>
}

/** Pages for visitors whom the sign-in is not about. */
export interface ListenerPages {
  /** For a redirect that does not know the state. */
  readonly stranger: SignInPage
  /** For a second redirect that knows it. */
  readonly again: SignInPage
}

const host = '127.0.0.1'
const path = '/callback'
const maxConnections = 32
const maxHeaderBytes = 16_384
const headersTimeoutMs = 10_000
const flushTimeoutMs = 1000

/**
 * Listens on the loopback interface for the redirect that ends a sign-in. It answers `GET /callback` alone.
 *
 * @param isOurs - Tells whether parameters belong to this sign-in; what does not is shown a page and otherwise ignored.
 * @param port - A fixed port, or 0 for any.
 * @throws {TokctlError} `config_invalid`: the port is taken or may not be used
 * @see RFC 8252 §7.3, §8.3
 */
export async function listenForRedirect(
  port: number,
  isOurs: (params: URLSearchParams) => boolean,
  pages: ListenerPages,
): Promise<RedirectListener> {
  const { createServer } = await import('node:http')
  const sockets = new Set<Socket>()
  let found: (redirect: Redirect) => void = () => {}
  const redirect = new Promise<Redirect>(resolve => {
    found = resolve
  })
  let isFound = false
  let ownHost = ''

  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const query = callbackQuery(request, ownHost)
    const params = new URLSearchParams(query)
    if (query === undefined) refuse(response, 404)
    else if (request.method !== 'GET') refuse(response, 405)
    else if (!isOurs(params)) void show(response, pages.stranger)
    else if (isFound) void show(response, pages.again)
    else {
      isFound = true
      found({ params, answer: page => show(response, page) })
    }
  }
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headersTimeoutMs,
      requestTimeout: headersTimeoutMs,
      // Node looks every 30 s by itself, which is long for who holds the last free connection.
      connectionsCheckingInterval: 1000,
    },
    serve,
  )
  server.maxConnections = maxConnections
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await listen(server, port)
  ownHost = `${host}:${(server.address() as AddressInfo).port}`
  return {
    redirectUri: `http://${ownHost}${path}`,
    redirect,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what =
        error.code === 'EADDRINUSE'
          ? 'is in use by another program'
          : error.code === 'EACCES'
            ? 'may not be used'
            : `cannot be listened on (${error.code ?? 'error'})`
      const hint =
        port === 0
          ? undefined
          : 'end the other program, or set redirect_port to another port that is registered at the server'
      reject(new TokctlError('config_invalid', `port ${port === 0 ? `of ${host}` : port} ${what}`, { hint }))
    })
    server.listen({ port, host, exclusive: true }, resolve)
  })
}

/** The query of a request for our path at our very host; `undefined` for all others. */
export function callbackQuery(
  { url = '', headers, rawHeaders }: Pick<IncomingMessage, 'url' | 'headers' | 'rawHeaders'>,
  ownHost: string,
): string | undefined {
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  // A page of another name that resolves to this machine sends its own name (DNS rebinding).
  if (hosts.length !== 1 || headers.host !== ownHost) return undefined
  if (url === path) return ''
  return url.startsWith(`${path}?`) ? url.slice(path.length + 1) : undefined
}

function refuse(response: ServerResponse, status: 404 | 405): void {
  const allow = status === 405 ? { allow: 'GET' } : {}
  response.writeHead(status, { ...allow, connection: 'close', 'content-length': '0' }).end()
}

/** Sends a page. The connection ends with it; a browser that has gone, or reads nothing, is not waited for. */
function show(response: ServerResponse, { status, headers, html }: SignInPage): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(done, flushTimeoutMs)
    function done(): void {
      clearTimeout(timer)
      resolve()
    }
    response.once('close', done)
    response.once('error', done)
    if (response.destroyed) done()
    const body = Buffer.from(html)
    response.writeHead(status, { ...headers, connection: 'close', 'content-length': String(body.length) })
    response.end(body)
  })
}
