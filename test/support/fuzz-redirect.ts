import { createServer, type IncomingMessage } from 'node:http'
import { readRedirect } from '../../src/source/authorization-code.ts'
import { callbackQuery } from '../../src/source/redirect-listener.ts'
import { feedConnection } from './fuzz-connection.ts'

const ownHost = '127.0.0.1:7777'
const issuer = 'https://idp.example.com'
const server = { issuer, metadata: undefined, authorization: `${issuer}/authorize` }

/** Whatever reads what a browser brings back: Node's parser, whose request it is, and the code in it. */
export interface RedirectReader {
  /** Gives these bytes as a connection's first. @throws What reading the parameters throws, or a broken promise. */
  read(bytes: Buffer): void
}

export function createRedirectReader(): RedirectReader {
  let broken: unknown
  const listener = createServer({ maxHeaderSize: 16_384 }, incoming => {
    try {
      judge(incoming)
    } catch (error) {
      broken ??= error
    }
  })
  listener.on('clientError', () => {})
  return {
    read(bytes) {
      broken = undefined
      feedConnection(listener, bytes)
      if (broken !== undefined) throw broken
    },
  }
}

function judge(incoming: IncomingMessage): void {
  const query = callbackQuery(incoming, ownHost)
  if (query === undefined) return
  promise(incoming.headers.host === ownHost, 'it is for another host')
  const at = new URL(incoming.url ?? '', `http://${ownHost}`)
  promise(
    at.host === ownHost && at.pathname === '/callback',
    `${JSON.stringify(incoming.url)} is another place`,
  )
  const params = new URLSearchParams(query)
  const code = readRedirect(params, server).expose()
  promise(code !== '' && String(params.getAll('code')) === code, 'the code is not the one that was said')
  promise([null, issuer].includes(params.get('iss')), 'it is the answer of another issuer')
  promise(!params.has('error'), 'a refusal is taken for an answer')
}

function promise(kept: boolean, what: string): void {
  if (!kept) throw new Error(`broken: ${what}`)
}
