import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { match } from '../../src/profile/match.ts'
import { protocol } from '../../src/protocol/git.ts'
import { ask, failure, grant, inputOf, said } from '../support/wire.ts'

const asked = 'protocol=https\nhost=git.example.com\n'

describe('get', () => {
  const cases: [name: string, stdin: string, stdout: string][] = [
    [
      'an old git gets user and password',
      asked,
      'username=oauth2\npassword=token-1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'the user that was named is told again',
      `${asked}username=alice\n`,
      'username=alice\npassword=token-1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'a git that announces authtype gets the header, not to be kept by others',
      `capability[]=authtype\n${asked}`,
      'capability[]=authtype\nauthtype=Bearer\ncredential=token-1\nephemeral=1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'a server that wants Basic and nothing else gets a password all the same',
      `capability[]=authtype\n${asked}wwwauth[]=Basic realm="Bearer x"\n`,
      'capability[]=authtype\nusername=oauth2\npassword=token-1\nephemeral=1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'of Basic and Bearer, in one header or two, Bearer is taken',
      `capability[]=authtype\n${asked}wwwauth[]=Basic realm="a, b", Bearer realm="x"\n`,
      'capability[]=authtype\nauthtype=Bearer\ncredential=token-1\nephemeral=1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'a scheme without parameters is a scheme',
      `capability[]=authtype\n${asked}wwwauth[]=Negotiate, Basic\n`,
      'capability[]=authtype\nusername=oauth2\npassword=token-1\nephemeral=1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'an empty value empties a list',
      `capability[]=authtype\ncapability[]=\n${asked}`,
      'username=oauth2\npassword=token-1\npassword_expiry_utc=1893456000\n',
    ],
    [
      'a git that carries state is asked to come again after a 401',
      `capability[]=state\n${asked}`,
      'capability[]=state\nusername=oauth2\npassword=token-1\npassword_expiry_utc=1893456000\nstate[]=tokctl:1893452400000\ncontinue=1\n',
    ],
    [
      'when it comes again it is not asked a third time',
      `capability[]=state\n${asked}state[]=other:1\nstate[]=tokctl:7\n`,
      'capability[]=state\nusername=oauth2\npassword=token-1\npassword_expiry_utc=1893456000\nstate[]=tokctl:1893452400000\n',
    ],
    [
      'attributes after the blank line, unknown ones and a CR before LF are left aside',
      'protocol=https\r\nhost=git.example.com\r\nfuture=1\r\n\r\nhost=other.example.com\n',
      'username=oauth2\npassword=token-1\npassword_expiry_utc=1893456000\n',
    ],
  ]
  test.each(cases)('%s', (_, stdin, stdout) => {
    const { of } = ask(protocol, { args: ['get'], stdin }, 'get')
    expect(of).toEqual({ url: 'https://git.example.com/' })
    expect(said(protocol, { args: ['get'], stdin })).toEqual({ stdout, exitCode: 0 })
  })

  test('an unknown lifetime is not told, and the user is that of the profile', () => {
    const lasting = grant({ expiresAt: undefined, username: 'bot' })
    expect(said(protocol, { args: ['get'], stdin: asked }, lasting)).toEqual({
      stdout: 'username=bot\npassword=token-1\n',
      exitCode: 0,
    })
  })

  test('it tells which token was refused', () => {
    const stdin = `capability[]=state\n${asked}state[]=other:1\nstate[]=tokctl:7\n`
    expect(ask(protocol, { args: ['get'], stdin }, 'get').refused).toBe('7')
  })

  const urls: [attributes: string, url: string][] = [
    ['protocol=http\nhost=127.0.0.1:8080', 'http://127.0.0.1:8080/'],
    ['protocol=https\nhost=[::1]:8443\npath=a/b.git', 'https://[::1]:8443/a/b.git'],
    ['protocol=https\nhost=h.example\npath=a b?c#d%2f\u00e9', 'https://h.example/a%20b%3Fc%23d%252f%C3%A9'],
  ]
  test.each(urls)('%j is asked for as %s', (attributes, url) => {
    expect(ask(protocol, { args: ['get'], stdin: attributes }, 'get').of).toEqual({ url })
  })

  const silent: [name: string, stdin: string][] = [
    ['nothing', ''],
    ['no host', 'protocol=https\n'],
    ['an empty host', 'protocol=https\nhost=\n'],
    ['no protocol', 'host=git.example.com\n'],
    ['an empty protocol', 'protocol=\nhost=git.example.com\n'],
    ['another protocol', 'protocol=ssh\nhost=git.example.com\n'],
    ['a line without =', `${asked}nonsense\n`],
    ['a line without a name', `${asked}=x\n`],
    ['a CR inside a value', 'protocol=https\nhost=git.example.com\rhost=evil.example\n'],
    ['two CRs at the end', 'protocol=https\nhost=git.example.com\r\r\n'],
    ['a NUL', 'protocol=https\nhost=git.example.com\u0000.evil.example\n'],
    ['another control character', `${asked}username=a\u001b[2J\n`],
    ['a second host', `${asked}host=evil.example\n`],
    ['a user in the host', 'protocol=https\nhost=git.example.com@evil.example\n'],
    ['a path in the host', 'protocol=https\nhost=git.example.com/x\n'],
    ['a query in the host', 'protocol=https\nhost=evil.example?git.example.com\n'],
    ['a byte order mark', `\ufeff${asked}`],
    ['half a character in the path', `${asked}path=\ud800\n`],
  ]
  test.each(silent)('%s is answered with silence', (_, stdin) => {
    for (const verb of ['get', 'erase']) {
      expect(protocol.decode(inputOf({ args: [verb], stdin })), verb).toEqual({
        kind: 'answered',
        reply: { stdout: '', exitCode: 0 },
      })
    }
  })

  test('a header of a mebibyte that ends in another host changes nothing', () => {
    const stdin = `${asked}wwwauth[]=Basic ${'x'.repeat(1 << 20)}host=victim.example.com\n`
    expect(ask(protocol, { args: ['get'], stdin }, 'get').of).toEqual({ url: 'https://git.example.com/' })
  })

  test('what is not ours is silence, and a failure is no word of the protocol', () => {
    const input = { args: ['get'], stdin: asked }
    expect(said(protocol, input, 'not_mine')).toEqual({ stdout: '', exitCode: 0 })
    expect(() => said(protocol, input, failure)).toThrow(failure)
  })

  test.each(['a\nhost=evil', 'a\rb', 'a\u0000', 'a b', ''])('a token %j is refused', text => {
    const wrong = grant({ accessToken: new Secret(text) })
    expect(() => said(protocol, { args: ['get'], stdin: asked }, wrong)).toThrow(
      expect.objectContaining({
        code: 'invalid_response',
        message: 'the token holds a character that cannot be handed on',
      }),
    )
  })

  test('a user of the profile that would break its line is refused', () => {
    const wrong = grant({ username: 'a\npassword=b' })
    expect(() => said(protocol, { args: ['get'], stdin: asked }, wrong)).toThrow(
      expect.objectContaining({
        code: 'config_invalid',
        message: 'username: a control character cannot be handed on',
      }),
    )
  })
})

describe('feedback', () => {
  test.each<[attribute: string]>([['password=token-1'], ['authtype=Bearer\ncredential=token-1']])(
    'erase with %j rejects that very secret',
    attribute => {
      const stdin = `${asked}username=alice\n${attribute}\n`
      const { of, user, secret } = ask(protocol, { args: ['erase'], stdin }, 'reject')
      expect({ of, user, secret: secret?.expose() }).toEqual({
        of: { url: 'https://git.example.com/' },
        user: 'alice',
        secret: 'token-1',
      })
      expect(said(protocol, { args: ['erase'], stdin }, 'done')).toEqual({ stdout: '', exitCode: 0 })
    },
  )

  test.each<[verb: string, stdin: string]>([
    ['erase', asked],
    ['erase', `${asked}password=\n`],
    ['erase', `${asked}password=what a person typed\n`],
    ['store', `${asked}username=oauth2\npassword=token-1\n`],
    ['frobnicate', asked],
  ])('%s of %j does nothing', (verb, stdin) => {
    expect(protocol.decode(inputOf({ args: [verb], stdin }))).toEqual({
      kind: 'answered',
      reply: { stdout: '', exitCode: 0 },
    })
  })

  test('capability reads nothing and tells both', () => {
    expect(protocol.reads(['capability'])).toBe(false)
    expect(protocol.decode(inputOf({ args: ['capability'] }))).toEqual({
      kind: 'answered',
      reply: { stdout: 'version 0\ncapability authtype\ncapability state\n', exitCode: 0 },
    })
  })
})

describe('whatever is sent', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'https',
      'http',
      'git.example.com',
      'evil.example',
      '=',
      '\r',
      '\0',
      '@',
      '/',
      '..',
      '%2f',
      '#',
    ),
    fc.string({ unit: 'binary', maxLength: 8 }),
  )
  const value = fc.array(word, { maxLength: 4 }).map(words => words.join(''))
  const key = fc.constantFrom(
    'protocol',
    'host',
    'path',
    'username',
    'password',
    'wwwauth[]',
    'capability[]',
    'x',
  )
  const line = fc.oneof(
    fc.tuple(key, value).map(([k, v]) => `${k}=${v}`),
    fc.constantFrom('protocol=https', 'host=git.example.com', 'path=team/a', ''),
    value,
  )

  test('decoding never fails, and a URL matches a profile only of the host that stands there', () => {
    const profiles = [{ match: ['https://git.example.com/team'] } as never]
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), fc.constantFrom('get', 'erase'), (lines, verb) => {
        const found = protocol.decode(inputOf({ args: [verb], stdin: lines.join('\n') }))
        if (found.kind === 'answered') {
          expect(found.reply).toEqual({ stdout: '', exitCode: 0 })
          return
        }
        const url = 'of' in found && 'url' in found.of ? found.of.url : ''
        if (match(url, profiles) === undefined) return
        const bare = lines.map(one => one.replace(/\r$/, ''))
        expect(bare).toContain('protocol=https')
        expect(bare.some(one => /^host=git\.example\.com(:443)?$/i.test(one))).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  test('an answer is always lines of name=value, with the token on one of them', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), lines => {
        const stdin = ['protocol=https', 'host=git.example.com', ...lines].join('\n')
        const found = protocol.decode(inputOf({ args: ['get'], stdin }))
        const { stdout } = found.kind === 'answered' ? found.reply : protocol.encode(grant(), found)
        expect(stdout).toMatch(/^(?:[a-z_[\]]+=[^\r\n\0]*\n)*$/)
        if (stdout !== '') expect(stdout.match(/^(?:password|credential)=token-1$/gm)).toHaveLength(1)
      }),
      { numRuns: 2000 },
    )
  })
})
