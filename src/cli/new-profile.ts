import { resolve } from 'node:path'
import { printable, TokctlError } from '../core/errors.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Given } from '../profile/recipe-text.ts'
import type { Recipe, RecipeAsk } from '../profile/recipes.ts'
import type { CommandContext } from './command.ts'
import { isTerminal, writeError } from './io.ts'
import { askLine } from './prompt.ts'

// What `profile add` and `init` share: how a profile comes to be from a provider's recipe.

/**
 * Takes what was given with `--set`, and asks for what is missing where somebody is there.
 *
 * @throws {TokctlError} `usage`: before anybody is asked anything
 */
export async function gather(
  name: string,
  provider: string,
  recipe: Recipe,
  sets: readonly string[],
  context: CommandContext,
): Promise<Given> {
  const { environment, options: global } = context
  const { missingAsks, namesOf, readAsk, recipeText } = await import('../profile/recipe-text.ts')
  refuseNames(namesOf(recipe, name))
  const given = new Map<string, string>()
  for (const [key, text] of sets.map(readSet)) {
    const ask = recipe.asks.find(ask => ask.key === key)
    given.set(key, pathFrom(environment.cwd, key, ask === undefined ? text : readAsk(ask, text)))
  }
  // Wrong keys are told before anybody is asked anything.
  recipeText(recipe, name, given)
  const missing = missingAsks(recipe, given)
  if (missing.length > 0) {
    const mayAsk = global.input && (await isTerminal(0)) && (await isTerminal(2))
    if (!mayAsk) throw nothingToAsk(provider, missing)
    for (const ask of missing) {
      const answer = await askFor(ask, readAsk, context.signal())
      given.set(ask.key, pathFrom(environment.cwd, ask.key, answer))
    }
  }
  return given
}

/**
 * Writes the profile, and the one that it needs, into the configuration.
 *
 * @returns What was written.
 * @throws {TokctlError} `usage` where there is one of that name, and what `editConfig` throws
 */
export async function writeProfile(
  name: string,
  recipe: Recipe,
  given: Given,
  { app, environment, options }: CommandContext,
): Promise<string> {
  const { namesOf, recipeText } = await import('../profile/recipe-text.ts')
  const { editConfig } = await import('../profile/edit-file.ts')
  const { appended } = await import('../profile/edit.ts')
  const tables = recipeText(recipe, name, given)
  await app.whileEditing(() =>
    editConfig(environment, options.config, ({ text, config }) => {
      for (const one of namesOf(recipe, name)) {
        if (config?.profiles.has(one)) throw existsAlready(one)
      }
      return appended(text, tables)
    }),
  )
  return tables
}

/** Says that a name is taken. */
export function existsAlready(name: string): TokctlError {
  return new TokctlError('usage', `profile "${name}" exists already`, {
    hint: `run: tokctl profile remove ${name}, or choose another name`,
  })
}

/**
 * Finds a provider.
 *
 * @throws {TokctlError} `usage`
 */
export async function recipeOf(provider: string | undefined): Promise<Recipe> {
  const hint = 'run: tokctl profile add --list'
  if (provider === undefined) throw new TokctlError('usage', '--provider is missing', { hint })
  const { recipes } = await import('../profile/recipes.ts')
  if (Object.hasOwn(recipes, provider)) return recipes[provider]!
  const { nearest } = await import('../profile/nearest.ts')
  const meant = nearest(provider, Object.keys(recipes))
  throw new TokctlError(
    'usage',
    `unknown provider "${printable(provider)}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
    { hint },
  )
}

function refuseNames(names: readonly string[]): void {
  for (const name of names) {
    if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) continue
    throw new TokctlError('usage', `"${printable(name)}" is not a name for a profile`, {
      hint: 'use up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
    })
  }
}

// In the file a path is relative to the file; on the command line it is relative to where its writer stands.
function pathFrom(cwd: string, key: string, text: string): string {
  const [, form = '', path = ''] = /^(file:)?(.*)$/s.exec(text) ?? []
  const isPath = form !== '' || key === 'key_file' || key === 'ca_file' || key === 'token_file'
  return isPath && path !== '' && !path.startsWith('~/') ? `${form}${resolve(cwd, path)}` : text
}

// The text is not shown: somebody may have written a secret.
function readSet(text: string): [key: string, value: string] {
  const at = text.indexOf('=')
  if (at > 0) return [text.slice(0, at).trim(), text.slice(at + 1)]
  throw new TokctlError('usage', '--set: expected KEY=VALUE', { hint: 'write --set client_id=0oa1b2c3' })
}

function nothingToAsk(provider: string, missing: readonly RecipeAsk[]): TokctlError {
  const keys = missing.map(({ key }) => key)
  const flags = missing.map(({ key, example }) => `--set ${key}=${shellWord(example)}`)
  return new TokctlError('usage', `provider "${provider}" needs ${keys.join(', ')}`, {
    hint: `add: ${flags.join(' ')}`,
  })
}

async function askFor(
  ask: RecipeAsk,
  readAsk: (ask: RecipeAsk, text: string) => string,
  signal: AbortSignal,
): Promise<string> {
  for (let left = 3; ; left--) {
    const answer = await askLine(`${ask.about}, such as ${ask.example}: `, signal)
    try {
      return readAsk(ask, answer)
    } catch (error) {
      if (!(error instanceof TokctlError) || left === 1) throw error
      writeError(`${error.message}\n`)
    }
  }
}
