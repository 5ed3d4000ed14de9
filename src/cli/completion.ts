import type {
  CompletedCommand,
  CompletedOption,
  Completion,
  Kind,
  WriteScript,
} from '../completion/completion.ts'
import { printable, TokctlError } from '../core/errors.ts'
import type { Define } from './command.ts'
import type { ArgumentNode, CommandNode, OptionNode } from './command-tree.ts'
import { writeOut } from './io.ts'

/** The shells that can be completed in, each with its writer. */
export const shells: Readonly<Record<string, () => Promise<WriteScript>>> = {
  bash: async () => (await import('../completion/bash.ts')).writeBash,
  zsh: async () => (await import('../completion/zsh.ts')).writeZsh,
  fish: async () => (await import('../completion/fish.ts')).writeFish,
  powershell: async () => (await import('../completion/powershell.ts')).writePowershell,
}

/** `tokctl completion SHELL`: prints what makes that shell complete our command lines. */
export const define: Define = (program, run) => {
  program
    .command('completion')
    .summary('complete in a shell')
    .description(`Prints the completion script of a shell: ${Object.keys(shells).join(', ')}.`)
    .argument('<shell>', 'the shell that is to complete')
    .addHelpText(
      'after',
      '\nExample:\n  tokctl completion bash > ~/.local/share/bash-completion/completions/tokctl',
    )
    .action((name: string) =>
      run(async () => {
        const load = Object.hasOwn(shells, name) ? shells[name] : undefined
        if (load === undefined) {
          throw new TokctlError('usage', `"${printable(name)}" is no shell that is completed in`, {
            hint: `write one of: ${Object.keys(shells).join(', ')}`,
          })
        }
        writeOut((await load())(await completionOf()))
      }),
    )
}

/** What is completed: every command and option there is. */
export async function completionOf(): Promise<Completion> {
  const { commandTree } = await import('./command-tree.ts')
  const tree = await commandTree()
  const words = await wordsOf()
  return {
    words,
    options: tree.options.map(option => optionOf(option, words)),
    commands: flat(tree).map(command => completedOf(command, words)),
  }
}

// What an argument or a value is called tells what can stand there.
async function wordsOf(): Promise<Completion['words']> {
  const [{ protocols }, { recipes }, { outputs }, { tools }, { systems }] = await Promise.all([
    import('../protocol/protocols.ts'),
    import('../profile/recipes.ts'),
    import('./get.ts'),
    import('../setup/tools.ts'),
    import('../ci/systems.ts'),
  ])
  return {
    protocol: Object.keys(protocols),
    provider: Object.keys(recipes),
    form: outputs,
    shell: Object.keys(shells),
    tool: Object.keys(tools),
    system: Object.keys(systems),
  }
}

function flat(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(flat)]
}

function completedOf(node: CommandNode, words: Completion['words']): CompletedCommand {
  return {
    path: node.path.join(' '),
    commands: node.commands.map(child => [child.path.at(-1)!, child.summary] as const),
    // Those of the program stand everywhere.
    options: node.path.length === 0 ? [] : node.options.filter(isOwn).map(option => optionOf(option, words)),
    kinds: node.arguments.map(argument => kindOf(argument.name, words)),
    repeats: node.arguments.some(({ isVariadic }) => isVariadic),
  }
}

function isOwn({ names }: OptionNode): boolean {
  return !names.includes('--help')
}

function optionOf({ names, about, value }: OptionNode, words: Completion['words']): CompletedOption {
  return { names, about, kind: value === undefined ? undefined : kindOf(value, words) }
}

function kindOf(name: ArgumentNode['name'], words: Completion['words']): Kind {
  // `helper kubectl PROFILE`: the one word of a tool's that we know.
  if (/^profile/i.test(name) || name === 'words') return 'profile'
  if (name === 'file' || name === 'path') return 'file'
  return Object.hasOwn(words, name) ? name : '-'
}
