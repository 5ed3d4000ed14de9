import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import {
  type HttpProfile,
  isSecretRef,
  type JsonBody,
  type PlainOrSecret,
  type SecretRef,
} from '../profile/profile.ts'
import { readAnswer } from './answer.ts'
import { basicCredentials, rememberCredentials } from './client-auth.ts'
import { type Budget, retry } from './retry.ts'
import type { SourcePorts, TokenSource } from './source.ts'
import { readTlsMaterial } from './tls-material.ts'

/**
 * One HTTP request that is not OAuth, whose answer holds a token somewhere. It may be repeated, since it is made again
 * whenever the token ends.
 *
 * `fetch` throws what `readAnswer` and the transport throw, and `config_invalid` for a header that cannot be sent.
 */
export function http(profile: HttpProfile, ports: SourcePorts): TokenSource {
  const { clock } = ports
  return {
    async fetch({ timeoutMs, signal }) {
      const budget: Budget = { clock, signal, deadline: clock.monotonic() + timeoutMs }
      const reveal = async (value: PlainOrSecret): Promise<string> => {
        if (typeof value === 'string') return value
        return (await ports.resolve(value, signal)).expose()
      }
      const body = await writeBody(profile, reveal)
      const resolve = (secret: SecretRef): Promise<Secret> => ports.resolve(secret, signal)
      const headers = await writeHeaders(profile, body?.type, reveal, resolve)
      const tls = await readTlsMaterial(profile, ports, signal)
      const { host } = new URL(profile.url)
      return retry(
        budget,
        async left => {
          const sentAt = clock.now()
          const { method, url } = profile
          const response = await ports.send({
            method,
            url,
            headers,
            body: body?.text,
            tls,
            timeoutMs: left,
            signal,
          })
          const answered = { response, from: host, sentAt, receivedAt: clock.now() }
          const token = readAnswer(answered, {
            tokenPath: profile.token_path ?? '',
            members: profile.members,
            expiresInPath: profile.expires_in_path,
            expiresAtPath: profile.expires_at_path,
            scope: undefined,
            defaultTtlMs: profile.default_ttl_ms,
          })
          return { ...token, refreshToken: undefined }
        },
        ports.trace,
      )
    },
  }
}

type Reveal = (value: PlainOrSecret) => Promise<string>

async function writeBody(
  { json, form }: HttpProfile,
  reveal: Reveal,
): Promise<{ readonly text: string; readonly type: string } | undefined> {
  if (json !== undefined)
    return { text: JSON.stringify(await revealAll(json, reveal)), type: 'application/json' }
  if (form === undefined) return undefined
  const fields = new URLSearchParams()
  for (const [name, value] of Object.entries(form)) fields.append(name, await reveal(value))
  return { text: fields.toString(), type: 'application/x-www-form-urlencoded' }
}

async function writeHeaders(
  { headers: given, basic, bearer }: HttpProfile,
  contentType: string | undefined,
  reveal: Reveal,
  resolve: (ref: SecretRef) => Promise<Secret>,
): Promise<Record<string, string>> {
  const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'tokctl' }
  if (contentType !== undefined) headers['content-type'] = contentType
  if (basic !== undefined) {
    const username = await reveal(basic.username)
    if (username.includes(':'))
      throw new TokctlError('config_invalid', 'basic.username holds a colon (RFC 7617 §2)')
    const password = await resolve(basic.password)
    headers['authorization'] = basicCredentials(username, password, 'raw')
  }
  if (bearer !== undefined) headers['authorization'] = `Bearer ${await reveal(bearer)}`
  for (const [name, value] of Object.entries(given)) headers[name.toLowerCase()] = await reveal(value)
  if (headers['authorization'] !== undefined) rememberCredentials(headers['authorization'])
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) {
      throw new TokctlError('config_invalid', 'headers has a name that HTTP cannot send')
    }
    // A secret read from a file may end in a newline, which would start a header of its own.
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw new TokctlError('config_invalid', `header ${name} holds characters that HTTP cannot send`)
    }
  }
  return headers
}

async function revealAll(value: JsonBody, reveal: Reveal): Promise<unknown> {
  if (typeof value !== 'object' || value === null) return value
  if (isSecretRef(value)) return reveal(value)
  if (Array.isArray(value)) return Promise.all(value.map(each => revealAll(each, reveal)))
  const members: [string, unknown][] = []
  for (const [name, member] of Object.entries(value)) members.push([name, await revealAll(member, reveal)])
  return Object.fromEntries(members)
}
