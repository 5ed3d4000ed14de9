import { dirname } from 'node:path'
import { linkedFile, writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { makeDirectories } from '../core/state-dir.ts'
import { configFile, readConfig } from './load.ts'
import { parseConfig } from './parse.ts'
import type { Config } from './profile.ts'
import { shownPath } from './shown-path.ts'

/** What a change is made of. */
export interface BeforeEdit {
  /** Empty where there is no file. */
  readonly text: string
  /** `undefined` where there is no file. */
  readonly config: Config | undefined
}

/**
 * Changes the configuration file: reads it, and writes what `change` makes of it, whole, with mode 0600. The file and its
 * directory are made where they are missing; where the path is a link, what it leads to is changed. A configuration that
 * has a problem, before or after, is not touched.
 *
 * @param change - Gives the new text, or throws to leave everything as it is.
 * @throws {TokctlError} `config_invalid`: the file has problems, was changed meanwhile, or cannot be written; `usage`: the
 *   new text would have problems; whatever `change` throws
 */
export function editConfig(
  environment: Environment,
  flag: string | undefined,
  change: (before: BeforeEdit) => string,
): void {
  const { path } = configFile(environment, flag)
  const shown = shownPath(path, environment.home)
  const bytes = readOrMissing(environment, flag)
  const config = bytes === undefined ? undefined : parseConfig({ file: path, bytes }, shown, environment)
  const text = change({ text: bytes?.toString() ?? '', config })
  const after = Buffer.from(text)
  refuseProblems({ file: path, bytes: after }, shown, environment)
  // A file of one's own may be a link into a directory that is kept under version control.
  const target = linkedFile(path)
  // Another program, this one in another shell perhaps.
  const now = readOrMissing(environment, flag)
  if (!(now === undefined ? bytes === undefined : bytes?.equals(now))) {
    throw new TokctlError('config_invalid', `configuration file ${shown} was changed meanwhile`, {
      hint: 'run the command again',
    })
  }
  try {
    makeDirectories(dirname(target))
    writeFileAtomic(target, after, environment.pid)
  } catch (error) {
    throw notWritten(shown, (error as NodeJS.ErrnoException).code ?? 'error')
  }
}

/** Says that the configuration could not be written, and what would help. @param code - Of the system. */
export function notWritten(shown: string, code: string): TokctlError {
  return new TokctlError('config_invalid', `configuration file ${shown} cannot be written (${code})`, {
    hint: remedies[code] ?? 'name another one: --config FILE',
  })
}

const remedies: { readonly [code: string]: string } = {
  ENOSPC: 'free some space on that disk, then run the command again',
  EDQUOT: 'free some of your quota, then run the command again',
}

function readOrMissing(environment: Environment, flag: string | undefined): Buffer | undefined {
  try {
    return readConfig(environment, flag).bytes
  } catch (error) {
    if (error instanceof TokctlError && error.code === 'config_not_found') return undefined
    throw error
  }
}

function refuseProblems(
  source: { file: string; bytes: Buffer },
  shown: string,
  environment: Environment,
): void {
  try {
    parseConfig(source, shown, environment)
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    // Their lines are those of a text that nobody sees.
    const [first, ...more] = [error.message, ...error.more].map(text =>
      text.startsWith(`${shown}:`) ? text.slice(shown.length).replace(/^:\d+: /, '') : text,
    )
    throw new TokctlError('usage', `nothing was written: ${first}`, { hint: error.hint, more })
  }
}
