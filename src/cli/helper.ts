import type { Credential } from '../core/credential.ts'
import { TokctlError } from '../core/errors.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import type { Token } from '../core/token.ts'
import type { Profile } from '../profile/profile.ts'
import { scheme } from '../profile/scheme.ts'
import type { Ask, Grant, Input, Outcome, Protocol, Reply } from '../protocol/protocol.ts'
import { protocols } from '../protocol/protocols.ts'
import type { CommandContext, Define, Work } from './command.ts'
import { readBytes, readLines, writeOut } from './io.ts'

// Another tool asks: nobody is prompted, no browser opens, and stderr stays empty unless it fails.

declare const __VERSION__: string

const maxInputBytes = 4 << 20

/** `tokctl helper PROTOCOL …`: speaks another tool's credential protocol. */
export const define: Define = (program, run) => {
  program
    .command('helper')
    .summary('answer another tool')
    .description(`Answers another tool in its own words: ${Object.keys(protocols).join(', ')}.`)
    .argument('<protocol>', 'the tool that asks')
    .argument('[words...]', 'what that tool says; a profile for kubectl, aws, gcp and pnpm')
    .allowUnknownOption()
    .addHelpText(
      'after',
      `
helper git --store also keeps what git asks people for, where no profile
matches, for --timeout 8h at most; helper git --store list tells where.

To make a tool ask, run tokctl setup TOOL.

Example:
  tokctl helper kubectl corp`,
    )
    .action((name: string, args: string[]) => run(speak(name, args)))
}

/** The work of `tokctl helper`: reads what the tool says on stdin and answers it. */
export function speak(name: string, args: readonly string[]): Work {
  return async context => {
    const { protocol } = await find(name)
    const { env } = context.environment
    const ask = (stdin: string): Promise<Reply> =>
      answer(protocol, { args, stdin, env, version: __VERSION__ }, context)
    const greeting = protocol.greeting?.(args)
    if (greeting === undefined) {
      // What is not UTF-8 becomes a character that no token, host or user has.
      const reads = protocol.reads(args)
      const isWhole = reads === 'to_blank_line' ? endsBlank : undefined
      const stdin = reads ? readBytes(maxInputBytes, isWhole).toString('utf8') : ''
      const { stdout, exitCode, file } = await ask(stdin)
      if (file !== undefined) await keep(file, context.environment)
      writeOut(stdout)
      context.exitWith(exitCode)
      return
    }
    writeOut(greeting)
    for (const line of readLines(maxInputBytes)) {
      if (line.trim() !== '') writeOut((await ask(line)).stdout)
    }
  }
}

function endsBlank(bytes: Buffer): boolean {
  return bytes.includes('\n\n') || bytes.includes('\n\r\n')
}

async function keep(
  { path, content, needed }: NonNullable<Reply['file']>,
  { pid }: CommandContext['environment'],
): Promise<void> {
  const { writeFileAtomic } = await import('../core/atomic-file.ts')
  try {
    writeFileAtomic(path, content, pid)
  } catch (error) {
    // Without it the tool merely asks again, unless it looks nowhere else.
    if (!needed) return
    const { code } = error as NodeJS.ErrnoException
    throw new TokctlError('output_failed', `cannot write "${path}" (${code})`)
  }
}

async function find(name: string): Promise<{ readonly protocol: Protocol }> {
  const load = Object.hasOwn(protocols, name) ? protocols[name] : undefined
  if (load !== undefined) return load()
  throw new TokctlError('usage', `helper: "${name.slice(0, 40)}" is no protocol that is spoken here`, {
    hint: `write one of: ${Object.keys(protocols).join(', ')}`,
  })
}

async function answer(protocol: Protocol, input: Input, context: CommandContext): Promise<Reply> {
  const ask = protocol.decode(input)
  if (ask.kind === 'answered') return ask.reply
  try {
    if (ask.kind === 'list') return protocol.encodeList!(await atHand(context), ask)
    if (ask.kind === 'places') return protocol.encodePlaces!((await context.app.credentials()).places())
    const outcome = await settle(ask, context)
    if (typeof outcome === 'object' && 'found' in outcome) return protocol.encodeKept!(outcome.found, ask)
    return protocol.encode(outcome, ask)
  } catch (error) {
    // Nothing but what was foreseen can be told in another tool's words.
    if (!(error instanceof TokctlError) || error.code === 'interrupted' || error.code === 'terminated')
      throw error
    return protocol.encode(error, ask)
  }
}

type Settled = Exclude<Ask, { readonly kind: 'answered' | 'list' | 'places' }>

async function settle(
  ask: Settled,
  context: CommandContext,
): Promise<Outcome | { readonly found: Credential }> {
  const { app, signal } = context
  const profile = await meant(ask, context)
  if (profile === undefined) return settleWithout(ask, context)
  switch (ask.kind) {
    case 'reject':
      if (ask.secret !== undefined) {
        await app.manager.reject(profile, ask.secret, defaultTimeoutMs, signal())
      }
      return 'done'
    case 'keep':
      // Ours comes back to us, and another one would never be asked for.
      return 'done'
    case 'store': {
      const kept = await keptToken(profile, app.manager)
      if (kept?.accessToken.equals(ask.secret)) return 'done'
      const message = `the token for this place comes from profile "${profile.name}"; another one is not kept`
      throw new TokctlError('usage', message, { profile: profile.name })
    }
    case 'get': {
      // A hit needs none: to listen to signals costs more than to read it.
      const token = await app.manager.get(profile, {}, signal)
      if (ask.refused !== `${token.obtainedAt}`) return grantOf(profile, token)
      await app.manager.reject(profile, token.accessToken, defaultTimeoutMs, signal())
      return grantOf(profile, await app.manager.get(profile, {}, signal))
    }
  }
}

async function meant(
  ask: Settled,
  { app, environment, options }: CommandContext,
): Promise<Profile | undefined> {
  const { of } = ask
  try {
    if ('url' in of) return await app.profileFor(of.url, ask.kind === 'store' ? undefined : ask.user)
    return await app.profile(of.profile)
  } catch (error) {
    // To keep what other tools hand over takes no profile, and so no configuration; one that is named must be there.
    const isNamed = options.config !== undefined || environment.env['TOKCTL_CONFIG']
    const keeps = ask.kind === 'keep' || (ask.kind !== 'store' && ask.kept !== undefined)
    if (keeps && !isNamed && error instanceof TokctlError && error.code === 'config_not_found')
      return undefined
    throw error
  }
}

async function settleWithout(
  ask: Settled,
  { app, clock }: CommandContext,
): Promise<Outcome | { readonly found: Credential }> {
  if (ask.kind === 'keep') {
    const { credential, forMs } = ask
    const until = Math.min(credential.expiresAt ?? Number.POSITIVE_INFINITY, clock.now() + (forMs ?? 0))
    const limited = forMs === undefined ? credential : { ...credential, expiresAt: until }
    await (await app.credentials()).keep(limited)
    return 'done'
  }
  if (ask.kind === 'store' || ask.kept === undefined) return 'not_mine'
  const credentials = await app.credentials()
  if (ask.kind === 'get') {
    const found = await credentials.find(ask.kept)
    return found === undefined ? 'not_mine' : { found }
  }
  await credentials.forget(ask.kept)
  return 'done'
}

/** What a tool may have without a request: the tokens that are kept, of the profiles that match something. */
async function atHand({ app }: CommandContext): Promise<Grant[]> {
  const grants: Grant[] = []
  for (const profile of (await app.config()).profiles.values()) {
    if (profile.match.length === 0) continue
    const token = await keptToken(profile, app.manager)
    if (token !== undefined) grants.push(grantOf(profile, token))
  }
  return grants
}

async function keptToken(
  profile: Profile,
  manager: CommandContext['app']['manager'],
): Promise<Token | undefined> {
  try {
    return await manager.get(profile, { cached: true })
  } catch (error) {
    if (error instanceof TokctlError) return undefined
    throw error
  }
}

function grantOf(profile: Profile, token: Token): Grant {
  return { token, scheme: scheme(token, profile), username: profile.username, match: profile.match }
}
