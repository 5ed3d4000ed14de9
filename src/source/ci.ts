import { printable, TokctlError } from '../core/errors.ts'
import { childEnvironment, lastWords } from '../core/program.ts'
import { readRegularFile } from '../core/read-file.ts'
import { Secret } from '../core/secret.ts'
import { formatInstant } from '../core/time.ts'
import { isTokenText, type Token } from '../core/token.ts'
import type { CiProfile, CiProvider } from '../profile/profile.ts'
import { readAnswer } from './answer.ts'
import { readEndpointUrl } from './endpoint-url.ts'
import { expiryOf, readJwtClaims } from './lifetime.ts'
import { type Budget, retry } from './retry.ts'
import type { FetchRequest, SourcePorts, TokenSource } from './source.ts'

type Runner = Exclude<CiProvider, 'auto'>

/** How a runner's identity token is come by. */
interface RunnerKind {
  readonly title: string
  /** Variables of which one is set wherever this runner is, token or not. */
  readonly marks: readonly string[]
  /** What of a job's own configuration gives it a token, and with which audience. */
  readonly hint: string
  readonly fetch: (profile: CiProfile, ports: SourcePorts, request: FetchRequest) => Promise<Token>
}

const kubernetesTokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token'
const maxTokenBytes = 65_536

// Those that are somewhere for certain come first: a runner may itself run in a Kubernetes pod.
const runners: { readonly [R in Runner]: RunnerKind } = {
  github: {
    title: 'GitHub Actions',
    marks: ['ACTIONS_ID_TOKEN_REQUEST_URL', 'GITHUB_ACTIONS'],
    hint: 'give the job permissions: id-token: write',
    fetch: fetchGithub,
  },
  gitlab: {
    title: 'GitLab',
    marks: ['GITLAB_CI'],
    hint: 'give the job id_tokens: ID_TOKEN: aud: …, or name its variable by token_env',
    fetch: fromVariables('gitlab', ['ID_TOKEN', 'GITLAB_ID_TOKEN', 'GITLAB_OIDC_TOKEN', 'OIDC_TOKEN']),
  },
  azure: {
    title: 'Azure Pipelines',
    marks: ['SYSTEM_OIDCREQUESTURI', 'TF_BUILD'],
    hint: 'give the step env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)',
    fetch: fetchAzure,
  },
  circleci: {
    title: 'CircleCI',
    marks: ['CIRCLE_OIDC_TOKEN_V2', 'CIRCLE_OIDC_TOKEN', 'CIRCLECI'],
    hint: 'give the job a context; its token is for the organization alone',
    fetch: fromVariables('circleci', ['CIRCLE_OIDC_TOKEN_V2', 'CIRCLE_OIDC_TOKEN']),
  },
  buildkite: {
    title: 'Buildkite',
    marks: ['BUILDKITE_AGENT_ACCESS_TOKEN', 'BUILDKITE'],
    hint: 'run the job with an agent that can be asked: buildkite-agent oidc request-token',
    fetch: fetchBuildkite,
  },
  bitbucket: {
    title: 'Bitbucket',
    marks: ['BITBUCKET_STEP_OIDC_TOKEN', 'BITBUCKET_BUILD_NUMBER'],
    hint: 'give the step oidc: true, or oidc: audiences: …',
    fetch: fromVariables('bitbucket', ['BITBUCKET_STEP_OIDC_TOKEN']),
  },
  kubernetes: {
    title: 'Kubernetes',
    marks: [],
    hint: 'mount a projected serviceAccountToken, and name it by token_file',
    fetch: fetchKubernetes,
  },
}

/**
 * The identity token that a CI system gives its runner. Nothing is kept anywhere for it: the runner is asked each time.
 *
 * `fetch` throws `config_invalid` where there is none, where it has expired, or where it is for another audience;
 * `command_failed`, and what `readAnswer` and the transport throw.
 */
export function ci(profile: CiProfile, ports: SourcePorts): TokenSource {
  return {
    async fetch(request) {
      const runner = profile.provider === 'auto' ? pick(profile, ports) : profile.provider
      const kind = runners[runner]
      const how = profile.provider === 'auto' ? 'found' : 'configured'
      ports.trace(`runner's identity: ${kind.title} (${how})`)
      const token = await kind.fetch(profile, ports, request)
      refuseUseless(token, profile, kind)
      return token
    },
  }
}

function pick({ token_env, token_file }: CiProfile, { environment: { env } }: SourcePorts): Runner {
  const found = (Object.keys(runners) as Runner[]).find(name => runners[name].marks.some(mark => env[mark]))
  if (found !== undefined) return found
  if (token_env !== undefined && env[token_env]) return 'gitlab'
  const file = token_file ?? kubernetesTokenFile
  if (!('failure' in readRegularFile(file, maxTokenBytes))) return 'kubernetes'
  const variables = Object.values(runners).flatMap(({ marks }) => marks.slice(0, 1))
  const named = token_env === undefined ? variables : [token_env, ...variables]
  throw new TokctlError(
    'config_invalid',
    `no CI runner was found here: neither ${named.join(', ')} nor ${file}`,
    { hint: 'this profile works in a CI job; elsewhere, name a provider to see what it lacks' },
  )
}

async function fetchGithub(
  { audience, default_ttl_ms }: CiProfile,
  ports: SourcePorts,
  request: FetchRequest,
): Promise<Token> {
  const address = variable('github', 'ACTIONS_ID_TOKEN_REQUEST_URL', ports)
  const bearer = new Secret(variable('github', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN', ports))
  const url = addressOf('ACTIONS_ID_TOKEN_REQUEST_URL', address)
  if (audience !== undefined) {
    const before = url.search === '' ? '' : `${url.search}&`
    url.search = `${before}audience=${encodeURIComponent(audience)}`
  }
  return ask({ method: 'GET', url, bearer, tokenPath: 'value', ttlMs: default_ttl_ms }, ports, request)
}

async function fetchAzure(
  { default_ttl_ms }: CiProfile,
  ports: SourcePorts,
  request: FetchRequest,
): Promise<Token> {
  const address = variable('azure', 'SYSTEM_OIDCREQUESTURI', ports)
  const bearer = new Secret(variable('azure', 'SYSTEM_ACCESSTOKEN', ports))
  const url = addressOf('SYSTEM_OIDCREQUESTURI', address)
  url.searchParams.set('api-version', '7.1')
  const connection = ports.environment.env['AZURESUBSCRIPTION_SERVICE_CONNECTION_ID']
  if (connection) url.searchParams.set('serviceConnectionId', connection)
  return ask({ method: 'POST', url, bearer, tokenPath: 'oidcToken', ttlMs: default_ttl_ms }, ports, request)
}

interface RunnerCall {
  readonly method: 'GET' | 'POST'
  readonly url: URL
  readonly bearer: Secret
  readonly tokenPath: string
  readonly ttlMs: number | undefined
}

function ask(
  { method, url, bearer, tokenPath, ttlMs }: RunnerCall,
  { clock, send, trace }: SourcePorts,
  { timeoutMs, signal }: FetchRequest,
): Promise<Token> {
  const budget: Budget = { clock, signal, deadline: clock.monotonic() + timeoutMs }
  const json = method === 'POST' ? { 'content-type': 'application/json' } : {}
  return retry(
    budget,
    async left => {
      const sentAt = clock.now()
      const response = await send({
        method,
        url: url.href,
        headers: {
          accept: 'application/json',
          authorization: `Bearer ${bearer.expose()}`,
          'user-agent': 'tokctl',
          ...json,
        },
        body: method === 'POST' ? '' : undefined,
        tls: undefined,
        timeoutMs: left,
        signal,
      })
      const from = `runner's identity service ${url.host}`
      const answered = { response, from, sentAt, receivedAt: clock.now() }
      const paths = { tokenPath, expiresInPath: undefined, expiresAtPath: undefined }
      const token = readAnswer(answered, { ...paths, scope: undefined, defaultTtlMs: ttlMs })
      return { ...token, refreshToken: undefined }
    },
    trace,
  )
}

async function fetchBuildkite(
  profile: CiProfile,
  ports: SourcePorts,
  { timeoutMs, signal }: FetchRequest,
): Promise<Token> {
  const { audience } = profile
  const asked = audience === undefined ? [] : ['--audience', audience]
  const result = await ports.run({
    command: ['buildkite-agent', 'oidc', 'request-token', ...asked],
    env: childEnvironment(ports.environment),
    timeoutMs,
    signal,
    maxBytes: maxTokenBytes,
  })
  const { exitCode, stdout } = result
  if (exitCode === 0) return ready(stdout.expose(), 'what buildkite-agent printed', profile, ports)
  const said = lastWords(result)
  const why = said === '' ? '' : `: ${said}`
  throw new TokctlError(
    'command_failed',
    `buildkite-agent gave no identity token (exit code ${exitCode ?? 'none'})${why}`,
  )
}

function fromVariables(runner: Runner, usual: readonly string[]): RunnerKind['fetch'] {
  return async (profile, ports) => {
    const { env } = ports.environment
    const names = profile.token_env === undefined ? usual : [profile.token_env]
    const set = names.filter(name => env[name])
    // A job may have several, each for an audience of its own.
    const { audience } = profile
    const name =
      set.find(each => audience !== undefined && isFor(env[each] ?? '', audience) === true) ?? set[0]
    if (name === undefined) {
      throw lacking(runner, names.length > 1 ? `none of ${names.join(', ')} is set` : `${names} is not set`)
    }
    return ready(env[name] ?? '', `environment variable ${name}`, profile, ports)
  }
}

async function fetchKubernetes(profile: CiProfile, ports: SourcePorts): Promise<Token> {
  const path = profile.token_file ?? kubernetesTokenFile
  const found = readRegularFile(path, maxTokenBytes)
  if (!('failure' in found)) return ready(found.bytes.toString(), `file ${path}`, profile, ports)
  const why = {
    missing: 'does not exist',
    not_regular: 'is not a regular file',
    too_large: 'is too large for a token',
    unreadable: `cannot be read (${found.code})`,
  }[found.failure]
  throw new TokctlError('config_invalid', `file ${printable(path)} ${why}`, { hint: runners.kubernetes.hint })
}

function variable(runner: Runner, name: string, { environment: { env } }: SourcePorts): string {
  const value = env[name]
  if (value) return value
  throw lacking(runner, `${name} is not set`)
}

function lacking(runner: Runner, what: string): TokctlError {
  const { title, hint } = runners[runner]
  return new TokctlError('config_invalid', `${title} gives this job no identity token: ${what}`, { hint })
}

function addressOf(name: string, text: string): URL {
  const url = readEndpointUrl(text)
  if (typeof url !== 'string') return url
  throw new TokctlError('config_invalid', `environment variable ${name} cannot be asked: ${url}`)
}

function ready(text: string, place: string, { default_ttl_ms }: CiProfile, { clock }: SourcePorts): Token {
  const token = text.trim()
  if (!isTokenText(token)) throw new TokctlError('config_invalid', `${place} is not a token`)
  const obtainedAt = clock.now()
  const expiresAt = expiryOf({ accessToken: token }, obtainedAt, 0, default_ttl_ms)
  if (expiresAt !== undefined && expiresAt <= obtainedAt) {
    const { exp } = readJwtClaims(token) ?? {}
    const since = typeof exp === 'number' ? ` at ${formatInstant(exp * 1000)}` : ''
    throw new TokctlError('config_invalid', `identity token in ${place} has expired${since}`, {
      hint: 'run the job again: such a token is given to it once, at its start',
    })
  }
  return {
    accessToken: new Secret(token),
    tokenType: 'Bearer',
    scope: undefined,
    obtainedAt,
    expiresAt,
    refreshToken: undefined,
  }
}

function refuseUseless({ accessToken }: Token, { audience }: CiProfile, { title, hint }: RunnerKind): void {
  if (audience === undefined || isFor(accessToken.expose(), audience) !== false) return
  const { aud } = readJwtClaims(accessToken.expose()) ?? {}
  const told = [aud].flat().map(String).join('", "')
  throw new TokctlError(
    'config_invalid',
    `identity token of ${title} is for "${printable(told)}", not for audience "${printable(audience)}"`,
    { hint },
  )
}

// `undefined` for what does not say whom it is for.
function isFor(token: string, audience: string): boolean | undefined {
  const { aud } = readJwtClaims(token) ?? {}
  if (typeof aud === 'string') return aud === audience
  return Array.isArray(aud) ? aud.includes(audience) : undefined
}
