import { resolve } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import type { Profile } from '../profile/profile.ts'
import { readListen } from '../watch/identity-endpoint.ts'
import { type IdentityKind, identityKinds, identityProtocols } from '../watch/identity-replies.ts'
import type { OutputFile } from '../watch/output-file.ts'
import { fileFormats } from '../watch/token-file.ts'
import type { CommandContext } from './command.ts'

/** What `tokctl watch` was told, as it was written. */
export interface WatchOptions {
  readonly file?: string
  readonly format: string
  readonly template?: string
  readonly aws?: string
  readonly gce?: string
  readonly azure?: string
  // Not --env-file: Node 20 takes that for its own wherever it stands.
  readonly variables?: string
  readonly onChange?: string
  readonly onLoginRequired?: string
  readonly passToken?: boolean
  readonly once?: boolean
  readonly install?: string
}

/** What is read from it. */
export interface Asked {
  readonly format: (typeof fileFormats)[number]
  readonly onChange: readonly string[] | undefined
  readonly onLoginRequired: readonly string[] | undefined
}

/** @throws {TokctlError} `usage` */
export function checkOptions(names: readonly string[], options: WatchOptions): Asked {
  const format = fileFormats.find(known => known === options.format)
  if (format === undefined) {
    throw new TokctlError('usage', `--format: "${options.format.slice(0, 40)}" is not a form of file`, {
      hint: `write one of: ${fileFormats.join(', ')}`,
    })
  }
  if (options.install !== undefined && options.install !== 'systemd') {
    throw new TokctlError('usage', `--install: "${options.install.slice(0, 40)}" is not known`, {
      hint: 'write --install systemd',
    })
  }
  if (options.install !== undefined && options.once === true) {
    throw new TokctlError('usage', '--install: a unit that runs --once would end at once', {
      hint: 'leave --once out: the unit keeps the tokens fresh',
    })
  }
  if (options.file !== undefined && names.length > 1 && !options.file.includes('{profile}')) {
    throw new TokctlError('usage', '--file: several profiles cannot share one file', {
      hint: 'write {profile} where its name is to stand: --file DIR/{profile}',
    })
  }
  const [kind] = kindsOf(options)
  for (const kind of kindsOf(options)) readListen(`--${kind}`, options[kind]!)
  if (kind !== undefined && names.length > 1) {
    throw new TokctlError('usage', `--${kind}: an endpoint answers with one profile's tokens`, {
      hint: `run one watch for each: tokctl watch ${names[0]} --${kind} ${options[kind]}`,
    })
  }
  if (kind !== undefined && options.once === true) {
    throw new TokctlError('usage', `--${kind}: with --once there is nobody who answers`, {
      hint: `leave one of them out: tokctl watch ${names[0]} --${kind} ${options[kind]}`,
    })
  }
  if (options.variables !== undefined && kind === undefined) {
    throw new TokctlError('usage', '--variables: there is no endpoint that they could be of', {
      hint: 'add --aws, --gce or --azure 127.0.0.1:PORT, or leave it out',
    })
  }
  if (options.passToken === true && options.onChange === undefined) {
    throw new TokctlError('usage', '--pass-token: there is no command to pass it to', {
      hint: 'add --on-change COMMAND, or leave it out',
    })
  }
  return {
    format,
    onChange: readCommand('--on-change', options.onChange),
    onLoginRequired: readCommand('--on-login-required', options.onLoginRequired),
  }
}

/** The endpoints that were asked for. */
export function kindsOf(options: WatchOptions): IdentityKind[] {
  return identityKinds.filter(kind => options[kind] !== undefined)
}

/** Refuses what every write, and every answer, would fail for. @throws {TokctlError} `config_invalid` */
export function refuseUnfit(profile: Profile, options: WatchOptions): void {
  const { name } = profile
  const members = 'members' in profile ? Object.keys(profile.members ?? {}) : undefined
  for (const kind of kindsOf(options)) {
    const unfit = identityProtocols[kind].unfit(members)
    if (unfit === undefined) continue
    const message = `--${kind}: profile "${name}" ${unfit.why}`
    throw new TokctlError('config_invalid', message, { hint: unfit.hint, profile: name })
  }
  if (members === undefined || options.template !== undefined || options.format === 'token') return
  const message = `--format: profile "${name}" yields named members, which "${options.format}" has no room for`
  throw new TokctlError('config_invalid', message, {
    hint: 'write --format token, which holds them all as JSON',
    profile: name,
  })
}

function readCommand(flag: string, text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined
  const words = text.trimStart().startsWith('[')
    ? readWords(text)
    : text.split(/\s+/).filter(word => word !== '')
  if (words !== undefined && words.length > 0 && words[0] !== '') return words
  throw new TokctlError('usage', `${flag}: no command is named`, {
    hint: `write ${flag} "PROGRAM ARGUMENT", or ${flag} '["PROGRAM", "an argument"]'`,
  })
}

function readWords(text: string): string[] | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return Array.isArray(found) && found.every(word => typeof word === 'string') ? found : undefined
  } catch {
    return undefined
  }
}

/** Where the token of a profile goes; `undefined` for nowhere. */
export function tokenFile(
  { name }: Profile,
  { file }: WatchOptions,
  { environment: { cwd } }: CommandContext,
): OutputFile | undefined {
  if (file === undefined) return undefined
  return { flag: '--file', path: resolve(cwd, file.replaceAll('{profile}', name)) }
}

/** Where the variables of the endpoints go, where that was said. */
export function variablesFile(
  { variables }: WatchOptions,
  { environment: { cwd } }: CommandContext,
): OutputFile | undefined {
  return variables === undefined ? undefined : { flag: '--variables', path: resolve(cwd, variables) }
}

/** All files that were named. */
export function namedFiles(
  profiles: readonly Profile[],
  options: WatchOptions,
  context: CommandContext,
): OutputFile[] {
  const files = [
    ...profiles.map(profile => tokenFile(profile, options, context)),
    variablesFile(options, context),
  ]
  return files.filter(file => file !== undefined)
}
