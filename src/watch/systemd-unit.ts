import { resolve } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import type { Variables } from '../core/program.ts'

/** What of the environment says which configuration, state and store are meant. None of it is a secret. */
const paths = ['TOKCTL_CONFIG', 'TOKCTL_STATE_DIR', 'TOKCTL_STORE_KEY_FILE'] as const
const words = ['TOKCTL_STORE'] as const
/** Ignored where they are relative, as their specification says. */
const bases = ['XDG_CONFIG_HOME', 'XDG_STATE_HOME'] as const

/**
 * Writes a unit of systemd's user manager that runs the command for as long as the user is there: in the same directory, where a
 * project's profiles and what `--on-change` names are found, and not again where the command line or a file wants mending.
 *
 * @param command - Program and arguments, the program by its whole path.
 * @param cwd - Where the command would run now.
 * @throws {TokctlError} `usage` for a directory that no unit can name
 * @see systemd.service(5), "COMMAND LINES"; systemd.exec(5)
 */
export function systemdUnit(
  profiles: readonly string[],
  command: readonly string[],
  env: Variables,
  cwd: string,
): string {
  // It stands there without quotes.
  if (/[\r\n]|[\s\\]$/.test(cwd)) {
    throw new TokctlError('usage', '--install: a unit cannot name the working directory', {
      hint: 'run it in another directory',
    })
  }
  const variables = [
    ...paths.map(name => [name, env[name] ? resolve(cwd, env[name]) : '']),
    ...words.map(name => [name, env[name] ?? '']),
    ...bases.map(name => [name, env[name]?.startsWith('/') ? env[name] : '']),
  ].flatMap(([name, value]) => (value === '' ? [] : [`Environment=${quoted(`${name}=${value}`, '%')}\n`]))
  return `[Unit]
Description=tokctl watch ${profiles.join(' ')}
After=network.target

[Service]
Type=simple
WorkingDirectory=-${cwd.replaceAll('%', '%%')}
${variables.join('')}ExecStart=${command.map(word => quoted(word, '%$')).join(' ')}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3
SuccessExitStatus=143
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=default.target
`
}

// What systemd would expand is doubled, what ends a quote is escaped.
function quoted(word: string, doubled: string): string {
  const escaped = word.replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n')
  return `"${[...escaped].map(char => (doubled.includes(char) ? char + char : char)).join('')}"`
}
