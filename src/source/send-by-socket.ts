import type { Environment } from '../core/environment.ts'
import { httpReader } from './http-reader.ts'
import { serverName } from './server-name.ts'
import type { HttpRequest } from './transport.ts'
import type { DirectWire } from './wire.ts'

// For the one-file program, where to load `node:http` would take longer than the request. Bun's own `fetch` is no way out: it
// tells neither when the connection stands, before which nothing can have been used up, nor whether a failure came before
// that; and it goes through whatever proxy it finds in the environment.

/** Makes the wire for a direct request over a socket of Bun's, on a fresh connection. */
export const socketWire: DirectWire = async (request, url, environment) => {
  const isSecure = url.protocol === 'https:'
  const tls = await tlsOf(request, url, environment)
  return events => {
    let socket: Bun.ClientSocket | undefined
    let isOver = false
    let unsent = encode(request, url)
    const reader = httpReader(events)
    const guarded = (step: () => void): void => {
      if (isOver) return
      try {
        step()
      } catch (error) {
        events.fail(error)
      }
    }
    const send = (): void => {
      if (unsent.length > 0) unsent = unsent.subarray(Math.max(0, socket?.write(unsent) ?? 0))
    }
    const begin = (): void => {
      events.connected()
      send()
    }
    const connecting = Bun.connect({
      hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(url.port || (isSecure ? 443 : 80)),
      ...(isSecure ? { tls } : {}),
      socket: {
        open(opened) {
          socket = opened
          if (isOver) opened.terminate()
          else if (!isSecure) guarded(begin)
        },
        handshake(_, success, error) {
          if (success && error === null) guarded(begin)
          else guarded(() => events.fail(inOurWords(error)))
        },
        data: (_, chunk) => guarded(() => reader.take(chunk)),
        drain: () => guarded(send),
        // An answer without a length ends with the connection: where that was cut off, nobody knows whether it is whole.
        close: (_, error) => guarded(() => (error ? events.fail(inOurWords(error)) : reader.close())),
        error: (_, error) => guarded(() => events.fail(inOurWords(error))),
        connectError: (_, error) => guarded(() => events.fail(error)),
      },
    })
    // Told to `connectError` already.
    connecting.catch(() => {})
    return () => {
      isOver = true
      socket?.terminate()
    }
  }
}

async function tlsOf(
  { tls }: HttpRequest,
  { hostname }: URL,
  environment: Environment,
): Promise<Bun.TlsOptions> {
  const keys = tls === undefined ? {} : await (await import('./tls-options.ts')).tlsKeys(tls, environment)
  return { ...keys, rejectUnauthorized: true, serverName: serverName(hostname) }
}

function encode({ method, headers, body }: HttpRequest, url: URL): Buffer {
  const content = body === undefined ? undefined : Buffer.from(body)
  const all = {
    host: url.host,
    ...headers,
    ...(content === undefined && method === 'GET' ? {} : { 'content-length': String(content?.length ?? 0) }),
    'accept-encoding': 'identity',
    connection: 'close',
  }
  const lines = Object.entries(all).map(([name, value]) => {
    // What would end the line would begin another one.
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw Object.assign(new TypeError(`header "${name}" cannot be sent`), { code: 'ERR_INVALID_CHAR' })
    }
    return `${name}: ${value}\r\n`
  })
  const head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), content ?? Buffer.alloc(0)])
}

// BoringSSL's reason stands in the text alone: `error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER`.
function inOurWords(error: Error | null): Error {
  const reason = /:SSL routines:[^:]*:([A-Z0-9_]+)$/.exec(error?.message ?? '')?.[1]
  if (reason !== undefined) return Object.assign(new Error(reason), { code: `ERR_SSL_${reason}` })
  return error ?? Object.assign(new Error('the handshake failed'), { code: 'EPROTO' })
}
