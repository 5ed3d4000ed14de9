import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { clientProfile, corp } from '../support/corp.ts'
import { program, type RunResult, run, type Scratch } from '../support/run.ts'

/** A job of one CI system, with its files in the home. */
async function job(env: Readonly<Record<string, string>>) {
  const { auth, at, options } = await corp()
  const inJob = { ...options, cwd: at.home, env: { ...options.env, ...env } }
  const ci = (...words: string[]): Promise<RunResult> => run(['ci', ...words], inJob)
  return { auth, at, ci, options: inJob }
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
  test('a pipe, a directory, or a file that may not be made is refused before anything is asked for, and nothing is written', async () => {
    const { auth, at, ci } = await github()
    rmSync(join(at.home, 'output'))
    const file = join(at.home, 'output')
    const cases: [place: () => void, told: string][] = [
      [() => execFileSync('mkfifo', [file]), 'it is not a regular file'],
      [() => mkdirSync(file), '(EISDIR)'],
      [() => symlinkSync('/no/such/place', file), '(ENOENT)'],
    ]
    for (const [put, told] of cases) {
      put()
      expect(await ci('corp')).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining(`error: file ${file} cannot be written`),
      })
      expect((await ci('corp')).stderr).toContain(told)
      expect(existsSync(join(at.home, 'env'))).toBe(false)
      rmSync(file, { recursive: true })
    }
    expect(auth.count()).toBe(0)
  })

  test('a stdout that is thrown away or closed would hide nothing: refused before anything is asked for', async () => {
    const { auth, at, options } = await github()
    for (const away of ['> /dev/null', '>&-']) {
      const shell = ['sh', '-c', `exec "$@" ${away}`, 'sh', ...program]
      expect(await run(['ci', 'corp'], { ...options, program: shell })).toMatchObject({
        code: 1,
        stderr:
          'tokctl: error: standard output is thrown away: the runner would not hear what to hide\ntokctl: hint: leave it to the runner: without ">/dev/null"\n',
      })
    }
    expect(auth.count()).toBe(0)
    expect(existsSync(join(at.home, 'env'))).toBe(false)
  })

  test('a last line of more than a megabyte that was left open is closed first', async () => {
    const { at, ci } = await github()
    at.write('home/env', `LONG=${'x'.repeat(1 << 21)}`)
    expect(await ci('corp')).toMatchObject({ code: 0 })
    expect(content(at, 'env')).toMatch(/x\nCORP_TOKEN<<(\S+)\ntoken-1\n\1\n$/)
  })

  test('a disk that fills up between two files: what was written is told, and of the other nothing is left', async () => {
    const { at, ci, options } = await github()
    await ci('corp=WARM')
    rmSync(join(at.home, 'env'))
    at.write('home/output', `${'y'.repeat(1023)}\n`)
    // A process of this shell may make no file larger than 1,024 bytes: to it that is a disk that is full.
    const { code, stderr } = await run(['ci', 'corp'], {
      ...options,
      program: ['sh', '-c', 'ulimit -f 2 && exec "$@"', 'sh', ...program],
    })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `tokctl: error: file ${join(at.home, 'output')} cannot be written (EFBIG); CORP_TOKEN reached env before that\n`,
    })
    expect(content(at, 'env')).toContain('token-1')
    expect(content(at, 'output')).toBe(`${'y'.repeat(1023)}\n`)
  })

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

  test('members that are handed over whole are hidden one by one too', async () => {
    const { at, ci } = await github()
    at.writeConfig(`[profile.keys]
source = "command"
command = ["echo", '{"id":"key-1","secret":"key-2"}']
members = { KEY_ID = "id", KEY_SECRET = "secret" }
`)
    const { code, stdout } = await ci('keys=KEYS')
    expect(code).toBe(0)
    const whole = '{"KEY_ID":"key-1","KEY_SECRET":"key-2"}'
    expect(stdout.trim().split('\n')).toEqual([whole, 'key-1', 'key-2'].map(text => `::add-mask::${text}`))
    expect(content(at, 'env')).toContain(whole)
  })

  test('a token that cannot be had leaves nothing behind', async () => {
    const { auth, at, ci } = await github()
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    expect(await ci('corp')).toMatchObject({ code: 6, stdout: '' })
    expect(existsSync(join(at.home, 'env'))).toBe(false)
    expect(content(at, 'output')).toBe('earlier=1')
  })

  test('what the runner would refuse is refused before anything is asked for, and so is the name of a member', async () => {
    const { auth, at, ci } = await github()
    at.writeConfig(`${readFileSync(at.configFile, 'utf8')}[profile.keys]
source = "command"
command = ["touch", "${at.home}/ran"]
members = { GITHUB_KEY = "key" }
`)
    expect(await ci('keys')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('keeps variable "GITHUB_KEY" for itself'),
    })
    expect(existsSync(join(at.home, 'ran'))).toBe(false)
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
  expect(await ci('corp')).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(
      /^tokctl: warning: file tokctl\.env can be read by every user of this machine; run: chmod go= tokctl\.env\n/,
    ),
  })
  expect(content(at, 'tokctl.env')).toBe('OTHER=1\nCORP_TOKEN=token-1\n')
  expect(mode(join(at.home, 'tokctl.env'))).toBe(0o644)
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

  test('without its agent nothing is asked for', async () => {
    const { auth, ci } = await job({ BUILDKITE: 'true' })
    expect(await ci('corp')).toMatchObject({
      code: 6,
      stdout: '',
      stderr: expect.stringContaining('program "buildkite-agent" was not found'),
    })
    expect(auth.count()).toBe(0)
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
  const { code, stdout, stderr } = await ci('corp', '--file', "the job's env")
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
  expect(mode(join(at.home, "the job's env"))).toBe(0o600)
  // What it says is what a shell takes.
  const [, command] = /to be read by: (.*)$/m.exec(stderr)!
  const shell = { at, cwd: at.home, program: ['sh', '-c', `${command}; printf %s "$CORP_TOKEN"`] }
  expect((await run([], shell)).stdout).toBe('token-1')
})

test('members of two profiles that have one name are refused before anything is asked for, and both are named', async () => {
  const { at, options } = await job({ GITLAB_CI: 'true' })
  at.writeConfig(
    ['a', 'b']
      .map(
        name =>
          `[profile.${name}]\nsource = "command"\ncommand = ["touch", "${at.home}/ran"]\nmembers = { KEY = "key" }\n`,
      )
      .join(''),
  )
  for (const words of [
    ['ci', 'a', 'b'],
    ['exec', 'a', 'b', '--', 'true'],
  ]) {
    const { code, stdout, stderr } = await run(words, options)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(
      /^tokctl: error: two tokens for the one variable "KEY": of profiles "a" and "b"\ntokctl: hint: hand its members over whole, as JSON: b=\w+\n$/,
    )
  }
  expect(existsSync(join(at.home, 'ran'))).toBe(false)
})

test('what else stands in the file stays byte for byte, its mode too', async () => {
  const { at, ci } = await job({})
  const before = Buffer.from("# caf\xe9 \xff\r\n\n\nA=1\n\nlast=it's", 'latin1')
  const path = at.write('home/job.env', before, 0o640)
  for (let i = 0; i < 2; i++) {
    expect(await ci('corp', '--file', 'job.env')).toMatchObject({ code: 0, stdout: '' })
    expect(readFileSync(path)).toEqual(
      Buffer.concat([before, Buffer.from("\nexport CORP_TOKEN='token-1'\n")]),
    )
    expect(mode(path)).toBe(0o640)
  }
})

test('where the file is a link, what it leads to is written, whether or not it is there yet', async () => {
  const { at, ci } = await job({ GITLAB_CI: 'true' })
  const target = at.write('elsewhere/file', 'X=1\n', 0o640)
  const link = join(at.home, 'tokctl.env')
  symlinkSync(target, link)
  expect(await ci('corp')).toMatchObject({ code: 0 })
  rmSync(target)
  expect(await ci('corp')).toMatchObject({ code: 0 })
  expect(readFileSync(target, 'utf8')).toBe('CORP_TOKEN=token-1\n')
  expect(mode(target)).toBe(0o600)
  expect(readlinkSync(link)).toBe(target)
  expect(readdirSync(dirname(target))).toEqual(['file'])
})

test('six jobs at once that write one file: each value is there', async () => {
  const { at, ci } = await job({})
  const names = [...'ABCDEF']
  const done = await Promise.all(names.map(name => ci(`corp=${name}`, '--file', 's.env')))
  expect(done.map(({ code }) => code)).toEqual(names.map(() => 0))
  expect(content(at, 's.env').trim().split('\n').sort()).toEqual(
    names.map(name => `export ${name}='token-1'`),
  )
})

test('a value in quotes counts whole, and a file that its group may read is told of', async () => {
  const { at, ci } = await job({})
  const others = 'A=\'first\nexport CORP_TOKEN=inside\n\'\nB=it\'s\nC="x\\"\nCORP_TOKEN=too"\n'
  at.write('home/s.env', `export CORP_TOKEN='old\nlast'\n${others}`, 0o640)
  expect(await ci('corp', '--file', 's.env')).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('file s.env can be read by its group; run: chmod go= s.env\n'),
  })
  expect(content(at, 's.env')).toBe(`${others}export CORP_TOKEN='token-1'\n`)
})

test('a file that may only be read is refused before anything is asked for', async () => {
  const { at, auth, ci } = await job({})
  const path = at.write('home/s.env', 'A=1\n', 0o444)
  expect(await ci('corp', '--file', 's.env')).toMatchObject({
    code: 1,
    stderr: `tokctl: error: file ${path} cannot be written: it is read-only\ntokctl: hint: run: chmod u+w ${path}\n`,
  })
  expect(auth.count()).toBe(0)
  expect(content(at, 's.env')).toBe('A=1\n')
})

test.runIf(process.getuid?.() === 0)("root leaves another user's file to its owner", async () => {
  const { at, ci } = await job({})
  const path = at.write('home/s.env', 'A=1\n', 0o600)
  lchownSync(path, 65_534, 65_533)
  expect(await ci('corp', '--file', 's.env')).toMatchObject({ code: 0 })
  expect(statSync(path)).toMatchObject({ uid: 65_534, gid: 65_533 })
  expect(content(at, 's.env')).toContain('token-1')
})

test.runIf(process.getuid?.() === 0)(
  'a link that another user put there is refused before anything is asked for',
  async () => {
    const { auth, at, ci } = await job({ GITLAB_CI: 'true' })
    const link = join(at.home, 'tokctl.env')
    symlinkSync(at.write('elsewhere', 'X=1\n'), link)
    lchownSync(link, 65_534, 65_534)
    expect(await ci('corp')).toMatchObject({
      code: 1,
      stderr: `tokctl: error: file ${link} cannot be written: it is a link of another user\ntokctl: hint: run: rm ${link}\n`,
    })
    expect(auth.count()).toBe(0)
  },
)

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
