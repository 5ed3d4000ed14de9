import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import { formatDuration } from '../core/time.ts'
import type { Profile } from '../profile/profile.ts'
import { shownPath } from '../profile/shown-path.ts'
import { readJsonObject } from '../source/answer.ts'
import { documentUrls, readMetadata } from '../source/discovery.ts'
import { readEndpointUrl } from '../source/endpoint-url.ts'
import { serverAhead } from '../source/lifetime.ts'
import { proxyFor } from '../source/proxy-rules.ts'
import type { HttpResponse, TlsMaterial } from '../source/transport.ts'
import type { CommandContext } from './command.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'

// What `doctor` says of the way to the servers: proxies, authorities, whether they answer, and their clock. A server is asked
// for what it shows to everybody: its discovery document, or what its endpoint says to somebody without a name. No token, no
// secret and no client is sent.

const askMs = 5000
const maxFileBytes = 16 * 1024 * 1024
const skewMs = 30_000
const certificate = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/g

/** An address, and who needs it. */
interface Place {
  /** As the profile calls it. */
  readonly key: string
  readonly address: string
  /** The address without its query, where a secret may stand. */
  readonly shown: string
  readonly origin: string
  readonly names: string[]
  readonly caFile: string | undefined
  readonly wantsCertificate: boolean
}

const addressKeys = [
  'issuer',
  'token_endpoint',
  'authorization_endpoint',
  'device_authorization_endpoint',
  'url',
  'api_url',
]

function placesOf(profiles: readonly Profile[]): Place[] {
  const places = new Map<string, Place>()
  for (const profile of profiles) {
    const keys = profile as unknown as Readonly<Record<string, string | undefined>>
    const { ca_file: caFile } = keys
    const wantsCertificate = keys['client_certificate'] !== undefined
    for (const key of addressKeys) {
      const address = keys[key]
      const url = address === undefined ? undefined : readEndpointUrl(address)
      if (address === undefined || url === undefined || typeof url === 'string') continue
      const { origin, pathname, search } = url
      const shown = search === '' ? address : `${origin}${pathname}`
      const id = `${key} ${address} ${caFile ?? ''} ${wantsCertificate}`
      const place = places.get(id) ?? { key, address, shown, origin, names: [], caFile, wantsCertificate }
      place.names.push(profile.name)
      places.set(id, place)
    }
  }
  return [...places.values()]
}

/** Which proxies and authorities are in force. Asks nobody. */
export function wayFindings(profiles: readonly Profile[], { env, home }: Environment): Finding[] {
  const findings: Finding[] = []
  const through = new Map<string, Set<string>>()
  for (const { origin } of placesOf(profiles)) {
    try {
      const proxy = proxyFor(new URL(origin), env)
      if (proxy === undefined) continue
      through.set(proxy.label, (through.get(proxy.label) ?? new Set()).add(origin))
    } catch (error) {
      const told = problemsOf('proxy', error)
      if (!findings.some(({ message }) => message === told[0]?.message)) findings.push(...told)
    }
  }
  for (const [label, origins] of through)
    findings.push(note('proxy', `${[...origins].join(', ')} through proxy ${label}`))
  if (findings.length === 0) findings.push(ok('proxy', 'none in force'))

  const extra = env['NODE_EXTRA_CA_CERTS']
  if (extra) {
    const count = certificatesIn(extra)
    const shown = shownPath(extra, home)
    findings.push(
      count === undefined
        ? problem(
            'ca',
            `NODE_EXTRA_CA_CERTS names ${shown}, which holds no certificate that can be read`,
            'run: unset NODE_EXTRA_CA_CERTS',
          )
        : note('ca', `NODE_EXTRA_CA_CERTS adds ${counted(count)} from ${shown}`),
    )
  }
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0')
    findings.push(note('ca', 'NODE_TLS_REJECT_UNAUTHORIZED=0 is set, and ignored here: servers are verified'))
  for (const path of new Set(placesOf(profiles).flatMap(({ caFile }) => caFile ?? []))) {
    const shown = shownPath(path, home)
    const count = certificatesIn(path)
    findings.push(
      count === undefined
        ? problem(
            'ca',
            `ca_file ${shown} holds no certificate that can be read`,
            `put the authority there, as PEM: ${shown}`,
          )
        : note('ca', `ca_file ${shown} adds ${counted(count)}`),
    )
  }
  if (!findings.some(({ check }) => check === 'ca')) findings.push(ok('ca', "Node's own authorities"))
  return findings
}

function counted(count: number): string {
  return count === 1 ? '1 authority' : `${count} authorities`
}

function certificatesIn(path: string): number | undefined {
  return textOf(path)?.match(certificate)?.length
}

/** Whether each address answers, and how far the servers' clocks are from ours. */
export async function serverFindings(
  profiles: readonly Profile[],
  { app, clock, environment }: Pick<CommandContext, 'app' | 'clock' | 'environment'>,
  signal: AbortSignal,
): Promise<Finding[]> {
  const send = await app.send()
  const ahead = new Map<string, number>()
  const answers = await Promise.all(placesOf(profiles).map(place => ask(place)))
  const clocks = Array.from(ahead, ([origin, ms]) => clockFinding(origin, ms, environment))
  return [...answers.flat(), ...clocks]

  async function ask(place: Place): Promise<Finding[]> {
    const { key, address, shown, origin, names, caFile, wantsCertificate } = place
    const whose = `(${names.length === 1 ? 'profile' : 'profiles'} ${names.join(', ')})`
    if (wantsCertificate)
      return [note('server', `${origin} was not asked: it wants a client certificate ${whose}`)]
    const tls = tlsOf(caFile)
    if (caFile !== undefined && tls === undefined) return []
    const show = `run: tokctl profile show ${shellWord(names[0]!)}`
    let response: HttpResponse | undefined
    try {
      for (const { method, url } of asksOf(place)) {
        const sentAt = clock.now()
        const isForm = method === 'POST'
        const headers = {
          accept: '*/*',
          ...(isForm ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
        }
        const body = isForm ? '' : undefined
        response = await send({ method, url, headers, body, tls, timeoutMs: askMs, signal })
        const { date } = response.headers
        const aheadMs = date === undefined ? undefined : serverAhead(date, sentAt, clock.now())
        if (aheadMs !== undefined) ahead.set(origin, aheadMs)
        if (response.status === 200) break
      }
      if (key === 'issuer' && response?.status === 200)
        readMetadata(address, readJsonObject(response.body) ?? {})
    } catch (error) {
      signal.throwIfAborted()
      // What is too long to read was an answer all the same.
      if (!(error instanceof TokctlError) || error.code !== 'invalid_response') {
        return problemsOf('server', error).map(found => ({
          ...found,
          message: `${found.message} ${whose}`,
          hint: found.hint ?? `see: curl -v ${shellWord(shown)}`,
        }))
      }
    }
    const status = response?.status ?? 200
    if (key === 'issuer' && status !== 200) {
      const text = `issuer ${shown} shows no discovery document (${status}) ${whose}`
      return [problem('server', text, 'correct issuer, or name token_endpoint in the profile')]
    }
    const isEndpoint = key.endsWith('_endpoint')
    if (isEndpoint && (status === 404 || status === 410))
      return [problem('server', `there is no ${key} at ${shown} (${status}) ${whose}`, show)]
    if (status >= 500)
      return [problem('server', `${shown} answers ${status} ${whose}`, `see: curl -v ${shellWord(shown)}`)]
    return [ok('server', `${shown} answers ${whose}`)]
  }
}

// A token endpoint takes forms alone, and many say of anything else that there is nothing: it is sent an empty one, which
// names nobody. Whatever else is posted to might do something.
function asksOf({ key, address, origin }: Place): { method: 'GET' | 'POST'; url: string }[] {
  if (key === 'issuer') return documentUrls(address).map(url => ({ method: 'GET', url }))
  if (key === 'token_endpoint' || key === 'device_authorization_endpoint')
    return [{ method: 'POST', url: address }]
  return [{ method: 'GET', url: key === 'url' ? `${origin}/` : address }]
}

function clockFinding(origin: string, aheadMs: number, { platform }: Pick<Environment, 'platform'>): Finding {
  const apart = formatDuration(Math.abs(aheadMs))
  const side = aheadMs > 0 ? 'behind' : 'ahead of'
  if (Math.abs(aheadMs) >= skewMs) {
    const hint = settingTheClock[platform] ?? settingTheClock.linux
    return problem('clock', `this clock is ${apart} ${side} that of ${origin}`, `run: ${hint}`)
  }
  return ok('clock', aheadMs === 0 ? `agrees with ${origin}` : `${apart} ${side} ${origin}`)
}

const settingTheClock: { readonly linux: string; readonly [platform: string]: string } = {
  linux: 'sudo timedatectl set-ntp true',
  darwin: 'sudo sntp -sS time.apple.com',
  win32: 'w32tm /resync',
}

function tlsOf(caFile: string | undefined): TlsMaterial | undefined {
  if (caFile === undefined) return undefined
  const ca = textOf(caFile)
  return ca === undefined ? undefined : { ca, cert: undefined, key: undefined }
}

function textOf(path: string): string | undefined {
  const found = readRegularFile(path, maxFileBytes)
  return 'failure' in found ? undefined : found.bytes.toString('utf8')
}
