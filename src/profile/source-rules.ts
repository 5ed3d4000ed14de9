import { printable } from '../core/errors.ts'
import type { KeyTable } from './keys.ts'
import { sourceKeys } from './keys.ts'
import { type ClientAuth, type SourceName, tokenRefKeys } from './profile.ts'
import { either, type KeyPath, own, type Problem, secretHint, type Table } from './read-value.ts'

// What the keys of one profile say about each other. `table` is what stands in the file and `fields` what could be read of it:
// a key of the wrong type is told once, not as missing too.

/** Checks the keys of one profile against each other. */
export function sourceProblems(source: SourceName, table: Table, fields: Table, path: KeyPath): Problem[] {
  if (source === 'http') return [...httpProblems(table, fields, path), ...membersProblems(table, path)]
  if (source === 'command') return membersProblems(table, path)
  if (source === 'ci') return ciProblems(table, fields, path)
  if (source === 'github_app') return githubProblems(table, fields, path)
  if (!isClient(source)) return []
  const problems = clientProblems(source, table, fields, path)
  if (source === 'jwt_bearer') problems.push(...assertionProblems(table, fields, path))
  if (source === 'token_exchange' && has(table, 'actor_token_type') && !has(table, 'actor_token')) {
    // RFC 8693 §2.1.
    const text = 'actor_token_type says what actor_token is, and there is none'
    problems.push({ path: [...path, 'actor_token_type'], text })
  }
  return problems
}

/** Tells whether a source is a client of an authorization server. */
export function isClient(source: SourceName): boolean {
  return Object.hasOwn(sourceKeys[source] as KeyTable, 'client_auth')
}

/** How a client proves who it is where `client_auth` is not set: with what it has. */
export function defaultClientAuth(source: SourceName, table: Table): ClientAuth {
  if (has(table, 'client_assertion')) return 'private_key_jwt'
  if (has(table, 'client_secret')) return 'client_secret_basic'
  // There the key signs the grant, which needs no client beside it (RFC 7523 §3.1).
  return has(table, 'private_key') && source !== 'jwt_bearer' ? 'private_key_jwt' : 'none'
}

function has(table: Table, key: string): boolean {
  return Object.hasOwn(table, key)
}

function clientProblems(source: SourceName, table: Table, fields: Table, path: KeyPath): Problem[] {
  const problems: Problem[] = []
  const needs = (key: string, why: string, hint?: string): void => {
    if (!has(table, key)) problems.push({ path, text: `${key} is missing: ${why}`, hint })
  }
  const method = (own(fields, 'client_auth') as ClientAuth | undefined) ?? defaultClientAuth(source, table)
  const asked = `client_auth = "${method}" needs it`
  problems.push(...endpointProblems(source, table, path))
  if (method !== 'none') needs('client_id', 'the client proves who it is, and has to say it')
  else if (source === 'authorization_code' || source === 'device_code') {
    needs('client_id', 'the server has to know who asks for the sign-in')
  }
  if (method.startsWith('client_secret_')) needs('client_secret', asked, secretHint('client_secret', path))
  if (has(table, 'client_assertion')) problems.push(...readyAssertionProblems(source, method, table, path))
  else if (method === 'private_key_jwt') needs('private_key', asked, secretHint('private_key', path))
  if (method === 'tls_client_auth') {
    needs('client_certificate', asked, secretHint('client_certificate', path))
    needs('client_key', asked, secretHint('client_key', path))
  } else problems.push(...tlsProblems(table, path))
  const alg = own(fields, 'signing_alg') as string | undefined
  if (alg !== undefined && method === 'client_secret_jwt' && !alg.startsWith('HS')) {
    problems.push({
      path: [...path, 'signing_alg'],
      text: `"${alg}" needs a private key: client_secret_jwt is signed with HS256, HS384 or HS512`,
    })
  }
  if (alg?.startsWith('HS') && (method === 'private_key_jwt' || source === 'jwt_bearer')) {
    problems.push({
      path: [...path, 'signing_alg'],
      text: `"${alg}" is signed with a shared secret, not with a private key`,
    })
  }
  return problems
}

function readyAssertionProblems(
  source: SourceName,
  method: ClientAuth,
  table: Table,
  path: KeyPath,
): Problem[] {
  const problems: Problem[] = []
  if (method !== 'private_key_jwt') {
    problems.push({
      path: [...path, 'client_auth'],
      text: `"${method}" and client_assertion exclude each other: the assertion is the proof`,
      hint: 'leave client_auth out',
    })
  }
  if (has(table, 'private_key') && source !== 'jwt_bearer') {
    problems.push({
      path: [...path, 'private_key'],
      text: 'client_assertion and private_key exclude each other: a ready-made assertion is not signed',
    })
  }
  return problems
}

const endpointsOf: Partial<Record<SourceName, readonly (readonly [key: string, what: string])[]>> = {
  authorization_code: [
    ['authorization_endpoint', 'where people sign in'],
    ['token_endpoint', 'where tokens are asked for'],
  ],
  device_code: [
    ['device_authorization_endpoint', 'where codes are given out'],
    ['token_endpoint', 'where tokens are asked for'],
  ],
}

function endpointProblems(source: SourceName, table: Table, path: KeyPath): Problem[] {
  if (has(table, 'issuer')) return []
  // A service-account JSON names its token endpoint.
  if (source === 'jwt_bearer' && has(table, 'key_file')) return []
  const needed = endpointsOf[source] ?? [['token_endpoint', 'where tokens are asked for'] as const]
  const missing = needed.filter(([key]) => !has(table, key))
  if (missing.length === 0) return []
  const keys = missing.map(([key]) => key)
  const what = missing.map(([, what]) => what).join(' and ')
  const text = `issuer or ${keys.join(' and ')} ${keys.length > 1 ? 'are' : 'is'} missing: nothing says ${what}`
  const hint = `write issuer = "https://…", or ${keys.map(key => `${key} = "https://…"`).join(' and ')}`
  return [{ path, text, hint }]
}

function assertionProblems(table: Table, fields: Table, path: KeyPath): Problem[] {
  const problems: Problem[] = []
  if (has(table, 'private_key') && has(table, 'key_file')) {
    problems.push({
      path: [...path, 'key_file'],
      text: 'private_key and key_file exclude each other: one key signs the assertion',
    })
  }
  if (!has(table, 'private_key') && !has(table, 'key_file')) {
    problems.push({
      path,
      text: 'private_key or key_file is missing: the assertion is signed with it',
      hint: `${secretHint('private_key', path)}, or key_file = "service-account.json"`,
    })
  }
  // The client signs for itself where nobody else is named.
  if (!['iss', 'key_file', 'client_id'].some(key => has(table, key))) {
    problems.push({ path, text: 'iss is missing: the assertion says who signed it' })
  }
  if (own(fields, 'scope_in_assertion') === true && !has(table, 'scope')) {
    const text = 'there is no scope that could stand in the assertion'
    problems.push({ path: [...path, 'scope_in_assertion'], text })
  }
  return problems
}

function tlsProblems(table: Table, path: KeyPath): Problem[] {
  const [certificate, key] = ['client_certificate', 'client_key'] as const
  if (has(table, certificate) === has(table, key)) return []
  const [missing, there] = has(table, key) ? [certificate, key] : [key, certificate]
  return [
    {
      path,
      text: `${missing} is missing: ${there} is of no use without it`,
      hint: secretHint(missing, path),
    },
  ]
}

// The runners that give the token in a variable of the job's own naming, and the one that gives it in a file.
const providersOf: Readonly<Record<'token_env' | 'token_file', readonly string[]>> = {
  token_env: ['gitlab', 'circleci', 'bitbucket'],
  token_file: ['kubernetes'],
}

function ciProblems(table: Table, fields: Table, path: KeyPath): Problem[] {
  const provider = own(fields, 'provider') as string | undefined
  if (provider === undefined || provider === 'auto') return []
  return Object.entries(providersOf)
    .filter(([key, providers]) => has(table, key) && !providers.includes(provider))
    .map(([key, providers]) => ({
      path: [...path, key],
      text: `provider "${provider}" has no such key; it belongs to ${providers.length > 1 ? either(providers) : providers[0]}`,
    }))
}

function githubProblems(table: Table, fields: Table, path: KeyPath): Problem[] {
  const problems = tlsProblems(table, path)
  if (!has(table, 'private_key')) {
    const text = 'private_key is missing: the app proves with it who it is'
    problems.push({ path, text, hint: secretHint('private_key', path) })
  }
  if (!has(table, 'client_id') && !has(table, 'app_id')) {
    const text = 'client_id or app_id is missing: GitHub has to know which app asks'
    problems.push({ path, text, hint: 'both stand in the settings of the app: write client_id = "Iv1.…"' })
  }
  if (has(table, 'client_id') && has(table, 'app_id')) {
    const text = 'client_id and app_id exclude each other: either names the app'
    problems.push({ path: [...path, 'app_id'], text })
  }
  const repositories = (own(fields, 'repositories') as readonly string[] | undefined) ?? []
  for (const [i, repository] of repositories.entries()) {
    if (/^[\w.-]+$/.test(repository)) continue
    const bare = repository.split('/').at(-1) ?? ''
    problems.push({
      path: [...path, 'repositories', String(i)],
      text: 'expected the name of a repository, without its owner',
      hint: /^[\w.-]+$/.test(bare) ? `write "${printable(bare)}"` : undefined,
    })
  }
  return problems
}

function membersProblems(table: Table, path: KeyPath): Problem[] {
  if (!has(table, 'members')) return []
  const problems: Problem[] = []
  if (has(table, 'token_path')) {
    const text = 'members and token_path exclude each other: a source yields one token or named members'
    problems.push({ path: [...path, 'token_path'], text })
  }
  if (has(table, 'match')) {
    const text = 'named members are no token for a URL'
    problems.push({ path: [...path, 'match'], text, hint: 'leave match out' })
  }
  return problems
}

function httpProblems(table: Table, fields: Table, path: KeyPath): Problem[] {
  const problems = tlsProblems(table, path)
  if (!has(table, 'token_path') && !has(table, 'members')) {
    const text = 'token_path is missing: where the token stands in the answer'
    problems.push({ path, text })
  }
  const exclude = (a: string, b: string, why: string): void => {
    if (has(table, a) && has(table, b))
      problems.push({ path: [...path, b], text: `${a} and ${b} exclude each other: ${why}` })
  }
  exclude('json', 'form', 'a request has one body')
  exclude('basic', 'bearer', 'a request has one Authorization header')
  const headers = own(fields, 'headers') as Table | undefined
  for (const key of ['basic', 'bearer']) {
    if (has(table, key) && headers !== undefined && has(headers, 'authorization')) {
      problems.push({
        path: [...path, key],
        text: `${key} and the header "authorization" exclude each other`,
      })
    }
  }
  for (const key of ['json', 'form']) {
    if (has(table, key) && fields['method'] === 'GET') {
      problems.push({
        path: [...path, key],
        text: 'a GET request has no body',
        hint: 'write method = "POST"',
      })
    }
  }
  return problems
}

/** The profiles whose tokens this one needs, each with the key that says so. */
export function referencesOf(profile: object): { readonly key: string; readonly name: string }[] {
  const fields = profile as Table
  return tokenRefKeys.flatMap(key => {
    const ref = own(fields, key) as { readonly profile?: unknown } | undefined
    return typeof ref?.profile === 'string' ? [{ key, name: ref.profile }] : []
  })
}
