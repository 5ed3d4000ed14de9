import { printable, TokctlError } from '../core/errors.ts'
import type { EpochMs } from '../core/time.ts'
import { isLoopback } from '../profile/match.ts'
import { type JsonObject, readJsonObject } from './answer.ts'
import { readEndpointUrl } from './endpoint-url.ts'
import { readRetryAfter } from './lifetime.ts'
import { type Budget, retry } from './retry.ts'
import type { SourcePorts } from './source.ts'
import type { HttpResponse, TlsMaterial } from './transport.ts'

/** What an authorization server says about itself, as far as it is used here. */
export interface ServerMetadata extends Endpoints {
  readonly issuer: string
  /** Where clients go that show a certificate (RFC 8705 §5). */
  readonly mtls_endpoint_aliases?: Endpoints
  /** Authorization requests are taken only where they were pushed before (RFC 9126 §5). */
  readonly require_pushed_authorization_requests?: boolean
  /** It names itself in what it sends through the browser (RFC 9207 §3). */
  readonly authorization_response_iss_parameter_supported?: boolean
}

const endpointNames = [
  'token_endpoint',
  'authorization_endpoint',
  'device_authorization_endpoint',
  'pushed_authorization_request_endpoint',
  'revocation_endpoint',
] as const
export type EndpointName = (typeof endpointNames)[number]
type Endpoints = { readonly [name in EndpointName]?: string }

const flagNames = [
  'require_pushed_authorization_requests',
  'authorization_response_iss_parameter_supported',
] as const

const keptForMs = 86_400_000

/**
 * Finds out where an issuer's endpoints are: from the copy of the last day, else from the issuer itself.
 *
 * @throws {TokctlError} `discovery_failed`: no document, one of another issuer, an endpoint that must not be asked, or one
 * that moved to another host since the last time;
 * `server_error`, `rate_limited`, and what `send` throws
 * @see OpenID Connect Discovery §4, RFC 8414 §3
 */
export async function discover(
  issuer: string,
  ports: Pick<SourcePorts, 'send' | 'cache' | 'trace'>,
  tls: TlsMaterial | undefined,
  budget: Budget,
): Promise<ServerMetadata> {
  const { clock } = budget
  const name = cacheName(issuer)
  const kept = readKept(issuer, ports.cache.read(name))
  if (kept !== undefined && isOfToday(kept.fetchedAt, clock.now())) return kept.metadata

  const tried: string[] = []
  for (const url of documentUrls(issuer)) {
    const response = await retry(budget, timeoutMs => ask(url, timeoutMs), ports.trace)
    const json = response.status === 200 ? readJsonObject(response.body) : undefined
    if (json !== undefined) {
      const metadata = readMetadata(issuer, json)
      if (kept !== undefined) refuseMove(kept.metadata, metadata)
      // One that lacks what it is read for may be mended within the day.
      if (metadata.token_endpoint !== undefined)
        ports.cache.write(name, JSON.stringify({ ...metadata, fetched_at: clock.now() }))
      return metadata
    }
    tried.push(
      `${new URL(url).pathname} ${response.status === 200 ? 'is not JSON' : `answered ${response.status}`}`,
    )
  }
  throw failed(issuer, `has no discovery document: ${tried.join(', ')}`, 'set token_endpoint in the profile')

  async function ask(url: string, timeoutMs: number): Promise<HttpResponse> {
    const headers = { accept: 'application/json', 'user-agent': 'tokctl' }
    const response = await ports.send({
      method: 'GET',
      url,
      headers,
      body: undefined,
      tls,
      timeoutMs,
      signal: budget.signal,
    })
    const { status } = response
    if (status !== 429 && status < 500) return response
    const retryAfterMs = readRetryAfter(
      response.headers['retry-after'],
      response.headers['date'],
      clock.now(),
    )
    const code = status === 429 ? 'rate_limited' : 'server_error'
    throw new TokctlError(code, `discovery at ${new URL(url).host} answered ${status}`, { retryAfterMs })
  }
}

/** The two places of a discovery document: OpenID appends its path to the issuer's, RFC 8414 §3.1 puts its own before it. */
export function documentUrls(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    `${origin}${path}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
  ]
}

/**
 * Checks a discovery document. Pure.
 *
 * @throws {TokctlError} `discovery_failed`
 */
export function readMetadata(issuer: string, json: JsonObject): ServerMetadata {
  const told = json['issuer']
  if (typeof told !== 'string') throw failed(issuer, 'has a discovery document that names no issuer')
  // RFC 8414 §3.3: identical, or another server could speak for this one.
  if (told !== issuer) {
    const shown = printable(told)
    throw failed(
      issuer,
      `has a discovery document of another issuer, "${shown}"`,
      `if that is right: issuer = "${shown}"`,
    )
  }
  const plain = isLoopback(new URL(issuer).hostname) && issuer.startsWith('http:')
  const read = (json: object, prefix: string): Endpoints => {
    const endpoints: { [name in EndpointName]?: string } = {}
    for (const name of endpointNames) {
      const value: unknown = Object.hasOwn(json, name) ? (json as JsonObject)[name] : undefined
      if (value === undefined || value === null) continue
      const url = typeof value === 'string' ? readEndpointUrl(value) : 'it is not a text'
      if (typeof url === 'string')
        throw failed(issuer, `has a discovery document with an unusable ${prefix}${name}: ${url}`)
      // A public server that points to this machine's own ports is not to be followed.
      if (url.protocol === 'http:' && !plain) {
        const what = `an unusable ${prefix}${name}: it is not an https URL`
        throw failed(issuer, `has a discovery document with ${what}`)
      }
      endpoints[name] = value as string
    }
    return endpoints
  }
  const aliases = json['mtls_endpoint_aliases']
  const hasAliases = typeof aliases === 'object' && aliases !== null
  const flags = flagNames.filter(name => json[name] === true).map(name => [name, true])
  return {
    issuer,
    ...read(json, ''),
    ...(hasAliases ? { mtls_endpoint_aliases: read(aliases, 'mtls_endpoint_aliases.') } : {}),
    ...Object.fromEntries(flags),
  }
}

// Checked like one that just came: the file may be torn, or another issuer's whose name collides.
function readKept(
  issuer: string,
  text: string | undefined,
): { readonly metadata: ServerMetadata; readonly fetchedAt: EpochMs } | undefined {
  const json = text === undefined ? undefined : readJsonObject(text)
  const fetchedAt = json?.['fetched_at']
  if (json === undefined || typeof fetchedAt !== 'number') return undefined
  try {
    return { metadata: readMetadata(issuer, json), fetchedAt }
  } catch {
    return undefined
  }
}

function isOfToday(fetchedAt: EpochMs, now: EpochMs): boolean {
  return fetchedAt <= now && now - fetchedAt < keptForMs
}

// Secrets and sessions went to the host that was named first. One that takes its place may be right, and may be a document
// that somebody else wrote: a person says so, by naming it in the profile.
function refuseMove(before: ServerMetadata, now: ServerMetadata): void {
  for (const name of endpointNames) {
    const [from, to] = [before[name], now[name]]
    if (from === undefined || to === undefined || new URL(from).origin === new URL(to).origin) continue
    const what = `has moved its ${name} from ${new URL(from).host} to ${new URL(to).host}`
    throw failed(now.issuer, what, `if that is right: ${name} = "${printable(to)}"`)
  }
}

// FNV-1a: enough for a file name whose content names its issuer, and node:crypto need not be loaded.
function cacheName(issuer: string): string {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(issuer)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return `discovery-${new URL(issuer).hostname.replace(/[^a-z0-9.-]/g, '_').slice(0, 80)}-${hash.toString(16)}.json`
}

function failed(issuer: string, what: string, hint?: string): TokctlError {
  return new TokctlError('discovery_failed', `issuer ${printable(issuer)} ${what}`, { hint })
}
