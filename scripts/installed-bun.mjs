import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const modules = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules')

/**
 * Bun as npm installed it: in the package of its platform, or, where install scripts run, in `bun` itself, whose script moves it
 * there. Without them there is a note of a few lines in that place.
 *
 * @returns `undefined` where it is in neither.
 */
export function installedBun(packageName) {
  const name = process.platform === 'win32' ? 'bun.exe' : 'bun'
  return [join(modules, ...packageName.split('/'), 'bin', name), join(modules, 'bun', 'bin', 'bun.exe')].find(
    path => existsSync(path) && statSync(path).size > 1_000_000,
  )
}
