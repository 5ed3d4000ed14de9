import type { Profile } from '../profile/profile.ts'
import type { Define } from './command.ts'
import { writeOut } from './io.ts'
import { defineAdd, defineRemove } from './profile-add.ts'
import { defineTest } from './profile-test.ts'

/** `tokctl profile list|show|add|remove|test`: what the configuration says. Secrets appear as their references. */
export const define: Define = (program, run) => {
  const profile = program
    .command('profile')
    .summary('list and edit profiles')
    .description('Lists, shows, adds, removes and tests the profiles of the configuration.')
    .helpCommand(false)
    .addHelpText('after', '\nExample:\n  tokctl profile show corp')
  profile
    .command('list')
    .description('Lists the profiles, one a line: name, source, URLs.')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExample:\n  tokctl profile list')
    .action((options: { json?: boolean }) =>
      run(async ({ app }) => {
        const { file, profiles } = await app.config()
        const all = [...profiles.values()]
        if (options.json) {
          const rows = all.map(({ name, source, match }) => ({ name, source, match }))
          writeOut(`${JSON.stringify({ file, profiles: rows })}\n`)
        } else {
          const width = Math.max(0, ...all.map(({ name }) => name.length))
          writeOut(
            all
              .map(({ name, source, match }) => `${[name.padEnd(width), source, ...match].join('  ')}\n`)
              .join(''),
          )
        }
      }),
    )
  profile
    .command('show')
    .description(
      'Shows one profile with all its settings. A secret is shown as the reference it is, never as its value.',
    )
    .argument('<profile>', 'a profile of the configuration')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExample:\n  tokctl profile show corp')
    .action((name: string, options: { json?: boolean }) =>
      run(async ({ app }) => {
        const settings = settingsOf(await app.profile(name))
        const shown = options.json
          ? JSON.stringify(settings)
          : Object.entries(settings)
              .map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
              .join('\n')
        writeOut(`${shown}\n`)
      }),
    )
  defineAdd(profile, run)
  defineRemove(profile, run)
  defineTest(profile, run)
}

// Instants and durations are shown as they are written, and what is empty is not shown.
function settingsOf(profile: Profile): Record<string, unknown> {
  const shown: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(profile)) {
    if (key === 'binding' || value === undefined || isEmpty(value)) continue
    if (key.endsWith('_ms')) shown[key.slice(0, -3)] = durationText(value)
    else shown[key] = key === 'expires_at' ? new Date(value).toISOString() : value
  }
  return shown
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

function durationText(ms: number): string {
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    if (ms !== 0 && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
