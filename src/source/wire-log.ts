import { printable } from '../core/errors.ts'
import { redacted } from '../core/redaction.ts'
import type { HttpRequest, HttpResponse } from './transport.ts'

// What `--debug-http` shows of requests and answers. Rules:
//  - A value is shown where its name stands in one of the lists below, and nowhere else: a token may have any name.
//  - What is shown came from elsewhere all the same, and goes through `printable`.

/** Headers whose values hold nothing that opens anything. */
const plainHeaders: ReadonlySet<string> = new Set([
  ...['accept', 'accept-encoding', 'content-type', 'content-length', 'content-encoding', 'transfer-encoding'],
  ...[
    'user-agent',
    'host',
    'connection',
    'date',
    'age',
    'cache-control',
    'expires',
    'pragma',
    'vary',
    'server',
  ],
  ...[
    'retry-after',
    'x-github-api-version',
    'x-request-id',
    'ratelimit-remaining',
    'strict-transport-security',
  ],
])

/** Fields of forms and members of answers: the wire's own words, and what they may say. */
const plainFields: ReadonlySet<string> = new Set([
  ...['grant_type', 'client_id', 'scope', 'audience', 'resource', 'redirect_uri', 'response_type'],
  ...[
    'token_type',
    'expires_in',
    'refresh_expires_in',
    'ext_expires_in',
    'issued_token_type',
    'token_type_hint',
  ],
  ...['subject_token_type', 'actor_token_type', 'requested_token_type', 'client_assertion_type'],
  ...['code_challenge_method', 'error', 'error_description', 'error_uri', 'interval', 'verification_uri'],
  ...['issuer', 'authorization_endpoint', 'token_endpoint', 'revocation_endpoint', 'jwks_uri'],
  ...['device_authorization_endpoint', 'pushed_authorization_request_endpoint', 'userinfo_endpoint'],
  ...[
    'scopes_supported',
    'grant_types_supported',
    'response_types_supported',
    'code_challenge_methods_supported',
  ],
  ...['token_endpoint_auth_methods_supported', 'token_endpoint_auth_signing_alg_values_supported'],
  ...['dpop_signing_alg_values_supported', 'authorization_response_iss_parameter_supported', 'prompt'],
])

/** Tells a request, a line for its target, each header and its body. */
export function describeRequest({ method, url, headers, body }: HttpRequest): string[] {
  return [
    `> ${method} ${shownUrl(url)}`,
    ...shownHeaders('>', headers),
    ...shownBody('>', headers, body ?? ''),
  ]
}

/** Tells an answer in the same way. */
export function describeResponse({ status, headers, body }: HttpResponse): string[] {
  return [`< ${status}`, ...shownHeaders('<', headers), ...shownBody('<', headers, body)]
}

function shownUrl(text: string): string {
  const { origin, pathname, searchParams } = new URL(text)
  const query = [...searchParams].map(([name, value]) => `${shownName(name)}=${shownField(name, value)}`)
  return `${origin}${printable(pathname)}${query.length === 0 ? '' : `?${query.join('&')}`}`
}

function shownHeaders(mark: string, headers: Readonly<Record<string, string>>): string[] {
  return Object.entries(headers).map(([name, value]) => {
    if (plainHeaders.has(name)) return `${mark} ${name}: ${printable(value)}`
    // The scheme tells how the client proved itself, and how the server wants it to.
    const scheme = /^(?:proxy-)?(?:authorization|www-authenticate)$|^proxy-authenticate$/.test(name)
      ? /^[A-Za-z][\w-]{0,20}(?= )/.exec(value)?.[0]
      : undefined
    return `${mark} ${shownName(name)}: ${scheme === undefined ? '' : `${scheme} `}${redacted}`
  })
}

function shownBody(mark: string, headers: Readonly<Record<string, string>>, body: string): string[] {
  if (body === '') return []
  const type = headers['content-type'] ?? ''
  if (type.startsWith('application/x-www-form-urlencoded')) {
    return [...new URLSearchParams(body)].map(
      ([name, value]) => `${mark}   ${shownName(name)}=${shownField(name, value)}`,
    )
  }
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    return [`${mark}   ${body.length} characters that are not JSON`]
  }
  return [`${mark}   ${JSON.stringify(shownJson(json, undefined, 0))}`]
}

const deepest = 8
const mostMembers = 100

function shownJson(value: unknown, name: string | undefined, depth: number): unknown {
  if (depth > deepest) return redacted
  if (Array.isArray(value)) return value.slice(0, mostMembers).map(each => shownJson(each, name, depth + 1))
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).slice(0, mostMembers)
    return Object.fromEntries(
      members.map(([name, member]) => [shownName(name), shownJson(member, name, depth + 1)]),
    )
  }
  if (value === null || typeof value === 'boolean') return value
  if (name === undefined || !plainFields.has(name)) return redacted
  return typeof value === 'string' ? printable(value) : value
}

function shownField(name: string, value: string): string {
  return plainFields.has(name) ? printable(value) : redacted
}

// An answer may be keyed by anything, by tokens too.
function shownName(name: string): string {
  return /^[\w.-]{1,64}$/.test(name) && !/[A-Za-z0-9_-]{40}/.test(name) ? printable(name) : redacted
}
