import { TokctlError } from '../core/errors.ts'
import { configFile, loadStoreKind } from '../profile/load.ts'
import type { Config } from '../profile/profile.ts'
import { shownPath } from '../profile/shown-path.ts'
import { coloursOf } from './colour.ts'
import type { CommandContext, Define } from './command.ts'
import { directoryFindings, projectFindings } from './doctor-config.ts'
import { lockFindings, machine, stateFindings, surroundings } from './doctor-place.ts'
import { profileFindings, referenceFindings } from './doctor-profiles.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'
import { writeOut } from './io.ts'

declare const __VERSION__: string

interface DoctorOptions {
  readonly json?: boolean
  readonly network: boolean
}

/** `tokctl doctor`: what is wrong, and how to mend it. */
export const define: Define = (program, run) => {
  program
    .command('doctor')
    .summary('find what is wrong')
    .description(
      'Looks at the store, the locks, the configuration, the clock and the way to the servers, and says what is wrong and what mends it. Exit code 0 only when all is well. Nothing it prints is a secret.',
    )
    .option('--json', 'for programs')
    .option('--no-network', 'ask no server')
    .addHelpText('after', '\nExample:\n  tokctl doctor --no-network')
    .action((options: DoctorOptions) =>
      run(async context => {
        const findings = await examine(options.network, context)
        const isWell = findings.every(({ level }) => level !== 'problem')
        writeOut(options.json ? asJson(findings, isWell, context) : await asText(findings, context))
        context.exitWith(isWell ? 0 : 1)
      }),
    )
}

async function examine(asksServers: boolean, context: CommandContext): Promise<Finding[]> {
  const { app, clock, environment } = context
  const findings: Finding[] = [...surroundings(environment, machine)]
  // First of all: whatever else is asked would mend the directory's mode in passing.
  const state = stateFindings(app.stateDir.path, environment, machine)
  findings.push(...state)
  const isUsable = state.every(({ level }) => level !== 'problem')

  let config: Config | undefined
  try {
    config = await app.config()
    const shown = shownPath(config.file, environment.home)
    const { size } = config.profiles
    findings.push(
      size === 0
        ? problem('config', `${shown} has no profile`, 'run: tokctl profile add --list')
        : ok('config', `${shown}: ${size} ${size === 1 ? 'profile' : 'profiles'}`),
    )
  } catch (error) {
    findings.push(...problemsOf('config', error))
  }
  const { path } = configFile(environment, context.options.config)
  findings.push(...directoryFindings(path, environment))
  if (isUsable) findings.push(...(await projectFindings(app, environment, context.options.config)))
  const profiles = [...(config?.profiles.values() ?? [])]
  findings.push(...(await referenceFindings(profiles, environment)))

  if (isUsable) {
    findings.push(...profileFindings(profiles, app, environment, clock.now()))
    const { storeFindings } = await import('./doctor-store.ts')
    const configured = config?.store ?? (await loadStoreKind(environment, context.options.config)) ?? 'auto'
    findings.push(...(await storeFindings(app, environment, config, configured)))
    const names = profiles.map(({ name }) => name)
    findings.push(...(await lockFindings(app, names, clock.now())))
  }
  const { serverFindings, wayFindings } = await import('./doctor-network.ts')
  findings.push(...wayFindings(profiles, environment))
  if (asksServers) findings.push(...(await serverFindings(profiles, context, context.signal())))
  else findings.push(note('server', 'no server was asked'))
  const { proxyFindings } = await import('./doctor-proxy.ts')
  findings.push(...(await proxyFindings(environment, machine, context.options.config)))
  const { completionFindings, helperFindings } = await import('./doctor-tools.ts')
  findings.push(...completionFindings(environment, machine))
  findings.push(...helperFindings(environment, machine, profiles))
  if (context.signal().aborted) throw new TokctlError('interrupted', 'interrupted')
  return findings
}

function asJson(findings: readonly Finding[], isWell: boolean, { environment }: CommandContext): string {
  const shown = findings.map(({ check, level, message, hint }) => ({
    check,
    level,
    message,
    hint: hint ?? null,
  }))
  const { platform, arch } = environment
  return `${JSON.stringify({ ok: isWell, version: __VERSION__, platform, arch, findings: shown })}\n`
}

async function asText(findings: readonly Finding[], { environment }: CommandContext): Promise<string> {
  const { green, red, cyan } = await coloursOf(1, environment.env)
  const width = Math.max(...findings.map(({ check }) => check.length))
  const paint = { ok: green, note: (text: string) => text, problem: red }
  const lines = findings.flatMap(({ check, level, message, hint }) => {
    const line = `${paint[level](level.padEnd(7))}  ${check.padEnd(width)}  ${message}`
    return hint === undefined ? [line] : [line, `${' '.repeat(width + 11)}${cyan('hint:')} ${hint}`]
  })
  const count = findings.filter(({ level }) => level === 'problem').length
  const end = count === 0 ? green('all is well') : red(`${count} ${count === 1 ? 'problem' : 'problems'}`)
  return `${lines.join('\n')}\n${end}\n`
}
