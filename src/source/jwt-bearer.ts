import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { JwtBearerProfile } from '../profile/profile.ts'
import { readJsonObject } from './answer.ts'
import { assertionTimes } from './client-auth.ts'
import { type ClientProfile, type Grant, tokenRequest } from './endpoint.ts'
import type { Signing } from './jwt.ts'
import type { SourcePorts, TokenSource } from './source.ts'

/**
 * A signed assertion as the grant. Client authentication is only what the profile says: most servers want none beside it.
 *
 * `fetch` throws `config_invalid` for a key, or a `key_file`, that cannot be used, and what `tokenRequest` throws.
 *
 * @see RFC 7523 §2.1
 */
export function jwtBearer(profile: JwtBearerProfile, ports: SourcePorts): TokenSource {
  return {
    async fetch(request) {
      const account = await readAccount(profile, ports, request.signal)
      const { scope, ...unscoped } = profile
      const named: ClientProfile = profile.scope_in_assertion ? unscoped : profile
      // A service account knows its endpoint; an issuer that was configured knows better.
      const tokenUri = profile.issuer === undefined ? account.tokenUri : undefined
      const client =
        named.token_endpoint !== undefined || tokenUri === undefined
          ? named
          : { ...named, token_endpoint: tokenUri }
      const token = await tokenRequest(client, grantOf(profile, account), ports, request)
      return { ...token, scope: token.scope ?? scope }
    },
  }
}

/** Who signs: the profile's own keys, completed by the service account's. */
interface Account {
  readonly iss: string
  readonly key: Secret
  readonly keyName: Signing['keyName']
  readonly kid: string | undefined
  readonly tokenUri: string | undefined
  readonly isServiceAccount: boolean
}

function grantOf(profile: JwtBearerProfile, account: Account): Grant {
  const { iss, key, kid, keyName } = account
  // RFC 7523 §3 wants a subject; a service account has one only where it acts for somebody.
  const sub = profile.sub ?? (account.isServiceAccount ? undefined : iss)
  return async (endpoint, now) => {
    const [{ signJwt }, { randomUUID }] = await Promise.all([import('./jwt.ts'), import('node:crypto')])
    const claims = {
      ...profile.claims,
      iss,
      ...(sub === undefined ? {} : { sub }),
      aud: profile.aud ?? endpoint,
      ...assertionTimes(now),
      jti: randomUUID(),
      ...(profile.scope_in_assertion && profile.scope !== undefined ? { scope: profile.scope } : {}),
    }
    return {
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: signJwt(claims, { alg: profile.signing_alg, key, kid, keyName }),
    }
  }
}

async function readAccount(
  profile: JwtBearerProfile,
  { resolve }: SourcePorts,
  signal: AbortSignal | undefined,
): Promise<Account> {
  const own = profile.private_key === undefined ? undefined : await resolve(profile.private_key, signal)
  const file =
    profile.key_file === undefined ? undefined : readKeyFile(await resolve(profile.key_file, signal))
  const key = own ?? file?.key
  if (key === undefined) {
    throw new TokctlError('config_invalid', 'source jwt_bearer needs private_key or key_file')
  }
  const iss = profile.iss ?? file?.email ?? profile.client_id
  if (iss === undefined) {
    throw new TokctlError('config_invalid', 'source jwt_bearer needs iss, the issuer of its assertions')
  }
  return {
    iss,
    key,
    keyName: own === undefined ? 'key_file' : 'private_key',
    kid: profile.kid ?? (own === undefined ? file?.kid : undefined),
    tokenUri: file?.tokenUri,
    isServiceAccount: file !== undefined,
  }
}

interface KeyFile {
  readonly email: string | undefined
  readonly key: Secret
  readonly kid: string | undefined
  readonly tokenUri: string | undefined
}

function readKeyFile(text: Secret): KeyFile {
  const json = readJsonObject(text.expose())
  if (json === undefined) throw unusable('is not JSON', 'it is the file that the key was handed out in')
  const { type, client_email, private_key, private_key_id, token_uri } = json
  if (type === 'authorized_user')
    throw unusable('holds the sign-in of a person', 'use source = "refresh_token" with its refresh_token')
  if (typeof type === 'string' && type !== 'service_account')
    throw unusable(`is of type "${printable(type)}", not a service account`)
  if (typeof private_key !== 'string' || private_key === '') throw unusable('has no private_key')
  const named = (value: unknown): string | undefined =>
    typeof value === 'string' && value !== '' ? value : undefined
  return {
    email: named(client_email),
    key: new Secret(private_key),
    kid: named(private_key_id),
    tokenUri: named(token_uri),
  }
}

function unusable(what: string, hint?: string): TokctlError {
  return new TokctlError('config_invalid', `key_file ${what}`, { hint })
}
