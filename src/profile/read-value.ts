import { isAbsolute, join, resolve } from 'node:path'
import { TomlDate } from 'smol-toml'
import { printable } from '../core/errors.ts'
import { formatDuration, parseDuration, parseInstant } from '../core/time.ts'
import { type KeySpec, type KeyType, sourceKeys } from './keys.ts'
import { isLoopback, parsePattern, parseUrl } from './match.ts'
import { nearest } from './nearest.ts'
import { isSecretRef, type JsonBody, type SecretRef, type TokenRef, tokenTypes } from './profile.ts'
import { parseListen, parseSize } from './proxy-settings.ts'

/** Keys and list positions from the top of the file down to a value. */
export type KeyPath = readonly string[]

/** One thing that is wrong. `text` shows no value that might be a secret. */
export interface Problem {
  readonly path: KeyPath
  readonly text: string
  readonly hint?: string | undefined
}

/** What paths in a configuration are relative to. */
export interface ConfigPlace {
  /** Absolute. */
  readonly directory: string
  readonly home: string
  readonly platform: NodeJS.Platform
}

/** A TOML table. */
export type Table = Readonly<Record<string, unknown>>

/** What a reader knows beside the value. */
export interface Reading {
  readonly path: KeyPath
  readonly spec: KeySpec
  readonly place: ConfigPlace
  /** Gives nothing, so that a reader can end with it. */
  report(text: string, hint?: string, path?: KeyPath): undefined
}

/** What a profile or a kept secret may be called. */
export const profileName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Takes a value of the file; reports what it does not accept, and then gives `undefined`. */
export type Reader = (value: unknown, reading: Reading) => unknown

/** The reader of each type of key. */
export const readers: Readonly<Record<KeyType, Reader>> = {
  text: readText,
  texts: (value, reading) =>
    typeof value === 'string' ? wrap(readText(value, reading)) : readTexts(value, reading, readText),
  choice: readChoice,
  duration: readDuration,
  instant: readInstant,
  issuer(value, reading) {
    const text = readUrl(value, reading)
    // RFC 8414 §2; discovery inserts its path before that of the issuer.
    if (text?.includes('?')) return reading.report('an issuer has no query')
    return text
  },
  url: readUrl,
  patterns(value, reading) {
    if (isString(value)) return reading.report('expected a list, got a string', 'write match = ["https://…"]')
    return readTexts(value, reading, readPatternText)
  },
  secret: readSecret,
  path: (value, reading) => absolute(readText(value, reading), reading.place),
  command: readCommand,
  params: (value, reading) =>
    readMap(value, reading, (field, at, name) => {
      if (protocolFields.has(name))
        return at.report('belongs to the protocol and is not set here', paramHint(name))
      if (secretField.test(name)) return at.report('a secret is not sent as a plain field')
      return readPlain(field, at)
    }),
  headers: readHeaders,
  basic: readBasic,
  form: (value, reading) =>
    readMap(value, reading, (field, at, name) => readPlainOrSecret(field, at, secretField.test(name))),
  json: (value, reading) => readJson(value, reading, false),
  dotted: readDotted,
  flag: (value, { report }) =>
    typeof value === 'boolean' ? value : report(`expected true or false, got ${typeOf(value)}`),
  port(value, { report }) {
    const isPort = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535
    return isPort ? value : report('expected a port: a whole number from 1 to 65535, without quotes')
  },
  id: readId,
  variable: readVariable,
  base_url(value, reading) {
    const text = readUrl(value, reading)
    if (text?.includes('?')) return reading.report('a query does not belong in this URL')
    return text?.replace(/\/+$/, '')
  },
  token: (value, reading) => readRef(value, reading, tokenForms) as TokenRef | undefined,
  token_type: readTokenType,
  key_file(value, reading) {
    if (!isString(value)) return readSecret(value, reading)
    // A key in the file's place is as long as it is secret.
    if (/^\s*[{-]/.test(value)) return reading.report('expected the path of a file, got what stands in one')
    const file = absolute(readText(value, reading), reading.place)
    return file === undefined ? undefined : { file }
  },
  claims: (value, reading) => readMap(value, reading, readClaim),
  permissions: (value, reading) => readMap(value, reading, readPermission),
  members(value, reading) {
    const members = readMap(value, reading, readMember)
    if (members === undefined || Object.keys(members).length > 0) return members
    return reading.report('must not be empty', membersHint)
  },
  listen(value, reading) {
    const text = readText(value, reading)
    const found = text === undefined ? undefined : parseListen(text)
    return typeof found === 'string' ? reading.report(found) : found
  },
  size(value, reading) {
    const text = readText(value, reading)
    return text === undefined
      ? undefined
      : (parseSize(text) ?? reading.report('expected a size such as "64KiB", "10MiB" or "2GiB"'))
  },
}

// What requests carry by themselves (RFC 6749 §4, RFC 7523 §2.2, RFC 7636 §4, RFC 8693 §2.1), and what has a key of its own.
const protocolFields: ReadonlySet<string> = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'scope',
  'audience',
  'resource',
  'assertion',
  'code',
  'code_verifier',
  'device_code',
  'redirect_uri',
  'refresh_token',
  'response_type',
  'state',
  'nonce',
  'code_challenge',
  'code_challenge_method',
  'request_uri',
  'login_hint',
  'prompt',
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
])

function paramHint(name: string): string | undefined {
  return Object.values(sourceKeys).some(keys => Object.hasOwn(keys, name))
    ? `write ${name} in the profile itself`
    : undefined
}

// Names under which something secret is sent; a literal there is refused like any other.
const secretField = /(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key)$/i
const secretHeader =
  /(?:^|-)(?:authorization|cookie|token|secret|password|apikey|(?:api|access|auth|private)-key)$/

// Framing and routing of the request are the transport's.
const transportHeaders: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'proxy-authorization',
  'proxy-connection',
  'accept-encoding',
])

const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

function readText(value: unknown, { path, report }: Reading): string | undefined {
  if (typeof value !== 'string') {
    const isScope = path.at(-1) === 'scope' && Array.isArray(value) && value.every(isString)
    return report(
      `expected a string, got ${typeOf(value)}`,
      isScope ? `write scope = "${printable(value.join(' '))}"` : undefined,
    )
  }
  if (value.trim() === '') return report('must not be empty')
  if (control.test(value)) return report('must not hold control characters or line breaks')
  return value
}

function readTexts<T>(
  value: unknown,
  reading: Reading,
  readItem: (value: unknown, reading: Reading) => T | undefined,
): T[] | undefined {
  if (!Array.isArray(value)) return reading.report(`expected a list of strings, got ${typeOf(value)}`)
  const items = value.map((item, i) => readItem(item, inside(reading, String(i))))
  return items.every(item => item !== undefined) ? (items as T[]) : undefined
}

function readChoice(value: unknown, { spec, path, report }: Reading): string | undefined {
  const values = spec.values ?? []
  if (typeof value !== 'string') return report(`expected a string, got ${typeOf(value)}`)
  if (values.includes(value)) return value
  const what = path[0] === 'store' ? 'store kind' : 'value'
  return report(unknown(`${what} "${printable(value)}"`, value, values, `; expected ${either(values)}`))
}

function readDuration(value: unknown, { spec, path, report }: Reading): number | undefined {
  const { minMs = 0, maxMs = Number.POSITIVE_INFINITY } = spec
  const key = path.at(-1)
  if (typeof value !== 'string') {
    const whole = typeof value === 'number' && Number.isInteger(value) && value >= 0
    return report(
      `expected a duration such as "90s" or "5m", got ${typeOf(value)}`,
      whole ? `write ${key} = "${value}s"` : undefined,
    )
  }
  const ms = parseDuration(value)
  if (ms === undefined) {
    return report('expected a duration such as "500ms", "90s", "5m", "1h" or "2d", at most ten years')
  }
  if (ms < minMs) return report('must be longer than nothing')
  if (ms > maxMs) return report(`must be at most ${formatDuration(maxMs)}`)
  return ms
}

function readInstant(value: unknown, { report }: Reading): number | undefined {
  const expected = 'expected an instant with its offset, such as 2027-01-31T12:00:00Z'
  if (value instanceof TomlDate) return value.isLocal() ? report(expected) : value.getTime()
  if (typeof value !== 'string') return report(`${expected}, got ${typeOf(value)}`)
  return parseInstant(value) ?? report(expected)
}

function readUrl(value: unknown, reading: Reading): string | undefined {
  const text = readText(value, reading)
  if (text === undefined) return undefined
  const url = parseUrl(text)
  if ('problem' in url) return reading.report(url.problem, url.hint)
  if (url.fragment !== '') return reading.report('a fragment does not belong in this URL')
  if (url.scheme === 'http' && !isLoopback(url.host)) return reading.report(...plainHttp)
  return text
}

function readPatternText(value: unknown, reading: Reading): string | undefined {
  const text = readText(value, reading)
  if (text === undefined) return undefined
  const pattern = parsePattern(text)
  if ('problem' in pattern) return reading.report(pattern.problem, pattern.hint)
  if (pattern.scheme === 'http' && !isLoopback(pattern.host)) return reading.report(...plainHttp)
  return text
}

const plainHttp = ['http is only for localhost and loopback addresses: expected an https URL'] as const

function readSecret(value: unknown, reading: Reading): SecretRef | undefined {
  return readRef(value, reading, secretForms) as SecretRef | undefined
}

type RefForms = Readonly<Record<string, (value: unknown, reading: Reading, place: ConfigPlace) => unknown>>

function readRef(value: unknown, reading: Reading, known: RefForms): unknown {
  const { path, place, report } = reading
  const hint = secretHint(path.at(-1)!, path.slice(0, -1), Object.hasOwn(known, 'profile'))
  if (!isTable(value)) return report(`expected a reference, got ${typeOf(value)}`, hint)
  const forms = Object.keys(value)
  const others = forms.filter(form => !Object.hasOwn(known, form))
  for (const form of others) {
    report(unknown('form of reference', form, Object.keys(known)), hint, [...path, form])
  }
  if (others.length > 0) return undefined
  if (forms.length !== 1) {
    return report(
      forms.length === 0 ? 'the reference is empty' : `a reference has one form, got ${forms.join(' and ')}`,
      hint,
    )
  }
  const form = forms[0]!
  const content = known[form]!(value[form], inside(reading, form), place)
  return content === undefined ? undefined : { [form]: content }
}

const secretForms = {
  env: readVariable,
  file: (value: unknown, reading: Reading, place: ConfigPlace) => absolute(readText(value, reading), place),
  command: (value: unknown, reading: Reading) => readCommand(value, reading),
  secret(value: unknown, reading: Reading): string | undefined {
    const name = readText(value, reading)
    if (name === undefined || profileName.test(name)) return name
    return reading.report('expected the name of a kept secret: letters, digits, ".", "_" and "-", at most 64')
  },
  keychain(value: unknown, reading: Reading): { service: string; account: string } | undefined {
    if (!isTable(value))
      return reading.report(`expected a table with service and account, got ${typeOf(value)}`)
    const names = ['service', 'account']
    let complete = true
    for (const key of Object.keys(value)) {
      if (names.includes(key)) continue
      reading.report(unknown('key', key, names), undefined, [...reading.path, key])
      complete = false
    }
    const [service, account] = names.map(key => {
      if (Object.hasOwn(value, key)) return readText(value[key], inside(reading, key))
      return reading.report(`${key} is missing`)
    })
    return complete && service !== undefined && account !== undefined ? { service, account } : undefined
  },
}

const tokenForms = {
  ...secretForms,
  // Whether there is such a profile is known when all are read.
  profile: (value: unknown, reading: Reading) => readText(value, reading),
}

function readVariable(value: unknown, reading: Reading): string | undefined {
  const name = readText(value, reading)
  if (name === undefined || /^[A-Za-z_]\w*$/.test(name)) return name
  return reading.report('expected the name of an environment variable, without "$"')
}

function readId(value: unknown, { report }: Reading): string | undefined {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value
  if (typeof text !== 'string') return report(`expected a whole number, got ${typeOf(value)}`)
  return /^[1-9]\d{0,18}$/.test(text) ? text : report('expected a whole number greater than nothing')
}

const tokenTypePrefix = 'urn:ietf:params:oauth:token-type:'

function readTokenType(value: unknown, reading: Reading): string | undefined {
  const text = readText(value, reading)
  if (text === undefined) return undefined
  if ((tokenTypes as readonly string[]).includes(text)) return `${tokenTypePrefix}${text}`
  // RFC 8693 §3: any URI may name a type.
  if (/^[a-z][a-z\d+.-]*:\S+$/i.test(text)) return text
  const otherwise = `; expected ${either([...tokenTypes, 'a URI'])}`
  return reading.report(unknown(`token type "${printable(text)}"`, text, tokenTypes, otherwise))
}

// What the source itself puts into an assertion (RFC 7523 §3).
const assertionClaims = ['iss', 'sub', 'aud', 'scope', 'exp', 'iat', 'nbf', 'jti']

function readClaim(field: unknown, at: Reading, name: string): string | number | boolean | undefined {
  if (assertionClaims.includes(name)) {
    const hint = Object.hasOwn(sourceKeys.jwt_bearer, name)
      ? `write ${name} in the profile itself`
      : undefined
    return at.report('belongs to the assertion and is not set here', hint)
  }
  if (secretField.test(name)) return at.report('a secret is not sent as a plain claim')
  if (typeof field === 'boolean') return field
  if (typeof field === 'number') {
    return Number.isFinite(field) ? field : at.report('JSON has no infinity and no nan')
  }
  if (typeof field === 'string') return readPlain(field, at)
  return at.report(`expected a string, a number, true or false, got ${typeOf(field)}`)
}

const membersHint =
  'write members = { AccessKeyId = "Credentials.AccessKeyId", SecretAccessKey = "Credentials.SecretAccessKey" }'

function readMember(field: unknown, at: Reading, name: string): string | undefined {
  if (!/^[A-Za-z_]\w*$/.test(name)) return at.report('a member has a name of letters, digits and "_"')
  return readDotted(field, at)
}

function readDotted(value: unknown, reading: Reading): string | undefined {
  const text = readText(value, reading)
  if (text === undefined || text.split('.').every(step => step.trim() !== '')) return text
  return reading.report('expected a path such as "data.token" or "items.0.token"')
}

const permissionLevels = ['read', 'write', 'admin']

function readPermission(field: unknown, at: Reading, name: string): string | undefined {
  if (!/^[a-z][a-z_]*$/.test(name)) {
    const plain = name.toLowerCase().replace(/[- ]/g, '_')
    return at.report(
      'not the name of a permission',
      /^[a-z][a-z_]*$/.test(plain) ? `write ${plain} = "read"` : undefined,
    )
  }
  if (typeof field !== 'string')
    return at.report(`expected ${either(permissionLevels)}, got ${typeOf(field)}`)
  if (permissionLevels.includes(field)) return field
  const otherwise = `; expected ${either(permissionLevels)}`
  return at.report(unknown(`level "${printable(field)}"`, field, permissionLevels, otherwise))
}

function readCommand(value: unknown, reading: Reading): string[] | undefined {
  const { report, place } = reading
  const key = reading.path.at(-1)
  if (!Array.isArray(value)) {
    return report(
      `expected a list of strings, got ${typeOf(value)}`,
      `no shell is involved: write ${key} = ["program", "argument"]`,
    )
  }
  if (value.length === 0) return report('must not be empty', `write ${key} = ["program", "argument"]`)
  const words = value.map((word, i) => {
    const at = inside(reading, String(i))
    return i > 0 && word === '' ? '' : readText(word, at)
  })
  if (words.includes(undefined)) return undefined
  const [program, ...rest] = words as [string, ...string[]]
  // A bare name is looked up when it runs; a path must not mean another program in each directory.
  const isPath = program.includes('/') || (place.platform === 'win32' && program.includes('\\'))
  return [isPath ? absolute(program, place)! : program, ...rest]
}

function readHeaders(value: unknown, reading: Reading): Record<string, unknown> | undefined {
  const headers = readMap(value, reading, (field, at, name) => {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) return at.report('not the name of a header')
    if (transportHeaders.has(name.toLowerCase()))
      return at.report('this header belongs to the transport and cannot be set')
    const found = readPlainOrSecret(field, at, secretHeader.test(name.toLowerCase()))
    if (typeof found === 'string' && !/^[\x20-\x7e]+$/.test(found))
      return at.report('a header holds visible ASCII only')
    return found
  })
  if (headers === undefined) return undefined
  const lowered: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(headers)) {
    if (Object.hasOwn(lowered, name.toLowerCase())) {
      return reading.report('set twice, in two letter cases', undefined, [...reading.path, name])
    }
    lowered[name.toLowerCase()] = field
  }
  return lowered
}

function readBasic(value: unknown, reading: Reading): { username: unknown; password: unknown } | undefined {
  if (!isTable(value))
    return reading.report(`expected a table with username and password, got ${typeOf(value)}`)
  const names = ['username', 'password']
  for (const key of Object.keys(value)) {
    if (names.includes(key)) continue
    reading.report(unknown('key', key, names), undefined, [...reading.path, key])
  }
  for (const key of names) if (!Object.hasOwn(value, key)) reading.report(`${key} is missing`)
  if (!names.every(key => Object.hasOwn(value, key))) return undefined
  const username = readPlainOrSecret(value['username'], inside(reading, 'username'), false)
  const password = readSecret(value['password'], inside(reading, 'password'))
  if (typeof username === 'string' && username.includes(':')) {
    // RFC 7617 §2: the first colon ends the user name.
    return reading.report('must not hold a colon', undefined, [...reading.path, 'username'])
  }
  return username === undefined || password === undefined ? undefined : { username, password }
}

function readPlainOrSecret(
  value: unknown,
  reading: Reading,
  isSecret: boolean,
): string | SecretRef | undefined {
  if (isTable(value) || isSecret) return readSecret(value, reading)
  if (typeof value === 'string') return readPlain(value, reading)
  return reading.report(`expected a string or a reference, got ${typeOf(value)}`)
}

function readPlain(value: unknown, reading: Reading): string | undefined {
  return value === '' ? '' : readText(value, reading)
}

function readMap(
  value: unknown,
  reading: Reading,
  readField: (field: unknown, at: Reading, name: string) => unknown,
): Record<string, unknown> | undefined {
  if (!isTable(value)) return reading.report(`expected a table, got ${typeOf(value)}`)
  const fields: Record<string, unknown> = {}
  let complete = true
  for (const [name, field] of Object.entries(value)) {
    const at = inside(reading, name)
    const found = isFieldName(name) ? readField(field, at, name) : at.report('not the name of a field')
    if (found === undefined) complete = false
    else fields[name] = found
  }
  return complete ? fields : undefined
}

function isFieldName(name: string): boolean {
  return name !== '' && name !== '__proto__' && !control.test(name)
}

function readJson(value: unknown, reading: Reading, isSecret: boolean): JsonBody | undefined {
  if (isSecretRef(value) || (isSecret && typeof value === 'string')) return readSecret(value, reading)
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') {
    return Number.isFinite(value) ? value : reading.report('JSON has no infinity and no nan')
  }
  if (Array.isArray(value)) {
    const items = value.map((item, i) => readJson(item, inside(reading, String(i)), isSecret))
    return items.every(item => item !== undefined) ? items : undefined
  }
  if (!isTable(value))
    return reading.report(`expected something JSON has, got ${typeOf(value)}`, 'write it as a string')
  const body: Record<string, JsonBody> = {}
  let complete = true
  for (const [name, field] of Object.entries(value)) {
    const at = inside(reading, name)
    const found =
      name === '__proto__'
        ? at.report('not the name of a field')
        : readJson(field, at, secretField.test(name))
    if (found === undefined) complete = false
    else body[name] = found
  }
  return complete ? body : undefined
}

/** Shows the forms of a reference, with the key's own name; `{ profile = … }` among them where it may stand. */
export function secretHint(key: string, above: KeyPath, mayBeProfile = false): string {
  const profile = above[0] === 'profile' ? above[1]! : ''
  const owner = profileName.test(profile) ? profile : 'NAME'
  const name = /^[A-Za-z_][\w-]*$/.test(key) ? key : 'secret'
  const variable = `${owner}_${name}`
    .toUpperCase()
    .replace(/\W/g, '_')
    .replace(/^(?=\d)/, '_')
  const forms = [
    `{ env = "${variable}" }`,
    '{ file = "path" }',
    '{ command = ["program", "argument"] }',
    `{ secret = "${`${owner}.${name}`.slice(0, 64)}" }`,
  ]
  if (mayBeProfile) forms.unshift('{ profile = "name" }')
  return `write ${name} = ${either(forms)}`
}

/** Says that something is unknown, and what was probably meant; `otherwise` stands where nothing is near. */
export function unknown(what: string, word: string, known: readonly string[], otherwise = ''): string {
  const meant = nearest(word, known)
  return `unknown ${what}${meant === undefined ? otherwise : `; did you mean ${meant}?`}`
}

/** Lists words for people: `a, b or c`. */
export function either(words: readonly string[]): string {
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

function absolute(path: string | undefined, { directory, home }: ConfigPlace): string | undefined {
  if (path === undefined || isAbsolute(path)) return path
  return path.startsWith('~/') ? join(home, path.slice(2)) : resolve(directory, path)
}

function inside(reading: Reading, key: string): Reading {
  const path = [...reading.path, key]
  return { ...reading, path, report: (text, hint, where = path) => reading.report(text, hint, where) }
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function wrap<T>(value: T | undefined): T[] | undefined {
  return value === undefined ? undefined : [value]
}

/** Reads a property that the table itself has. */
export function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}

/** Tells a table from lists, dates and plain values. */
export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** Names the type of a value for people, with its article. */
export function typeOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Date) return 'a date'
  if (typeof value === 'number' || typeof value === 'bigint') return 'a number'
  return typeof value === 'object' ? 'a table' : `a ${typeof value}`
}
