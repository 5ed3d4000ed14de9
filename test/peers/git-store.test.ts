import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ahead } from '../support/corp.ts'
import { programFile, type RunOptions, run, type Scratch, scratch } from '../support/run.ts'

// What git's own tests want of a credential helper that keeps passwords (t0303 and its library, to git 2.49), each
// assertion by its name: through the helper itself, and through `git credential` where the git of this machine can say it.

/** What became of a request: what was answered, and what a person would have been asked for. */
interface Filled {
  readonly told: readonly string[]
  readonly asked: readonly ('username' | 'password')[]
}

interface Client {
  fill(...lines: string[]): Promise<Filled>
  approve(...lines: string[]): Promise<void>
  reject(...lines: string[]): Promise<void>
}

type NewClient = (more?: { readonly env?: RunOptions['env']; readonly config?: readonly string[] }) => Client

/** Nobody's configuration: to keep passwords takes none. */
const options = (at: Scratch, env: RunOptions['env'] = {}): RunOptions => ({ at, env, timeoutMs: 60_000 })

function wire(at: Scratch, more: readonly string[] = []): NewClient {
  return ({ env } = {}) => {
    const tell = async (verb: string, lines: readonly string[]): Promise<string[]> => {
      const input = lines.map(line => `${line}\n`).join('')
      const { code, stdout, stderr } = await run(['helper', 'git', '--store', ...more, verb], {
        ...options(at, env),
        input,
      })
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      if (stdout !== '') expect(stdout.endsWith('\n')).toBe(true)
      return stdout.split('\n').slice(0, -1)
    }
    return {
      async fill(...lines) {
        const answer = await tell('get', lines)
        // Users are told again, as git wants it; capabilities are not git's to repeat.
        const told = answer.filter(line => line.startsWith('capability') || !lines.includes(line))
        const knows = (name: string): boolean => [...lines, ...told].some(line => line.startsWith(`${name}=`))
        const missing = (['username', 'password'] as const).filter(name => !knows(name))
        return { told, asked: knows('credential') ? [] : missing }
      },
      approve: async (...lines) => expect(await tell('store', lines)).toEqual([]),
      reject: async (...lines) => expect(await tell('erase', lines)).toEqual([]),
    }
  }
}

function git(at: Scratch): NewClient {
  const bin = join(at.path, 'bin')
  mkdirSync(bin)
  symlinkSync(programFile('git-credential-tokctl'), join(bin, 'git-credential-tokctl'))
  const askpass = at.write(
    'askpass',
    `#!/bin/sh
echo "askpass: $*" >&2
case "$*" in Username*) echo askpass-username ;; *) echo askpass-password ;; esac
`,
    0o700,
  )
  return ({ env, config = [] } = {}) => {
    const settings = config.flatMap(setting => ['-c', setting])
    const tell = async (verb: string, lines: readonly string[]): Promise<[out: string[], err: string[]]> => {
      const { code, stdout, stderr } = await run(
        ['-c', 'credential.helper=tokctl --store', ...settings, 'credential', verb],
        {
          ...options(at, {
            PATH: `${bin}:${process.env['PATH']}`,
            GIT_CONFIG_NOSYSTEM: '1',
            GIT_ASKPASS: askpass,
            ...env,
          }),
          program: ['git'],
          input: lines.map(line => `${line}\n`).join(''),
        },
      )
      expect(code).toBe(0)
      return [stdout.split('\n').slice(0, -1), stderr.split('\n').slice(0, -1)]
    }
    const quiet = async (verb: string, lines: readonly string[]): Promise<void> =>
      expect(await tell(verb, lines)).toEqual([[], []])
    return {
      async fill(...lines) {
        const [out, err] = await tell('fill', lines)
        const asked = err.map(line => {
          const what = /^askpass: (Username|Password) for '[^']*': $/.exec(line)?.[1]
          // Nothing of ours may stand beside git's own question.
          expect(what, line).toBeDefined()
          return what === 'Username' ? 'username' : 'password'
        })
        const told = out.filter(line => !lines.includes(line) && !/=askpass-(username|password)$/.test(line))
        return { told, asked }
      },
      approve: (...lines) => quiet('approve', lines),
      reject: (...lines) => quiet('reject', lines),
    }
  }
}

const host = ['protocol=https', 'host=example.com']
const nothing: Filled = { told: [], asked: ['username', 'password'] }
const passwordAsked: Filled = { told: [], asked: ['password'] }

describe.each<[name: string, client: (at: Scratch) => NewClient]>([
  ['the helper itself', at => wire(at)],
  ['git credential', git],
])('%s', (_, newClient) => {
  test('no existing data', async () => {
    const client = newClient(scratch())()
    expect(await client.fill(...host)).toEqual(nothing)
  })

  test('stores password, and can retrieve it', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=store-user', 'password=store-pass')
    expect(await client.fill(...host)).toEqual({
      told: ['username=store-user', 'password=store-pass'],
      asked: [],
    })
  })

  test('requires matching protocol, host and username', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=store-user', 'password=store-pass')
    expect(await client.fill('protocol=http', 'host=example.com')).toEqual(nothing)
    expect(await client.fill('protocol=https', 'host=other.tld')).toEqual(nothing)
    expect(await client.fill('protocol=https', 'host=example.com:8443')).toEqual(nothing)
    expect(await client.fill(...host, 'username=other')).toEqual(passwordAsked)
    expect((await client.fill(...host)).asked).toEqual([])
  })

  test('requires matching path, where git tells one', async () => {
    const client = newClient(scratch())({ config: ['credential.useHttpPath=true'] })
    const place = ['protocol=http', 'host=path.tld']
    await client.approve(...place, 'path=foo.git', 'username=user', 'password=pass')
    expect(await client.fill(...place, 'path=bar.git')).toEqual(nothing)
    expect(await client.fill(...place, 'path=foo.git')).toEqual({
      told: ['username=user', 'password=pass'],
      asked: [],
    })
  })

  test('overwrites on store', async () => {
    const client = newClient(scratch())()
    const user = [...host, 'username=user-overwrite']
    await client.approve(...user, 'password=pass1')
    await client.approve(...user, 'password=pass2')
    expect(await client.fill(...user)).toEqual({ told: ['password=pass2'], asked: [] })
    await client.reject(...user, 'password=pass2')
    expect(await client.fill(...user)).toEqual(passwordAsked)
  })

  test('can forget host', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=store-user', 'password=store-pass')
    await client.reject(...host)
    expect(await client.fill(...host)).toEqual(nothing)
  })

  test('can store multiple users', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=user1', 'password=pass1')
    await client.approve(...host, 'username=user2', 'password=pass2')
    expect(await client.fill(...host, 'username=user1')).toEqual({ told: ['password=pass1'], asked: [] })
    expect(await client.fill(...host, 'username=user2')).toEqual({ told: ['password=pass2'], asked: [] })
    expect((await client.fill(...host)).told).toEqual(['username=user2', 'password=pass2'])
  })

  test('does not erase a password distinct from input', async () => {
    const client = newClient(scratch())()
    const user = [...host, 'username=user-distinct-pass']
    await client.approve(...user, 'password=pass1')
    await client.reject(...user, 'password=pass2')
    expect(await client.fill(...user)).toEqual({ told: ['password=pass1'], asked: [] })
  })

  test('can forget user, and remembers other user', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=user1', 'password=pass1')
    await client.approve(...host, 'username=user2', 'password=pass2')
    await client.reject(...host, 'username=user1')
    expect(await client.fill(...host, 'username=user1')).toEqual(passwordAsked)
    expect(await client.fill(...host, 'username=user2')).toEqual({ told: ['password=pass2'], asked: [] })
  })

  test('can store empty username', async () => {
    const client = newClient(scratch())()
    const sso = ['protocol=https', 'host=sso.tld']
    await client.approve(...sso, 'username=', 'password=')
    expect(await client.fill(...sso)).toEqual({ told: ['username=', 'password='], asked: [] })
  })

  test('erases all matching credentials', async () => {
    const client = newClient(scratch())()
    await client.approve(...host, 'username=user-erase1', 'password=pass1')
    await client.approve(...host, 'username=user-erase2', 'password=pass1')
    await client.reject(...host)
    expect(await client.fill(...host)).toEqual(nothing)
  })

  test('is not confused by long header', async () => {
    const client = newClient(scratch())()
    const header = `wwwauth[]=Basic ${'x'.repeat(1024)}host=victim.example.com`
    await client.approve(
      'protocol=https',
      'host=victim.example.com',
      'username=user',
      'password=to-be-leaked',
    )
    expect(await client.fill('protocol=https', 'host=badguy.example.com', header)).toEqual(nothing)
  })
})

test('helper_test_timeout: a helper that keeps for a while only forgets by itself', async () => {
  const at = scratch()
  const place = ['protocol=https', 'host=timeout.tld']
  const short = wire(at, ['--timeout', '10m'])
  await short().approve(...place, 'username=user', 'password=pass')
  const [user, password, expiry] = (await short().fill(...place)).told
  expect([user, password]).toEqual(['username=user', 'password=pass'])
  expect(Math.abs(Number(expiry?.split('=')[1]) - Date.now() / 1000 - 600)).toBeLessThan(60)
  expect(await short({ env: ahead('+11m') }).fill(...place)).toEqual(nothing)
  // What git says itself is sooner.
  const soon = `password_expiry_utc=${Math.floor(Date.now() / 1000) + 300}`
  await wire(at, ['--timeout=10m'])().approve(...place, 'username=other', 'password=pass', soon)
  expect((await short().fill(...place, 'username=other')).told).toEqual(['password=pass', soon])
})

describe('what newer gits say, on the wire', () => {
  test('password_expiry_utc: stores, gets, and replaces it with the password', async () => {
    const client = wire(scratch())()
    const user = ['protocol=https', 'host=timeout.tld', 'username=user']
    await client.approve(...user, 'password=pass1', 'password_expiry_utc=9999999998')
    expect((await client.fill(...user)).told).toEqual(['password=pass1', 'password_expiry_utc=9999999998'])
    await client.approve(...user, 'password=pass2', 'password_expiry_utc=9999999999')
    expect((await client.fill(...user)).told).toEqual(['password=pass2', 'password_expiry_utc=9999999999'])
    await client.reject(...user, 'password=pass2')
    expect(await client.fill(...user)).toEqual(passwordAsked)
  })

  test('oauth_refresh_token: stores and gets it', async () => {
    const client = wire(scratch())()
    const user = ['protocol=https', 'host=timeout.tld', 'username=user']
    await client.approve(...user, 'password=pass1', 'oauth_refresh_token=xyzzy')
    expect((await client.fill(...user)).told).toEqual(['password=pass1', 'oauth_refresh_token=xyzzy'])
  })

  test('authtype: stores and gets a header, for those who can use it', async () => {
    const client = wire(scratch())()
    const can = 'capability[]=authtype'
    const place = ['protocol=https', 'host=git.example.com']
    await client.approve(can, 'authtype=Bearer', 'credential=random-token', ...place)
    const told = ['capability[]=authtype', 'authtype=Bearer', 'credential=random-token']
    expect(await client.fill(can, ...place)).toEqual({ told, asked: [] })
    expect(await client.fill(...place)).toEqual(nothing)
  })

  test('authtype: stores and gets a header with a username, and not for another one', async () => {
    const client = wire(scratch())()
    const can = 'capability[]=authtype'
    const place = ['protocol=https', 'host=git.example.com']
    await client.approve(can, 'authtype=Bearer', 'credential=random-token', ...place)
    await client.approve(can, 'authtype=Bearer', 'credential=other-token', ...place, 'username=foobar')
    expect((await client.fill(can, ...place, 'username=foobar')).told).toEqual([
      'capability[]=authtype',
      'authtype=Bearer',
      'credential=other-token',
    ])
    expect(await client.fill(can, ...place, 'username=barbaz')).toEqual(passwordAsked)
  })

  test('does not store ephemeral credentials of either kind', async () => {
    const client = wire(scratch())()
    const can = 'capability[]=authtype'
    const place = ['protocol=https', 'host=git2.example.com']
    for (const ephemeral of ['1', 'true', 'YES', 'on', '7']) {
      await client.approve(
        can,
        'authtype=Bearer',
        'credential=git2-token',
        ...place,
        `ephemeral=${ephemeral}`,
      )
      await client.approve(can, ...place, 'username=b', 'password=secret', `ephemeral=${ephemeral}`)
    }
    expect(await client.fill(can, ...place)).toEqual(nothing)
    await client.approve(...place, 'username=b', 'password=secret', 'ephemeral=0')
    expect((await client.fill(...place)).asked).toEqual([])
  })
})
