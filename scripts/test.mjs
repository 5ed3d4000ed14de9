// `npm test`: installs what the tests need from Debian, builds, checks types and style, runs the tests.
// `--binary` runs what there is for the one-file program instead, `--both` that too.
// Other arguments go to vitest. --forbid-skips, or CI=true, makes a skipped test a failure.
// The last line is always `N passed, N failed`, with `, N skipped` where there were any.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { byProgram, byRuntime, filesNotRun, testsNotRun } from './binary-tests.mjs'
import { installedBun } from './installed-bun.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** What the tests run beside Node: command → Debian package. */
const needed = {
  'gnome-keyring-daemon': 'gnome-keyring',
  'dbus-daemon': 'dbus',
  'secret-tool': 'libsecret-tools',
  strace: 'strace',
  faketime: 'faketime',
  openssl: 'openssl',
  time: 'time',
  git: 'git',
  curl: 'curl',
  wget: 'wget',
  mandoc: 'mandoc',
  make: 'make',
  shellcheck: 'shellcheck',
  yamllint: 'yamllint',
  bash: 'bash',
  zsh: 'zsh',
  fish: 'fish',
  skopeo: 'skopeo',
  kubectl: 'kubernetes-client',
  'systemd-analyze': 'systemd',
  chromium: 'chromium',
  chromedriver: 'chromium-driver',
}

/** A worker that spins is beyond any test's own time limit: the run ends all the same, and says so. */
const runLimitMinutes = 14

const own = new Set(['--forbid-skips', '--binary', '--both'])
const asked = new Set(process.argv.filter(arg => own.has(arg)))
const args = process.argv.slice(2).filter(arg => !own.has(arg))
const forbidsSkips = asked.has('--forbid-skips') || process.env.CI === 'true'
const count = { passed: 0, failed: 0, skipped: 0 }

if (setUp() && step('build', ['scripts/build.mjs']) && step('build:binary', ['scripts/build-binary.mjs'])) {
  if (!asked.has('--binary')) {
    step('types', ['node_modules/typescript/bin/tsc', '--noEmit'])
    step('style', ['node_modules/@biomejs/biome/bin/biome', 'check', '.'])
    await runTests(args)
  }
  if (asked.size > 0 && (asked.has('--binary') || asked.has('--both'))) await testBinary()
}
const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : ''
console.log(`${count.passed} passed, ${count.failed} failed${skipped}`)
process.exitCode = count.failed === 0 ? 0 : 1

function fail(message) {
  console.error(`npm test: ${message}`)
  count.failed++
  return false
}

function setUp() {
  if (process.platform !== 'linux') return true
  const missing = Object.keys(needed).filter(command => !isInstalled(command))
  if (missing.length === 0) return true
  const packages = missing.map(command => needed[command])
  const install = ['apt-get', 'install', '--yes', '--no-install-recommends', ...packages]
  if (process.getuid() !== 0 || !isInstalled('apt-get')) {
    return fail(`the tests need ${missing.join(', ')}; run: sudo apt-get update && sudo ${install.join(' ')}`)
  }
  console.log(`npm test: installing ${packages.join(', ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  for (const command of [['apt-get', 'update'], install]) {
    const { status, stdout, stderr } = spawnSync(command[0], command.slice(1), { env, encoding: 'utf8' })
    if (status !== 0) return fail(`"${command.join(' ')}" failed:\n${stdout}${stderr}`)
  }
  const still = missing.filter(command => !isInstalled(command))
  return still.length === 0 || fail(`${still.join(', ')} is missing although its package was installed`)
}

function isInstalled(command) {
  return (process.env.PATH ?? '').split(delimiter).some(directory => {
    try {
      accessSync(join(directory, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function step(name, command) {
  const { status, signal } = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit' })
  return status === 0 || fail(`${name}: ended with ${signal ?? status}`)
}

/** The suites once more: those that start the program with the one file, those of the ports inside of Bun. */
async function testBinary() {
  const notRun = filesNotRun.flatMap(([file]) => ['--exclude', file])
  const named = testsNotRun.map(([name]) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const leftOut = new RegExp(named.join('|'))
  const names = ['--testNamePattern', `^(?!.*(?:${named.join('|')}))`]
  const inside = byRuntime.flatMap(file => ['--exclude', file])
  const program = { TOKCTL_TEST_PROGRAM: join(root, 'dist', 'bin', 'tokctl') }
  await runTests([...byProgram, ...inside, ...notRun, ...names, ...args], { env: program, leftOut })
  const cpu = process.arch === 'arm64' ? 'aarch64' : process.arch
  const bun = installedBun(`@oven/bun-${process.platform}-${cpu}`)
  if (bun === undefined) return void fail('Bun is not installed: run npm ci')
  await runTests([...byRuntime, ...notRun, ...names, ...args], {
    runtime: bun,
    env: { TOKCTL_TEST_NODE: process.execPath },
    leftOut,
  })
}

async function runTests(words, { runtime = process.execPath, env = {}, leftOut } = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'tokctl-results-'))
  const results = join(scratch, 'results.json')
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${results}`]
    const vitest = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...reporters, ...words]
    // A group of its own, so that its workers end with it; a terminal's Ctrl-C is passed on.
    const child = spawn(runtime, vitest, {
      cwd: root,
      stdio: 'inherit',
      detached: true,
      env: { ...process.env, ...env },
    })
    const endAll = signal => process.kill(-child.pid, signal)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => endAll(signal))
    const limit = setTimeout(() => {
      fail(
        `the tests did not end within ${runLimitMinutes} minutes; the file that hangs is the one not listed above`,
      )
      endAll('SIGKILL')
    }, runLimitMinutes * 60_000)
    const [status] = await once(child, 'exit')
    clearTimeout(limit)
    const failedBefore = count.failed
    let told
    try {
      told = JSON.parse(readFileSync(results, 'utf8'))
    } catch {
      fail('vitest left no results')
      return
    }
    tally(told, leftOut)
    // An error outside of any test (an unhandled rejection, a failed set-up) is in no test's result.
    if (status !== 0 && count.failed === failedBefore) fail(`vitest ended with ${status}`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function tally({ testResults }, leftOut) {
  for (const file of testResults) {
    const tests = file.assertionResults
    for (const test of tests) {
      if (test.status !== 'passed' && test.status !== 'failed' && leftOut?.test(test.fullName)) continue
      if (test.status === 'passed') count.passed++
      else if (test.status === 'failed') count.failed++
      else if (forbidsSkips) fail(`skipped, which is forbidden here: ${test.fullName}`)
      else count.skipped++
    }
    if (file.status === 'failed' && !tests.some(test => test.status === 'failed')) {
      fail(`${file.name}: ${file.message || 'could not be run'}`)
    }
  }
}
