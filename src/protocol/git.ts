import type { Credential, CredentialQuery } from '../core/credential.ts'
import { TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { parseDuration } from '../core/time.ts'
import { isTokenText } from '../core/token.ts'
import { type Ask, isWireText, type Protocol, reply, silence, tokenText, userText } from './protocol.ts'

// git asks every helper about every host: what is not ours, not understood or not safe gets no word at all.
// A value with a line break in it would become an attribute of its own (CVE-2020-5260, CVE-2024-52006), so lines
// are split at LF alone, and only the CR before it, which git also drops, may stand there.

/** What the answer depends on besides the ask. */
interface Remembered {
  /** git 2.46 and newer: the whole `Authorization` header can be told. */
  readonly authtype: boolean
  readonly state: boolean
  /** The server wants user and password, and said so. */
  readonly basicOnly: boolean
}
type GitAsk = Ask & Partial<Remembered>

const statePrefix = 'tokctl:'
const single = new Set([
  'protocol',
  'host',
  'path',
  'username',
  'password',
  'authtype',
  'credential',
  'password_expiry_utc',
  'oauth_refresh_token',
  'ephemeral',
])

/**
 * git's credential helpers: `get`, `store`, `erase`, `capability`; other verbs are for later gits and get no answer.
 * With `--store` before the verb what no profile claims is kept, found and forgotten too, and `list` tells where.
 *
 * @see gitcredentials(7), git-credential(1)
 */
export const protocol: Protocol<GitAsk> = {
  reads(args) {
    const { verb } = readArguments(args)
    return verb !== '' && verb !== 'capability' && verb !== 'list' && 'to_blank_line'
  },

  decode({ args, stdin }) {
    const { verb, mayKeep, forMs } = readArguments(args)
    if (verb === 'capability') {
      return { kind: 'answered', reply: reply('version 0\ncapability authtype\ncapability state\n') }
    }
    if (verb === 'list' && mayKeep) return { kind: 'places' }
    // Without --store it only ever brings back what we gave, or what another helper keeps.
    if (verb === 'store' ? !mayKeep : verb !== 'get' && verb !== 'erase') return silence
    const { values, lists } = readAttributes(stdin) ?? {}
    if (values === undefined || lists === undefined) return silence
    // What stands for bytes that are no UTF-8 may be any of them.
    const keeps = mayKeep && ![...values.values()].some(value => value.includes('\ufffd'))
    const url = urlOf(values) ?? (keeps ? otherUrlOf(values) : undefined)
    if (url === undefined) return silence
    const of = { url }
    const user = values.get('username')
    const states = lists.get('state[]')?.filter(state => state.startsWith(statePrefix)) ?? []
    if (verb === 'store') {
      // What we gave comes back with our state, or is not to be kept by anybody.
      const credential =
        !keeps || states.length > 0 || isTrue(values.get('ephemeral')) ? undefined : given(values)
      return credential === undefined ? silence : { kind: 'keep', of, user, credential, forMs }
    }
    const can = lists.get('capability[]') ?? []
    const kept = keeps ? { kept: queryOf(values, can.includes('authtype')) } : {}
    if (verb === 'erase') {
      const text = values.get('credential') ?? values.get('password') ?? ''
      const secret = isTokenText(text) ? new Secret(text) : undefined
      // Without the secret it is not told which one was refused, and nobody is signed out for it.
      return secret === undefined && !keeps ? silence : { kind: 'reject', of, user, secret, ...kept }
    }
    const schemes = (lists.get('wwwauth[]') ?? []).flatMap(schemesOf)
    return {
      kind: 'get',
      of,
      user,
      refused: states[0]?.slice(statePrefix.length),
      ...kept,
      authtype: can.includes('authtype'),
      state: can.includes('state'),
      basicOnly: schemes.includes('basic') && !schemes.includes('bearer'),
    }
  },

  encode(outcome, ask) {
    if (outcome instanceof Error) throw outcome
    if (typeof outcome === 'string' || ask.kind !== 'get') return reply('')
    const { expiresAt, obtainedAt } = outcome.token
    const lines: string[] = []
    if (ask.authtype) lines.push('capability[]=authtype')
    if (ask.state) lines.push('capability[]=state')
    if (ask.authtype && !ask.basicOnly) {
      lines.push(`authtype=${outcome.scheme}`, `credential=${tokenText(outcome)}`)
    } else {
      lines.push(`username=${userText(outcome, ask.user)}`, `password=${tokenText(outcome)}`)
    }
    // Other helpers must not keep it: this one does.
    if (ask.authtype) lines.push('ephemeral=1')
    if (expiresAt !== undefined) lines.push(`password_expiry_utc=${Math.floor(expiresAt / 1000)}`)
    if (ask.state) {
      lines.push(`state[]=${statePrefix}${obtainedAt}`)
      // A 401 makes git ask once more instead of giving up; of a second token it is believed.
      if (ask.refused === undefined) lines.push('continue=1')
    }
    return reply(`${lines.join('\n')}\n`)
  },

  encodeKept({ username, password, authtype, credential, expiresAt, oauthRefreshToken }, ask) {
    const header = ask.authtype === true && authtype !== undefined && credential !== undefined
    const told: [name: string, value: string | undefined][] = [
      ['capability[]', header ? 'authtype' : undefined],
      ['authtype', header ? authtype : undefined],
      ['credential', header ? credential.expose() : undefined],
      ['username', username],
      ['password', password?.expose()],
      ['oauth_refresh_token', oauthRefreshToken?.expose()],
      ['password_expiry_utc', expiresAt === undefined ? undefined : `${Math.floor(expiresAt / 1000)}`],
    ]
    const lines = told.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}\n`]))
    if (lines.every(line => isWireText(line.slice(0, -1)))) return reply(lines.join(''))
    throw new TokctlError('store_failed', 'a kept credential holds a character that cannot be handed on')
  },

  encodePlaces: places => reply(places.map(place => `${place}\n`).join('')),
}

interface Arguments {
  readonly verb: string
  readonly mayKeep: boolean
  readonly forMs?: number | undefined
}

// As a setting of git's has them: [--store [--timeout DURATION]] VERB.
function readArguments(args: readonly string[]): Arguments {
  const mayKeep = args[0] === '--store'
  const [name, text = ''] = mayKeep ? (args[1] ?? '').split(/=(.*)/s) : []
  const isLimited = name === '--timeout'
  const isJoined = isLimited && args[1] !== name
  const forMs = isLimited ? parseDuration(isJoined ? text : (args[2] ?? '')) : undefined
  const verb = args[(mayKeep ? 1 : 0) + (isLimited ? (isJoined ? 1 : 2) : 0)] ?? ''
  if (!verb.startsWith('-') && (!isLimited || forMs)) return { verb, mayKeep, forMs }
  throw new TokctlError(
    'usage',
    isLimited ? 'helper git: --timeout wants a duration' : 'helper git: an option that is not known here',
    { hint: "run: git config --global credential.helper '!tokctl helper git --store --timeout 8h'" },
  )
}

interface Attributes {
  readonly values: ReadonlyMap<string, string>
  readonly lists: ReadonlyMap<string, readonly string[]>
}

function readAttributes(text: string): Attributes | undefined {
  const values = new Map<string, string>()
  const lists = new Map<string, string[]>()
  for (const ended of text.split('\n')) {
    const line = ended.endsWith('\r') ? ended.slice(0, -1) : ended
    if (line === '') break
    const at = line.indexOf('=')
    const key = line.slice(0, at)
    const value = line.slice(at + 1)
    if (at < 1) return undefined
    // A header may hold tabs, and is never written again.
    if (!isWireText(key === 'wwwauth[]' ? value.replaceAll('\t', ' ') : value)) return undefined
    if (key.endsWith('[]')) {
      if (value === '') lists.delete(key)
      else lists.set(key, [...(lists.get(key) ?? []), value])
    } else {
      // git says each once; a second one was smuggled in.
      if (single.has(key) && values.has(key)) return undefined
      values.set(key, value)
    }
  }
  return { values, lists }
}

// git has decoded the path; written as a URL again it must not gain a query, a fragment or a second meaning.
function urlOf(values: ReadonlyMap<string, string>): string | undefined {
  const scheme = values.get('protocol') ?? ''
  const host = values.get('host') ?? ''
  if (!/^https?$/.test(scheme) || !isHost(host)) return undefined
  const path = values.get('path') ?? ''
  // Most have none, and these two expressions take longer to compile than all the rest takes to run.
  if (path === '') return `${scheme}://${host}/`
  if (/[\ud800-\udfff]/u.test(path)) return undefined
  return `${scheme}://${host}/${path.replace(/[^\w!$&'()*+,;=:@~./-]/gu, encodeURIComponent)}`
}

// What no profile can claim, but git asks about too: mail servers, and the passwords of client certificates, which have a
// path and no host.
function otherUrlOf(values: ReadonlyMap<string, string>): string | undefined {
  const scheme = values.get('protocol') ?? ''
  const host = values.get('host') ?? ''
  if (!/^[a-z][a-z0-9+.-]*$/i.test(scheme)) return undefined
  if (scheme === 'cert' && host === '' && values.get('path')) return 'cert:///'
  return /^https?$/.test(scheme) || !isHost(host) ? undefined : `${scheme}://${host}/`
}

function isHost(text: string): boolean {
  return /^[^/?#@\\\s]+$/.test(text)
}

function queryOf(values: ReadonlyMap<string, string>, authtype: boolean): CredentialQuery {
  return {
    protocol: values.get('protocol') ?? '',
    host: values.get('host') ?? '',
    path: values.get('path'),
    username: values.get('username'),
    password: secretOf(values.get('password')),
    credential: secretOf(values.get('credential')),
    authtype,
  }
}

/** What is to be kept; `undefined` for half of it. */
function given(values: ReadonlyMap<string, string>): Credential | undefined {
  const { authtype: _, ...place } = queryOf(values, true)
  const authtype = values.get('authtype')
  const isWhole =
    (place.username !== undefined && place.password !== undefined) ||
    (authtype !== undefined && place.credential !== undefined)
  if (!isWhole) return undefined
  const expiry = values.get('password_expiry_utc') ?? ''
  const seconds = /^\d{1,12}$/.test(expiry) ? Number(expiry) : 0
  return {
    ...place,
    authtype,
    // git reads zero, and what is no number or too large for one, as never.
    expiresAt: seconds === 0 ? undefined : seconds * 1000,
    oauthRefreshToken: secretOf(values.get('oauth_refresh_token')),
  }
}

function secretOf(text: string | undefined): Secret | undefined {
  return text === undefined ? undefined : new Secret(text)
}

// As git reads it; anything else that is written there is more likely a yes.
function isTrue(text: string | undefined): boolean {
  return text !== undefined && !/^(?:false|no|off|0|)$/i.test(text)
}

// A header may name several schemes; a parameter's value is no scheme.
function schemesOf(header: string): string[] {
  const plain = header.replace(/"(?:[^"\\]|\\.)*"?/g, '""')
  return Array.from(plain.matchAll(/(?:^|,)\s*([\w!#$%&'*+.^`|~-]+)(?=\s+[^\s=]|\s*$|\s*,)/g), ([, name]) =>
    name!.toLowerCase(),
  )
}
