import type { Secret } from '../core/secret.ts'
import type { Profile } from '../profile/profile.ts'
import { AnswerError, throwRefusal } from './answer.ts'
import { clientAuthentication } from './client-auth.ts'
import { formHeaders } from './endpoint.ts'
import { type Budget, retry, timeLeft } from './retry.ts'
import { endpointIn, metadataOf } from './server.ts'
import type { SourcePorts } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'
import { TransportError } from './transport.ts'

/** What a sign-out ends. */
export interface RevokedTokens {
  readonly accessToken?: Secret | undefined
  readonly refreshToken?: Secret | undefined
}

/**
 * Revokes tokens at their server, the refresh token first. Does nothing for a source that is not OAuth, and where the
 * server offers no revocation. A kind of token that the server does not revoke is left to end by itself.
 *
 * @throws {TokctlError} The first failure, after both were tried; at once where the server cannot be reached
 * @see RFC 7009 §2
 */
export async function revoke(
  profile: Profile,
  { accessToken, refreshToken }: RevokedTokens,
  ports: SourcePorts,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (!('client_auth' in profile) || (accessToken === undefined && refreshToken === undefined)) return
  const { clock } = ports
  const budget: Budget = { clock, signal, deadline: clock.monotonic() + timeoutMs }
  const metadata =
    profile.revocation_endpoint === undefined ? await metadataOf(profile, ports, budget) : undefined
  const endpoint = endpointIn(profile, 'revocation_endpoint', metadata)
  if (endpoint === undefined) {
    ports.trace('the server offers no revocation')
    return
  }
  const audience = endpointIn(profile, 'token_endpoint', metadata) ?? endpoint
  const tls = await readTlsMaterial(profile, ports, signal)
  const authentication = await clientAuthentication(profile, ports, signal, timeLeft(budget))

  const ask = (token: Secret, hint: string): Promise<void> =>
    retry(
      budget,
      async left => {
        const sentAt = clock.now()
        const proof = await authentication.prove(audience, sentAt)
        const form = new URLSearchParams({ token: token.expose(), token_type_hint: hint, ...proof.fields })
        const response = await ports.send({
          method: 'POST',
          url: endpoint,
          headers: { ...formHeaders, ...proof.headers },
          body: form.toString(),
          tls,
          timeoutMs: left,
          signal,
        })
        const from = `revocation endpoint ${new URL(endpoint).host}`
        throwRefusal({ response, from, sentAt, receivedAt: clock.now() })
      },
      ports.trace,
    )

  const failures: unknown[] = []
  for (const [token, hint] of [
    [refreshToken, 'refresh_token'],
    [accessToken, 'access_token'],
  ] as const) {
    if (token === undefined) continue
    try {
      await ask(token, hint)
    } catch (error) {
      if (error instanceof AnswerError && error.word === 'unsupported_token_type') continue
      if (error instanceof TransportError) throw error
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}
