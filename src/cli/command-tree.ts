import type { Argument, Command, Option } from 'commander'
import { newProgram, unstarted } from './program.ts'

/** An option as it is written, and what it is for. */
export interface OptionNode {
  /** As in the help screen: `-o, --output <form>`. */
  readonly flags: string
  /** Each way to write its name: `-o`, `--output`. */
  readonly names: readonly string[]
  /** What its value is called; `undefined` for one without a value. */
  readonly value: string | undefined
  /** What stands for it where it is not given; `undefined` where nothing does. */
  readonly fallback: string | undefined
  readonly about: string
}

/** An argument by its place. */
export interface ArgumentNode {
  readonly name: string
  readonly about: string
  readonly isRequired: boolean
  /** The last one may be given several times. */
  readonly isVariadic: boolean
}

/** A command, what can be said after it, and the commands below it. */
export interface CommandNode {
  /** Its words, without the name of the program; empty for the program itself. */
  readonly path: readonly string[]
  readonly usage: string
  readonly summary: string
  readonly description: string
  readonly arguments: readonly ArgumentNode[]
  readonly options: readonly OptionNode[]
  readonly commands: readonly CommandNode[]
  /** The lines of its example, as they are typed. */
  readonly example: readonly string[]
  /** The whole help screen. */
  readonly help: string
}

/** Every command of the program, from the very definitions that read the command line and print the help screens. */
export async function commandTree(): Promise<CommandNode> {
  const program = newProgram('')
  await unstarted(program)
  return nodeOf(program, [])
}

function nodeOf(command: Command, path: readonly string[]): CommandNode {
  const help = command.createHelp()
  const screen = helpScreen(command)
  return {
    path,
    usage: help.commandUsage(command),
    summary: help.subcommandDescription(command),
    description: help.commandDescription(command),
    arguments: command.registeredArguments.map(argumentOf),
    options: help.visibleOptions(command).map(optionOf),
    // Not the "help" that commander adds to each command with others below it.
    commands: help
      .visibleCommands(command)
      .filter(child => command.commands.includes(child))
      .map(child => nodeOf(child, [...path, child.name()])),
    example: exampleOf(screen),
    help: screen,
  }
}

// What stands below a help screen is told by nothing but the printing of it.
function helpScreen(command: Command): string {
  let screen = ''
  const { writeOut } = command.configureOutput()
  command.configureOutput({
    writeOut(text) {
      screen += text
    },
  })
  command.outputHelp()
  command.configureOutput(writeOut === undefined ? {} : { writeOut })
  return screen
}

function exampleOf(screen: string): string[] {
  const [, text = ''] = /^Examples?:\n((?: {2}.*\n?)+)/m.exec(screen) ?? []
  return text
    .trimEnd()
    .split('\n')
    .map(line => line.slice(2))
    .filter(line => line !== '')
}

function argumentOf(argument: Argument): ArgumentNode {
  return {
    name: argument.name(),
    about: argument.description,
    isRequired: argument.required,
    isVariadic: argument.variadic,
  }
}

function optionOf(option: Option): OptionNode {
  return {
    flags: option.flags,
    names: [option.short, option.long].filter(name => name !== undefined),
    fallback: typeof option.defaultValue === 'string' ? option.defaultValue : undefined,
    value: /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1],
    about: option.description,
  }
}
