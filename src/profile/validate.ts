import { printable } from '../core/errors.ts'
import { commonKeys, defaultKeys, type KeyTable, proxyKeys, sourceKeys, storeKeys } from './keys.ts'
import type { Profile, SourceName, StoreKind, TokenRef } from './profile.ts'
import { defaultMaxBody, type ProxySettings } from './proxy-settings.ts'
import {
  type ConfigPlace,
  either,
  isTable,
  type KeyPath,
  own,
  type Problem,
  profileName,
  type Reading,
  readers,
  secretHint,
  type Table,
  typeOf,
  unknown,
} from './read-value.ts'
import { bindAll, jobBound, referenceProblems, type Unbound } from './references.ts'
import { defaultClientAuth, isClient, sourceProblems } from './source-rules.ts'

/**
 * Checks a parsed configuration whole and builds its profiles, defaults filled in.
 *
 * @param root - As the TOML parser gives it.
 * @returns Every problem there is; profiles are complete only when there is none.
 */
export function validate(
  root: Table,
  place: ConfigPlace,
): {
  store: StoreKind
  profiles: Map<string, Profile>
  proxies: Map<string, ProxySettings>
  problems: Problem[]
} {
  const problems: Problem[] = []
  const unbound = new Map<string, Unbound>()
  refuseUnknownKeys(root, ['defaults', 'store', 'profile', 'proxy'], [], problems)

  const tableAt = (key: string, parent: Table = root, above: KeyPath = []): Table | undefined => {
    const value = own(parent, key)
    if (value === undefined || isTable(value)) return value
    problems.push({ path: [...above, key], text: `expected a table, got ${typeOf(value)}` })
    return undefined
  }
  const read = (table: Table, keys: KeyTable, path: KeyPath): Record<string, unknown> =>
    readTable(table, keys, path, place, problems)

  const defaultsTable = tableAt('defaults') ?? {}
  refuseUnknownKeys(defaultsTable, Object.keys(defaultKeys), ['defaults'], problems)
  const defaults = read(defaultsTable, defaultKeys, ['defaults'])

  const storeTable = tableAt('store') ?? {}
  refuseUnknownKeys(storeTable, Object.keys(storeKeys), ['store'], problems)
  const store = (read(storeTable, storeKeys, ['store'])['kind'] ?? 'auto') as StoreKind

  const tables = tableAt('profile') ?? {}
  const seen = new Map<string, string>()
  for (const name of Object.keys(tables)) {
    const path = ['profile', name]
    const text = refuseName(name, place.platform)
    if (text !== undefined) problems.push({ path, text })
    const twin = seen.get(name.toLowerCase())
    if (twin !== undefined) {
      problems.push({ path, text: `differs from profile "${printable(twin)}" in letter case only` })
    }
    seen.set(name.toLowerCase(), name)
    const table = tableAt(name, tables, ['profile'])
    if (table === undefined) continue
    const fields = readProfile(name, table, read, problems)
    unbound.set(name, finish(name, { ...defaults, ...fields }))
  }
  const proxies = readProxies(tableAt, unbound, read, problems)
  problems.push(...referenceProblems(unbound))
  for (const profile of unbound.values()) {
    if (profile['source'] === 'token_exchange') nameTokenTypes(profile as Record<string, unknown>, unbound)
  }
  const bindings = bindAll(unbound)
  const bound = jobBound(unbound)
  const profiles = new Map(
    Array.from(unbound, ([name, fields]) => [
      name,
      {
        ...fields,
        binding: bindings.get(name),
        ...(bound.has(name) ? { job_bound: true } : {}),
      } as unknown as Profile,
    ]),
  )
  return { store, profiles, proxies, problems }
}

type TableAt = (key: string, parent?: Table, above?: KeyPath) => Table | undefined

function readProxies(
  tableAt: TableAt,
  profiles: ReadonlyMap<string, Unbound>,
  read: ReadTable,
  problems: Problem[],
): Map<string, ProxySettings> {
  const proxies = new Map<string, ProxySettings>()
  const tables = tableAt('proxy') ?? {}
  for (const name of Object.keys(tables)) {
    const path = ['proxy', name]
    if (!profileName.test(name))
      problems.push({ path, text: 'not a name: letters, digits, ".", "_" and "-"' })
    const table = tableAt(name, tables, ['proxy'])
    if (table === undefined) continue
    refuseUnknownKeys(table, Object.keys(proxyKeys), path, problems)
    const fields = read(table, proxyKeys, path)
    const { profile } = fields
    if (typeof profile === 'string' && !profiles.has(profile)) {
      const text = unknown(`profile "${printable(profile)}"`, profile, [...profiles.keys()])
      problems.push({ path: [...path, 'profile'], text })
    } else if (typeof profile === 'string' && profiles.get(profile)?.['members'] !== undefined) {
      const text = `profile "${profile}" yields named members, which are no token for a URL`
      problems.push({ path: [...path, 'profile'], text, hint: 'name a profile without members' })
    }
    proxies.set(name, { name, max_body: defaultMaxBody, ...fields } as unknown as ProxySettings)
  }
  return proxies
}

// Files are named after profiles, and Windows opens a device under these names whatever their extension.
const deviceName = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i

function refuseName(name: string, platform: NodeJS.Platform): string | undefined {
  if (!profileName.test(name)) {
    return 'not a profile name: it begins with a letter or a digit, and has at most 64 of letters, digits, ".", "_" and "-"'
  }
  if (platform === 'win32' && deviceName.test(name)) return 'Windows keeps this name for a device'
  return undefined
}

type ReadTable = (table: Table, keys: KeyTable, path: KeyPath) => Record<string, unknown>

function readProfile(
  name: string,
  table: Table,
  read: ReadTable,
  problems: Problem[],
): Record<string, unknown> {
  const path = ['profile', name]
  const source = own(table, 'source')
  const ownKeys = typeof source === 'string' ? own(sourceKeys, source) : undefined
  if (ownKeys === undefined) {
    problems.push(sourceProblem(source, table, path))
    // The rest is held against all sources together, so that the first run tells what else is wrong.
    const anyKeys = Object.fromEntries(
      Object.entries(Object.assign({}, ...Object.values(sourceKeys), commonKeys) as KeyTable).map(
        ([key, { required: _, ...spec }]) => [key, spec],
      ),
    )
    refuseUnknownKeys(table, Object.keys(anyKeys), path, problems)
    const { source: _, ...rest } = table
    return read(rest, anyKeys, path)
  }
  const keys = { ...commonKeys, ...ownKeys }
  refuseUnknownKeys(table, Object.keys(keys), path, problems, source as string)
  const fields = read(table, keys, path)
  problems.push(...sourceProblems(source as SourceName, table, fields, path))
  return fields
}

function sourceProblem(source: unknown, table: Table, path: KeyPath): Problem {
  const known = Object.keys(sourceKeys)
  const expected = either(known)
  if (source === undefined) {
    const guess = known.find(name =>
      Object.entries(sourceKeys[name as keyof typeof sourceKeys]).some(
        ([key, spec]) => spec.required && Object.hasOwn(table, key),
      ),
    )
    return {
      path,
      text: `source is missing: expected ${expected}`,
      hint: `write source = "${guess ?? 'client_credentials'}"`,
    }
  }
  if (typeof source !== 'string') {
    return { path: [...path, 'source'], text: `expected a string, got ${typeOf(source)}` }
  }
  const text = unknown(`source "${printable(source)}"`, source, known, `; expected ${expected}`)
  return { path: [...path, 'source'], text }
}

// Only what the file itself says is filled in; what scales with a token's lifetime is decided when there is one.
function finish(name: string, fields: Record<string, unknown>): Unbound {
  const all: Record<string, unknown> = { name, match: [], ...fields }
  const has = (key: string): boolean => all[key] !== undefined
  const source = all['source'] as SourceName
  if (Object.hasOwn(sourceKeys, source) && isClient(source)) {
    all['client_auth'] ??= defaultClientAuth(source, all)
    all['basic_encoding'] ??= 'rfc6749'
    all['resource'] ??= []
    all['params'] ??= {}
  }
  if (source === 'jwt_bearer') {
    all['claims'] ??= {}
    // Google, whose keys come in such files, reads it there and nowhere else.
    all['scope_in_assertion'] ??= has('key_file') && has('scope')
  }
  if (source === 'ci') all['provider'] ??= 'auto'
  if (source === 'github_app') {
    all['repositories'] ??= []
    all['permissions'] ??= {}
    all['api_url'] ??= 'https://api.github.com'
  }
  if (source === 'command') all['timeout_ms'] ??= 30_000
  if (source === 'http') {
    all['method'] ??= has('json') || has('form') ? 'POST' : 'GET'
    all['headers'] ??= {}
  }
  return all
}

// RFC 8693 §3: an access token is one that the server itself gave, as those of profiles are; a runner's identity token is
// vouched for by another, and of a token that was handed over nothing is known but that servers take it as a JWT.
function nameTokenTypes(profile: Record<string, unknown>, all: ReadonlyMap<string, Unbound>): void {
  for (const key of ['subject_token', 'actor_token']) {
    const ref = profile[key] as TokenRef | undefined
    if (ref === undefined) continue
    const giver = 'profile' in ref ? all.get(ref.profile) : undefined
    const type =
      giver === undefined || giver['source'] === 'ci'
        ? 'jwt'
        : giver['token_path'] === 'id_token'
          ? 'id_token'
          : 'access_token'
    profile[`${key}_type`] ??= `urn:ietf:params:oauth:token-type:${type}`
  }
}

function readTable(
  table: Table,
  keys: KeyTable,
  path: KeyPath,
  place: ConfigPlace,
  problems: Problem[],
): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const [key, spec] of Object.entries(keys)) {
    const value = own(table, key)
    if (value === undefined) {
      if (spec.required) {
        const isToken = spec.type === 'token'
        const hint = isToken || spec.type === 'secret' ? secretHint(key, path, isToken) : undefined
        problems.push({ path, text: `${key} is missing: ${spec.about}`, hint })
      }
      continue
    }
    const at = [...path, key]
    const reading: Reading = {
      path: at,
      spec,
      place,
      report: (text, hint, where = at) => {
        problems.push({ path: where, text, hint })
        return undefined
      },
    }
    const found = readers[spec.type](value, reading)
    if (found !== undefined) fields[spec.type === 'duration' ? `${key}_ms` : key] = found
  }
  return fields
}

function refuseUnknownKeys(
  table: Table,
  known: readonly string[],
  path: KeyPath,
  problems: Problem[],
  source?: string,
): void {
  for (const key of Object.keys(table)) {
    if (known.includes(key)) continue
    const isElsewhere =
      source !== undefined && Object.values(sourceKeys).some(keys => Object.hasOwn(keys, key))
    // `[profile.a.b]` is table b of profile a.
    const isNested = path.length === 2 && path[0] === 'profile' && isTable(table[key])
    problems.push({
      path: [...path, key],
      text: isElsewhere ? `source "${source}" has no such key` : unknown('key', key, known),
      hint:
        isNested && profileName.test(`${path[1]}.${key}`)
          ? `a profile with a dot in its name is written [profile."${path[1]}.${key}"]`
          : undefined,
    })
  }
}
