import { type App, timingOf } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { isInForce } from '../core/freshness.ts'
import type { Outcome } from '../core/outcome.ts'
import { type EpochMs, formatDuration, formatInstant } from '../core/time.ts'
import type { Profile } from '../profile/profile.ts'
import { coloursOf } from './colour.ts'
import type { Define } from './command.ts'
import { writeOut } from './io.ts'

/** What can be said of a profile without asking the keychain. */
type State = 'fresh' | 'stale' | 'expired' | 'absent' | 'failing' | 'refused' | 'login_required'

interface Row {
  readonly profile: string
  readonly source: string
  readonly state: State
  readonly store: string | undefined
  readonly expiresAt: EpochMs | undefined
  readonly refreshAt: EpochMs | undefined
  readonly obtainedAt: EpochMs | undefined
  readonly failure: string | undefined
  readonly failureCode: string | undefined
  readonly nextAttemptAt: EpochMs | undefined
}

/** `tokctl status [PROFILE]`: what is known of each profile, from the outcome files alone. */
export const define: Define = (program, run) => {
  program
    .command('status')
    .summary('show what is known of each token')
    .description('Shows each profile with the state of its token. Asks neither the keychain nor the network.')
    .argument('[profile]', 'one profile only')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExample:\n  tokctl status --json')
    .action((name: string | undefined, options: { json?: boolean }) =>
      run(async ({ app, clock, environment }) => {
        const profiles =
          name === undefined ? [...(await app.config()).profiles.values()] : [await app.profile(name)]
        const rows = profiles.map(profile => rowOf(profile, app, environment, clock.now()))
        writeOut(
          options.json
            ? `${JSON.stringify({ profiles: rows.map(asJson) })}\n`
            : await table(rows, clock.now(), environment.env),
        )
      }),
    )
}

function rowOf(profile: Profile, app: App, environment: Environment, now: EpochMs): Row {
  const found = app.outcomes.read(profile.name)
  const outcome = found?.binding === profile.binding ? found : undefined
  const failure = outcome?.failure
  const until = failure?.until
  return {
    profile: profile.name,
    source: profile.source,
    state: stateOf(outcome, profile, environment, now),
    store: outcome?.store,
    expiresAt: outcome?.expiresAt,
    refreshAt: outcome?.refreshAt,
    obtainedAt: outcome?.obtainedAt,
    failure: failure?.message,
    failureCode: failure?.code,
    nextAttemptAt: typeof until === 'number' && until > now ? until : undefined,
  }
}

function stateOf(
  outcome: Outcome | undefined,
  profile: Profile,
  environment: Environment,
  now: EpochMs,
): State {
  if (outcome === undefined) return 'absent'
  const { obtainedAt, expiresAt, refreshAt, failure } = outcome
  const lifetimeMs = obtainedAt === undefined || expiresAt === undefined ? 0 : expiresAt - obtainedAt
  const minValidityMs = timingOf(profile, environment).minValidityMs ?? Math.min(60_000, lifetimeMs / 10)
  const isUsable = obtainedAt !== undefined && (expiresAt === undefined || expiresAt - now > minValidityMs)
  if (isUsable && (refreshAt === undefined || now < refreshAt)) return 'fresh'
  if (failure !== undefined && isInForce(failure, now)) {
    if (failure.code === 'login_required') return 'login_required'
    if (!isUsable) return failure.until === 'changed' ? 'refused' : 'failing'
  }
  if (isUsable) return 'stale'
  return obtainedAt === undefined ? 'absent' : 'expired'
}

function asJson(row: Row): Record<string, unknown> {
  const instant = (at: EpochMs | undefined): string | null => (at === undefined ? null : formatInstant(at))
  return {
    profile: row.profile,
    source: row.source,
    state: row.state,
    store: row.store ?? null,
    obtained_at: instant(row.obtainedAt),
    expires_at: instant(row.expiresAt),
    refresh_at: instant(row.refreshAt),
    failure: row.failure === undefined ? null : { code: row.failureCode, message: row.failure },
    next_attempt_at: instant(row.nextAttemptAt),
  }
}

async function table(rows: readonly Row[], now: EpochMs, env: Environment['env']): Promise<string> {
  if (rows.length === 0) return 'no profiles are configured\n'
  const paint = await painter(env)
  const cells = rows.map(row => [
    row.profile,
    row.source,
    row.state === 'login_required' ? 'sign-in needed' : row.state,
    row.expiresAt === undefined ? (row.state === 'fresh' ? 'until refused' : '-') : left(row.expiresAt, now),
    row.refreshAt === undefined ? '-' : left(row.refreshAt, now),
    row.store ?? '-',
    row.failure ?? '',
  ])
  const head = ['PROFILE', 'SOURCE', 'STATE', 'TIME LEFT', 'RENEWAL IN', 'STORE', 'LAST FAILURE']
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map(row => row[i]!.length)))
  const line = (row: readonly string[], state?: State): string =>
    row
      .map((cell, i) =>
        i === 2 && state !== undefined ? paint(state, cell.padEnd(widths[i]!)) : cell.padEnd(widths[i]!),
      )
      .join('  ')
      .trimEnd()
  return `${[line(head), ...cells.map((row, i) => line(row, rows[i]!.state))].join('\n')}\n`
}

function left(at: EpochMs, now: EpochMs): string {
  return at > now ? formatDuration(at - now) : 'over'
}

async function painter(env: Environment['env']): Promise<(state: State, text: string) => string> {
  const { green, yellow, red } = await coloursOf(1, env)
  return (state, text) => {
    switch (state) {
      case 'fresh':
        return green(text)
      case 'stale':
      case 'absent':
        return yellow(text)
      default:
        return red(text)
    }
  }
}
