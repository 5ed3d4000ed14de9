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
    commands: flat(tree).flatMap(command =>
      command.path.join(' ') === 'helper' ? helperOf(command) : [completedOf(command, words)],
    ),
  }
}

// What an argument or a value is called tells what can stand there.
async function wordsOf(): Promise<Completion['words']> {
  const [{ recipes }, { outputs }, { tools }, { systems }, { fileFormats }] = await Promise.all([
    import('../profile/recipes.ts'),
    import('./get.ts'),
    import('../setup/tools.ts'),
    import('../ci/systems.ts'),
    import('../watch/token-file.ts'),
  ])
  return {
    provider: Object.keys(recipes),
    form: outputs,
    format: fileFormats,
    shell: Object.keys(shells),
    tool: Object.keys(tools),
    system: Object.keys(systems),
    ...Object.fromEntries(
      Object.entries(said).flatMap(([name, words]) => (words === 'profile' ? [] : [[saidKind(name), words]])),
    ),
  }
}

/** What can stand behind each protocol: what that tool says, or the name of a profile. */
export const said: Readonly<Record<string, readonly string[] | 'profile'>> = {
  git: ['get', 'store', 'erase', 'capability'],
  docker: ['get', 'store', 'erase', 'list', 'version'],
  kubectl: 'profile',
  aws: 'profile',
  bazel: ['get'],
  cargo: ['get'],
  gcp: 'profile',
  goauth: [],
  keyring: ['get', 'diagnose'],
  pnpm: 'profile',
  terraform: ['get', 'store', 'forget'],
  vault: ['get', 'store', 'erase'],
}

function saidKind(protocol: string): Kind {
  return `${protocol}-says`
}

/** Each protocol as a command of its own below `helper`: what follows it depends on it. */
function helperOf(node: CommandNode): CompletedCommand[] {
  const path = node.path.join(' ')
  const protocols = Object.entries(said)
  return [
    {
      path,
      commands: protocols.map(([name]) => [name, `answer ${name}`]),
      options: [],
      kinds: [],
      repeats: false,
    },
    ...protocols.map(([name, words]) => ({
      path: `${path} ${name}`,
      commands: [],
      options: [],
      kinds: words === 'profile' ? [words] : words.length === 0 ? [] : [saidKind(name)],
      repeats: false,
    })),
  ]
}

function flat(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(flat)]
}

function completedOf(node: CommandNode, words: Completion['words']): CompletedCommand {
  const path = node.path.join(' ')
  return {
    path,
    commands: node.commands.map(child => [child.path.at(-1)!, child.summary] as const),
    // Those of the program stand everywhere.
    options:
      node.path.length === 0 ? [] : node.options.filter(isOwn).map(option => optionOf(option, words, path)),
    kinds: node.arguments.map(argument => kindOf(argument.name, words, path)),
    repeats: node.arguments.some(({ isVariadic }) => isVariadic),
  }
}

function isOwn({ names }: OptionNode): boolean {
  return !names.includes('--help')
}

function optionOf(
  { names, about, value }: OptionNode,
  words: Completion['words'],
  path = '',
): CompletedOption {
  return { names, about, kind: value === undefined ? undefined : kindOf(value, words, path) }
}

function kindOf(name: ArgumentNode['name'], words: Completion['words'], path: string): Kind {
  if (path === 'proxy' && name === 'names') return 'route'
  // A file takes fewer forms than stdout.
  if (path === 'watch' && name === 'form') return 'format'
  // `exec PROFILE… -- COMMAND`: a shell completes what follows the dashes by itself.
  if (/^profile/i.test(name) || name === 'words') return 'profile'
  if (name === 'file' || name === 'path') return 'file'
  return Object.hasOwn(words, name) ? name : '-'
}
