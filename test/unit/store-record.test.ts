import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { type CacheRecord, decodeRecord, encodeRecord } from '../../src/store/record.ts'

const record: CacheRecord = {
  etag: 'e1',
  binding: 'b1',
  token: {
    accessToken: new Secret('access-1'),
    tokenType: 'Bearer',
    scope: 'a b',
    obtainedAt: 1_700_000_000_000,
    expiresAt: 1_700_003_600_000,
    renewAt: 1_700_002_000_000,
    refreshToken: undefined,
  },
  refreshToken: new Secret('refresh-1'),
  rejected: ['f'.repeat(64)],
}

function text(changes: object): Secret {
  return new Secret(JSON.stringify({ ...JSON.parse(encodeRecord(record).expose()), ...changes }))
}

function decoded(changes: object): CacheRecord {
  const found = decodeRecord(text(changes))
  if (found === undefined || found === 'newer') throw new Error('not read')
  return found
}

test('a record is read as it was written, on one line', () => {
  const written = encodeRecord(record)
  expect(written.expose()).not.toContain('\n')
  const read = decoded({})
  expect(read.token?.accessToken.expose()).toBe('access-1')
  expect(read.refreshToken?.expose()).toBe('refresh-1')
  expect({ ...read, token: { ...read.token, accessToken: 0 }, refreshToken: 0 }).toEqual({
    ...record,
    token: { ...record.token, accessToken: 0 },
    refreshToken: 0,
  })
})

test('a record without token keeps what else it holds', () => {
  const read = decodeRecord(encodeRecord({ ...record, token: undefined, refreshToken: undefined }))
  expect(read).toEqual({ ...record, token: undefined, refreshToken: undefined })
})

const notRecords: [name: string, text: string][] = [
  ['nothing', ''],
  ['a password of another program', 'hunter2'],
  ['a torn write', encodeRecord(record).expose().slice(0, -20)],
  ['null', 'null'],
  ['a list', '[]'],
  ['no version', '{"etag":"e","binding":"b"}'],
  ['a version that is text', '{"v":"1","etag":"e","binding":"b"}'],
  ['an etag that is a number', '{"v":1,"etag":1,"binding":"b"}'],
  ['fields that only the prototype has', '{"__proto__":{"v":1,"etag":"e","binding":"b"}}'],
]
test.each(notRecords)('reads as nothing kept: %s', (_, text) => {
  expect(decodeRecord(new Secret(text))).toBeUndefined()
})

test('a record of a later version is told, so that it is left alone', () => {
  expect(decodeRecord(text({ v: 2 }))).toBe('newer')
})

const badTokens: [name: string, changes: object][] = [
  ['an expiry that is text', { expires_at: 'soon' }],
  ['an expiry without an offset', { expires_at: '2030-01-01T00:00:00' }],
  ['an expiry before the epoch', { expires_at: -1 }],
  ['an expiry that is a truth value', { expires_at: true }],
  ['an empty access token', { access_token: '' }],
  ['an access token with a line break', { access_token: 'a\nb' }],
  ['no time of issue', { obtained_at: undefined }],
  ['no token type', { token_type: 7 }],
]
test.each(badTokens)('serves no token with %s, and still knows the refresh token', (_, changes) => {
  const read = decoded(changes)
  expect(read.token).toBeUndefined()
  expect(read.refreshToken?.expose()).toBe('refresh-1')
})

test('an empty refresh token is none', () => {
  expect(decoded({ refresh_token: '' }).refreshToken).toBeUndefined()
})

test('an unknown lifetime stays unknown', () => {
  expect(decoded({ expires_at: undefined }).token?.expiresAt).toBeUndefined()
})
