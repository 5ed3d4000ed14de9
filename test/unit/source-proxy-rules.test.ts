import { expect, test } from 'vitest'
import { isExempt, proxyFor } from '../../src/source/proxy-rules.ts'

const https = 'https://idp.example.com/token'
const http = 'http://127.0.0.1:8080/token'

const choices: [name: string, url: string, env: Record<string, string>, origin: string | undefined][] = [
  ['nothing set', https, {}, undefined],
  ['HTTPS_PROXY for https', https, { HTTPS_PROXY: 'http://p:3128' }, 'http://p:3128'],
  [
    'the lower-case spelling wins',
    https,
    { https_proxy: 'http://low:1', HTTPS_PROXY: 'http://up:2' },
    'http://low:1',
  ],
  ['an empty one counts as unset', https, { https_proxy: '', HTTPS_PROXY: 'http://up:2' }, 'http://up:2'],
  [
    'HTTP_PROXY not for https',
    https,
    { HTTP_PROXY: 'http://p:3128', http_proxy: 'http://p:3128' },
    undefined,
  ],
  ['HTTPS_PROXY not for http', http, { HTTPS_PROXY: 'http://localhost:3128' }, undefined],
  ['http_proxy for http', http, { http_proxy: 'http://localhost:3128' }, 'http://localhost:3128'],
  ['HTTP_PROXY for http', http, { HTTP_PROXY: 'http://localhost:3128' }, 'http://localhost:3128'],
  [
    'HTTP_PROXY is a header under CGI',
    http,
    { HTTP_PROXY: 'http://localhost:3128', REQUEST_METHOD: 'GET' },
    undefined,
  ],
  ['ALL_PROXY for the rest', https, { ALL_PROXY: 'http://all:1' }, 'http://all:1'],
  [
    'all_proxy before ALL_PROXY',
    https,
    { all_proxy: 'http://low:1', ALL_PROXY: 'http://up:1' },
    'http://low:1',
  ],
  [
    'the own variable before ALL_PROXY',
    https,
    { all_proxy: 'http://all:1', HTTPS_PROXY: 'http://own:1' },
    'http://own:1',
  ],
  ['a value without a scheme', https, { https_proxy: 'proxy.corp:8080' }, 'http://proxy.corp:8080'],
  ['without a port it is 1080', https, { https_proxy: 'http://proxy.corp' }, 'http://proxy.corp:1080'],
  ['an explicit 80 stays', https, { https_proxy: 'http://proxy.corp:80/' }, 'http://proxy.corp:80'],
  ['an https proxy is at 443', https, { https_proxy: 'https://proxy.corp' }, 'https://proxy.corp:443'],
  ['IPv6', https, { https_proxy: 'http://[2001:DB8::1]:3128' }, 'http://[2001:db8::1]:3128'],
  ['a path is ignored', https, { https_proxy: 'http://proxy.corp:1/pac?x#y' }, 'http://proxy.corp:1'],
  ['https to loopback as curl does', 'https://localhost/x', { https_proxy: 'p:1' }, 'http://p:1'],
  [
    'plain http to loopback leaves the machine for no proxy',
    http,
    { http_proxy: 'http://p.corp:1' },
    undefined,
  ],
  ['nor for SOCKS elsewhere', http, { ALL_PROXY: 'socks5://p.corp:1' }, undefined],
  ['NO_PROXY', https, { https_proxy: 'p:1', NO_PROXY: 'example.com' }, undefined],
  [
    'no_proxy before NO_PROXY',
    https,
    { https_proxy: 'p:1', NO_PROXY: 'example.com', no_proxy: 'x' },
    'http://p:1',
  ],
  ['an exempt host is not refused for SOCKS', https, { ALL_PROXY: 'socks5://p:1', NO_PROXY: '*' }, undefined],
]
test.each(choices)('chooses a proxy: %s', (_, url, env, origin) => {
  expect(proxyFor(new URL(url), env)?.origin).toBe(origin)
})

const credentials: [value: string, decoded: string | undefined][] = [
  ['http://p:1', undefined],
  ['http://user:pass@p:1', 'user:pass'],
  ['user:pass@p:1', 'user:pass'],
  ['http://user@p:1', 'user:'],
  ['http://us%40er:p%3Aa%25s%2F@p:1', 'us@er:p:a%s/'],
  ['http://user:p@ss@p:1', 'user:p@ss'],
  ['http://user:p:ss@p:1', 'user:p:ss'],
]
test.each(credentials)('reads the credentials of %s', (value, decoded) => {
  const authorization = proxyFor(new URL(https), { https_proxy: value })?.authorization
  expect(authorization && Buffer.from(authorization.replace(/^Basic /, ''), 'base64').toString()).toBe(
    decoded,
  )
})

const refused: [value: string, words: string][] = [
  ['socks5://user:hunter2@p:1', 'names a SOCKS proxy, which tokctl does not speak'],
  ['socks4a://p', 'names a SOCKS proxy, which tokctl does not speak'],
  ['ftp://hunter2@p', 'names a kind of proxy that tokctl does not know'],
  ['http://', 'is not the address of a proxy'],
  ['http://hunter2@', 'is not the address of a proxy'],
  ['http://p:99999', 'is not the address of a proxy'],
  ['http://p:port', 'is not the address of a proxy'],
  ['http://a b', 'is not the address of a proxy'],
  ['http://user:hunter2%zz@p:1', 'holds credentials that are not percent-encoded'],
]
test.each(refused)('refuses %s, naming the variable and not its value', (value, words) => {
  let error: unknown
  try {
    proxyFor(new URL(https), { HTTPS_PROXY: value })
  } catch (thrown) {
    error = thrown
  }
  expect(error).toMatchObject({
    code: 'config_invalid',
    message: `environment variable HTTPS_PROXY ${words}`,
  })
  expect(JSON.stringify(error)).not.toContain('hunter2')
})

const exemptions: [noProxy: string, url: string, exempt: boolean][] = [
  ['', https, false],
  ['*', https, true],
  ['other.com, *', https, true],
  ['example.com', https, true],
  ['.example.com', https, true],
  ['*.example.com', https, true],
  ['idp.example.com', https, true],
  ['EXAMPLE.com', https, true],
  ['example.com.', https, true],
  ['example.com', 'https://idp.example.com./x', true],
  ['example.com', 'https://notexample.com/', false],
  ['idp.example.com', 'https://example.com/', false],
  ['a.com b.com\texample.com,c.com', https, true],
  ['example.com:443', https, true],
  ['example.com:8443', https, false],
  ['example.com:8443', 'https://example.com:8443/', true],
  ['127.0.0.1', 'http://127.0.0.1:80/', true],
  ['127.0.0.1:81', 'http://127.0.0.1/', false],
  ['127.0.0.1:80', 'http://127.0.0.1/', true],
  ['0.0.1', 'http://127.0.0.1/', false],
  ['10.0.0.0/8', 'https://10.200.3.4/', true],
  ['10.0.0.0/8', 'https://11.0.0.1/', false],
  ['192.168.0.0/22', 'https://192.168.3.255/', true],
  ['192.168.0.0/22', 'https://192.168.4.0/', false],
  ['192.168.1.7/32', 'https://192.168.1.7/', true],
  ['0.0.0.0/0', 'https://8.8.8.8/', true],
  ['0.0.0.0/0', https, false],
  ['10.0.0.0/33', 'https://10.0.0.0/', false],
  ['10.0.0.0/x', 'https://10.0.0.0/', false],
  ['300.0.0.0/8', 'https://10.0.0.0/', false],
  ['[::1]', 'https://[::1]/', true],
  ['::1', 'https://[::1]/', true],
  ['[::1]:8443', 'https://[::1]:8443/', true],
  ['[::1]:8443', 'https://[::1]/', false],
  ['2001:db8::/32', 'https://[2001:db8:1::5]/', true],
  ['[2001:db8::]/33', 'https://[2001:db8:8000::1]/', false],
  ['2001:0DB8:0::1', 'https://[2001:db8::1]/', true],
  ['::/0', 'https://127.0.0.1/', false],
  [', ,', https, false],
  ['.', https, false],
]
test.each(exemptions)('NO_PROXY=%s, asking %s: exempt is %s', (noProxy, url, exempt) => {
  expect(isExempt(new URL(url), noProxy)).toBe(exempt)
})
