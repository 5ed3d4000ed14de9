import { printable } from '../core/errors.ts'
import type { TokenExchangeProfile, TokenRef } from '../profile/profile.ts'
import type { JsonObject } from './answer.ts'
import { tokenRequest } from './endpoint.ts'
import type { SourcePorts, TokenSource } from './source.ts'
import { readTokenRef } from './token-ref.ts'

const typePrefix = 'urn:ietf:params:oauth:token-type:'

/**
 * One token for another: for somebody's, or in somebody's place.
 *
 * `fetch` throws what `tokenRequest` throws, and whatever kept the other tokens from being there.
 *
 * @see RFC 8693 §2
 */
export function tokenExchange(profile: TokenExchangeProfile, ports: SourcePorts): TokenSource {
  const { clock } = ports
  return {
    async fetch(request) {
      const deadline = clock.monotonic() + request.timeoutMs
      const leftMs = (): number => Math.max(0, deadline - clock.monotonic())
      const read = (ref: TokenRef) => readTokenRef(ref, ports, leftMs(), request.signal)
      const { actor_token, actor_token_type, requested_token_type } = profile
      const grant = {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await read(profile.subject_token),
        subject_token_type: profile.subject_token_type,
        ...(actor_token === undefined ? {} : { actor_token: await read(actor_token) }),
        ...(actor_token === undefined || actor_token_type === undefined ? {} : { actor_token_type }),
        ...(requested_token_type === undefined ? {} : { requested_token_type }),
      }
      const objection = (json: JsonObject): string | undefined => objectionTo(json, requested_token_type)
      return tokenRequest(profile, grant, ports, { ...request, timeoutMs: leftMs() }, { objection })
    },
  }
}

// What nobody asked for and no service takes as an access token.
const unusableTypes: ReadonlySet<string> = new Set(
  ['refresh_token', 'saml1', 'saml2'].map(name => `${typePrefix}${name}`),
)
// RFC 8693 §3: these two name the use and the format of what may be one and the same token.
const sameTypes: ReadonlySet<string> = new Set(['access_token', 'jwt'].map(name => `${typePrefix}${name}`))

function objectionTo(
  { issued_token_type: issued }: JsonObject,
  requested: string | undefined,
): string | undefined {
  // RFC 8693 §2.2.1 requires it, and several servers leave it out.
  if (typeof issued !== 'string' || issued === '' || issued === requested) return undefined
  if (requested === undefined) {
    return unusableTypes.has(issued) ? `with a token of type "${printable(issued)}"` : undefined
  }
  if (sameTypes.has(issued) && sameTypes.has(requested)) return undefined
  return `with a token of type "${printable(issued)}", not the requested "${requested}"`
}
