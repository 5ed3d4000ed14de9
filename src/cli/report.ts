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

function unforeseen(error: unknown): TokctlError {
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
