import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { exitCodeOf, TokctlError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Tokens } from '../core/tokens.ts'
import { createPeerLookup, type PeerLookup } from '../proxy/peer-user.ts'
import type { IdentityProtocol, IdentityReply } from './identity-replies.ts'

/** What an endpoint stands on. */
export interface EndpointOptions {
  readonly protocol: IdentityProtocol
  readonly profile: string
  readonly tokens: Pick<Tokens, 'get'>
  readonly clock: Clock
  /** What whoever asks has to show. */
  readonly secret: string
  /** A literal loopback address and a port; 0 for any free one. */
  readonly address: { readonly host: string; readonly port: number }
  /** The user that may ask, beside root; `undefined` where the system does not say whose a connection is. */
  readonly uid: number | undefined
}

/** An endpoint that answers. */
export interface Endpoint {
  readonly origin: string
  close(): Promise<void>
}

/**
 * Reads `HOST:PORT`.
 *
 * @param flag - What the option is called.
 * @throws {TokctlError} `usage` for anything but a literal loopback address and a port
 */
export function readListen(flag: string, text: string): { host: string; port: number } {
  const [, bracketed, plain, port = ''] = /^(?:\[([\da-f:]+)\]|([\d.]+)):(\d{1,5})$/i.exec(text) ?? []
  const host = bracketed ?? plain ?? ''
  const isLoopback = host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
  if (isLoopback && Number(port) <= 65_535) return { host, port: Number(port) }
  throw new TokctlError('usage', `${flag}: "${text.slice(0, 60)}" is not a loopback address and a port`, {
    hint: `write ${flag} 127.0.0.1:PORT, or ${flag} 127.0.0.1:0 for any free port`,
  })
}

/**
 * Listens on loopback and answers one cloud's SDKs. Closed to web pages (Host, Origin, Sec-Fetch-Site), to other users where
 * the kernel tells who asks, and to whoever does not know the secret.
 *
 * @throws {TokctlError} `config_invalid` where it cannot listen
 */
export async function startEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const { address } = options
  const peerUser = createPeerLookup()
  const server = createServer(
    { maxHeaderSize: 8192, requestTimeout: 10_000, headersTimeout: 5000, keepAliveTimeout: 5000 },
    (request, response) => {
      answer(request, server, peerUser, options)
        .catch(() => options.protocol.failure(500, 'internal_error', 'unexpected failure'))
        .then(reply => send(response, reply))
    },
  )
  server.maxConnections = 64
  await listen(server, address)
  const { port } = server.address() as AddressInfo
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return {
    origin: `http://${host}:${port}`,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, { host, port }: EndpointOptions['address']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const place = `${host.includes(':') ? `[${host}]` : host}:${port}`
      const hint =
        error.code === 'EADDRINUSE' ? { hint: 'choose another port, or 0 for any that is free' } : {}
      reject(new TokctlError('config_invalid', `cannot listen at ${place} (${error.code})`, hint))
    })
    server.listen(port, host, resolve)
  })
}

async function answer(
  request: IncomingMessage,
  server: Server,
  peerUser: PeerLookup,
  { protocol, profile, tokens, clock, secret, uid }: EndpointOptions,
): Promise<IdentityReply> {
  request.resume()
  const { headers, socket } = request
  const { address, port } = server.address() as AddressInfo
  const host = address.includes(':') ? `[${address}]` : address
  if (headers.host !== `${host}:${port}` && headers.host !== `localhost:${port}`) {
    return protocol.failure(421, 'wrong_host', 'asked for another host')
  }
  if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined) {
    return protocol.failure(403, 'not_for_pages', 'a web page is not answered')
  }
  if (uid !== undefined) {
    const { localAddress = '', remoteAddress = '', remotePort = 0 } = socket
    const user = await peerUser({ localAddress, localPort: port, remoteAddress, remotePort })
    // One that nobody is known of is another's until the opposite is seen.
    if (user !== uid && user !== 0) {
      return protocol.failure(403, 'another_user', 'another user is not answered')
    }
  }
  if (request.method !== 'GET') return protocol.failure(405, 'method_not_allowed', 'only GET is answered')
  const [path = '', query = ''] = (request.url ?? '').split('?', 2)
  const plan = protocol.plan({ path, query: new URLSearchParams(query), headers }, secret)
  if (plan.kind === 'reply') return plan.reply
  try {
    return plan.reply(await tokens.get(profile), clock.now())
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    // What is temporary is tried again by the SDKs, what needs a person is not.
    return protocol.failure(exitCodeOf(error.code) === 5 ? 503 : 403, error.code, error.message)
  }
}

function send(response: ServerResponse, { status, headers, body }: IdentityReply): void {
  const isText = typeof body === 'string'
  response.writeHead(status, {
    'content-type': isText ? 'application/text' : 'application/json',
    'cache-control': 'no-store',
    ...headers,
  })
  response.end(isText ? body : JSON.stringify(body))
}
