import { TokctlError } from '../core/errors.ts'
import { loadNames, loadProxies } from '../profile/load.ts'
import type { Work } from './command.ts'
import { writeOut } from './io.ts'

/**
 * The work of `tokctl __complete profiles|routes [--config FILE]`, which the completions of shells ask: the names of the
 * profiles, with `routes` those of the tables `[proxy.NAME]` too, one a line. It stands in no help, and what cannot be told is not told: nobody wants an error within a half-written line.
 */
export function complete(words: readonly string[]): Work {
  return async ({ app, environment }) => {
    const [what, flag, file, ...rest] = words
    if (
      (what !== 'profiles' && what !== 'routes') ||
      (flag !== undefined && (flag !== '--config' || !file)) ||
      rest.length > 0
    )
      return
    try {
      const names = await loadNames(environment, app.stateDir, file)
      const tables = what === 'routes' ? (await loadProxies(environment, file)).keys() : []
      writeOut([...new Set([...names, ...tables])].map(name => `${name}\n`).join(''))
    } catch (error) {
      if (!(error instanceof TokctlError)) throw error
    }
  }
}
