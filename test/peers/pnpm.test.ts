import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { installPrograms } from '../support/client.ts'
import { type Corp, clientProfile, corp } from '../support/corp.ts'
import { type RunOptions, type RunResult, run, type Scratch } from '../support/run.ts'
import { type Service, startService } from '../support/service.ts'

// pnpm, which gets the token by `tokenHelper`, and a registry on loopback that lets nobody in without one.

vi.setConfig({ testTimeout: 150_000 })

const modules = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'node_modules')
const versionOf = (name: string): string =>
  JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')).version
const pnpm10 = versionOf('pnpm-10')
const pnpm12 = versionOf('pnpm')

const packageJson = '{"name":"package","version":"1.0.0","dependencies":{"parcel":"1.0.0"}}'

interface Peer extends Corp {
  readonly registry: Service
  pnpm(args: readonly string[], more?: Partial<RunOptions>): Promise<RunResult>
}

async function peer(program: string, helper: (launcher: string) => string): Promise<Peer> {
  const made = await corp()
  const { at, options } = made
  const tarball = pack(at)
  const registry = await startService({
    challenge: 'Bearer',
    welcomes: authorization => /^Bearer token-\d+$/.test(authorization),
    page: ({ path }, { url }) => {
      if (path === '/parcel') {
        const dist = {
          tarball: `${url}/parcel/-/parcel-1.0.0.tgz`,
          integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
        }
        const version = { name: 'parcel', version: '1.0.0', dist }
        return { body: { name: 'parcel', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } } }
      }
      if (path === '/parcel/-/parcel-1.0.0.tgz') return { body: tarball }
      return undefined
    },
  })
  onTestFinished(() => registry.close())
  const { bin, path } = installPrograms(at)
  const launcher = at.write(
    'bin/pnpm-token',
    `#!/bin/sh\nexec ${join(bin, 'tokctl')} helper pnpm corp\n`,
    0o700,
  )
  at.write('home/.npmrc', `registry=${registry.url}/\n//${registry.host}/:tokenHelper=${helper(launcher)}\n`)
  at.write('package/package.json', packageJson)
  const env = { ...options.env, PATH: path, XDG_CONFIG_HOME: undefined, CI: 'true' }
  return {
    ...made,
    registry,
    pnpm: (args, more = {}) =>
      run(args, {
        ...options,
        program: [process.execPath, join(modules, program)],
        cwd: join(at.path, 'package'),
        timeoutMs: 100_000,
        ...more,
        env: { ...env, ...more.env },
      }),
  }
}

function pack(at: Scratch): Buffer {
  at.write('tarball/package/package.json', '{"name":"parcel","version":"1.0.0"}')
  return execFileSync('tar', ['-cz', '-C', join(at.path, 'tarball'), 'package'])
}

const launcherAlone = (launcher: string): string => launcher
const withArguments = (launcher: string): string => `${dirname(launcher)}/tokctl helper pnpm corp`
const ways: [name: string, program: string, helper: (launcher: string) => string][] = [
  [`pnpm ${pnpm10}, a launcher for the profile`, 'pnpm-10/bin/pnpm.cjs', launcherAlone],
  [`pnpm ${pnpm12}, a launcher for the profile`, 'pnpm/bin/pnpm.mjs', launcherAlone],
  [`pnpm ${pnpm12}, a command with arguments`, 'pnpm/bin/pnpm.mjs', withArguments],
]
const install = ['install', '--no-frozen-lockfile']

describe.each(ways)('%s', (_, program, helper) => {
  test('package and tarball are got with the token, and the next run asks nobody for it', async () => {
    const { at, auth, registry, pnpm } = await peer(program, helper)
    expect(await pnpm(install)).toMatchObject({ code: 0, stderr: '' })
    const last = { path: '/parcel/-/parcel-1.0.0.tgz', status: 200 }
    expect(registry.requests.at(-1)).toMatchObject(last)
    const seen = registry.requests.length
    // Another package, with nothing kept of what was loaded.
    at.write('other/package.json', packageJson)
    const elsewhere = { XDG_CACHE_HOME: join(at.path, 'cache'), XDG_DATA_HOME: join(at.path, 'data') }
    const again = await pnpm(install, { cwd: join(at.path, 'other'), env: elsewhere })
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(registry.requests.slice(seen).at(-1)).toMatchObject(last)
    expect(registry.credentials()).toEqual(['Bearer token-1'])
    expect(auth.count()).toBe(1)
  })

  // pnpm tells its helper nothing of a 401.
  test('a token that was refused is offered again until `reject`', async () => {
    const { auth, registry, pnpm, options } = await peer(program, helper)
    registry.refused.add('token-1')
    for (let time = 0; time < 2; time++) expect(await pnpm(install)).toMatchObject({ code: 1 })
    expect(auth.count()).toBe(1)
    await run(['reject', 'corp'], { ...options, input: 'token-1\n' })
    expect(await pnpm(install)).toMatchObject({ code: 0, stderr: '' })
    expect(auth.count()).toBe(2)
  })

  test('a failure ends the run, and the registry gets no token', async () => {
    const { auth, registry, pnpm } = await peer(program, helper)
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const { code, stdout } = await pnpm(install)
    expect(code).not.toBe(0)
    // pnpm 12 asks all the same, without a token, and shows the answer alone.
    if (program.startsWith('pnpm-10'))
      expect(stdout).toMatch(/ERR_PNPM_TOKEN_HELPER_ERROR_STATUS.*Exit code 6$/m)
    expect(registry.credentials().filter(authorization => authorization !== undefined)).toEqual([])
  })
})

test.each(ways.slice(0, 2))('%s: `tokctl setup pnpm` is all that it takes', async (_, program, helper) => {
  const { at, auth, registry, pnpm, options } = await peer(program, helper)
  at.writeConfig(clientProfile('corp', auth.tokenEndpoint, `match = ["${registry.url}"]`))
  at.write('home/.npmrc', `registry=${registry.url}/\n`)
  expect(await run(['setup', 'pnpm', 'corp'], options)).toMatchObject({ code: 0, stderr: '' })
  expect(await pnpm(install)).toMatchObject({ code: 0, stderr: '' })
  expect(registry.credentials()).toEqual(['Bearer token-1'])
})

test(`pnpm ${pnpm10} takes no arguments with its helper, and says so`, async () => {
  const { auth, pnpm } = await peer('pnpm-10/bin/pnpm.cjs', withArguments)
  const { code, stdout } = await pnpm(install)
  expect(code).toBe(1)
  expect(stdout).toContain('ERR_PNPM_BAD_TOKEN_HELPER_PATH')
  expect(auth.count()).toBe(0)
})
