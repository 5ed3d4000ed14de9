import { printable, TokctlError } from '../core/errors.ts'

/** One thing that `doctor` looked at. It is made to be pasted into a bug report: nothing in it is a secret. */
export interface Finding {
  readonly check: string
  /** `note`: good to know, and nothing to mend. */
  readonly level: 'ok' | 'note' | 'problem'
  readonly message: string
  /** What mends it: a command, where there is one. */
  readonly hint?: string | undefined
}

export function ok(check: string, message: string): Finding {
  return { check, level: 'ok', message: shown(message) }
}

export function note(check: string, message: string, hint?: string): Finding {
  return { check, level: 'note', message: shown(message), hint: hint && shown(hint) }
}

export function problem(check: string, message: string, hint?: string): Finding {
  return { check, level: 'problem', message: shown(message), hint: hint && shown(hint) }
}

// Paths and words of other people's files stand in them: whole, since a person may copy them, and without a command to the
// terminal.
function shown(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, ' ')
}

/** A failure as findings: each of its problems one, the hint with the first. */
export function problemsOf(check: string, error: unknown): Finding[] {
  if (error instanceof TokctlError) {
    const [first, ...more] = [error.message, ...error.more].map(text => problem(check, text))
    return [{ ...first!, hint: error.hint }, ...more]
  }
  const { code, name } = error as NodeJS.ErrnoException
  return [problem(check, `cannot be looked at (${printable(code ?? name ?? 'error')})`)]
}
