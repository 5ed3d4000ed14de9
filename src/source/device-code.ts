import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { formatDuration } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { isLoopback, parseUrl } from '../profile/match.ts'
import type { DeviceCodeProfile } from '../profile/profile.ts'
import { AnswerError, type JsonObject } from './answer.ts'
import { signInNeeded, wholeSeconds } from './authorization-code.ts'
import { tokenRequest } from './endpoint.ts'
import { readSeconds } from './lifetime.ts'
import { announce } from './post-form.ts'
import { type Budget, timeLeft } from './retry.ts'
import { endpointIn, metadataOf, missingEndpoint } from './server.ts'
import type { FetchRequest, Person, SourcePorts, TokenSource } from './source.ts'
import { TransportError } from './transport.ts'

/** RFC 8628 §3.2: between two requests, where the server does not say. */
const defaultIntervalMs = 5000
/** RFC 8628 §3.5: more with every `slow_down`. */
const slowDownMs = 5000
const minIntervalMs = 1000
const maxIntervalMs = 300_000
/** For codes whose server does not say how long they live, which it must. */
const defaultLifetimeMs = 600_000
const pollTimeoutMs = 30_000
const maxBackoffMs = 60_000

/**
 * A person signs in on another device, with a code that is shown here; meanwhile the server is asked, no faster than it
 * wants. All of it within `request.timeoutMs` and the life of the code, the person's time included.
 *
 * Raises `login_required` where no person is there, `login_timeout` where none signed in, `access_denied` where one refused.
 *
 * @see RFC 8628
 */
export function deviceCode(profile: DeviceCodeProfile, ports: SourcePorts): TokenSource {
  return {
    async fetch(request) {
      if (request.person === undefined) throw signInNeeded(profile.name)
      return signIn(profile, ports, request, request.person)
    },
  }
}

async function signIn(
  profile: DeviceCodeProfile,
  ports: SourcePorts,
  request: FetchRequest,
  person: Person,
): Promise<Token> {
  const { clock } = ports
  const whole: Budget = { clock, signal: request.signal, deadline: clock.monotonic() + request.timeoutMs }
  const { device, token } = await findEndpoints(profile, ports, whole)
  const sentAt = clock.monotonic()
  const fields: Record<string, string> =
    profile.client_id === undefined ? {} : { client_id: profile.client_id }
  const announced = { endpoint: device, name: endpointName, audience: token, fields }
  const told = readDeviceAnswer(await announce(profile, announced, ports, whole), device)
  const budget = { ...whole, deadline: Math.min(whole.deadline, sentAt + told.lifetimeMs) }

  invite(person, told)
  const over = new AbortController()
  const progress = person.isTerminal ? showProgress(person, budget, over.signal) : undefined
  try {
    const client = { ...profile, token_endpoint: token }
    const grant = { grant_type: grantType, device_code: told.deviceCode }
    const options = { once: true, begun: true, redeems: true }
    const ask = async (timeoutMs: number): Promise<Token> => {
      try {
        return await tokenRequest(client, grant, ports, { ...request, timeoutMs }, options)
      } catch (error) {
        request.renewal?.pending()
        throw error
      }
    }
    return await poll(told.intervalMs, budget, ask, ports.trace)
  } catch (error) {
    if (error !== late && error !== expired) throw error
    const within =
      error === expired || budget.deadline < whole.deadline
        ? 'before the code expired'
        : `within ${formatDuration(wholeSeconds(request.timeoutMs))}`
    throw new TokctlError('login_timeout', `nobody signed in ${within}`, {
      hint: `run: tokctl login ${profile.name}`,
    })
  } finally {
    over.abort()
    await progress
  }
}

const grantType = 'urn:ietf:params:oauth:grant-type:device_code'
const endpointName = 'device authorization endpoint'

async function findEndpoints(
  profile: DeviceCodeProfile,
  ports: SourcePorts,
  budget: Budget,
): Promise<{ device: string; token: string }> {
  const isNamed = profile.device_authorization_endpoint !== undefined && profile.token_endpoint !== undefined
  const metadata = isNamed ? undefined : await metadataOf(profile, ports, budget)
  const device = endpointIn(profile, 'device_authorization_endpoint', metadata)
  if (device === undefined) throw missingEndpoint(profile, 'device_authorization_endpoint')
  const token = endpointIn(profile, 'token_endpoint', metadata)
  if (token === undefined) throw missingEndpoint(profile, 'token_endpoint')
  return { device, token }
}

/** What the server wants the person to do, and how often it wants to be asked. */
interface DeviceAnswer {
  readonly deviceCode: Secret
  readonly userCode: string
  readonly page: string
  /** The page with the code in it. */
  readonly pageWithCode: string | undefined
  readonly lifetimeMs: number
  readonly intervalMs: number
}

function readDeviceAnswer(json: JsonObject, endpoint: string): DeviceAnswer {
  const unusable = (what: string): TokctlError =>
    new TokctlError('invalid_response', `${endpointName} ${new URL(endpoint).host} answered ${what}`)
  const { device_code, user_code, verification_uri_complete, expires_in, interval } = json
  if (typeof device_code !== 'string' || device_code === '') throw unusable('without device_code')
  const userCode = typeof user_code === 'string' ? printable(user_code) : ''
  if (userCode === '') throw unusable('without user_code')
  // Google has named it so since before the standard did.
  const page = json['verification_uri'] ?? json['verification_url']
  if (page === undefined || page === null) throw unusable('without verification_uri')
  if (!isPage(page, endpoint)) throw unusable('with a verification_uri that is not an https URL')
  const seconds = readSeconds(expires_in)
  const wait = readSeconds(interval)
  return {
    deviceCode: new Secret(device_code),
    userCode,
    page,
    pageWithCode: isPage(verification_uri_complete, endpoint) ? verification_uri_complete : undefined,
    lifetimeMs: seconds === undefined || seconds === 0 ? defaultLifetimeMs : seconds * 1000,
    intervalMs: withinReason(wait === undefined ? defaultIntervalMs : wait * 1000),
  }
}

/** Tells whether a text is the address of a page that may be shown as a link. */
function isPage(text: unknown, endpoint: string): text is string {
  if (typeof text !== 'string' || text.length > 1000) return false
  const url = parseUrl(text)
  if ('problem' in url) return false
  // A server on this machine may have its pages here too; no other may point at our ports.
  return url.scheme === 'https' || (isLoopback(url.host) && endpoint.startsWith('http:'))
}

function withinReason(intervalMs: number): number {
  return Math.min(Math.max(intervalMs, minIntervalMs), maxIntervalMs)
}

function invite(person: Person, { page, pageWithCode, userCode }: DeviceAnswer): void {
  const link = (url: string): string => (person.isTerminal ? `\x1b]8;;${url}\x1b\\${url}\x1b]8;;\x1b\\` : url)
  const rule = '─'.repeat(userCode.length + 6)
  const code = person.isTerminal
    ? `  ╭${rule}╮\n  │   \x1b[1m${userCode}\x1b[0m   │\n  ╰${rule}╯\n`
    : `  ${userCode}\n`
  const complete =
    pageWithCode === undefined
      ? ''
      : `\nor open this page, which has the code in it:\n  ${link(pageWithCode)}\n`
  person.tell(`to sign in, open ${link(page)} on any device and enter this code:\n\n${code}${complete}\n`)
}

/** Draws how much time is left, once a second, on one line that is gone in the end. */
async function showProgress(person: Person, budget: Budget, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && timeLeft(budget) > 0) {
    const seconds = Math.ceil(timeLeft(budget) / 1000)
    const left = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
    person.tell(`\r\x1b[Kwaiting for the sign-in, ${left} left`)
    await budget.clock.sleep(timeLeft(budget) % 1000 || 1000, signal)
  }
  person.tell('\r\x1b[K')
}

const late = Symbol('nobody came')
const expired = Symbol('the server says so')

/** @throws `late` where time is up, `expired` where the code's is, or what no further request would mend */
async function poll(
  firstIntervalMs: number,
  budget: Budget,
  ask: (timeoutMs: number) => Promise<Token>,
  trace: (message: string) => void,
): Promise<Token> {
  const { clock, signal } = budget
  let intervalMs = firstIntervalMs
  let pauseMs = intervalMs
  let failures = 0
  for (;;) {
    signal?.throwIfAborted()
    await clock.sleep(Math.min(pauseMs, timeLeft(budget)), signal)
    signal?.throwIfAborted()
    if (timeLeft(budget) <= 0) throw late
    try {
      return await ask(Math.min(pollTimeoutMs, timeLeft(budget)))
    } catch (error) {
      const word = error instanceof AnswerError ? error.word : undefined
      if (word === 'expired_token') throw expired
      if (word === 'slow_down' && error instanceof AnswerError) {
        intervalMs = withinReason(Math.max(intervalMs + slowDownMs, error.intervalMs ?? 0))
        trace(`the server wants to be asked every ${Math.round(intervalMs / 1000)} s`)
      } else if (word !== 'authorization_pending') {
        if (!isPassing(error)) throw error
        failures++
        const backoffMs = Math.min(intervalMs * 2 ** failures, Math.max(maxBackoffMs, intervalMs))
        pauseMs = Math.max(backoffMs, error.retryAfterMs ?? 0)
        trace(`${error.message}; asking again in ${Math.round(pauseMs / 1000)} s`)
        continue
      }
      failures = 0
      pauseMs = intervalMs
    }
  }
}

function isPassing(error: unknown): error is TokctlError {
  if (error instanceof TransportError) return error.passing
  return error instanceof TokctlError && ['server_error', 'rate_limited', 'timeout'].includes(error.code)
}
