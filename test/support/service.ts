import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** One request as the service saw it. */
export interface ServiceRequest {
  readonly method: string
  /** With its query. */
  readonly path: string
  /** The `Authorization` header; of Basic the user and the password in clear: `Basic oauth2:token-1`. */
  readonly authorization: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** What a service answers. An object as `body` is sent as JSON; a string or bytes as they are. */
export interface Page {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | object
}

/** A service that lets nobody in without a credential. */
export interface Service {
  /** Without a slash at the end. */
  readonly url: string
  /** `127.0.0.1:PORT`, as docker and terraform write it. */
  readonly host: string
  /** In order of arrival, each with the status it got. */
  readonly requests: readonly (ServiceRequest & { readonly status: number })[]
  /** The distinct values of `Authorization` that came, in order; `undefined` for none. */
  credentials(): (string | undefined)[]
  /** Tokens that are refused from now on, wherever in the header they stand. */
  readonly refused: Set<string>
  close(): Promise<void>
}

export interface ServiceOptions {
  /** Served over TLS with this certificate. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** The name in the URL; 127.0.0.1 without it. */
  readonly hostname?: string
  /** `WWW-Authenticate` of each 401. */
  readonly challenge?: string | ((service: Service) => string)
  /** Those of every answer. */
  readonly headers?: Readonly<Record<string, string>>
  /** Paths that need no credential. */
  readonly open?: RegExp
  /** Whether that header lets somebody in; without it every header with a `token-N` does. */
  welcomes?(authorization: string, request: ServiceRequest): boolean
  /** What stands at a path; 404 where nothing does. */
  page(request: ServiceRequest, service: Service): Page | undefined
}

/** Starts it on a free loopback port, in this process. The caller closes it. */
export async function startService(options: ServiceOptions): Promise<Service> {
  const requests: (ServiceRequest & { readonly status: number })[] = []
  const refused = new Set<string>()
  const isWelcome = options.welcomes ?? (authorization => /[ :]token-\d+$/.test(authorization))

  async function respond(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const request: ServiceRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '/',
      authorization: inClear(incoming.headers.authorization),
      headers: incoming.headers,
      body: Buffer.concat(chunks).toString(),
    }
    const { status = 200, headers = {}, body = '' } = answer(request)
    requests.push({ ...request, status })
    const isPlain = typeof body === 'string' || body instanceof Uint8Array
    const content = isPlain ? body : JSON.stringify(body)
    response.writeHead(status, {
      'content-type': isPlain ? 'text/plain' : 'application/json',
      'content-length': `${Buffer.byteLength(content)}`,
      ...options.headers,
      ...headers,
    })
    response.end(request.method === 'HEAD' ? undefined : content)
  }

  function answer(request: ServiceRequest): Page {
    const { authorization, path } = request
    if (!options.open?.test(path)) {
      const token = authorization?.split(/[ :]/).at(-1) ?? ''
      if (authorization === undefined || refused.has(token) || !isWelcome(authorization, request)) {
        const { challenge = 'Basic realm="loopback"' } = options
        const value = typeof challenge === 'string' ? challenge : challenge(service)
        return { status: 401, headers: { 'www-authenticate': value }, body: { error: 'unauthorized' } }
      }
    }
    return options.page(request, service) ?? { status: 404, body: { error: 'not found' } }
  }

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    respond(request, response).catch(error => response.destroy(error))
  }
  const server = options.tls ? createHttpsServer(options.tls, listener) : createHttpServer(listener)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const host = `${options.hostname ?? '127.0.0.1'}:${(server.address() as AddressInfo).port}`
  const service: Service = {
    url: `${options.tls ? 'https' : 'http'}://${host}`,
    host,
    requests,
    credentials: () => [...new Set(requests.map(({ authorization }) => authorization))],
    refused,
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
  return service
}

function inClear(header: string | undefined): string | undefined {
  const [, encoded] = /^Basic (.*)$/i.exec(header ?? '') ?? []
  return encoded === undefined ? header : `Basic ${Buffer.from(encoded, 'base64')}`
}
