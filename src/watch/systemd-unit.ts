import type { Variables } from '../core/program.ts'

/** What of the environment says which configuration, state and store are meant. None of it is a secret. */
const kept = [
  'TOKCTL_CONFIG',
  'TOKCTL_STATE_DIR',
  'TOKCTL_STORE',
  'XDG_CONFIG_HOME',
  'XDG_STATE_HOME',
] as const

/**
 * Writes a unit of systemd's user manager that runs the command for as long as the user is there.
 *
 * @param command - Program and arguments, the program by its whole path.
 * @see systemd.service(5), "COMMAND LINES"; systemd.exec(5)
 */
export function systemdUnit(profiles: readonly string[], command: readonly string[], env: Variables): string {
  const variables = kept.flatMap(name =>
    env[name] ? [`Environment=${quoted(`${name}=${env[name]}`, '%')}\n`] : [],
  )
  return `[Unit]
Description=tokctl watch ${profiles.join(' ')}
After=network.target

[Service]
Type=simple
${variables.join('')}ExecStart=${command.map(word => quoted(word, '%$')).join(' ')}
Restart=on-failure
RestartSec=5
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
