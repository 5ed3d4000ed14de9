import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { removeMember, setMember } from './json-text.ts'
import { launcherChange, launcherText } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { removeLines } from './lines.ts'
import { allOrigins, taken } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Change, Machine, Tool } from './setup.ts'

const mark = '# written by tokctl setup'
const name = 'credentials_helper'
const line = `${name} "tokctl" {} ${mark}`

/** `credentials_helper` of the CLI configuration, and the program of that name where Terraform and OpenTofu look. */
function credentialsHelper(program: 'terraform' | 'tofu'): Tool {
  return {
    about: 'credentials_helper of its CLI configuration',
    programs: [program],
    takesProfile: false,

    async plan(ask, machine) {
      if (machine.platform === 'win32') {
        throw new TokctlError('usage', `${program} starts nothing but .exe files on Windows`)
      }
      const file = fileOf(program, machine)
      const before = machine.read(file)
      const text = before ?? ''
      const other = helperIn(text, file)
      if (!ask.remove && other !== undefined && other !== 'tokctl') {
        throw taken(
          file,
          'credentials_helper',
          other,
          'there can be one only: take it away, then run this again',
        )
      }
      const { changes, rest } = isJson(text)
        ? memberChanges(file, text, ask.remove, machine)
        : blockChanges(file, before, ask.remove)
      const helper = helperPath(machine)
      const isShared = ask.remove && (rest === 'tokctl' || others(program, machine))
      const script = ask.remove ? undefined : launcherText(machine, ['helper', 'terraform'])
      const stays =
        rest === 'tokctl'
          ? `credentials_helper "tokctl" was not written by setup; take it out of ${file}, then run this again`
          : undefined
      return {
        changes: [...(isShared ? [] : launcherChange(helper, script, machine)), ...changes],
        next: [
          `for a host that no profile matches set TF_TOKEN_…, or write credentials "HOST" { token = "…" } there: there can be one helper only, and with this one ${program} login fails to keep a token that is not ours`,
        ],
        stays,
      }
    },

    asked: 'command',
    async probe(profiles, machine) {
      const file = fileOf(program, machine)
      const origin = allOrigins(profiles).find(
        ({ scheme, paths }) => scheme === 'https' && paths.includes(''),
      )
      if (helperIn(machine.read(file) ?? '', file) !== 'tokctl' || origin === undefined) return undefined
      const words = ['get', origin.name]
      const secret = memberText('token')
      return comesFromUs(
        machine,
        { words: ['helper', 'terraform', ...words], secret },
        { command: [helperPath(machine), ...words], secret },
      )
    },
  }
}

function helperPath({ home }: Machine): string {
  return join(home, '.terraform.d', 'plugins', 'terraform-credentials-tokctl')
}

function fileOf(program: string, { env, home, read }: Machine): string {
  const named = env['TF_CLI_CONFIG_FILE'] || env['TERRAFORM_CONFIG']
  if (named) return named
  const own = join(home, '.tofurc')
  return program === 'tofu' && read(own) !== undefined ? own : join(home, '.terraformrc')
}

// Both start the same program, and may have a configuration of their own each.
function others(program: string, machine: Machine): boolean {
  const mine = fileOf(program, machine)
  return ['.tofurc', '.terraformrc']
    .map(name => join(machine.home, name))
    .some(file => file !== mine && isOursIn(file, machine))
}

function isOursIn(file: string, { read }: Machine): boolean {
  try {
    return helperIn(read(file) ?? '', file) === 'tokctl'
  } catch {
    // What cannot be read may name it.
    return true
  }
}

interface Edited {
  readonly changes: Change[]
  /** The helper that the file names without what setup wrote. */
  readonly rest: string | undefined
}

// A block of ours that a person wrote, with arguments perhaps, is left as it is, and so is what it starts.
function blockChanges(file: string, before: string | undefined, remove: boolean): Edited {
  const isOurs = (each: string): boolean => each.endsWith(mark)
  const rest = helperIn(removeLines(before ?? '', isOurs), file)
  const wanted = remove || rest === 'tokctl' ? [] : [line]
  return { changes: lineChanges({ file, before, wanted, isOurs }), rest }
}

// JSON has no comments that could mark it as ours.
function memberChanges(file: string, before: string, remove: boolean, machine: Machine): Edited {
  const note = `terraform wrote credentials_helper into ${file}`
  const isThere = helperIn(before, file) === 'tokctl'
  const isOurs = isThere && machine.noted(note) && /"tokctl"\s*:\s*\{\s*\}/.test(before)
  const rest = isThere && !isOurs ? 'tokctl' : undefined
  const member = `"${name}": {"tokctl": {}}`
  if (remove && isOurs) {
    const after = removeMember(before, name, 'tokctl')
    return { changes: [{ file, before, after, says: [`- ${member}`], unnotes: [note] }], rest }
  }
  if (remove || isThere) return { changes: [], rest }
  const after = setMember(before, name, 'tokctl', '{}')
  return { changes: [{ file, before, after, says: [`+ ${member}`], notes: [note] }], rest }
}

function isJson(text: string): boolean {
  return /^\ufeff?\s*\{/.test(text)
}

function helperIn(text: string, file: string): string | undefined {
  if (isJson(text)) return helperInJson(text, file)
  // Strings stay, comments go.
  const code = text.replace(
    /("(?:[^"\\\n]|\\.)*")|#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, string) => string ?? ' ',
  )
  return /(?:^|[\s}])credentials_helper\s+"([^"]*)"/.exec(code)?.[1]
}

function helperInJson(text: string, file: string): string | undefined {
  let found: unknown
  try {
    found = (JSON.parse(text.replace(/^\ufeff/, '')) as Record<string, unknown>)[name]
  } catch {
    throw new TokctlError('config_invalid', `${file}: is not JSON`, { hint: 'mend it, then run this again' })
  }
  if (found === undefined) return undefined
  // Blocks of one name may be a list too, which is not edited.
  const blocks: unknown[] = Array.isArray(found) ? found : [found]
  const names = blocks.flatMap(block => (isObject(block) ? Object.keys(block as object) : []))
  if (names.length > 0 || isObject(found)) return names[0]
  throw new TokctlError('config_invalid', `${file}: is written in a way that cannot be edited here`, {
    hint: 'write "credentials_helper": {"tokctl": {}} there, then run this again',
  })
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export const terraform = credentialsHelper('terraform')
export const tofu = credentialsHelper('tofu')
