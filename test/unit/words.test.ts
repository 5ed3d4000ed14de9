import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exitCodeOf, isErrorCode, printable, TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { formatDuration, formatInstant, parseDuration, parseInstant } from '../../src/core/time.ts'
import { isTokenText } from '../../src/core/token.ts'

describe('a secret', () => {
  test('shows itself nowhere but through expose', () => {
    const secret = new Secret('canary')
    const shown = [
      String(secret),
      `${secret}`,
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ deep: { secret } }, { depth: 9, showHidden: true }),
      Object.keys(secret).join(),
    ]
    for (const text of shown) expect(text).not.toContain('canary')
    expect(JSON.stringify(secret)).toBe('"[redacted]"')
    expect(secret.expose()).toBe('canary')
  })

  test('equals another of the same value only', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(new Secret(a).equals(new Secret(b))).toBe(a === b)
      }),
    )
    expect(new Secret('ab').equals(new Secret('abc'))).toBe(false)
  })
})

describe('durations', () => {
  const good: [text: string, ms: number][] = [
    ['500ms', 500],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
    ['0s', 0],
    ['3650d', 315_360_000_000],
  ]
  test.each(good)('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

  const bad = [
    '',
    '5',
    '5 m',
    '5M',
    '-5m',
    '+5m',
    '1.5h',
    '1h30m',
    'm',
    '5min',
    '٥m',
    '3651d',
    '9999999999999s',
    '5m\n',
  ]
  test.each(bad)('%j is none', text => expect(parseDuration(text)).toBeUndefined())

  test('any whole number with a unit is read, and nothing else', () => {
    fc.assert(
      fc.property(fc.nat({ max: 3650 }), fc.constantFrom('ms', 's', 'm', 'h', 'd'), (n, unit) => {
        expect(parseDuration(`${n}${unit}`)).toBe(
          n * { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit]!,
        )
      }),
    )
    fc.assert(
      fc.property(fc.string(), text => {
        const ms = parseDuration(text)
        if (ms !== undefined) expect(text).toMatch(/^\d+(ms|s|m|h|d)$/)
      }),
    )
  })

  const said: [ms: number, text: string][] = [
    [-1, '0s'],
    [0, '0s'],
    [999, '999ms'],
    [40_500, '40s'],
    [119_999, '119s'],
    [120_000, '2m'],
    [7_200_000, '2h'],
    [172_800_000, '2d'],
  ]
  test.each(said)('%d ms is told as %s', (ms, text) => expect(formatDuration(ms)).toBe(text))
})

describe('instants', () => {
  const cases: [text: string, at: number | undefined][] = [
    ['2026-11-20T10:00:00Z', Date.UTC(2026, 10, 20, 10)],
    ['2026-11-20T10:00:00.250+02:00', Date.UTC(2026, 10, 20, 8, 0, 0, 250)],
    ['2026-11-20 10:00:00z', Date.UTC(2026, 10, 20, 10)],
    ['2026-11-20T10:00:00', undefined],
    ['2026-11-20', undefined],
    ['2026-13-20T10:00:00Z', undefined],
    ['soon', undefined],
  ]
  test.each(cases)('%s', (text, at) => expect(parseInstant(text)).toBe(at))

  test('are written in UTC and whole seconds', () => {
    expect(formatInstant(Date.UTC(2026, 10, 20, 10, 0, 0, 999))).toBe('2026-11-20T10:00:00Z')
  })
})

describe('text from elsewhere', () => {
  const cases: [name: string, text: string, shown: string][] = [
    ['an escape sequence', 'a\u001b[2Jb', 'a [2Jb'],
    ['several lines', 'a\r\nb\u2028c', 'a b c'],
    ['a C1 control', 'a\u009bb', 'a b'],
    ['bidirectional text', 'a\u202eb\u2066c', 'a b c'],
    ['zero width', 'a\u200bb\ufeffc', 'a b c'],
    ['a lone surrogate', 'a\ud800b', 'a b'],
    ['an emoji', 'a😀b', 'a😀b'],
  ]
  test.each(cases)('%s is made harmless', (_, text, shown) => expect(printable(text)).toBe(shown))

  test('is cut to 200 characters of one line, whatever it holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 600 }), text => {
        const shown = printable(text)
        expect(shown.length).toBeLessThanOrEqual(200)
        expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/)
        expect(() => encodeURIComponent(shown)).not.toThrow()
      }),
    )
  })
})

describe('errors', () => {
  test('every class has the exit code of the contract', () => {
    const codes = {
      usage: 2,
      config_invalid: 3,
      secret_unresolved: 3,
      login_required: 4,
      network_error: 5,
      lock_timeout: 5,
    }
    const more = {
      invalid_client: 6,
      command_failed: 6,
      store_locked: 7,
      state_dir_unsafe: 7,
      interrupted: 130,
      terminated: 143,
    }
    for (const [code, exit] of Object.entries({ ...codes, ...more, internal_error: 1 })) {
      expect(isErrorCode(code) && exitCodeOf(code)).toBe(exit)
    }
    expect(isErrorCode('toString')).toBe(false)
  })

  test('an error told of a profile keeps what it said', () => {
    const error = new TokctlError('rate_limited', 'asked too often', { hint: 'wait', retryAfterMs: 5000 })
    expect(error.of('corp')).toMatchObject({
      code: 'rate_limited',
      hint: 'wait',
      retryAfterMs: 5000,
      profile: 'corp',
    })
    expect(error.of('corp').of('other').profile).toBe('corp')
  })
})

test('a token is one or more visible ASCII characters', () => {
  for (const text of ['a', '~!', 'eyJ.x-_']) expect(isTokenText(text)).toBe(true)
  for (const text of ['', 'a b', 'a\n', 'ä', 'a\u0000', 'a\u007f']) expect(isTokenText(text)).toBe(false)
})
