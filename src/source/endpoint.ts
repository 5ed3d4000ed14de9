import type { Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { OAuthClient, ProfileCommon } from '../profile/profile.ts'
import {
  type Answered,
  type AnswerShape,
  type Objection,
  oauthShape,
  readAnswer,
  refusalCode,
} from './answer.ts'
import { clientAuthentication } from './client-auth.ts'
import { serverAhead } from './lifetime.ts'
import { type Budget, retry, timeLeft } from './retry.ts'
import { endpointOf } from './server.ts'
import type { FetchRequest, Renewal, SourcePorts, Spent } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'
import type { HttpResponse } from './transport.ts'

/** A profile that asks an authorization server. */
export type ClientProfile = ProfileCommon & OAuthClient

/** Less than this between the clocks is no reason to sign again. */
const toleratedSkewMs = 30_000

/** Form fields of a grant. */
export type GrantFields = Readonly<Record<string, string | Secret>>

/** What is asked with: `grant_type` and the fields of its own; a function where they are signed anew for each request. */
export type Grant = GrantFields | ((endpoint: string, now: EpochMs) => Promise<GrantFields>)

/** How a grant is asked with. */
export interface GrantOptions {
  /** False for a grant that is spent by being used, such as a refresh token or a code. */
  readonly repeatable?: boolean
  /** Never sent again, not even after a refusal that another signature would mend; a nonce that is asked for is no refusal. */
  readonly once?: boolean
  /** Scope, audience and `params` were told when it began, and some servers refuse to hear them again. */
  readonly begun?: boolean
  readonly objection?: Objection
  /** A person's sign-in, which the server takes once: from its first byte on nothing cancels it. */
  readonly redeems?: boolean
  /** The grant uses this up: the renewal is told of every step. */
  readonly spends?: Omit<Spent, 'dpopKey'>
}

/**
 * Asks the token endpoint for a token: finds the endpoint, proves the client and its key, retries what is passing, reads
 * the answer; all of it within `request.timeoutMs`, but for what was sent and can be sent once. What is refused while the server's clock differs by more than 30 s is
 * signed once more with the server's time; what is refused for want of a nonce, once more with the nonce.
 *
 * @throws {TokctlError} The server's refusal, `server_error`, `rate_limited`, `network_error`, `timeout`,
 * `invalid_response`, `discovery_failed`, `config_invalid`, or what resolving a secret throws
 * @see RFC 6749 §3.2, RFC 9449 §5
 */
export async function tokenRequest(
  client: ClientProfile,
  grant: Grant,
  ports: SourcePorts,
  request: FetchRequest,
  { repeatable = true, once = false, begun = false, objection, redeems, spends }: GrantOptions = {},
): Promise<Token> {
  const { clock } = ports
  const renewal = spends && request.renewal
  const watched = renewal ?? (redeems ? request.renewal : undefined)
  const budget: Budget = { clock, signal: request.signal, deadline: clock.monotonic() + request.timeoutMs }
  const endpoint = await endpointOf(client, 'token_endpoint', ports, budget)
  const tls = await readTlsMaterial(client, ports, request.signal)
  const authentication = await clientAuthentication(client, ports, request.signal, timeLeft(budget))
  const dpop = client.dpop === true ? await import('./dpop.ts') : undefined
  const dpopKey = dpop === undefined ? undefined : (request.kept?.dpopKey ?? dpop.makeDpopKey())
  const signed: Signed = {
    client: authentication.signs,
    grant: typeof grant === 'function',
    repeatable,
    key: dpopKey !== undefined,
  }
  let aheadMs = 0

  const ask = async (timeoutMs: number): Promise<Token> => {
    let asked = await askOnce(timeoutMs)
    for (let hasNewNonce = false; ; asked = await askOnce(timeLeft(budget))) {
      if (!hasNewNonce && asked.nonce && asked.code === 'use_dpop_nonce') {
        hasNewNonce = true
        ports.trace('the server wants a nonce in the proof of the key: asking again')
      } else if (!once && aheadMs === 0 && isRefusedForTime(signed, asked)) {
        aheadMs = asked.aheadMs
        ports.trace(`the server's clock differs by ${Math.round(aheadMs / 1000)} s: signing again`)
      } else return asked.answer()
    }
  }

  const from = `token endpoint ${new URL(endpoint).host}`
  const keepAnswer =
    (renewal: Renewal, sentAt: EpochMs) =>
    ({ status, headers, body, headAt }: HttpResponse): void =>
      renewal.answered(
        { from, status, headers: telling(headers), body, sentAt, receivedAt: clock.now() },
        headAt,
      )

  const askOnce = async (timeoutMs: number): Promise<Asked> => {
    const now = clock.now() + aheadMs
    const proof = await authentication.prove(endpoint, now)
    const fields = typeof grant === 'function' ? await grant(endpoint, now) : grant
    const nonce = dpop?.nonceFor(endpoint)
    const keyProof =
      dpop && dpopKey ? { dpop: dpop.dpopProof(dpopKey, { method: 'POST', url: endpoint, now, nonce }) } : {}
    if (spends !== undefined) await renewal?.intend({ ...spends, dpopKey })
    const sentAt = clock.now()
    const response = await ports.send({
      method: 'POST',
      url: endpoint,
      headers: { ...formHeaders, ...proof.headers, ...keyProof },
      body: formBody(begun ? { ...untold, resource: client.resource } : client, fields, proof.fields),
      tls,
      timeoutMs,
      signal: request.signal,
      ...(watched && { answerTimeoutMs: watched.answerTimeoutMs, onSent: () => watched.sent() }),
      ...(renewal && { onAnswer: keepAnswer(renewal, sentAt) }),
    })
    const receivedAt = clock.now()
    const answered = { response, from, sentAt, receivedAt }
    return {
      answer: () => readTokenAnswer(client, answered, dpopKey, objection),
      status: response.status,
      code: refusalCode(response),
      nonce: dpop?.keepNonce(endpoint, response.headers['dpop-nonce'], nonce) ?? false,
      aheadMs: serverAhead(response.headers['date'], sentAt, receivedAt),
    }
  }

  return once ? ask(timeLeft(budget)) : retry(budget, ask, ports.trace, { repeatable })
}

/**
 * Reads the token out of an answer of the token endpoint. Pure.
 *
 * @throws {TokctlError} As `readAnswer` does
 */
export function readTokenAnswer(
  client: ClientProfile,
  answered: Answered,
  dpopKey: Secret | undefined,
  objection?: Objection,
): Token {
  const shape: AnswerShape = {
    ...oauthShape,
    tokenPath: client.token_path ?? oauthShape.tokenPath,
    scope: client.scope,
    defaultTtlMs: client.default_ttl_ms,
    dpop: dpopKey !== undefined,
    objection,
  }
  return { ...readAnswer(answered, shape), ...(dpopKey === undefined ? {} : { dpopKey }) }
}

const tellingHeaders = ['content-type', 'date', 'retry-after', 'www-authenticate']

// Some send cookies as large as the answer itself; for reading it these alone are looked at.
function telling(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => tellingHeaders.includes(name)))
}

/** What a form is sent with. */
export const formHeaders = {
  accept: 'application/json',
  'content-type': 'application/x-www-form-urlencoded',
  'user-agent': 'tokctl',
} as const

/** What a profile asks for, in the fields that all grants share. */
export type Wishes = Pick<OAuthClient, 'scope' | 'audience' | 'resource' | 'params'>

const untold: Wishes = { resource: [], params: {} }

// What the profile names itself wins over what the grant would say; who the client is, it cannot change.
export function formBody(
  client: Wishes,
  grant: GrantFields,
  identity: Readonly<Record<string, string>>,
): string {
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries(grant))
    form.set(name, typeof value === 'string' ? value : value.expose())
  if (client.scope !== undefined) form.set('scope', client.scope)
  if (client.audience !== undefined) form.set('audience', client.audience)
  for (const resource of client.resource) form.append('resource', resource)
  for (const [name, value] of [...Object.entries(client.params), ...Object.entries(identity)])
    form.set(name, value)
  return form.toString()
}

/** What came of one request. */
interface Asked {
  /** Reads the token, or throws the refusal. */
  readonly answer: () => Token
  readonly status: number
  readonly code: string | undefined
  /** Whether a nonce came that the proof did not have. */
  readonly nonce: boolean
  readonly aheadMs: number
}

/** What of a request says when it was made. */
interface Signed {
  readonly client: boolean
  readonly grant: boolean
  readonly key: boolean
  readonly repeatable: boolean
}

function isRefusedForTime(signed: Signed, { status, code, aheadMs }: Asked): boolean {
  if (Math.abs(aheadMs) <= toleratedSkewMs) return false
  if (signed.key && code === 'invalid_dpop_proof') return true
  if (!signed.client && !signed.grant) return false
  if (status === 401 || code === 'invalid_client') return true
  return code === 'invalid_grant' && signed.repeatable
}
