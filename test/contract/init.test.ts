import { existsSync, readFileSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type AuthServer, startAuthServer } from '../support/auth-server.ts'
import { keepClosed } from '../support/closed-port.ts'
import { startBus } from '../support/keyring.ts'
import { program, type RunOptions, run, type Scratch, type Started, scratch, start } from '../support/run.ts'

const quoted = program.map(word => `'${word}'`).join(' ')

async function home(): Promise<{ at: Scratch; auth: AuthServer }> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  return { at: scratch(), auth }
}

function inTerminal(args: string, options: RunOptions): Started {
  return start(['-qefc', `exec ${quoted} ${args}`, '/dev/null'], {
    ...options,
    program: ['script'],
    keepInput: true,
  })
}

/** Answers questions in their order: each once its text has been shown. */
async function answer(
  started: Started,
  talk: readonly (readonly [shown: RegExp, typed: string])[],
): Promise<void> {
  let from = 0
  for (const [shown, typed] of talk) {
    for (;;) {
      const found = shown.exec(started.stdout.slice(from))
      if (found !== null) {
        from += found.index + found[0].length
        break
      }
      if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
      await new Promise(resolve => setImmediate(resolve))
    }
    started.child.stdin!.write(typed)
  }
}

test('a first profile by questions: provider, issuer checked, secret kept unseen, and a token', async () => {
  const { at, auth } = await home()
  const env = { NO_COLOR: '1' }
  const asking = inTerminal('init', { at, env })
  await answer(asking, [
    [/25 {2}oidc[\s\S]*provider, its number or its name \[oidc\]: /, 'nonsense\n'],
    [/there is no such provider\r\nprovider, its number or its name \[oidc\]: /, '25\n'],
    [/name of the profile \[oidc\]: /, 'corp\n'],
    [/address of the server \(issuer\), such as .*: /, `${auth.url}/\n`],
    [/client ID, such as .*: /, 'build-bot\n'],
    [/secret "corp-client" \(not shown\): /, 'hidden-canary\r'],
  ])
  const { code, stdout } = await asking.done
  expect(code).toBe(0)
  expect(stdout).toContain(`${auth.url} is there: tokens come from ${auth.tokenEndpoint}\r\n`)
  expect(stdout).toContain('secret "corp-client" is kept in a sealed file\r\n')
  expect(stdout).toContain('the first token is here, good for 59m\r\nnext: tokctl get corp\r\n')
  expect(stdout).not.toContain('canary')
  expect(readFileSync(at.configFile, 'utf8')).not.toContain('canary')
  const sent = auth.requests.find(({ path }) => path === '/token')!.headers.authorization!
  expect(Buffer.from(sent.slice(6), 'base64').toString()).toBe('build-bot:hidden-canary')
  expect(await run(['get', 'corp'], { at })).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
})

const flags = (auth: AuthServer): string[] => [
  'init',
  'corp',
  '--provider',
  'oidc',
  '--set',
  `issuer=${auth.url}`,
  '--set',
  'client_id=build-bot',
]

describe('by flags alone, without a terminal', () => {
  test('the secret from stdin', async () => {
    const { at, auth } = await home()
    const made = await run([...flags(auth), '--secret-stdin'], { at, input: 'piped-canary\n' })
    expect(made).toMatchObject({ code: 0, stdout: '' })
    expect(await run(['get', 'corp', '--cached'], { at })).toMatchObject({ code: 0, stdout: 'token-1\n' })
  })

  test('a file that is named and not there yet is made, with its secret kept', async () => {
    const { at, auth } = await home()
    const file = join(at.home, 'new', 'config.toml')
    const named = ['--config', file]
    const made = await run([...named, ...flags(auth), '--secret-stdin'], { at, input: 'piped-canary\n' })
    expect(made, made.stderr).toMatchObject({ code: 0, stdout: '' })
    expect(await run([...named, 'get', 'corp', '--cached'], { at })).toMatchObject({ stdout: 'token-1\n' })
  })

  test('a reference in the place of a kept secret: nothing is kept', async () => {
    const { at, auth } = await home()
    const env = { CORP_SECRET: 'from-the-environment' }
    const made = await run([...flags(auth), '--set', 'client_secret=env:CORP_SECRET'], { at, env })
    expect(made).toMatchObject({ code: 0, stdout: '' })
    expect((await run(['secret', 'list'], { at })).stdout).toBe('')
  })

  test('--no-check and --no-get ask no server', async () => {
    const { at, auth } = await home()
    const args = [...flags(auth), '--set', 'client_secret=env:X', '--no-check', '--no-get']
    expect(await run(args, { at })).toMatchObject({ code: 0, stdout: '' })
    expect(auth.count()).toBe(0)
    expect((await run(['profile', 'list'], { at })).stdout).toMatch(/^corp /)
    // A name that is taken is told before anything is asked.
    expect(await run(['init', 'corp', '--provider', 'oidc'], { at })).toMatchObject({
      code: 2,
      stderr:
        'tokctl: error: profile "corp" exists already\ntokctl: hint: run: tokctl profile remove corp, or choose another name\n',
    })
  })

  test('what is missing is exit 2 with the flag that says it, and nothing is written', async () => {
    const { at, auth } = await home()
    const cases: [args: string[], stderr: RegExp][] = [
      [['init'], /--provider is missing, and nobody is here to be asked/],
      [['init', '--provider', 'oidc'], /the new profile needs a name\n.*tokctl init oidc --provider oidc/],
      [['init', 'corp', '--provider', 'oidc'], /needs issuer, client_id\n.*--set issuer=/],
      [flags(auth), /the secret "corp-client" would have to be asked for\n.*--secret-stdin/],
      [['init', 'corp', '--provider', 'odic'], /unknown provider "odic"; did you mean "oidc"\?/],
    ]
    for (const [args, stderr] of cases) {
      const result = await run(args, { at })
      expect(result).toMatchObject({ code: 2, stdout: '' })
      expect(result.stderr).toMatch(stderr)
    }
    expect(existsSync(at.configFile)).toBe(false)
  })
})

test('an issuer that is not there is told before anything is written or kept', async () => {
  const { at, auth } = await home()
  await auth.close()
  await keepClosed(Number(new URL(auth.url).port))
  const made = await run([...flags(auth), '--secret-stdin'], { at, input: 'x' })
  expect(made).toMatchObject({
    code: 5,
    stdout: '',
    stderr: expect.stringContaining(
      `tokctl: hint: see: curl -v ${auth.url}, or write it all the same with --no-check\n`,
    ),
  })
  expect(existsSync(at.configFile)).toBe(false)
})

test('a client that is refused: exit 6, and the profile stays to be corrected', async () => {
  const { at, auth } = await home()
  auth.answer({ status: 401, body: { error: 'invalid_client' } })
  const made = await run([...flags(auth), '--secret-stdin'], { at, input: 'wrong' })
  expect(made).toMatchObject({ code: 6, stdout: '' })
  expect((await run(['profile', 'list'], { at })).stdout).toMatch(/^corp /)
})

/** A home on a bus where nobody keeps secrets. */
async function homeWithoutKeychain() {
  const bus = await startBus()
  onTestFinished(() => bus.stop())
  const made = await home()
  const unset = { XDG_CONFIG_HOME: undefined, TOKCTL_STORE: undefined }
  return { ...made, env: { ...bus.env, ...unset, HOME: made.at.home, NO_COLOR: '1' } }
}

test('where there is no keychain, sealed files are offered, and chosen by name', async () => {
  const { at, auth, env } = await homeWithoutKeychain()
  const asking = inTerminal(flags(auth).join(' '), { at, env })
  await answer(asking, [
    [/secret "corp-client" \(not shown\): /, 'hidden-canary\r'],
    [/keep secrets in sealed files instead\? \[Y\/n\] /, '\u0003'],
  ])
  expect(await asking.done).toMatchObject({ code: 130, stdout: expect.stringMatching(/\r\n$/) })
  // Nobody is left with a profile whose secret is nowhere.
  expect(existsSync(at.configFile)).toBe(false)
  at.writeConfig('[store] # mine\n')
  const again = inTerminal(flags(auth).join(' '), { at, env })
  await answer(again, [
    [/secret "corp-client" \(not shown\): /, 'hidden-canary\r'],
    [/keep secrets in sealed files instead\? \[Y\/n\] /, '\n'],
  ])
  expect((await again.done).code).toBe(0)
  expect(readFileSync(at.configFile, 'utf8')).toContain('[store] # mine\nkind = "file"\n')
  expect(await run(['get', 'corp'], { at, env })).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
})

test('a sign-in without a keychain is offered sealed files too, before anything is written', async () => {
  const { at, auth, env } = await homeWithoutKeychain()
  const command = `init me --provider oidc-login --set issuer=${auth.url} --set client_id=cli`
  const question = /to keep a session in\r\nkeep sessions in sealed files instead\? \[Y\/n\] /
  const refused = inTerminal(command, { at, env })
  await answer(refused, [[question, 'n\n']])
  expect(await refused.done).toMatchObject({
    code: 7,
    stdout: expect.stringContaining('hint: choose sealed files by name: kind = "file" under [store]'),
  })
  expect(existsSync(at.configFile)).toBe(false)
  const asking = inTerminal(command, { at, env })
  await answer(asking, [
    [question, '\n'],
    [/profile "me" needs a sign-in; sign in now\? \[y\/N\] /, 'n\n'],
  ])
  expect((await asking.done).code).toBe(0)
  const text = readFileSync(at.configFile, 'utf8')
  expect(text).toMatch(/\[store\]\nkind = "file"\n/)
  // Said with a flag it is the same, and nobody is asked.
  unlinkSync(at.configFile)
  const flagged = inTerminal(`${command} --sealed-files --no-get`, { at, env })
  expect((await flagged.done).stdout).not.toContain('[Y/n]')
  expect(readFileSync(at.configFile, 'utf8')).toBe(text)
})

test('the providers fit a small terminal, with the question below them', async () => {
  const { at } = await home()
  const asking = start(['-qefc', `stty cols 80 rows 24; exec ${quoted} init`, '/dev/null'], {
    at,
    program: ['script'],
    keepInput: true,
  })
  await answer(asking, [[/provider, its number or its name/, '\u0003']])
  const lines = (await asking.done).stdout.split('\r\n')
  expect(lines.length).toBeLessThanOrEqual(24)
  expect(lines.every(line => line.length <= 80)).toBe(true)
  expect(lines.join('\n')).toMatch(/ 26 {2}oidc-login/)
})

test('Ctrl-C at a question is exit 130, and nothing is written', async () => {
  const { at } = await home()
  const asking = inTerminal('init', { at })
  await answer(asking, [[/provider, its number or its name/, '\u0003']])
  expect((await asking.done).code).toBe(130)
  expect(existsSync(at.configFile)).toBe(false)
})
