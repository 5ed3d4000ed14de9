import type { Command } from 'commander'
import { TokctlError } from '../core/errors.ts'
import { type CommandContext, collect, type Run } from './command.ts'
import { writeOut } from './io.ts'
import { gather, recipeOf, writeProfile } from './new-profile.ts'

interface AddOptions {
  readonly provider?: string
  readonly set?: readonly string[]
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
    .option('--set <key=value>', 'what the provider needs, or any other key of the profile', collect)
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
  if (name === undefined) {
    throw new TokctlError('usage', 'the new profile needs a name', {
      hint: 'run: tokctl profile add NAME --provider PROVIDER',
    })
  }
  const recipe = await recipeOf(options.provider)
  const given = await gather(name, options.provider!, recipe, options.set ?? [], context)
  writeOut(await writeProfile(name, recipe, given, context))
}

async function remove(name: string, { app, environment, options }: CommandContext): Promise<void> {
  // Tells a name that does not exist as every other command does.
  const profile = await app.profile(name)
  if (profile.name.includes('@')) {
    const { findProject, projectFileName } = await import('../profile/project.ts')
    const { shownPath } = await import('../profile/shown-path.ts')
    const file = shownPath(findProject(environment) ?? projectFileName, environment.home)
    throw new TokctlError('usage', `profile "${name}" is not yours: it stands in ${file}, a project's file`, {
      hint: 'edit that file, or run: tokctl untrust',
    })
  }
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
