import { join } from 'node:path'
import type { Profile } from '../profile/profile.ts'
import { addToSection, iniEntries, removeFromSection, sectionsOf } from './ini.ts'
import { onPath } from './launcher.ts'
import { insertLines, linesOf, removeLines } from './lines.ts'
import { taken, urlsOf } from './places.ts'
import { comesFromUs, wholeText } from './probe.ts'
import { backupPath, type Change, type Machine, type SetupAsk, type Tool } from './setup.ts'
import { checkedToml, parseToml } from './toml-text.ts'

const key = 'keyring-provider'
const mark = '# written by tokctl setup'
const next = ['write a user into the URL of the index: https://token@HOST/simple/']

/** `keyring-provider` of `pip.conf`, and a `keyring` on `PATH` that asks tokctl first. */
export const pip: Tool = {
  about: 'keyring-provider of pip.conf, and a keyring on PATH',
  programs: ['pip', 'pip3'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = pipFile(machine)
    const before = machine.read(file)
    const there = iniEntries(before ?? '').find(entry => entry.section === 'global' && entry.key === key)
    const changes: Change[] = []
    if (ask.remove) {
      const isOurs = there !== undefined && linesOf(before!)[there.line - 1] === mark
      if (isOurs) {
        const were = sectionsOf(machine.read(backupPath(file)) ?? '')
        const after = removeFromSection(before!, new Set([there.line - 1, there.line]), were)
        const says = [`- [global] ${key} = ${there.value}`]
        changes.push({ file, before, after, says })
      }
    } else if (there === undefined) {
      const after = addToSection(before, 'global', [mark, `${key} = subprocess`])
      changes.push({ file, before, after, says: [`+ [global] ${key} = subprocess`] })
    } else if (there.value !== 'subprocess' && there.value !== 'auto') {
      throw taken(file, key, there.value, 'take that line away, then run this again')
    }
    return { changes: [...shim(ask, machine, uvFile(machine)), ...changes], ...(ask.remove ? {} : { next }) }
  },

  asked: 'command',
  async probe(profiles, machine) {
    const entries = iniEntries(machine.read(pipFile(machine)) ?? '')
    return probe(
      entries.find(each => each.section === 'global' && each.key === key)?.value,
      profiles,
      machine,
    )
  },
}

/** The same for uv, in `uv.toml`. */
export const uv: Tool = {
  about: 'keyring-provider of uv.toml, and a keyring on PATH',
  programs: ['uv'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = uvFile(machine)
    const before = machine.read(file)
    const text = before ?? ''
    const table = parseToml(text, file)
    const line = `${key} = "subprocess"  ${mark}`
    const changes: Change[] = []
    if (ask.remove) {
      const after = removeLines(text, each => each === line)
      const { [key]: _, ...rest } = table
      if (after !== text) {
        checkedToml(after, rest, file, `take ${key} out of it`)
        changes.push({ file, before, after, says: [`- ${line}`] })
      }
    } else if (table[key] === undefined) {
      const after = insertLines(text, 0, [line])
      checkedToml(after, { ...table, [key]: 'subprocess' }, file, `write ${key} = "subprocess" there`)
      changes.push({ file, before, after, says: [`+ ${line}`] })
    } else if (table[key] !== 'subprocess') {
      throw taken(file, key, String(table[key]), 'take that line away, then run this again')
    }
    return { changes: [...shim(ask, machine, pipFile(machine)), ...changes], ...(ask.remove ? {} : { next }) }
  },

  asked: 'command',
  async probe(profiles, machine) {
    const file = uvFile(machine)
    return probe(parseToml(machine.read(file) ?? '', file)[key], profiles, machine)
  },
}

// Asked as pip and uv do, with the user that stands in the URL of an index.
async function probe(
  provider: unknown,
  profiles: readonly Profile[],
  machine: Machine,
): Promise<boolean | undefined> {
  const profile = profiles.find(({ match }) => match.length > 0)
  if (profile === undefined || (provider !== 'subprocess' && provider !== 'auto')) return undefined
  if (machine.find('keyring') === undefined) return false
  const words = ['get', urlsOf([profile])[0]!, profile.username ?? 'token']
  return comesFromUs(
    machine,
    { words: ['helper', 'keyring', ...words], secret: wholeText },
    { command: ['keyring', ...words], secret: wholeText },
  )
}

// Both start the same program: it goes with the last of them.
function shim(ask: SetupAsk, machine: Machine, others: string): readonly Change[] {
  const isShared = ask.remove && (machine.read(others) ?? '').includes(mark)
  return isShared ? [] : onPath('keyring', ['helper', 'keyring'], ask, machine, true)
}

function pipFile({ env, home, platform, read }: Machine): string {
  if (env['PIP_CONFIG_FILE']) return env['PIP_CONFIG_FILE']
  if (platform === 'win32') return join(env['APPDATA'] || home, 'pip', 'pip.ini')
  const old = join(home, '.pip', 'pip.conf')
  const usual = join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'pip', 'pip.conf')
  return read(usual) === undefined && read(old) !== undefined ? old : usual
}

function uvFile({ env, home, platform }: Machine): string {
  if (env['UV_CONFIG_FILE']) return env['UV_CONFIG_FILE']
  if (platform === 'win32') return join(env['APPDATA'] || home, 'uv', 'uv.toml')
  return join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'uv', 'uv.toml')
}
