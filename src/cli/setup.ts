import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { writeFileAtomic } from '../core/atomic-file.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { isProgram, lookUpProgram } from '../core/find-program.ts'
import { ownCommand } from '../core/own-command.ts'
import { childEnvironment } from '../core/program.ts'
import type { Profile } from '../profile/profile.ts'
import { shownPath } from '../profile/shown-path.ts'
import { type Applied, applyChanges, readText, restored } from '../setup/apply.ts'
import type { Change, Machine, ProgramChange, Said, SetupAsk, Tool } from '../setup/setup.ts'
import { tools } from '../setup/tools.ts'
import { shellWords } from '../setup/words.ts'
import { readWritten, type Written, writeWritten } from '../setup/written.ts'
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
  if (options.list) {
    const machine = machineOf(context, readWritten(context.app.stateDir))
    const names = name === undefined ? Object.keys(tools) : [name]
    const { listTools } = await import('./setup-list.ts')
    const known = await Promise.all(names.map(async each => [each, await find(each)] as const))
    const profiles = await profilesOf(context, true)
    writeOut(await listTools(known, profiles, machine, options.json === true, await brokenBy(context)))
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
  const work = async (): Promise<string> => setUpWith(name, tool, ask, options.print === true, context)
  if (options.print) {
    writeOut(await work())
    return
  }
  let said = ''
  await context.app.whileSettingUp(async () => {
    said = await work()
  })
  writeOut(said)
}

/** @returns What to tell. */
async function setUpWith(
  name: string,
  tool: Tool,
  ask: SetupAsk,
  isOnlyShown: boolean,
  context: CommandContext,
): Promise<string> {
  const { app, environment } = context
  const written = readWritten(app.stateDir)
  const machine = machineOf(context, written)
  const { changes: planned, next = [], stays } = await tool.plan(ask, machine)
  if (planned.length === 0) {
    const state = `${name} ${ask.remove ? 'does not ask' : 'asks'} tokctl`
    return `nothing to change: ${(ask.remove && stays) || state}\n`
  }
  const changes = planned.map(change => (ask.remove && 'file' in change ? restored(change, written) : change))
  const left = ask.remove ? '' : [...next, ...toldHere(context)].map(line => `next: ${line}\n`).join('')
  if (isOnlyShown) return changes.map(change => shown(change, environment.home)).join('') + left
  const applied = await apply(changes, written, ask.remove, context)
  const lines = applied.map(
    ({ change, backups }) =>
      shown(change, environment.home) +
      backups.map(backup => `  backup: ${shownPath(backup, environment.home)}\n`).join(''),
  )
  return lines.join('') + left
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

/** What is wrong with the configuration that is there. */
async function brokenBy({ app }: CommandContext): Promise<string | undefined> {
  try {
    await app.config()
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    return error.code === 'config_not_found' ? undefined : printable(error.message)
  }
  return undefined
}

function isOfProject({ name }: Profile): boolean {
  return name.includes('@')
}

async function apply(
  changes: readonly Change[],
  written: Written,
  remove: boolean,
  context: CommandContext,
): Promise<Applied[]> {
  const { app, environment } = context
  const run = async ({ run }: ProgramChange): Promise<void> => {
    await runOrFail(context, run)
  }
  const applied = await applyChanges(changes, { environment, written, remove, run })
  writeWritten(app.stateDir, written, environment.pid)
  return applied
}

async function runOrFail(context: CommandContext, command: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram(context, command)
  if (exitCode === 0) return stdout
  const said = printable(stderr.trim().split('\n').at(-1) ?? '')
  throw new TokctlError('command_failed', `"${shellWords(command.slice(0, 3))}" failed: ${said}`)
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

function machineOf(context: CommandContext, written: Written): Machine {
  const { app, environment } = context
  const { env, home, platform } = environment
  return {
    env,
    home,
    platform,
    program: programWords(context),
    isNamed: programWords(context).length > ownCommand(environment).length,
    launchers: resolve(environment.cwd, app.stateDir.file('launchers')),
    read: readText,
    list: directory => {
      try {
        return readdirSync(directory)
      } catch {
        return []
      }
    },
    noted: note => written.notes.has(note),
    edit: (text, commands) => edit(text, commands, context),
    find: name => lookUp(name, env),
    run: async (command, given = {}) => runProgram(context, command, given),
    calls: call => calls(context, call),
  }
}

// What tools start knows nothing of this shell's variables: which configuration and which state are meant goes along.
function programWords({ environment, options }: CommandContext): string[] {
  const { env, cwd } = environment
  const named = options.config ?? env['TOKCTL_CONFIG']
  const config = named ? ['--config', resolve(cwd, named)] : []
  const state = env['TOKCTL_STATE_DIR']
  const starter = state && lookUp('env', env)
  const before = starter ? [starter, `TOKCTL_STATE_DIR=${resolve(cwd, state)}`] : []
  return [...before, ...ownCommand(environment), ...config]
}

function toldHere({ environment: { env } }: CommandContext): string[] {
  return env['TOKCTL_STATE_DIR'] && lookUp('env', env) === undefined
    ? ['set TOKCTL_STATE_DIR for the tool too, wherever it runs']
    : []
}

async function edit(
  text: string,
  commands: Parameters<Machine['edit']>[1],
  context: CommandContext,
): ReturnType<Machine['edit']> {
  return withScratchFile(async copy => {
    writeScratch(copy, text, context)
    let said = ''
    for (const command of commands(copy)) said = await runOrFail(context, command)
    return { text: readText(copy) ?? '', said }
  })
}

/** @param work - Given the path of a file that it may make, in a directory of this user alone that goes afterwards. */
async function withScratchFile<T>(work: (file: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'tokctl-'))
  try {
    return await work(join(directory, 'copy'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function writeScratch(file: string, text: string, { environment }: CommandContext): void {
  try {
    writeFileAtomic(file, text, environment.pid, false)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new TokctlError('output_failed', `"${file}" cannot be written (${code})`)
  }
}

async function runProgram(
  { environment, signal }: CommandContext,
  command: readonly string[],
  { input, env = {} }: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
  more?: AbortSignal,
): Promise<Said> {
  const { runProgram: start } = await import('../core/run-program.ts')
  const { exitCode, stdout, stderr } = await start({
    command,
    env: { ...childEnvironment(environment), ...env },
    timeoutMs: toolMs,
    signal: more === undefined ? signal() : AbortSignal.any([signal(), more]),
    maxBytes: maxOutputBytes,
    ...(input === undefined ? {} : { input }),
  })
  return { exitCode, stdout: stdout.expose(), stderr }
}

async function calls(
  context: CommandContext,
  call: Parameters<Machine['calls']>[0],
): ReturnType<Machine['calls']> {
  const { createServer } = await import('node:net')
  const called = new AbortController()
  const server = createServer(socket => {
    called.abort()
    socket.destroy()
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    await withScratchFile(async file => {
      const { text, command, env } = call(port, file)
      writeScratch(file, text, context)
      await runProgram(context, command, { env }, called.signal)
    })
  } catch (error) {
    if (!called.signal.aborted) throw error
  } finally {
    server.close()
  }
  return called.signal.aborted
}

function lookUp(name: string, env: Machine['env']): string | undefined {
  const found = lookUpProgram(name, env)
  return found.kind === 'found' && isProgram(found.file) ? found.file : undefined
}
