import { TokctlError } from '../core/errors.ts'
import type { Machine } from './setup.ts'

/** The text of a member, in an answer that is JSON or has lines of it. */
export function memberText(name: string): (said: string) => string | undefined {
  const member = new RegExp(`"${name}": ?\\[?"([^"]+)"`)
  return said => member.exec(said)?.[1]
}

/** All that is said, for an answer that is the secret alone. */
export function wholeText(said: string): string | undefined {
  return said.trim() || undefined
}

/** The words of a command line for a tool that splits at blanks, with or without quotes. */
export function wordsOf(line: string): string[] {
  return Array.from(
    line.matchAll(/"([^"]*)"|'([^']*)'|([^\s"']+)/g),
    found => found.slice(1).find(Boolean) ?? '',
  )
}

/** A question, and where the secret stands in its answer. */
interface Question {
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  secret(stdout: string): string | undefined
}

/**
 * Asks a tool, and this program in the tool's words: only the same secret says that the tool's came from here. Where this
 * program has none the tool is not asked, since it would go on to ask others.
 *
 * @throws {TokctlError} `command_failed` with what this program says that it has none for
 */
export async function comesFromUs(
  machine: Machine,
  { words, ...ours }: Question & { readonly words: readonly string[] },
  { command, ...theirs }: Question & { readonly command: readonly string[] },
): Promise<boolean> {
  const own = await machine.run([...machine.program, ...words], ours)
  const wanted = own.exitCode === 0 ? ours.secret(own.stdout) : undefined
  if (wanted === undefined) {
    const why = /^tokctl: error: (.*)/m.exec(own.stderr)?.[1]
    if (why !== undefined) throw new TokctlError('command_failed', why)
    return false
  }
  const { exitCode, stdout } = await machine.run(command, theirs)
  return exitCode === 0 && theirs.secret(stdout) === wanted
}
