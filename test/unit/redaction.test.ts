import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { printable } from '../../src/core/errors.ts'
import { redactOwn, redactQuoted } from '../../src/core/redaction.ts'
import { liveSecrets, rememberSecret, Secret } from '../../src/core/secret.ts'
import { describeRequest, describeResponse } from '../../src/source/wire-log.ts'

const printableAscii = fc.string({
  minLength: 12,
  maxLength: 40,
  unit: fc.constantFrom(...'abcXYZ019-_.~+/=%& "\\'),
})

describe('a live secret', () => {
  const ways: [name: string, write: (value: string) => string][] = [
    ['as it is', value => value],
    ['as a form field', value => new URLSearchParams([['', value]]).toString().slice(1)],
    ['percent-encoded', value => encodeURIComponent(value)],
    [
      'percent-encoded in small letters',
      value => encodeURIComponent(value).replace(/%../g, code => code.toLowerCase()),
    ],
    ['in JSON', value => JSON.stringify(value)],
  ]
  test.each(ways)('is taken out of a text that quotes it %s', (_, write) => {
    fc.assert(
      fc.property(printableAscii, fc.string({ maxLength: 20 }), (value, around) => {
        new Secret(value)
        const told = redactQuoted(`${around}|${write(value)}|`)
        expect(told).not.toContain(write(value))
        expect(told).toContain('[redacted]')
      }),
      { numRuns: 40 },
    )
  })

  test('does not survive in part where the text is cut', () => {
    new Secret('k9-cut-short-canary')
    for (let before = 150; before < 210; before++) {
      expect(printable(`${'x '.repeat(before / 2)}k9-cut-short-canary`)).not.toMatch(/k9-c/)
    }
  })

  test('of several lines is known by each of them, but for the frame of a key', () => {
    new Secret('-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nAAAAB3NzaC1yc2EAAAADAQAB\n-----END KEY-----\n')
    expect(redactOwn('not AAAAB3NzaC1yc2EAAAADAQAB, nor -----BEGIN KEY-----')).toBe(
      'not [redacted], nor -----BEGIN KEY-----',
    )
  })

  test('with a line break at its end is known without it', () => {
    new Secret('hunter2-of-a-file\n')
    expect(redactOwn('the server says hunter2-of-a-file\n')).toBe('the server says [redacted]\n')
  })

  test('what a program said is known as a whole, and not by its lines: ours quotes the names in it', () => {
    new Secret('credential.https://git.example.com.helper\nstore\0')
    const message = 'credential.https://git.example.com.helper is "store" already'
    expect(redactOwn(message)).toBe(message)
  })

  test('that is a word of ours is left in our messages, and taken out of what others say', () => {
    new Secret('corp')
    expect(redactOwn('profile "corp" needs a sign-in')).toBe('profile "corp" needs a sign-in')
    expect(redactQuoted('wrong password corp')).toBe('wrong password [redacted]')
  })

  test('is forgotten after many others, so that a process that stays does not grow', () => {
    rememberSecret('the-first-of-many')
    for (let i = 0; i < 1000; i++) rememberSecret(`one-of-many-${i}`)
    expect([...liveSecrets()]).toHaveLength(256)
    expect(redactOwn('the-first-of-many one-of-many-999')).toBe('the-first-of-many [redacted]')
  })

  test('that is used again is kept before others', () => {
    const used = new Secret('used-again-and-again')
    for (let i = 0; i < 300; i++) {
      rememberSecret(`another-${i}`)
      rememberSecret(used.expose())
    }
    expect(redactOwn('used-again-and-again')).toBe('[redacted]')
  })
})

describe('what is shown of the wire', () => {
  const base = { tls: undefined, timeoutMs: 1, signal: undefined } as const
  const hidden = fc.stringMatching(/^hidden-[a-z0-9]{8}$/)

  test('never holds a value whose name it does not know, whatever the shape of the answer', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        hidden,
        fc.constantFrom('token', 'x', 'data', 'value', '__proto__'),
        (json, value, name) => {
          const body = JSON.stringify({ any: json, [name]: value, list: [value, { [name]: [value] }] })
          const lines = describeResponse({ status: 200, headers: { 'x-any': value, cookie: value }, body })
          expect(lines.join('\n')).not.toContain(value)
        },
      ),
    )
  })

  test('never holds a credential, a query value or a field it does not know', () => {
    fc.assert(
      fc.property(hidden, value => {
        const lines = describeRequest({
          ...base,
          method: 'POST',
          url: `https://idp.example/token?key=${value}&scope=a`,
          headers: {
            authorization: `Bearer ${value}`,
            dpop: value,
            'x-api-key': value,
            'content-type': 'application/x-www-form-urlencoded',
          },
          body: `grant_type=refresh_token&refresh_token=${value}&code=${value}&client_assertion=${value}`,
        })
        const text = lines.join('\n')
        expect(text).not.toContain(value)
        expect(text).toContain('> POST https://idp.example/token?key=[redacted]&scope=a')
        expect(text).toContain('authorization: Bearer [redacted]')
        expect(text).toContain('grant_type=refresh_token')
      }),
    )
  })

  test('is one line of visible characters for each thing, whatever came', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (text, name) => {
        const body = JSON.stringify({ error_description: text, [name]: text })
        const headers = { server: text, 'content-type': 'application/json' }
        for (const line of describeResponse({ status: 400, headers, body }))
          expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/)
      }),
    )
  })

  test('ends where an answer is too deep or too wide', () => {
    const deep = `${'[['.repeat(200)}1${']]'.repeat(200)}`
    const wide = JSON.stringify(Array.from({ length: 5000 }, () => 1))
    for (const body of [deep, wide])
      expect(describeResponse({ status: 200, headers: {}, body }).join('').length).toBeLessThan(3000)
  })
})
