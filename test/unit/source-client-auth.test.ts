import { createPrivateKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { beforeAll, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { ClientCredentialsProfile, SigningAlg } from '../../src/profile/profile.ts'
import { basicCredentials } from '../../src/source/client-auth.ts'
import { type Signing, signJwt } from '../../src/source/jwt.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const sharedSecret = 'a shared secret of more than sixty-four bytes, which is what HS512 asks for: ok'

interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

let keys: Record<'rsa' | 'rsaSmall' | 'pss' | 'p256' | 'p384' | 'p521' | 'k1' | 'ed25519' | 'x25519', KeyPair>
beforeAll(() => {
  keys = {
    rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    rsaSmall: generateKeyPairSync('rsa', { modulusLength: 1024 }),
    pss: whereKnown(
      () =>
        generateKeyPairSync('rsa-pss', {
          modulusLength: 2048,
          hashAlgorithm: 'sha384',
          mgf1HashAlgorithm: 'sha384',
          saltLength: 48,
        } as never),
      () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ),
    p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    p521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
    k1: whereKnown(
      () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
      () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    ),
    ed25519: generateKeyPairSync('ed25519'),
    x25519: generateKeyPairSync('x25519'),
  }
})

// Of two kinds Bun has none; the tests of them are not run there.
function whereKnown(make: () => unknown, instead: () => unknown): KeyPair {
  try {
    return make() as KeyPair
  } catch {
    return instead() as KeyPair
  }
}

function pem(key: KeyObject, type: 'pkcs8' | 'pkcs1' | 'sec1' = 'pkcs8'): Secret {
  return new Secret(key.export({ format: 'pem', type } as never) as string)
}

function signing(key: Secret, alg?: SigningAlg): Signing {
  return { alg, key, kid: 'key-1', keyName: 'private_key' }
}

const algorithms: [alg: SigningAlg, key: keyof typeof keys][] = [
  ['RS256', 'rsa'],
  ['RS384', 'rsa'],
  ['RS512', 'rsa'],
  ['PS256', 'rsa'],
  ['PS384', 'rsa'],
  ['PS512', 'rsa'],
  ['ES256', 'p256'],
  ['ES384', 'p384'],
  ['ES512', 'p521'],
  ['EdDSA', 'ed25519'],
]
test.each(algorithms)('signs %s with a key of type %s so that jose verifies it', async (alg, name) => {
  const { privateKey, publicKey } = keys[name]
  const signed = signJwt({ iss: 'me', n: 'ü' }, signing(pem(privateKey), alg)).expose()
  const { payload, protectedHeader } = await jose.jwtVerify(signed, publicKey, { algorithms: [alg] })
  expect(payload).toEqual({ iss: 'me', n: 'ü' })
  expect(protectedHeader).toEqual({ alg, typ: 'JWT', kid: 'key-1' })
  const [head, body, signature = ''] = signed.split('.')
  const broken = `${head}.${body}.${signature.slice(0, -8)}AAAAAAAA`
  await expect(jose.jwtVerify(broken, publicKey)).rejects.toThrow('signature verification failed')
})

// jose takes no keys that are bound to RSA-PSS, so Node itself has to do.
test('signs PS384 with a key that is bound to it', () => {
  const { privateKey, publicKey } = keys.pss
  const [head, body, signature = ''] = signJwt({ iss: 'me' }, signing(pem(privateKey), 'PS384'))
    .expose()
    .split('.')
  expect(
    verify('sha384', Buffer.from(`${head}.${body}`), publicKey, Buffer.from(signature, 'base64url')),
  ).toBe(true)
})

test.each(['HS256', 'HS384', 'HS512'] as const)(
  'signs %s with the client secret so that jose verifies it',
  async alg => {
    const signed = signJwt(
      { iss: 'me' },
      { alg, key: new Secret(sharedSecret), kid: undefined, keyName: 'client_secret' },
    )
    const { protectedHeader } = await jose.jwtVerify(signed.expose(), Buffer.from(sharedSecret), {
      algorithms: [alg],
    })
    expect(protectedHeader).toEqual({ alg, typ: 'JWT' })
  },
)

const defaults: [key: keyof typeof keys, alg: string][] = [
  ['rsa', 'RS256'],
  ['pss', 'PS384'],
  ['p256', 'ES256'],
  ['p384', 'ES384'],
  ['p521', 'ES512'],
  ['ed25519', 'EdDSA'],
]
test.each(defaults)('chooses for a key of type %s the algorithm %s', (name, alg) => {
  const signed = signJwt({}, signing(pem(keys[name].privateKey))).expose()
  expect(jose.decodeProtectedHeader(signed).alg).toBe(alg)
})

test('reads PKCS #1, SEC 1 and JWK keys as well', async () => {
  // Read from its PEM: Node 20 can wait for itself for ever when a key fresh from its generator is exported as a JWK.
  const key = createPrivateKey(pem(keys.p256.privateKey).expose())
  const jwk = new Secret(JSON.stringify(key.export({ format: 'jwk' })))
  for (const [key, publicKey] of [
    [pem(keys.rsa.privateKey, 'pkcs1'), keys.rsa.publicKey],
    [pem(keys.p256.privateKey, 'sec1'), keys.p256.publicKey],
    [jwk, keys.p256.publicKey],
    [new Secret(`\n  ${pem(keys.rsa.privateKey).expose()}\n`), keys.rsa.publicKey],
  ] as const) {
    await expect(jose.jwtVerify(signJwt({}, signing(key)).expose(), publicKey)).resolves.toBeDefined()
  }
})

const misfits: [name: string, make: () => Signing, message: string][] = [
  [
    'ES256 with an RSA key',
    () => signing(pem(keys.rsa.privateKey), 'ES256'),
    'signing_alg ES256 does not fit private_key, which is an RSA key of 2048 bits',
  ],
  [
    'RS256 with an EC key',
    () => signing(pem(keys.p256.privateKey), 'RS256'),
    'signing_alg RS256 does not fit private_key, which is an EC key on prime256v1',
  ],
  [
    'ES384 with a key on P-256',
    () => signing(pem(keys.p256.privateKey), 'ES384'),
    'signing_alg ES384 does not fit private_key, which is an EC key on prime256v1',
  ],
  [
    'EdDSA with an RSA key',
    () => signing(pem(keys.rsa.privateKey), 'EdDSA'),
    'signing_alg EdDSA does not fit private_key, which is an RSA key of 2048 bits',
  ],
  [
    'HS256 with a private key',
    () => signing(pem(keys.rsa.privateKey), 'HS256'),
    'signing_alg HS256 does not fit private_key, which is an RSA key of 2048 bits',
  ],
  [
    'PS256 with a key made for SHA-384',
    () => signing(pem(keys.pss.privateKey), 'PS256'),
    'signing_alg PS256 does not fit private_key, which is an RSA-PSS key (sha384)',
  ],
  [
    'RS256 with an RSA-PSS key',
    () => signing(pem(keys.pss.privateKey), 'RS256'),
    'signing_alg RS256 does not fit private_key, which is an RSA-PSS key (sha384)',
  ],
  [
    'a small RSA key',
    () => signing(pem(keys.rsaSmall.privateKey)),
    'private_key is an RSA key of 1024 bits; RS256 needs 2048 bits',
  ],
  [
    'a curve of no algorithm',
    () => signing(pem(keys.k1.privateKey)),
    'private_key is an EC key on secp256k1, which no signing_alg is for',
  ],
  [
    'a key that cannot sign',
    () => signing(pem(keys.x25519.privateKey)),
    'private_key is a key of type x25519, which no signing_alg is for',
  ],
  [
    'a public key',
    () => signing(new Secret(keys.rsa.publicKey.export({ format: 'pem', type: 'spki' }) as string)),
    'private_key is a public key or a certificate, which cannot sign',
  ],
  ['something else', () => signing(new Secret('canary')), 'private_key is not a private key (PEM or JWK)'],
  ['broken JSON', () => signing(new Secret('{"canary')), 'private_key is not a private key (PEM or JWK)'],
  [
    'a key with a passphrase',
    () =>
      signing(
        new Secret(
          keys.rsa.privateKey.export({
            format: 'pem',
            type: 'pkcs8',
            cipher: 'aes-256-cbc',
            passphrase: 'x',
          }) as string,
        ),
      ),
    'private_key is protected by a passphrase, which tokctl does not ask for',
  ],
  [
    'RS256 with a client secret',
    () => ({ alg: 'RS256', key: new Secret('canary'), kid: undefined, keyName: 'client_secret' }),
    'signing_alg RS256 does not fit client_secret, which signs with HS256, HS384 or HS512',
  ],
]
test.each(misfits)('refuses %s', (_, make, message) => {
  let error: unknown
  try {
    signJwt({}, make())
  } catch (thrown) {
    error = thrown
  }
  expect(error).toMatchObject({ code: 'config_invalid', message })
  expect(JSON.stringify(error)).not.toContain('canary')
})

const halves = ['build-bot', 'a-b_c.d~e*f', 'sp ace', '100%', 'co:lon', 'a+b&c=d/e', 'ümlaut €', '']
test.each(halves)('encodes %j in Basic credentials so that a form decoder gets it back', async text => {
  const decode = (header: string): string[] => {
    const [id = '', secret = ''] = Buffer.from(header.slice('Basic '.length), 'base64').toString().split(':')
    return [id, secret].map(half => new URLSearchParams(`x=${half}`).get('x') ?? '')
  }
  const ours = basicCredentials(text, new Secret(text), 'rfc6749')
  expect(decode(ours)).toEqual([text, text])
  if (text === '') return
  const headers = new Headers()
  await oauth.ClientSecretBasic(text)(
    { issuer: 'https://x' },
    { client_id: text },
    new URLSearchParams(),
    headers,
  )
  expect(decode(ours)).toEqual(decode(headers.get('authorization') ?? ''))
})

test('leaves in Basic credentials what servers that do not decode would trip over', () => {
  const plain = Buffer.from('build-bot_1.x:s-e_c.r*t').toString('base64')
  expect(basicCredentials('build-bot_1.x', new Secret('s-e_c.r*t'), 'rfc6749')).toBe(`Basic ${plain}`)
})

test('sends Basic credentials as they are where the profile says raw', () => {
  const plain = Buffer.from('id:p:a%s+s ü').toString('base64')
  expect(basicCredentials('id', new Secret('p:a%s+s ü'), 'raw')).toBe(`Basic ${plain}`)
})

/** The request that a profile leads to. */
async function requestOf(
  profile: Partial<ClientCredentialsProfile>,
): Promise<{ request: HttpRequest; form: URLSearchParams }> {
  const { send, requests } = scriptedSend(jsonAnswer({ access_token: 'token-1' }))
  const secrets = { SECRET: sharedSecret, KEY: pem(keys.rsa.privateKey).expose() }
  const source = await createSource(
    clientProfile(profile),
    sourcePorts({ send, secrets, clock: fakeClock() }),
  )
  await source.fetch({ timeoutMs: 1000, signal: undefined })
  const [request] = requests
  return { request: request as HttpRequest, form: new URLSearchParams(request?.body) }
}

test('asks with the fields of the grant, the profile and nothing else', async () => {
  const { request, form } = await requestOf({
    scope: 'api.read api.write',
    audience: 'https://api.example.com',
    resource: ['https://a.example.com', 'https://b.example.com'],
    params: { organization: 'ö&=', scope: 'other' },
  })
  expect([...form]).toEqual([
    ['grant_type', 'client_credentials'],
    ['scope', 'other'],
    ['audience', 'https://api.example.com'],
    ['resource', 'https://a.example.com'],
    ['resource', 'https://b.example.com'],
    ['organization', 'ö&='],
  ])
  expect(request).toMatchObject({ method: 'POST', url: 'https://idp.example.com/token', tls: undefined })
  expect(request.headers).toEqual({
    accept: 'application/json',
    'content-type': 'application/x-www-form-urlencoded',
    'user-agent': 'tokctl',
    authorization: basicCredentials('build-bot', new Secret(sharedSecret), 'rfc6749'),
  })
})

test('client_secret_post sends id and secret in the form, and params cannot put another in their place', async () => {
  const { request, form } = await requestOf({
    client_auth: 'client_secret_post',
    params: { client_id: 'other' },
  })
  expect(form.get('client_id')).toBe('build-bot')
  expect(form.get('client_secret')).toBe(sharedSecret)
  expect(request.headers['authorization']).toBeUndefined()
})

const hardSecret = 'c4n4ry+/=% "ü(!)\\'
const quotes: [
  name: string,
  profile: Partial<ClientCredentialsProfile>,
  quote: (request: HttpRequest) => string,
][] = [
  ['the Authorization header', {}, ({ headers }) => `got ${headers['authorization']}`],
  [
    'its base64 without padding',
    { basic_encoding: 'raw' },
    ({ headers }) => headers['authorization']?.replace(/^Basic |=+$/g, '') ?? '',
  ],
  [
    'what its base64 holds',
    {},
    ({ headers }) => Buffer.from(headers['authorization']?.slice(6) ?? '', 'base64').toString(),
  ],
  ['the form', { client_auth: 'client_secret_post' }, ({ body }) => `${body}`],
  [
    'the form with percent codes in lower case',
    { client_auth: 'client_secret_post' },
    ({ body }) => `${body}`.replace(/%../g, code => code.toLowerCase()),
  ],
  ['the secret as a browser would encode it', {}, () => `secret=${encodeURIComponent(hardSecret)}`],
  [
    'the secret with its spaces as %20',
    {},
    () => new URLSearchParams({ secret: hardSecret }).toString().replaceAll('+', '%20'),
  ],
  ['the secret inside JSON', {}, () => JSON.stringify({ secret: hardSecret })],
  [
    'the assertion',
    { client_auth: 'client_secret_jwt' },
    ({ body }) => `${new URLSearchParams(body).get('client_assertion')}`,
  ],
]
test.each(quotes)('a server that quotes %s does not make us print the secret', async (_, profile, quote) => {
  let quoted = ''
  const { send } = scriptedSend(request => {
    quoted = quote(request)
    return jsonAnswer({ error: 'invalid_client', error_description: `bad: ${quoted}` }, 401)
  })
  const padded = profile.client_auth === 'client_secret_jwt' ? sharedSecret : hardSecret
  const source = await createSource(
    clientProfile(profile),
    sourcePorts({ send, secrets: { SECRET: padded }, clock: fakeClock() }),
  )
  const { code, message } = await source.fetch({ timeoutMs: 1000, signal: undefined }).catch(error => error)
  expect(code).toBe('invalid_client')
  expect(message).toContain('[redacted]')
  expect(message).not.toContain('c4n4ry')
  for (const word of quoted.split(/[\s:&]+/).filter(each => each.length > 30))
    expect(message).not.toContain(word)
})

test('a secret that comes back as the type of a token, or in a redirect, is not printed', async () => {
  const { send } = scriptedSend(
    jsonAnswer({ access_token: 'x', token_type: hardSecret }),
    jsonAnswer('', 302, { location: `https://a.example.com/${encodeURIComponent(hardSecret)}/x` }),
  )
  const source = await createSource(
    clientProfile(),
    sourcePorts({ send, secrets: { SECRET: hardSecret }, clock: fakeClock() }),
  )
  const fetch = () => source.fetch({ timeoutMs: 1000, signal: undefined }).catch(error => error)
  expect((await fetch()).message).toContain('with a token of type "[redacted]"')
  expect((await fetch()).hint).toContain('https://a.example.com/[redacted]/x')
})

test('none sends the id alone and asks for no secret', async () => {
  const { form } = await requestOf({ client_auth: 'none', client_secret: { env: 'ABSENT' } })
  expect(Object.fromEntries(form)).toEqual({ grant_type: 'client_credentials', client_id: 'build-bot' })
})

test('private_key_jwt sends a short-lived assertion for the token endpoint', async () => {
  const profile = {
    client_auth: 'private_key_jwt',
    private_key: { env: 'KEY' },
    kid: 'key-1',
    client_secret: { env: 'ABSENT' },
  } as const
  const { form } = await requestOf(profile)
  const now = fakeClock().now() / 1000
  const { payload, protectedHeader } = await jose.jwtVerify(
    form.get('client_assertion') ?? '',
    keys.rsa.publicKey,
    {
      currentDate: new Date(now * 1000),
      audience: 'https://idp.example.com/token',
      issuer: 'build-bot',
      subject: 'build-bot',
    },
  )
  expect(protectedHeader).toEqual({ alg: 'RS256', typ: 'JWT', kid: 'key-1' })
  expect({ iat: payload.iat, exp: payload.exp }).toEqual({ iat: now - 30, exp: now + 120 })
  expect(form.get('client_assertion_type')).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  expect(form.get('client_id')).toBe('build-bot')
  const again = await requestOf({ ...profile, assertion_audience: 'https://idp.example.com' })
  const second = jose.decodeJwt(again.form.get('client_assertion') ?? '')
  expect(second.aud).toBe('https://idp.example.com')
  expect(second.jti).not.toBe(payload.jti)
})

const incomplete: [name: string, profile: Partial<ClientCredentialsProfile>, message: string][] = [
  [
    'client_secret_basic',
    { client_auth: 'client_secret_basic' },
    'client_auth client_secret_basic needs client_secret',
  ],
  [
    'client_secret_post',
    { client_auth: 'client_secret_post' },
    'client_auth client_secret_post needs client_secret',
  ],
  [
    'client_secret_jwt',
    { client_auth: 'client_secret_jwt' },
    'client_auth client_secret_jwt needs client_secret',
  ],
  ['private_key_jwt', { client_auth: 'private_key_jwt' }, 'client_auth private_key_jwt needs private_key'],
]
test.each(incomplete)('says what %s lacks, before anything is sent', async (_, profile, message) => {
  const { client_secret: _secret, ...rest } = clientProfile(profile)
  const source = await createSource(rest, sourcePorts())
  const error = await source.fetch({ timeoutMs: 1000, signal: undefined }).catch(e => e)
  expect(error).toMatchObject({ code: 'config_invalid', message })
})

const skewed = (aheadMs: number, status = 401, code = 'invalid_client') => {
  const date = new Date(fakeClock().now() + aheadMs).toUTCString()
  return jsonAnswer({ error: code }, status, { date })
}
const signed = { client_auth: 'private_key_jwt', private_key: { env: 'KEY' } } as const

async function fetchSkewed(
  profile: Partial<ClientCredentialsProfile>,
  ...answers: ReturnType<typeof jsonAnswer>[]
) {
  const { send, requests } = scriptedSend(...answers)
  const secrets = { SECRET: sharedSecret, KEY: pem(keys.rsa.privateKey).expose() }
  const source = await createSource(
    clientProfile(profile),
    sourcePorts({ send, secrets, clock: fakeClock() }),
  )
  const outcome = await source.fetch({ timeoutMs: 1000, signal: undefined }).catch(e => e)
  const issued = requests.map(({ body }) => {
    const assertion = new URLSearchParams(body).get('client_assertion')
    return assertion === null ? undefined : (jose.decodeJwt(assertion).iat ?? 0) - fakeClock().now() / 1000
  })
  return { outcome, issued }
}

test.each([
  [3_600_000, 401, 'invalid_client'],
  [-3_600_000, 400, 'invalid_grant'],
  [31_000, 400, 'invalid_client'],
  [45_000, 401, 'whatever'],
])(
  'signs again with the server’s time when it is %i ms ahead and answers %i %s',
  async (aheadMs, status, code) => {
    const { outcome, issued } = await fetchSkewed(
      signed,
      skewed(aheadMs, status, code),
      jsonAnswer({ access_token: 't' }),
    )
    expect(outcome.accessToken.expose()).toBe('t')
    expect(issued).toEqual([-30, -30 + aheadMs / 1000])
  },
)

test.each([
  ['the clocks agree', signed, skewed(20_000)],
  ['the server is ill', signed, skewed(3_600_000, 400, 'invalid_scope')],
  ['nothing was signed', {}, skewed(3_600_000)],
] as const)('does not ask again when %s', async (_, profile, answer) => {
  const { outcome, issued } = await fetchSkewed(profile, answer)
  expect(outcome.code).toMatch(/^invalid_(client|scope)$/)
  expect(issued).toHaveLength(1)
})

test('signs again once, not twice', async () => {
  const { outcome, issued } = await fetchSkewed(signed, skewed(3_600_000), skewed(7_200_000))
  expect(outcome.code).toBe('invalid_client')
  expect(issued).toHaveLength(2)
})
