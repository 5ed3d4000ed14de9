import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { removeFaketimeLeftovers } from './faketime-leftovers.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Builds the program, for both runtimes, before the tests when its sources are newer: a test of an old build proves nothing. */
export default function setup(): () => void {
  removeFaketimeLeftovers()
  build('build.mjs', ['dist', 'cli', 'main.cjs'])
  build('build-binary.mjs', ['dist', 'bin', 'tokctl'])
  return () => {
    removeFaketimeLeftovers()
  }
}

function build(script: string, made: readonly string[]): void {
  const built = changedAt(join(root, ...made))
  const sources = ['src', 'bin', `scripts/${script}`, 'package.json'].map(path =>
    newestUnder(join(root, path)),
  )
  if (built >= Math.max(...sources)) return
  const { status } = spawnSync(process.execPath, [join(root, 'scripts', script)], { stdio: 'inherit' })
  // Unit tests do without a build, so they may still tell what is wrong.
  if (status !== 0) console.error('the build failed: every test that starts the program will fail')
}

function newestUnder(path: string): number {
  if (!existsSync(path)) return 0
  if (!statSync(path).isDirectory()) return changedAt(path)
  const inside = readdirSync(path, { recursive: true, withFileTypes: true })
  return Math.max(0, ...inside.filter(e => e.isFile()).map(e => changedAt(join(e.parentPath, e.name))))
}

function changedAt(path: string): number {
  return existsSync(path) ? statSync(path).mtimeMs : 0
}
