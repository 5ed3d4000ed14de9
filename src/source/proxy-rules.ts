// Which proxy a request goes through, as curl decides it:
//  - the lower-case variable wins over the upper-case one, an empty one counts as unset;
//  - https_proxy for https, http_proxy for http, then all_proxy;
//  - a value without a scheme is an http proxy, and one without a port is at 1080 (https: 443).
// One difference: plain http to this machine's own loopback is never handed to a proxy elsewhere. It is allowed only
// because nobody can read it there, and the other end would be another machine's loopback.

import { TokctlError } from '../core/errors.ts'
import { isLoopback } from '../profile/match.ts'

/** An HTTP proxy that was named by the environment. */
export interface HttpProxy {
  /** `http://HOST:PORT` or `https://HOST:PORT`, without credentials. */
  readonly origin: string
  readonly hostname: string
  /** `HOST:PORT`, for messages. */
  readonly label: string
  /** The value of `Proxy-Authorization`, a secret. */
  readonly authorization: string | undefined
}

type Env = Readonly<Record<string, string | undefined>>

/**
 * Names the proxy that a request to `url` goes through. Pure.
 *
 * @returns `undefined` where it goes directly.
 * @throws {TokctlError} `config_invalid`, naming the variable and never its value
 */
export function proxyFor(url: URL, env: Env): HttpProxy | undefined {
  const found = url.protocol === 'https:' ? variable(env, 'https_proxy') : httpVariable(env)
  const chosen = found ?? variable(env, 'all_proxy')
  if (chosen === undefined) return undefined
  if (isExempt(url, variable(env, 'no_proxy')?.value ?? '')) return undefined
  const { name } = chosen
  const { scheme, ...proxy } = readProxy(name, chosen.value)
  if (url.protocol === 'http:' && isLoopback(url.hostname) && !isLoopback(proxy.hostname)) return undefined
  if (scheme.startsWith('socks')) {
    const hint = 'name an HTTP proxy, or exempt the host in NO_PROXY'
    throw unusable(name, 'names a SOCKS proxy, which tokctl does not speak', hint)
  }
  if (scheme !== 'http' && scheme !== 'https') {
    throw unusable(name, 'names a kind of proxy that tokctl does not know', `write ${name}=http://HOST:PORT`)
  }
  return proxy
}

interface Variable {
  readonly name: string
  readonly value: string
}

function variable(env: Env, name: string): Variable | undefined {
  for (const spelling of [name, name.toUpperCase()]) {
    const value = env[spelling]?.trim()
    if (value) return { name: spelling, value }
  }
  return undefined
}

function httpVariable(env: Env): Variable | undefined {
  const found = variable(env, 'http_proxy')
  // Under CGI a client's header "Proxy: …" arrives as HTTP_PROXY (httpoxy), so that spelling is not believed there.
  return found?.name === 'HTTP_PROXY' && env['REQUEST_METHOD'] !== undefined ? undefined : found
}

const proxyPattern =
  /^(?:([a-z][a-z0-9+.-]*):\/\/)?(?:(.*)@)?(\[[0-9a-f:.]+\]|[^[\]:/?#@\s\\]+)(?::(\d{1,5}))?(?:[/?#].*)?$/i

function readProxy(name: string, value: string): HttpProxy & { readonly scheme: string } {
  const match = proxyPattern.exec(value)
  if (match === null) throw unusable(name, 'is not the address of a proxy', `write ${name}=http://HOST:PORT`)
  const [, givenScheme = 'http', userinfo, host = '', givenPort] = match
  const scheme = givenScheme.toLowerCase()
  const port = givenPort ?? (scheme === 'https' ? '443' : '1080')
  // Under a scheme that URL does not know, a host is not brought into its one spelling.
  const text = `http://${host}:${port}`
  if (Number(port) < 1 || Number(port) > 65_535 || !URL.canParse(text)) {
    throw unusable(name, 'is not the address of a proxy', `write ${name}=http://HOST:PORT`)
  }
  const { hostname } = new URL(text)
  return {
    scheme,
    origin: `${scheme}://${hostname}:${port}`,
    hostname,
    label: `${hostname}:${port}`,
    authorization: userinfo === undefined ? undefined : basic(name, userinfo),
  }
}

function basic(name: string, userinfo: string): string {
  const colon = userinfo.indexOf(':')
  const halves = colon < 0 ? [userinfo, ''] : [userinfo.slice(0, colon), userinfo.slice(colon + 1)]
  try {
    return `Basic ${Buffer.from(halves.map(decodeURIComponent).join(':')).toString('base64')}`
  } catch {
    throw unusable(
      name,
      'holds credentials that are not percent-encoded',
      'write a % in a user name or password as %25',
    )
  }
}

function unusable(name: string, what: string, hint: string): TokctlError {
  return new TokctlError('config_invalid', `environment variable ${name} ${what}`, { hint })
}

/** Tells whether NO_PROXY exempts the URL: names with their sub-domains, addresses, CIDR ranges, each with an optional port. */
export function isExempt(url: URL, noProxy: string): boolean {
  const host = withoutTrailingDot(url.hostname)
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port
  return noProxy.split(/[\s,]+/).some(entry => entry !== '' && covers(entry.toLowerCase(), host, port))
}

function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true
  const [name, entryPort] = splitPort(entry)
  if (entryPort !== undefined && entryPort !== port) return false
  const address = readAddress(host)
  if (address !== undefined) return coversAddress(name, address)
  const suffix = withoutTrailingDot(name.replace(/^\*?\./, ''))
  return suffix !== '' && (host === suffix || host.endsWith(`.${suffix}`))
}

function splitPort(entry: string): [name: string, port: string | undefined] {
  const match = /^(\[[^\]]*\](?:\/\d+)?|[^:]*):(\d+)$/.exec(entry)
  return match === null ? [entry, undefined] : [match[1] ?? '', match[2]]
}

function withoutTrailingDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name
}

function coversAddress(entry: string, address: readonly number[]): boolean {
  const [text = '', length, ...rest] = entry.split('/')
  const range = readAddress(text)
  if (range === undefined || rest.length > 0 || range.length !== address.length) return false
  if (length === undefined) return range.every((byte, i) => byte === address[i])
  if (!/^\d{1,3}$/.test(length) || Number(length) > range.length * 8) return false
  return range.every((byte, i) => {
    const bits = Math.min(8, Math.max(0, Number(length) - i * 8))
    const mask = (0xff << (8 - bits)) & 0xff
    return (byte & mask) === ((address[i] ?? 0) & mask)
  })
}

/** The bytes of an IPv4 or (bracketed or bare) IPv6 address; `undefined` for a name. */
function readAddress(text: string): readonly number[] | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) {
    const bytes = text.split('.').map(Number)
    return bytes.every(byte => byte <= 255) ? bytes : undefined
  }
  const bare = text.replace(/^\[(.*)\]$/, '$1')
  if (!bare.includes(':') || !URL.canParse(`http://[${bare}]`)) return undefined
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::')
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map(group => Number.parseInt(group, 16))
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after]
  return all.flatMap(group => [group >> 8, group & 0xff])
}
