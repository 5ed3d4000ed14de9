import { join, resolve } from 'node:path'
import { ownCommand } from '../core/own-command.ts'
import type { Profile } from '../profile/profile.ts'
import { type OutputFile, writeOutputFile } from '../watch/output-file.ts'
import { systemdUnit } from '../watch/systemd-unit.ts'
import { fileFormats } from '../watch/token-file.ts'
import type { CommandContext } from './command.ts'
import { writeOut } from './io.ts'
import type { WatchOptions } from './watch-options.ts'

/**
 * Writes the unit that runs this watch, and prints what starts it.
 *
 * @throws {TokctlError} `output_failed`
 */
export async function installWatch(
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
