import { type JsonObject, readAccepted } from './answer.ts'
import { clientAuthentication } from './client-auth.ts'
import { type ClientProfile, formBody, formHeaders, type GrantFields } from './endpoint.ts'
import { type Budget, retry, timeLeft } from './retry.ts'
import type { SourcePorts } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'

/** Where a sign-in is announced to the server before the person comes. */
export interface Announcement {
  readonly endpoint: string
  /** As messages name it: `device authorization endpoint`. */
  readonly name: string
  /** Whom an assertion of the client is for, where the profile does not say. */
  readonly audience: string
  readonly fields: GrantFields
}

/**
 * Announces a sign-in: the client proves itself as at the token endpoint, and what is passing is retried, because nothing
 * is used up.
 *
 * @param client - Scope, audience, resource and `params` go with the fields.
 * @throws {TokctlError} As `tokenRequest` does
 */
export async function announce(
  client: ClientProfile,
  { endpoint, name, audience, fields }: Announcement,
  ports: SourcePorts,
  budget: Budget,
): Promise<JsonObject> {
  const { clock } = ports
  const tls = await readTlsMaterial(client, ports, budget.signal)
  const authentication = await clientAuthentication(client, ports, budget.signal, timeLeft(budget))
  const ask = async (timeoutMs: number): Promise<JsonObject> => {
    const sentAt = clock.now()
    const proof = await authentication.prove(audience, sentAt)
    const response = await ports.send({
      method: 'POST',
      url: endpoint,
      headers: { ...formHeaders, ...proof.headers },
      body: formBody(client, fields, { ...fieldTexts(fields), ...proof.fields }),
      tls,
      timeoutMs,
      signal: budget.signal,
    })
    const from = `${name} ${new URL(endpoint).host}`
    return readAccepted({ response, from, sentAt, receivedAt: clock.now() })
  }
  return retry(budget, ask, ports.trace)
}

// Given once more as what `params` cannot change.
function fieldTexts(fields: GrantFields): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === 'string' ? value : value.expose()]),
  )
}
