import { createServer, type IncomingMessage } from 'node:http'
import { hostsOf, refusalOf } from '../../src/proxy/admission.ts'
import { requestFields } from '../../src/proxy/header-fields.ts'
import { feedConnection } from './fuzz-connection.ts'

/** Whatever reads a proxy's client: Node's parser, who is let in, and what of it goes on. */
export interface ProxyReader {
  /** Gives these bytes as a connection's first. @returns The requests that were let in. @throws What must not be of one. */
  read(bytes: Buffer): number
}

const admission = { hosts: hostsOf('127.0.0.1', 7777), clientSecret: undefined }
const notForUpstreams =
  /^(?:connection|keep-alive|proxy-.*|transfer-encoding|upgrade|trailer|expect|forwarded|x-forwarded-.*|x-tokctl-auth)$/i

export function createProxyReader(): ProxyReader {
  let letIn = 0
  let broken: unknown
  const server = createServer({ maxHeaderSize: 32_768 })
  server.maxHeadersCount = 0
  const look = (incoming: IncomingMessage): void => {
    try {
      if (refusalOf(incoming, admission) !== undefined) return
      letIn++
      judge(incoming)
    } catch (error) {
      broken ??= error
    }
  }
  server.on('request', look).on('checkContinue', look).on('upgrade', look)
  server.on('connect', () => {})
  server.on('clientError', () => {})
  return {
    read(bytes) {
      letIn = 0
      broken = undefined
      feedConnection(server, bytes)
      if (broken !== undefined) throw broken
      return letIn
    },
  }
}

function judge(incoming: IncomingMessage): void {
  const { url = '', headers } = incoming
  const at = new URL(`https://api.example.com/base${url}`)
  promise(at.origin === 'https://api.example.com', `${JSON.stringify(url)} leads to ${at.origin}`)
  promise(at.pathname.startsWith('/base/'), `${JSON.stringify(url)} leads above its path`)
  promise(/^(?:127\.0\.0\.1|localhost):7777$/i.test(headers.host ?? ''), 'it asks for another host')
  const fields = requestFields(incoming, 'api.example.com', 'Bearer ours')
  const of = (name: string): (string | undefined)[] =>
    fields.filter((_, i) => i % 2 === 1 && fields[i - 1]?.toLowerCase() === name)
  promise(String(of('authorization')) === 'Bearer ours', 'another Authorization goes on')
  promise(String(of('host')) === 'api.example.com', 'another Host goes on')
  promise(of('content-length').length < 2, 'two lengths go on')
  promise(
    of('content-length').length === 0 || headers['transfer-encoding'] === undefined,
    'it is framed in two ways',
  )
  for (const [i, text] of fields.entries()) {
    promise(!/[\r\n\0]/.test(text), 'a field has a line of its own in it')
    if (i % 2 === 0) promise(!notForUpstreams.test(text), `${text} goes on`)
  }
}

function promise(kept: boolean, what: string): void {
  if (!kept) throw new Error(`broken: ${what}`)
}
