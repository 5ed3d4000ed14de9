import { dirname, resolve } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { heldFiles, realPath } from '../profile/held-files.ts'
import { loadConfig } from '../profile/load.ts'
import { parsePattern } from '../profile/match.ts'
import type { Profile } from '../profile/profile.ts'
import {
  findProject,
  isTrusted,
  projectFileName,
  projectProfiles,
  readProject,
  references,
  trust,
  untrust,
} from '../profile/project.ts'
import { shownPath } from '../profile/shown-path.ts'
import type { CommandContext, Define } from './command.ts'
import { isTerminal, writeError } from './io.ts'
import { askLine } from './prompt.ts'

interface TrustOptions {
  readonly yes?: boolean
}

/** `tokctl trust [FILE]`: shows what a project's file would do, and asks. */
export const define: Define = (program, run) => {
  program
    .command('trust')
    .summary("trust a project's file")
    .description(
      'Shows what the .tokctl.toml of a project would do, and asks whether it is to count. Its place and its very bytes are trusted, and what it runs of the project: whoever edits it asks again. Until then it has no effect at all.',
    )
    .argument('[file]', 'the file; the one of the project that this directory is in')
    .option('--yes', 'do not ask, for scripts')
    .addHelpText('after', '\nExample:\n  tokctl trust ./.tokctl.toml')
    .action((file: string | undefined, options: TrustOptions) =>
      run(context => confirm(file, options.yes === true, context)),
    )
}

/** `tokctl untrust [FILE]`: takes it back. */
export const defineUntrust: Define = (program, run) => {
  program
    .command('untrust')
    .summary('end that trust')
    .description('Takes back what "tokctl trust" confirmed; also for a file that is gone.')
    .argument('[file]', 'the file; the one of the project that this directory is in')
    .addHelpText('after', '\nExample:\n  tokctl untrust ./.tokctl.toml')
    .action((file: string | undefined) =>
      run(async ({ app, environment }) => {
        await untrust(place(file, environment), app.stateDir)
      }),
    )
}

function place(file: string | undefined, environment: CommandContext['environment']): string {
  const path = file === undefined ? findProject(environment) : resolve(environment.cwd, file)
  if (path === undefined) {
    throw new TokctlError('usage', `no ${projectFileName} here, nor above up to the root of the repository`, {
      hint: 'name one: tokctl trust FILE',
    })
  }
  return path
}

async function confirm(file: string | undefined, isSure: boolean, context: CommandContext): Promise<void> {
  const { app, environment, options } = context
  const path = place(file, environment)
  // Read once: what is shown is what is trusted, whatever becomes of the file meanwhile.
  const source = readProject(path, environment)
  const shown = shownPath(path, environment.home)
  if (!path.endsWith(`/${projectFileName}`) && !path.endsWith(`\\${projectFileName}`)) {
    throw new TokctlError('usage', `${shown} is not called ${projectFileName}, so no project would read it`, {
      hint: `run: mv FILE ${projectFileName}`,
    })
  }
  const profiles = [...(await projectProfiles(source, environment)).values()]
  const own = await loadConfig({ ...environment, cwd: environment.home }, app.stateDir, options.config).catch(
    error => {
      if (error instanceof TokctlError && error.code === 'config_not_found') return undefined
      throw error
    },
  )
  const twin = profiles.map(bareName).find(name => own?.profiles.has(name))
  if (twin !== undefined) {
    throw new TokctlError(
      'config_invalid',
      `${shown}: profile "${twin}" is one of your own, which always comes first`,
      {
        hint: 'give it another name in the project',
      },
    )
  }
  if (await isTrusted(source, app.stateDir, environment)) {
    writeError(`${shown} is trusted as it is\n`)
    return
  }
  // Before it is shown: a link that is turned while the question stands is not the one that was shown.
  const held = await heldFiles(path, profiles)
  const known = new Set([...(own?.profiles.values() ?? [])].flatMap(addresses).map(originOf))
  writeError(
    `${[`${shown}:`, ...profiles.flatMap(profile => lines(profile, known, path, context))].join('\n')}\n`,
  )
  if (!isSure && !(await isAgreed(context))) {
    writeError('not trusted\n')
    context.exitWith(1)
    return
  }
  await trust(source, held, app.stateDir, environment)
}

async function isAgreed({ options, signal }: CommandContext): Promise<boolean> {
  if (!options.input || !(await isTerminal(0)) || !(await isTerminal(2))) {
    throw new TokctlError('usage', 'nobody is here to confirm it, so it is not trusted', {
      hint: 'look at it, then run: tokctl trust --yes',
    })
  }
  const answer = await askLine('trust this file, as it is now? [y/N] ', signal())
  return /^y(es)?$/i.test(answer.trim())
}

function bareName({ name }: Profile): string {
  return name.slice(0, name.lastIndexOf('@'))
}

const addressKeys = /^(?:issuer|url|api_url|.*_endpoint)$/

function addresses(profile: Profile): string[] {
  return Object.entries(profile).flatMap(([key, value]) =>
    addressKeys.test(key) && typeof value === 'string' ? [value] : [],
  )
}

function originOf(address: string): string {
  const url = parsePattern(address.replace(/[?#].*$/, ''))
  return 'problem' in url ? address : `${url.scheme}://${url.host}:${url.port}`
}

/** Everything that such a file can make happen, each thing a line. */
function lines(
  profile: Profile,
  known: ReadonlySet<string>,
  path: string,
  { environment }: CommandContext,
): string[] {
  const told: string[] = []
  const keys = profile as unknown as Readonly<Record<string, unknown>>
  if (profile.source === 'command') {
    told.push(`runs: ${words(profile.command)}`)
    for (const name of profile.pass_env ?? []) told.push(`gives that program the variable ${whole(name)}`)
  }
  for (const ref of references(profile)) {
    if ('command' in ref) told.push(`runs: ${words(ref.command)}`)
    else if ('env' in ref) told.push(`reads the variable ${whole(ref.env)}`)
    else if ('file' in ref) told.push(`reads the file ${shownFile(ref.file, path, environment.home)}`)
    else if ('secret' in ref)
      told.push(`reads the secret ${ref.secret}, kept with: tokctl secret set ${ref.secret}`)
  }
  if (profile.source === 'ci') {
    told.push("takes the CI job's own identity token")
    if (profile.token_env !== undefined) told.push(`reads the variable ${whole(profile.token_env)}`)
    if (profile.token_file !== undefined)
      told.push(`reads the file ${shownFile(profile.token_file, path, environment.home)}`)
  }
  if (keys['key_file'] !== undefined && keys['token_endpoint'] === undefined)
    told.push('sends to the token_uri that its key file names, whatever that says by then')
  for (const address of new Set(addresses(profile))) {
    const isKnown = known.has(originOf(address))
    told.push(`sends to ${whole(address)}${isKnown ? '' : ', which your own configuration does not name'}`)
  }
  if (typeof keys['ca_file'] === 'string')
    told.push(`trusts the authorities of ${shownFile(keys['ca_file'], path, environment.home)}`)
  for (const url of profile.match) told.push(`its token goes to ${whole(url)}`)
  return [`  ${bareName(profile)} (${profile.source})`, ...told.map(text => `    ${text}`)]
}

// Whole, however long: what is cut off is where one would hide something. And nothing that is not what it looks like.
function whole(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function words(command: readonly string[]): string {
  return command.map(word => (/^[\w@%+=:,./~-]+$/.test(word) ? word : whole(JSON.stringify(word)))).join(' ')
}

// A link that the project brings may lead anywhere, and elsewhere tomorrow.
function shownFile(file: string, project: string, home: string): string {
  const real = realPath(file)
  const isInside = real.startsWith(`${realPath(dirname(project))}/`)
  const target = real === file ? '' : `, a link to ${shownPath(real, home)}`
  return `${shownPath(file, home)}${target}${isInside ? '' : ', outside the project'}`
}
