import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import type { Token } from '../../src/core/token.ts'
import type { AuthorizationCodeProfile } from '../../src/profile/profile.ts'
import { authorizationCode } from '../../src/source/authorization-code.ts'
import type { SourcePorts } from '../../src/source/source.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { TransportError } from '../../src/source/transport.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { type FakePerson, fakePerson } from '../support/person.ts'
import { signInProfile } from '../support/profiles.ts'
import { jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const issuer = 'https://idp.example.com'
const named = { issuer, authorization_endpoint: `${issuer}/authorize` }
const tokenAnswer = jsonAnswer({ access_token: 'token-1', expires_in: 600, refresh_token: 'refresh-1' })

/** A sign-in under way: the address that was shown is known, and the listener waits. */
interface Waiting {
  readonly token: Promise<Token>
  readonly person: FakePerson
  readonly clock: FakeClock
  readonly requests: readonly HttpRequest[]
  /** Of the address that the browser was sent to. */
  readonly asked: URLSearchParams
  readonly authorize: URL
  readonly redirectUri: string
  readonly port: number
}

const open: Waiting[] = []
afterEach(async () => {
  for (const { clock, token } of open.splice(0)) {
    await clock.advance(300_000)
    await token.catch(() => {})
  }
})

interface Given {
  readonly profile?: Partial<AuthorizationCodeProfile>
  readonly answers?: (HttpResponse | Error | ((request: HttpRequest) => HttpResponse))[]
  readonly hasBrowser?: boolean
  readonly isTerminal?: boolean
  readonly ports?: Partial<SourcePorts>
  readonly signal?: AbortSignal
  readonly timeoutMs?: number
}

async function begin(given: Given = {}): Promise<Waiting> {
  const {
    profile = {},
    answers = [tokenAnswer],
    hasBrowser = true,
    isTerminal = false,
    signal,
    timeoutMs = 300_000,
  } = given
  const clock = fakeClock()
  const { send, requests } = scriptedSend(...answers)
  let goes: () => void = () => {}
  const gone = new Promise<void>(resolve => {
    goes = resolve
  })
  const browser = hasBrowser ? fakePerson(() => {}, { isTerminal }) : fakePerson(undefined, { isTerminal })
  const person: FakePerson = Object.create(browser, {
    open: {
      value: async (url: string) => {
        const opened = await browser.open(url)
        goes()
        return opened
      },
    },
  })
  const ports = sourcePorts({ clock, send, ...given.ports })
  const source = authorizationCode(signInProfile({ ...named, ...profile }), ports)
  const token = source.fetch({ timeoutMs, signal, person })
  token.catch(() => {})
  await Promise.race([gone, token])
  const authorize = new URL(person.opened[0] ?? '')
  const redirectUri = authorize.searchParams.get('redirect_uri') ?? ''
  const port = Number(new URL(redirectUri).port)
  const waiting = {
    token,
    person,
    clock,
    requests,
    asked: authorize.searchParams,
    authorize,
    redirectUri,
    port,
  }
  open.push(waiting)
  return waiting
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

interface Visit {
  readonly method?: string
  readonly headers?: Record<string, string>
}

/** What a browser gets, or anybody who asks the port. */
function get(port: number, path: string, { method = 'GET', headers = {} }: Visit = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, path, method, headers, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
      .on('error', reject)
      .end()
  })
}

function back({ asked }: Waiting, params: Record<string, string> = {}): string {
  const all = { code: 'the-code', state: asked.get('state') ?? '', iss: issuer, ...params }
  return `/callback?${new URLSearchParams(all)}`
}

function comeBack(waiting: Waiting, params: Record<string, string> = {}): Promise<Answer> {
  return get(waiting.port, back(waiting, params))
}

async function failureOf(token: Promise<Token>): Promise<TokctlError> {
  return token.then(
    () => {
      throw new Error('it did not fail')
    },
    error => error,
  )
}

function formOf(request: HttpRequest | undefined): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(request?.body ?? ''))
}

function idToken(claims: Record<string, unknown>): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'RS256' })}.${part(claims)}.c2lnbmF0dXJl`
}

describe('the address that the browser is sent to', () => {
  test('has PKCE with S256, state, and a redirect to the literal loopback address', async () => {
    const waiting = await begin({ profile: { scope: 'api.read' } })
    const { asked, authorize, redirectUri } = waiting
    expect(`${authorize.origin}${authorize.pathname}`).toBe(`${issuer}/authorize`)
    expect(redirectUri).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/)
    expect(Object.fromEntries(asked)).toEqual({
      response_type: 'code',
      client_id: 'build-bot',
      redirect_uri: redirectUri,
      scope: 'api.read',
      state: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: 'S256',
    })
    await comeBack(waiting)
    const { createHash } = await import('node:crypto')
    await waiting.token
    const { code_verifier = '' } = formOf(waiting.requests[0])
    expect(createHash('sha256').update(code_verifier).digest('base64url')).toBe(asked.get('code_challenge'))
  })

  test('carries what the profile adds, but nothing of it changes what makes the sign-in safe', async () => {
    const { asked, authorize } = await begin({
      profile: {
        authorization_endpoint: `${issuer}/authorize?tenant=7`,
        scope: 'openid api.read',
        audience: 'https://api.example.com',
        resource: ['https://a.example.com', 'https://b.example.com'],
        login_hint: 'jane@example.com',
        prompt: 'consent',
        params: {
          access_type: 'offline',
          state: 'mine',
          code_challenge: 'mine',
          code_challenge_method: 'plain',
          redirect_uri: 'https://evil.example.com',
          response_type: 'token',
          nonce: 'mine',
        },
      },
    })
    expect(authorize.href.startsWith(`${issuer}/authorize?tenant=7&`)).toBe(true)
    const all = Object.fromEntries(asked)
    expect(all).toMatchObject({
      access_type: 'offline',
      audience: 'https://api.example.com',
      login_hint: 'jane@example.com',
      prompt: 'consent',
      response_type: 'code',
      code_challenge_method: 'S256',
    })
    expect(asked.getAll('resource')).toEqual(['https://a.example.com', 'https://b.example.com'])
    for (const name of ['state', 'code_challenge', 'nonce']) {
      expect(asked.getAll(name)).toHaveLength(1)
      expect(all[name]).toMatch(/^[\w-]{43}$/)
    }
    expect(asked.getAll('redirect_uri')).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:/)])
  })

  test('is never the same twice', async () => {
    const [one, two] = [
      await begin({ profile: { scope: 'openid' } }),
      await begin({ profile: { scope: 'openid' } }),
    ]
    for (const name of ['state', 'nonce', 'code_challenge'])
      expect(one.asked.get(name)).not.toBe(two.asked.get(name))
  })
})

describe('the code', () => {
  test('is exchanged once, with what it began with and nothing that was told before', async () => {
    const waiting = await begin({
      profile: {
        scope: 'api.read',
        audience: 'a',
        params: { access_type: 'offline' },
        resource: ['https://r'],
      },
    })
    expect((await comeBack(waiting)).status).toBe(200)
    const token = await waiting.token
    expect(token.accessToken.expose()).toBe('token-1')
    expect(token.refreshToken?.expose()).toBe('refresh-1')
    expect(token.scope).toBe('api.read')
    expect(waiting.requests).toHaveLength(1)
    expect(waiting.requests[0]?.url).toBe('https://idp.example.com/token')
    expect(formOf(waiting.requests[0])).toEqual({
      grant_type: 'authorization_code',
      code: 'the-code',
      redirect_uri: waiting.redirectUri,
      code_verifier: expect.stringMatching(/^[\w-]{43}$/),
      client_id: 'build-bot',
      resource: 'https://r',
    })
  })

  test.each<[string, HttpResponse | Error, string]>([
    ['503', jsonAnswer('', 503), 'server_error'],
    ['429', jsonAnswer('', 429), 'rate_limited'],
    ['a lost answer', new TransportError('network_error', 'it broke off', true), 'network_error'],
    ['an assertion refused', jsonAnswer({ error: 'invalid_client' }, 401), 'invalid_client'],
    ['a redirect', jsonAnswer('', 307, { location: 'https://evil.example.com/' }), 'request_refused'],
  ])('is not sent again after %s', async (_, answer, code) => {
    const waiting = await begin({ answers: [answer] })
    const page = await comeBack(waiting)
    expect(page.status).toBe(400)
    expect(page.text).toContain('The sign-in did not work')
    expect(await failureOf(waiting.token)).toMatchObject({ code })
    expect(waiting.requests).toHaveLength(1)
  })

  test('is not shown, whatever the server says of it', async () => {
    const answer = (request: HttpRequest): HttpResponse => {
      const { code, code_verifier } = formOf(request)
      return jsonAnswer({ error: 'invalid_grant', error_description: `${code} ${code_verifier}` }, 400)
    }
    const waiting = await begin({ answers: [answer] })
    const page = await comeBack(waiting)
    const error = await failureOf(waiting.token)
    expect(error).toMatchObject({
      code: 'invalid_grant',
      message: 'token endpoint idp.example.com answered 400: [redacted] [redacted] (invalid_grant)',
    })
    expect(page.text).toContain('[redacted] [redacted]')
    expect(page.text).not.toContain('the-code')
  })
})

describe('whoever else comes to the port', () => {
  test.each<[what: string, path: string, visit: Visit, status: number]>([
    ['another path', '/', {}, 404],
    ['a path below', '/callback/', {}, 404],
    ['a path that begins so', '/callbacks?state=x', {}, 404],
    ['the icon', '/favicon.ico', {}, 404],
    ['a whole address', 'http://127.0.0.1/callback?state=x', {}, 404],
    ['a path with dots', '/x/../callback', {}, 404],
    ['HEAD elsewhere', '/', { method: 'HEAD' }, 404],
    ['another host', '/callback', { headers: { host: 'evil.example.com' } }, 404],
    ['localhost', '/callback', { headers: { host: 'localhost' } }, 404],
    ['a host without its port', '/callback', { headers: { host: '127.0.0.1' } }, 404],
    ['a huge address', `/callback?state=${'x'.repeat(20_000)}`, {}, 431],
    ['no state', '/callback?code=x', {}, 400],
    ['a wrong state', '/callback?code=x&state=wrong', {}, 400],
    ['an error of a wrong state', '/callback?error=access_denied&state=wrong', {}, 400],
  ])('%s ends nothing', async (_, path, visit, status) => {
    const waiting = await begin()
    const answer = await get(waiting.port, path, visit)
    expect(answer.status).toBe(status)
    if (status === 400) expect(answer.text).toContain('This belongs to another sign-in')
    else expect(answer.text).toBe('')
    expect((await comeBack(waiting)).status).toBe(200)
    expect((await waiting.token).accessToken.expose()).toBe('token-1')
  })

  test.each(['POST', 'HEAD', 'PUT', 'OPTIONS', 'DELETE'])(
    '%s with all that is right ends nothing',
    async method => {
      const waiting = await begin()
      const answer = await get(waiting.port, back(waiting), { method })
      expect(answer.status).toBe(405)
      expect(answer.headers['allow']).toBe('GET')
      expect(waiting.requests).toHaveLength(0)
      await comeBack(waiting)
      await waiting.token
    },
  )

  test('an answer with two states belongs to nobody, even if one of them is right', async () => {
    const waiting = await begin()
    expect((await get(waiting.port, `${back(waiting)}&state=wrong`)).status).toBe(400)
    expect(waiting.requests).toHaveLength(0)
  })

  test('a browser that comes twice is told so, and the code goes out once', async () => {
    let release: () => void = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    let sent = 0
    const send = async (): Promise<HttpResponse> => {
      sent++
      await held
      return tokenAnswer
    }
    const waiting = await begin({ ports: { send } })
    const first = comeBack(waiting)
    await expect.poll(() => sent).toBe(1)
    const second = await comeBack(waiting, { code: 'another' })
    expect(second.status).toBe(400)
    expect(second.text).toContain('This sign-in was answered before')
    release()
    expect((await first).text).toContain('You are signed in')
    await waiting.token
    expect(sent).toBe(1)
  })

  test('finds nobody there once it is over', async () => {
    const waiting = await begin()
    await comeBack(waiting)
    await waiting.token
    await expect(comeBack(waiting)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })
})

describe('what the browser brings', () => {
  const cases: [what: string, params: Record<string, string>, code: string, message: string][] = [
    [
      'a refusal',
      { error: 'access_denied', error_description: 'not today' },
      'access_denied',
      'sign-in at idp.example.com was refused: not today (access_denied)',
    ],
    [
      'a refusal that would paint the terminal and the page',
      {
        error: 'access_denied\u001b[2J',
        error_description: '<img src=x onerror=alert(1)>\u001b]0;x\u0007\u202e\n& "more"',
      },
      'request_refused',
      'sign-in at idp.example.com was refused: <img src=x onerror=alert(1)> ]0;x & "more" (access_denied [2J)',
    ],
    [
      'a server in trouble',
      { error: 'temporarily_unavailable' },
      'server_error',
      'sign-in at idp.example.com was refused (temporarily_unavailable)',
    ],
    [
      'a refusal that is called as one of our own',
      { error: 'login_required' },
      'request_refused',
      'sign-in at idp.example.com was refused (login_required)',
    ],
    [
      'an answer of another issuer',
      { iss: 'https://evil.example.com' },
      'invalid_response',
      'sign-in at idp.example.com ended with an answer of another issuer, "https://evil.example.com"',
    ],
    [
      'a refusal of another issuer',
      { iss: 'https://evil.example.com', error: 'access_denied' },
      'invalid_response',
      'sign-in at idp.example.com ended with an answer of another issuer, "https://evil.example.com"',
    ],
    ['no code', { code: '' }, 'invalid_response', 'sign-in at idp.example.com ended without a code'],
  ]
  test.each(cases)('%s fails the sign-in', async (_, params, code, message) => {
    const waiting = await begin({ answers: [] })
    const page = await comeBack(waiting, params)
    expect(page.status).toBe(400)
    expect(page.text).toContain('The sign-in did not work')
    expect(page.text).not.toMatch(/<img|\u001b|\u202e/)
    expect(await failureOf(waiting.token)).toMatchObject({ code, message })
    expect(waiting.requests).toHaveLength(0)
  })

  test('more than one code is none', async () => {
    const waiting = await begin({ answers: [] })
    await get(waiting.port, `${back(waiting)}&code=another`)
    expect(await failureOf(waiting.token)).toMatchObject({
      code: 'invalid_response',
      message: 'sign-in at idp.example.com ended with more than one code',
    })
  })

  const document = {
    issuer,
    token_endpoint: `${issuer}/token`,
    authorization_endpoint: `${issuer}/authorize`,
  }
  const { authorization_endpoint: _, token_endpoint: __, ...withoutEndpoints } = signInProfile(named)
  const source = (answers: HttpResponse[]) => {
    const clock = fakeClock()
    const { send, requests } = scriptedSend(...answers)
    return { clock, requests, source: authorizationCode(withoutEndpoints, sourcePorts({ clock, send })) }
  }

  test('must name its issuer where the server says that it always does', async () => {
    const says = { ...document, authorization_response_iss_parameter_supported: true }
    const { source: asked, requests } = source([jsonAnswer(says)])
    const person = fakePerson(url => {
      const { searchParams } = new URL(url)
      const uri = new URL(searchParams.get('redirect_uri') ?? '')
      void get(Number(uri.port), `/callback?code=x&state=${searchParams.get('state')}`)
    })
    const failed = await failureOf(asked.fetch({ timeoutMs: 300_000, signal: undefined, person }))
    expect(failed).toMatchObject({
      code: 'invalid_response',
      message:
        'sign-in at idp.example.com ended with an answer that does not name its issuer, which this server always does',
    })
    expect(requests).toHaveLength(1)
  })

  test.each([
    'javascript:alert(1)//https://idp.example.com/',
    '-oProxyCommand=x',
    '--version',
    'file:///etc/passwd',
    'http://idp.example.com/authorize',
    'http://127.0.0.1/authorize',
    'https://user@idp.example.com/authorize',
    'https://idp.example.com/authorize#x',
    ' https://idp.example.com/',
    42,
  ])('an authorization endpoint %j is refused, and no browser is opened', async authorization_endpoint => {
    const { source: asked } = source([jsonAnswer({ ...document, authorization_endpoint })])
    const person = fakePerson(() => {})
    const failed = await failureOf(asked.fetch({ timeoutMs: 300_000, signal: undefined, person }))
    expect(failed.code).toBe('discovery_failed')
    expect(failed.message).toContain('has a discovery document with an unusable authorization_endpoint: ')
    expect(person.opened).toEqual([])
    expect(person.told).toBe('')
  })

  test('a server that wants pushed requests gets one, and the browser only its name', async () => {
    const says = {
      ...document,
      pushed_authorization_request_endpoint: `${issuer}/par`,
      require_pushed_authorization_requests: true,
    }
    const pushed = jsonAnswer({ request_uri: 'urn:example:1', expires_in: 60 }, 201)
    const { source: asked, requests } = source([jsonAnswer(says), pushed, tokenAnswer])
    const person = fakePerson(() => {
      const form = formOf(requests[1])
      const { port } = new URL(form['redirect_uri'] ?? '')
      void get(Number(port), `/callback?code=x&state=${form['state']}&iss=${encodeURIComponent(issuer)}`)
    })
    const token = await asked.fetch({ timeoutMs: 300_000, signal: undefined, person })
    expect(token.accessToken.expose()).toBe('token-1')
    expect(person.opened).toEqual([`${issuer}/authorize?client_id=build-bot&request_uri=urn%3Aexample%3A1`])
    expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      `GET ${issuer}/.well-known/openid-configuration`,
      `POST ${issuer}/par`,
      `POST ${issuer}/token`,
    ])
    expect(formOf(requests[1])).toMatchObject({ response_type: 'code', code_challenge_method: 'S256' })
  })
})

describe('an id token', () => {
  const good = (waiting: Waiting) => ({
    iss: issuer,
    aud: 'build-bot',
    exp: 1_800_000_600,
    nonce: waiting.asked.get('nonce'),
    sub: '7',
    name: '<b>Jane</b>\u202e',
    email: 'jane@example.com',
  })

  async function endsWith(
    claims: (waiting: Waiting) => unknown,
  ): Promise<{ waiting: Waiting; page: Answer }> {
    const box: { waiting?: Waiting } = {}
    const answer = (): HttpResponse => {
      const made = claims(box.waiting!)
      const id_token = typeof made === 'object' && made !== null ? idToken({ ...made }) : made
      return jsonAnswer({ access_token: 'token-1', id_token })
    }
    const waiting = await begin({ profile: { scope: 'openid email' }, answers: [answer] })
    box.waiting = waiting
    return { waiting, page: await comeBack(waiting) }
  }

  test('says on the page and in the terminal who signed in, made harmless', async () => {
    const { waiting, page } = await endsWith(good)
    await waiting.token
    expect(page.text).toContain('&#60;b&#62;Jane&#60;/b&#62; (jane@example.com)')
    expect(waiting.person.told).toContain('account: <b>Jane</b> (jane@example.com)\n')
  })

  test.each<[string, (waiting: Waiting) => unknown]>([
    ['for us among others', waiting => ({ ...good(waiting), aud: ['x', 'build-bot'], azp: 'build-bot' })],
    ['that ended a minute ago by our clock', waiting => ({ ...good(waiting), exp: 1_799_999_940 })],
    ['that is not there', () => undefined],
    ['that is null', () => null],
  ])('%s is fine', async (_, claims) => {
    const { waiting, page } = await endsWith(claims)
    await waiting.token
    expect(page.status).toBe(200)
  })

  test.each<[what: string, claims: (waiting: Waiting) => unknown]>([
    ['that was made for another sign-in (nonce)', waiting => ({ ...good(waiting), nonce: 'x' })],
    ['that was made for another sign-in (nonce)', waiting => ({ ...good(waiting), nonce: undefined })],
    ['of another issuer, "https://evil.example.com"', w => ({ ...good(w), iss: 'https://evil.example.com' })],
    ['for another client (aud)', waiting => ({ ...good(waiting), aud: 'x' })],
    ['for another client (aud)', waiting => ({ ...good(waiting), aud: undefined })],
    ['for another client (azp)', waiting => ({ ...good(waiting), azp: 'x' })],
    ['that has expired', waiting => ({ ...good(waiting), exp: 1_799_999_000 })],
    ['that has expired', waiting => ({ ...good(waiting), exp: 'soon' })],
    ['that cannot be read', () => 'a.b'],
    ['that cannot be read', () => 42],
  ])('%s fails the sign-in', async (what, claims) => {
    const { waiting, page } = await endsWith(claims)
    expect(await failureOf(waiting.token)).toMatchObject({
      code: 'invalid_response',
      message: `token endpoint idp.example.com answered 200 with an id token ${what}`,
    })
    expect(page.status).toBe(400)
  })
})

describe('without a browser', () => {
  test('the address is shown, and the one it ends on can be pasted', async () => {
    const waiting = await begin({ hasBrowser: false, isTerminal: true })
    await expect.poll(() => waiting.person.told).toContain('paste the address here')
    expect(waiting.person.told).toContain(`\n\n  ${waiting.authorize.href}\n\n`)
    waiting.person.paste(`  http://127.0.0.1:${waiting.port}${back(waiting)} `)
    expect((await waiting.token).accessToken.expose()).toBe('token-1')
    expect(formOf(waiting.requests[0])['code']).toBe('the-code')
  })

  test('what is pasted is held to the same, and may be pasted again', async () => {
    const waiting = await begin({ hasBrowser: false })
    const { person } = waiting
    for (const [line, says] of [
      ['https://evil.example.com/callback?code=x', 'that is not the address: it begins with '],
      [`http://127.0.0.1:1/callback?code=x&state=${waiting.asked.get('state')}`, 'that is not the address'],
      [`${waiting.redirectUri}?code=x&state=wrong`, 'that address belongs to another sign-in'],
    ] as const) {
      const before = person.told.length
      person.paste(line)
      await expect.poll(() => person.told.slice(before)).toContain(says)
    }
    person.paste('')
    person.paste(`${waiting.redirectUri}?error=access_denied&state=${waiting.asked.get('state')}#_=_`)
    expect(await failureOf(waiting.token)).toMatchObject({ code: 'access_denied' })
    expect(waiting.requests).toHaveLength(0)
  })

  test('the browser may still come by itself', async () => {
    const waiting = await begin({ hasBrowser: false })
    await comeBack(waiting)
    await waiting.token
  })
})

describe('the end of waiting', () => {
  test('nobody comes within the time that was given', async () => {
    const waiting = await begin({ timeoutMs: 299_997 })
    await waiting.clock.advance(299_000)
    expect((await get(waiting.port, '/')).status).toBe(404)
    await waiting.clock.advance(1000)
    expect(await failureOf(waiting.token)).toMatchObject({
      code: 'login_timeout',
      message: 'nobody signed in within 5m',
      hint: 'run: tokctl login corp',
    })
    await expect(get(waiting.port, '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  test('the caller leaves, and the port is free', async () => {
    const leaving = new AbortController()
    const waiting = await begin({ signal: leaving.signal })
    const reason = new Error('gone')
    leaving.abort(reason)
    await expect(waiting.token).rejects.toBe(reason)
    await expect(get(waiting.port, '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  test('a port that is taken is told, before anything is asked', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => other.once('listening', resolve))
    const { port: redirect_port } = other.address() as { port: number }
    const { send, requests } = scriptedSend()
    const person = fakePerson(() => {})
    const source = authorizationCode(signInProfile({ issuer, redirect_port }), sourcePorts({ send }))
    const failed = await failureOf(source.fetch({ timeoutMs: 300_000, signal: undefined, person }))
    await new Promise(resolve => other.close(resolve))
    expect(failed).toMatchObject({
      code: 'config_invalid',
      message: `port ${redirect_port} is in use by another program`,
      hint: 'end the other program, or set redirect_port to another port that is registered at the server',
    })
    expect(requests).toEqual([])
    expect(person.opened).toEqual([])
  })

  test('a fixed port is the one of the redirect', async () => {
    const probe = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => probe.once('listening', resolve))
    const { port } = probe.address() as { port: number }
    await new Promise(resolve => probe.close(resolve))
    const waiting = await begin({ profile: { redirect_port: port } })
    expect(waiting.redirectUri).toBe(`http://127.0.0.1:${port}/callback`)
  })
})

test('the page loads nothing, runs nothing but its own line, and is kept nowhere', async () => {
  const waiting = await begin()
  const { headers, text } = await comeBack(waiting)
  await waiting.token
  const policy = String(headers['content-security-policy'])
  expect(policy).toMatch(
    /^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; img-src data:/,
  )
  expect(policy).not.toMatch(/unsafe|\*|http/)
  expect(headers).toMatchObject({
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  })
  expect(text).not.toMatch(/https?:|src=|url\(|@import/)
  expect(text).toContain('Profile <code>corp</code> is ready to use.')
  const { createHash } = await import('node:crypto')
  for (const [, tag, content = ''] of text.matchAll(/<(script|style)>([\s\S]*?)<\/\1>/g)) {
    const hash = createHash('sha256').update(content).digest('base64')
    expect(policy).toContain(`${tag}-src 'sha256-${hash}'`)
  }
})
