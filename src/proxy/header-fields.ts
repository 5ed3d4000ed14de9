import type { IncomingMessage } from 'node:http'
import type { Dispatcher } from 'undici'
import { clientAuthField } from './admission.ts'

/** Name, value, name, value …, as undici has read them. */
export type RawFields = Dispatcher.DispatchController['rawHeaders'] | readonly string[]

/** Fields that speak of one connection (RFC 9110 §7.6.1), or that undici and we write ourselves. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

const takesTrailers = /(?:^|,)\s*trailers\s*(?:,|$)/i

/** Never taken from a client: what we say ourselves, and what would tell the upstream another route than the one that was. */
const notFromClients = new Set([
  ...hopByHop,
  'host',
  'authorization',
  'dpop',
  'expect',
  clientAuthField,
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-original-url',
  'x-rewrite-url',
  'x-real-ip',
])

/** Never passed to clients: they would let a web page read the answer, or lead a client past us. */
const notFromUpstreams = new Set([
  ...hopByHop,
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-private-network',
  'access-control-expose-headers',
  'access-control-max-age',
  'alt-svc',
  'strict-transport-security',
])

/**
 * The header fields that go to the upstream: those of the client, less its credentials and what concerns its connection.
 *
 * @param authorization - The one that is sent.
 */
export function requestFields(
  { rawHeaders, headers }: Pick<IncomingMessage, 'rawHeaders' | 'headers'>,
  host: string,
  authorization: string,
): string[] {
  const fields = ['host', host, 'authorization', authorization]
  // Trailer fields we can pass on; nothing else that it may list (RFC 9110 §10.1.4).
  if (headers.te !== undefined && takesTrailers.test(String(headers.te))) fields.push('te', 'trailers')
  copy(rawHeaders, notFromClients, fields)
  return fields
}

/** The trailer fields that go to the upstream, of those of the client. */
export function requestTrailers(raw: readonly string[]): [string, string][] {
  const fields: string[] = []
  copy(raw, notFromClients, fields)
  return pairs(fields)
}

/** What is announced to follow a body, as it is written; `undefined` for nothing. */
export function announcedTrailers(raw: RawFields): string | undefined {
  const fields = texts(raw)
  const at = fields.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === 'trailer')
  return at < 0 ? undefined : fields[at + 1]
}

/**
 * The header fields that go to the client.
 *
 * @param raw - Of the upstream.
 */
export function answerFields(raw: RawFields): string[] {
  const fields: string[] = []
  copy(texts(raw), notFromUpstreams, fields)
  return fields
}

/** The trailer fields that go to the client, in pairs; `undefined` where there are none. */
export function trailerFields(raw: RawFields): [string, string][] | undefined {
  if (!Array.isArray(raw) || raw.length === 0) return undefined
  return pairs(answerFields(raw))
}

/** As trailer fields: what frames a message has no place among them (RFC 9110 §6.5.1). */
function pairs(fields: readonly string[]): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    if (name.toLowerCase() !== 'content-length') found.push([name, fields[i + 1] as string])
  }
  return found
}

function copy(raw: readonly string[], without: ReadonlySet<string>, fields: string[]): void {
  let named: Set<string> | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    if (name.length === 10 && name.toLowerCase() === 'connection') {
      for (const option of (raw[i + 1] as string).split(',')) {
        const field = option.trim().toLowerCase()
        if (field === 'close' || field === 'keep-alive' || field === 'upgrade') continue
        named ??= new Set()
        named.add(field)
      }
    }
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const lower = name.toLowerCase()
    // What Connection names is for this hop alone; Content-Length is framing, and cannot be named away.
    if (without.has(lower) || (named?.has(lower) && lower !== 'content-length')) continue
    fields.push(name, raw[i + 1] as string)
  }
}

function texts(raw: RawFields): string[] {
  if (!Array.isArray(raw)) return []
  const found: string[] = []
  for (const part of raw as readonly (Buffer | string)[]) {
    found.push(typeof part === 'string' ? part : part.toString('latin1'))
  }
  return found
}
