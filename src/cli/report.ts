import { exitCodeOf, printable, TokctlError } from '../core/errors.ts'
import { shellWord } from '../core/shell-word.ts'
import { coloursOf } from './colour.ts'
import { OutputClosed, tell } from './io.ts'

// The only printer of errors, and the only place that turns one into an exit code.

/** How errors are to be told. */
export interface ReportOptions {
  readonly json: boolean
  readonly debug: boolean
  /** The `--config` of this run, which commands in hints need too. */
  readonly config?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

/**
 * Prints a failure to stderr and gives its exit code.
 * What was not foreseen is told as a bug: one line, its stack with `--debug` only, since a stack may quote values.
 */
export async function report(error: unknown, { json, debug, config, env }: ReportOptions): Promise<number> {
  if (error instanceof OutputClosed) return exitCodeOf('output_failed')
  const known = withConfig(error instanceof TokctlError ? error : unforeseen(error), config)
  if (known.code === 'interrupted' || known.code === 'terminated') return exitCodeOf(known.code)
  if (json) tell(`${jsonLine(known)}\n`)
  else tell(await lines(known, env))
  if (debug && error instanceof Error && !(error instanceof TokctlError)) tell(`${error.stack}\n`)
  return exitCodeOf(known.code)
}

/** Prints one line of warning. */
export function warn(message: string): void {
  tell(`tokctl: warning: ${message}\n`)
}

// A hint is there to be run as it stands.
function withConfig(error: TokctlError, config: string | undefined): TokctlError {
  if (config === undefined || error.hint === undefined) return error
  const command =
    /\btokctl (?=(?:get|exec|refresh|reject|login|logout|status|profile|secret|helper|init|doctor|prune)\b)/g
  const hint = error.hint.replace(command, `tokctl --config ${shellWord(config)} `)
  const { code, message, profile, retryAfterMs, more } = error
  return new TokctlError(code, message, { hint, profile, retryAfterMs, more })
}

const diskFaults: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOSPC: ['the disk is full', 'make room, see: df -h'],
  EDQUOT: ['the disk is full for this user', 'make room, see: quota'],
  EROFS: ['it is on a disk that cannot be written', 'set TOKCTL_STATE_DIR to a directory on another one'],
  EIO: ['the disk fails', 'see what the system says of it: dmesg'],
}

/** A disk that does not do what it is told is nobody's bug, also where nobody was ready for it. */
function ofTheDisk(error: unknown): TokctlError | undefined {
  const { code = '', syscall, path } = error as NodeJS.ErrnoException
  const fault = Object.hasOwn(diskFaults, code) && syscall !== undefined ? diskFaults[code] : undefined
  if (fault === undefined) return undefined
  const file = path === undefined ? 'a file' : `file ${printable(path)}`
  const [why, hint] = fault
  return new TokctlError('store_failed', `${file} cannot be written (${code}): ${why}`, { hint })
}

function unforeseen(error: unknown): TokctlError {
  const disk = error instanceof Error ? ofTheDisk(error) : undefined
  if (disk !== undefined) return disk
  const what =
    error instanceof Error ? `${error.name}: ${error.message}` : 'something that is no error was thrown'
  return new TokctlError('internal_error', `unexpected failure, which is a bug: ${printable(what)}`, {
    hint: 'run it again with --debug and report what it prints',
  })
}

function jsonLine({ code, message, more, hint, profile, retryAfterMs }: TokctlError): string {
  return JSON.stringify({
    error: {
      code,
      message: [message, ...more].join('\n'),
      hint: hint ?? null,
      profile: profile ?? null,
      retry_after: retryAfterMs === undefined ? null : Math.ceil(retryAfterMs / 1000),
    },
  })
}

async function lines({ message, more, hint }: TokctlError, env: ReportOptions['env']): Promise<string> {
  const { red, cyan } = await coloursOf(2, env)
  const told = [message, ...more].map(text => `${red('tokctl: error:')} ${text}\n`)
  if (hint !== undefined) told.push(`${cyan('tokctl: hint:')} ${hint}\n`)
  return told.join('')
}
