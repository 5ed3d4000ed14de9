import type { IncomingMessage } from 'node:http'
import type { Secret } from '../core/secret.ts'
import { Secret as SecretValue } from '../core/secret.ts'

// Who may use the proxy. Rules:
//  - A web page may not, whatever it resolves its own name to: Host is one of a list, letter by letter, Origin is ours or
//    absent, and a browser that says where a request comes from says that it comes from here.
//  - The upstream is fixed: the request target is a path, and nothing in it can be read as a host or climb out of the base path.

/** What is asked of every request at one address. */
export interface Admission {
  /** Values of Host that are taken, in lower case; `undefined` where no web page can come: a unix socket. */
  readonly hosts: ReadonlySet<string> | undefined
  readonly clientSecret: Secret | undefined
}

/** Why a request goes no further. */
export interface Refusal {
  readonly status: 400 | 401 | 403 | 405 | 413 | 421
  /** For the metrics, a word. */
  readonly reason: 'method' | 'target' | 'host' | 'origin' | 'client' | 'upgrade' | 'body' | 'framing'
  /** For whoever reads the answer. */
  readonly message: string
}

/** The header field that carries the secret of `--client-auth`. */
export const clientAuthField = 'x-tokctl-auth'

/** Tells why a request may not pass; `undefined` where it may. */
export function refusalOf(
  { method = '', url = '', headers, rawHeaders, httpVersionMajor }: IncomingMessage,
  { hosts, clientSecret }: Admission,
): Refusal | undefined {
  if (method === 'TRACE' || method === 'CONNECT') {
    return { status: 405, reason: 'method', message: `${method} is not for this proxy` }
  }
  if (!isPlainPath(url)) {
    return { status: 400, reason: 'target', message: 'the request target must be a path, written plainly' }
  }
  const { host, origin, 'transfer-encoding': coding } = headers
  // Another coding would be taken off the header and left on the body.
  if (httpVersionMajor !== 1 || (coding !== undefined && coding.toLowerCase() !== 'chunked')) {
    return { status: 400, reason: 'framing', message: 'requests are HTTP/1, and chunked at most' }
  }
  if (count(rawHeaders, 'host') !== 1) {
    return { status: 400, reason: 'host', message: 'a request has one Host' }
  }
  if (hosts !== undefined && !hosts.has((host ?? '').toLowerCase())) {
    return { status: 421, reason: 'host', message: 'this Host is not served here' }
  }
  if (origin !== undefined && !isOwnOrigin(origin, hosts)) {
    return { status: 403, reason: 'origin', message: 'requests from web pages are refused' }
  }
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return { status: 403, reason: 'origin', message: 'requests from web pages are refused' }
  }
  if (clientSecret !== undefined && !showsSecret(headers, clientSecret)) {
    return {
      status: 401,
      reason: 'client',
      message: `send the secret of this proxy as ${clientAuthField}, or as a bearer token`,
    }
  }
  return undefined
}

/** The values of Host that mean this address. */
export function hostsOf(host: string, port: number): ReadonlySet<string> {
  const name = host.includes(':') ? `[${host}]` : host
  const hosts = new Set<string>()
  for (const each of [name, 'localhost']) {
    hosts.add(`${each}:${port}`)
    if (port === 80) hosts.add(each)
  }
  return hosts
}

/** Tells whether a target is a path that every server reads alike: no host in it, no step up, nothing but visible ASCII. */
export function isPlainPath(target: string): boolean {
  if (!/^\/(?!\/)[\x21-\x7e]*$/.test(target)) return false
  const query = target.indexOf('?')
  const path = query < 0 ? target : target.slice(0, query)
  // Read as a slash by some, and never part of a path that is written as it should be.
  if (target.includes('#') || path.includes('\\')) return false
  return !path.includes('.') && !path.includes('%')
    ? true
    : !/(?:^|\/)(?:\.|%2e){1,2}(?=[/;]|$)/i.test(path.replace(/%2f|%5c/gi, '/'))
}

function isOwnOrigin(origin: string, hosts: ReadonlySet<string> | undefined): boolean {
  return hosts !== undefined && origin.startsWith('http://') && hosts.has(origin.slice(7))
}

function showsSecret(headers: IncomingMessage['headers'], secret: Secret): boolean {
  const own = headers[clientAuthField]
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  for (const given of [own, bearer]) {
    if (typeof given === 'string' && new SecretValue(given).equals(secret)) return true
  }
  return false
}

function count(rawHeaders: readonly string[], name: string): number {
  let found = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const field = rawHeaders[i] as string
    if (field.length === name.length && field.toLowerCase() === name) found++
  }
  return found
}
