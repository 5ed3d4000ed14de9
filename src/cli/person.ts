import type { Environment } from '../core/environment.ts'
import type { Person } from '../source/source.ts'
import { isTerminal, writeError } from './io.ts'
import { readPasted } from './prompt.ts'

/** How somebody at this machine signs in. */
export interface PersonOptions {
  readonly environment: Environment
  /** Whether a browser may be opened. */
  readonly browser: boolean
}

/**
 * Makes the person at this terminal, or at none: everything is told on stderr, and stdout stays empty. Text is redrawn only
 * where stderr is a terminal that can; an address can be pasted only where stdin is one too.
 */
export async function makePerson({ environment, browser }: PersonOptions): Promise<Person> {
  const [canRead, isShown] = await Promise.all([isTerminal(0), isTerminal(2)])
  const canDraw = isShown && environment.env['TERM'] !== 'dumb'
  return {
    tell: writeError,
    isTerminal: canDraw,
    async open(url) {
      if (!browser) return false
      return (await import('./browser.ts')).openBrowser(url, environment)
    },
    pasted: signal => (canRead && isShown ? readPasted(signal) : new Promise(() => {})),
  }
}
