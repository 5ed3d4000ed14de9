import type { ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { printable, TokctlError } from '../core/errors.ts'
import { isFile, isProgram, lookUpProgram } from '../core/find-program.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import { type Variables, variableName, withoutVariables, withVariables } from '../core/program.ts'
import { shellWord } from '../core/shell-word.ts'
import { type CommandContext, collect, type Define, durationOption } from './command.ts'
import { isTerminal, tell } from './io.ts'
import { replaceProcess } from './processes.ts'
import { leaveSignals, onSignals } from './signals.ts'
import { fetchAll, loadWanted, readWanted, valuesOf } from './wanted.ts'

// The token is in the environment of the one program that is named, and nowhere else. Rules:
//  - The program is looked for before a token is asked for.
//  - What opens our store, and what profiles take their secrets from, stays here unless it is asked for: the rest of the
//    environment is the program's as it is.
//  - It gets our streams, our terminal and our process group as they are; nothing of ours is written to stdout.
//  - Where Node can, it takes our place. Elsewhere we wait: what a key at the terminal sends reaches it anyway, what is sent
//    to us alone is passed on.

const defaultVariable = 'TOKEN'
const storeKey = 'TOKCTL_STORE_KEY'

interface ExecOptions {
  readonly passEnv?: readonly string[]
  readonly minValidity?: string
  readonly timeout?: string
}

/** `tokctl exec PROFILE[=VAR]… -- COMMAND…`: runs a program with tokens in its environment. */
export const define: Define = (program, run) => {
  program
    .command('exec')
    .summary('run a program with tokens')
    .description(
      'Runs a program with tokens in its environment, and nowhere else; several are fetched at once. Its exit code is ours: 127 where it is not there, 126 where it cannot be run, 128 and the signal that ended it.',
    )
    .usage('[options] PROFILE[=VAR]... -- COMMAND [ARGUMENT]...')
    .argument(
      '<words...>',
      `profiles, each with its variable (default: ${defaultVariable}), then -- and the program`,
    )
    .option('--min-validity <duration>', 'the tokens must live at least this long')
    .option('--timeout <duration>', 'for the tokens, waiting included (default: 30s)')
    .option('--pass-env <variable>', 'a secret of a profile that the program needs', collect)
    .addHelpText('after', `\nExample:\n  tokctl exec corp=GIT_TOKEN -- sh -c 'test -n "$GIT_TOKEN"'`)
    .action(
      (words: readonly string[], options: ExecOptions, command: { parent: { rawArgs: string[] } | null }) =>
        run(context => exec(words, command.parent?.rawArgs ?? [], options, context)),
    )
}

async function exec(
  words: readonly string[],
  rawArgs: readonly string[],
  options: ExecOptions,
  context: CommandContext,
): Promise<void> {
  const at = rawArgs.indexOf('--')
  const size = at < 0 ? 0 : rawArgs.length - at - 1
  if (size === 0) {
    throw new TokctlError('usage', 'no program is named', { hint: 'write: tokctl exec PROFILE -- COMMAND' })
  }
  const hint = 'write: tokctl exec PROFILE -- COMMAND'
  const wanted = readWanted(words.slice(0, -size), () => defaultVariable, hint)
  const [name = '', ...args] = words.slice(-size)
  const minValidityMs =
    options.minValidity === undefined ? undefined : durationOption('--min-validity', options.minValidity)
  const timeoutMs =
    options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout)
  const { env: ours } = context.environment
  const file = find(name, ours)

  const profiles = await loadWanted(wanted, context)
  const inherited = await withoutSecrets(options.passEnv ?? [], context)
  const tokens = await fetchAll(profiles, { minValidityMs, timeoutMs }, context)
  const values = Array.from(valuesOf(wanted, tokens), ([name, value]) => [name, value.expose()] as const)
  const env = withVariables(inherited, Object.fromEntries(values), context.environment.platform)
  context.settle()
  if (canBeReplaced(file, [name, ...args], env, context)) replaceProcess(file, [name, ...args], env)
  context.exitWith(await runAndWait(file, name, args, env, context))
}

/** Our environment, without the key of the store and the variables that profiles take secrets from. */
async function withoutSecrets(
  passed: readonly string[],
  { app, environment, options }: CommandContext,
): Promise<Variables> {
  const [{ withheldFrom }, { profiles }] = await Promise.all([
    import('../profile/secret-variables.ts'),
    app.config(),
  ])
  const { platform } = environment
  const isPassed = new Set(passed.map(name => variableName(name, platform)))
  const secrets = [...withheldFrom(undefined, profiles.values(), platform), storeKey]
  const withheld = new Set(secrets.filter(name => !isPassed.has(variableName(name, platform))))
  const env = withoutVariables(environment, withheld)
  const kept = Object.keys(environment.env).filter(name => !Object.hasOwn(env, name))
  if (options.verbose && kept.length > 0) tell(`tokctl: kept from the program: ${kept.join(', ')}\n`)
  return env
}

function find(name: string, env: CommandContext['environment']['env']): string {
  const program = `program "${printable(name)}"`
  const found = lookUpProgram(name, env)
  if (found.kind === 'batch') {
    throw new TokctlError(
      'program_not_executable',
      `${program} is a batch file, which only a shell can run`,
      {
        hint: `write: tokctl exec PROFILE -- cmd /c ${printable(name)}`,
      },
    )
  }
  if (found.kind === 'missing' || !existsSync(found.file)) {
    throw new TokctlError('program_not_found', `${program} was not found`, {
      hint: name.includes('/') ? 'check its path' : 'install it, or write its whole path',
    })
  }
  if (!isFile(found.file)) throw new TokctlError('program_not_executable', `${program} is not a file`)
  if (found.kind === 'not_executable' || !isProgram(found.file)) {
    throw new TokctlError('program_not_executable', `${program} may not be run`, {
      hint: `run: chmod +x ${shellWord(found.file)}`,
    })
  }
  return found.file
}

// What cannot be put in our place leaves nobody to say so: only what is sure to start is.
const certainBytes = 100_000

function canBeReplaced(
  file: string,
  argv: readonly string[],
  env: CommandContext['environment']['env'],
  { environment: { platform } }: CommandContext,
): boolean {
  const size = [...argv, ...Object.entries(env).flat()].reduce(
    (sum, word) => sum + Buffer.byteLength(word ?? ''),
    0,
  )
  if (size > certainBytes) return false
  const head = readHead(file)
  const magic = head.length < 4 ? 0 : head.readUInt32BE(0)
  if (platform === 'linux' && magic === 0x7f454c46) return true
  if (platform === 'darwin' && [0xcffaedfe, 0xcefaedfe, 0xcafebabe].includes(magic)) return true
  const interpreter = /^#! *(\/[^ \n]+)[^\n]*\n/.exec(head.toString('latin1'))?.[1]
  return interpreter !== undefined && isProgram(interpreter)
}

function readHead(file: string): Buffer {
  try {
    const fd = openSync(file, 'r')
    try {
      const head = Buffer.alloc(256)
      return head.subarray(0, readSync(fd, head))
    } finally {
      closeSync(fd)
    }
  } catch {
    // It may be run and not read.
    return Buffer.alloc(0)
  }
}

// SIGUSR1 among them: Node would open a debugger in a process that holds tokens.
const passedOn: readonly NodeJS.Signals[] = [
  ...(['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const),
  ...(['SIGALRM', 'SIGVTALRM', 'SIGIO', 'SIGXCPU'] as const),
]
const ofTheTerminal: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGBREAK']

async function runAndWait(
  file: string,
  name: string,
  args: readonly string[],
  env: CommandContext['environment']['env'],
  { environment: { platform } }: CommandContext,
): Promise<number> {
  const [{ startProgram }, { constants }] = await Promise.all([
    import('../core/start-program.ts'),
    import('node:os'),
  ])
  const sharesKeys = await isInForeground(platform)
  const names = platform === 'win32' ? ofTheTerminal : [...passedOn, ...ofTheTerminal]
  let child: ChildProcess | undefined
  leaveSignals()
  const leave = onSignals(names, signal => {
    if (!sharesKeys || !ofTheTerminal.includes(signal)) child?.kill(signal)
  })
  try {
    const argv0 = platform === 'win32' ? {} : { argv0: name }
    const started = await startProgram(file, args, {
      ...argv0,
      env: env as NodeJS.ProcessEnv,
      stdio: 'inherit',
    })
    child = started
    return await new Promise<number>((resolve, reject) => {
      started.once('error', error => reject(notStarted(name, error)))
      started.once('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal!] ?? 0)))
    })
  } catch (error) {
    throw error instanceof TokctlError ? error : notStarted(name, error as NodeJS.ErrnoException)
  } finally {
    leave()
  }
}

/** Whether a key at the terminal signals the program as well as us, since both are in its foreground. */
async function isInForeground(platform: NodeJS.Platform): Promise<boolean> {
  if (platform === 'linux') {
    try {
      // Fields 5 and 8 of proc_pid_stat(5): our process group, and the one in the terminal's foreground.
      const stat = readFileSync('/proc/self/stat', 'latin1')
      const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return group === foreground
    } catch {}
  }
  for (const stream of [0, 1, 2] as const) if (await isTerminal(stream)) return true
  return false
}

function notStarted(name: string, { code }: NodeJS.ErrnoException): TokctlError {
  const program = `program "${printable(name)}"`
  // The file was there a moment ago: what is missing is the interpreter that its first line names, or our directory.
  if (code === 'ENOENT') {
    return new TokctlError('program_not_found', `${program} cannot be started: what runs it was not found`)
  }
  return new TokctlError('program_not_executable', `${program} cannot be started (${code ?? 'error'})`)
}
