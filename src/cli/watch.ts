import { TokctlError } from '../core/errors.ts'
import { readRegularFile } from '../core/read-file.ts'
import { runProgram } from '../core/run-program.ts'
import { systemClock } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { residentTokens } from '../library/resident-tokens.ts'
import type { TokenCache } from '../library/token-cache.ts'
import type { Profile } from '../profile/profile.ts'
import { scheme } from '../profile/scheme.ts'
import { refuseOtherThanFile, removeOutputFile } from '../watch/output-file.ts'
import { fileContent, fileFormats, writeTokenFile } from '../watch/token-file.ts'
import { isAlive, isOverOnArrival, reasonOf, refuseOver, type Sink, watchProfile } from '../watch/watcher.ts'
import type { CommandContext, Define } from './command.ts'
import { netrc, netrcHosts } from './netrc.ts'
import { warn } from './report.ts'
import { startEndpoints } from './watch-endpoints.ts'
import { installWatch } from './watch-install.ts'
import {
  type Asked,
  checkOptions,
  namedFiles,
  refuseUnfit,
  tokenFile,
  type WatchOptions,
} from './watch-options.ts'

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
  if (options.install !== undefined) return installWatch(names, profiles, options, context)

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
