import { Secret } from '../core/secret.ts'
import type { EpochMs } from '../core/time.ts'
import { isTokenText, membersText, type Token } from '../core/token.ts'

/** What a store keeps for a profile. */
export interface CacheRecord {
  /** Random; new with each finished attempt. */
  readonly etag: string
  /** Of the profile that the token was made for. */
  readonly binding: string
  /** `undefined` once it was refused. Its own `refreshToken` is never set here. */
  readonly token: Token | undefined
  /** The newest one; outlives a refused access token. */
  readonly refreshToken: Secret | undefined
  /** The private key that both are bound to, as a JWK in JSON (RFC 9449). */
  readonly dpopKey?: Secret
  /** SHA-256 (hex) of the handed-over refresh token that all this began with: it is used again only if it changed. */
  readonly seed?: string
  /** SHA-256 (hex) of the last access tokens that a service refused: a source that gives one again is not believed. */
  readonly rejected: readonly string[]
  /** The renewal that was begun with this record and has not been kept yet. */
  readonly renewal?: BegunRenewal
}

/** What opens the journal of a renewal. A record that replaces this one does not have it: the journal is then an old one. */
export interface BegunRenewal {
  /** 32 bytes in base64. */
  readonly key: Secret
  readonly at: EpochMs
}

const version = 1

/** Writes a record as one line of JSON. */
export function encodeRecord(record: CacheRecord): Secret {
  const { token } = record
  return new Secret(
    JSON.stringify({
      v: version,
      etag: record.etag,
      binding: record.binding,
      ...(token?.members === undefined
        ? { access_token: token?.accessToken.expose() }
        : { members: encodeMembers(token.members) }),
      token_type: token?.tokenType,
      scope: token?.scope,
      obtained_at: token?.obtainedAt,
      expires_at: token?.expiresAt,
      renew_at: token?.renewAt,
      refresh_token: record.refreshToken?.expose(),
      dpop_key: record.dpopKey?.expose(),
      seed: record.seed,
      rejected: record.rejected,
      renewal_key: record.renewal?.key.expose(),
      renewal_at: record.renewal?.at,
    }),
  )
}

/**
 * Reads a record. Whatever is not one (another program's item, a torn write) reads as nothing kept, except a newer version.
 *
 * @returns `newer` for a record of a later tokctl, which must be left alone.
 */
export function decodeRecord(text: Secret): CacheRecord | 'newer' | undefined {
  let found: unknown
  try {
    found = JSON.parse(text.expose())
  } catch {
    return undefined
  }
  if (typeof found !== 'object' || found === null) return undefined
  const json = found as Record<string, unknown>
  if (typeof json['v'] === 'number' && json['v'] > version) return 'newer'
  const { v, etag, binding, refresh_token, dpop_key, seed, rejected, renewal_key, renewal_at } = json
  if (v !== version || typeof etag !== 'string' || typeof binding !== 'string') return undefined
  return {
    etag,
    binding,
    token: decodeToken(json, typeof dpop_key === 'string' ? new Secret(dpop_key) : undefined),
    refreshToken:
      typeof refresh_token === 'string' && refresh_token !== '' ? new Secret(refresh_token) : undefined,
    ...(typeof dpop_key === 'string' ? { dpopKey: new Secret(dpop_key) } : {}),
    ...(typeof seed === 'string' ? { seed } : {}),
    rejected:
      Array.isArray(rejected) && rejected.length > 0
        ? rejected.filter(digest => typeof digest === 'string')
        : [],
    ...(typeof renewal_key === 'string' && isInstant(renewal_at)
      ? { renewal: { key: new Secret(renewal_key), at: renewal_at } }
      : {}),
  }
}

const longestLifeMs = 3650 * 86_400_000

function decodeToken(json: Record<string, unknown>, dpopKey: Secret | undefined): Token | undefined {
  const { token_type, scope, obtained_at, expires_at, renew_at } = json
  const held = json['members'] === undefined ? decodeText(json) : decodeMembers(json['members'])
  if (held === undefined) return undefined
  if (typeof token_type !== 'string' || !isInstant(obtained_at)) return undefined
  if (expires_at !== undefined && !isInstant(expires_at)) return undefined
  // No answer is read as living longer, so that no such record was written here.
  if (expires_at !== undefined && expires_at - obtained_at > longestLifeMs) return undefined
  return {
    ...held,
    tokenType: token_type,
    scope: typeof scope === 'string' ? scope : undefined,
    obtainedAt: obtained_at,
    expiresAt: expires_at,
    ...(isInstant(renew_at) ? { renewAt: renew_at } : {}),
    refreshToken: undefined,
    ...(dpopKey === undefined ? {} : { dpopKey }),
  }
}

type Held = Pick<Token, 'accessToken' | 'members'>

function decodeText({ access_token: text }: Record<string, unknown>): Held | undefined {
  return typeof text === 'string' && isTokenText(text) ? { accessToken: new Secret(text) } : undefined
}

function encodeMembers(members: NonNullable<Token['members']>): Record<string, string> {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, value.expose()]))
}

function decodeMembers(json: unknown): Held | undefined {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined
  const members: Record<string, Secret> = {}
  for (const [name, value] of Object.entries(json)) {
    if (typeof value !== 'string' || !isTokenText(value)) return undefined
    members[name] = new Secret(value)
  }
  return Object.keys(members).length === 0 ? undefined : { accessToken: membersText(members), members }
}

function isInstant(value: unknown): value is EpochMs {
  return typeof value === 'number' && value >= 0 && value <= 8.64e15
}
