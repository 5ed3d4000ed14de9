// `npm run build:binary [-- --all | TARGET…]`: the program and its runtime as one file, compiled by Bun.
//   dist/bin/tokctl          for this machine, and beside it the names that other tools call, as links
//   dist/bin/tokctl-TARGET   for another one; its runtime comes from the npm registry, as the one for this machine did
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installedBun } from './installed-bun.mjs'
import { ownRuntime } from './own-runtime.mjs'
import { signAdHoc } from './sign-mach-o.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const out = join(root, 'dist', 'bin')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { packages: locked } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))

/** Target of the compiler → package that has its runtime. */
const runtimes = {
  'linux-x64': '@oven/bun-linux-x64',
  'linux-x64-musl': '@oven/bun-linux-x64-musl',
  'linux-arm64': '@oven/bun-linux-aarch64',
  'linux-arm64-musl': '@oven/bun-linux-aarch64-musl',
  'darwin-x64': '@oven/bun-darwin-x64',
  'darwin-arm64': '@oven/bun-darwin-aarch64',
  'windows-x64': '@oven/bun-windows-x64',
}
/** Target of the compiler → package that has its keychain; the others speak to theirs by themselves. */
const keychains = {
  'darwin-x64': '@napi-rs/keyring-darwin-x64',
  'darwin-arm64': '@napi-rs/keyring-darwin-arm64',
  'windows-x64': '@napi-rs/keyring-win32-x64-msvc',
}
const helpers = ['cargo-credential', 'docker-credential', 'git-credential', 'terraform-credentials']

const scratch = mkdtempSync(join(tmpdir(), 'tokctl-binary-'))
try {
  const here = thisMachine()
  const args = process.argv.slice(2)
  const targets = args.includes('--all') ? Object.keys(runtimes) : args
  mkdirSync(out, { recursive: true })
  if (targets.length === 0) {
    compile(here, join(out, fileName('tokctl', here)))
    if (!here.startsWith('windows')) linkHelpers()
  }
  for (const target of targets) {
    if (!(target in runtimes)) throw new Error(`"${target}" is none of ${Object.keys(runtimes).join(', ')}`)
    compile(target, join(out, fileName(`tokctl-${target}`, target)))
  }
} catch (error) {
  console.error(`build:binary: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

function thisMachine() {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  const isMusl = system === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined
  return `${system}-${process.arch}${isMusl ? '-musl' : ''}`
}

function fileName(name, target) {
  return target.startsWith('windows') ? `${name}.exe` : name
}

function compile(target, file) {
  const compiler = runtimeFile(thisMachine())
  const keychain = keychains[target] && nativeFile(unpacked(keychains[target]))
  const runtime = join(scratch, fileName(target, target))
  writeFileSync(runtime, ownRuntime(readFileSync(runtimeFile(target)), target))
  chmodSync(runtime, 0o755)
  // Beside its place, so that whoever runs it meanwhile has the old file or the new one.
  const temporary = join(out, fileName(`.${target}.${process.pid}`, target))
  const { status, error, stdout, stderr } = spawnSync(
    compiler,
    [
      ...['build', join(root, 'src', 'bun.ts'), '--compile', '--minify', '--bytecode'],
      // A hit has ended before anything compiled pays; whoever stays longer asks for the usual (src/bun.ts).
      '--compile-jit-policy=10',
      // Chunks, so that a hit loads what a hit needs; they are modules.
      ...['--format=esm', '--splitting'],
      ...[`--target=bun-${target}`, `--compile-executable-path=${runtime}`, `--outfile=${temporary}`],
      ...['dotenv', 'bunfig', 'tsconfig', 'package-json'].map(each => `--no-compile-autoload-${each}`),
      ...['--define', `__VERSION__=${JSON.stringify(version)}`],
      ...['--define', `__COMMIT__=${JSON.stringify(commit())}`],
      // Native code of one platform is no use to another.
      ...(target.startsWith('windows') ? [] : ['--external', 'fs-native-extensions/*']),
      ...(target in keychains ? [] : ['--external', '@napi-rs/keyring']),
    ],
    // Nothing of ours is to decide what is built.
    {
      cwd: root,
      env: {
        PATH: process.env.PATH,
        HOME: scratch,
        TMPDIR: scratch,
        NODE_PATH: join(scratch, 'node_modules'),
      },
      encoding: 'utf8',
    },
  )
  if (status !== 0 || !existsSync(temporary)) {
    rmSync(temporary, { force: true })
    throw new Error(`${target}: ${error?.message ?? `${stdout}${stderr}`}`)
  }
  try {
    finish(target, temporary, keychain)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  renameSync(temporary, file)
  console.log(`${file.slice(root.length + 1)}  ${(statSync(file).size / 2 ** 20).toFixed(1)} MiB`)
}

/** Bun for a machine: as npm installed it, or fetched as npm would have. */
function runtimeFile(target) {
  const name = runtimes[target]
  if (name === undefined) throw new Error(`Bun has no runtime for ${target}`)
  const program = target.startsWith('windows') ? 'bun.exe' : 'bun'
  const installed = target === thisMachine() ? installedBun(name) : undefined
  if (installed !== undefined) return installed
  return join(unpacked(name), 'bin', program)
}

/** A package in the version that is locked, with the content that is locked: from the registry, as npm would install it. */
function unpacked(name) {
  const into = join(scratch, 'node_modules', ...name.split('/'))
  if (existsSync(into)) return into
  const { version, integrity } = locked[`node_modules/${name}`] ?? {}
  if (!integrity?.startsWith('sha512-')) throw new Error(`${name} is not locked`)
  const pack = ['pack', `${name}@${version}`, '--silent', '--pack-destination', scratch]
  const packed = spawnSync('npm', pack, { encoding: 'utf8', shell: process.platform === 'win32' })
  if (packed.status !== 0) throw new Error(`${name} cannot be had from the registry: ${packed.stderr.trim()}`)
  const archive = join(scratch, packed.stdout.trim())
  const found = createHash('sha512').update(readFileSync(archive)).digest('base64')
  if (integrity !== `sha512-${found}`) throw new Error(`${name} is not what package-lock.json says`)
  mkdirSync(into, { recursive: true })
  const tar = spawnSync('tar', ['-xzf', archive, '-C', into, '--strip-components=1'])
  if (tar.status !== 0) throw new Error(`${name} cannot be unpacked: ${tar.stderr}`)
  return into
}

function nativeFile(directory) {
  return join(directory, JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')).main)
}

/** What the compiler leaves to be done, and whether it did the rest. */
function finish(target, file, keychain) {
  if (keychain !== undefined && !readFileSync(file).includes(readFileSync(keychain)))
    throw new Error(`${target}: the keychain is not in it`)
  // The compiler does so for arm64, and leaves here the runtime's own, which is not for these bytes.
  if (target === 'darwin-x64') writeFileSync(file, signAdHoc(readFileSync(file), 'tokctl'))
}

function linkHelpers() {
  for (const name of helpers) {
    const link = join(out, `${name}-tokctl`)
    const temporary = `${link}.${process.pid}`
    symlinkSync('tokctl', temporary)
    renameSync(temporary, link)
  }
}

function commit() {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : ''
}
