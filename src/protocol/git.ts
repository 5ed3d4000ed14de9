import { Secret } from '../core/secret.ts'
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
const single = new Set(['protocol', 'host', 'path', 'username', 'password', 'authtype', 'credential'])

/**
 * git's credential helpers: `get`, `store`, `erase`, `capability`; other verbs are for later gits and get no answer.
 *
 * @see gitcredentials(7), git-credential(1)
 */
export const protocol: Protocol<GitAsk> = {
  reads: ([verb]) => verb !== 'capability',

  decode({ args: [verb], stdin }) {
    if (verb === 'capability') {
      return { kind: 'answered', reply: reply('version 0\ncapability authtype\ncapability state\n') }
    }
    // `store` only ever brings back what we gave, or what another helper keeps.
    if (verb !== 'get' && verb !== 'erase') return silence
    const { values, lists } = readAttributes(stdin) ?? {}
    const url = values === undefined ? undefined : urlOf(values)
    if (values === undefined || lists === undefined || url === undefined) return silence
    const of = { url }
    const user = values.get('username')
    if (verb === 'erase') {
      // Without the secret it is not told which one was refused, and nobody is signed out for it.
      const secret = values.get('credential') ?? values.get('password') ?? ''
      return isTokenText(secret) ? { kind: 'reject', of, user, secret: new Secret(secret) } : silence
    }
    const can = lists.get('capability[]') ?? []
    const schemes = (lists.get('wwwauth[]') ?? []).flatMap(schemesOf)
    return {
      kind: 'get',
      of,
      user,
      refused: lists
        .get('state[]')
        ?.find(state => state.startsWith(statePrefix))
        ?.slice(statePrefix.length),
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
  if (!/^https?$/.test(scheme) || !/^[^/?#@\\\s]+$/.test(host)) return undefined
  const path = values.get('path') ?? ''
  // Most have none, and these two expressions take longer to compile than all the rest takes to run.
  if (path === '') return `${scheme}://${host}/`
  if (/[\ud800-\udfff]/u.test(path)) return undefined
  return `${scheme}://${host}/${path.replace(/[^\w!$&'()*+,;=:@~./-]/gu, encodeURIComponent)}`
}

// A header may name several schemes; a parameter's value is no scheme.
function schemesOf(header: string): string[] {
  const plain = header.replace(/"(?:[^"\\]|\\.)*"?/g, '""')
  return Array.from(plain.matchAll(/(?:^|,)\s*([\w!#$%&'*+.^`|~-]+)(?=\s+[^\s=]|\s*$|\s*,)/g), ([, name]) =>
    name!.toLowerCase(),
  )
}
