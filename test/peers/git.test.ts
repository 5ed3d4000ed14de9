import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ahead, type Corp, corp } from '../support/corp.ts'
import { type GitServer, startGitServer } from '../support/git-server.ts'
import { environment, programFile, type RunOptions, type RunResult, run } from '../support/run.ts'

// git itself, with `credential.helper = tokctl`: it finds git-credential-tokctl on the PATH.

interface Peer extends Corp {
  readonly server: GitServer
  git(args: string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer(): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const bin = join(at.path, 'bin')
  mkdirSync(bin)
  symlinkSync(programFile('git-credential-tokctl'), join(bin, 'git-credential-tokctl'))
  const env = {
    ...options.env,
    PATH: `${bin}:${process.env['PATH']}`,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'credential.helper',
    GIT_CONFIG_VALUE_0: 'tokctl',
  }
  const server = await startGitServer(at.path, environment(at, env))
  onTestFinished(() => server.close())
  at.writeConfig(`[profile.corp]
source = "client_credentials"
token_endpoint = "${made.auth.tokenEndpoint}"
client_id = "build-bot"
client_secret = { env = "CORP_SECRET" }
match = ["${server.url}", "https://git.example.com"]
`)
  return {
    ...made,
    server,
    git: (args, more = {}) =>
      run(args, { ...options, program: ['git'], timeoutMs: 60_000, ...more, env: { ...env, ...more.env } }),
  }
}

test('a clone gets through with the token, and the next one asks nobody for it', async () => {
  const { auth, server, git } = await peer()
  expect(await git(['clone', '--quiet', `${server.url}/repo.git`, 'one'])).toMatchObject({
    code: 0,
    stdout: '',
    stderr: '',
  })
  expect((await git(['-C', 'one', 'log', '--format=%s'])).stdout).toBe('first\n')
  expect(server.requests[0]).toEqual({ path: '/repo.git/info/refs', credentials: undefined, status: 401 })
  const used = new Set(server.requests.map(({ credentials }) => credentials))
  expect([...used]).toEqual([undefined, 'oauth2:token-1'])
  expect(await git(['clone', '--quiet', `${server.url}/repo.git`, 'two'])).toMatchObject({
    code: 0,
    stderr: '',
  })
  expect(auth.count()).toBe(1)
})

test('a token that the server refuses is given up: the next run gets another one', async () => {
  const { auth, server, git } = await peer()
  const remote = ['ls-remote', `${server.url}/repo.git`, 'HEAD']
  expect((await git(remote)).code).toBe(0)
  server.refused.add('token-1')
  const refused = await git(remote)
  expect(refused.code).toBe(128)
  // git's own words: nothing of ours stands beside them.
  expect(refused.stderr).toMatch(/^fatal: Authentication failed for '.*'\n$/)
  expect(await git(remote)).toMatchObject({ code: 0, stderr: '' })
  expect(server.requests.at(-1)).toMatchObject({ credentials: 'oauth2:token-2', status: 200 })
  expect(auth.count()).toBe(2)
})

test('twenty at once with an expired token: one token request', async () => {
  const { auth, server, git } = await peer()
  const remote = ['ls-remote', `${server.url}/repo.git`, 'HEAD']
  expect((await git(remote)).code).toBe(0)
  const expired = { env: ahead('+61m') }
  const all = await Promise.all(Array.from({ length: 20 }, () => git(remote, expired)))
  for (const { code, stdout, stderr } of all) {
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^[0-9a-f]{40}\tHEAD\n$/)
  }
  expect(auth.count()).toBe(2)
  expect(server.requests.filter(({ credentials }) => credentials === 'oauth2:token-2')).toHaveLength(40)
}, 90_000)

/** A working copy with `n` submodules, each there already; it comes from a directory, they from the server. */
async function withSubmodules({ at, server, git }: Peer, n: number): Promise<string> {
  const directory = join(at.path, 'super')
  const author = ['-c', 'user.name=t', '-c', 'user.email=t@example.com']
  const own = { cwd: at.path }
  expect((await git(['clone', '--quiet', 'repo.git', 'super'], own)).code).toBe(0)
  const head = (await git(['-C', 'work', 'rev-parse', 'HEAD'], own)).stdout.trim()
  const names = Array.from({ length: n }, (_, i) => `s${i}`)
  const sections = names.map(
    name => `[submodule "${name}"]\n\tpath = ${name}\n\turl = ${server.url}/${name}.git\n`,
  )
  writeFileSync(join(directory, '.gitmodules'), sections.join(''))
  const config = join(directory, '.git', 'config')
  writeFileSync(
    config,
    [readFileSync(config, 'utf8'), ...sections.map(text => text.replace(/\tpath.*\n/, ''))].join(''),
  )
  // What `git submodule update --init` would make, without forty clones.
  for (const name of names) {
    const repository = join(directory, '.git', 'modules', name)
    cpSync(join(at.path, 'work', '.git'), repository, { recursive: true })
    writeFileSync(
      join(repository, 'config'),
      `[core]\n\tworktree = ../../../${name}\n[remote "origin"]\n\turl = ${server.url}/${name}.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`,
    )
    symlinkSync('repo.git', join(at.path, `${name}.git`))
    mkdirSync(join(directory, name))
    writeFileSync(join(directory, name, '.git'), `gitdir: ../.git/modules/${name}\n`)
  }
  const links = names.flatMap(name => ['--cacheinfo', `160000,${head},${name}`])
  expect((await git(['-C', 'super', 'update-index', '--add', ...links], own)).code).toBe(0)
  expect((await git(['-C', 'super', 'add', '.gitmodules'], own)).code).toBe(0)
  expect((await git(['-C', 'super', ...author, 'commit', '--quiet', '--message', 'modules'], own)).code).toBe(
    0,
  )
  return directory
}

test('forty submodules fetched sixteen at once with an expired token: one token request', async () => {
  const made = await peer()
  const { auth, server, git } = made
  const directory = await withSubmodules(made, 40)
  expect((await git(['ls-remote', `${server.url}/repo.git`, 'HEAD'])).code).toBe(0)
  expect(auth.count()).toBe(1)
  const gate = auth.hold()
  const fetch = git(['fetch', '--quiet', '--recurse-submodules=yes', '-j', '16'], {
    cwd: directory,
    env: ahead('+61m'),
    timeoutMs: 150_000,
  })
  // All sixteen were turned away, and so ask us, before the one answer comes.
  await server.answered(401, 17)
  await gate.arrived(1)
  gate.release()
  expect(await fetch).toMatchObject({ code: 0, stdout: '', stderr: '' })
  const served = server.requests.filter(({ credentials }) => credentials === 'oauth2:token-2')
  expect(new Set(served.map(({ path }) => path.split('/')[1])).size).toBe(40)
  expect(auth.count()).toBe(2)
}, 180_000)

describe('git credential', () => {
  const asked = 'protocol=https\nhost=git.example.com\n'

  test('fill prints what git understood, without a word on stderr', async () => {
    const { git } = await peer()
    const { code, stdout, stderr } = await git(['credential', 'fill'], { input: asked })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`${asked}username=oauth2\npassword=token-1\n`)
  })

  test('reject of another password changes nothing; reject of ours leads to a new token', async () => {
    const { auth, git } = await peer()
    const fill = async () => (await git(['credential', 'fill'], { input: asked })).stdout
    expect(await fill()).toContain('password=token-1\n')
    const tell = (verb: string, password: string) =>
      git(['credential', verb], { input: `${asked}username=oauth2\npassword=${password}\n` })
    for (const [verb, password] of [
      ['approve', 'token-1'],
      ['reject', 'typed-by-hand'],
    ] as const) {
      expect(await tell(verb, password)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    }
    expect(await fill()).toContain('password=token-1\n')
    await tell('reject', 'token-1')
    expect(await fill()).toContain('password=token-2\n')
    expect(auth.count()).toBe(2)
  })

  test('of a host that is not ours it hears nothing, and would ask a person', async () => {
    const { auth, git } = await peer()
    const { code, stdout, stderr } = await git(['credential', 'fill'], {
      input: 'protocol=https\nhost=other.example.com\n',
    })
    expect({ code, stdout }).toEqual({ code: 128, stdout: '' })
    expect(stderr).toMatch(/^fatal: could not read Username for 'https:\/\/other\.example\.com'/)
    expect(auth.count()).toBe(0)
  })
})
