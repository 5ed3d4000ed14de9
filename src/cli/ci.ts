import { resolve } from 'node:path'
import type { Plan, Step } from '../ci/ci-system.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { findProgram } from '../core/find-program.ts'
import { defaultTimeoutMs } from '../core/manager.ts'
import { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import { appendTo, checkWritable, keepIn } from './ci-files.ts'
import { type CommandContext, type Define, durationOption } from './command.ts'
import { isThrownAway, writeError, writeOut } from './io.ts'
import { warn } from './report.ts'
import { fetchAll, loadWanted, namesOf, partsOf, readWanted, valuesOf } from './wanted.ts'

// stdout is the runner's here: it carries the runner's own commands, or nothing. What was done is told on stderr.

const systemNames = 'github, gitlab, azure, circleci, buildkite, bitbucket, jenkins, plain'
const agentMs = 30_000
const placeholder = new Secret('-')

interface CiOptions {
  readonly system?: string
  readonly file?: string
  readonly minValidity?: string
  readonly timeout?: string
}

/** `tokctl ci PROFILE[=NAME]…`: hands tokens to the later steps of the CI job it runs in, hidden in its logs. */
export const define: Define = (program, run) => {
  program
    .command('ci')
    .summary('hand tokens to a CI job')
    .description(
      'Hides tokens in the logs of the CI system it runs in, then hands them to what runs later. Do not capture stdout: the runner reads it.',
    )
    .usage('[options] PROFILE[=NAME]...')
    .argument('<profile...>', 'each with its variable (default: PROFILE_TOKEN, in capitals)')
    .option('--system <system>', `one of ${systemNames} (default: as found)`)
    .option('--file <file>', 'a file for the values, where the system has no place for them')
    .option('--min-validity <duration>', 'the tokens must live at least this long')
    .option('--timeout <duration>', 'for the tokens, waiting included (default: 30s)')
    .addHelpText('after', '\nExample:\n  tokctl ci corp=API_TOKEN')
    .action((words: readonly string[], options: CiOptions) => run(context => ci(words, options, context)))
}

async function ci(words: readonly string[], options: CiOptions, context: CommandContext): Promise<void> {
  const { environment, signal } = context
  const [{ systemHere, systems }, { randomUUID }] = await Promise.all([
    import('../ci/systems.ts'),
    import('node:crypto'),
  ])
  const wanted = readWanted(words, variableOf, 'write: tokctl ci PROFILE')
  const { system: name } = options
  if (name !== undefined && !Object.hasOwn(systems, name)) {
    throw new TokctlError('usage', `--system: "${printable(name)}" is no CI system that is known`, {
      hint: `write one of: ${systemNames}`,
    })
  }
  const system = name === undefined ? systemHere(environment.env) : systems[name]!
  const ask = {
    minValidityMs:
      options.minValidity === undefined ? undefined : durationOption('--min-validity', options.minValidity),
    timeoutMs:
      options.timeout === undefined ? defaultTimeoutMs : durationOption('--timeout', options.timeout),
  }
  const place = { env: environment.env, file: options.file, random: randomUUID }
  const profiles = await loadWanted(wanted, context)
  const names = wanted.flatMap(one => namesOf(one, profiles))
  // What cannot be handed over is told before anything is asked for.
  const draft = system.plan(
    names.map(name => ({ name, value: placeholder })),
    place,
  )
  for (const step of draft.steps) check(step, context)
  const tokens = await fetchAll(profiles, ask, context)
  const parts = partsOf(wanted, tokens)
  const exports = Array.from(valuesOf(wanted, tokens), ([name, value]) => ({
    name,
    value,
    parts: parts.get(name) ?? [],
  }))
  const plan = system.plan(exports, place)
  // Once more, all of them: a token takes its time, and half of it is worse than nothing.
  for (const step of plan.steps) check(step, context)
  for (const [i, step] of plan.steps.entries()) {
    try {
      await take(step, context, signal())
    } catch (error) {
      const done = plan.steps.slice(0, i).flatMap(reached)
      if (!(error instanceof TokctlError) || done.length === 0) throw error
      const { code, message, hint } = error
      throw new TokctlError(code, `${message}; ${names.join(', ')} reached ${done.join(', ')} before that`, {
        hint,
      })
    }
  }
  writeError(said(system.title, names, plan))
}

/** Where values are once a step is taken; what hides them is not spoken of. */
function reached(step: Step): string[] {
  if (step.kind === 'append' || step.kind === 'keep') return [step.path]
  return []
}

function check(step: Step, { environment }: CommandContext): void {
  if (step.kind === 'say' && isThrownAway()) {
    throw new TokctlError(
      'output_failed',
      'standard output is thrown away: the runner would not hear what to hide',
      {
        hint: 'leave it to the runner: without ">/dev/null"',
      },
    )
  }
  if (step.kind === 'append' || step.kind === 'keep')
    checkWritable(resolve(environment.cwd, step.path), step.kind === 'keep', environment)
  if (step.kind === 'run') findProgram(step.command[0]!, environment.env)
}

/** The name of the variable where none is given: `corp-eu` is CORP_EU_TOKEN. */
function variableOf(profile: string): string {
  return `${profile
    .toUpperCase()
    .replace(/\W/g, '_')
    .replace(/^(?=\d)/, '_')}_TOKEN`
}

function said(title: string, names: readonly string[], { isMasked, told }: Plan): string {
  const all = `${names.join(', ')} ${names.length > 1 ? 'are' : 'is'}`
  const hidden = isMasked
    ? `${all} hidden in the log`
    : `${all} not hidden in the log, since there is no way to: do not print ${names.length > 1 ? 'them' : 'it'}`
  return `tokctl: ${title}: ${hidden}\ntokctl: ${title}: ${all} ${told}\n`
}

async function keep(
  { path, lines }: Step & { readonly kind: 'keep' },
  { app, environment }: CommandContext,
): Promise<void> {
  let mode = 0
  await app.whileKeeping(() => {
    mode = keepIn(resolve(environment.cwd, path), lines, environment)
  })
  if (environment.platform === 'win32' || (mode & 0o077) === 0) return
  const who = (mode & 0o007) === 0 ? 'its group' : 'every user of this machine'
  warn(`file ${path} can be read by ${who}; run: chmod go= ${shellWord(path)}`)
}

async function take(step: Step, context: CommandContext, signal: AbortSignal): Promise<void> {
  const { app, environment } = context
  switch (step.kind) {
    case 'say':
      return writeOut(step.text)
    case 'append':
      return appendTo(resolve(environment.cwd, step.path), step.text)
    case 'keep':
      return keep(step, context)
    case 'run': {
      const { runProgram } = await import('../core/run-program.ts')
      const { command, input } = step
      const env = await app.childEnvironment(undefined)
      const result = await runProgram({ command, env, input, timeoutMs: agentMs, signal, maxBytes: 65_536 })
      if (result.exitCode === 0) return
      const what = command.slice(0, 3).join(' ')
      // Its own words may quote what it was given.
      throw new TokctlError('command_failed', `"${what}" failed (exit code ${result.exitCode ?? 'none'})`)
    }
  }
}
