import { randomBytes } from 'node:crypto'
import { readFileSync, unlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { ownCommand } from '../core/own-command.ts'
import { readRegularFile } from '../core/read-file.ts'
import { runProgram } from '../core/run-program.ts'
import { fileStem } from '../core/state-dir.ts'
import { systemClock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { residentTokens } from '../library/resident-tokens.ts'
import type { TokenCache } from '../library/token-cache.ts'
import type { Profile } from '../profile/profile.ts'
import { scheme } from '../profile/scheme.ts'
import { type Endpoint, readListen, startEndpoint } from '../watch/identity-endpoint.ts'
import { type IdentityKind, identityKinds, identityProtocols } from '../watch/identity-replies.ts'
import {
  type OutputFile,
  refuseOtherThanFile,
  removeOutputFile,
  writeOutputFile,
} from '../watch/output-file.ts'
import { systemdUnit } from '../watch/systemd-unit.ts'
import { fileContent, fileFormats, writeTokenFile } from '../watch/token-file.ts'
import { isAlive, isOverOnArrival, reasonOf, refuseOver, type Sink, watchProfile } from '../watch/watcher.ts'
import type { CommandContext, Define } from './command.ts'
import { writeOut } from './io.ts'
import { netrc, netrcHosts } from './netrc.ts'
import { warn } from './report.ts'

interface WatchOptions {
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

const hookMs = 30_000

/** `tokctl watch PROFILE…`: keeps tokens fresh, in files and behind local identity endpoints. */
export const define: Define = (program, run) => {
  program
    .command('watch')
    .summary('keep tokens fresh')
    .description(
      'Keeps the tokens of profiles fresh until it is ended.\nOne process at most watches a profile; a second one says so.',
    )
    // What they are is said above, and there is no room to say it twice.
    .configureHelp({ visibleArguments: () => [] })
    .argument('<profiles...>', 'profiles of the configuration')
    .option('--file <path>', 'write it there (0600); {profile} is the name')
    .option('--format <form>', `${fileFormats.join(', ')}`, fileFormats[0])
    .option('--template <text>', 'such as "{token} {expires_at}"')
    .option('--aws <host:port>', 'answer the AWS SDKs there')
    .option('--gce <host:port>', 'answer the Google SDKs there')
    .option('--azure <host:port>', 'answer the Azure SDKs there')
    .option('--variables <path>', 'write what these SDKs need to know there (0600)')
    .option('--on-change <command>', 'run this when the token is another than before')
    .option('--on-login-required <command>', 'run this when a person must sign in')
    .option('--pass-token', 'put the token into its environment, as TOKEN')
    .option('--once', 'renew what is stale, write it, and end')
    .option('--install <manager>', 'write a user unit that does this: systemd')
    .addHelpText('after', '\nExample:\n  tokctl watch corp --file ~/corp.token --once')
    .action((names: string[], options: WatchOptions) =>
      run(context => watch([...new Set(names)], options, context)),
    )
}

async function watch(
  names: readonly string[],
  options: WatchOptions,
  context: CommandContext,
): Promise<void> {
  const { app, environment } = context
  const asked = checkOptions(names, options)
  const profiles: Profile[] = []
  for (const name of names) profiles.push(await app.profile(name))
  if (options.format === 'netrc' && options.template === undefined) {
    for (const profile of profiles) netrcHosts(profile)
  }
  for (const profile of profiles) refuseUnfit(profile, options)
  for (const file of namedFiles(profiles, options, context)) refuseOtherThanFile(file)
  if (options.install !== undefined) return install(names, profiles, options, context)

  const tokens = residentTokens({
    app,
    environment,
    clock: systemClock,
    configFlag: context.options.config,
    warn: () => {},
  })
  context.renewHere(tokens.renew)
  const signal = context.signal()
  const inside = profiles.map(({ name }) => name)
  await app.whileWatching(inside, async () => {
    const outlets = profiles.map(profile => outletOf(profile, options, asked, context))
    if (options.once === true) return once(profiles, outlets, tokens, asked, context)
    const signals = ownSignals(profiles.length, signal)
    const endpoints = await startEndpoints(profiles[0]!, options, tokens, context)
    try {
      await Promise.all(
        profiles.map((profile, i) =>
          watchProfile(
            profile.name,
            {
              clock: systemClock,
              tokens,
              sink: outlets[i]!,
              warn,
              onLoginRequired: name =>
                runHook(asked.onLoginRequired, name, 'login_required', undefined, context),
            },
            signals[i]!,
          ),
        ),
      )
    } finally {
      await endpoints.close()
    }
  })
}

/** A signal for each watcher: to listen to one that many listen to takes as long as there are others, and is warned of. */
function ownSignals(n: number, signal: AbortSignal): AbortSignal[] {
  const own = Array.from({ length: n }, () => new AbortController())
  const abort = (): void => {
    for (const one of own) one.abort(signal.reason)
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return own.map(one => one.signal)
}

interface Asked {
  readonly format: (typeof fileFormats)[number]
  readonly onChange: readonly string[] | undefined
  readonly onLoginRequired: readonly string[] | undefined
}

function checkOptions(names: readonly string[], options: WatchOptions): Asked {
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

function kindsOf(options: WatchOptions): IdentityKind[] {
  return identityKinds.filter(kind => options[kind] !== undefined)
}

/** Refuses what every write, and every answer, would fail for. */
function refuseUnfit(profile: Profile, options: WatchOptions): void {
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

function tokenFile(
  { name }: Profile,
  { file }: WatchOptions,
  { environment: { cwd } }: CommandContext,
): OutputFile | undefined {
  if (file === undefined) return undefined
  return { flag: '--file', path: resolve(cwd, file.replaceAll('{profile}', name)) }
}

function variablesFile(
  { variables }: WatchOptions,
  { environment: { cwd } }: CommandContext,
): OutputFile | undefined {
  return variables === undefined ? undefined : { flag: '--variables', path: resolve(cwd, variables) }
}

function namedFiles(
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

/** A sink, and its two parts for whoever tells of some tokens alone. */
interface Outlet extends Sink {
  readonly hasFile: boolean
  /** @returns Whether the file holds something else than before; `undefined` where there is none. */
  write(token: Token): boolean | undefined
  tell(token: Token): Promise<void>
}

function outletOf(profile: Profile, options: WatchOptions, asked: Asked, context: CommandContext): Outlet {
  const { environment, clock } = context
  const file = tokenFile(profile, options, context)
  const form = {
    profile: profile.name,
    template: options.template,
    format: asked.format,
    scheme: (token: Token) => scheme(token, profile),
    netrc: (token: Token) => netrc(token, profile),
  }
  function write(token: Token): boolean | undefined {
    if (file === undefined) return undefined
    const content = Buffer.from(fileContent(token, form))
    const found = readRegularFile(file.path, content.length)
    // Also where it is the same: it may be open to others, or a link.
    writeTokenFile(file, content, environment.pid, clock.now())
    return 'failure' in found || !found.bytes.equals(content)
  }

  async function tell(token: Token): Promise<void> {
    const passed = options.passToken ? token : undefined
    await runHook(asked.onChange, profile.name, 'change', passed, context, file?.path)
  }

  return {
    hasFile: file !== undefined,
    write,
    tell,
    async publish(token) {
      write(token)
      await tell(token)
    },
    async withdraw() {
      if (file !== undefined) removeOutputFile(file)
    },
  }
}

/** What a program does wrong when it is told something is not a failure of the watch. */
async function runHook(
  command: readonly string[] | undefined,
  profile: string,
  event: 'change' | 'login_required',
  token: Token | undefined,
  { app }: CommandContext,
  file?: string,
): Promise<void> {
  if (command === undefined) return
  const env = {
    ...(await app.childEnvironment(undefined)),
    TOKCTL_PROFILE: profile,
    TOKCTL_EVENT: event,
    ...(file === undefined ? {} : { TOKCTL_FILE: file }),
    ...(token === undefined ? {} : { TOKEN: token.accessToken.expose() }),
  }
  try {
    const call = { command, env, timeoutMs: hookMs, signal: undefined, maxBytes: 1_048_576 }
    const { exitCode, killedBy } = await runProgram(call)
    if (exitCode !== 0) warn(`program "${command[0]}" ended with ${killedBy ?? `exit ${exitCode}`}`)
  } catch (error) {
    warn(reasonOf(error))
  }
}

async function once(
  profiles: readonly Profile[],
  outlets: readonly Outlet[],
  tokens: TokenCache,
  { onChange, onLoginRequired }: Asked,
  context: CommandContext,
): Promise<void> {
  const { app, clock } = context
  const results = await Promise.allSettled(
    profiles.map(async (profile, i) => {
      const { name } = profile
      const outlet = outlets[i]!
      // Without a file nothing but the cache knows what there was before this call.
      const before =
        onChange === undefined || outlet.hasFile
          ? undefined
          : await app.manager.get(profile, { cached: true }).catch(() => undefined)
      const handOn = async (token: Token): Promise<void> => {
        const isAnother = outlet.write(token) ?? before?.accessToken.equals(token.accessToken) !== true
        if (isAnother) await outlet.tell(token)
      }
      let token: Token
      try {
        token = (await tokens.fresh(name)).token
        refuseOver(name, token, clock.now())
      } catch (error) {
        if (!(error instanceof TokctlError)) throw error
        if (error.code === 'login_required')
          await runHook(onLoginRequired, name, 'login_required', undefined, context)
        // What could not be renewed may still be good. Who gave a token that was over is not asked again at once.
        const valid = isOverOnArrival(error) ? undefined : await tokens.get(name).catch(() => undefined)
        if (valid !== undefined && isAlive(valid, clock.now())) await handOn(valid)
        else await outlet.withdraw()
        throw error
      }
      await handOn(token)
    }),
  )
  const failed = results.filter(result => result.status === 'rejected').map(({ reason }) => reason as unknown)
  for (const other of failed.slice(1)) warn(reasonOf(other))
  if (failed.length > 0) throw failed[0]
}

async function startEndpoints(
  profile: Profile,
  options: WatchOptions,
  tokens: TokenCache,
  context: CommandContext,
): Promise<{ close(): Promise<void> }> {
  const { app, environment } = context
  const kinds = kindsOf(options)
  if (kinds.length === 0) return { async close() {} }
  const { pid, platform } = environment
  // Linux alone says whose a connection is.
  const uid = platform === 'linux' ? environment.uid : undefined
  const directory = app.stateDir.ensure('watch')
  const stem = fileStem(profile.name)
  const secretFile: OutputFile = { flag: 'TOKCTL_STATE_DIR', path: join(directory, `${stem}.secret`) }
  const envFile = variablesFile(options, context) ?? {
    flag: 'TOKCTL_STATE_DIR',
    path: join(directory, `${stem}.env`),
  }
  const secret = randomBytes(32).toString('base64url')
  const endpoints: Endpoint[] = []
  const variables: Record<string, string> = {}
  try {
    for (const kind of kinds) {
      const endpoint = await startEndpoint({
        protocol: identityProtocols[kind],
        profile: profile.name,
        tokens,
        clock: systemClock,
        secret,
        address: readListen(`--${kind}`, options[kind]!),
        uid,
      })
      endpoints.push(endpoint)
      Object.assign(variables, identityProtocols[kind].variables(endpoint.origin, secret, secretFile.path))
    }
    // No line feed at its end: SDKs send what is in it.
    writeOutputFile(secretFile, secret, pid)
    const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`)
    writeOutputFile(envFile, lines.join(''), pid)
  } catch (error) {
    await Promise.all(endpoints.map(endpoint => endpoint.close()))
    throw error
  }
  return {
    async close() {
      await Promise.all(endpoints.map(endpoint => endpoint.close()))
      for (const { path } of [secretFile, envFile]) removeOwn(path, secret)
    },
  }
}

// Another watch of the next minute may have put its own there.
function removeOwn(file: string, secret: string): void {
  try {
    const content = readFileSync(file, 'utf8')
    if (content.includes(secret) || !content.includes('IDENTITY_HEADER')) unlinkSync(file)
  } catch {}
}

async function install(
  names: readonly string[],
  profiles: readonly Profile[],
  options: WatchOptions,
  context: CommandContext,
): Promise<void> {
  const { env, home, pid, cwd } = context.environment
  const config = env['XDG_CONFIG_HOME']?.startsWith('/') ? env['XDG_CONFIG_HOME'] : join(home, '.config')
  // By their names inside: each project may have a profile of that name. What is after an "@" would be an instance.
  const stem = profiles.map(({ name }) => name.replace('@', '-')).join('-')
  const unit = `tokctl-watch-${stem.slice(0, 100)}.service`
  const file: OutputFile = { flag: 'XDG_CONFIG_HOME', path: join(config, 'systemd', 'user', unit) }
  writeOutputFile(file, systemdUnit(names, commandOf(names, options, context), env, cwd), pid)
  writeOut(`systemctl --user enable --now ${unit}\n`)
}

/** The same command line without `--install`, its paths whole ones. */
function commandOf(
  names: readonly string[],
  options: WatchOptions,
  { environment, options: { config, verbose } }: CommandContext,
): string[] {
  const whole = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : resolve(environment.cwd, path)
  const told = (flag: string, value: string | undefined): string[] =>
    value === undefined ? [] : [flag, value]
  const { file, format, template, aws, gce, azure, variables, onChange, onLoginRequired, passToken } = options
  return [
    ...ownCommand(environment),
    ...told('--config', whole(config)),
    ...(verbose ? ['--verbose'] : []),
    'watch',
    ...names,
    ...told('--file', whole(file)),
    ...told('--format', format === fileFormats[0] ? undefined : format),
    ...told('--template', template),
    ...told('--aws', aws),
    ...told('--gce', gce),
    ...told('--azure', azure),
    ...told('--variables', whole(variables)),
    ...told('--on-change', onChange),
    ...told('--on-login-required', onLoginRequired),
    ...(passToken === true ? ['--pass-token'] : []),
  ]
}
