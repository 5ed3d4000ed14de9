import type { Command } from 'commander'
import { TokctlError } from '../core/errors.ts'
import { type EpochMs, formatDuration, formatInstant } from '../core/time.ts'
import type { Token } from '../core/token.ts'
import { type Profile, signsIn } from '../profile/profile.ts'
import { type CommandContext, durationOption, type Run } from './command.ts'
import { writeOut } from './io.ts'

const defaultTimeoutMs = 30_000

/** `tokctl profile test NAME`: fetches once, shows what came, and keeps none of it. */
export function defineTest(profile: Command, run: Run): void {
  profile
    .command('test')
    .summary('fetch a token once and show what it is like')
    .description(
      'Fetches a token once, shows its type, lifetime and scopes and how far the clocks differ, and keeps nothing. The token itself is not shown.',
    )
    .argument('<profile>', 'a profile of the configuration')
    .option('--json', 'for programs')
    .option('--timeout <duration>', 'for the whole call (default: 30s)')
    .addHelpText('after', '\nExample:\n  tokctl profile test corp')
    .action((name: string, options: { json?: boolean; timeout?: string }) =>
      run(async context => {
        const timeoutMs =
          options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout)
        const result = await fetchOnce(await context.app.profile(name), context, timeoutMs)
        writeOut(options.json ? `${JSON.stringify(asJson(name, result))}\n` : asText(name, result))
      }),
    )
}

interface Result {
  readonly token: Token
  /** How far the server's clock is ahead of ours; `undefined` where no server told the time. */
  readonly aheadMs: number | undefined
  readonly now: EpochMs
}

async function fetchOnce(
  profile: Profile,
  { app, clock, signal }: CommandContext,
  timeoutMs: number,
): Promise<Result> {
  refuse(profile)
  let aheadMs: number | undefined
  const source = await app.source(profile, ahead => {
    aheadMs = ahead
  })
  try {
    const token = await source.fetch({ timeoutMs, signal: signal() })
    return { token, aheadMs, now: clock.now() }
  } catch (error) {
    throw error instanceof TokctlError ? error.of(profile.name) : error
  }
}

function refuse(profile: Profile): void {
  const { source, name } = profile
  if (signsIn(profile)) {
    throw new TokctlError('login_required', `profile "${name}" needs a sign-in, and a test keeps none`, {
      hint: `run: tokctl login ${name}`,
      profile: name,
    })
  }
  if (source === 'refresh_token') {
    // Its successor would be lost, and with it the session.
    throw new TokctlError('usage', `a test would use up the refresh token of profile "${name}"`, {
      hint: `run: tokctl get ${name}`,
      profile: name,
    })
  }
}

function asText(name: string, { token, aheadMs, now }: Result): string {
  const { expiresAt } = token
  const rows: [label: string, value: string][] = [
    ['profile', name],
    ['token type', token.tokenType],
    [
      'lifetime',
      expiresAt === undefined
        ? 'not told: served until it is refused'
        : `${formatDuration(wholeSeconds(expiresAt - now))}, until ${formatInstant(expiresAt)}`,
    ],
    ['scope', token.scope ?? 'not told'],
    ['clock', clockText(aheadMs)],
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}\n`).join('')
}

function clockText(aheadMs: number | undefined): string {
  if (aheadMs === undefined) return 'not told'
  if (aheadMs === 0) return "as the server's"
  const apart = formatDuration(Math.max(1000, wholeSeconds(Math.abs(aheadMs))))
  return `${apart} ${aheadMs > 0 ? 'behind' : 'ahead of'} the server's`
}

function wholeSeconds(ms: number): number {
  return Math.max(0, Math.round(ms / 1000) * 1000)
}

function asJson(name: string, { token, aheadMs, now }: Result): Record<string, unknown> {
  const { expiresAt } = token
  return {
    profile: name,
    token_type: token.tokenType,
    scope: token.scope ?? null,
    expires_at: expiresAt === undefined ? null : formatInstant(expiresAt),
    expires_in: expiresAt === undefined ? null : wholeSeconds(expiresAt - now) / 1000,
    server_ahead: aheadMs === undefined ? null : Math.round(aheadMs / 1000),
  }
}
