import { afterEach, expect, test } from 'vitest'
import type { TokctlError } from '../../src/core/errors.ts'
import type { Token } from '../../src/core/token.ts'
import type { DeviceCodeProfile } from '../../src/profile/profile.ts'
import { deviceCode } from '../../src/source/device-code.ts'
import { type HttpRequest, type HttpResponse, TransportError } from '../../src/source/transport.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { type FakePerson, fakePerson } from '../support/person.ts'
import { signInProfile } from '../support/profiles.ts'
import { jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const device_authorization_endpoint = 'https://idp.example.com/device'
const told = {
  device_code: 'device-1',
  user_code: 'WDJB-MJHT',
  verification_uri: 'https://idp.example.com/activate',
  expires_in: 900,
  interval: 5,
}
const pending = jsonAnswer({ error: 'authorization_pending' }, 400)
const done = jsonAnswer({ access_token: 'token-1', expires_in: 600, refresh_token: 'refresh-1' })

interface Waiting {
  readonly outcome: Promise<{ token?: Token; error?: TokctlError }>
  readonly person: FakePerson
  readonly clock: FakeClock
  readonly requests: readonly HttpRequest[]
  /** Seconds since the beginning at which the token endpoint was asked. */
  readonly pollsAt: readonly number[]
}

const open: Waiting[] = []
afterEach(async () => {
  for (const { clock, outcome } of open.splice(0)) {
    await clock.advance(3_600_000)
    await outcome
  }
})

interface Given {
  readonly profile?: Partial<DeviceCodeProfile>
  readonly isTerminal?: boolean
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

type Answer = HttpResponse | Error

async function begin(told: unknown, polls: Answer[] = [], given: Given = {}): Promise<Waiting> {
  const { profile, isTerminal = false, timeoutMs = 3_600_000, signal } = given
  const clock = fakeClock()
  const pollsAt: number[] = []
  const first = typeof told === 'object' && told !== null && 'status' in told ? told : jsonAnswer(told)
  const { send: answer, requests } = scriptedSend(first as HttpResponse, ...polls)
  const send = async (request: HttpRequest): Promise<HttpResponse> => {
    if (request.url.endsWith('/token')) pollsAt.push(clock.monotonic() / 1000)
    return answer(request)
  }
  const person = fakePerson(undefined, { isTerminal })
  const { source: _, ...common } = signInProfile({ scope: 'api.read' })
  const source = deviceCode(
    { ...common, source: 'device_code', device_authorization_endpoint, ...profile },
    sourcePorts({ clock, send }),
  )
  const outcome = source.fetch({ timeoutMs, signal, person }).then(
    token => ({ token }),
    error => ({ error }),
  )
  const waiting = { outcome, person, clock, requests, pollsAt }
  open.push(waiting)
  await clock.advance(0)
  return waiting
}

function formOf(request: HttpRequest | undefined): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(request?.body ?? ''))
}

test('asks for a code, shows it, and asks for the token no sooner than the server wants', async () => {
  const given = { profile: { params: { organization: 'acme' }, audience: 'https://api.example.com' } }
  const { clock, outcome, person, pollsAt, requests } = await begin(told, [pending, pending, done], given)
  expect(person.told).toBe(
    'to sign in, open https://idp.example.com/activate on any device and enter this code:\n\n  WDJB-MJHT\n\n',
  )
  expect(person.opened).toEqual([])
  await clock.advance(15_000)
  const { token } = await outcome
  expect(token?.accessToken.expose()).toBe('token-1')
  expect(token?.refreshToken?.expose()).toBe('refresh-1')
  expect(pollsAt).toEqual([5, 10, 15])
  expect(formOf(requests[0])).toEqual({
    client_id: 'build-bot',
    scope: 'api.read',
    audience: 'https://api.example.com',
    organization: 'acme',
  })
  expect(formOf(requests[1])).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: 'device-1',
    client_id: 'build-bot',
  })
})

const slowDown = (more: object = {}): HttpResponse => jsonAnswer({ error: 'slow_down', ...more }, 400)
const passing = new TransportError('network_error', 'idp.example.com refuses connections', true)
const paces: [what: string, told: object, answers: Answer[], at: number[]][] = [
  ['no interval: 5 s', { interval: undefined }, [pending, done], [5, 10]],
  ['an interval as text', { interval: '7' }, [pending, done], [7, 14]],
  ['an interval of nothing: 1 s', { interval: 0 }, [pending, done], [1, 2]],
  ['slow_down: 5 s more, for good', {}, [slowDown(), pending, slowDown(), done], [5, 15, 25, 40]],
  [
    'slow_down with a longer interval: that one',
    {},
    [slowDown({ interval: 30 }), pending, done],
    [5, 35, 65],
  ],
  ['slow_down with a shorter interval: 5 s more', {}, [slowDown({ interval: 1 }), done], [5, 15]],
  ['slow_down with 429', {}, [jsonAnswer({ error: 'slow_down' }, 429), done], [5, 15]],
  ['errors that come with 200', {}, [jsonAnswer({ error: 'authorization_pending' }), done], [5, 10]],
  [
    'a lost connection: twice, then four times the pause',
    {},
    [passing, passing, pending, done],
    [5, 15, 35, 40],
  ],
  ['503: the same', {}, [jsonAnswer('', 503), done], [5, 15]],
  ['503 with Retry-After', {}, [jsonAnswer('', 503, { 'retry-after': '60' }), done], [5, 65]],
  ['many failures: a minute at most', {}, [...Array(6).fill(passing), done], [5, 15, 35, 75, 135, 195, 255]],
]
test.each(paces)('%s', async (_, more, answers, at) => {
  const { clock, outcome, pollsAt } = await begin({ ...told, ...more }, answers)
  await clock.advance(at.at(-1)! * 1000)
  expect(pollsAt).toEqual(at)
  expect((await outcome).token?.accessToken.expose()).toBe('token-1')
})

test.each<[string, Answer, string, string]>([
  [
    'access_denied',
    jsonAnswer({ error: 'access_denied', error_description: 'no\u001b[2J' }, 400),
    'access_denied',
    'token endpoint idp.example.com answered 400: no [2J (access_denied)',
  ],
  [
    'expired_token',
    jsonAnswer({ error: 'expired_token' }, 400),
    'login_timeout',
    'nobody signed in before the code expired',
  ],
  [
    'invalid_grant',
    jsonAnswer({ error: 'invalid_grant', error_description: 'device-1 is unknown' }, 400),
    'invalid_grant',
    'token endpoint idp.example.com answered 400: [redacted] is unknown (invalid_grant)',
  ],
  [
    'a certificate that is not trusted',
    new TransportError('network_error', 'certificate is not acceptable', false),
    'network_error',
    'certificate is not acceptable',
  ],
])('%s ends the waiting', async (_, answer, code, message) => {
  const lifetime = { expires_in: 7200 }
  const { clock, outcome, pollsAt } = await begin({ ...told, ...lifetime }, [pending, answer])
  await clock.advance(10_000)
  expect((await outcome).error).toMatchObject({ code, message })
  expect(pollsAt).toEqual([5, 10])
})

test.each<[string, object, number, number, string]>([
  ['the code expires', { expires_in: 12 }, 3_600_000, 12, 'nobody signed in before the code expired'],
  ['the caller has no more time', {}, 8000, 8, 'nobody signed in within 8s'],
])('%s: nobody signed in', async (_, more, timeoutMs, seconds, message) => {
  const { clock, outcome, requests } = await begin({ ...told, ...more }, [pending, pending], { timeoutMs })
  let ended = false
  void outcome.then(() => {
    ended = true
  })
  await clock.advance(seconds * 1000 - 1)
  expect(ended).toBe(false)
  await clock.advance(1)
  expect((await outcome).error).toMatchObject({
    code: 'login_timeout',
    message,
    hint: 'run: tokctl login corp',
  })
  expect(requests).toHaveLength(1 + Math.floor((seconds - 1) / 5))
})

test('the caller leaves: nothing more is asked or shown', async () => {
  const leaving = new AbortController()
  const given = { signal: leaving.signal, isTerminal: true }
  const { clock, outcome, person, requests } = await begin(told, [], given)
  const reason = new Error('gone')
  leaving.abort(reason)
  expect((await outcome).error).toBe(reason)
  expect(person.told.endsWith('\r\x1b[K')).toBe(true)
  const before = person.told
  await clock.advance(60_000)
  expect(person.told).toBe(before)
  expect(requests).toHaveLength(1)
})

test('a terminal gets a link, the code in a box, and the time that is left, which is gone in the end', async () => {
  const verification_uri_complete = 'https://idp.example.com/activate?user_code=WDJB-MJHT'
  const answer = { ...told, verification_uri_complete, expires_in: 600 }
  const { clock, outcome, person } = await begin(answer, [done], { isTerminal: true })
  expect(person.told).toContain('  │   \x1b[1mWDJB-MJHT\x1b[0m   │\n')
  expect(person.told).toContain(
    `or open this page, which has the code in it:\n  \x1b]8;;${verification_uri_complete}\x1b\\${verification_uri_complete}\x1b]8;;\x1b\\\n`,
  )
  expect(person.told).toContain('\r\x1b[Kwaiting for the sign-in, 10:00 left')
  await clock.advance(3000)
  expect(person.told.endsWith('\r\x1b[Kwaiting for the sign-in, 9:57 left')).toBe(true)
  await clock.advance(2000)
  await outcome
  expect(person.told.endsWith(' left\r\x1b[K')).toBe(true)
})

test('no terminal gets plain lines', async () => {
  const verification_uri_complete = 'https://idp.example.com/activate?user_code=WDJB-MJHT'
  const { clock, person } = await begin({ ...told, verification_uri_complete }, [pending, done])
  await clock.advance(10_000)
  expect(person.told).toContain(
    `or open this page, which has the code in it:\n  ${verification_uri_complete}\n`,
  )
  expect(person.told).not.toMatch(/[^\x20-\x7e\n]/)
})

test('the verification_url of Google is a verification_uri', async () => {
  const { verification_uri: _, ...rest } = told
  const { person } = await begin({ ...rest, verification_url: 'https://www.google.com/device' })
  expect(person.told).toContain('open https://www.google.com/device on any device')
})

test.each([
  'javascript:alert(1)',
  'http://idp.example.com/activate?user_code=x',
  'http://127.0.0.1/activate?user_code=x',
  'https://idp.example.com/\u001b[2J',
  'https://user@idp.example.com/',
  `https://idp.example.com/${'x'.repeat(1000)}`,
  '-x',
  7,
])('a verification_uri_complete %j is not shown, and the code still is', async verification_uri_complete => {
  const { person } = await begin({ ...told, verification_uri_complete }, [], { isTerminal: true })
  expect(person.told).toContain('WDJB-MJHT')
  expect(person.told).not.toContain('or open this page')
  expect(person.told).not.toContain(String(verification_uri_complete))
})

test.each<[object, string]>([
  [{ device_code: undefined }, 'without device_code'],
  [{ device_code: 7 }, 'without device_code'],
  [{ user_code: undefined }, 'without user_code'],
  [{ user_code: '\u001b\u0000' }, 'without user_code'],
  [{ verification_uri: undefined }, 'without verification_uri'],
  [{ verification_uri: 'javascript:alert(1)' }, 'with a verification_uri that is not an https URL'],
  [{ verification_uri: 'http://idp.example.com/' }, 'with a verification_uri that is not an https URL'],
])('an answer with %j cannot be used', async (more, what) => {
  const { outcome, person } = await begin({ ...told, ...more })
  expect((await outcome).error).toMatchObject({
    code: 'invalid_response',
    message: `device authorization endpoint idp.example.com answered ${what}`,
  })
  expect(person.told).toBe('')
})

test('a user code cannot paint the terminal', async () => {
  const { person } = await begin({ ...told, user_code: 'AB\u001b]0;x\u0007\u202eCD' })
  expect(person.told).toContain('  AB ]0;x CD\n')
})

test('a refusal of the first request is told as it is, and what is passing is asked again', async () => {
  const refused = jsonAnswer({ error: 'unauthorized_client', error_description: 'no device flow' }, 400)
  const { outcome } = await begin(refused)
  expect((await outcome).error).toMatchObject({
    code: 'unauthorized_client',
    message:
      'device authorization endpoint idp.example.com answered 400: no device flow (unauthorized_client)',
  })
  const { clock, person, requests } = await begin(jsonAnswer('', 503), [jsonAnswer(told), done])
  await clock.advance(1000)
  expect(requests).toHaveLength(2)
  expect(person.told).toContain('WDJB-MJHT')
})

test('nobody there: a sign-in is needed, and nothing is asked', async () => {
  const { source: _, ...common } = signInProfile()
  const source = deviceCode(
    { ...common, source: 'device_code', device_authorization_endpoint },
    sourcePorts({ clock: fakeClock() }),
  )
  await expect(source.fetch({ timeoutMs: 1000, signal: undefined })).rejects.toMatchObject({
    code: 'login_required',
    message: 'profile "corp" needs a sign-in',
    hint: 'run: tokctl login corp',
  })
})
