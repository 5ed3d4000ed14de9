// Builds dist/:
//   cli/    the program: CommonJS chunks, V8's code cache beside them (bin/tokctl.js starts them)
//   lib/    the library, ESM
//   types/  the library's declarations
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, transform } from 'esbuild'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')
const cli = join(dist, 'cli')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

// commander loads child_process for subcommands that are programs of their own. There are none, and every start would pay 2 ms.
const lazyChildProcess = {
  name: 'lazy-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      /[\\/]commander[\\/]lib[\\/]/.test(importer) ? { path: 'child_process', namespace: 'lazy' } : undefined,
    )
    onLoad({ filter: /^/, namespace: 'lazy' }, () => ({
      contents: 'exports.spawn = (...args) => require("node:child_process").spawn(...args)',
    }))
  },
}

const bundled = {
  absWorkingDir: root,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.18',
  // Natives stay packages: each machine installs the binary that fits it.
  external: ['fs-native-extensions', '@napi-rs/keyring'],
  define: { __VERSION__: JSON.stringify(version), __COMMIT__: JSON.stringify(commit()) },
  // Names stay as they are written, so that the stack of a bug can be read.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  metafile: true,
  write: false,
  logLevel: 'warning',
}

const inputs = new Set()
try {
  await buildProgram()
  await buildLibrary()
  writeLicences()
} catch (error) {
  // esbuild has printed its own errors, with their places.
  if (error.errors === undefined) console.error(`build: ${error.message}`)
  process.exitCode = 1
}

async function buildProgram() {
  const { outputFiles, metafile } = await build({
    ...bundled,
    entryPoints: { main: 'src/node.ts' },
    outdir: 'dist/cli',
    plugins: [lazyChildProcess],
  })
  for (const input of Object.keys(metafile.inputs)) inputs.add(input)
  const chunks = new Map()
  for (const { path, text } of outputFiles) chunks.set(chunkName(path), await asFunction(text))

  writeChunkFiles(new Map([...chunks.keys()].map(name => [name, [name]])), chunks)
  const { hit, helper, miss } = await warmUp()
  // What every hit needs is one file, what another tool's question needs besides a second, what every miss needs a third:
  // read and compiled at one go.
  const files = new Map([
    ['./main.cjs', hit],
    ['./helper.cjs', helper],
    ['./miss.cjs', miss],
  ])
  const packed = new Set([...hit, ...helper, ...miss])
  for (const name of chunks.keys()) if (!packed.has(name)) files.set(name, [name])
  writeChunkFiles(files, chunks)
  await warmUp()
}

function chunkName(path) {
  return `./${path.slice(cli.length + 1).replace(/\.js$/, '.cjs')}`
}

/** Turns an ESM chunk into the body of a CommonJS function; `import('./x.js')` becomes a `require` when it is reached. */
async function asFunction(text) {
  const { code } = await transform(text, {
    format: 'cjs',
    platform: 'node',
    target: 'node20.18',
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': 'module.url' },
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: 'warning',
  })
  return code.replace(/\brequire\("(\.\/[^"]+)\.js"\)/g, 'require("$1.cjs")')
}

/** Writes chunks to files, file → names; all begin with the hash of the whole build. */
function writeChunkFiles(files, chunks) {
  const bodies = [...files].map(([file, names]) => {
    const entries = names.map(
      name => `${JSON.stringify(name)}:function(exports,require,module){${chunks.get(name)}}`,
    )
    if (file === './main.cjs') entries.unshift(...placesOutside(file, files))
    return [file.slice(2), `({${entries.join(',\n')}})\n`]
  })
  const build = createHash('sha256').update(JSON.stringify(bodies)).digest('hex')
  mkdirSync(cli, { recursive: true })
  for (const [name, body] of bodies) replaceFile(join(cli, name), `/*${build}*/${body}`)
  const written = new Set(bodies.map(([name]) => name))
  for (const name of readdirSync(cli)) if (!written.has(name)) rmSync(join(cli, name))
}

/** Where to find the chunks that are in a file of another name. */
function placesOutside(main, files) {
  return [...files]
    .filter(([file]) => file !== main)
    .flatMap(([file, names]) => names.filter(name => name !== file).map(name => [name, file]))
    .map(([name, file]) => `${JSON.stringify(name)}:${JSON.stringify(file)}`)
}

/** Whoever reads it meanwhile sees the old file or the new one. */
function replaceFile(path, content) {
  const temporary = `${path}.${process.pid}.tmp`
  writeFileSync(temporary, content)
  renameSync(temporary, path)
}

/** Runs the program once for each way through it that should start fast; gives the chunks that a hit uses, and those that helpers and misses use besides. */
async function warmUp() {
  const scratch = mkdtempSync(join(tmpdir(), 'tokctl-build-'))
  const server = createServer((request, response) => {
    request.resume()
    response.setHeader('content-type', 'application/json')
    response.end('{"access_token":"warm-up","token_type":"Bearer","expires_in":3600}')
  })
  try {
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
    const config = join(scratch, 'config.toml')
    const profile = name => `[profile.${name}]
source = "client_credentials"
token_endpoint = "http://127.0.0.1:${server.address().port}/token"
client_id = "warm-up"
client_secret = { env = "WARM_UP_SECRET" }
match = ["https://${name}.example.com"]
`
    writeFileSync(config, `${profile('corp')}${profile('other')}`, { mode: 0o600 })
    const env = {
      PATH: process.env.PATH,
      HOME: scratch,
      TOKCTL_CONFIG: config,
      TOKCTL_STATE_DIR: join(scratch, 'state'),
      TOKCTL_STORE: 'file',
      WARM_UP_SECRET: 'warm-up',
      TOLD: join(scratch, 'told'),
    }
    await runOnce({ ...env, KEEP: 'others' }, ['--help'])
    await runOnce({ ...env, KEEP: 'others' }, ['get', 'corp', '--output', 'fault'], 2)
    await runOnce({ ...env, KEEP: 'others' }, ['get', 'corp'])
    await runOnce({ ...env, KEEP: 'others' }, ['get', 'other'])
    const missed = JSON.parse(readFileSync(env.TOLD, 'utf8'))
    await runOnce({ ...env, KEEP: 'main.cjs' }, ['get', 'corp'])
    const hit = JSON.parse(readFileSync(env.TOLD, 'utf8'))
    const asked = new Set()
    for (const [words, input] of [
      ['git get', 'protocol=https\nhost=corp.example.com\n'],
      ['docker get', 'corp.example.com'],
      ['kubectl corp', ''],
    ]) {
      await runOnce({ ...env, KEEP: 'others' }, ['helper', ...words.split(' ')], 0, input)
      for (const name of JSON.parse(readFileSync(env.TOLD, 'utf8'))) asked.add(name)
    }
    await runOnce({ ...env, KEEP: 'others' }, ['__complete', 'profiles'])
    const helper = [...asked].filter(name => !hit.includes(name))
    // Each source stays a file of its own.
    const miss = missed.filter(
      name => !hit.includes(name) && !asked.has(name) && !name.startsWith('./client-credentials-'),
    )
    return { hit, helper, miss }
  } finally {
    server.close()
    rmSync(scratch, { recursive: true, force: true })
  }
}

function runOnce(env, args, expected = 0, input = '') {
  const child = spawn(process.execPath, [join(root, 'scripts', 'warm-up.cjs'), ...args], {
    env,
    stdio: 'pipe',
  })
  child.stdin.end(input)
  let said = ''
  child.stderr.on('data', text => {
    said += text
  })
  child.stdout.resume()
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => {
      if (code === expected) resolve()
      else reject(new Error(`the program just built ended with ${code} for "${args.join(' ')}":\n${said}`))
    })
  })
}

async function buildLibrary() {
  const { outputFiles, metafile } = await build({
    ...bundled,
    entryPoints: ['src/index.ts'],
    outdir: 'dist/lib',
  })
  for (const input of Object.keys(metafile.inputs)) inputs.add(input)
  mkdirSync(join(dist, 'lib'), { recursive: true })
  const written = new Set(outputFiles.map(({ path }) => path))
  for (const { path, contents } of outputFiles) replaceFile(path, contents)
  for (const name of readdirSync(join(dist, 'lib'))) {
    if (!written.has(join(dist, 'lib', name))) rmSync(join(dist, 'lib', name))
  }

  const types = join(dist, 'types')
  rmSync(types, { recursive: true, force: true })
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error('the declarations were not made')
  const reachable = declarationsFrom(join(types, 'index.d.ts'))
  for (const entry of readdirSync(types, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    if (!reachable.has(path)) {
      rmSync(path)
      continue
    }
    // A program that uses the library need not allow the extension .ts in imports.
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace(/((?:from|import)\s*\(?\s*'\.[^']*)\.ts'/g, "$1.js'"),
    )
  }
}

/** What a program that uses the library can see: the declarations that the entry leads to. The rest is nobody's business. */
function declarationsFrom(path, seen = new Set()) {
  if (seen.has(path)) return seen
  seen.add(path)
  for (const [, to] of readFileSync(path, 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']*)\.ts'/g)) {
    declarationsFrom(join(dirname(path), `${to}.d.ts`), seen)
  }
  return seen
}

/** The licences of all that is inside the bundles. */
function writeLicences() {
  const packages = new Set()
  for (const input of inputs) {
    const found = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)
    if (found !== null) packages.add(found[0])
  }
  const texts = [...packages].sort().map(path => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'))
    const file = readdirSync(join(root, path)).find(entry => /^licen[cs]e/i.test(entry))
    if (file === undefined) throw new Error(`${name} brings no licence text`)
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, path, file), 'utf8').trim()}\n`
  })
  const intro = 'tokctl contains the following packages, under these licences.\n'
  replaceFile(join(dist, 'THIRD-PARTY-LICENSES.txt'), [intro, ...texts].join(`\n${'-'.repeat(78)}\n\n`))
}

function commit() {
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : ''
}
