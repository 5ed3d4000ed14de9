import { TokctlError } from '../core/errors.ts'
import type { OAuthClient } from '../profile/profile.ts'
import type { EndpointName, ServerMetadata } from './discovery.ts'
import type { Budget } from './retry.ts'
import type { SourcePorts } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'

/** A client, and those endpoints that its profile names itself. */
export type ClientEndpoints = OAuthClient & { readonly [name in EndpointName]?: string }

/**
 * Asks the client's issuer, or the copy of the last day, what it says about itself.
 *
 * @returns `undefined` where the profile names no issuer.
 * @throws {TokctlError} `discovery_failed`, `server_error`, `rate_limited`, and what `send` throws
 */
export async function metadataOf(
  { issuer, ca_file }: OAuthClient,
  ports: SourcePorts,
  budget: Budget,
): Promise<ServerMetadata | undefined> {
  if (issuer === undefined) return undefined
  const { discover } = await import('./discovery.ts')
  const tls = await readTlsMaterial(ca_file === undefined ? {} : { ca_file }, ports, budget.signal)
  return discover(issuer, ports, tls, budget)
}

/** Finds an endpoint: in the profile, else in what the server says, its place for certificates first where one is shown. */
export function endpointIn(
  client: ClientEndpoints,
  name: EndpointName,
  metadata: ServerMetadata | undefined,
): string | undefined {
  if (client[name] !== undefined) return client[name]
  const byCertificate =
    client.client_auth === 'tls_client_auth' ? metadata?.mtls_endpoint_aliases?.[name] : undefined
  return byCertificate ?? metadata?.[name]
}

/** What to say where `endpointIn` found nothing. */
export function missingEndpoint({ issuer }: OAuthClient, name: EndpointName): TokctlError {
  if (issuer === undefined) return new TokctlError('config_invalid', `neither ${name} nor issuer is set`)
  return new TokctlError('discovery_failed', `issuer ${issuer} has a discovery document without ${name}`, {
    hint: `set ${name} in the profile`,
  })
}

/**
 * Finds an endpoint that must be there; asks the issuer only where the profile does not name it.
 *
 * @throws {TokctlError} `config_invalid`, and what `metadataOf` throws
 */
export async function endpointOf(
  client: ClientEndpoints,
  name: EndpointName,
  ports: SourcePorts,
  budget: Budget,
): Promise<string> {
  if (client[name] !== undefined) return client[name]
  const endpoint = endpointIn(client, name, await metadataOf(client, ports, budget))
  if (endpoint === undefined) throw missingEndpoint(client, name)
  return endpoint
}
