import type { Command } from 'commander'
import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import type { Runtime } from '../core/runtime.ts'
import { parseDuration, type ResidentClock } from '../core/time.ts'

/** Options that every command takes. */
export interface GlobalOptions {
  readonly config?: string
  readonly input: boolean
  readonly verbose: boolean
  readonly debugHttp: boolean
  readonly debug: boolean
  readonly jsonErrors: boolean
}

/** What a command is given to work with. */
export interface CommandContext {
  readonly app: App
  readonly clock: ResidentClock
  readonly runtime: Runtime
  readonly environment: Environment
  readonly options: GlobalOptions
  /** Fires on SIGINT, SIGTERM and SIGHUP. Calling it is what starts listening. */
  signal(): AbortSignal
  /** The exit code of a run that is no failure of ours; 0 without it. */
  exitWith(code: number): void
  /** What is done at the end of every run, for a command that gives this process to another program. */
  settle(): void
  /** For a command that stays: tokens are renewed by this, not by a process of their own. */
  renewHere(renew: (profile: string) => Promise<unknown>): void
}

/** What a command does. */
export type Work = (context: CommandContext) => Promise<void>

/** How a command is started: errors, exit code and clean-up are the same for all. */
export type Run = (work: Work) => Promise<void>

/** What each file of a command exports: it adds itself to the program. */
export type Define = (program: Command, run: Run) => void

/** Collects an option that may be given several times; `undefined` where it never is. */
export function collect(value: string, all: readonly string[] = []): string[] {
  return [...all, value]
}

/**
 * Reads a duration from the command line.
 *
 * @throws {TokctlError} `usage`
 */
export function durationOption(flag: string, text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  throw new TokctlError('usage', `${flag}: "${text.slice(0, 40)}" is not a duration`, {
    hint: `write a whole number with a unit: ${flag} 500ms, 90s, 5m, 1h or 2d`,
  })
}
