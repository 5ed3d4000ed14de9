import { execFileSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import type { ProgramCall, ProgramResult } from '../../src/core/program.ts'
import { runProgram } from '../../src/core/run-program.ts'
import { Secret } from '../../src/core/secret.ts'
import type { SecretRef } from '../../src/profile/profile.ts'
import { createResolver, type ResolverPorts } from '../../src/profile/resolve.ts'
import { type ConfigHome, configHome, failureOf } from '../support/config-home.ts'

function resolver(at: ConfigHome, ports: Partial<ResolverPorts> = {}) {
  const nobody = async (): Promise<never> => {
    throw new Error('was not to be asked')
  }
  return createResolver({
    environment: at.environment,
    run: nobody,
    readSecret: nobody,
    readKeychain: nobody,
    ...ports,
  })
}

function ended(changes: Partial<Omit<ProgramResult, 'stdout'>> & { stdout?: string }) {
  return async (): Promise<ProgramResult> => ({
    exitCode: 0,
    killedBy: undefined,
    stderr: '',
    ...changes,
    stdout: new Secret(changes.stdout ?? ''),
  })
}

async function exposed(work: Promise<Secret>): Promise<string> {
  return (await work).expose()
}

describe('a variable', () => {
  test('gives its value as it is', async () => {
    const at = configHome({ A: ' s3 \n' })
    expect(await exposed(resolver(at)({ env: 'A' }))).toBe(' s3 \n')
  })

  test.each([
    ['is not set', undefined],
    ['is empty', ''],
  ])('that %s is told with its name', async (state, value) => {
    const at = configHome({ CORP_SECRET: value })
    expect(await failureOf(() => resolver(at)({ env: 'CORP_SECRET' }))).toMatchObject({
      code: 'secret_unresolved',
      message: `environment variable "CORP_SECRET" ${state}`,
      hint: 'run: export CORP_SECRET=…',
    })
  })

  test('is read when it is asked for and not before', async () => {
    const at = configHome()
    const env: Record<string, string> = {}
    const resolve = resolver(at.with({ env }))
    env['LATER'] = 'x'
    expect(await exposed(resolve({ env: 'LATER' }))).toBe('x')
  })

  test('may be spelt in any letter case on Windows', async () => {
    const at = configHome({ Corp_Secret: 'x' }).with({ platform: 'win32' })
    expect(await exposed(resolver(at)({ env: 'CORP_SECRET' }))).toBe('x')
  })
})

describe('a file', () => {
  const contents: [name: string, content: string, want: string][] = [
    ['without its last line break', 'x\n', 'x'],
    ['without a Windows line break', 'x\r\n', 'x'],
    ['without one line break only', 'x\n\n', 'x\n'],
    ['with its spaces', ' x ', ' x '],
    ['of several lines', '-----BEGIN\n\u00e4\n-----END\n', '-----BEGIN\n\u00e4\n-----END'],
  ]
  test.each(contents)('gives its text %s', async (_, content, want) => {
    const at = configHome()
    expect(await exposed(resolver(at)({ file: at.write('s', content) }))).toBe(want)
  })

  const failures: [name: string, make: (at: ConfigHome) => string, why: string, hint?: string][] = [
    ['missing', at => join(at.home, 's'), 'does not exist'],
    ['under a file', at => join(at.write('home/f', 'x'), 's'), 'does not exist'],
    ['empty', at => at.write('home/s', ''), 'is empty'],
    ['a line break', at => at.write('home/s', '\n'), 'is empty'],
    ['too large', at => at.write('home/s', 'x'.repeat(1024 * 1024 + 1)), 'is larger than 1 MiB'],
    ['not text', at => at.write('home/s', Buffer.from([0xff, 0xfe, 0x00])), 'is not UTF-8 text'],
    [
      'a pipe',
      at => {
        execFileSync('mkfifo', [join(at.home, 's')])
        return join(at.home, 's')
      },
      'is not a regular file',
    ],
    [
      'open for the group to write',
      at => at.write('home/s', 'hunter2', 0o620),
      'can be written by others',
      'chmod',
    ],
    [
      'open for others to write',
      at => at.write('home/s', 'hunter2', 0o602),
      'can be written by others',
      'chmod',
    ],
  ]
  test.each(failures)('that is %s is refused', async (_, make, why, hint) => {
    const at = configHome()
    const path = make(at)
    const failure = await failureOf(() => resolver(at)({ file: path }))
    expect(failure).toMatchObject({
      code: 'secret_unresolved',
      message: `secret file ${path.replace(at.home, '~')} ${why}`,
      hint: hint === undefined ? undefined : `run: chmod 600 ${path}`,
    })
    expect(JSON.stringify(failure)).not.toContain('hunter2')
  })

  test('that everybody may read is refused, unless root put it there, as containers do', async () => {
    const at = configHome()
    const path = at.write('home/s', 'x', 0o644)
    if (statSync(path).uid === 0) {
      expect(await exposed(resolver(at)({ file: path }))).toBe('x')
      execFileSync('chown', ['12345', path])
    }
    chmodSync(path, 0o604)
    expect(await failureOf(() => resolver(at)({ file: path }))).toMatchObject({
      code: 'secret_unresolved',
      message: 'secret file ~/s can be read by everybody',
      hint: `run: chmod 600 ${path}`,
    })
    chmodSync(path, 0o640)
    if (statSync(path).uid !== process.getuid?.()) {
      expect(await failureOf(() => resolver(at)({ file: path }))).toMatchObject({
        code: 'secret_unresolved',
        message: 'secret file ~/s belongs to another user',
        hint: `run: sudo chown 0 ${path}`,
      })
      execFileSync('chown', ['0', path])
    }
    expect(await exposed(resolver(at)({ file: path }))).toBe('x')
  })
})

describe('a program', () => {
  test('is run without the keys of the store, and gives its answer without the last line break', async () => {
    const at = configHome({
      TOKCTL_STORE_KEY: 'k',
      TOKCTL_STORE_KEY_FILE: 'f',
      TOKCTL_CONFIG: 'c',
      PATH: '/bin',
    })
    const calls: ProgramCall[] = []
    const resolve = resolver(at, {
      run: async call => {
        calls.push(call)
        return ended({ stdout: 'a\nb\n' })()
      },
    })
    const { signal } = new AbortController()
    expect(await exposed(resolve({ command: ['op', 'read'] }, signal))).toBe('a\nb')
    expect(calls).toEqual([
      {
        command: ['op', 'read'],
        env: { HOME: at.home, TOKCTL_STATE_DIR: at.stateDir, TOKCTL_CONFIG: 'c', PATH: '/bin' },
        timeoutMs: 30_000,
        signal,
        maxBytes: 1024 * 1024,
      },
    ])
  })

  const failures: [name: string, result: Parameters<typeof ended>[0], message: string][] = [
    ['fails', { exitCode: 3, stdout: 'hunter2' }, 'secret command "/opt/op" ended with exit code 3'],
    [
      'fails and says why, at last',
      { exitCode: 1, stdout: 'hunter2', stderr: 'first\n\u001b[31mnot signed in\u202e\n\n' },
      'secret command "/opt/op" ended with exit code 1: [31mnot signed in',
    ],
    [
      'is killed',
      { exitCode: undefined, killedBy: 'SIGSEGV' },
      'secret command "/opt/op" was ended by SIGSEGV',
    ],
    ['prints nothing', { stdout: '', stderr: 'noise' }, 'secret command "/opt/op" printed nothing'],
    ['prints an empty line', { stdout: '\n' }, 'secret command "/opt/op" printed nothing'],
  ]
  test.each(failures)('that %s is told with its name and not with its answer', async (_, result, message) => {
    const resolve = resolver(configHome(), { run: ended(result) })
    const failure = await failureOf(() => resolve({ command: ['/opt/op', 'read', 'op://vault/item'] }))
    expect(failure).toMatchObject({ code: 'secret_command_failed', message })
  })

  test('that is not there is a reference that leads nowhere, not a refused grant', async () => {
    const resolve = resolver(configHome({ PATH: '/nowhere' }), { run: runProgram })
    expect(await failureOf(() => resolve({ command: ['op'] }))).toMatchObject({
      code: 'secret_command_failed',
      message: 'secret reference: program "op" was not found',
      hint: 'install it, or write its whole path',
    })
  })

  test('whose stderr is silent on success stays so', async () => {
    const resolve = resolver(configHome(), { run: ended({ stdout: 'x', stderr: 'warning' }) })
    expect(await exposed(resolve({ command: ['op'] }))).toBe('x')
  })
})

describe('a kept secret', () => {
  const cases: [ref: SecretRef, ports: Partial<ResolverPorts>, message: string, hint: string][] = [
    [
      { secret: 'corp.key' },
      { readSecret: async () => undefined },
      'no secret is kept under the name "corp.key"',
      'run: tokctl secret set corp.key',
    ],
    [
      { keychain: { service: 'my app', account: 'ada' } },
      { readKeychain: async () => undefined },
      'the keychain has no item for service "my app" and account "ada"',
      "run: secret-tool store --label='my app' service 'my app' account ada",
    ],
  ]
  test.each(cases)('%j that is not there is told with how to keep it', async (ref, ports, message, hint) => {
    const resolve = resolver(configHome().with({ platform: 'linux' }), ports)
    expect(await failureOf(() => resolve(ref))).toMatchObject({ code: 'secret_not_kept', message, hint })
  })

  test('is asked for by its name', async () => {
    const resolve = resolver(configHome(), {
      readSecret: async name => new Secret(`secret ${name}`),
      readKeychain: async (service, account) => new Secret(`item ${service} ${account}`),
    })
    expect(await exposed(resolve({ secret: 'a' }))).toBe('secret a')
    expect(await exposed(resolve({ keychain: { service: 's', account: 'a' } }))).toBe('item s a')
  })

  test('that the store does not give fails as the store says', async () => {
    const locked = new TokctlError('store_locked', 'keychain is locked')
    const resolve = resolver(configHome(), { readSecret: () => Promise.reject(locked) })
    await expect(resolve({ secret: 'a' })).rejects.toBe(locked)
  })
})

test('a caller that has left asks nobody', async () => {
  const reason = new Error('gone')
  await expect(resolver(configHome())({ secret: 'a' }, AbortSignal.abort(reason))).rejects.toBe(reason)
})
