import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { installPrograms } from './client.ts'
import { type Corp, clientProfile, corp } from './corp.ts'
import { type RunOptions, type RunResult, run } from './run.ts'
import { type Page, type Service, type ServiceRequest, startService } from './service.ts'

/** A home whose docker configuration asks tokctl about a registry, and that registry. */
export interface RegistryPeer extends Corp {
  /** One image, `team/app:1`, for those who are let in. */
  readonly registry: Service
  /** Runs a client in that home. */
  ask(client: string, args: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

/** Where docker's configuration stands in the home; the containers tools are told of it. */
export const dockerConfig = 'home/.docker/config.json'

const manifestType = 'application/vnd.docker.distribution.manifest.v2+json'
const config =
  '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}'
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: manifestType,
  config: {
    mediaType: 'application/vnd.docker.container.image.v1+json',
    size: config.length,
    digest: digestOf(config),
  },
  layers: [],
})
/** The digest of the image's manifest. */
export const imageDigest = digestOf(manifest)

function digestOf(content: string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}

/**
 * Starts the registry. `basic` takes the credential itself; `token` sends the client to its token endpoint, which takes
 * the credential, by Basic or as a refresh token, and gives `registry-token`.
 *
 * @param extra - Lines of the profile.
 */
export async function registryPeer(way: 'basic' | 'token', extra = ''): Promise<RegistryPeer> {
  const made = await corp()
  const { at, options } = made
  const registry = await startService({
    headers: { 'docker-distribution-api-version': 'registry/2.0' },
    challenge: ({ url }) =>
      way === 'basic' ? 'Basic realm="registry"' : `Bearer realm="${url}/token",service="registry"`,
    // The refresh token stands in the form.
    open: /^\/token$/,
    welcomes: (authorization, { path }) =>
      way === 'basic' || path.startsWith('/token')
        ? /^Basic [^:]+:token-\d+$/.test(authorization)
        : authorization === 'Bearer registry-token',
    page,
  })
  onTestFinished(() => registry.close())
  at.writeConfig(
    clientProfile('corp', made.auth.tokenEndpoint, `match = ["https://${registry.host}"]\n${extra}`),
  )
  at.write(dockerConfig, JSON.stringify({ credHelpers: { [registry.host]: 'tokctl' } }))
  const env = {
    ...options.env,
    PATH: installPrograms(at).path,
    // No engine, and none of the machine's own either.
    DOCKER_HOST: 'unix:///nonexistent/docker.sock',
    REGISTRY_AUTH_FILE: join(at.path, dockerConfig),
  }
  return {
    ...made,
    registry,
    ask: (client, args, more = {}) =>
      run(args, { ...options, program: [client], timeoutMs: 100_000, ...more, env: { ...env, ...more.env } }),
  }
}

function page({ path, method, body }: ServiceRequest): Page | undefined {
  if (path === '/token' && method === 'POST') {
    const form = new URLSearchParams(body)
    return form.get('grant_type') === 'refresh_token' && /^token-\d+$/.test(form.get('refresh_token') ?? '')
      ? { body: { access_token: 'registry-token', expires_in: 300 } }
      : { status: 401, body: { details: 'refused' } }
  }
  if (path.startsWith('/token?')) return { body: { token: 'registry-token', expires_in: 300 } }
  if (path === '/v2/') return { body: {} }
  if (/^\/v2\/team\/app\/manifests\/(1|sha256:.*)$/.test(path)) {
    return {
      headers: { 'content-type': manifestType, 'docker-content-digest': imageDigest },
      body: manifest,
    }
  }
  if (path === `/v2/team/app/blobs/${digestOf(config)}`) return { body: config }
  if (path === '/v2/team/app/tags/list') return { body: { name: 'team/app', tags: ['1'] } }
  return undefined
}
