import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import type { Token } from '../core/token.ts'
import { type ClientProfile, readTokenAnswer, tokenRequest } from './endpoint.ts'
import { mayBeSpent } from './retry.ts'
import type { FetchRequest, Kept, RenewalAnswer, SourcePorts, TokenSource } from './source.ts'

/** A profile whose source may leave a refresh token behind. */
export type RefreshableProfile = ClientProfile & { readonly source: string }

/**
 * Tries the refresh token that the last token left behind, and falls through to the source it wraps where there is none.
 * A refresh token that is refused sends a person to `tokctl login`, and a robot's source back to its beginning.
 *
 * @see RFC 6749 §6
 */
export function withRefresh(
  source: TokenSource,
  profile: RefreshableProfile,
  ports: SourcePorts,
): TokenSource {
  return {
    async fetch(request) {
      const refreshToken = request.kept?.refreshToken
      // A person who signs in wants to be asked: the session that there was may be another one's.
      if (refreshToken === undefined || request.person !== undefined) return source.fetch(request)
      const { clock } = ports
      const deadline = clock.monotonic() + request.timeoutMs
      try {
        return await refresh(profile, refreshToken, ports, request)
      } catch (error) {
        if (!(error instanceof TokctlError) || error.code !== 'invalid_grant') throw error
        if (needsPerson(profile)) throw signInAgain(profile)
        ports.trace(`${error.message}; starting again without the refresh token`)
        await request.renewal?.refused(refreshToken)
        const kept = { dpopKey: undefined, seed: undefined, ...request.kept, refreshToken: undefined }
        return source.fetch({ ...request, kept, timeoutMs: Math.max(0, deadline - clock.monotonic()) })
      }
    },
    readRenewal: async (answer, kept) => readRenewal(profile, answer, kept),
  }
}

/**
 * Asks for a new token with a refresh token. It is sent again only where it certainly was not used.
 *
 * @returns The old refresh token with it, unless the server gave a new one.
 * @throws {TokctlError} what `tokenRequest` throws; `invalid_grant` where the refresh token was refused
 */
export async function refresh(
  profile: RefreshableProfile,
  refreshToken: Secret,
  ports: SourcePorts,
  request: FetchRequest,
): Promise<Token> {
  const grant = { grant_type: 'refresh_token', refresh_token: refreshToken }
  const { seed } = request.kept ?? {}
  const options = { repeatable: false, spends: { refreshToken, seed } } as const
  try {
    const token = await tokenRequest(renewing(profile), grant, ports, request, options)
    return continued(profile, token, refreshToken, seed)
  } catch (error) {
    if (error instanceof TokctlError && !mayBeSpent(error)) request.renewal?.untouched()
    throw error
  }
}

/**
 * Reads the answer of a renewal that another process sent. Pure.
 *
 * @returns As `refresh` does.
 * @throws {TokctlError} `invalid_response` for an answer that leaves open what became of the refresh token; else the refusal
 */
export function readRenewal(profile: RefreshableProfile, answer: RenewalAnswer, kept: Kept): Token {
  const { from, sentAt, receivedAt, ...response } = answer
  const { refreshToken, dpopKey, seed } = kept
  try {
    const answered = { response, from, sentAt, receivedAt }
    return continued(profile, readTokenAnswer(renewing(profile), answered, dpopKey), refreshToken, seed)
  } catch (error) {
    if (!(error instanceof TokctlError) || !mayBeSpent(error)) throw error
    throw new TokctlError('invalid_response', error.message)
  }
}

// RFC 6749 §6: without a scope it is that of the sign-in. Who was handed a refresh token says here what it is for.
// Google refuses to hear `params` of a sign-in again, such as access_type.
function renewing({ scope, refresh_scope, ...client }: RefreshableProfile): RefreshableProfile {
  const asked = refresh_scope ?? (client.source === 'refresh_token' ? scope : undefined)
  const params = needsPerson(client) ? {} : client.params
  return { ...client, params, ...(asked === undefined ? {} : { scope: asked }) }
}

// The answer may leave out what stays as it was.
function continued(
  { scope }: RefreshableProfile,
  token: Token,
  refreshToken: Secret | undefined,
  seed: string | undefined,
): Token {
  return {
    ...token,
    scope: token.scope ?? scope,
    refreshToken: token.refreshToken ?? refreshToken,
    ...(seed === undefined ? {} : { seed }),
  }
}

function needsPerson({ source }: Pick<RefreshableProfile, 'source'>): boolean {
  return source === 'authorization_code' || source === 'device_code'
}

function signInAgain({ name }: RefreshableProfile): TokctlError {
  return new TokctlError(
    'login_required',
    `profile "${name}" needs a sign-in: the refresh token was refused (invalid_grant)`,
    { hint: `run: tokctl login ${name}` },
  )
}
