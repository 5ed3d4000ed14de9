import { realpathSync } from 'node:fs'
import type { Environment } from './environment.ts'
import { lookUpProgram } from './find-program.ts'

/**
 * The words that start this very program from anywhere, each a whole path: what is written into other tools'
 * configurations. They need no `PATH`, which cron and desktops have another of. Where `PATH` has a name for the same file,
 * that name stands there: it outlives an upgrade.
 */
export function ownCommand({
  self,
  env,
  platform,
}: Pick<Environment, 'self' | 'env' | 'platform'>): string[] {
  const script = self.at(-1)!
  const words: [name: string, path: string][] =
    self.length === 1
      ? [['tokctl', script]]
      : [
          ['node', self[0]!],
          ['tokctl', script],
        ]
  return words.map(([name, path]) => {
    // What npm puts there on Windows is a batch file.
    const found = platform === 'win32' ? undefined : lookUpProgram(name, env)
    return found?.kind === 'found' && isSame(found.file, path) ? found.file : path
  })
}

function isSame(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b)
  } catch {
    return false
  }
}
