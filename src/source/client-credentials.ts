import type { ClientCredentialsProfile } from '../profile/profile.ts'
import { tokenRequest } from './endpoint.ts'
import type { SourcePorts, TokenSource } from './source.ts'

/**
 * The client asks for itself.
 *
 * @see RFC 6749 §4.4
 */
export function clientCredentials(profile: ClientCredentialsProfile, ports: SourcePorts): TokenSource {
  return {
    async fetch(request) {
      const token = await tokenRequest(profile, { grant_type: 'client_credentials' }, ports, request)
      // RFC 6749 §4.4.3: there should be none, and with the client's own credentials nobody needs one.
      return { ...token, refreshToken: undefined }
    },
  }
}
