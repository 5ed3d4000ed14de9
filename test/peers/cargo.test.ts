import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { describeClient, installPrograms } from '../support/client.ts'
import { ahead, type Corp, clientProfile, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run, type Scratch, start } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// Cargo with a sparse registry on loopback that shows nothing to those who do not sign in.

vi.setConfig({ testTimeout: 150_000 })

interface Peer extends Corp {
  readonly registry: Service
  /** Runs Cargo in a package that depends on one from that registry. */
  cargo(args: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer(provider: readonly string[] | undefined): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const crate = pack(at)
  const cksum = createHash('sha256').update(crate).digest('hex')
  const registry = await startService({
    challenge: 'Cargo login_url="https://sign-in.example.com"',
    welcomes: authorization => /^Bearer token-\d+$/.test(authorization),
    page: ({ path }, { url }) => {
      if (path === '/index/config.json') {
        return { body: { dl: `${url}/dl`, api: url, 'auth-required': true } }
      }
      if (path === '/index/de/pe/dependency') {
        return {
          body: `${JSON.stringify({ name: 'dependency', vers: '1.0.0', deps: [], cksum, features: {}, yanked: false })}\n`,
        }
      }
      if (path === '/dl/dependency/1.0.0/download') return { body: crate }
      if (path.startsWith('/api/v1/crates?q=')) return { body: { crates: [], meta: { total: 0 } } }
      if (path === '/api/v1/crates/dependency/1.0.0/yank') return { body: { ok: true } }
      return undefined
    },
  })
  onTestFinished(() => registry.close())
  at.writeConfig(clientProfile('corp', made.auth.tokenEndpoint, `match = ["${registry.url}/index"]`))
  at.write(
    'home/.cargo/config.toml',
    `[registries.my]
index = "sparse+${registry.url}/index/"
${provider === undefined ? '' : `credential-provider = ${JSON.stringify(provider)}`}
`,
  )
  at.write(
    'package/Cargo.toml',
    `[package]
name = "package"
version = "0.1.0"
edition = "2021"
[dependencies]
dependency = { version = "1", registry = "my" }
`,
  )
  at.write('package/src/lib.rs', '')
  const env = {
    ...options.env,
    PATH: installPrograms(at).path,
    // Where rustup's cargo finds the real one.
    RUSTUP_HOME: process.env['RUSTUP_HOME'] ?? join(homedir(), '.rustup'),
    CARGO_TERM_COLOR: 'never',
  }
  return {
    ...made,
    registry,
    cargo: (args, more = {}) =>
      run(args, {
        ...options,
        program: ['cargo'],
        cwd: join(at.path, 'package'),
        timeoutMs: 100_000,
        ...more,
        env: { ...env, ...more.env },
      }),
  }
}

/** @returns `dependency-1.0.0.crate`. */
function pack(at: Scratch): Buffer {
  const manifest = '[package]\nname = "dependency"\nversion = "1.0.0"\nedition = "2021"\n'
  at.write('crate/dependency-1.0.0/Cargo.toml', manifest)
  at.write('crate/dependency-1.0.0/src/lib.rs', '')
  return execFileSync('tar', ['-cz', '-C', join(at.path, 'crate'), 'dependency-1.0.0'])
}

test('a provider that Cargo runs says what it speaks before it is asked', async () => {
  const { at, options } = await corp()
  const { bin } = installPrograms(at)
  const cargo = start(['--cargo-plugin'], {
    ...options,
    program: [join(bin, 'cargo-credential-tokctl')],
    keepInput: true,
  })
  await new Promise(resolve => cargo.child.stdout?.once('data', resolve))
  expect(cargo.stdout).toBe('{"v":[1]}\n')
  cargo.child.stdin?.end()
  expect(await cargo.done).toMatchObject({ code: 0, stdout: '{"v":[1]}\n', stderr: '' })
})

describeClient({ command: 'cargo', atLeast: [1, 74] }, () => {
  const search = ['search', '--registry', 'my', 'anything']
  const ways: [name: string, provider: readonly string[]][] = [
    ['cargo-credential-tokctl', ['cargo-credential-tokctl']],
    ['cargo:token-from-stdout', ['cargo:token-from-stdout', 'tokctl', 'helper', 'cargo']],
  ]

  describe.each(ways)('%s', (_, provider) => {
    test('fetch: index and crate are got with the token, and later commands ask nobody for it', async () => {
      const { auth, registry, cargo } = await peer(provider)
      expect(await cargo(['fetch'])).toMatchObject({ code: 0, stdout: '' })
      expect(registry.credentials()).toEqual([undefined, 'Bearer token-1'])
      expect(registry.requests.map(({ path, status }) => `${status} ${path}`)).toEqual([
        '401 /index/config.json',
        '200 /index/config.json',
        '200 /index/de/pe/dependency',
        '200 /dl/dependency/1.0.0/download',
      ])
      expect(await cargo(search)).toMatchObject({ code: 0, stdout: '', stderr: '' })
      const yank = ['yank', '--registry', 'my', '--version', '1.0.0', 'dependency']
      expect(await cargo(yank)).toMatchObject({ code: 0 })
      expect(registry.requests.at(-1)).toMatchObject({ method: 'DELETE', status: 200 })
      expect(registry.credentials()).toEqual([undefined, 'Bearer token-1'])
      expect(auth.count()).toBe(1)
    })

    // Cargo tells no provider that a token was refused.
    test('a token that was refused is offered again until `reject`', async () => {
      const { auth, registry, cargo, options } = await peer(provider)
      await cargo(search)
      registry.refused.add('token-1')
      expect(await cargo(search)).toMatchObject({ code: 101, stdout: '' })
      await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
      expect(await cargo(search)).toMatchObject({ code: 0, stderr: '' })
      expect(auth.count()).toBe(2)
    })

    test('a failure is shown with its hint, and the registry gets no token', async () => {
      const { auth, registry, cargo } = await peer(provider)
      auth.answer({ status: 401, body: { error: 'invalid_client' } })
      const { code, stderr } = await cargo(search)
      expect(code).toBe(101)
      expect(stderr).toContain('(invalid_client)')
      expect(stderr).toContain('check client_id, client_secret and client_auth of the profile')
      expect(registry.credentials()).toEqual([undefined])
    })

    test('ten at once with an expired token: one token request', async () => {
      const { auth, registry, cargo } = await peer(provider)
      await cargo(search)
      const expired = { env: ahead('+61m') }
      const all = await Promise.all(Array.from({ length: 10 }, () => cargo(search, expired)))
      for (const one of all) expect(one.code).toBe(0)
      expect(auth.count()).toBe(2)
      expect(registry.credentials()).toEqual([undefined, 'Bearer token-1', 'Bearer token-2'])
    })
  })

  test('`tokctl setup cargo` is all that it takes', async () => {
    const { at, registry, cargo, options } = await peer(undefined)
    expect(await run(['setup', 'cargo'], { ...options, at })).toMatchObject({ code: 0, stderr: '' })
    expect(await cargo(['fetch'])).toMatchObject({ code: 0, stdout: '' })
    expect(registry.credentials()).toEqual([undefined, 'Bearer token-1'])
  })

  test('a registry that no profile matches: Cargo says that it found no token', async () => {
    const { auth, at, cargo } = await peer(['cargo-credential-tokctl'])
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    const { code, stderr } = await cargo(search)
    expect(code).toBe(101)
    expect(stderr).toContain('no token found for `my`')
    expect(auth.count()).toBe(0)
  })

  test('a registry that no profile matches: after `setup cargo` a person signs in and out there as ever', async () => {
    const { auth, at, registry, cargo, options } = await peer(undefined)
    at.writeConfig(clientProfile('corp', auth.tokenEndpoint, 'match = ["https://other.example.com"]'))
    await run(['setup', 'cargo'], { ...options, at })
    const login = await cargo(['login', '--registry', 'my'], { input: 'Bearer token-7\n' })
    expect(login).toMatchObject({ code: 0, stderr: expect.stringContaining('saved') })
    const kept = (): string => readFileSync(join(at.home, '.cargo', 'credentials.toml'), 'utf8')
    expect(kept()).toContain('Bearer token-7')
    expect(await cargo(search)).toMatchObject({ code: 0 })
    expect(registry.credentials()).toContain('Bearer token-7')
    expect(await cargo(['logout', '--registry', 'my'])).toMatchObject({ code: 0 })
    expect(kept()).not.toContain('token-7')
    expect(auth.count()).toBe(0)
  })

  test.each(['login', 'logout'])('cargo %s is not ours to do, and ends nothing', async verb => {
    const { auth, cargo } = await peer(['cargo-credential-tokctl'])
    await cargo(search)
    const { code, stderr } = await cargo([verb, '--registry', 'my'])
    expect(code).toBe(101)
    expect(stderr).toContain('requested operation not supported')
    expect(await cargo(search)).toMatchObject({ code: 0, stderr: '' })
    expect(auth.count()).toBe(1)
  })
})
