import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { launcherChange, launcherText } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { removeLines } from './lines.ts'
import { allOrigins, taken } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Machine, Tool } from './setup.ts'

const mark = '# written by tokctl setup'
const line = `credentials_helper "tokctl" {} ${mark}`

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
      const other = helperIn(before ?? '', file)
      if (!ask.remove && other !== undefined && other !== 'tokctl') {
        throw taken(
          file,
          'credentials_helper',
          other,
          'there can be one only: take it away, then run this again',
        )
      }
      // A block of ours that a person wrote, with arguments perhaps, is left as it is, and so is what it starts.
      const isOurs = (each: string): boolean => each.endsWith(mark)
      const rest = helperIn(removeLines(before ?? '', isOurs), file)
      const wanted = ask.remove || rest === 'tokctl' ? [] : [line]
      const helper = helperPath(machine)
      const isShared = ask.remove && (rest === 'tokctl' || others(program, machine))
      const text = ask.remove ? undefined : launcherText(machine, ['helper', 'terraform'])
      return {
        changes: [
          ...(isShared ? [] : launcherChange(helper, text, machine)),
          ...lineChanges({ file, before, wanted, isOurs }),
        ],
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
    .some(file => file !== mine && /credentials_helper\s+"tokctl"/.test(machine.read(file) ?? ''))
}

function helperIn(text: string, file: string): string | undefined {
  if (text.trimStart().startsWith('{')) {
    throw new TokctlError('config_invalid', `${file}: is JSON, which is not edited`, {
      hint: 'write "credentials_helper": {"tokctl": {}} there',
    })
  }
  // Strings stay, comments go.
  const code = text.replace(
    /("(?:[^"\\\n]|\\.)*")|#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, string) => string ?? ' ',
  )
  return /(?:^|[\s}])credentials_helper\s+"([^"]*)"/.exec(code)?.[1]
}

export const terraform = credentialsHelper('terraform')
export const tofu = credentialsHelper('tofu')
