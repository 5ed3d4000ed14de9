import type { Environment } from '../../src/core/environment.ts'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import type { ClientCredentialsProfile, SecretRef } from '../../src/profile/profile.ts'
import type { SourcePorts } from '../../src/source/source.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'

/** An environment that holds nothing but what is given. */
export function bareEnvironment(env: Environment['env'] = {}): Environment {
  return { env, platform: 'linux', arch: 'x64', pid: 1, uid: 0, cwd: '/', home: '/', self: [] }
}

/** Ports for a source in a test; what it is not given throws when it is used. */
export function sourcePorts(
  given: Partial<SourcePorts> & { secrets?: Readonly<Record<string, string>> } = {},
): SourcePorts {
  const kept = new Map<string, string>()
  const { secrets = {}, ...ports } = given
  return {
    environment: bareEnvironment(),
    clock: systemClock,
    send: async () => {
      throw new Error('nothing may be sent here')
    },
    resolve: async (ref: SecretRef) => {
      const value = 'env' in ref ? secrets[ref.env] : undefined
      if (value === undefined) throw new Error(`no secret may be asked for here: ${JSON.stringify(ref)}`)
      return new Secret(value)
    },
    tokenOf: async name => {
      throw new Error(`no other profile may be asked here: ${name}`)
    },
    cache: { read: name => kept.get(name), write: (name, content) => void kept.set(name, content) },
    run: async () => {
      throw new Error('no program may be run here')
    },
    trace: () => {},
    ...ports,
  }
}

/** A profile of the commonest kind; `token_endpoint` is at idp.example.com. */
export function clientProfile(given: Partial<ClientCredentialsProfile> = {}): ClientCredentialsProfile {
  return {
    name: 'corp',
    source: 'client_credentials',
    match: [],
    binding: 'b',
    token_endpoint: 'https://idp.example.com/token',
    client_id: 'build-bot',
    client_secret: { env: 'SECRET' },
    client_auth: 'client_secret_basic',
    basic_encoding: 'rfc6749',
    resource: [],
    params: {},
    ...given,
  }
}

/** An answer as the transport would give it. */
export function jsonAnswer(body: unknown, status = 200, headers: Record<string, string> = {}): HttpResponse {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  }
}

/** A transport that gives prepared answers, one after the other, and keeps what it was asked. */
export function scriptedSend(
  ...answers: (HttpResponse | Error | ((request: HttpRequest) => HttpResponse))[]
): {
  readonly send: SourcePorts['send']
  readonly requests: readonly HttpRequest[]
} {
  const requests: HttpRequest[] = []
  return {
    requests,
    send: async request => {
      const answer = answers[requests.length]
      requests.push(request)
      if (answer === undefined) throw new Error('one request more than was expected')
      if (answer instanceof Error) throw answer
      const response = typeof answer === 'function' ? answer(request) : answer
      request.onAnswer?.(response)
      return response
    },
  }
}
