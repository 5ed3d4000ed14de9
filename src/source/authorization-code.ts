import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { formatDuration } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { AuthorizationCodeProfile } from '../profile/profile.ts'
import { classify, type Objection } from './answer.ts'
import type { ServerMetadata } from './discovery.ts'
import { tokenRequest } from './endpoint.ts'
import { claimsProblem, personInClaims, readIdToken } from './id-token.ts'
import { announce } from './post-form.ts'
import { listenForRedirect, type Redirect, type RedirectListener } from './redirect-listener.ts'
import { type Budget, timeLeft } from './retry.ts'
import { endpointIn, metadataOf, missingEndpoint } from './server.ts'
import { type SignInEnd, signInPage } from './sign-in-page.ts'
import type { FetchRequest, Person, SourcePorts, TokenSource } from './source.ts'

/** For the exchange of the code, in which nobody has anything to do but wait. */
const exchangeTimeoutMs = 30_000

/**
 * A person signs in with a browser, which comes back to this machine with a code. PKCE (S256) and `state` always; `nonce`
 * with `openid`; `iss` wherever the server sends it or says that it does; a pushed request where the server or the profile
 * wants one. All of it within `request.timeoutMs`, the person's time included.
 *
 * Raises `login_required` where no person is there, `login_timeout` where none came, `access_denied` where one refused.
 *
 * @see RFC 6749 §4.1, RFC 7636, RFC 8252, RFC 9126, RFC 9207, RFC 9700 §2.1
 */
export function authorizationCode(profile: AuthorizationCodeProfile, ports: SourcePorts): TokenSource {
  return {
    async fetch(request) {
      if (request.person === undefined) throw signInNeeded(profile.name)
      return new SignIn(profile, ports, request, request.person).run()
    },
  }
}

/** What a source raises that needs a person where none is there. */
export function signInNeeded(profile: string): TokctlError {
  return new TokctlError('login_required', `profile "${profile}" needs a sign-in`, {
    hint: `run: tokctl login ${profile}`,
  })
}

/** Milliseconds up to the next second: a little of what was asked for is always gone when a source begins. */
export function wholeSeconds(ms: number): number {
  return Math.ceil(ms / 1000) * 1000
}

/** What one sign-in is recognised by. All of it is random and serves once. */
interface Marks {
  readonly state: string
  /** Only with `openid`. */
  readonly nonce: string | undefined
  readonly verifier: Secret
  readonly challenge: string
}

class SignIn {
  readonly #profile: AuthorizationCodeProfile
  readonly #ports: SourcePorts
  readonly #request: FetchRequest
  readonly #person: Person
  readonly #budget: Budget
  #who: string | undefined

  constructor(profile: AuthorizationCodeProfile, ports: SourcePorts, request: FetchRequest, person: Person) {
    const { clock } = ports
    this.#profile = profile
    this.#ports = ports
    this.#request = request
    this.#person = person
    this.#budget = { clock, signal: request.signal, deadline: clock.monotonic() + request.timeoutMs }
  }

  async run(): Promise<Token> {
    const marks = await makeMarks(this.#profile.scope)
    const [stranger, again] = await Promise.all([
      signInPage({ kind: 'stranger' }),
      signInPage({ kind: 'again' }),
    ])
    const isOurs = (params: URLSearchParams): boolean => isExactly(params, 'state', marks.state)
    const listener = await listenForRedirect(this.#profile.redirect_port ?? 0, isOurs, { stranger, again })
    try {
      const server = await this.#findServer()
      const url = await this.#authorizationUrl(server, listener.redirectUri, marks)
      const redirect = await this.#wait(listener, url, isOurs)
      return await this.#finish(redirect, server, listener.redirectUri, marks)
    } finally {
      await listener.close()
    }
  }

  async #findServer(): Promise<Server> {
    const profile = this.#profile
    const isNamed = profile.authorization_endpoint !== undefined && profile.token_endpoint !== undefined
    const metadata = isNamed ? undefined : await metadataOf(profile, this.#ports, this.#budget)
    const authorization = endpointIn(profile, 'authorization_endpoint', metadata)
    if (authorization === undefined) throw missingEndpoint(profile, 'authorization_endpoint')
    const token = endpointIn(profile, 'token_endpoint', metadata)
    if (token === undefined) throw missingEndpoint(profile, 'token_endpoint')
    const isPushed =
      profile.pushed_authorization_request_endpoint !== undefined ||
      metadata?.require_pushed_authorization_requests === true
    const push = isPushed ? endpointIn(profile, 'pushed_authorization_request_endpoint', metadata) : undefined
    if (isPushed && push === undefined)
      throw missingEndpoint(profile, 'pushed_authorization_request_endpoint')
    return { metadata, issuer: metadata?.issuer ?? profile.issuer, authorization, token, push }
  }

  async #authorizationUrl(server: Server, redirectUri: string, marks: Marks): Promise<string> {
    const { scope, audience, resource, params, login_hint, prompt } = this.#profile
    const clientId = this.#clientId()
    const own: Record<string, string | undefined> = {
      response_type: 'code',
      client_id: clientId,
      redirect_uri: redirectUri,
      state: marks.state,
      code_challenge: marks.challenge,
      code_challenge_method: 'S256',
      nonce: marks.nonce,
      login_hint,
      prompt,
    }
    const fields = Object.fromEntries(
      Object.entries(own).filter((entry): entry is [string, string] => entry[1] !== undefined),
    )
    const url = new URL(server.authorization)
    if (server.push === undefined) {
      const wishes = { ...params, ...(scope === undefined ? {} : { scope }) }
      for (const [name, value] of Object.entries(wishes)) url.searchParams.set(name, value)
      if (audience !== undefined) url.searchParams.set('audience', audience)
      for (const each of resource) url.searchParams.append('resource', each)
      // Last, because what makes the sign-in safe is nobody's to change.
      for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value)
      return url.href
    }
    const name = 'pushed authorization request endpoint'
    const pushed = { endpoint: server.push, name, audience: server.token, fields }
    const { request_uri } = await announce(this.#profile, pushed, this.#ports, this.#budget)
    if (typeof request_uri !== 'string' || !/^[\x21-\x7e]+$/.test(request_uri)) {
      const { host } = new URL(server.push)
      throw new TokctlError('invalid_response', `${name} ${host} answered without request_uri`)
    }
    url.searchParams.set('client_id', clientId)
    url.searchParams.set('request_uri', request_uri)
    return url.href
  }

  #clientId(): string {
    const { client_id } = this.#profile
    if (client_id !== undefined) return client_id
    throw new TokctlError('config_invalid', `profile "${this.#profile.name}" needs client_id to sign in`)
  }

  /** Shows the way to the page, and waits until the browser, or the person, brings the answer. */
  async #wait(
    listener: RedirectListener,
    url: string,
    isOurs: (params: URLSearchParams) => boolean,
  ): Promise<Redirect> {
    const { clock } = this.#ports
    const { signal } = this.#request
    const person = this.#person
    const over = new AbortController()
    const leave = (): void => over.abort()
    signal?.addEventListener('abort', leave)
    try {
      signal?.throwIfAborted()
      const late = clock.sleep(timeLeft(this.#budget), over.signal)
      const opened = await Promise.race([person.open(url), late.then(() => false)])
      signal?.throwIfAborted()
      // Listened for before it is asked for: what is pasted at once would be shown otherwise.
      const pasted = opened ? never : this.#pasted(listener.redirectUri, isOurs, over.signal)
      if (opened) {
        person.tell(`a browser was opened to sign in; if none came up, open this page:\n  ${url}\n`)
      } else {
        person.tell(`open this page in a browser to sign in:\n\n  ${url}\n\n`)
        if (person.isTerminal)
          person.tell('if the browser runs on another machine, paste the address here that it ends on:\n')
      }
      const redirect = await Promise.race([listener.redirect, pasted, late])
      signal?.throwIfAborted()
      if (redirect !== undefined) return redirect
      const within = formatDuration(wholeSeconds(this.#request.timeoutMs))
      throw new TokctlError('login_timeout', `nobody signed in within ${within}`, {
        hint: `run: tokctl login ${this.#profile.name}`,
      })
    } finally {
      over.abort()
      signal?.removeEventListener('abort', leave)
    }
  }

  async #pasted(
    redirectUri: string,
    isOurs: (params: URLSearchParams) => boolean,
    signal: AbortSignal,
  ): Promise<Redirect> {
    for (;;) {
      const line = await this.#person.pasted(signal).catch(() => never)
      if (signal.aborted) return never
      const text = line.trim()
      if (text === '') continue
      const params = text.startsWith(`${redirectUri}?`)
        ? new URLSearchParams(text.slice(redirectUri.length + 1).replace(/#.*$/s, ''))
        : undefined
      if (params !== undefined && isOurs(params)) return { params, answer: async () => {} }
      this.#person.tell(
        params === undefined
          ? `that is not the address: it begins with ${redirectUri}?\n`
          : 'that address belongs to another sign-in; paste the one of the page that was opened last\n',
      )
    }
  }

  async #finish(redirect: Redirect, server: Server, redirectUri: string, marks: Marks): Promise<Token> {
    const { name } = this.#profile
    let end: SignInEnd = { kind: 'failed', profile: name, reason: 'something unexpected went wrong' }
    try {
      const code = readRedirect(redirect.params, server)
      const token = await this.#exchange(code, server, redirectUri, marks)
      end = { kind: 'signed_in', profile: name, who: this.#who }
      return token
    } catch (error) {
      if (error instanceof TokctlError) end = failedEnd(name, error)
      throw error
    } finally {
      await redirect.answer(await signInPage(end))
      if (this.#who !== undefined && end.kind === 'signed_in') this.#person.tell(`account: ${this.#who}\n`)
    }
  }

  #exchange(code: Secret, server: Server, redirectUri: string, marks: Marks): Promise<Token> {
    const grant = {
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirectUri,
      code_verifier: marks.verifier,
    }
    const client = { ...this.#profile, token_endpoint: server.token }
    const timeoutMs = Math.min(timeLeft(this.#budget), exchangeTimeoutMs)
    const objection = this.#objection(server, marks)
    const options = { repeatable: false, once: true, begun: true, redeems: true, objection }
    return tokenRequest(client, grant, this.#ports, { ...this.#request, timeoutMs }, options)
  }

  #objection({ issuer }: Server, { nonce }: Marks): Objection {
    return ({ id_token }, now) => {
      // Nobody asked for one, so that it stands for nothing.
      if (nonce === undefined || id_token === undefined || id_token === null) return undefined
      const claims = readIdToken(id_token)
      if (claims === undefined) return 'with an id token that cannot be read'
      const problem = claimsProblem(claims, { issuer, clientId: this.#clientId(), nonce, now })
      if (problem !== undefined) return `with an id token ${problem}`
      this.#who = personInClaims(claims)
      return undefined
    }
  }
}

/** Where a sign-in goes. */
interface Server {
  readonly metadata: ServerMetadata | undefined
  readonly issuer: string | undefined
  readonly authorization: string
  readonly token: string
  /** Where the request is pushed first. */
  readonly push: string | undefined
}

const never = new Promise<never>(() => {})

async function makeMarks(scope: string | undefined): Promise<Marks> {
  const { createHash, randomBytes } = await import('node:crypto')
  const random = (): string => randomBytes(32).toString('base64url')
  const verifier = random()
  return {
    state: random(),
    nonce: scope?.split(' ').includes('openid') ? random() : undefined,
    verifier: new Secret(verifier),
    challenge: createHash('sha256').update(verifier).digest('base64url'),
  }
}

/** Tells whether a parameter is there once, with that value. */
function isExactly(params: URLSearchParams, name: string, value: string): boolean {
  const found = params.getAll(name)
  return found.length === 1 && new Secret(found[0] ?? '').equals(new Secret(value))
}

/**
 * Reads the code out of a redirect that knows the state.
 *
 * @throws {TokctlError} The server's refusal; `invalid_response` where the answer is another server's, or none
 */
export function readRedirect(
  params: URLSearchParams,
  { issuer, metadata, authorization }: Pick<Server, 'issuer' | 'metadata' | 'authorization'>,
): Secret {
  const { host } = new URL(authorization)
  const unusable = (what: string, hint?: string): TokctlError =>
    new TokctlError('invalid_response', `sign-in at ${host} ended ${what}`, { hint })
  for (const name of ['code', 'error', 'iss'])
    if (params.getAll(name).length > 1) throw unusable(`with more than one ${name}`)

  const iss = params.get('iss')
  if (iss !== null && issuer !== undefined && iss !== issuer)
    throw unusable(`with an answer of another issuer, "${printable(iss)}"`, 'do not sign in there again')
  if (iss === null && metadata?.authorization_response_iss_parameter_supported === true)
    throw unusable('with an answer that does not name its issuer, which this server always does')

  const error = params.get('error')
  if (error !== null) {
    const description = printable(params.get('error_description') ?? '')
    const words = description === '' ? '' : `: ${description}`
    const code = classify(200, error)
    throw new TokctlError(code, `sign-in at ${host} was refused${words} (${printable(error).slice(0, 60)})`)
  }
  const code = params.get('code')
  if (code === null || code === '') throw unusable('without a code')
  return new Secret(code)
}

function failedEnd(profile: string, { code, message }: TokctlError): SignInEnd {
  const isEnded = code === 'interrupted' || code === 'terminated'
  return { kind: 'failed', profile, reason: isEnded ? 'the program in the terminal was ended' : message }
}
