import { printable, TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Token } from '../core/token.ts'
import type { CommandContext } from './command.ts'

// `PROFILE[=NAME]…`, as exec and ci read it.

const variablePattern = /^[A-Za-z_][A-Za-z0-9_]*$/

/** A token that is wanted, and the variable that is to hold it. */
export interface Wanted {
  readonly profile: string
  readonly variable: string
  /** Whether the variable was named by the caller. */
  readonly isNamed: boolean
}

/**
 * Reads the words of the command line.
 *
 * @param variableOf - The variable where none is named.
 * @throws {TokctlError} `usage`
 */
export function readWanted(
  words: readonly string[],
  variableOf: (profile: string) => string,
  hint: string,
): Wanted[] {
  if (words.length === 0) throw new TokctlError('usage', 'no profile is named', { hint })
  const taken = new Set<string>()
  return words.map(word => {
    const at = word.indexOf('=')
    const profile = at < 0 ? word : word.slice(0, at)
    const variable = at < 0 ? variableOf(profile) : word.slice(at + 1)
    if (!variablePattern.test(variable)) {
      throw new TokctlError('usage', `"${printable(variable)}" is not the name of a variable`, {
        hint: `use letters, digits and underscores: ${shellWord(profile)}=${variableOf(profile)}`,
      })
    }
    if (taken.has(variable)) {
      throw new TokctlError('usage', `two tokens for the one variable "${variable}"`, {
        hint: `name another one: ${shellWord(profile)}=${variable}_2`,
      })
    }
    taken.add(variable)
    return { profile, variable, isNamed: at >= 0 }
  })
}

/** What is to be handed over: variable → value. Where no variable is named, members go by their own names. */
export function valuesOf(wanted: readonly Wanted[], tokens: ReadonlyMap<string, Token>): Map<string, Secret> {
  return new Map(
    wanted.flatMap(({ profile, variable, isNamed }) => {
      const { accessToken, members } = tokens.get(profile)!
      const values = members === undefined || isNamed ? { [variable]: accessToken } : members
      return Object.entries(values)
    }),
  )
}

/** Fetches all at once; where one fails the others are still kept before that is told. */
export async function fetchAll(
  names: readonly string[],
  ask: { readonly minValidityMs: number | undefined; readonly timeoutMs: number },
  context: CommandContext,
): Promise<Map<string, Token>> {
  const { app, signal } = context
  const profiles = []
  for (const name of new Set(names)) profiles.push(await app.profile(name))
  const results = await Promise.allSettled(profiles.map(profile => app.manager.get(profile, ask, signal)))
  const tokens = new Map<string, Token>()
  for (const [i, result] of results.entries()) {
    const profile = profiles[i]!
    tokens.set(
      profile.name,
      result.status === 'fulfilled'
        ? result.value
        : await signedIn(result.reason, profile, ask.timeoutMs, context),
    )
  }
  return tokens
}

async function signedIn(
  error: unknown,
  profile: Awaited<ReturnType<CommandContext['app']['profile']>>,
  timeoutMs: number,
  context: CommandContext,
): Promise<Token> {
  if (!(error instanceof TokctlError) || error.code !== 'login_required') throw error
  const { offerSignIn } = await import('./login.ts')
  const token = await offerSignIn(profile, context, timeoutMs)
  if (token === undefined) throw error
  return token
}
