import { TokctlError } from '../core/errors.ts'
import { formatInstant } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { type DeviceCodeProfile, type Profile, type SignInProfile, signsIn } from '../profile/profile.ts'
import { type CommandContext, type Define, durationOption } from './command.ts'
import { isTerminal, writeError } from './io.ts'
import { makePerson } from './person.ts'
import { askLine } from './prompt.ts'

/** A forgotten browser tab must not hold the lease for ever; another device takes longer to find, and its code ends by itself. */
const defaultLoginMs = { authorization_code: 300_000, device_code: 900_000 } as const

/** `tokctl login PROFILE`: signs a person in. Everything is told on stderr; stdout stays empty. */
export const define: Define = (program, run) => {
  program
    .command('login')
    .summary('sign in')
    .description(
      'Signs in and keeps the session. The address and the code are shown on stderr; stdout stays empty.',
    )
    .argument('<profile>', 'a profile of the configuration')
    .option('--device', 'show a code for another device instead of opening a browser here')
    .option('--no-browser', 'show the address instead of opening it')
    .option('--timeout <duration>', 'for the whole sign-in (default: 5m, on another device 15m)')
    .addHelpText('after', '\nExample:\n  tokctl login corp --no-browser')
    .action((name: string, options: { device?: boolean; browser: boolean; timeout?: string }) =>
      run(async context => {
        const given = options.timeout === undefined ? undefined : durationOption('--timeout', options.timeout)
        const profile = signInProfile(await context.app.profile(name), options.device === true)
        const timeoutMs = given ?? defaultLoginMs[profile.source]
        await signIn(profile, context, options.browser, timeoutMs)
      }),
    )
}

/**
 * Offers a person at a terminal to sign in now. Where any of the three streams is a pipe, nobody is asked: whoever reads it
 * waits for a token, not for a person.
 *
 * @param timeoutMs - How long the answer is waited for.
 * @returns The token, or `undefined` where nobody is there or the answer is no.
 */
export async function offerSignIn(
  profile: Profile,
  context: CommandContext,
  timeoutMs: number,
): Promise<Token | undefined> {
  const { options, clock } = context
  if (!signsIn(profile) || !options.input || options.jsonErrors) return undefined
  for (const stream of [0, 1, 2] as const) if (!(await isTerminal(stream))) return undefined
  const given = new AbortController()
  const signal = AbortSignal.any([context.signal(), given.signal])
  clock.sleep(timeoutMs, given.signal).then(() => given.abort())
  try {
    const question = `profile "${profile.name}" needs a sign-in; sign in now? [y/N] `
    if (!/^y(es)?$/i.test((await askLine(question, signal)).trim())) return undefined
  } catch (error) {
    if (context.signal().aborted) throw error
    return undefined
  } finally {
    given.abort()
  }
  return signIn(profile, context, true, defaultLoginMs[profile.source])
}

async function signIn(
  profile: SignInProfile,
  { app, environment, signal }: CommandContext,
  browser: boolean,
  timeoutMs: number,
): Promise<Token> {
  const at = profile.issuer ?? profile.token_endpoint ?? ''
  const scope = profile.scope === undefined ? '' : `, scope "${profile.scope}"`
  writeError(`signing in at ${at} as client "${profile.client_id ?? ''}"${scope}\n`)
  const env = await app.childEnvironment(undefined)
  const person = await makePerson({ environment: { ...environment, env }, browser })
  const token = await app.manager.login(profile, person, timeoutMs, signal())
  const until =
    token.expiresAt === undefined ? 'until it is refused' : `until ${formatInstant(token.expiresAt)}`
  const then =
    token.refreshToken === undefined
      ? 'the server gave no refresh token, so a new sign-in is needed then'
      : 'it is renewed by itself from then on'
  writeError(`signed in: the token is good ${until}; ${then}\nnext: tokctl get ${profile.name}\n`)
  return token
}

function signInProfile(profile: Profile, onDevice: boolean): SignInProfile {
  if (!signsIn(profile)) {
    throw new TokctlError(
      'usage',
      `profile "${profile.name}" needs no sign-in: its source is ${profile.source}`,
      {
        hint: `run: tokctl get ${profile.name}`,
      },
    )
  }
  if (!onDevice || profile.source === 'device_code') return profile
  const { authorization_endpoint: _, redirect_port: __, ...rest } = profile
  const device: DeviceCodeProfile = { ...rest, source: 'device_code' }
  return device
}
