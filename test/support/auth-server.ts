import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'

/** One request as the server saw it, in order of arrival. */
export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  /** The form fields; of a repeated one the last. */
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Milliseconds on this process's monotonic clock. */
  readonly at: number
}

/** What a request is answered. An object as `body` is sent as JSON. */
export interface Reply {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | object
}

/** `hang`: no answer until the server closes. `reset`: the connection is torn down. `token`: the next `token-N`. */
export type Answer = Reply | 'hang' | 'reset' | 'token'
export type AnswerTo = (request: SeenRequest) => Answer | Promise<Answer>

/** Requests that arrive while it is shut wait in it, unanswered. */
export interface Gate {
  /** How many wait now. */
  readonly held: number
  /** Resolves once `n` wait at the same time; rejects after `withinMs` (20 s) telling how many came. */
  arrived(n: number, withinMs?: number): Promise<void>
  /** Lets the first `n` go and keeps the others; without `n` opens the gate for good. */
  release(n?: number): void
}

/** An authorization server on a free loopback port, in this process. Every path but discovery answers tokens. */
export interface AuthServer {
  /** Without a slash at the end; also the issuer that discovery names. */
  readonly url: string
  readonly tokenEndpoint: string
  readonly requests: readonly SeenRequest[]
  /** Seconds told with tokens made from now on; `undefined` leaves `expires_in` out. */
  expiresIn: number | undefined
  /** How many requests came in, to one path or to all. */
  count(path?: string): number
  /** The most requests that were being answered at one time. */
  readonly maxInFlight: number
  /** Shuts a gate before all requests that arrive from now on, or those to one path. */
  hold(path?: string): Gate
  /** Answers all requests this way from now on. */
  answer(answer: Answer | AnswerTo): void
  /** Answers the next requests this way, one each, before the standing answer counts again. */
  answerNext(...answers: (Answer | AnswerTo)[]): void
  /** 503 from now on; `retryAfter` is seconds or an HTTP date. */
  unavailable(retryAfter?: number | string): void
  /** Ends every connection. Throws when an answer given to `answerNext` was never asked for. */
  close(): Promise<void>
}

interface OpenGate extends Gate {
  readonly path: string | undefined
  readonly open: boolean
  wait(): Promise<void>
}

/** Starts the server. The caller closes it. */
export async function startAuthServer(): Promise<AuthServer> {
  const requests: SeenRequest[] = []
  const gates: OpenGate[] = []
  const next: (Answer | AnswerTo)[] = []
  let standing: Answer | AnswerTo = 'token'
  let expiresIn: number | undefined = 3600
  let issued = 0
  let inFlight = 0
  let maxInFlight = 0

  const server = createServer((request, response) => {
    inFlight++
    maxInFlight = Math.max(maxInFlight, inFlight)
    response.on('close', () => inFlight--)
    respond(request, response).catch(error => response.destroy(error))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = await read(request)
    requests.push(seen)
    for (const gate of gates) {
      if (!gate.open && (gate.path === undefined || gate.path === seen.path)) await gate.wait()
    }
    // Chosen after the gate: a test may hold requests first and say then what becomes of them.
    const answer = isDiscovery(seen.path) ? metadata() : (next.shift() ?? standing)
    send(typeof answer === 'function' ? await answer(seen) : answer, request, response)
  }

  function metadata(): Reply {
    return {
      body: { issuer: url, token_endpoint: `${url}/token`, authorization_endpoint: `${url}/authorize` },
    }
  }

  function send(answer: Answer, request: IncomingMessage, response: ServerResponse): void {
    if (answer === 'hang') return
    if (answer === 'reset') {
      request.socket.resetAndDestroy()
      return
    }
    const { status = 200, headers = {}, body = '' } = answer === 'token' ? token() : answer
    const plain = typeof body === 'string' || body instanceof Uint8Array
    response.writeHead(status, {
      'content-type': plain ? 'text/plain' : 'application/json',
      'cache-control': 'no-store',
      ...headers,
    })
    response.end(plain ? body : JSON.stringify(body))
  }

  function token(): Reply {
    issued++
    return { body: { access_token: `token-${issued}`, token_type: 'Bearer', expires_in: expiresIn } }
  }

  return {
    url,
    tokenEndpoint: `${url}/token`,
    requests,
    get expiresIn() {
      return expiresIn
    },
    set expiresIn(seconds) {
      expiresIn = seconds
    },
    count: path => requests.filter(request => path === undefined || request.path === path).length,
    get maxInFlight() {
      return maxInFlight
    },
    hold: path => {
      const gate = shutGate(path)
      gates.push(gate)
      return gate
    },
    answer: answer => {
      standing = answer
    },
    answerNext: (...answers) => {
      next.push(...answers)
    },
    unavailable: retryAfter => {
      const headers: Record<string, string> =
        retryAfter === undefined ? {} : { 'retry-after': `${retryAfter}` }
      standing = { status: 503, headers, body: 'try again later' }
    },
    close: async () => {
      for (const gate of gates) gate.release()
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await closed
      if (next.length > 0) throw new Error(`${next.length} answers of the auth server were never asked for`)
    },
  }
}

async function read(request: IncomingMessage): Promise<SeenRequest> {
  const at = performance.now()
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks).toString()
  const target = new URL(request.url ?? '/', 'http://127.0.0.1')
  const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') ?? false
  return {
    method: request.method ?? '',
    path: target.pathname,
    query: Object.fromEntries(target.searchParams),
    params: isForm ? Object.fromEntries(new URLSearchParams(body)) : {},
    headers: request.headers,
    body,
    at,
  }
}

function isDiscovery(path: string): boolean {
  return path.includes('/.well-known/')
}

function shutGate(path: string | undefined): OpenGate {
  const waiting: (() => void)[] = []
  const watchers: { readonly n: number; readonly reached: () => void }[] = []
  let open = false

  return {
    path,
    get open() {
      return open
    },
    get held() {
      return waiting.length
    },
    wait: () =>
      new Promise<void>(resolve => {
        waiting.push(resolve)
        for (const { n, reached } of watchers) if (waiting.length >= n) reached()
      }),
    arrived: (n, withinMs = 20_000) =>
      new Promise((resolve, reject) => {
        if (waiting.length >= n) return resolve()
        const timer = setTimeout(
          () => reject(new Error(`${waiting.length} of ${n} requests arrived within ${withinMs} ms`)),
          withinMs,
        )
        const reached = (): void => {
          clearTimeout(timer)
          resolve()
        }
        watchers.push({ n, reached })
      }),
    release: n => {
      if (n === undefined) open = true
      for (const go of waiting.splice(0, n ?? waiting.length)) go()
    },
  }
}
