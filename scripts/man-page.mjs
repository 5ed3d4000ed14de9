// Writes the man page from the very command tree that the help screens come from.

/** What an exit code asks of a script; a test holds the codes against the program's table of errors. */
export const exitCodes = [
  ['0', 'Done.'],
  ['1', 'An unexpected failure.'],
  ['2', 'The command line is wrong.'],
  ['3', 'The configuration or a reference to a secret is wrong.'],
  ['4', 'A person must sign in: run tokctl login.'],
  ['5', 'Temporary: the network, a provider that is down or busy, or too long a wait. Try later.'],
  ['6', 'Refused by the provider or the source.'],
  ['7', 'No usable store, or it is locked.'],
  ['126, 127', 'Of exec: the program cannot be run, or is not there.'],
  ['130, 143', 'Interrupted.'],
]

const environment = [
  ['TOKCTL_CONFIG', 'The configuration file.'],
  ['TOKCTL_STATE_DIR', 'Where locks, outcomes and sealed files are.'],
  ['TOKCTL_STORE', 'What keeps the tokens: auto, keychain, file or memory.'],
  ['TOKCTL_STORE_KEY', 'The key of sealed files: 32 bytes as base64.'],
  ['TOKCTL_STORE_KEY_FILE', 'A file with that key.'],
  ['TOKCTL_NO_INPUT', '1: never ask anything.'],
  ['TOKCTL_VERBOSE', '1: as -v; http: as --debug-http. For where another tool makes the call.'],
  ['HTTPS_PROXY, HTTP_PROXY, NO_PROXY', 'Proxies for requests.'],
  ['NODE_EXTRA_CA_CERTS', 'A file of authorities to trust beside the usual ones, as PEM.'],
  ['NO_COLOR, FORCE_COLOR', 'No colours, or colours where there is no terminal.'],
]

const files = [
  ['~/.config/tokctl/config.toml', 'The configuration; below $XDG_CONFIG_HOME where that is set.'],
  ['~/.local/state/tokctl', 'The state; below $XDG_STATE_HOME where that is set.'],
  [
    '.tokctl.toml',
    "A project's own profiles, in the working directory or above it. It has no effect before tokctl trust.",
  ],
]

/** @param released - The day of that version, as CHANGELOG has it; empty before. */
export function manPage(tree, version, released) {
  return [
    '.\\" Made by "npm run generate" from the definitions of the commands.',
    `.TH TOKCTL 1 "${released}" "tokctl ${version}" "User Commands"`,
    '.SH NAME',
    `tokctl \\- ${text(lowered(tree.description))}`,
    '.SH SYNOPSIS',
    '.B tokctl',
    text('COMMAND [options]'),
    '.SH DESCRIPTION',
    text(tree.description),
    text('stdout carries the answer or nothing; errors and hints are on stderr.'),
    '.SH COMMANDS',
    ...tree.commands.flatMap(command => section(command)),
    '.SH OPTIONS',
    'Every command takes these.',
    ...tree.options.flatMap(option),
    '.SH EXIT STATUS',
    ...exitCodes.flatMap(([code, about]) => entry(code, about)),
    '.SH ENVIRONMENT',
    ...environment.flatMap(([name, about]) => entry(name, about)),
    '.SH FILES',
    ...files.flatMap(([name, about]) => entry(name, about)),
    '.SH EXAMPLES',
    ...block(tree.example),
    '',
  ].join('\n')
}

function section(command) {
  if (command.commands.length > 0) {
    return [
      `.SS ${text(['tokctl', ...command.path].join(' '))}`,
      text(command.description),
      ...command.commands.flatMap(section),
    ]
  }
  const own = command.options.filter(({ names }) => !names.includes('--help'))
  return [
    `.SS ${text(command.usage)}`,
    text(command.description),
    ...command.arguments.flatMap(({ name, about }) => entry(name, about)),
    ...own.flatMap(option),
    ...example(command),
  ]
}

function option({ flags, about, fallback }) {
  return entry(flags, fallback === undefined ? about : `${about} (default: ${fallback})`)
}

function entry(term, about) {
  return ['.TP', `.B ${text(term)}`, text(about)]
}

function example({ example }) {
  if (example.length === 0) return []
  return ['.PP', 'Example:', '.PP', ...block(example)]
}

function block(lines) {
  return ['.RS 4', '.nf', ...lines.map(text), '.fi', '.RE']
}

function lowered(sentence) {
  return `${sentence[0].toLowerCase()}${sentence.slice(1).replace(/\.$/, '')}`
}

/** Text that roff prints as it stands: no escapes, no requests, and hyphens that can be copied. */
function text(line) {
  return line
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('`', '\\(ga')
    .replace(/^(?=[.'])/, '\\&')
    .replaceAll('…', '...')
}
