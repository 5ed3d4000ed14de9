import { execFile } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { program, run, type Scratch, scratch } from '../support/run.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const execute = promisify(execFile)

function npm(at: Scratch, ...args: string[]): Promise<{ stdout: string }> {
  // Registry and cache are those of whoever runs the tests: npm's own settings pass, nothing of tokctl does.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOKCTL_')))
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error']
  return execute('npm', [...args, ...quiet], {
    cwd: root,
    env: { ...env, npm_config_prefix: join(at.path, 'prefix') },
  })
}

test('the packed tarball holds the program, the library and nothing else, and works where it is installed', async () => {
  const at = scratch()
  // The build is the one under test; packing must not replace it while other tests run it.
  const packed = await npm(at, 'pack', '--json', '--ignore-scripts', '--pack-destination', at.path)
  const [{ filename, files }] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }]

  // Chunks are named after their content; the names of generated declarations follow src.
  const kinds = files.map(({ path }) =>
    path
      .replace(/^(dist\/(?:cli|lib)\/.+)-[0-9A-Z]{8}\./, '$1-*.')
      .replace(/^dist\/types\/.+\.d\.ts$/, 'dist/types/*.d.ts'),
  )
  const expected = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'bin/cargo-credential-tokctl.js',
    'bin/docker-credential-tokctl.js',
    'bin/git-credential-tokctl.js',
    'bin/package.json',
    'bin/terraform-credentials-tokctl.js',
    'bin/tokctl.js',
    'completions/_tokctl',
    'completions/tokctl.bash',
    'completions/tokctl.fish',
    'completions/tokctl.ps1',
    'dist/THIRD-PARTY-LICENSES.txt',
    'dist/cli/helper.cache',
    'dist/cli/helper.cjs',
    'dist/cli/main.cache',
    'dist/cli/main.cjs',
    'dist/cli/miss.cache',
    'dist/cli/miss.cjs',
    'dist/lib/index.js',
    'dist/types/*.d.ts',
    'man/tokctl.1',
    'package.json',
    'schema/config.schema.json',
  ]
  expect(expected.filter(kind => !kinds.includes(kind))).toEqual([])
  const others = kinds.filter(kind => !expected.includes(kind))
  expect(
    others.filter(kind => !/^dist\/(cli\/[\w-]+-\*\.(cjs|cache)|lib\/[\w-]+-\*\.js)$/.test(kind)),
  ).toEqual([])

  await npm(at, 'install', '--global', '--prefer-offline', join(at.path, filename))
  const prefix = join(at.path, 'prefix')
  const installed = join(prefix, 'lib', 'node_modules', 'tokctl')
  expect(readdirSync(join(installed, 'node_modules'))).toContain('fs-native-extensions')
  expect(readFileSync(join(installed, 'dist', 'THIRD-PARTY-LICENSES.txt'), 'utf8')).toMatch(
    /commander 14\.0\.3 \(MIT\)[\s\S]*kleur 4\.1\.5 \(MIT\)[\s\S]*smol-toml 1\.9\.1 \(BSD-3-Clause\)[\s\S]*undici 7\.30\.2 \(MIT\)/,
  )

  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const options = {
    at,
    program: [join(prefix, 'bin', 'tokctl')],
    env: { CORP_SECRET: 'hush' },
    config: `[profile.corp]
source = "client_credentials"
token_endpoint = "${auth.tokenEndpoint}"
client_id = "build-bot"
client_secret = { env = "CORP_SECRET" }
`,
  }
  for (const args of [
    ['get', 'corp'],
    ['get', 'corp'],
  ]) {
    expect(await run(args, options)).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
  }
  expect(auth.count()).toBe(1)
  const version = await run(['--version'], options)
  expect(version.stdout).toMatch(/^tokctl 0\.1\.0\b/)

  const importing = `import('${join(installed, 'dist', 'lib', 'index.js')}').then(it => console.log(Object.keys(it).sort().join()))`
  const library = await run([], { at, program: [process.execPath, '-e', importing] })
  expect(library.stdout).toMatch(/\bcreateTokctl\b/)
}, 120_000)

describe('the code cache', () => {
  /** A copy of the program, to be damaged. */
  function copy(at: Scratch): { start: string[]; main: string; cache: string } {
    const to = join(at.path, 'copy')
    cpSync(join(root, 'bin'), join(to, 'bin'), { recursive: true })
    cpSync(join(root, 'dist', 'cli'), join(to, 'dist', 'cli'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'))
    const cli = join(to, 'dist', 'cli')
    return {
      start: [program[0]!, join(to, 'bin', 'tokctl.js')],
      main: join(cli, 'main.cjs'),
      cache: join(cli, 'main.cache'),
    }
  }

  const damages: [name: string, damage: (cache: string) => void][] = [
    ['missing', cache => rmSync(cache)],
    ['empty', cache => writeFileSync(cache, '')],
    ['torn', cache => truncateSync(cache, 5000)],
    ['of another Node', cache => edit(cache, text => text.replace(process.version, 'v20.18.1'))],
    ['open to its group', cache => chmodSync(cache, 0o664)],
    ['open to everybody', cache => chmodSync(cache, 0o646)],
    ['of another build', cache => edit(cache, text => text.replace(/[0-9a-f]{8}/, '00000000'))],
  ]

  function edit(path: string, change: (text: string) => string): void {
    const before = readFileSync(path, 'latin1')
    const after = change(before)
    expect(after).not.toBe(before)
    writeFileSync(path, after, 'latin1')
  }

  test.each(damages)(
    'one that is %s is not used, and written anew by a run that is no hit',
    async (_, damage) => {
      const at = scratch()
      const { start, cache } = copy(at)
      const good = readFileSync(cache).subarray(0, 128)
      damage(cache)
      const { code, stdout, stderr } = await run(['--version'], { at, program: start })
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^tokctl /)
      expect(readFileSync(cache).subarray(0, 128)).toEqual(good)
      expect(statSync(cache).size).toBeGreaterThan(20_000)
      expect(statSync(cache).mode & 0o022).toBe(0)
    },
  )

  test.skipIf(process.getuid?.() !== 0)('one that belongs to another user is not used', async () => {
    const at = scratch()
    const { start, cache } = copy(at)
    chownSync(cache, 65534, 65534)
    await run(['--version'], { at, program: start })
    expect(statSync(cache).uid).toBe(0)
  })

  test('one that is written where everybody may do everything is still ours alone to write', async () => {
    const at = scratch()
    const { start, cache } = copy(at)
    rmSync(cache)
    const shell = ['sh', '-c', 'umask 000; exec "$@"', 'sh', ...start]
    expect(await run(['--version'], { at, program: shell })).toMatchObject({ code: 0 })
    expect((statSync(cache).mode & 0o777).toString(8)).toBe('644')
  })

  test('one that is good is left alone', async () => {
    const at = scratch()
    const { start, cache } = copy(at)
    const before = statSync(cache)
    await run(['--version'], { at, program: start })
    expect(statSync(cache).ino).toBe(before.ino)
  })

  test('one that cannot be written is no error', async () => {
    const at = scratch()
    const { start, cache } = copy(at)
    rmSync(cache)
    // A directory in its place refuses everybody, root too.
    cpSync(join(root, 'bin'), cache, { recursive: true })
    // One may be copied along, of a process that was killed as it wrote.
    const leftovers = (): string[] => readdirSync(dirname(cache)).filter(name => name.endsWith('.tmp'))
    const before = leftovers()
    const { code, stderr } = await run(['--version'], { at, program: start })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(leftovers()).toEqual(before)
  })

  test('a Node that is too old is told so in one line', async () => {
    const at = scratch()
    const probe = at.write('old.cjs', "Object.defineProperty(process.versions, 'node', { value: '20.18.0' })")
    const old = [process.execPath, '--require', probe, program[1]!]
    expect(await run(['--version'], { at, program: old })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'tokctl: error: Node.js 20.18.1 or newer is needed, this is 20.18.0\n',
    })
  })
})
