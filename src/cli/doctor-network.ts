import { readFileSync } from 'node:fs'
import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { type Clock, formatDuration } from '../core/time.ts'
import type { Profile } from '../profile/profile.ts'
import { shownPath } from '../profile/shown-path.ts'
import { documentUrls } from '../source/discovery.ts'
import { readEndpointUrl } from '../source/endpoint-url.ts'
import { serverAhead } from '../source/lifetime.ts'
import { proxyFor } from '../source/proxy-rules.ts'
import type { TlsMaterial } from '../source/transport.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'

// What `doctor` says of the way to the servers: proxies, authorities, whether they answer, and their clock. A server is asked
// for what it shows to everybody: its discovery document, or its front page. No token and no secret is sent.

const askMs = 5000
const skewMs = 30_000
const certificate = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/g

/** A server, and who needs it. */
interface Place {
  readonly origin: string
  readonly issuer: string | undefined
  readonly names: string[]
  readonly caFile: string | undefined
  readonly wantsCertificate: boolean
}

const addressKeys = [
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
    const { issuer, ca_file: caFile } = keys
    const wantsCertificate = keys['client_certificate'] !== undefined
    const addresses: [string, string | undefined][] = addressKeys.flatMap(key =>
      keys[key] === undefined ? [] : [[keys[key], undefined]],
    )
    if (issuer !== undefined) addresses.push([issuer, issuer])
    for (const [address, asIssuer] of addresses) {
      const url = readEndpointUrl(address)
      if (typeof url === 'string') continue
      const key = `${asIssuer ?? url.origin} ${caFile ?? ''} ${wantsCertificate}`
      const place = places.get(key) ?? {
        origin: url.origin,
        issuer: asIssuer,
        names: [],
        caFile,
        wantsCertificate,
      }
      if (!place.names.includes(profile.name)) place.names.push(profile.name)
      places.set(key, place)
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
        : note('ca', `NODE_EXTRA_CA_CERTS adds ${count} authorities from ${shown}`),
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
        : note('ca', `ca_file ${shown} adds ${count} authorities`),
    )
  }
  if (!findings.some(({ check }) => check === 'ca')) findings.push(ok('ca', "Node's own authorities"))
  return findings
}

function certificatesIn(path: string): number | undefined {
  try {
    return readFileSync(path, 'utf8').match(certificate)?.length
  } catch {
    return undefined
  }
}

/** Whether each server answers, and how far its clock is from ours. */
export async function serverFindings(
  profiles: readonly Profile[],
  app: App,
  clock: Clock,
  signal: AbortSignal,
): Promise<Finding[]> {
  const send = await app.send()
  const answers = placesOf(profiles).map(place => ask(place))
  return (await Promise.all(answers)).flat()

  async function ask(place: Place): Promise<Finding[]> {
    const { origin, issuer, names, caFile, wantsCertificate } = place
    const whose = `(${names.length === 1 ? 'profile' : 'profiles'} ${names.join(', ')})`
    if (wantsCertificate)
      return [note('server', `${origin} was not asked: it wants a client certificate ${whose}`)]
    const tls = tlsOf(caFile)
    if (caFile !== undefined && tls === undefined) return []
    let status = 0
    let aheadMs: number | undefined
    try {
      for (const url of issuer === undefined ? [`${origin}/`] : documentUrls(issuer)) {
        const sentAt = clock.now()
        const request = { method: 'GET', url, headers: { accept: '*/*' }, body: undefined, tls } as const
        const response = await send({ ...request, timeoutMs: askMs, signal })
        status = response.status
        const { date } = response.headers
        if (date !== undefined) aheadMs = serverAhead(date, sentAt, clock.now())
        if (status === 200) break
      }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof TokctlError && error.code === 'invalid_response') status = 200
      else {
        return problemsOf('server', error).map(found => ({
          ...found,
          message: `${found.message} ${whose}`,
          hint: found.hint ?? `see: curl -v ${origin}/`,
        }))
      }
    }
    const findings = [
      issuer !== undefined && status !== 200
        ? problem(
            'server',
            `issuer ${issuer} shows no discovery document (${status}) ${whose}`,
            'correct issuer, or name token_endpoint in the profile',
          )
        : ok('server', `${origin} answers ${whose}`),
    ]
    if (aheadMs === undefined) return findings
    const apart = formatDuration(Math.abs(aheadMs))
    const side = aheadMs > 0 ? 'behind' : 'ahead of'
    findings.push(
      Math.abs(aheadMs) >= skewMs
        ? problem(
            'clock',
            `this clock is ${apart} ${side} that of ${origin}`,
            'run: sudo timedatectl set-ntp true',
          )
        : ok('clock', aheadMs === 0 ? `agrees with ${origin}` : `${apart} ${side} ${origin}`),
    )
    return findings
  }
}

function tlsOf(caFile: string | undefined): TlsMaterial | undefined {
  if (caFile === undefined) return undefined
  try {
    return { ca: readFileSync(caFile, 'utf8'), cert: undefined, key: undefined }
  } catch {
    return undefined
  }
}
