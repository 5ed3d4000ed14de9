import { type ErrorCode, type ErrorDetails, printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'
import { isTokenText, membersText, type Token } from '../core/token.ts'
import type { Members } from '../profile/profile.ts'
import { expiryOf, readRetryAfter, readSeconds, serverAhead } from './lifetime.ts'
import type { HttpResponse } from './transport.ts'

/** An answer with all that is needed to read it. */
export interface Answered {
  readonly response: HttpResponse
  /** Who answered, as messages name it: `token endpoint idp.example.com`. */
  readonly from: string
  readonly sentAt: EpochMs
  readonly receivedAt: EpochMs
}

/** A failure that a server told by its answer. */
export class AnswerError extends TokctlError {
  readonly status: number
  /** The server's `error`, as it was spelled; `undefined` where it gave none. */
  readonly word: string | undefined
  /** The pause between two requests that it asks for (RFC 8628 §3.5). */
  readonly intervalMs: number | undefined

  constructor(
    code: ErrorCode,
    message: string,
    status: number,
    details: ErrorDetails = {},
    word?: string,
    interval?: unknown,
  ) {
    super(code, message, details)
    this.status = status
    this.word = word
    const seconds = readSeconds(interval)
    this.intervalMs = seconds === undefined ? undefined : seconds * 1000
  }
}

/** Where things are in an answer, and what stands in for what it leaves out. */
export interface AnswerShape {
  /** Dotted. */
  readonly tokenPath: string
  /** In the place of the one token. */
  readonly members?: Members | undefined
  readonly expiresInPath: string | undefined
  readonly expiresAtPath: string | undefined
  /** The scope that was asked for: granted unless the answer says otherwise (RFC 6749 §5.1). */
  readonly scope: string | undefined
  readonly defaultTtlMs: number | undefined
  /** The request proved a key, so that a token may be bound to it (RFC 9449 §5). */
  readonly dpop?: boolean
  readonly objection?: Objection | undefined
}

/**
 * Looks at an answer that holds a token.
 *
 * @param now - By the server's clock, as far as it is known.
 * @returns What is wrong with it: `without …`, `with …`.
 */
export type Objection = (json: JsonObject, now: EpochMs) => string | undefined

/** The answer of a token endpoint, where nothing else is configured. */
export const oauthShape = {
  tokenPath: 'access_token',
  expiresInPath: 'expires_in',
  expiresAtPath: undefined,
} as const satisfies Partial<AnswerShape>

// RFC 6749 §7.1: a type that is not understood must not be used. These are all used as Bearer is: Slack says bot and user,
// GitHub once said token, Apigee BearerToken, some JWT, npm oidc; RFC 8693 §2.2.1 has N_A.
const bearerTypes = new Set(['bearer', 'bearertoken', 'bot', 'user', 'token', 'jwt', 'oidc', 'n_a'])

/**
 * Reads the token out of an answer. Pure. Takes what real servers send, and refuses what cannot be used safely.
 *
 * @throws {TokctlError} The server's refusal under its own code where there is one of that name, else `request_refused`;
 * `server_error`, `rate_limited` with `retryAfterMs`; `invalid_response` where there is no usable token. Never the body.
 * @see RFC 6749 §5
 */
export function readAnswer(answered: Answered, shape: AnswerShape): Token {
  const { response, from, sentAt, receivedAt } = answered
  const json = readAccepted(answered)
  const unusable = (what: string): TokctlError =>
    new AnswerError('invalid_response', `${from} answered ${response.status} ${what}`, response.status)

  const held =
    shape.members === undefined
      ? readText(json, shape.tokenPath, unusable)
      : readMembers(json, shape.members, unusable)
  const type = readTokenType(json, shape.dpop)
  if (type === undefined) {
    const shown = printable(String(json['token_type']))
    throw unusable(`with a token of type "${shown}", which tokctl cannot use`)
  }
  const ahead = serverAhead(response.headers['date'], sentAt, receivedAt)
  const objection = shape.objection?.(json, receivedAt + ahead)
  if (objection !== undefined) throw unusable(objection)
  const told = {
    expiresIn: shape.expiresInPath === undefined ? undefined : at(json, shape.expiresInPath),
    expiresAt: shape.expiresAtPath === undefined ? undefined : at(json, shape.expiresAtPath),
    accessToken: held.members === undefined ? held.accessToken.expose() : '',
  }
  const { refresh_token } = json
  return {
    ...held,
    tokenType: type,
    scope: readScope(json['scope']) ?? shape.scope,
    obtainedAt: sentAt,
    expiresAt: expiryOf(told, sentAt, ahead, shape.defaultTtlMs),
    refreshToken:
      typeof refresh_token === 'string' && refresh_token !== '' ? new Secret(refresh_token) : undefined,
  }
}

type Held = Pick<Token, 'accessToken' | 'members'>

function readText(json: JsonObject, path: string, unusable: (what: string) => TokctlError): Held {
  const text = at(json, path)
  if (typeof text !== 'string' || text === '') throw unusable(`without ${path}`)
  if (!isTokenText(text)) throw unusable('with a token that holds characters no token may have')
  return { accessToken: new Secret(text) }
}

/**
 * Reads named members. Pure.
 *
 * @param unusable - Makes the failure of what is wrong: `without …`, `with …`.
 */
export function readMembers(
  json: JsonObject,
  paths: Members,
  unusable: (what: string) => TokctlError,
): Required<Held> {
  const members: Record<string, Secret> = {}
  for (const [name, path] of Object.entries(paths)) {
    const text = at(json, path)
    if (typeof text !== 'string' || text === '') throw unusable(`without ${path}`)
    if (!isTokenText(text)) throw unusable(`with characters in ${path} that no credential may have`)
    members[name] = new Secret(text)
  }
  return { accessToken: membersText(members), members }
}

/**
 * Reads what a server answers that took the request, whatever it is about. Pure.
 *
 * @throws {TokctlError} As `readAnswer` does
 */
export function readAccepted(answered: Answered): JsonObject {
  const { response, from } = answered
  throwRefusal(answered)
  const json = readBody(response)
  if (json !== undefined) return json
  const message = `${from} answered ${response.status} ${bodyInWords(response)}`
  throw new AnswerError('invalid_response', message, response.status)
}

/**
 * Says which type a token has. Pure.
 *
 * @param json - What the source answered; a type that is missing, or no text, is Bearer.
 * @param dpop - Whether a token may be bound to a key that we have.
 * @returns As it was spelled, `DPoP` aside; `undefined` for one that cannot be used.
 */
export function readTokenType(json: JsonObject, dpop = false): string | undefined {
  const { token_type: type } = json
  if (typeof type !== 'string' || type.trim() === '') return 'Bearer'
  if (dpop && type.trim().toLowerCase() === 'dpop') return 'DPoP'
  return bearerTypes.has(type.trim().toLowerCase()) ? type.trim() : undefined
}

/** Members by name; it has no prototype, so `__proto__` is a name like any other. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Reads a text as a JSON object. @returns `undefined` for anything else. */
export function readJsonObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text.replace(/^\ufeff/, ''))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return Object.assign(Object.create(null), value)
  } catch {
    return undefined
  }
}

function readBody({ headers, body }: HttpResponse): JsonObject | undefined {
  const json = readJsonObject(body)
  if (json !== undefined || !/^\s*application\/x-www-form-urlencoded\b/i.test(headers['content-type'] ?? ''))
    return json
  return Object.assign(Object.create(null), Object.fromEntries(new URLSearchParams(body.trim())))
}

/**
 * Follows a dotted path through objects and, by index, arrays: `items.0.token`. Pure.
 *
 * @returns `undefined` where it leads nowhere.
 */
export function at(json: JsonObject, path: string): unknown {
  let value: unknown = json
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

function readScope(value: unknown): string | undefined {
  const list = Array.isArray(value) ? value.filter(each => typeof each === 'string').join(' ') : value
  if (typeof list !== 'string') return undefined
  // RFC 6749 §3.3: what a scope may be made of; the rest could not be shown or sent again.
  const scope = list.split(/[\s,]+/).filter(each => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(each))
  return scope.length === 0 ? undefined : scope.join(' ')
}

/**
 * Passes an answer that is no refusal, whatever it holds, nothing included. Pure.
 *
 * @throws {TokctlError} As `readAnswer` does
 */
export function throwRefusal(answered: Answered): void {
  const { response } = answered
  const json = readBody(response)
  const refusal = readRefusal(json, response)
  if (response.status < 200 || response.status > 299 || refusal.code !== undefined)
    throw failure(answered, refusal, json)
}

/** Reads the error code of an answer. @returns `undefined` where it tells none. */
export function refusalCode(response: HttpResponse): string | undefined {
  return readRefusal(readBody(response), response).code
}

interface Refusal {
  readonly code: string | undefined
  readonly text: string | undefined
}

function readRefusal(json: JsonObject | undefined, { status, headers }: HttpResponse): Refusal {
  const challenge = /\berror="([^"]*)"/.exec(headers['www-authenticate'] ?? '')?.[1]
  const fromHeader = status === 401 ? challenge : undefined
  if (json === undefined) return { code: fromHeader, text: undefined }
  const { error, error_description, message } = json
  const nested = typeof error === 'object' && error !== null ? (error as Record<string, unknown>) : {}
  const text = [error_description, message, nested['message']].find(
    each => typeof each === 'string' && each !== '',
  )
  const code = typeof error === 'string' && error !== '' ? error : undefined
  // Some put an object there; with a 200 and a token beside it, that is no refusal of ours to judge.
  const inner =
    status > 299 ? [nested['code'], nested['status']].find(each => typeof each === 'string') : undefined
  return { code: code ?? (inner as string | undefined) ?? fromHeader, text: text as string | undefined }
}

const sameName: ReadonlySet<string> = new Set<ErrorCode>([
  'invalid_client',
  'invalid_grant',
  'invalid_scope',
  'invalid_target',
  'unauthorized_client',
  'unsupported_grant_type',
  'access_denied',
  'invalid_request',
  'server_error',
])

const alias: Readonly<Record<string, ErrorCode>> = {
  temporarily_unavailable: 'server_error',
  slow_down: 'rate_limited',
  // GitHub
  incorrect_client_credentials: 'invalid_client',
  bad_refresh_token: 'invalid_grant',
  // Slack
  invalid_client_id: 'invalid_client',
  bad_client_secret: 'invalid_client',
  invalid_refresh_token: 'invalid_grant',
  // Entra ID, where a person says no
  authorization_declined: 'access_denied',
}

/** Finds our name for a server's `error`. Pure. @param status - 200 where the refusal came another way than by HTTP. */
export function classify(status: number, code: string | undefined): ErrorCode {
  if (status === 429) return 'rate_limited'
  if (status >= 500) return 'server_error'
  if (code === undefined) return 'request_refused'
  if (sameName.has(code)) return code as ErrorCode
  return Object.hasOwn(alias, code) ? (alias[code] ?? 'request_refused') : 'request_refused'
}

const hints: Partial<Record<ErrorCode, string>> = {
  invalid_client: 'check client_id, client_secret and client_auth of the profile',
  invalid_scope: 'check scope of the profile',
  invalid_target: 'check audience and resource of the profile',
}

function failure(
  { response, from, receivedAt }: Answered,
  { code, text }: Refusal,
  json: JsonObject | undefined,
): TokctlError {
  const { status, headers } = response
  const kind = classify(status, code)
  const words = text === undefined ? '' : `: ${printable(text)}`
  const own = code === undefined ? '' : ` (${printable(code).slice(0, 60)})`
  let what = `answered ${status}${words}${own}`
  const details: { -readonly [K in keyof ErrorDetails]: ErrorDetails[K] } = { hint: hints[kind] }
  if (code === undefined && words === '') what = `answered ${status} ${bodyInWords(response)}`
  if (status >= 300 && status <= 399) {
    what = `answered ${status}, a redirect, which is not followed`
    const to = redirectTarget(headers['location'])
    if (to !== undefined) details.hint = `if that is right, name its target in the profile: ${to}`
  }
  if (kind === 'server_error' || kind === 'rate_limited') {
    details.retryAfterMs = readRetryAfter(headers['retry-after'], headers['date'], receivedAt)
  }
  return new AnswerError(kind, `${from} ${what}`, status, details, code, json?.['interval'])
}

/** What came instead of an answer, without any of it. */
function bodyInWords({ headers, body }: HttpResponse): string {
  if (body.trim() === '') return 'without a body'
  const html = /\bhtml\b/i.test(headers['content-type'] ?? '') || /^\s*<(!doctype|html)/i.test(body)
  if (html) return 'with an HTML page'
  return readJsonObject(body) === undefined ? 'with something that is not a JSON object' : 'without a reason'
}

// The query is left out: it may hold what was sent.
function redirectTarget(location: string | undefined): string | undefined {
  if (location === undefined || !URL.canParse(location)) return undefined
  const { origin, pathname } = new URL(location)
  return origin === 'null' ? undefined : printable(`${origin}${pathname}`)
}
