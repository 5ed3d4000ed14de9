import { printable, TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Token } from '../core/token.ts'
import type { Profile } from '../profile/profile.ts'
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
  return words.map(word => {
    const at = word.indexOf('=')
    const profile = at < 0 ? word : word.slice(0, at)
    const variable = at < 0 ? variableOf(profile) : word.slice(at + 1)
    if (!variablePattern.test(variable)) {
      throw new TokctlError('usage', `"${printable(variable)}" is not the name of a variable`, {
        hint: `use letters, digits and underscores: ${shellWord(profile)}=${variableOf(profile)}`,
      })
    }
    return { profile, variable, isNamed: at >= 0 }
  })
}

/**
 * Loads the profiles that are wanted, each once. Asks nobody for a token.
 *
 * @throws {TokctlError} `config_not_found`, `config_invalid`, `unknown_profile`; `usage` where two would have one variable
 */
export async function loadWanted(
  wanted: readonly Wanted[],
  { app }: CommandContext,
): Promise<ReadonlyMap<string, Profile>> {
  const profiles = new Map<string, Profile>()
  for (const { profile } of wanted) {
    if (!profiles.has(profile)) profiles.set(profile, await app.profile(profile))
  }
  const owners = new Map<string, string>()
  for (const one of wanted) {
    for (const name of namesOf(one, profiles)) {
      const owner = owners.get(name)
      if (owner !== undefined) throw taken(name, owner, one)
      owners.set(name, one.profile)
    }
  }
  return profiles
}

function taken(name: string, owner: string, { profile, variable }: Wanted): TokctlError {
  const whose = owner === profile ? `profile "${profile}", twice` : `profiles "${owner}" and "${profile}"`
  const isMember = name !== variable
  return new TokctlError('usage', `two tokens for the one variable "${name}": of ${whose}`, {
    hint: isMember
      ? `hand its members over whole, as JSON: ${shellWord(profile)}=${variable}`
      : `name another one: ${shellWord(profile)}=${variable}_2`,
  })
}

/** The variables that one of them fills. Where none is named, members go by their own names. */
export function namesOf(
  { profile, variable, isNamed }: Wanted,
  profiles: ReadonlyMap<string, Profile>,
): string[] {
  const { members } = profiles.get(profile) as { members?: object }
  return members === undefined || isNamed ? [variable] : Object.keys(members)
}

/** What is to be handed over: variable → value. */
export function valuesOf(wanted: readonly Wanted[], tokens: ReadonlyMap<string, Token>): Map<string, Secret> {
  return new Map(
    wanted.flatMap(({ profile, variable, isNamed }) => {
      const { accessToken, members } = tokens.get(profile)!
      const values = members === undefined || isNamed ? { [variable]: accessToken } : members
      return Object.entries(values)
    }),
  )
}

/** The values of the members that are handed over whole: variable → values. */
export function partsOf(
  wanted: readonly Wanted[],
  tokens: ReadonlyMap<string, Token>,
): Map<string, readonly Secret[]> {
  const whole = wanted.filter(({ isNamed }) => isNamed)
  return new Map(
    whole.map(({ profile, variable }) => [variable, Object.values(tokens.get(profile)!.members ?? {})]),
  )
}

/** Fetches all at once, by the names they were asked for; where one fails the others are still kept before that is told. */
export async function fetchAll(
  profiles: ReadonlyMap<string, Profile>,
  ask: { readonly minValidityMs: number | undefined; readonly timeoutMs: number },
  context: CommandContext,
): Promise<Map<string, Token>> {
  const { app, signal } = context
  const all = [...profiles]
  const results = await Promise.allSettled(all.map(([, profile]) => app.manager.get(profile, ask, signal)))
  const tokens = new Map<string, Token>()
  for (const [i, result] of results.entries()) {
    const [name, profile] = all[i]!
    tokens.set(
      name,
      result.status === 'fulfilled'
        ? result.value
        : await signedIn(result.reason, profile, ask.timeoutMs, context),
    )
  }
  return tokens
}

async function signedIn(
  error: unknown,
  profile: Profile,
  timeoutMs: number,
  context: CommandContext,
): Promise<Token> {
  if (!(error instanceof TokctlError) || error.code !== 'login_required') throw error
  const { offerSignIn } = await import('./login.ts')
  const token = await offerSignIn(profile, context, timeoutMs)
  if (token === undefined) throw error
  return token
}
