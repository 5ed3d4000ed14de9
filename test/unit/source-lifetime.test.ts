import fc from 'fast-check'
import { expect, test } from 'vitest'
import { expiryOf, readRetryAfter, readSeconds, serverAhead } from '../../src/source/lifetime.ts'

const now = 1_800_000_000_000
const tenYears = 3650 * 86_400_000

function jwt(claims: unknown): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'RS256' })}.${part(claims)}.c2ln`
}

const seconds: [value: unknown, read: number | undefined][] = [
  [3600, 3600],
  ['3600', 3600],
  [' 3600 ', 3600],
  [0, 0],
  ['0', 0],
  [0.5, 0.5],
  ['3599.9', 3599.9],
  [1e308, 1e308],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  [null, undefined],
  [undefined, undefined],
  ['soon', undefined],
  ['', undefined],
  [-5, undefined],
  ['-5', undefined],
  [true, undefined],
  ['0x10', undefined],
  ['3600s', undefined],
  ['1e3', undefined],
  [Number.NaN, undefined],
  [[3600], undefined],
  [{}, undefined],
]
test.each(seconds)('reads expires_in %j as %j seconds', (value, read) => {
  expect(readSeconds(value)).toBe(read)
})

const expiries: [
  name: string,
  told: Parameters<typeof expiryOf>[0],
  ahead: number,
  ttl: number | undefined,
  at: number | undefined,
][] = [
  [
    'seconds count from when it was obtained',
    { expiresIn: 3600, accessToken: 'x' },
    0,
    undefined,
    now + 3_600_000,
  ],
  [
    'whatever the server’s clock says',
    { expiresIn: 3600, accessToken: 'x' },
    9e6,
    undefined,
    now + 3_600_000,
  ],
  ['zero serves this call alone', { expiresIn: 0, accessToken: 'x' }, 0, 60_000, now],
  ['too much is ten years', { expiresIn: 1e308, accessToken: 'x' }, 0, undefined, now + tenYears],
  [
    'endless is ten years',
    { expiresIn: Number.POSITIVE_INFINITY, accessToken: 'x' },
    0,
    undefined,
    now + tenYears,
  ],
  [
    'nothing usable is the configured lifetime',
    { expiresIn: 'soon', accessToken: 'x' },
    0,
    60_000,
    now + 60_000,
  ],
  ['or unknown', { expiresIn: null, accessToken: 'x' }, 0, undefined, undefined],
  [
    'an instant with an offset',
    { expiresAt: '2027-01-15T09:00:00+01:00', accessToken: 'x' },
    0,
    undefined,
    now,
  ],
  [
    'an instant with fractions',
    { expiresAt: '2027-01-15T08:00:10.5Z', accessToken: 'x' },
    0,
    undefined,
    now + 10_500,
  ],
  [
    'an instant without an offset is none',
    { expiresAt: '2027-01-15T09:00:00', accessToken: 'x' },
    0,
    5000,
    now + 5000,
  ],
  ['seconds since the epoch', { expiresAt: now / 1000 + 60, accessToken: 'x' }, 0, undefined, now + 60_000],
  [
    'the same as a text',
    { expiresAt: String(now / 1000 + 60), accessToken: 'x' },
    0,
    undefined,
    now + 60_000,
  ],
  [
    'milliseconds since the epoch are not seconds',
    { expiresAt: now, accessToken: 'x' },
    0,
    undefined,
    undefined,
  ],
  [
    'absolute times are by the server’s clock',
    { expiresAt: now / 1000 + 60, accessToken: 'x' },
    20_000,
    undefined,
    now + 40_000,
  ],
  ['the past is now', { expiresAt: 1, accessToken: 'x' }, 0, undefined, now],
  ['exp where nothing is told', { accessToken: jwt({ exp: now / 1000 + 60 }) }, 0, 5000, now + 60_000],
  [
    'exp by the server’s clock',
    { accessToken: jwt({ exp: now / 1000 + 60 }) },
    -20_000,
    undefined,
    now + 80_000,
  ],
  [
    'exp shortens',
    { expiresIn: 3600, accessToken: jwt({ exp: now / 1000 + 60 }) },
    0,
    undefined,
    now + 60_000,
  ],
  [
    'exp never lengthens',
    { expiresIn: 60, accessToken: jwt({ exp: now / 1000 + 3600 }) },
    0,
    undefined,
    now + 60_000,
  ],
  ['exp in the past is now', { expiresIn: 3600, accessToken: jwt({ exp: 1 }) }, 0, undefined, now],
  ['a negative exp is now', { expiresIn: 3600, accessToken: jwt({ exp: -1 }) }, 0, undefined, now],
  ['a huge exp is ignored', { accessToken: jwt({ exp: 1e300 }) }, 0, undefined, undefined],
  ['an exp that is a text is ignored', { accessToken: jwt({ exp: '4102444800' }) }, 0, undefined, undefined],
  ['claims without exp', { accessToken: jwt({ iat: 1 }) }, 0, undefined, undefined],
  ['claims null', { accessToken: jwt(null) }, 0, undefined, undefined],
  [
    'claims in a list, deeply',
    { accessToken: `a.${Buffer.from('['.repeat(50_000)).toString('base64url')}.c` },
    0,
    undefined,
    undefined,
  ],
  ['claims that are not JSON', { accessToken: 'a.aGVsbG8.c' }, 0, undefined, undefined],
  ['claims that are not base64url', { accessToken: 'a.!!!!.c' }, 0, undefined, undefined],
  ['five parts are opaque', { accessToken: `${jwt({ exp: 1 })}.d.e` }, 0, undefined, undefined],
  ['empty parts', { accessToken: '..' }, 0, undefined, undefined],
]
test.each(expiries)('works out the expiry: %s', (_, told, ahead, ttl, at) => {
  expect(expiryOf(told, now, ahead, ttl)).toBe(at)
})

test('an expiry is never before the token was obtained, never beyond ten years, and always a whole number', () => {
  const anything = fc.oneof(fc.anything(), fc.double(), fc.integer(), fc.integer().map(String))
  fc.assert(
    fc.property(
      anything,
      anything,
      anything,
      fc.integer({ min: -1e9, max: 1e9 }),
      (expiresIn, expiresAt, exp, ahead) => {
        let accessToken = 'opaque'
        try {
          accessToken = jwt({ exp })
        } catch {
          // Some things cannot be written as JSON.
        }
        const at = expiryOf({ expiresIn, expiresAt, accessToken }, now, ahead, undefined)
        if (at === undefined) return
        expect(Number.isSafeInteger(at)).toBe(true)
        expect(at).toBeGreaterThanOrEqual(now)
        expect(at).toBeLessThanOrEqual(now + tenYears)
      },
    ),
  )
})

test('a number of seconds and the same number as a text give the same expiry', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 31 }), n => {
      const of = (expiresIn: unknown) => expiryOf({ expiresIn, accessToken: 'x' }, now, 0, undefined)
      expect(of(n)).toBe(of(String(n)))
      expect(of(n)).toBe(Math.min(now + n * 1000, now + tenYears))
    }),
  )
})

const date = new Date(now).toUTCString()
const clocks: [
  name: string,
  header: string | undefined,
  sentAt: number,
  receivedAt: number,
  ahead: number,
][] = [
  ['no Date', undefined, now, now, 0],
  ['not a date', 'yesterday', now, now, 0],
  ['the same time', date, now - 100, now + 100, 0],
  ['a difference the second and the way explain', date, now - 4900, now - 4900, 0],
  ['a slow answer explains more', date, now - 30_000, now, 0],
  ['the server is ahead', date, now - 60_000, now - 60_000, 60_000],
  ['the server is behind', date, now + 3_600_000, now + 3_600_000, -3_600_000],
]
test.each(clocks)('tells how far the server is ahead: %s', (_, header, sentAt, receivedAt, ahead) => {
  expect(serverAhead(header, sentAt, receivedAt)).toBe(ahead)
})

const pauses: [value: string | undefined, serverDate: string | undefined, ms: number | undefined][] = [
  [undefined, undefined, undefined],
  ['7', undefined, 7000],
  [' 7 ', undefined, 7000],
  ['0', undefined, 1000],
  ['99999999999', undefined, 3_600_000],
  [new Date(now + 90_000).toUTCString(), undefined, 90_000],
  [new Date(now + 90_000).toUTCString(), new Date(now + 60_000).toUTCString(), 30_000],
  ['Fri, 31 Dec 2077 23:59:59 GMT', undefined, 3_600_000],
  [new Date(now - 90_000).toUTCString(), undefined, undefined],
  ['-5', undefined, undefined],
  ['soon', undefined, undefined],
  ['1.5', undefined, undefined],
  ['', undefined, undefined],
]
test.each(pauses)('reads Retry-After %j (Date %j) as %j ms', (value, serverDate, ms) => {
  expect(readRetryAfter(value, serverDate, now)).toBe(ms)
})
