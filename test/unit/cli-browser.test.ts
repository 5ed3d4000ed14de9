import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { browserCommands, openBrowser } from '../../src/cli/browser.ts'
import type { Environment } from '../../src/core/environment.ts'
import { bareEnvironment } from '../support/source-ports.ts'

const url = 'https://idp.example.com/authorize?a=1&b=%22&c=$(id)'

function on(platform: NodeJS.Platform, env: Environment['env'] = {}): Environment {
  return { ...bareEnvironment(env), platform }
}

describe('what is tried', () => {
  const screen = { DISPLAY: ':0' }
  const rundll = ['C:\\Windows\\System32\\rundll32.exe', 'url.dll,FileProtocolHandler', url]
  const cases: [what: string, environment: Environment, commands: string[][]][] = [
    ['macOS', on('darwin'), [['/usr/bin/open', url]]],
    ['Windows', on('win32'), [rundll]],
    [
      'Windows elsewhere',
      on('win32', { SystemRoot: 'D:\\W' }),
      [['D:\\W\\System32\\rundll32.exe', ...rundll.slice(1)]],
    ],
    [
      'Linux with a screen',
      on('linux', screen),
      [
        ['xdg-open', url],
        ['gio', 'open', url],
        ['sensible-browser', url],
        ['x-www-browser', url],
      ],
    ],
    ['Linux without a screen', on('linux'), []],
    [
      'Linux inside Windows',
      on('linux', { WSL_DISTRO_NAME: 'Debian' }),
      [
        ['rundll32.exe', 'url.dll,FileProtocolHandler', url],
        ['/mnt/c/Windows/System32/rundll32.exe', 'url.dll,FileProtocolHandler', url],
        ['wslview', url],
      ],
    ],
    ['macOS over ssh', on('darwin', { SSH_CONNECTION: 'x' }), []],
    ['Windows over ssh', on('win32', { SSH_CONNECTION: 'x' }), []],
    ['BROWSER', on('linux', { BROWSER: 'firefox' }), [['firefox', url]]],
    ['BROWSER over ssh', on('darwin', { BROWSER: 'firefox', SSH_TTY: 'x' }), [['firefox', url]]],
    ['an empty BROWSER', on('darwin', { BROWSER: ' ' }), [['/usr/bin/open', url]]],
    [
      'alternatives',
      on('linux', { BROWSER: 'firefox --new-tab %s:"/opt/my browser/run" -x::chromium &', ...screen }),
      [
        ['firefox', '--new-tab', url],
        ['/opt/my browser/run', '-x', url],
        ['chromium', url],
      ],
    ],
    [
      'what a shell would do',
      on('linux', { BROWSER: 'sh -c $(id);`id` x%sy' }),
      [['sh', '-c', '$(id);`id`', `x${url}y`]],
    ],
  ]
  test.each(cases)('%s', (_, environment, commands) => {
    expect(browserCommands(url, environment)).toEqual(commands)
  })

  test.each([
    'javascript:alert(1)',
    'file:///etc/passwd',
    'http://idp.example.com/',
    '-oProxyCommand=x',
    '--help',
    ' https://idp.example.com/',
    'https://idp.example.com/ --x',
    'https://idp.example.com/\n',
    'https://idp.example.com/"&calc',
    'https://user@idp.example.com/',
    'https://idp.example.com\\x',
    '\\\\server\\share',
    'C:\\Windows\\calc.exe',
    'ms-settings:',
    `https://idp.example.com/${'x'.repeat(9000)}`,
    '',
  ])('nothing for %j', text => {
    for (const platform of ['linux', 'darwin', 'win32'] as const)
      expect(browserCommands(text, on(platform, { BROWSER: 'firefox' }))).toEqual([])
  })

  test('a page of this machine itself may be opened', () => {
    expect(browserCommands('http://127.0.0.1:8080/x', on('darwin'))).toHaveLength(1)
  })
})

describe('what is run', () => {
  let home: string
  let bin: string
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'tokctl-browser-'))
    bin = join(home, 'bin')
    mkdirSync(bin)
  })
  afterEach(() => rmSync(home, { recursive: true, force: true }))

  function program(name: string, script: string): void {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  function environment(env: Environment['env']): Environment {
    return { ...bareEnvironment({ PATH: `${bin}:/usr/bin:/bin`, ...env }), home, cwd: home }
  }
  const writes = `printf '%s\\n' "$#" "$@" "$TOKCTL_STORE_KEY" > "${'$'}{0%/*}/out"`
  const out = (): string => readFileSync(join(bin, 'out'), 'utf8')

  test('the address is one argument, whatever it holds, and the key of the store stays here', async () => {
    program('xdg-open', writes)
    expect(await openBrowser(url, environment({ DISPLAY: ':0', TOKCTL_STORE_KEY: 'key' }))).toBe(true)
    expect(out()).toBe(`1\n${url}\n\n`)
  })

  test('the next one is tried where one is not there or fails', async () => {
    program('broken', 'exit 3')
    program('good', writes)
    const BROWSER = 'absent:broken:good -n'
    expect(await openBrowser(url, environment({ BROWSER }))).toBe(true)
    expect(out()).toBe(`2\n-n\n${url}\n\n`)
  })

  test('none is none', async () => {
    program('broken', 'exit 3')
    expect(await openBrowser(url, environment({ BROWSER: 'broken:absent' }))).toBe(false)
    expect(await openBrowser(url, environment({}))).toBe(false)
  })

  test('a program in the working directory is not taken', async () => {
    writeFileSync(join(home, 'evil'), `#!/bin/sh\ntouch ${home}/ran\n`, { mode: 0o755 })
    expect(await openBrowser(url, environment({ BROWSER: 'evil', PATH: `.:${bin}::` }))).toBe(false)
  })

  test('a browser that stays open is open', async () => {
    program('stays', `${writes}; exec sleep 5`)
    expect(await openBrowser(url, environment({ BROWSER: 'stays' }))).toBe(true)
    expect(out()).toBe(`1\n${url}\n\n`)
  })
})
