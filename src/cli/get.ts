import { TokctlError } from '../core/errors.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import { type EpochMs, formatInstant } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import type { Profile } from '../profile/profile.ts'
import { scheme } from '../profile/scheme.ts'
import { type Define, durationOption, type Work } from './command.ts'
import { writeOut } from './io.ts'
import { defaultOutput } from './plain-get.ts'

/** What `get` can print. */
export const outputs = ['token', 'header', 'json', 'curl', 'netrc', 'env'] as const
type Output = (typeof outputs)[number]

/** As they were written. */
export interface GetOptions {
  readonly output: string
  readonly force?: boolean
  readonly cached?: boolean
  readonly minValidity?: string
  readonly timeout?: string
}

/** `tokctl get PROFILE`: prints the token and one LF, nothing else. */
export const define: Define = (program, run) => {
  program
    .command('get')
    .summary('print an access token')
    .description('Prints the access token of a profile and one line feed, nothing else.')
    .argument('<profile>', 'a profile of the configuration')
    .option('-o, --output <form>', `what to print: ${outputs.join(', ')}`, defaultOutput)
    .option('--force', 'ask for a new token, however good the kept one is')
    .option('--cached', 'never touch the network; fail when nothing usable is kept')
    .option('--min-validity <duration>', 'the token must live at least this long')
    .option('--timeout <duration>', 'for the whole call, waiting included (default: 30s)')
    .addHelpText('after', '\nExample:\n  tokctl get corp -o header | curl -H @- https://api.example.com/')
    .action((name: string, options: GetOptions) => run(printToken(name, options)))
}

/** The work of `get`. */
export function printToken(name: string, options: GetOptions): Work {
  return async context => {
    const { app, clock, signal } = context
    const output = options.output as Output
    if (!outputs.includes(output)) {
      throw new TokctlError('usage', `--output: "${options.output.slice(0, 40)}" is not a form of output`, {
        hint: `write one of: ${outputs.join(', ')}`,
      })
    }
    if (options.force && options.cached) {
      throw new TokctlError('usage', '--force asks for a new token and --cached forbids it', {
        hint: 'leave one of them out',
      })
    }
    const minValidityMs =
      options.minValidity === undefined ? undefined : durationOption('--min-validity', options.minValidity)
    const timeoutMs =
      options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout)
    const profile = await app.profile(name)
    const ask = {
      force: options.force === true,
      cached: options.cached === true,
      minValidityMs,
      timeoutMs,
    }
    const token = await app.manager.get(profile, ask, signal).catch(async error => {
      if (!(error instanceof TokctlError) || error.code !== 'login_required') throw error
      const { offerSignIn } = await import('./login.ts')
      const signedIn = await offerSignIn(profile, context, timeoutMs)
      if (signedIn === undefined) throw error
      return signedIn
    })
    writeOut(await print(token, profile, output, clock.now()))
  }
}

async function print(token: Token, profile: Profile, output: Output, now: EpochMs): Promise<string> {
  if (token.members !== undefined && output !== 'token') {
    const { printMembers } = await import('./print-members.ts')
    return printMembers(token.members, profile, output, lifeOf(token, now))
  }
  const value = token.accessToken.expose()
  switch (output) {
    case 'token':
      return `${value}\n`
    case 'header':
      return `Authorization: ${scheme(token, profile)} ${value}\n`
    case 'curl':
      // A curl configuration file: quotes and backslashes are escaped in double quotes.
      return `header = "Authorization: ${scheme(token, profile)} ${value.replace(/["\\]/g, '\\$&')}"\n`
    case 'netrc':
      return (await import('./netrc.ts')).netrc(token, profile)
    case 'json':
      return json(token, profile, now)
    case 'env':
      return `export TOKEN='${value.replaceAll("'", `'\\''`)}'\n`
  }
}

async function json(token: Token, profile: Profile, now: EpochMs): Promise<string> {
  const { dpopKey } = token
  const shown = {
    profile: profile.name,
    access_token: token.accessToken.expose(),
    token_type: token.tokenType,
    scope: token.scope ?? null,
    ...lifeOf(token, now),
  }
  if (dpopKey === undefined) return `${JSON.stringify(shown)}\n`
  const { jwkThumbprint } = await import('../source/dpop.ts')
  return `${JSON.stringify({ ...shown, jkt: jwkThumbprint(dpopKey) })}\n`
}

/** How long a token lives, as `-o json` tells it. */
export function lifeOf(
  { expiresAt, obtainedAt }: Token,
  now: EpochMs,
): Record<string, string | number | null> {
  return {
    expires_at: expiresAt === undefined ? null : formatInstant(expiresAt),
    expires_in: expiresAt === undefined ? null : Math.max(0, Math.floor((expiresAt - now) / 1000)),
    obtained_at: formatInstant(obtainedAt),
  }
}
