import { TokctlError } from '../core/errors.ts'
import { type Origin, originsOf, taken, urlsOf } from './places.ts'
import type { Change, Machine, ProgramChange, Tool } from './setup.ts'
import { shellWords } from './words.ts'

// A helper for each server, with an empty one before it: git tells every helper of a server about each sign-in that went
// well, and one that stores would write our token into its file.

const isOurs = /tokctl.* helper git( --store)?$/

/** `credential.URL.helper`, by `git config`. */
export const tool: Tool = {
  about: 'credential.URL.helper, for each server that a profile matches',
  programs: ['git'],
  takesProfile: false,

  async plan(ask, machine) {
    const settings = await readSettings(machine)
    if (ask.remove) return { changes: removals(ask.profile && originsOf(ask), settings) }
    const helper = `!${shellWords([...machine.program, 'helper', 'git'])}`
    // As the only helper it has something to do where no profile matches anything.
    const only = ask.store ? helperChanges('credential.helper', `${helper} --store`, settings) : []
    const hasOrigins = !ask.store || ask.profiles.some(({ match }) => match.length > 0)
    const origins = hasOrigins ? originsOf(ask) : []
    return { changes: [...only, ...origins.flatMap(origin => additions(origin, helper, settings))] }
  },

  async probe(profiles, machine) {
    const url = urlsOf(profiles)[0]
    if (url === undefined) return undefined
    const { protocol, host, pathname } = new URL(url)
    const path = pathname.slice(1)
    const lines = [
      `protocol=${protocol.slice(0, -1)}`,
      `host=${host}`,
      ...(path === '' ? [] : [`path=${path}`]),
    ]
    const { exitCode, stdout } = await machine.run(['git', '-c', 'core.askPass=', 'credential', 'fill'], {
      input: `${lines.join('\n')}\n\n`,
      env: { GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '', SSH_ASKPASS: '' },
    })
    return exitCode === 0 && /^(password|credential)=./m.test(stdout)
  },
}

/** The values of each key, in their order. */
interface Settings extends ReadonlyMap<string, readonly string[]> {
  /** All of them as they stand in the file: git takes helpers in that order. */
  readonly inOrder: readonly (readonly [key: string, value: string])[]
}

async function readSettings(machine: Machine): Promise<Settings> {
  const command = ['git', 'config', '--global', '--null', '--get-regexp', '^credential\\.']
  const { exitCode, stdout, stderr } = await machine.run(command)
  const settings = new Map<string, string[]>()
  const inOrder: [string, string][] = []
  // 1: nothing was found.
  if (exitCode !== 0 && exitCode !== 1) {
    const said = stderr.trim().split('\n').at(-1) ?? ''
    throw new TokctlError('config_invalid', `git cannot read its configuration: ${said.slice(0, 160)}`)
  }
  for (const entry of stdout.split('\0')) {
    const at = entry.indexOf('\n')
    const key = at < 0 ? entry : entry.slice(0, at)
    if (key === '') continue
    const value = at < 0 ? '' : entry.slice(at + 1)
    settings.set(key, [...(settings.get(key) ?? []), value])
    inOrder.push([key, value])
  }
  return Object.assign(settings, { inOrder })
}

function additions({ url, hasPaths }: Origin, helper: string, settings: Settings): Change[] {
  refuseWhoIsTold(url, settings)
  const changes = helperChanges(`credential.${url}.helper`, helper, settings)
  const [usePath] = settings.get(`credential.${url}.usehttppath`) ?? []
  if (hasPaths && usePath === undefined) changes.push(config(`credential.${url}.useHttpPath`, 'true'))
  return changes
}

// git tells each helper that stands below ours of every sign-in that went well, and one that stores writes our token down.
function refuseWhoIsTold(url: string, { inOrder }: Settings): void {
  const own = inOrder.findLastIndex(([key]) => key.startsWith(`credential.${url}.`))
  const told = inOrder.find(([key, value], index) => {
    if (value === '' || isOurs.test(value)) return false
    // A section that is not there yet comes last.
    if (key === 'credential.helper') return own >= 0 && index > own
    return key === `credential.${url}/.helper`
  })
  if (told === undefined) return
  const [key, value] = told
  const shown = /^\s*!/.test(value) ? 'a command of the shell' : `"${value.slice(0, 80)}"`
  throw new TokctlError(
    'config_invalid',
    `git: ${key}, which is ${shown}, would be told the token for ${url}`,
    {
      hint: `move it above [credential "${url}"] in git's configuration, or take it out and run: tokctl setup git --store`,
    },
  )
}

function helperChanges(key: string, helper: string, settings: Settings): Change[] {
  const there = settings.get(key) ?? []
  const foreign = there.find(value => value !== '' && !isOurs.test(value))
  if (foreign !== undefined) {
    throw taken('git', key, foreign, `run: git config --global --unset-all ${shellWords([key])}`)
  }
  if (there.length === 2 && there[0] === '' && there[1] === helper) return []
  const rest = there.length > 0 ? [config('--unset-all', key)] : []
  return [...rest, config('--add', key, ''), config('--add', key, helper)]
}

function removals(origins: readonly Origin[] | undefined, settings: Settings): Change[] {
  const changes: Change[] = []
  for (const [key, values] of settings) {
    const [isHelper, url] = /^credential\.(?:(.+)\.)?helper$/.exec(key) ?? []
    if (isHelper === undefined || !values.some(value => isOurs.test(value))) continue
    if (origins !== undefined && !origins.some(origin => origin.url === url)) continue
    // What somebody added since stays, and so does the empty value before it.
    if (values.some(value => value !== '' && !isOurs.test(value))) {
      changes.push(config('--unset-all', key, isOurs.source))
      continue
    }
    changes.push(config('--unset-all', key))
    if (url !== undefined && settings.has(`credential.${url}.usehttppath`)) {
      changes.push(config('--unset-all', `credential.${url}.useHttpPath`))
    }
  }
  return changes
}

function config(...args: readonly string[]): ProgramChange {
  // git writes its file by itself, whole, and keeps its comments.
  return { run: ['git', 'config', '--global', ...args], rewrites: [] }
}
