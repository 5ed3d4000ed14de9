import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { printable, TokctlError } from '../core/errors.ts'
import { isProgram, lookUpProgram } from '../core/find-program.ts'
import { ownCommand } from '../core/own-command.ts'
import { childEnvironment } from '../core/program.ts'
import type { Profile } from '../profile/profile.ts'
import { shownPath } from '../profile/shown-path.ts'
import { applyChange, backUpFile, checkChange, dropBackup, readText } from '../setup/apply.ts'
import type { Change, Machine, Plan, ProgramChange, Said, SetupAsk, Tool } from '../setup/setup.ts'
import { tools } from '../setup/tools.ts'
import { shellWords } from '../setup/words.ts'
import type { CommandContext, Define } from './command.ts'
import { writeOut } from './io.ts'

interface SetupOptions {
  readonly print?: boolean
  readonly remove?: boolean
  readonly list?: boolean
  readonly json?: boolean
  readonly as?: string
  readonly audience?: string
  readonly store?: boolean
}

/** How long a tool may take to tell about itself. */
const toolMs = 20_000
const maxOutputBytes = 4 << 20

/** `tokctl setup TOOL [PROFILE]`: writes that tool's own configuration, so that it asks tokctl. */
export const define: Define = (program, run) => {
  program
    .command('setup')
    .summary('connect another tool')
    .description(
      `Makes a tool ask tokctl, by its own configuration, and prints what was changed: ${Object.keys(tools).join(', ')}.`,
    )
    .argument('[tool]', 'what is to ask tokctl')
    .argument('[profile]', 'one alone; needed for kubectl, aws, gcp and pnpm')
    .option('--print', 'only show it')
    .option('--remove', 'take it back')
    .option('--list', 'what is installed, set up, and works')
    .option('--json', 'the list, for programs')
    .option('--as <name>', 'kubectl, aws, gcp: name of the entry')
    .option('--audience <audience>', 'gcp: the provider')
    .option('--store', 'git: as its only helper, which keeps other passwords too')
    .addHelpText('after', '\nExample:\n  tokctl setup git --print')
    .action((tool: string | undefined, profile: string | undefined, options: SetupOptions) =>
      run(context => setUp(tool, profile, options, context)),
    )
}

async function setUp(
  name: string | undefined,
  profileName: string | undefined,
  options: SetupOptions,
  context: CommandContext,
): Promise<void> {
  const machine = machineOf(context)
  if (options.list) {
    const names = name === undefined ? Object.keys(tools) : [name]
    const { listTools } = await import('./setup-list.ts')
    const known = await Promise.all(names.map(async each => [each, await find(each)] as const))
    writeOut(await listTools(known, await profilesOf(context, true), machine, options.json === true))
    return
  }
  if (name === undefined) {
    throw new TokctlError('usage', 'setup: no tool was named', { hint: 'run: tokctl setup --list' })
  }
  const tool = await find(name)
  if (options.as !== undefined && !/^[A-Za-z0-9][\w.-]*$/.test(options.as)) {
    throw new TokctlError('usage', `--as: "${printable(options.as)}" is not a name`, {
      hint: 'write letters, digits, ".", "_" and "-"',
    })
  }
  const profile = profileName === undefined ? undefined : await context.app.profile(profileName)
  if (profile !== undefined && isOfProject(profile)) {
    throw new TokctlError(
      'usage',
      `profile "${profileName}" belongs to a project, and tools ask from anywhere`,
      {
        hint: 'write it into your own configuration',
      },
    )
  }
  const ask: SetupAsk = {
    remove: options.remove === true,
    profile,
    profiles: profile === undefined ? await profilesOf(context, options.remove === true) : [profile],
    as: options.as,
    audience: options.audience,
    store: options.store === true,
  }
  const plan = await tool.plan(ask, machine)
  if (plan.changes.length === 0) {
    writeOut(`nothing to change: ${name} ${ask.remove ? 'does not ask' : 'asks'} tokctl\n`)
    return
  }
  if (options.print) writeOut(plan.changes.map(change => shown(change, machine.home)).join(''))
  else await apply(plan, context)
  if (!ask.remove) writeOut((plan.next ?? []).map(line => `next: ${line}\n`).join(''))
}

async function find(name: string): Promise<Tool> {
  if (Object.hasOwn(tools, name)) return tools[name]!()
  const { nearest } = await import('../profile/nearest.ts')
  const meant = nearest(name, Object.keys(tools))
  const what = `setup: "${printable(name)}" is no tool that can be set up`
  throw new TokctlError('usage', meant === undefined ? what : `${what}; did you mean "${meant}"?`, {
    hint: `write one of: ${Object.keys(tools).join(', ')}`,
  })
}

// What was set up can be taken back, and looked at, whatever has become of the configuration.
async function profilesOf({ app }: CommandContext, lenient: boolean): Promise<Profile[]> {
  try {
    return [...(await app.config()).profiles.values()].filter(profile => !isOfProject(profile))
  } catch (error) {
    if (lenient && error instanceof TokctlError) return []
    throw error
  }
}

function isOfProject({ name }: Profile): boolean {
  return name.includes('@')
}

async function apply({ changes }: Plan, context: CommandContext): Promise<void> {
  const { app, environment } = context
  const { home } = environment
  for (const change of changes) if ('file' in change) checkChange(change, environment)
  const launchers = app.stateDir.file('launchers')
  if (changes.some(change => 'file' in change && change.file.startsWith(launchers))) {
    app.stateDir.ensure('launchers')
  }
  for (const change of changes) {
    const backups = 'run' in change ? await runTool(change, context) : [applyChange(change, environment)]
    writeOut(shown(change, home))
    for (const backup of backups) {
      if (backup !== undefined) writeOut(`  backup: ${shownPath(backup, home)}\n`)
    }
  }
}

async function runTool(change: ProgramChange, context: CommandContext): Promise<(string | undefined)[]> {
  const backups = change.rewrites.map(file => backUpFile(file, context.environment))
  const { exitCode, stderr } = await runProgram(context, change.run)
  if (exitCode !== 0) {
    const said = printable(stderr.trim().split('\n').at(-1) ?? '')
    throw new TokctlError('command_failed', `"${shellWords(change.run.slice(0, 3))}" failed: ${said}`)
  }
  for (const file of change.rewrites) dropBackup(file)
  return backups.filter(backup => backup !== undefined && isThere(backup))
}

function shown(change: Change, home: string): string {
  if ('run' in change) return `$ ${oneLine(shellWords(change.run))}\n`
  const { file, before, after, says } = change
  const verb = after === undefined ? 'remove ' : before === undefined ? 'new ' : ''
  return `${verb}${shownPath(file, home)}\n${says.map(line => `  ${oneLine(line)}\n`).join('')}`
}

// Whole, since a person may copy it.
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/g, ' ')
}

function machineOf(context: CommandContext): Machine {
  const { app, environment, options } = context
  const { env, home, platform, cwd } = environment
  const config = options.config === undefined ? [] : ['--config', resolve(cwd, options.config)]
  return {
    env,
    home,
    platform,
    program: [...ownCommand(environment), ...config],
    launchers: app.stateDir.file('launchers'),
    read: readText,
    find: name => lookUp(name, env),
    run: async (command, given = {}) => runProgram(context, command, given),
  }
}

async function runProgram(
  { environment, signal }: CommandContext,
  command: readonly string[],
  { input, env = {} }: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Said> {
  const { runProgram: start } = await import('../core/run-program.ts')
  const { exitCode, stdout, stderr } = await start({
    command,
    env: { ...childEnvironment(environment.env), ...env },
    timeoutMs: toolMs,
    signal: signal(),
    maxBytes: maxOutputBytes,
    ...(input === undefined ? {} : { input }),
  })
  return { exitCode, stdout: stdout.expose(), stderr }
}

function lookUp(name: string, env: Machine['env']): string | undefined {
  const found = lookUpProgram(name, env)
  return found.kind === 'found' && isProgram(found.file) ? found.file : undefined
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}
