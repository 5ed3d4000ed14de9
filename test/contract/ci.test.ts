import { existsSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { clientProfile, corp } from '../support/corp.ts'
import { type RunResult, run, type Scratch } from '../support/run.ts'

/** A job of one CI system, with its files in the home. */
async function job(env: Readonly<Record<string, string>>) {
  const { auth, at, options } = await corp()
  const ci = (...words: string[]): Promise<RunResult> =>
    run(['ci', ...words], { ...options, cwd: at.home, env: { ...options.env, ...env } })
  return { auth, at, ci }
}

function content(at: Scratch, name: string): string {
  return readFileSync(join(at.home, name), 'utf8')
}

function mode(path: string): number {
  return statSync(path).mode & 0o777
}

async function github() {
  const made = await job({ GITHUB_ACTIONS: 'true', GITHUB_ENV: 'env', GITHUB_OUTPUT: 'output' })
  made.at.write('home/output', 'earlier=1')
  return made
}

describe('on GitHub Actions', () => {
  test('stdout hides the token, the files hold it, stderr tells so without it', async () => {
    const { at, ci } = await github()
    expect(await ci('corp')).toMatchObject({
      code: 0,
      stdout: '::add-mask::token-1\n',
      stderr:
        'tokctl: GitHub Actions: CORP_TOKEN is hidden in the log\n' +
        'tokctl: GitHub Actions: CORP_TOKEN is in the environment of later steps, and an output of this one\n',
    })
    const block = /^CORP_TOKEN<<(tokctl_[0-9a-f-]{36})\ntoken-1\n\1\n$/
    expect(content(at, 'env')).toMatch(block)
    expect(content(at, 'output').replace('earlier=1\n', '')).toMatch(block)
    expect(mode(join(at.home, 'env'))).toBe(0o600)
  })

  test('each run has another delimiter', async () => {
    const { at, ci } = await github()
    for (let i = 0; i < 2; i++) expect(await ci('corp')).toMatchObject({ code: 0 })
    const found = [...content(at, 'env').matchAll(/<<(.*)/g)].map(([, delimiter]) => delimiter)
    expect(new Set(found).size).toBe(2)
  })

  test('several profiles, one by a name of its own', async () => {
    const { auth, at, ci } = await github()
    at.writeConfig(
      [clientProfile('corp', auth.tokenEndpoint), clientProfile('corp-eu', auth.tokenEndpoint)].join('\n'),
    )
    const { code, stdout } = await ci('corp=API_TOKEN', 'corp-eu')
    expect(code).toBe(0)
    expect(stdout.split('\n').sort()).toEqual(['', '::add-mask::token-1', '::add-mask::token-2'])
    expect([...content(at, 'env').matchAll(/^(\w+)<</gm)].map(([, name]) => name)).toEqual([
      'API_TOKEN',
      'CORP_EU_TOKEN',
    ])
  })

  test('a token that cannot be had leaves nothing behind', async () => {
    const { auth, at, ci } = await github()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    expect(await ci('corp')).toMatchObject({ code: 6, stdout: '' })
    expect(existsSync(join(at.home, 'env'))).toBe(false)
    expect(content(at, 'output')).toBe('earlier=1')
  })

  test('what the runner would refuse is refused before anything is asked for', async () => {
    const { auth, ci } = await github()
    expect(await ci('corp=GITHUB_TOKEN')).toMatchObject({
      code: 2,
      stdout: '',
      stderr:
        'tokctl: error: GitHub Actions keeps variable "GITHUB_TOKEN" for itself\ntokctl: hint: name another one: PROFILE=MY_TOKEN\n',
    })
    expect(auth.count()).toBe(0)
  })
})

test('on GitLab a dotenv file of mode 0600, in which a name stands once and other lines stay', async () => {
  const { auth, at, ci } = await job({ GITLAB_CI: 'true' })
  const { code, stdout, stderr } = await ci('corp')
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
  expect(stderr).toContain('CORP_TOKEN is not hidden in the log, since there is no way to: do not print it\n')
  expect(stderr).not.toContain('token-1')
  expect(content(at, 'tokctl.env')).toBe('CORP_TOKEN=token-1\n')
  expect(mode(join(at.home, 'tokctl.env'))).toBe(0o600)

  at.write('home/tokctl.env', 'OTHER=1\nCORP_TOKEN=old\n', 0o644)
  expect(await ci('corp')).toMatchObject({ code: 0 })
  expect(content(at, 'tokctl.env')).toBe('OTHER=1\nCORP_TOKEN=token-1\n')
  expect(mode(join(at.home, 'tokctl.env'))).toBe(0o600)
  expect(auth.count()).toBe(1)
})

test('on Azure Pipelines all of it goes to stdout, the hiding first', async () => {
  const { ci } = await job({ TF_BUILD: 'True' })
  const { code, stdout, stderr } = await ci('corp')
  expect(code).toBe(0)
  expect(stdout.split('\n')).toEqual([
    '##vso[task.setsecret]token-1',
    '##vso[task.setvariable variable=CORP_TOKEN;issecret=true]token-1',
    '##vso[task.setvariable variable=CORP_TOKEN;issecret=true;isOutput=true]token-1',
    '',
  ])
  expect(stderr).not.toContain('token-1')
})

test('on CircleCI the next shell has it', async () => {
  const { at, ci } = await job({ CIRCLECI: 'true', BASH_ENV: 'bash_env' })
  expect(await ci('corp')).toMatchObject({ code: 0, stdout: '' })
  const next = await run([], {
    at,
    cwd: at.home,
    env: { BASH_ENV: 'bash_env' },
    // bash takes a socket as its stdin for a remote shell's, and then reads another file.
    program: ['sh', '-c', `bash -c 'printf %s "$CORP_TOKEN"' < /dev/null`],
  })
  expect(next.stdout).toBe('token-1')
})

describe('on Buildkite', () => {
  async function buildkite(redactor: string) {
    const { at, options } = await corp()
    const agent = at.write(
      'bin/buildkite-agent',
      `#!/bin/sh\nprintf '%s: ' "$*" >> agent.log; cat >> agent.log; echo >> agent.log\n[ "$1" = env ] || ${redactor}\n`,
      0o755,
    )
    const env = { ...options.env, BUILDKITE: 'true', PATH: `${dirname(agent)}:${process.env['PATH']}` }
    return { at, ci: () => run(['ci', 'corp'], { ...options, cwd: at.home, env }) }
  }

  test('its agent hides it before it sets it, and hears of it on stdin', async () => {
    const { at, ci } = await buildkite('exit 0')
    expect(await ci()).toMatchObject({ code: 0, stdout: '' })
    expect(content(at, 'agent.log')).toBe(
      'redactor add --format json: {"CORP_TOKEN_0":"token-1"}\n' +
        'env set --input-format=json --output-format=quiet -: {"CORP_TOKEN":"token-1"}\n',
    )
  })

  test('what cannot be hidden is not set', async () => {
    const { at, ci } = await buildkite('{ echo "token-1 is odd" >&2; exit 3; }')
    expect(await ci()).toMatchObject({
      code: 6,
      stdout: '',
      stderr: 'tokctl: error: "buildkite-agent redactor add" failed (exit code 3)\n',
    })
    expect(content(at, 'agent.log')).not.toContain('env set')
  })
})

test.each([
  ['Jenkins', { JENKINS_URL: 'https://jenkins.example.com/' }],
  ['Bitbucket', { BITBUCKET_BUILD_NUMBER: '1' }],
  ['a job of no known CI system', {}],
])('for %s a file that is named, to be read by a shell', async (title, env) => {
  const { auth, at, ci } = await job(env)
  expect(await ci('corp')).toMatchObject({
    code: 2,
    stderr: `tokctl: error: ${title} has no way to hand values to later steps but a file\ntokctl: hint: name one: --file tokctl.env\n`,
  })
  expect(auth.count()).toBe(0)
  expect(await ci('corp', '--file', 'job.env')).toMatchObject({ code: 0, stdout: '' })
  expect(mode(join(at.home, 'job.env'))).toBe(0o600)
  const shell = { at, cwd: at.home, program: ['sh', '-c', '. ./job.env; printf %s "$CORP_TOKEN"'] }
  expect((await run([], shell)).stdout).toBe('token-1')
})

test('a link in the place of the file is replaced, and what it leads to stays as it is', async () => {
  const { at, ci } = await job({ GITLAB_CI: 'true' })
  const target = at.write('elsewhere', 'X=1\n', 0o644)
  symlinkSync(target, join(at.home, 'tokctl.env'))
  expect(await ci('corp')).toMatchObject({ code: 0 })
  expect(readFileSync(target, 'utf8')).toBe('X=1\n')
})

test.each([
  [['ci'], 'missing required argument'],
  [['ci', 'corp=2X'], '"2X" is not the name of a variable'],
  [['ci', 'corp', 'corp'], 'two tokens for the one variable "CORP_TOKEN"'],
  [['ci', 'corp', '--system', 'travis'], '--system: "travis" is no CI system that is known'],
])('%j is refused', async (words, message) => {
  const { auth, options } = await corp()
  const { code, stdout, stderr } = await run(words, {
    ...options,
    env: { ...options.env, GITLAB_CI: 'true' },
  })
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(message)
  expect(auth.count()).toBe(0)
})
