import { timingSafeEqual } from 'node:crypto'
import type { EpochMs } from '../core/time.ts'
import { formatInstant } from '../core/time.ts'
import type { Token } from '../core/token.ts'

// What the SDKs of three clouds ask on loopback, and what they are told. Pure.

export const identityKinds = ['aws', 'gce', 'azure'] as const
export type IdentityKind = (typeof identityKinds)[number]

/** One request, its header names in lower case. */
export interface IdentityRequest {
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

/** What it is answered: a status of its own, or something about the token. */
export type IdentityPlan =
  | { readonly kind: 'reply'; readonly reply: IdentityReply }
  | { readonly kind: 'token'; reply(token: Token, now: EpochMs): IdentityReply }

/** An answer; an object is sent as JSON. */
export interface IdentityReply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string | object
}

/** An endpoint's language. */
export interface IdentityProtocol {
  /**
   * Tells why what a profile yields is not for these SDKs, and what to do; `undefined` where it is.
   *
   * @param members - Their names; `undefined` where it yields one token.
   */
  unfit(members: readonly string[] | undefined): { readonly why: string; readonly hint: string } | undefined
  /** Without a token in hand: whoever may not ask learns nothing else. */
  plan(request: IdentityRequest, secret: string): IdentityPlan
  failure(status: number, code: string, message: string): IdentityReply
  /** What a program needs to find the endpoint. */
  variables(origin: string, secret: string, secretFile: string): Readonly<Record<string, string>>
}

/** The endpoints, by cloud. */
export const identityProtocols: Readonly<Record<IdentityKind, IdentityProtocol>> = {
  /** @see AWS SDKs and Tools Reference Guide, "Container credential provider" */
  aws: {
    unfit(members) {
      const missing = missingKeys(members ?? [])
      if (missing.length === 0) return undefined
      return {
        why:
          members === undefined
            ? 'yields a token, and AWS wants keys'
            : `yields no ${missing.join(' and no ')}`,
        hint: 'write members = { AccessKeyId = "…", SecretAccessKey = "…", SessionToken = "…" } in the profile',
      }
    },
    plan({ path, headers }, secret) {
      if (path !== '/aws') return refused(aws(404, 'NotFound', 'there is nothing here'))
      if (!isSame(headers['authorization'], secret))
        return refused(aws(401, 'AccessDenied', 'wrong authorization token'))
      return { kind: 'token', reply: awsKeys }
    },
    failure: (status, code, message) => aws(status, code, message),
    variables: (origin, _, secretFile) => ({
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin}/aws`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: secretFile,
    }),
  },
  /** @see https://cloud.google.com/compute/docs/metadata/querying-metadata */
  gce: {
    unfit: unlessOneToken,
    plan({ path, headers }) {
      // Neither a web page nor a proxy that was led astray can send the first; a proxy adds the second.
      if (headers['metadata-flavor'] !== 'Google')
        return refused(gce(403, 'Metadata-Flavor: Google is missing'))
      if (headers['x-forwarded-for'] !== undefined)
        return refused(gce(403, 'forwarded requests are not answered'))
      const at = /^\/computeMetadata\/v1\/instance\/service-accounts\/default\/(.*)$/.exec(path)?.[1]
      if (at === 'token') return { kind: 'token', reply: gceToken }
      if (
        path === '/' ||
        path === '/computeMetadata/v1/instance' ||
        path === '/computeMetadata/v1/instance/'
      ) {
        return refused(gce(200, 'computeMetadata/\n'))
      }
      if (at === 'email') return refused(gce(200, 'default'))
      if (at === '')
        return refused({ ...gce(200, ''), body: { aliases: ['default'], email: 'default', scopes: [] } })
      return refused(gce(404, 'not found'))
    },
    failure: (status, code, message) => gce(status, `${code}: ${message}`),
    variables(origin) {
      const { host } = new URL(origin)
      return { GCE_METADATA_HOST: host, GCE_METADATA_IP: host, METADATA_SERVER_DETECTION: 'assume-present' }
    },
  },
  /** @see https://learn.microsoft.com/azure/app-service/overview-managed-identity (REST endpoint reference) */
  azure: {
    unfit: unlessOneToken,
    plan({ path, query, headers }, secret) {
      if (path !== '/msi') return refused(azure(404, 'not_found', 'there is nothing here'))
      if (!isSame(headers['x-identity-header'], secret))
        return refused(azure(401, 'unauthorized', 'wrong X-IDENTITY-HEADER'))
      const resource = query.get('resource')
      if (resource === null) return refused(azure(400, 'invalid_request', 'resource is missing'))
      return { kind: 'token', reply: token => azureToken(token, resource) }
    },
    failure: azure,
    variables: (origin, secret) => ({ IDENTITY_ENDPOINT: `${origin}/msi`, IDENTITY_HEADER: secret }),
  },
}

function unlessOneToken(members: readonly string[] | undefined): ReturnType<IdentityProtocol['unfit']> {
  if (members === undefined) return undefined
  return { why: wantsOneToken, hint: 'name a profile without members' }
}

const wantsOneToken = 'yields named members, and these SDKs want one token'

function refused(reply: IdentityReply): IdentityPlan {
  return { kind: 'reply', reply }
}

function aws(status: number, code: string, message: string): IdentityReply {
  return { status, body: { Code: code, Message: message } }
}

/** What the SDKs read → the member that it is. */
const wantedKeys = { AccessKeyId: 'AccessKeyId', SecretAccessKey: 'SecretAccessKey', Token: 'SessionToken' }

function missingKeys(members: readonly string[]): string[] {
  return Object.values(wantedKeys).filter(name => !members.includes(name))
}

function awsKeys({ members = {}, expiresAt }: Token): IdentityReply {
  // The configuration may have changed. The SDKs want all four, and give up without a word that helps.
  const missing = missingKeys(Object.keys(members))
  if (missing.length > 0) return aws(500, 'MissingKeys', `the profile yields no ${missing.join(' and no ')}`)
  if (expiresAt === undefined)
    return aws(500, 'MissingExpiration', 'the profile does not tell when its keys expire')
  const keys = Object.entries(wantedKeys).map(([name, member]) => [name, members[member]!.expose()])
  return { status: 200, body: { ...Object.fromEntries(keys), Expiration: formatInstant(expiresAt) } }
}

function gce(status: number, body: string): IdentityReply {
  return { status, headers: { 'metadata-flavor': 'Google', server: 'Metadata Server for VM' }, body }
}

function gceToken({ accessToken, expiresAt, tokenType, members }: Token, now: EpochMs): IdentityReply {
  if (members !== undefined) return gce(500, `the profile ${wantsOneToken}`)
  const expires_in = expiresAt === undefined ? 3600 : Math.max(0, Math.floor((expiresAt - now) / 1000))
  return { ...gce(200, ''), body: { access_token: accessToken.expose(), expires_in, token_type: tokenType } }
}

function azure(status: number, code: string, message: string): IdentityReply {
  return { status, body: { error: { code, message } } }
}

function azureToken(
  { accessToken, expiresAt, tokenType, obtainedAt, members }: Token,
  resource: string,
): IdentityReply {
  if (members !== undefined) return azure(500, 'named_members', `the profile ${wantsOneToken}`)
  const expires_on = String(Math.floor((expiresAt ?? obtainedAt + 3_600_000) / 1000))
  return {
    status: 200,
    body: { access_token: accessToken.expose(), expires_on, resource, token_type: tokenType },
  }
}

/** Compares in time that depends on the lengths alone. */
function isSame(given: string | string[] | undefined, secret: string): boolean {
  if (typeof given !== 'string') return false
  const a = Buffer.from(given)
  const b = Buffer.from(secret)
  return a.length === b.length && timingSafeEqual(a, b)
}
