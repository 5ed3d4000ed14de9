import type { Environment } from '../core/environment.ts'
import { loadProxies } from '../profile/load.ts'
import type { ProxySettings } from '../profile/proxy-settings.ts'
import { socketTable } from '../proxy/peer-user.ts'
import type { Probe } from './doctor-place.ts'
import { type Finding, ok, problem } from './finding.ts'

/** Whom the configured proxies serve. A configuration that cannot be read was told of already. */
export async function proxyFindings(
  environment: Environment,
  probe: Probe,
  configFlag: string | undefined,
): Promise<Finding[]> {
  const tables = await loadProxies(environment, configFlag).catch(() => new Map<string, ProxySettings>())
  const isTold = environment.platform === 'linux' && probe.exists(socketTable)
  return Array.from(tables.values(), table => proxyFinding(table, isTold))
}

function proxyFinding({ name, listen, client_auth }: ProxySettings, isTold: boolean): Finding {
  if (listen.kind === 'unix')
    return ok('listen', `proxy "${name}" is reached by this user alone: ${listen.path}`)
  const place =
    listen.kind === 'tcp' ? `port ${listen.port || 'of its choice'}` : 'the socket of the service manager'
  if (client_auth !== undefined) return ok('listen', `proxy "${name}" asks for a secret at ${place}`)
  if (isTold) return ok('listen', `proxy "${name}" takes connections of this user alone at ${place}`)
  return problem(
    'listen',
    `proxy "${name}" does not start: this system does not say whose a connection is, so every user of this machine could use ${place}`,
    `write client_auth = "/path/of/a/secret" into [proxy.${name}], start it with --client-auth, or listen at unix:/path`,
  )
}
