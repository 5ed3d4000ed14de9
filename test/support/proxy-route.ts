import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import Pool from 'undici/lib/dispatcher/pool.js'
import { onTestFinished } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { type Clock, systemClock } from '../../src/core/time.ts'
import type { Token } from '../../src/core/token.ts'
import type { Tokens } from '../../src/core/tokens.ts'
import { type LoopbackProxy, type ProxyLimits, startProxy } from '../../src/proxy/proxy.ts'
import type { ProxyRoute } from '../../src/proxy/route.ts'
import { proverOf } from '../../src/source/dpop.ts'

/** Tokens that a test decides about; `token-1` is there at the beginning, and each replacement counts on. */
export interface ScriptedTokens extends Tokens {
  /** How often a refused token was replaced. */
  readonly replaced: () => number
  /** Makes every call fail from now on. */
  fail(error: TokctlError): void
  /** Says that a new token would be refused too. */
  stopReplacing(): void
}

export function scriptedTokens(): ScriptedTokens {
  let number = 1
  let failure: TokctlError | undefined
  let replaces = true
  const tokenOf = (text: string): Token => ({
    accessToken: new Secret(text),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt: 0,
    expiresAt: undefined,
    refreshToken: undefined,
  })
  let token = tokenOf('token-1')
  const get = async (): Promise<Token> => {
    if (failure !== undefined) throw failure
    return token
  }
  return {
    replaced: () => number - 1,
    fail: error => {
      failure = error
    },
    stopReplacing: () => {
      replaces = false
    },
    peek: () => (failure === undefined ? token : undefined),
    get,
    fresh: async () => ({ token: await get(), refreshAt: undefined }),
    reject: async () => {},
    forget: async () => {},
    replace(_, refused) {
      if (!replaces) return undefined
      if (token.accessToken.equals(refused)) token = tokenOf(`token-${++number}`)
      return get()
    },
  }
}

/** A server that the proxy stands before. */
export interface Upstream {
  readonly origin: string
  readonly server: Server
  /** Of each request, in order. */
  readonly seen: IncomingMessage[]
}

export async function startUpstream(
  answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void,
): Promise<Upstream> {
  const seen: IncomingMessage[] = []
  const server = createServer((incoming, outgoing) => {
    seen.push(incoming)
    answer(incoming, outgoing)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
  })
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, seen }
}

/** A proxy before that upstream, on a port of its own. */
export async function proxyBefore(
  origin: string,
  tokens: Tokens,
  more: Partial<ProxyRoute> & { uid?: number | 'unknown'; limits?: Partial<ProxyLimits>; clock?: Clock } = {},
): Promise<LoopbackProxy & { readonly port: number }> {
  const { uid = process.getuid?.(), limits = {}, clock = systemClock, ...given } = more
  const { host } = new URL(origin)
  const route: ProxyRoute = {
    name: 'api',
    profile: 'corp',
    listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    upstream: { origin, host, path: '' },
    dispatcher: new Pool(origin, { connections: 64, pipelining: 1, bodyTimeout: 0 }),
    connect: async () => connect(Number(new URL(origin).port), '127.0.0.1'),
    authorization: token => `Bearer ${token.accessToken.expose()}`,
    prover: proverOf(origin, clock),
    clientSecret: undefined,
    maxBodyBytes: 1_048_576,
    ...given,
  }
  const proxy = await startProxy([route], { clock, tokens, uid: uid === 'unknown' ? undefined : uid, limits })
  onTestFinished(() => proxy.close())
  return { ...proxy, port: Number(/:(\d+)$/.exec(proxy.addresses[0] ?? '')?.[1] ?? 0) }
}

/** Sends these very bytes and reads until the proxy ends the connection, or `until` is in what it said. */
export async function sendRaw(
  port: number,
  bytes: string | Buffer,
  until?: RegExp,
  host = '127.0.0.1',
): Promise<string> {
  const socket = connect(port, host)
  let text = ''
  socket.on('error', () => {})
  const done = new Promise<void>(resolve => {
    socket.on('close', () => resolve())
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (until?.test(text)) resolve()
    })
  })
  socket.write(bytes)
  await done
  socket.destroy()
  return text
}
