import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { ClientCredentialsProfile } from '../../src/profile/profile.ts'
import { dpopProof, jwkThumbprint, keepNonce, makeDpopKey, nonceFor } from '../../src/source/dpop.ts'
import { createSource } from '../../src/source/sources.ts'
import type { HttpRequest, HttpResponse } from '../../src/source/transport.ts'
import { fakeClock } from '../support/clock.ts'
import { clientProfile, jsonAnswer, scriptedSend, sourcePorts } from '../support/source-ports.ts'

const bound = jsonAnswer({ access_token: 'token-1', token_type: 'DPoP', expires_in: 60 })
const ask = {
  method: 'POST',
  url: 'https://idp.example.com/token?x=1#y',
  now: 1_800_000_000_000,
  nonce: undefined,
}

async function fetchWith(
  answers: (HttpResponse | Error)[],
  given: Partial<ClientCredentialsProfile> = {},
  dpopKey?: Secret,
) {
  const { send, requests } = scriptedSend(...answers)
  const traced: string[] = []
  const clock = { ...fakeClock(), sleep: async () => {} }
  const ports = sourcePorts({ clock, send, secrets: { SECRET: 's3cret' }, trace: line => traced.push(line) })
  const source = await createSource(clientProfile({ dpop: true, ...given }), ports)
  const kept = { refreshToken: undefined, dpopKey, seed: undefined }
  const outcome = await source.fetch({ timeoutMs: 30_000, signal: undefined, kept }).then(
    token => ({ token, error: undefined }),
    (error: unknown) => ({ token: undefined, error }),
  )
  return { ...outcome, requests, traced }
}

async function readProof(request: HttpRequest | undefined) {
  const { payload, protectedHeader } = await jose.jwtVerify(
    request?.headers['dpop'] ?? '',
    jose.EmbeddedJWK,
    {
      currentDate: new Date(1_800_000_000_000),
    },
  )
  const jkt = await jose.calculateJwkThumbprint(protectedHeader.jwk as jose.JWK)
  return { claims: payload, header: protectedHeader, jkt }
}

test('a proof is signed by the key that it shows, for one method and address, and shows nothing private', async () => {
  const key = makeDpopKey()
  const proof = dpopProof(key, ask)
  const { payload, protectedHeader } = await jose.jwtVerify(proof, jose.EmbeddedJWK, {
    currentDate: new Date(ask.now),
    typ: 'dpop+jwt',
    algorithms: ['ES256'],
  })
  expect(payload).toEqual({
    htm: 'POST',
    htu: 'https://idp.example.com/token',
    iat: ask.now / 1000 - 5,
    jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
  })
  expect(Object.keys(protectedHeader.jwk ?? {}).sort()).toEqual(['crv', 'kty', 'x', 'y'])
  expect(dpopProof(key, ask)).not.toBe(proof)
  expect(jose.decodeJwt(dpopProof(key, { ...ask, nonce: 'n-1' }))).toMatchObject({ nonce: 'n-1' })
})

test('the thumbprint of a key is the one that jose and oauth4webapi calculate', async () => {
  const key = makeDpopKey()
  const { d: _, ...publicKey } = JSON.parse(key.expose())
  expect(jwkThumbprint(key)).toBe(await jose.calculateJwkThumbprint(publicKey))
  const pair = await oauth.generateKeyPair('ES256', { extractable: true })
  const theirs = new Secret(JSON.stringify(await crypto.subtle.exportKey('jwk', pair.privateKey)))
  expect(jwkThumbprint(theirs)).toBe(await oauth.DPoP({}, pair).calculateThumbprint())
})

test.each(['{}', 'nonsense', 'null', '{"kty":"RSA","n":"x","e":"AQAB"}'])('refuses %s as a key', text => {
  expect(() => jwkThumbprint(new Secret(text))).toThrow(
    'the kept key that tokens are bound to cannot be used',
  )
})

test('makes a key at the first request, shows it, and gives it with the token', async () => {
  const { token, requests } = await fetchWith([bound])
  const { claims, jkt } = await readProof(requests[0])
  expect(claims).toMatchObject({ htm: 'POST', htu: 'https://idp.example.com/token' })
  expect(token?.tokenType).toBe('DPoP')
  expect(jwkThumbprint(token?.dpopKey ?? new Secret(''))).toBe(jkt)
  expect(`${JSON.stringify(token)}${token?.dpopKey}`).not.toContain(
    JSON.parse(token?.dpopKey?.expose() ?? '{}').d,
  )
})

test('goes on with the key that was kept', async () => {
  const key = makeDpopKey()
  const { token, requests } = await fetchWith([bound], {}, key)
  expect((await readProof(requests[0])).jkt).toBe(jwkThumbprint(key))
  expect(token?.dpopKey?.expose()).toBe(key.expose())
})

test('each attempt has a proof of its own', async () => {
  const { requests } = await fetchWith([jsonAnswer('', 503), bound])
  const [first, second] = await Promise.all(requests.map(readProof))
  expect(first?.jkt).toBe(second?.jkt)
  expect(first?.claims.jti).not.toBe(second?.claims.jti)
})

test('asks once more with the nonce that the server wants, and keeps the newest', async () => {
  const token_endpoint = 'https://nonce.example.com/token'
  const wants = (nonce: string) => jsonAnswer({ error: 'use_dpop_nonce' }, 400, { 'dpop-nonce': nonce })
  const fresh = { ...bound, headers: { ...bound.headers, 'dpop-nonce': 'n-2' } }
  const first = await fetchWith([wants('n-1'), fresh], { token_endpoint })
  expect(first.requests.map(({ headers }) => jose.decodeJwt(headers['dpop'] ?? '').nonce)).toEqual([
    undefined,
    'n-1',
  ])
  expect(first.traced).toEqual(['the server wants a nonce in the proof of the key: asking again'])
  const next = await fetchWith([bound], { token_endpoint })
  expect(jose.decodeJwt(next.requests[0]?.headers['dpop'] ?? '').nonce).toBe('n-2')
  expect(nonceFor('https://nonce.example.com:444/token')).toBeUndefined()

  const stubborn = await fetchWith([wants('n-3'), wants('n-4')], { token_endpoint })
  expect(stubborn.requests).toHaveLength(2)
  expect(stubborn.error).toMatchObject({
    code: 'request_refused',
    message: 'token endpoint nonce.example.com answered 400 (use_dpop_nonce)',
  })
})

test('does not ask again for a nonce that did not come, or that no proof may hold', async () => {
  const token_endpoint = 'https://odd.example.com/token'
  for (const headers of [{}, { 'dpop-nonce': 'a b' }, { 'dpop-nonce': 'a"b' }]) {
    const { requests, error } = await fetchWith([jsonAnswer({ error: 'use_dpop_nonce' }, 400, headers)], {
      token_endpoint,
    })
    expect(requests).toHaveLength(1)
    expect(error).toMatchObject({ code: 'request_refused' })
  }
  expect(keepNonce(token_endpoint, 'n', undefined)).toBe(true)
  expect(keepNonce(token_endpoint, 'n', 'n')).toBe(false)
})

test('proves the key again with the server’s time where the clocks differ', async () => {
  const date = new Date(1_800_000_000_000 + 3_600_000).toUTCString()
  const refused = jsonAnswer({ error: 'invalid_dpop_proof' }, 400, { date })
  const { token, requests } = await fetchWith([refused, { ...bound, headers: { ...bound.headers, date } }])
  expect(token?.accessToken.expose()).toBe('token-1')
  const issued = requests.map(({ headers }) => jose.decodeJwt(headers['dpop'] ?? '').iat ?? 0)
  expect((issued[1] ?? 0) - (issued[0] ?? 0)).toBe(3600)
})

test('a token that is bound to nothing we know is refused without dpop, and a Bearer token is taken with it', async () => {
  const { error, requests } = await fetchWith([bound], { dpop: false })
  expect(requests[0]?.headers).not.toHaveProperty('dpop')
  expect(error).toMatchObject({
    code: 'invalid_response',
    message:
      'token endpoint idp.example.com answered 200 with a token of type "DPoP", which tokctl cannot use',
  })
  const bearer = await fetchWith([jsonAnswer({ access_token: 't', token_type: 'Bearer' })])
  expect(bearer.token).toMatchObject({ tokenType: 'Bearer' })
})

test('oauth4webapi sends a proof of the same shape', async () => {
  const pair = await oauth.generateKeyPair('ES256')
  let theirs = ''
  await oauth.genericTokenEndpointRequest(
    { issuer: 'https://idp.example.com', token_endpoint: 'https://idp.example.com/token' },
    { client_id: 'c' },
    oauth.None(),
    'client_credentials',
    {},
    {
      DPoP: oauth.DPoP({}, pair),
      [oauth.customFetch]: async (_, { headers }) => {
        theirs = new Headers(headers).get('dpop') ?? ''
        return new Response('{}', { headers: { 'content-type': 'application/json' } })
      },
    },
  )
  const ours = (await fetchWith([bound])).requests[0]?.headers['dpop'] ?? ''
  const shape = (jwt: string) => ({
    header: Object.keys(jose.decodeProtectedHeader(jwt)).sort(),
    typ: jose.decodeProtectedHeader(jwt).typ,
    alg: jose.decodeProtectedHeader(jwt).alg,
    claims: Object.keys(jose.decodeJwt(jwt)).sort(),
    htm: jose.decodeJwt(jwt)['htm'],
    htu: jose.decodeJwt(jwt)['htu'],
  })
  expect(shape(ours)).toEqual(shape(theirs))
})
