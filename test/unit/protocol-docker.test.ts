import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import { protocol } from '../../src/protocol/docker.ts'
import type { Input } from '../../src/protocol/protocol.ts'
import { ask, failure, grant, inputOf, said } from '../support/wire.ts'

const get = (stdin: string): Partial<Input> => ({ args: ['get'], stdin })
const credentials = '{"ServerURL":"reg.example.com","Username":"oauth2","Secret":"token-1"}'

describe('answers', () => {
  const cases: [name: string, args: string[], stdin: string, stdout: string, exitCode: number][] = [
    ['get', ['get'], 'reg.example.com', `${credentials}\n`, 0],
    ['get with a line end', ['get'], 'reg.example.com\r\n', `${credentials}\n`, 0],
    ['get of nothing', ['get'], ' \n', 'no credentials server URL\n', 1],
    ['get of a name with a break in it', ['get'], 'a\nb', 'credentials not found in native keychain\n', 1],
    ['store without a server', ['store'], '{"Username":"u","Secret":"s"}', 'no credentials server URL\n', 1],
    ['store without a user', ['store'], '{"ServerURL":"h","Secret":"s"}', 'no credentials username\n', 1],
    ['store without a secret', ['store'], '{"ServerURL":"h","Username":"u"}', 'malformed credentials\n', 1],
    ['store of no JSON', ['store'], 'nonsense', 'no credentials server URL\n', 1],
    ['erase', ['erase'], 'reg.example.com', '', 0],
    ['erase of nothing', ['erase'], '', 'no credentials server URL\n', 1],
    ['list', ['list'], 'unused', '{"git.example.com":"oauth2"}\n', 0],
    ['version', ['version'], '', 'docker-credential-tokctl (tokctl) 1.2.3\n', 0],
    ['version, as an option', ['--version'], '', 'docker-credential-tokctl (tokctl) 1.2.3\n', 0],
    ['version, in short', ['-v'], '', 'docker-credential-tokctl (tokctl) 1.2.3\n', 0],
    ['an unknown verb', ['frob'], '', 'docker-credential-tokctl: unknown action: frob\n', 1],
    ['no verb', [], '', 'Usage: docker-credential-tokctl <store|get|erase|list|version>\n', 1],
    ['two verbs', ['get', 'x'], 'h', 'Usage: docker-credential-tokctl <store|get|erase|list|version>\n', 1],
  ]
  test.each(cases)('%s', (_, args, stdin, stdout, exitCode) => {
    expect(said(protocol, { args, stdin })).toEqual({ stdout, exitCode })
  })

  test('the very sentence for what is not found', () => {
    expect(said(protocol, get('other.example.com'), 'not_mine')).toEqual({
      stdout: 'credentials not found in native keychain\n',
      exitCode: 1,
    })
  })

  test('a failure stands on stdout, where the client looks for it', () => {
    expect(said(protocol, get('reg.example.com'), failure)).toEqual({
      stdout: 'tokctl: profile "corp" needs a sign-in (run: tokctl login corp)\n',
      exitCode: 1,
    })
  })

  test('store asks whether it is ours; what is not cannot be kept', () => {
    const input = { args: ['store'], stdin: credentials }
    const { of, secret } = ask(protocol, input, 'store')
    expect({ of, secret: secret.expose() }).toEqual({
      of: { url: 'https://reg.example.com' },
      secret: 'token-1',
    })
    expect(said(protocol, input, 'done')).toEqual({ stdout: '', exitCode: 0 })
    expect(said(protocol, input, 'not_mine')).toEqual({
      stdout: 'tokctl keeps no passwords, and no profile matches this server\n',
      exitCode: 1,
    })
  })

  test('the user is that of the profile', () => {
    expect(said(protocol, get('h'), grant({ username: 'AWS' })).stdout).toBe(
      '{"ServerURL":"h","Username":"AWS","Secret":"token-1"}\n',
    )
  })

  test('list names hosts as docker does, paths as URLs, and nothing that is asked for by http', () => {
    const match = ['a.example', 'https://b.example:8443/', 'https://c.example/v1/', 'http://127.0.0.1:5000']
    expect(said(protocol, { args: ['list'] }, grant({ match })).stdout).toBe(
      '{"a.example":"oauth2","b.example:8443":"oauth2","https://c.example/v1/":"oauth2"}\n',
    )
    expect(said(protocol, { args: ['list'] }, 'not_mine').stdout).toBe('{}\n')
  })
})

test.each<[server: string, url: string]>([
  ['reg.example.com', 'https://reg.example.com'],
  ['reg.example.com:5000', 'https://reg.example.com:5000'],
  ['reg.example.com/team/image', 'https://reg.example.com/team/image'],
  ['https://index.docker.io/v1/', 'https://index.docker.io/v1/'],
  ['http://127.0.0.1:5000', 'http://127.0.0.1:5000'],
])('%s is asked for as %s', (server, url) => {
  expect(ask(protocol, get(server), 'get').of).toEqual({ url })
})

test('whatever is sent, decoding does not fail and the answer is one line', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.json(), fc.webUrl())
  const verb = fc.oneof(fc.constantFrom('get', 'store', 'erase', 'list', 'version'), fc.string())
  fc.assert(
    fc.property(fc.array(verb, { maxLength: 2 }), text, (args, stdin) => {
      const found = protocol.decode(inputOf({ args, stdin }))
      if (found.kind === 'get' || found.kind === 'answered') {
        expect(said(protocol, { args, stdin }).stdout).toMatch(/^([^\u0000-\u001f]+\n)?$/)
      }
      if (found.kind === 'get') {
        const { ServerURL, Secret: secret } = JSON.parse(said(protocol, { args, stdin }).stdout)
        expect({ ServerURL, secret }).toEqual({ ServerURL: stdin.trim(), secret: 'token-1' })
      }
    }),
    { numRuns: 2000 },
  )
})

test('a token that could break a line is not written', () => {
  expect(() => said(protocol, get('h'), grant({ accessToken: new Secret('a\nb') }))).toThrow(
    expect.objectContaining({ code: 'invalid_response' }),
  )
})
