import { execFile } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { run, scratch } from '../support/run.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const execute = promisify(execFile)

/** What the lock file tells of a package. */
interface Locked {
  readonly version: string
  readonly integrity?: string
  readonly resolved?: string
  readonly license?: string
  readonly dev?: boolean
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
  readonly libc?: readonly string[]
}

const wholeLock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
  readonly packages: Readonly<Record<string, Locked>>
}
const { packages } = wholeLock
const locked = Object.entries(packages).filter(([path]) => path !== '')
const installed = locked.filter(([, { dev }]) => dev !== true)

const machines = [
  { os: 'linux', cpu: 'x64', libc: 'glibc' },
  { os: 'linux', cpu: 'arm64', libc: 'musl' },
  { os: 'darwin', cpu: 'arm64', libc: '' },
  { os: 'win32', cpu: 'x64', libc: '' },
]
const fits = (wanted: readonly string[] | undefined, has: string): boolean => wanted?.includes(has) ?? true

test('at most ten packages are installed with it, on each system', () => {
  for (const { os, cpu, libc } of machines) {
    const there = installed.filter(
      ([, each]) => fits(each.os, os) && fits(each.cpu, cpu) && (libc === '' || fits(each.libc, libc)),
    )
    expect(there.length).toBeGreaterThan(0)
    expect(there.length).toBeLessThanOrEqual(10)
  }
})

test('none of them runs anything when it is installed, and neither does tokctl', () => {
  expect(installed.filter(([, { hasInstallScript }]) => hasInstallScript === true)).toEqual([])
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>
  }
  expect(
    Object.keys(scripts).filter(name => /^(?:pre|post)?(?:install|uninstall|prepare)$/.test(name)),
  ).toEqual([])
})

test('every package is pinned by its checksum, and the lock file names no host', () => {
  expect(locked.filter(([, { resolved }]) => resolved !== undefined)).toEqual([])
  expect(installed.filter(([, { integrity }]) => !integrity?.startsWith('sha512-'))).toEqual([])
  // Tools' binaries for other systems than those that the registry had when the lock file was written; they are in
  // nothing that is built.
  const unpinned = locked.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path)
  expect(unpinned.filter(path => !/^node_modules\/@(?:biomejs\/cli-|pnpm\/exe\.)/.test(path))).toEqual([])
})

test('whatever a package may bring for one system or another is locked, or npm ci would refuse the lock file', () => {
  const listed = locked.flatMap(([, { optionalDependencies = {} }]) => Object.keys(optionalDependencies))
  expect(listed.length).toBeGreaterThan(10)
  expect(listed.filter(name => !locked.some(([path]) => path.endsWith(`node_modules/${name}`)))).toEqual([])
})

test('the licences of what is installed are known, and let it be passed on', () => {
  const known = new Set(['MIT', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', '0BSD'])
  expect(installed.filter(([, { license }]) => !known.has(license ?? '')).map(([path]) => path)).toEqual([])
})

test('npm ci --ignore-scripts installs all that it runs with', async () => {
  const at = scratch()
  const copy = join(at.path, 'copy')
  mkdirSync(copy)
  copyFileSync(join(root, '.npmrc'), join(copy, '.npmrc'))
  // As it is for whoever installs it: what it is built with is not asked for.
  const { devDependencies: _, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const lock = { ...wholeLock, packages: { '': manifest, ...Object.fromEntries(installed) } }
  writeFileSync(join(copy, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(copy, 'package-lock.json'), JSON.stringify(lock))
  // Registry and cache are those of whoever runs the tests.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOKCTL_')))
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error', '--prefer-offline']
  await execute('npm', ['ci', '--ignore-scripts', ...quiet], { cwd: copy, env })
  const there = readdirSync(join(copy, 'node_modules'), { recursive: true, encoding: 'utf8' }).filter(path =>
    /^(?:@[^/]+\/)?[^/]+\/package\.json$/.test(path),
  )
  expect(there.length).toBeGreaterThan(1)
  expect(there.length).toBeLessThanOrEqual(10)

  cpSync(join(root, 'bin'), join(copy, 'bin'), { recursive: true })
  cpSync(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
  expect(existsSync(join(copy, 'node_modules', 'fs-native-extensions'))).toBe(true)
  const config = '[profile.corp]\nsource = "command"\ncommand = ["echo", "installed-token"]\n'
  const program = [process.execPath, join(copy, 'bin', 'tokctl.js')]
  expect(await run(['get', 'corp'], { at, config, program })).toMatchObject({
    code: 0,
    stdout: 'installed-token\n',
  })
}, 120_000)
