import { resolve } from 'node:path'
import type { Command } from 'commander'
import { printable, TokctlError } from '../core/errors.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Recipe, RecipeAsk } from '../profile/recipes.ts'
import type { CommandContext, Run } from './command.ts'
import { askLine, isTerminal, writeError, writeOut } from './io.ts'

interface AddOptions {
  readonly provider?: string
  readonly set: readonly string[]
  readonly list?: boolean
}

/** `tokctl profile add NAME --provider P`: writes a commented profile for a provider into the configuration. */
export function defineAdd(profile: Command, run: Run): void {
  profile
    .command('add')
    .summary('write a profile for a provider')
    .description(
      'Appends a commented profile to the configuration and prints it. Asks for what is missing, and never for a secret.',
    )
    .argument('[name]', 'how the profile is to be called')
    .option('--provider <provider>', 'what gives the token; --list shows them')
    .option('--set <key=value>', 'what the provider needs, or any other key of the profile', collect, [])
    .option('--list', 'list the providers, with what each of them needs')
    .addHelpText(
      'after',
      '\nExample:\n  tokctl profile add corp --provider okta --set domain=acme.okta.com \\\n    --set client_id=0oa1b2c3 --set scope=api.read',
    )
    .action((name: string | undefined, options: AddOptions) =>
      run(context => (options.list ? list() : add(name, options, context))),
    )
}

/** `tokctl profile remove NAME`: takes a profile and its comments out of the configuration. */
export function defineRemove(profile: Command, run: Run): void {
  profile
    .command('remove')
    .summary('take a profile out of the configuration')
    .description(
      'Takes a profile and its comments out of the configuration; all else stays as it is. What is kept for it stays too: run "tokctl logout" first.',
    )
    .argument('<profile>', 'a profile of the configuration')
    .addHelpText('after', '\nExample:\n  tokctl profile remove corp')
    .action((name: string) => run(context => remove(name, context)))
}

function collect(value: string, all: readonly string[]): string[] {
  return [...all, value]
}

async function list(): Promise<void> {
  const { recipes } = await import('../profile/recipes.ts')
  const width = Math.max(...Object.keys(recipes).map(name => name.length))
  const rows = Object.entries(recipes).map(([name, { about, asks }]) => {
    const needs = asks.filter(({ fallback }) => fallback === undefined).map(({ key }) => key)
    return `${name.padEnd(width)}  ${about} (${needs.join(', ')})\n`
  })
  writeOut(rows.join(''))
}

async function add(name: string | undefined, options: AddOptions, context: CommandContext): Promise<void> {
  const { environment, options: global } = context
  if (name === undefined) {
    throw new TokctlError('usage', 'the new profile needs a name', {
      hint: 'run: tokctl profile add NAME --provider PROVIDER',
    })
  }
  const recipe = await recipeOf(options.provider)
  const { missingAsks, namesOf, readAsk, recipeText } = await import('../profile/recipe-text.ts')
  const { editConfig } = await import('../profile/edit-file.ts')
  const { appended } = await import('../profile/edit.ts')
  const names = namesOf(recipe, name)
  refuseNames(names)

  const given = new Map<string, string>()
  for (const [key, text] of options.set.map(readSet)) {
    const ask = recipe.asks.find(ask => ask.key === key)
    given.set(key, pathFrom(environment.cwd, key, ask === undefined ? text : readAsk(ask, text)))
  }
  // Wrong keys are told before anybody is asked anything.
  recipeText(recipe, name, given)
  const missing = missingAsks(recipe, given)
  if (missing.length > 0) {
    const mayAsk = global.input && (await isTerminal(0)) && (await isTerminal(2))
    if (!mayAsk) throw nothingToAsk(options.provider!, missing)
    for (const ask of missing) {
      const answer = await askFor(ask, readAsk, context.signal())
      given.set(ask.key, pathFrom(environment.cwd, ask.key, answer))
    }
  }

  const tables = recipeText(recipe, name, given)
  await context.app.whileEditing(() =>
    editConfig(environment, global.config, ({ text, config }) => {
      for (const one of names) {
        if (!config?.profiles.has(one)) continue
        throw new TokctlError('usage', `profile "${one}" exists already`, {
          hint: `run: tokctl profile remove ${one}, or choose another name`,
        })
      }
      return appended(text, tables)
    }),
  )
  writeOut(tables)
}

async function recipeOf(provider: string | undefined): Promise<Recipe> {
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

async function remove(name: string, { app, environment, options }: CommandContext): Promise<void> {
  // Tells a name that does not exist as every other command does.
  await app.profile(name)
  const { editConfig } = await import('../profile/edit-file.ts')
  const { without } = await import('../profile/edit.ts')
  await app.whileEditing(() =>
    editConfig(environment, options.config, ({ text }) => {
      const left = without(text, name)
      if (left !== undefined) return left
      throw new TokctlError(
        'config_invalid',
        `profile "${name}" stands within a value and cannot be taken out`,
        {
          hint: 'take it out with an editor',
        },
      )
    }),
  )
}
