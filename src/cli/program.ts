import { Command, CommanderError, Option } from 'commander'
import { printable, TokctlError } from '../core/errors.ts'
import type { GlobalOptions, Work } from './command.ts'
import { commands } from './commands.ts'
import { formatHelp } from './help-screen.ts'
import { writeOut } from './io.ts'

/** Starts the work of a command, named, with the options that stand beside it. */
export type RunWith = (options: GlobalOptions, work: Work, command: string | undefined) => Promise<void>

/**
 * Reads the command line with commander and runs the command that it names.
 *
 * @throws {TokctlError} `usage`; whatever the command throws
 */
export async function runCommand(argv: readonly string[], version: string, runWith: RunWith): Promise<void> {
  const program = newProgram(version)
  const name = commandName(argv)
  const loads =
    name !== undefined && Object.hasOwn(commands, name) ? [commands[name]!] : Object.values(commands)
  for (const load of loads)
    (await load()).define(program, work => runWith(globalOptions(program), work, name))
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode !== 0) throw usageError(error, helpOf(program, argv))
  }
}

/** The program without its commands. */
export function newProgram(version: string): Command {
  const program = new Command('tokctl')
  return program
    .description('Prints access tokens, for use in pipes: one request however many ask at once.')
    .usage('COMMAND [options]')
    .option('--config <file>', 'the configuration')
    .option('--no-input', 'never ask anything')
    .option('-v, --verbose', 'say what was decided')
    .option('--debug-http', 'show requests, without secrets')
    .addOption(new Option('--debug', 'show the stack of an unexpected failure').hideHelp())
    .option('--json-errors', 'errors as one line of JSON')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({ formatHelp })
    .addHelpText('after', '\nExample:\n  tokctl get corp')
    .exitOverride()
    .configureOutput({ writeOut, writeErr: () => {} })
    .showSuggestionAfterError(true)
}

/** Adds every command to a program that is described and not run. */
export async function unstarted(program: Command): Promise<void> {
  for (const load of Object.values(commands)) (await load()).define(program, async () => {})
}

/** The options that every command takes, as they were read. */
export function globalOptions(program: Command): GlobalOptions {
  return {
    verbose: false,
    debugHttp: false,
    debug: false,
    jsonErrors: false,
    input: true,
    ...program.opts<Partial<GlobalOptions>>(),
  }
}

// The first word that is no option and no value of one.
function commandName(argv: readonly string[]): string | undefined {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (word === '--config') i++
    else if (!word.startsWith('-')) return word
  }
  return undefined
}

/** What shows the help of the command that is named, as far as the words name one. */
function helpOf(program: Command, argv: readonly string[]): string {
  const words = ['tokctl']
  let command = program
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (word === '--config') i++
    if (word === '--config' || word.startsWith('-')) continue
    const named = command.commands.find(child => child.name() === word)
    if (named === undefined) break
    words.push(word)
    command = named
  }
  return `run: ${words.join(' ')} --help`
}

function usageError(error: CommanderError, help: string): TokctlError {
  if (error.code === 'commander.help') {
    return new TokctlError('usage', 'no command was named', { hint: help })
  }
  const [told = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  // Whoever writes a secret behind an option that does not exist must not find it in a log.
  const first = printable(told.replace(/^(unknown option '--?[\w-]+)=.*/s, "$1'"))
  const suggestion = /\(Did you mean (.*?)\?\)/.exec(rest.join(' '))?.[1]
  const hint = suggestion === undefined ? help : `did you mean ${suggestion}?`
  return new TokctlError('usage', first.replaceAll("'", '"').replace(/\.$/, ''), { hint })
}
