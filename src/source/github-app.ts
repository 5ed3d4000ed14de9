import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { GithubAppProfile } from '../profile/profile.ts'
import { AnswerError, readAnswer } from './answer.ts'
import { serverAhead } from './lifetime.ts'
import { type Budget, retry, timeLeft } from './retry.ts'
import type { FetchRequest, SourcePorts, TokenSource } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'
import type { HttpResponse } from './transport.ts'

/** GitHub allows a minute before now and ten after it, by its own clock: this leaves room for ours. */
const issuedBeforeMs = 60_000
const expiresAfterMs = 300_000
/** Less than this between the clocks is no reason to sign again. */
const toleratedSkewMs = 30_000
const maxPauseMs = 3_600_000

/**
 * The token of a GitHub App's installation, for all it was given or for some repositories and permissions.
 *
 * `fetch` throws `invalid_client` for a key or an app that GitHub does not know, `request_refused` for an installation that
 * it does not know, `invalid_scope` for repositories or permissions that the installation does not have, `rate_limited`
 * with `retryAfterMs`, `config_invalid`, and what the transport throws.
 */
export function githubApp(profile: GithubAppProfile, ports: SourcePorts): TokenSource {
  return { fetch: request => fetchToken(profile, ports, request) }
}

async function fetchToken(
  profile: GithubAppProfile,
  ports: SourcePorts,
  { timeoutMs, signal }: FetchRequest,
): Promise<Token> {
  const { clock } = ports
  const iss = profile.client_id ?? profile.app_id
  if (iss === undefined)
    throw new TokctlError('config_invalid', 'source github_app needs client_id or app_id')
  const budget: Budget = { clock, signal, deadline: clock.monotonic() + timeoutMs }
  const key = await ports.resolve(profile.private_key, signal)
  const tls = await readTlsMaterial(profile, ports, signal)
  const url = `${profile.api_url}/app/installations/${encodeURIComponent(profile.installation_id)}/access_tokens`
  const from = `GitHub at ${new URL(url).host}`
  const body = bodyOf(profile)
  let aheadMs = 0

  const ask = async (left: number): Promise<Token> => {
    const { response, sentAt, receivedAt } = await askOnce(left)
    const ahead = serverAhead(response.headers['date'], sentAt, receivedAt)
    if (response.status === 401 && aheadMs === 0 && Math.abs(ahead) > toleratedSkewMs) {
      aheadMs = ahead
      ports.trace(`GitHub's clock differs by ${Math.round(ahead / 1000)} s: signing again`)
      return ask(timeLeft(budget))
    }
    try {
      const shape = {
        tokenPath: 'token',
        expiresInPath: undefined,
        expiresAtPath: 'expires_at',
        scope: undefined,
        defaultTtlMs: profile.default_ttl_ms,
      }
      const token = readAnswer({ response, from, sentAt, receivedAt }, shape)
      return { ...token, refreshToken: undefined }
    } catch (error) {
      throw error instanceof AnswerError ? explained(error, response, receivedAt + ahead) : error
    }
  }

  const askOnce = async (left: number) => {
    const jwt = await appJwt(iss, key, clock.now() + aheadMs)
    const sentAt = clock.now()
    const response = await ports.send({
      method: 'POST',
      url,
      headers: {
        accept: 'application/vnd.github+json',
        authorization: `Bearer ${jwt.expose()}`,
        'user-agent': 'tokctl',
        'x-github-api-version': '2022-11-28',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body,
      tls,
      timeoutMs: left,
      signal,
    })
    return { response, sentAt, receivedAt: clock.now(), jwt }
  }

  return retry(budget, ask, ports.trace)
}

async function appJwt(iss: string, key: Secret, now: EpochMs): Promise<Secret> {
  const { signJwt } = await import('./jwt.ts')
  const claims = {
    iat: Math.floor((now - issuedBeforeMs) / 1000),
    exp: Math.floor((now + expiresAfterMs) / 1000),
    iss,
  }
  return signJwt(claims, { alg: 'RS256', key, kid: undefined, keyName: 'private_key' })
}

function bodyOf({ repositories, permissions }: GithubAppProfile): string | undefined {
  const named = {
    ...(repositories.length === 0 ? {} : { repositories }),
    ...(Object.keys(permissions).length === 0 ? {} : { permissions }),
  }
  return Object.keys(named).length === 0 ? undefined : JSON.stringify(named)
}

function explained(error: AnswerError, { headers }: HttpResponse, serverNow: EpochMs): TokctlError {
  const { status, message } = error
  const as = (code: 'invalid_client' | 'invalid_scope' | 'request_refused', hint: string): TokctlError =>
    new AnswerError(code, message, status, { hint })
  if (status === 401)
    return as('invalid_client', 'check private_key, and client_id or app_id, of the profile')
  if (status === 404) {
    return as(
      'request_refused',
      'check installation_id of the profile, and that the app is still installed there',
    )
  }
  if (status === 422)
    return as(
      'invalid_scope',
      'check repositories and permissions of the profile against what the app was given',
    )
  if (status !== 403 && status !== 429) return error
  const retryAfterMs = pauseOf(error, headers, serverNow)
  if (status === 403 && retryAfterMs === undefined) return error
  return new AnswerError('rate_limited', message, status, { retryAfterMs })
}

// A limit within the hour comes as 403 as well, and tells when it ends by GitHub's own clock.
function pauseOf(
  { retryAfterMs }: AnswerError,
  headers: HttpResponse['headers'],
  serverNow: EpochMs,
): number | undefined {
  if (retryAfterMs !== undefined) return retryAfterMs
  const after = headers['retry-after']
  const seconds = after !== undefined && /^\d{1,6}$/.test(after) ? Number(after) : undefined
  const reset = headers['x-ratelimit-reset']
  const isUsedUp = headers['x-ratelimit-remaining'] === '0' && reset !== undefined && /^\d{1,12}$/.test(reset)
  const pause =
    seconds !== undefined ? seconds * 1000 : isUsedUp ? Number(reset) * 1000 - serverNow : undefined
  return pause === undefined ? undefined : Math.min(Math.max(1000, Math.ceil(pause)), maxPauseMs)
}
