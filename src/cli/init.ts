import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import { formatDuration } from '../core/time.ts'
import { type Profile, signsIn } from '../profile/profile.ts'
import { references } from '../profile/project.ts'
import type { Recipe } from '../profile/recipes.ts'
import type { Store } from '../store/store.ts'
import { type CommandContext, collect, type Define } from './command.ts'
import { isTerminal, readInput, terminalSize, writeError } from './io.ts'
import { existsAlready, gather, recipeOf, writeProfile } from './new-profile.ts'
import { askHidden, askLine } from './prompt.ts'

const maxSecretBytes = 1 << 20
const checkMs = 10_000

interface InitOptions {
  readonly provider?: string
  readonly set?: readonly string[]
  readonly secretStdin?: boolean
  readonly sealedFiles?: boolean
  readonly check: boolean
  readonly get: boolean
}

/** `tokctl init [NAME]`: a first profile, by questions or by flags, and its first token. */
export const define: Define = (program, run) => {
  program
    .command('init')
    .summary('make a first profile')
    .description(
      'Asks for the provider and what it needs, checks that its server is there, writes the profile, keeps its secret in the keychain and gets a token once. Whatever is said with an option is not asked.',
    )
    .argument('[name]', 'how the profile is to be called')
    .option('--provider <provider>', 'what gives the token: see "tokctl profile add --list"')
    .option('--set <key=value>', 'what the provider needs, or any other key of the profile', collect)
    .option('--secret-stdin', 'read the secret from stdin')
    .option('--sealed-files', 'keep secrets and sessions in files, not in a keychain')
    .option('--no-check', 'do not ask the server whether it is there')
    .option('--no-get', 'do not get a token at the end')
    .addHelpText(
      'after',
      '\nExample:\n  tokctl init corp --provider oidc --set issuer=https://idp.example.com \\\n    --set client_id=build-bot --set client_secret=env:CORP_SECRET \\\n    --no-check --no-get',
    )
    .action((name: string | undefined, options: InitOptions) => run(context => init(name, options, context)))
}

async function init(given: string | undefined, options: InitOptions, context: CommandContext): Promise<void> {
  const isThere =
    context.options.input && !options.secretStdin && (await isTerminal(0)) && (await isTerminal(2))
  const provider = options.provider ?? (await askProvider(isThere, context))
  const recipe = await recipeOf(provider)
  const name = given ?? (await askName(provider, isThere, context))
  await refuseTaken(name, recipe, context)
  const answers = await gather(name, provider, recipe, options.set ?? [], context)

  const draft = await draftOf(name, recipe, answers, context)
  if (options.check) for (const profile of draft) await check(profile, context)
  const secrets = new Map<string, Secret>()
  for (const secret of new Set(draft.flatMap(secretsOf))) {
    secrets.set(secret, await readSecret(secret, options, isThere, context))
  }

  // First where that is kept: whoever leaves at that question is left with no profile that could keep nothing.
  if (options.sealedFiles) await chooseFiles(context)
  else if (isThere && draft.some(keepsSession)) await offerFiles('session', context)
  if (secrets.size > 0) await keep(secrets, isThere, context)
  await writeProfile(name, recipe, answers, context)
  writeError(`profile "${name}" is written to ${context.options.config ?? 'your configuration'}\n`)
  if (options.get) await getOnce(name, context)
}

async function askProvider(isThere: boolean, context: CommandContext): Promise<string> {
  const { recipes } = await import('../profile/recipes.ts')
  const names = Object.keys(recipes)
  if (!isThere) {
    throw new TokctlError('usage', '--provider is missing, and nobody is here to be asked', {
      hint: 'run: tokctl profile add --list',
    })
  }
  writeError(listed(names, one => recipes[one]!.about))
  return ask(`provider, its number or its name [${fallbackProvider}]: `, context, answer => {
    const chosen = /^\d+$/.test(answer) ? names[Number(answer) - 1] : answer
    if (answer === '') return fallbackProvider
    if (chosen !== undefined && Object.hasOwn(recipes, chosen)) return chosen
    throw new TokctlError('usage', 'there is no such provider')
  })
}

const fallbackProvider = 'oidc'

/** Each with its number, and what it is where the terminal has room for that: below the list stands the question. */
function listed(names: readonly string[], about: (name: string) => string): string {
  const { columns, rows } = terminalSize()
  const width = Math.max(...names.map(name => name.length))
  const short = names.map((name, i) => `${String(i + 1).padStart(3)}  ${name.padEnd(width)}`)
  const long = names.map((name, i) => `${short[i]}  ${about(name)}`)
  if (names.length + 2 <= rows && long.every(line => line.length < columns)) return `${long.join('\n')}\n`
  const across = Math.max(1, Math.floor(columns / (width + 7)))
  const height = Math.ceil(names.length / across)
  const lines = Array.from({ length: height }, (_, row) =>
    short
      .filter((_, i) => i % height === row)
      .join('  ')
      .trimEnd(),
  )
  return `${lines.join('\n')}\nwhat each of them is: tokctl profile add --list\n`
}

async function refuseTaken(name: string, recipe: Recipe, { app }: CommandContext): Promise<void> {
  const [{ profiles }, { namesOf }] = await Promise.all([
    app.config().catch(noConfig),
    import('../profile/recipe-text.ts'),
  ])
  for (const one of namesOf(recipe, name)) if (profiles.has(one)) throw existsAlready(one)
}

async function askName(provider: string, isThere: boolean, context: CommandContext): Promise<string> {
  const { profiles } = await context.app.config().catch(noConfig)
  const stem = provider.replace(/-.*$/, '')
  let fallback = stem
  for (let i = 2; profiles.has(fallback); i++) fallback = `${stem}-${i}`
  if (!isThere) {
    throw new TokctlError('usage', 'the new profile needs a name', {
      hint: `run: tokctl init ${fallback} --provider ${provider}`,
    })
  }
  return ask(`name of the profile [${fallback}]: `, context, answer => {
    if (profiles.has(answer)) throw new TokctlError('usage', `profile "${answer}" exists already`)
    if (answer === '' || /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(answer)) return answer || fallback
    throw new TokctlError(
      'usage',
      'use letters, digits, dots, dashes and underscores, a letter or digit first',
    )
  })
}

function noConfig(error: unknown): { profiles: ReadonlyMap<string, Profile> } {
  if (error instanceof TokctlError && error.code === 'config_not_found') return { profiles: new Map() }
  throw error
}

/** Asks three times at most. */
async function ask(
  question: string,
  { signal }: CommandContext,
  read: (answer: string) => string,
): Promise<string> {
  for (let left = 3; ; left--) {
    const answer = (await askLine(question, signal())).trim()
    try {
      return read(answer)
    } catch (error) {
      if (!(error instanceof TokctlError) || left === 1) throw error
      writeError(`${error.message}\n`)
    }
  }
}

/** What would be written, read as it would be. */
async function draftOf(
  name: string,
  recipe: Recipe,
  answers: ReadonlyMap<string, string>,
  { environment, options }: CommandContext,
): Promise<Profile[]> {
  const [{ recipeText }, { parseConfig }, { configFile }] = await Promise.all([
    import('../profile/recipe-text.ts'),
    import('../profile/parse.ts'),
    import('../profile/load.ts'),
  ])
  const bytes = Buffer.from(recipeText(recipe, name, answers))
  const source = { file: configFile(environment, options.config).path, bytes }
  return [...parseConfig(source, 'the new profile', environment).profiles.values()]
}

async function check(profile: Profile, { app, clock, signal }: CommandContext): Promise<void> {
  const { issuer } = profile as { issuer?: string }
  if (issuer === undefined) return
  const { discover } = await import('../source/discovery.ts')
  // Whatever was kept of it may be of yesterday.
  const cache = { read: () => undefined, write() {} }
  const ports = { send: await app.send(), cache, trace() {} }
  const caFile = (profile as { ca_file?: string }).ca_file
  const { readTlsMaterial } = await import('../source/tls-material.ts')
  const resolve = async (): Promise<Secret> => new Secret('')
  const tls = await readTlsMaterial(caFile === undefined ? {} : { ca_file: caFile }, { resolve }, signal())
  const budget = { clock, deadline: clock.monotonic() + checkMs, signal: signal() }
  const { token_endpoint } = await discover(issuer, ports, tls, budget).catch(error => {
    if (!(error instanceof TokctlError) || error.hint !== undefined) throw error
    const hint = `see: curl -v ${shellWord(issuer)}, or write it all the same with --no-check`
    throw new TokctlError(error.code, error.message, { hint })
  })
  writeError(
    `${issuer} is there${token_endpoint === undefined ? '' : `: tokens come from ${token_endpoint}`}\n`,
  )
}

function secretsOf(profile: Profile): string[] {
  return references(profile).flatMap(ref => ('secret' in ref ? [ref.secret] : []))
}

async function readSecret(
  name: string,
  { secretStdin }: InitOptions,
  isThere: boolean,
  context: CommandContext,
): Promise<Secret> {
  if (secretStdin) return filled(name, readInput(maxSecretBytes).replace(/\r?\n$/, ''))
  if (!isThere) {
    throw new TokctlError('usage', `the secret "${name}" would have to be asked for`, {
      hint: 'add --secret-stdin, or write where it is kept: --set client_secret=env:NAME',
    })
  }
  // A key has more lines than can be typed.
  if (!/-key$/.test(name)) return filled(name, await askHidden(`secret "${name}" (not shown): `))
  const text = await ask(`file of the key "${name}": `, context, answer => {
    const found = readRegularFile(answer, maxSecretBytes)
    if ('bytes' in found) return found.bytes.toString()
    throw new TokctlError('usage', 'that file cannot be read')
  })
  return filled(name, text)
}

function filled(name: string, value: string): Secret {
  if (value !== '') return new Secret(value)
  throw new TokctlError('usage', 'an empty secret is not kept', {
    hint: `run: printf %s "$VALUE" | tokctl secret set ${name}`,
  })
}

async function keep(
  secrets: ReadonlyMap<string, Secret>,
  isThere: boolean,
  context: CommandContext,
): Promise<void> {
  const store = isThere ? await offerFiles('secret', context) : await openLasting('secret', context)
  for (const [name, value] of secrets) {
    await store.set({ kind: 'secret', name }, value)
    writeError(`secret "${name}" is kept in ${store.kind === 'file' ? 'a sealed file' : 'the keychain'}\n`)
  }
}

function keepsSession(profile: Profile): boolean {
  return signsIn(profile) || profile.source === 'refresh_token'
}

async function openLasting(what: string, { app }: CommandContext): Promise<Store> {
  const { lasting } = await import('../store/lasting.ts')
  return lasting(await app.secrets(true), what)
}

/** Asks for files where there is no other place for it. */
async function offerFiles(what: 'secret' | 'session', context: CommandContext): Promise<Store> {
  return openLasting(what, context).catch(async error => {
    if (!(error instanceof TokctlError) || error.code !== 'store_unavailable') throw error
    writeError(`${error.message}\n`)
    const answer = await askLine(`keep ${what}s in sealed files instead? [Y/n] `, context.signal())
    if (/^n/i.test(answer.trim())) throw error
    await chooseFiles(context)
    return openLasting(what, context)
  })
}

/** Names the store in the configuration, where it names none. */
async function chooseFiles({ app, environment, options }: CommandContext): Promise<void> {
  const [{ editConfig }, { withStore }] = await Promise.all([
    import('../profile/edit-file.ts'),
    import('../profile/edit.ts'),
  ])
  await app.whileEditing(() =>
    editConfig(environment, options.config, ({ text, config }) => {
      const changed = config?.store === 'file' ? text : withStore(text, 'file')
      if (changed !== undefined) return changed
      throw new TokctlError(
        'config_invalid',
        'the configuration names its store in a way that is not changed here',
        {
          hint: 'write kind = "file" under [store], then run: tokctl secret set NAME',
        },
      )
    }),
  )
}

async function getOnce(name: string, context: CommandContext): Promise<void> {
  const { app, clock, signal } = context
  const profile = await app.profile(name)
  const next = `next: tokctl get ${name}\n`
  if (signsIn(profile)) {
    const { offerSignIn } = await import('./login.ts')
    if ((await offerSignIn(profile, context, checkMs * 60)) === undefined)
      writeError(`next: tokctl login ${name}\n`)
    return
  }
  const { expiresAt } = await app.manager.get(profile, {}, signal)
  const life =
    expiresAt === undefined ? 'until it is refused' : `for ${formatDuration(expiresAt - clock.now())}`
  writeError(`the first token is here, good ${life}\n${next}`)
}
