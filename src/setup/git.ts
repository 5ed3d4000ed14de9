import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { type Place, placesOf, taken, urlsOf } from './places.ts'
import { comesFromUs } from './probe.ts'
import type { Machine, SetupAsk, Tool } from './setup.ts'
import { shellWords } from './words.ts'

// A helper for each place that a profile matches, with an empty one before it: git tells every helper of a place about each
// sign-in that went well, and one that stores would write our token into its file. Helpers of other places stay in force.

const isOurs = /tokctl.* helper git( --store( --timeout[= ][^ ]+)?)?$/

/** A key as git compares it: section and name letter case aside, the URL between them not. */
function comparable(key: string): string {
  return key.replace(/^[^.]*|[^.]*$/g, part => part.toLowerCase())
}

/** `credential.URL.helper`, by `git config`. */
export const tool: Tool = {
  about: 'credential.URL.helper, for each place that a profile matches',
  programs: ['git'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = fileOf(machine)
    const before = machine.read(file)
    const own = before === undefined ? [] : await read(['--file', file], machine)
    const todo = new Todo(file, own)
    if (ask.remove) removeOurs(ask, todo, machine)
    else await addOurs(ask, todo, file, machine)
    const { steps, notes, unnotes } = todo
    if (steps.length === 0) return { changes: [] }
    // git changes a copy, so that of several steps all are made or none.
    const { text, said } = await machine.edit(before ?? '', copy => [
      ...steps.map(step => ['git', 'config', '--file', copy, ...step]),
      ...(ask.remove ? [] : [['git', 'config', '--file', copy, ...listing]]),
    ])
    if (!ask.remove) for (const place of placesIfAny(ask)) refuseWhoIsTold(place.url, entriesOf(said))
    const says = steps.map(step => `$ ${shellWords(['git', 'config', '--global', ...step])}`)
    return { changes: [{ file, before, after: text, says, notes, unnotes }] }
  },

  asked: 'tool',
  async probe(profiles, machine) {
    const file = fileOf(machine)
    const sections = (await read(['--file', file], machine))
      .filter(({ key, value }) => key.endsWith('.helper') && isOurs.test(value))
      .map(({ section }) => section)
    const url = urlsOf(profiles).find(
      each => sections.includes(undefined) || sections.some(section => section && covers(section, each)),
    )
    if (url === undefined) return undefined
    const { protocol, host, pathname } = new URL(url)
    const path = pathname.slice(1)
    const lines = [
      `protocol=${protocol.slice(0, -1)}`,
      `host=${host}`,
      ...(path === '' ? [] : [`path=${path}`]),
    ]
    const input = `${lines.join('\n')}\n\n`
    const env = { GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '', SSH_ASKPASS: '', GCM_INTERACTIVE: 'never' }
    const secret = (said: string): string | undefined => /^(?:password|credential)=(.+)$/m.exec(said)?.[1]
    return comesFromUs(
      machine,
      { words: ['helper', 'git', 'get'], input, secret },
      { command: ['git', '-c', 'core.askPass=', 'credential', 'fill'], input, env, secret },
    )
  },
}

/** A setting, in its place among the others: git takes helpers in that order. */
interface Entry {
  /** As git writes it: names in lower case, the URL as it stands. */
  readonly key: string
  /** The URL of `credential.URL.…`. */
  readonly section: string | undefined
  readonly value: string
  /** Stands in a file that is included. */
  readonly isElsewhere: boolean
}

/** What is to be done to the file. */
class Todo {
  readonly steps: (readonly string[])[] = []
  readonly notes: string[] = []
  readonly unnotes: string[] = []

  readonly own: readonly Entry[]
  readonly #file: string

  constructor(file: string, own: readonly Entry[]) {
    this.#file = file
    this.own = own
  }

  values(key: string): string[] {
    const wanted = comparable(key)
    return this.own.filter(entry => comparable(entry.key) === wanted).map(({ value }) => value)
  }

  /** @param what - Distinguishes notes on one key. */
  note(what: string, key: string): string {
    return `git ${this.#file}: ${what} ${key}`
  }
}

// The one that `git config --global` writes.
function fileOf({ env, home, read }: Machine): string {
  const named = env['GIT_CONFIG_GLOBAL']
  if (named) return named
  const usual = join(home, '.gitconfig')
  const config = env['XDG_CONFIG_HOME'] || join(home, '.config')
  const other = join(config, 'git', 'config')
  return read(usual) === undefined && read(other) !== undefined ? other : usual
}

const listing = ['--null', '--get-regexp', '^credential\\.']

async function read(where: readonly string[], machine: Machine): Promise<Entry[]> {
  const { exitCode, stdout, stderr } = await machine.run(['git', 'config', ...where, ...listing])
  // 1: nothing was found.
  if (exitCode === 0 || exitCode === 1) return entriesOf(stdout)
  const said = stderr.trim().split('\n').at(-1) ?? ''
  throw new TokctlError('config_invalid', `git cannot read its configuration: ${said.slice(0, 160)}`)
}

/** With those of files that are included, as they are read. */
async function readAll(file: string, machine: Machine): Promise<Entry[]> {
  const command = ['git', 'config', '--file', file, '--includes', '--show-origin', ...listing]
  const { exitCode, stdout } = await machine.run(command)
  if (exitCode !== 0) return []
  const parts = stdout.split('\0')
  const entries: Entry[] = []
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const [entry] = entriesOf(`${parts[i + 1]}\0`)
    if (entry !== undefined) entries.push({ ...entry, isElsewhere: parts[i] !== `file:${file}` })
  }
  return entries
}

function entriesOf(text: string): Entry[] {
  return text.split('\0').flatMap(each => {
    const at = each.indexOf('\n')
    const key = at < 0 ? each : each.slice(0, at)
    if (key === '') return []
    const section = /^credential\.(.+)\.[^.]+$/s.exec(key)?.[1]
    return { key, section, value: at < 0 ? '' : each.slice(at + 1), isElsewhere: false }
  })
}

// As the only helper it has something to do where no profile matches anything.
function placesIfAny(ask: SetupAsk): Place[] {
  const hasPlaces = !ask.store || ask.profiles.some(({ match }) => match.length > 0)
  return hasPlaces ? placesOf(ask) : []
}

async function addOurs(ask: SetupAsk, todo: Todo, file: string, machine: Machine): Promise<void> {
  const places = placesIfAny(ask)
  const helper = `!${shellWords([...machine.program, 'helper', 'git'])}`
  if (ask.store) addHelper('credential.helper', `${helper} --store`, todo)
  const all = await readAll(file, machine)
  for (const { url, needsPath } of places) {
    refuseWhoIsTold(url, all)
    addHelper(`credential.${url}.helper`, helper, todo)
    const key = `credential.${url}.useHttpPath`
    if (needsPath && todo.values(key).length === 0) {
      todo.steps.push([key, 'true'])
      todo.notes.push(todo.note('wrote', key))
    }
  }
}

function addHelper(key: string, helper: string, todo: Todo): void {
  const there = todo.values(key)
  const foreign = there.find(value => value !== '' && !isOurs.test(value))
  if (foreign !== undefined) {
    throw taken('git', key, foreign, `run: git config --global --unset-all ${shellWords([key])}`)
  }
  const ours = there.filter(value => value !== '')
  if (there[0] === '' && ours.length === 1) {
    if (ours[0] !== helper) todo.steps.push(['--replace-all', key, helper, isOurs.source])
    return
  }
  if (ours.length > 0) todo.steps.push(['--unset-all', key, isOurs.source])
  // An empty one that a person wrote stays when ours goes.
  if (there[0] === '') todo.notes.push(todo.note('found an empty', key))
  else todo.steps.push(['--add', key, ''])
  todo.steps.push(['--add', key, helper])
}

function removeOurs(ask: SetupAsk, todo: Todo, machine: Machine): void {
  const urls = ask.profile && placesOf(ask).map(({ url }) => url)
  const keys = new Map(todo.own.map(({ key, section }) => [key, section] as const))
  for (const [key, url] of keys) {
    const values = todo.values(key)
    if (!key.endsWith('.helper') || !values.some(value => isOurs.test(value))) continue
    if (urls !== undefined && (url === undefined || !urls.includes(url))) continue
    const found = todo.note('found an empty', key)
    const others = values.filter(value => !isOurs.test(value))
    // What somebody added since stays, and so does the empty value before it.
    const isOnlyOurs = others.join() === '' && others.length <= 1 && !machine.noted(found)
    todo.steps.push(isOnlyOurs ? ['--unset-all', key] : ['--unset-all', key, isOurs.source])
    todo.unnotes.push(found)
    if (url === undefined) continue
    const usePath = `credential.${url}.useHttpPath`
    const wrote = todo.note('wrote', usePath)
    if (machine.noted(wrote) && todo.values(usePath).length === 1) todo.steps.push(['--unset-all', usePath])
    todo.unnotes.push(wrote)
  }
}

// git tells each helper that stands below ours of every sign-in that went well, and one that stores writes our token down.
function refuseWhoIsTold(url: string, all: readonly Entry[]): void {
  // A section that is not there yet comes last.
  const own = all.findLastIndex(entry => entry.section === url && !entry.isElsewhere)
  const told = all.find(
    ({ key, section, value }, index) =>
      key.endsWith('.helper') &&
      section !== url &&
      value !== '' &&
      !isOurs.test(value) &&
      own >= 0 &&
      index > own &&
      (section === undefined || covers(section, url) || covers(url, section)),
  )
  if (told === undefined) return
  const { key, value } = told
  const shown = /^\s*!/.test(value) ? 'a command of the shell' : `"${value.slice(0, 80)}"`
  throw new TokctlError(
    'config_invalid',
    `git: ${key}, which is ${shown}, would be told the token for ${url}`,
    {
      hint: `move it above [credential "${url}"] in git's configuration, or take it out and run: tokctl setup git --store`,
    },
  )
}

/**
 * Tells whether git takes a section for that URL.
 *
 * @see git-config(1), `http.<url>.*`
 */
function covers(section: string, url: string): boolean {
  const a = partsOf(section)
  const b = partsOf(url)
  return (
    a !== undefined &&
    b !== undefined &&
    (a.scheme === undefined || a.scheme === b.scheme) &&
    a.labels.length === b.labels.length &&
    a.labels.every((label, i) => label === '*' || label === b.labels[i]) &&
    (a.port ?? usualPort(b.scheme)) === (b.port ?? usualPort(b.scheme)) &&
    a.segments.every((segment, i) => segment === b.segments[i])
  )
}

function partsOf(url: string) {
  const found = /^(?:([\w+.-]+):\/\/)?(?:[^/@]*@)?(\[[^\]]*\]|[^/:]*)(?::(\d+))?(\/.*)?$/.exec(url)
  if (found === null) return undefined
  const [, scheme, host = '', port, path = ''] = found
  const labels = host.startsWith('[') ? [host] : host.toLowerCase().split('.')
  return {
    scheme: scheme?.toLowerCase(),
    labels,
    port,
    segments: path.split('/').filter(part => part !== ''),
  }
}

function usualPort(scheme: string | undefined): string | undefined {
  return scheme === 'https' ? '443' : scheme === 'http' ? '80' : undefined
}
