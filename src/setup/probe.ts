import type { Machine } from './setup.ts'

/** A question, and where the secret stands in its answer. */
interface Question {
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  secret(stdout: string): string | undefined
}

/**
 * Asks a tool, and this program in the tool's words: only the same secret says that the tool's came from here. Where this
 * program has none the tool is not asked, since it would go on to ask others.
 */
export async function comesFromUs(
  machine: Machine,
  { words, ...ours }: Question & { readonly words: readonly string[] },
  { command, ...theirs }: Question & { readonly command: readonly string[] },
): Promise<boolean> {
  const own = await machine.run([...machine.program, ...words], ours)
  const wanted = own.exitCode === 0 ? ours.secret(own.stdout) : undefined
  if (wanted === undefined) return false
  const { exitCode, stdout } = await machine.run(command, theirs)
  return exitCode === 0 && theirs.secret(stdout) === wanted
}
