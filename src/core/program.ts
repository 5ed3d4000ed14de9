import type { Environment } from './environment.ts'
import { printable } from './errors.ts'
import { rememberParts, type Secret } from './secret.ts'

/** How a program is run; no shell is involved. */
export interface ProgramCall {
  readonly command: readonly string[]
  /** The whole environment of the child. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Where it runs; our own working directory without it. Absolute. */
  readonly cwd?: string
  /** What it reads on stdin, which is empty without it. */
  readonly input?: string
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Bytes of stdout that are kept; more is an error. */
  readonly maxBytes: number
}

/** What came of it. stderr is for a failure's message only. */
export interface ProgramResult {
  readonly exitCode: number | undefined
  readonly killedBy: string | undefined
  readonly stdout: Secret
  readonly stderr: string
}

/** The last line of a program's stderr, fit to be quoted: nothing that stood on its stdout is in it. */
export function lastWords({ stdout, stderr }: ProgramResult): string {
  rememberParts(stdout)
  const lines = stderr.split(/\r\n|\r|\n/).map(printable)
  return lines.findLast(line => line !== '') ?? ''
}

/** @throws {TokctlError} `command_failed` when it cannot be started, answers too much, or does not end in time */
export type RunProgram = (call: ProgramCall) => Promise<ProgramResult>

/** Variables by name. */
export type Variables = Readonly<Record<string, string | undefined>>

// The first two open the file store, and no program that is asked for one secret needs all the others. The rest make a
// program tell what it does: its stderr is read for a failure's message, and its debugger would answer whoever asks.
const neverPassed: ReadonlySet<string> = new Set([
  ...['TOKCTL_STORE_KEY', 'TOKCTL_STORE_KEY_FILE'],
  ...['TOKCTL_VERBOSE', 'NODE_DEBUG', 'NODE_DEBUG_NATIVE', 'NODE_V8_COVERAGE'],
])

/** The one spelling of a variable's name: on Windows they have no letter case. */
export function variableName(name: string, platform: Environment['platform']): string {
  return platform === 'win32' ? name.toUpperCase() : name
}

/** An environment without these variables, however Windows spells them. */
export function withoutVariables(
  { env, platform }: Pick<Environment, 'env' | 'platform'>,
  withheld: ReadonlySet<string>,
): Variables {
  const names = new Set(Array.from(withheld, name => variableName(name, platform)))
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(variableName(name, platform))))
}

/** An environment with these variables besides; of two that Windows takes for one, a child would get the first. */
export function withVariables(
  env: Variables,
  added: Variables,
  platform: Environment['platform'],
): Variables {
  return { ...withoutVariables({ env, platform }, new Set(Object.keys(added))), ...added }
}

/**
 * The environment of a program that is named in the configuration: ours, without the keys of the store, without what makes
 * Node programs debug themselves, and without the secrets of others.
 *
 * @param withheld - Names of variables that hold what this program was not asked for.
 */
export function childEnvironment(
  environment: Pick<Environment, 'env' | 'platform'>,
  withheld: ReadonlySet<string> = new Set(),
): Variables {
  const passed = Object.entries(withoutVariables(environment, withheld)).filter(
    ([name]) => !neverPassed.has(name.toUpperCase()),
  )
  return withoutDebugging(Object.fromEntries(passed))
}

/** Takes `NODE_OPTIONS` away where it opens a debugger, writes reports or snapshots, or loads code into every Node program. */
export function withoutDebugging(env: Variables): Variables {
  const isKept = ([name, value]: [string, string | undefined]): boolean =>
    name.toUpperCase() !== 'NODE_OPTIONS' || !debugs(value)
  return Object.fromEntries(Object.entries(env).filter(isKept))
}

/** Tells whether options of Node open a debugger, write what is in memory to a file, or load code. */
export function debugs(options: string | undefined): boolean {
  return (
    options !== undefined &&
    /inspect|debug|report|heap|prof|trace|abort|diagnostic|require|import|loader|(?:^|\s)-r/.test(options)
  )
}
