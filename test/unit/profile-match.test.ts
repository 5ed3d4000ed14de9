import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { isLoopback, match, parsePattern, parseUrl } from '../../src/profile/match.ts'
import type { Profile } from '../../src/profile/profile.ts'

function profile(name: string, ...patterns: string[]): Profile {
  return { name, source: 'static', token: { env: 'T' }, match: patterns, binding: '' }
}

function matched(url: string, ...patterns: string[]): boolean {
  return match(url, [profile('p', ...patterns)]) !== undefined
}

const pairs: [url: string, pattern: string, want: boolean][] = [
  ['https://git.example.com/team/repo', 'https://git.example.com/team/', true],
  ['https://git.example.com/team', 'https://git.example.com/team/', true],
  ['https://git.example.com/team/', 'https://git.example.com/team', true],
  ['https://git.example.com/teams', 'https://git.example.com/team', false],
  ['https://git.example.com/Team', 'https://git.example.com/team', false],
  ['https://git.example.com', 'https://git.example.com/team', false],
  ['https://git.example.com', 'https://git.example.com', true],
  ['https://git.example.com/', 'https://git.example.com', true],
  ['https://git.example.com?x=/y', 'https://git.example.com/', true],
  ['https://git.example.com/team/repo?service=git-upload-pack', 'https://git.example.com/team', true],
  ['HTTPS://GIT.Example.COM/x', 'https://git.example.com', true],
  ['https://git.example.com/x', 'https://GIT.example.com', true],
  ['git.example.com', 'https://git.example.com', true],
  ['git.example.com:5000', 'https://git.example.com:5000', true],
  ['git.example.com:5000', 'git.example.com:5000', true],
  ['git.example.com', 'http://git.example.com', false],
  ['git.example.com/team', 'https://git.example.com', false],
  ['https://git.example.com:443/', 'https://git.example.com', true],
  ['http://127.0.0.1:80/', 'http://127.0.0.1', true],
  ['https://git.example.com:8443/', 'https://git.example.com', false],
  ['http://git.example.com/', 'https://git.example.com', false],
  ['https://git.example.com./', 'https://git.example.com', false],
  ['https://git.example.com./', 'https://git.example.com.', true],
  ['https://git.example.com.evil.example/', 'https://git.example.com', false],
  ['https://evilgit.example.com/', 'https://git.example.com', false],
  ['https://x.git.example.com/', 'https://git.example.com', false],
  ['https://example.com/', 'https://git.example.com', false],
  ['https://[::1]:8080/x', 'https://[::1]:8080', true],
  ['https://[0:0:0:0:0:0:0:1]:8080/x', 'https://[::1]:8080', false],
  ['https://git.example.com/My%20Repo/x', 'https://git.example.com/My%20Repo', true],
  ['https://git.example.com/a%c3%a4/x', 'https://git.example.com/a%C3%A4', true],
]
test.each(pairs)('%s under %s: %s', (url, pattern, want) => {
  expect(matched(url, pattern)).toBe(want)
})

const hostile: [name: string, url: string][] = [
  ['nothing', ''],
  ['a space', ' https://git.example.com/'],
  ['a line break that URL parsers strip', 'https://git.exa\nmple.com/'],
  ['a tab that URL parsers strip', 'https://git\t.example.com/'],
  ['a line break at the end', 'https://git.example.com/\n'],
  ['NUL', 'https://git.example.com\0.evil.example/'],
  ['a backslash before a host', 'https://git.example.com\\@evil.example/'],
  ['a backslash for a slash', 'https:\\\\git.example.com\\'],
  ['a user', 'https://git@git.example.com/'],
  ['a user and a password', 'https://u:p@git.example.com/'],
  ['an empty user', 'https://@git.example.com/'],
  ['a host as a user', 'https://git.example.com@evil.example/'],
  ['a user behind a bare host', 'git.example.com@evil.example'],
  ['a fragment', 'https://git.example.com/#x'],
  ['a fragment that hides a host', 'https://git.example.com#@evil.example/'],
  ['full-width letters', 'https://\uff47it.example.com/'],
  ['an ideographic full stop', 'https://git.example\u3002com/'],
  ['a letter of another alphabet', 'https://g\u0456t.example.com/'],
  ['an encoded letter in the host', 'https://%67it.example.com/'],
  ['no slashes', 'https:git.example.com/'],
  ['one slash', 'https:/git.example.com/'],
  ['three slashes', 'https:///git.example.com/'],
  ['no host', 'https:///'],
  ['no scheme but slashes', '//git.example.com/'],
  ['an empty port', 'https://git.example.com:/'],
  ['a port with a zero in front', 'https://git.example.com:0443/'],
  ['a port that is too large', 'https://git.example.com:65979/'],
  ['a port with a sign', 'https://git.example.com:+443/'],
  ['another scheme', 'git+https://git.example.com/'],
  ['an empty label', 'https://git..example.com/'],
  ['two dots at the end', 'https://git.example.com../'],
  ['an open bracket', 'https://[::1/'],
  ['parent segments', 'https://git.example.com/team/../other'],
  ['parent segments at the end', 'https://git.example.com/team/..'],
  ['parent segments with a parameter', 'https://git.example.com/team/..;/other'],
  ['parent segments with an encoded parameter', 'https://git.example.com/team/..%3b/other'],
  ['this very segment', 'https://git.example.com/./team'],
  ['encoded parent segments', 'https://git.example.com/team/%2e%2e/other'],
  ['half-encoded parent segments', 'https://git.example.com/team/.%2E/other'],
  ['doubly encoded parent segments', 'https://git.example.com/team/%252e%252e/other'],
  ['an encoded slash', 'https://git.example.com/team%2fother'],
  ['an encoded backslash', 'https://git.example.com/team%5cother'],
  ['an overlong slash', 'https://git.example.com/team%c0%afother'],
  ['an encoded letter', 'https://git.example.com/%74eam'],
  ['an encoded NUL', 'https://git.example.com/team%00'],
  ['an encoded line break', 'https://git.example.com/team%0d%0a'],
  ['half an escape', 'https://git.example.com/team%2'],
  ['a percent sign', 'https://git.example.com/100%'],
  ['an empty segment', 'https://git.example.com//team'],
  ['a URL beyond measure', `https://git.example.com/${'a'.repeat(10_000)}`],
]
test.each(hostile)('%s matches nothing', (_, url) => {
  expect(matched(url, 'https://git.example.com', 'https://evil.example', 'git.example.com.')).toBe(false)
})

const numbers = ['127.1', '2130706433', '0x7f.0.0.1', '0177.0.0.1', '127.0.0.01', '127.0.0.256']
test.each(numbers)('the address %s is not read as 127.0.0.1', host => {
  expect(matched(`http://${host}/`, 'http://127.0.0.1')).toBe(false)
  expect(parsePattern(`http://${host}/`)).toHaveProperty('problem')
})

describe('of several profiles', () => {
  const all = [
    profile('host', 'https://git.example.com'),
    profile('team', 'https://git.example.com/team', 'https://api.example.com'),
    profile('deep', 'https://git.example.com/team/a/b'),
    profile('twin', 'https://git.example.com/team/'),
    profile('none'),
  ]
  const cases: [url: string, want: string | undefined][] = [
    ['https://git.example.com/other', 'host'],
    ['https://git.example.com/team/a', 'team'],
    ['https://git.example.com/team/a/b/c', 'deep'],
    ['https://api.example.com/', 'team'],
    ['https://elsewhere.example/', undefined],
  ]
  test.each(cases)('%s gets %s', (url, want) => {
    expect(match(url, all)?.name).toBe(want)
    // The order decides between equals alone.
    const turned = match(url, all.toReversed())?.name
    expect(turned === 'twin' ? 'team' : turned).toBe(want)
  })

  test('a user that is named passes those over that have another one', () => {
    const both = [
      { ...profile('team', 'https://git.example.com/team'), username: 'ada' },
      { ...profile('host', 'https://git.example.com'), username: 'bob' },
      profile('any', 'https://git.example.com'),
    ]
    const found = (user?: string): string | undefined =>
      match('https://git.example.com/team/x', both, user)?.name
    expect(['ada', 'bob', 'eve', undefined].map(found)).toEqual(['team', 'host', 'any', 'team'])
  })

  test('a pattern that could not be configured matches nothing', () => {
    expect(
      match('https://git.example.com/', [profile('p', 'https://git.example.com/?x', '*', '')]),
    ).toBeUndefined()
  })
})

test('loopback is what is literally so', () => {
  for (const host of ['localhost', '127.0.0.1', '127.255.0.9', '[::1]']) expect(isLoopback(host)).toBe(true)
  for (const host of [
    'localhost.',
    'localhost.example',
    '0.0.0.0',
    '[::]',
    '128.0.0.1',
    'x127.0.0.1',
    '127.0.0.1.example',
  ]) {
    expect(isLoopback(host)).toBe(false)
  }
})

test('a host that is written plainly is read without starting the URL parser of the platform, any other not', () => {
  const parser = vi.spyOn(globalThis, 'URL')
  onTestFinished(() => parser.mockRestore())
  for (const host of ['git.example.com', 'GIT.Example.com:8443', 'localhost', 'a_b-.example', 'x.0a.com']) {
    expect(matched(`https://${host}/`, `https://${host}`), host).toBe(true)
  }
  expect(parser).not.toHaveBeenCalled()
  for (const host of ['127.0.0.1', '[::1]', 'xn--bcher-kva.example', 'a.xn--p1ai', '0x7f.1']) {
    parser.mockClear()
    matched(`https://${host}/`, 'https://git.example.com')
    expect(parser, host).toHaveBeenCalled()
  }
})

test('no problem with a URL repeats the URL', () => {
  for (const [, url] of hostile) {
    const found = parseUrl(url)
    if ('problem' in found) expect(found.problem).not.toMatch(/git|evil/)
  }
})

describe('whatever is asked', () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?$/)
  const host = fc.array(label, { minLength: 2, maxLength: 3 }).map(labels => `${labels.join('.')}.example`)
  const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,6}$/)
  const path = fc.array(segment, { maxLength: 3 }).map(segments => segments.map(text => `/${text}`).join(''))
  const port = fc.constantFrom('', ':443', ':8443', ':5000')
  const noise = fc.string({
    unit: fc.constantFrom(
      ...'https://@:%2e2f5c.\\#?;a[]~ \t\n',
      'git.example.com',
      '.evil.example',
      '\uff0e',
      '\u3002',
    ),
    maxLength: 30,
  })

  test('a match means one origin, and a path below that of the pattern', () => {
    const anything = fc.oneof(
      noise,
      noise.map(text => `https://git.example.com${text}`),
      fc.tuple(host, port, path).map(([h, p, rest]) => `https://${h}${p}${rest}`),
      fc.webUrl({ withQueryParameters: true, withFragments: true }),
    )
    fc.assert(
      fc.property(anything, fc.constantFrom('', '/team', '/team/a'), (url, below) => {
        const pattern = `https://git.example.com${below}`
        if (!matched(url, pattern)) return
        const read = new URL(url.includes('://') ? url : `https://${url}/`)
        expect(read.origin).toBe('https://git.example.com')
        expect(read.username + read.password + read.hash).toBe('')
        expect(`${read.pathname}/`.replace('//', '/').startsWith(`${below}/`)).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  test('a URL matches its own origin and every path above it, and no path below', () => {
    fc.assert(
      fc.property(host, port, path, segment, (h, p, rest, more) => {
        const origin = `https://${h}${p}`
        const segments = rest.split('/').slice(1)
        for (let n = 0; n <= segments.length; n++) {
          const above = segments.slice(0, n).map(text => `/${text}`)
          expect(matched(origin + rest, origin + above.join(''))).toBe(true)
        }
        expect(matched(origin + rest, `${origin}${rest}/${more}`)).toBe(false)
        expect(matched(`${origin}${rest}${rest === '' ? '/' : ''}${more}`, `${origin}${rest}`)).toBe(
          rest === '',
        )
      }),
    )
  })

  test('a host is taken only as the URL parser of the platform reads it', () => {
    const label = fc.string({ unit: fc.constantFrom(...'abfx019-_.'), minLength: 1, maxLength: 12 })
    const start = fc.constantFrom('', 'xn--', '0x', 'x', '1')
    fc.assert(
      fc.property(fc.array(fc.tuple(start, label), { minLength: 1, maxLength: 4 }), parts => {
        const host = parts.map(part => part.join('')).join('.')
        const found = parseUrl(`https://${host}/`)
        if (!('problem' in found)) expect(new URL(`https://${host}/`).hostname).toBe(host)
      }),
      { numRuns: 2000 },
    )
  })

  test('no host that begins or ends like another is taken for it', () => {
    fc.assert(
      fc.property(host, label, (h, extra) => {
        for (const other of [
          `${extra}.${h}`,
          `${extra}${h}`,
          `${h}.${extra}`,
          `${h}${extra}`,
          `${h}.`,
          h.slice(1),
        ]) {
          expect(matched(`https://${other}/`, `https://${h}`)).toBe(false)
        }
      }),
    )
  })

  test('the answer does not depend on letter case of scheme and host', () => {
    fc.assert(
      fc.property(host, path, (h, rest) => {
        expect(matched(`HTTPS://${h.toUpperCase()}${rest}`, `https://${h}`)).toBe(true)
      }),
    )
  })
})
