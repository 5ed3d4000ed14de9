import { expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { program, type Scratch, type Started, scratch, start } from '../support/run.ts'

// `script` gives the program a real terminal; what it writes to its stderr arrives on our stdout.
const quoted = program.map(word => `'${word}'`).join(' ')
const inTerminal = (args: string): string[] => ['-qefc', `${quoted} ${args}`, '/dev/null']

async function shows(started: Started, pattern: RegExp): Promise<string> {
  for (;;) {
    const found = pattern.exec(started.stdout)
    if (found !== null) return found[1] ?? found[0]
    if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function home(): Promise<{ at: Scratch; auth: Awaited<ReturnType<typeof startAuthServer>> }> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(`[store]
kind = "file"
[profile.me]
source = "authorization_code"
client_id = "cli"
authorization_endpoint = "${auth.url}/authorize"
token_endpoint = "${auth.tokenEndpoint}"
[profile.tv]
source = "device_code"
client_id = "cli"
device_authorization_endpoint = "${auth.url}/device"
token_endpoint = "${auth.tokenEndpoint}"
`)
  return { at, auth }
}

test('an address of more than 4096 characters can be pasted, and is not shown', async () => {
  const { at, auth } = await home()
  const signingIn = start(inTerminal('login me --no-browser'), { at, program: ['script'], keepInput: true })
  await shows(signingIn, /paste the address/)
  const asked = new URL(await shows(signingIn, /(http:\S+\/authorize\S+)/)).searchParams
  const code = `long-${'c'.repeat(6000)}`
  const answer = new URLSearchParams({ code, state: asked.get('state') ?? '' })
  signingIn.child.stdin!.write(`${asked.get('redirect_uri')}?${answer}\r`)
  const { stdout } = await signingIn.done
  expect(stdout).toContain('signed in')
  expect(stdout).not.toContain('long-')
  expect(auth.requests.map(({ params }) => params['code'])).toEqual([code])
  expect((await start(['get', 'me'], { at }).done).stdout).toBe('token-1\n')
})

test('Ctrl-C while the paste is waited for is exit 130, and frees the port and the profile', async () => {
  const { at, auth } = await home()
  const signIn = (): Started =>
    start(inTerminal('login me --no-browser'), { at, program: ['script'], keepInput: true })
  const signingIn = signIn()
  await shows(signingIn, /paste the address/)
  const asked = new URL(await shows(signingIn, /(http:\S+\/authorize\S+)/)).searchParams
  signingIn.child.stdin!.write('half\u0003')
  expect(await signingIn.done).toMatchObject({ code: 130 })
  await expect(fetch(asked.get('redirect_uri') ?? '')).rejects.toThrow()
  // Whoever comes next does not wait for the one who left.
  const again = signIn()
  await shows(again, /paste the address/)
  again.child.stdin!.write('\u0003')
  expect(await again.done).toMatchObject({ code: 130 })
  expect(auth.requests).toHaveLength(0)
})

test('the browser of BROWSER is opened, and stdout stays empty', async () => {
  const { at } = await home()
  const asked = at.write('asked', '')
  const browser = at.write('browser.sh', `printf %s "$1" > '${asked}'\n`)
  const signingIn = start(['login', 'me'], { at, env: { BROWSER: `/bin/sh ${browser}` } })
  const { readFileSync } = await import('node:fs')
  while (readFileSync(asked, 'utf8') === '') await new Promise(resolve => setImmediate(resolve))
  const { searchParams } = new URL(readFileSync(asked, 'utf8'))
  const answer = new URLSearchParams({ code: 'c', state: searchParams.get('state') ?? '' })
  const page = await fetch(`${searchParams.get('redirect_uri')}?${answer}`)
  expect(await page.text()).toContain('You are signed in')
  expect(await signingIn.done).toMatchObject({ code: 0, stdout: '' })
})

test('the time that is left is redrawn on a terminal, and Ctrl-C leaves nothing of it', async () => {
  const { at, auth } = await home()
  auth.answer(({ path }) =>
    path === '/device'
      ? {
          body: {
            device_code: 'd',
            user_code: 'WDJB-MJHT',
            verification_uri: 'https://idp.example.com/activate',
            expires_in: 300,
          },
        }
      : { status: 400, body: { error: 'authorization_pending' } },
  )
  const signingIn = start(inTerminal('login tv'), {
    at,
    program: ['script'],
    keepInput: true,
    env: { TERM: 'xterm' },
  })
  // The second redrawing: on a busy machine some are left out.
  await shows(signingIn, /4:[0-5]\d left/)
  signingIn.child.stdin!.write('\u0003')
  const { code, stdout } = await signingIn.done
  expect(code).toBe(130)
  expect(stdout).toContain('│   \x1b[1mWDJB-MJHT\x1b[0m   │')
  expect(stdout.trimEnd().endsWith('\r\x1b[K')).toBe(true)
  expect(auth.count('/token')).toBe(0)
})

test('get on a terminal offers to sign in: no is exit 4, and nothing was opened', async () => {
  const { at, auth } = await home()
  const env = { NO_COLOR: '1' }
  const getting = start(inTerminal('get me'), { at, env, program: ['script'], keepInput: true })
  await shows(getting, /sign in now\? \[y\/N\] /)
  getting.child.stdin!.write('n\r')
  const { code, stdout } = await getting.done
  expect(code).toBe(4)
  expect(stdout).toContain('tokctl: error: profile "me" needs a sign-in')
  expect(stdout).not.toContain('/authorize')
  expect(auth.count()).toBe(0)
})

test('get on a terminal offers to sign in: yes signs in and prints the token', async () => {
  const { at, auth } = await home()
  const env = { BROWSER: 'false', TERM: 'xterm' }
  const getting = start(inTerminal('get me'), { at, env, program: ['script'], keepInput: true })
  await shows(getting, /sign in now\? \[y\/N\] /)
  getting.child.stdin!.write('y\r')
  const asked = new URL(await shows(getting, /(http:\S+\/authorize\S+)/)).searchParams
  await shows(getting, /paste the address/)
  const answer = new URLSearchParams({ code: 'the-code', state: asked.get('state') ?? '' })
  getting.child.stdin!.write(`${asked.get('redirect_uri')}?${answer}\r`)
  const { code, stdout } = await getting.done
  expect(code).toBe(0)
  expect(stdout.trimEnd().split('\r\n').at(-1)).toBe('token-1')
  expect(auth.count()).toBe(1)
})

test('with --no-input a terminal is offered nothing', async () => {
  const { at } = await home()
  const getting = start(inTerminal('get me --no-input'), { at, program: ['script'], keepInput: true })
  const { code, stdout } = await getting.done
  expect(code).toBe(4)
  expect(stdout).not.toContain('[y/N]')
})

test('where stdout is a pipe nobody is asked, whatever the other streams are', async () => {
  const { at } = await home()
  const env = { NO_COLOR: '1' }
  const getting = start(['-qefc', `${quoted} get me | cat`, '/dev/null'], {
    at,
    env,
    program: ['script'],
    keepInput: true,
  })
  const { stdout } = await getting.done
  expect(stdout).not.toContain('[y/N]')
  expect(stdout).toContain('tokctl: error: profile "me" needs a sign-in')
})

test('the question of get ends with the time of the call', async () => {
  const { at } = await home()
  const getting = start(inTerminal('get me --timeout 500ms'), { at, program: ['script'], keepInput: true })
  const { code, stdout } = await getting.done
  expect(code).toBe(4)
  expect(stdout).toContain('[y/N]')
})
