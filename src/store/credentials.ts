import { readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Credential, CredentialPlace, CredentialQuery } from '../core/credential.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { readStateFile } from '../core/read-file.ts'
import { Secret } from '../core/secret.ts'
import type { StateDir } from '../core/state-dir.ts'
import type { EpochMs } from '../core/time.ts'
import { fileNameOf } from './file-name.ts'
import { lasting } from './lasting.ts'
import type { Store, StoreKey } from './store.ts'
import { cannot } from './trusted-file.ts'

// The credentials that other tools hand over. Rules:
//  - One item of the store for each protocol and host: all its users and paths are found in one reading.
//  - The index says for which places something is kept, and nothing else: a user's name may be a token. A place that is not
//    in it costs no question to the keychain, so a locked one is nobody's trouble but theirs who keep something there.
//  - The index is written before the item and cleared after it, so it never leaves anything out.
//  - What is changed is read again under the lock; reading takes none.

/** What other tools handed over to be kept. */
export interface Credentials {
  /**
   * The credential that is meant: the one for that very path before others, then the newest.
   * One that has expired is given without its password and header, and only if it can be renewed.
   *
   * @throws {TokctlError} what `Store` throws
   */
  find(query: CredentialQuery): Promise<Credential | undefined>
  /**
   * Keeps a credential, in place of the one of that user and path. One that is kept already, or has expired, costs no write.
   *
   * @throws {TokctlError} `lock_timeout`; what `Store` throws
   */
  keep(credential: Credential): Promise<void>
  /**
   * Forgets all that are meant; one with another password than a named one is not.
   *
   * @throws {TokctlError} `lock_timeout`; what `Store` throws
   */
  forget(query: CredentialQuery): Promise<void>
  /** Where something is kept, such as `https://git.example.com`, sorted. Asks no keychain. */
  places(): string[]
}

/** What it stands on. */
export interface CredentialsOptions {
  readonly stateDir: StateDir
  readonly pid: number
  store(): Promise<Store>
  now(): EpochMs
  /** Does the work while no other process does any of this. */
  exclusively(work: () => Promise<void>): Promise<void>
}

const directory = 'credentials'
const version = 1

/** Opens nothing before it is used. */
export function openCredentials(options: CredentialsOptions): Credentials {
  const { stateDir, pid, store, now, exclusively } = options

  function indexPath(key: StoreKey): string {
    return stateDir.file(directory, fileNameOf(key))
  }

  async function read(key: StoreKey): Promise<Kept[]> {
    const text = await (await store()).get(key)
    return text === undefined ? [] : decode(text, key)
  }

  return {
    async find(query) {
      const key = await keyOf(query)
      stateDir.check()
      if (readStateFile(indexPath(key)) === undefined) return undefined
      const meant = (await read(key)).filter(kept => isMeant(kept, query))
      const best = (found: readonly Kept[]): Kept | undefined =>
        found.find(({ path }) => path === query.path) ?? found[0]
      const valid = best(meant.filter(kept => !hasExpired(kept, now())))
      if (valid !== undefined) return credentialOf(query, valid)
      const renewable = best(meant.filter(kept => kept.oauth_refresh_token !== undefined))
      if (renewable === undefined) return undefined
      const { path, username, oauth_refresh_token } = renewable
      return credentialOf(query, { path, username, oauth_refresh_token })
    },

    async keep(credential) {
      const given = keptOf(credential)
      if (hasExpired(given, now())) return
      const key = await keyOf(credential)
      stateDir.check()
      const isListed = readStateFile(indexPath(key)) !== undefined
      if (isListed && (await read(key)).some(kept => isSame(kept, given))) return
      await exclusively(async () => {
        const open = lasting(await store(), 'password')
        const others = (await read(key)).filter(
          kept => kept.path !== given.path || kept.username !== given.username,
        )
        stateDir.ensure(directory)
        try {
          writeFileAtomic(indexPath(key), `${placeOf(credential)}\n`, pid)
        } catch (error) {
          throw cannot('write', indexPath(key), error)
        }
        await open.set(key, encode([given, ...others]))
      })
    },

    async forget(query) {
      const key = await keyOf(query)
      stateDir.check()
      if (readStateFile(indexPath(key)) === undefined) return
      await exclusively(async () => {
        const before = await read(key)
        const after = before.filter(kept => !isMeant(kept, { ...query, authtype: true }))
        if (after.length > 0) {
          if (after.length < before.length) await (await store()).set(key, encode(after))
          return
        }
        await (await store()).delete(key)
        try {
          unlinkSync(indexPath(key))
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
            throw cannot('remove', indexPath(key), error)
        }
      })
    },

    places() {
      stateDir.check()
      let names: string[]
      try {
        names = readdirSync(stateDir.file(directory))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
        throw cannot('list', stateDir.file(directory), error)
      }
      return names
        .filter(name => !name.endsWith('.tmp'))
        .flatMap(name => readStateFile(join(stateDir.file(directory), name))?.trim() ?? [])
        .sort()
    },
  }
}

/** As it stands in the item: the newest first. */
interface Kept {
  readonly path?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly authtype?: string | undefined
  readonly credential?: string | undefined
  readonly expires_at?: EpochMs | undefined
  readonly oauth_refresh_token?: string | undefined
}

function placeOf({ protocol, host }: CredentialPlace): string {
  return `${protocol}://${host}`
}

async function keyOf(place: CredentialPlace): Promise<StoreKey> {
  const text = placeOf(place)
  if (/^[a-z]{1,12}:\/\/[a-z0-9._-]{1,150}(?::\d{1,5})?$/.test(text))
    return { kind: 'credential', name: text }
  // What is long, or long once it is escaped, makes no file's name, and some keychains take capitals for small letters.
  const { createHash } = await import('node:crypto')
  return { kind: 'credential', name: createHash('sha256').update(text).digest('hex') }
}

function keptOf(given: Credential): Kept {
  return {
    path: given.path,
    username: given.username,
    password: given.password?.expose(),
    authtype: given.authtype,
    credential: given.credential?.expose(),
    expires_at: given.expiresAt,
    oauth_refresh_token: given.oauthRefreshToken?.expose(),
  }
}

function credentialOf({ protocol, host }: CredentialPlace, kept: Kept): Credential {
  const secret = (text: string | undefined): Secret | undefined =>
    text === undefined ? undefined : new Secret(text)
  return {
    protocol,
    host,
    path: kept.path,
    username: kept.username,
    password: secret(kept.password),
    authtype: kept.authtype,
    credential: secret(kept.credential),
    expiresAt: kept.expires_at,
    oauthRefreshToken: secret(kept.oauth_refresh_token),
  }
}

function isMeant(kept: Kept, query: CredentialQuery): boolean {
  const fits = (wanted: string | undefined, found: string | undefined): boolean =>
    wanted === undefined || wanted === found
  return (
    fits(query.path, kept.path) &&
    fits(query.username, kept.username) &&
    fits(query.password?.expose(), kept.password) &&
    fits(query.credential?.expose(), kept.credential) &&
    (query.authtype || kept.password !== undefined)
  )
}

// Older clients bring a password back without what came with it, which is no reason to lose that.
function isSame(kept: Kept, given: Kept): boolean {
  const { expires_at, oauth_refresh_token, ...rest } = given
  return (
    (Object.keys(rest) as (keyof typeof rest)[]).every(name => kept[name] === rest[name]) &&
    (expires_at === undefined || kept.expires_at === expires_at) &&
    (oauth_refresh_token === undefined || kept.oauth_refresh_token === oauth_refresh_token)
  )
}

function hasExpired({ expires_at }: Kept, now: EpochMs): boolean {
  return expires_at !== undefined && expires_at <= now
}

function encode(kept: readonly Kept[]): Secret {
  return new Secret(JSON.stringify({ v: version, kept }))
}

/** Whatever is none of ours reads as nothing kept, except a newer version. */
function decode(text: Secret, { name }: StoreKey): Kept[] {
  let found: unknown
  try {
    found = JSON.parse(text.expose())
  } catch {
    return []
  }
  if (typeof found !== 'object' || found === null) return []
  const { v, kept } = found as { v?: unknown; kept?: unknown }
  if (typeof v === 'number' && v > version) {
    throw new TokctlError(
      'store_failed',
      `what is kept for ${printable(name)} was written by a newer tokctl`,
      {
        hint: 'upgrade tokctl',
      },
    )
  }
  return v === version && Array.isArray(kept) ? kept.filter(isKept) : []
}

function isKept(found: unknown): found is Kept {
  if (typeof found !== 'object' || found === null) return false
  const { expires_at, ...texts } = found as Kept
  return (
    (expires_at === undefined || typeof expires_at === 'number') &&
    Object.values(texts).every(text => typeof text === 'string')
  )
}
