import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { findProgram, isFile, isProgram, noSuchProgram } from '../core/find-program.ts'
import { childEnvironment } from '../core/program.ts'
import { shellWord } from '../core/shell-word.ts'
import type { EpochMs } from '../core/time.ts'
import type { Profile, SecretRef } from '../profile/profile.ts'
import { references } from '../profile/project.ts'
import { createResolver } from '../profile/resolve.ts'
import { type Finding, ok, problem, problemsOf } from './finding.ts'
import { rowOf } from './status-row.ts'

// What `doctor` says of the profiles themselves: how their last attempt ended, and whether what they name is there. Starts no
// program and asks no server; a secret that is looked at goes nowhere.

/** How it stands with each profile: who is refused, fails, or waits for a person. */
export function profileFindings(
  profiles: readonly Profile[],
  app: App,
  environment: Environment,
  now: EpochMs,
): Finding[] {
  const findings: Finding[] = []
  for (const profile of profiles) {
    const { state, failure, nextAttemptAt } = rowOf(profile, app, environment, now)
    const name = `profile "${profile.name}"`
    const why = failure === undefined ? '' : `: ${failure.message}`
    const word = shellWord(profile.name)
    if (state === 'login_required') {
      const text = `${name} needs a sign-in`
      // A failure may say the same, and more.
      const told = failure?.message.startsWith(text) ? failure.message : `${text}${why}`
      findings.push(problem('profile', told, `run: tokctl login ${word}`))
    }
    if (state === 'refused')
      findings.push(
        problem('profile', `${name} was refused${why}`, `when that is mended, run: tokctl refresh ${word}`),
      )
    if (state === 'failing') {
      const when =
        nextAttemptAt === undefined ? 'could not be renewed when it was last tried' : 'cannot be renewed now'
      findings.push(problem('profile', `${name} ${when}${why}`, `run: tokctl refresh ${word}`))
    }
    if (state === 'expired' && profile.source === 'static')
      findings.push(
        problem('profile', `${name} has a token that is over`, `run: tokctl profile show ${word}`),
      )
  }
  if (findings.length > 0 || profiles.length === 0) return findings
  return [ok('profile', 'none is refused, and none waits for a person')]
}

/** Whether the variables, files and programs are there that profiles name. */
export async function referenceFindings(
  profiles: readonly Profile[],
  environment: Environment,
): Promise<Finding[]> {
  const ports = {
    environment,
    run: () => Promise.reject(new Error('no program is started')),
    readSecret: async () => undefined,
    readKeychain: async () => undefined,
  }
  const resolve = createResolver(ports)
  const needed = new Map<
    string,
    { readonly look: () => Promise<unknown> | unknown; readonly names: Set<string> }
  >()
  const need = (what: string, name: string, look: () => Promise<unknown> | unknown): void => {
    const one = needed.get(what) ?? { look, names: new Set() }
    needed.set(what, one)
    one.names.add(name)
  }
  const program = (command: readonly string[], name: string): void => {
    const [first = ''] = command
    need(`program ${first}`, name, () => isRunnable(first, environment))
  }
  for (const profile of profiles) {
    const { name } = profile
    if (profile.source === 'command') program(profile.command, name)
    for (const ref of references(profile)) {
      if ('command' in ref) program(ref.command, name)
      else if ('env' in ref || 'file' in ref) need(JSON.stringify(ref), name, () => resolve(ref))
    }
  }
  const findings: Finding[] = []
  for (const [what, { look, names }] of needed) {
    try {
      await look()
    } catch (error) {
      const whose = `(${names.size === 1 ? 'profile' : 'profiles'} ${[...names].join(', ')})`
      const [first, ...more] = problemsOf('secret', error)
      const hint = first?.hint ?? (what.startsWith('{') ? mending(JSON.parse(what)) : undefined)
      findings.push({ ...first!, message: `${first!.message} ${whose}`, hint }, ...more)
    }
  }
  if (findings.length > 0 || needed.size === 0) return findings
  return [ok('secret', 'the variables, files and programs that profiles name are there')]
}

function isRunnable(name: string, environment: Environment): void {
  const file = findProgram(name, childEnvironment(environment))
  if (isProgram(file)) return
  if (!isFile(file)) throw noSuchProgram(name)
  throw new TokctlError('command_failed', `program "${printable(name)}" may not be run`, {
    hint: `run: chmod +x ${shellWord(file)}`,
  })
}

function mending(ref: SecretRef): string | undefined {
  if (!('file' in ref)) return undefined
  return `put it there: (umask 077; cat > ${shellWord(ref.file)})`
}
