import type { Secret } from './secret.ts'

/** How a program is run; its stdin is empty and no shell is involved. */
export interface ProgramCall {
  readonly command: readonly string[]
  /** The whole environment of the child. */
  readonly env: Readonly<Record<string, string | undefined>>
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

/** @throws {TokctlError} `command_failed` when it cannot be started, answers too much, or does not end in time */
export type RunProgram = (call: ProgramCall) => Promise<ProgramResult>

// They open the file store, and no program that is asked for one secret needs all the others.
const ownKeys: ReadonlySet<string> = new Set(['TOKCTL_STORE_KEY', 'TOKCTL_STORE_KEY_FILE'])

/** The environment that a program gets which is named in the configuration: ours, without the keys of the store. */
export function childEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ownKeys.has(name.toUpperCase())))
}
