import { join } from 'node:path'
import { launcherChange, launcherPath, launcherText, plainLauncherPath } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { comesFromUs, wholeText } from './probe.ts'
import type { Tool } from './setup.ts'

/** `token_helper` of Vault's or OpenBao's configuration, with a launcher: it takes a path and no arguments. */
function tokenHelper(program: 'vault' | 'bao'): Tool {
  return {
    about: `token_helper in ~/.${program}`,
    programs: [program],
    takesProfile: false,

    async plan(ask, machine) {
      const { env, home } = machine
      const variable = env[`${program.toUpperCase()}_CONFIG_PATH`]
      const file = variable || join(home, `.${program}`)
      const launcher = (ask.remove ? launcherPath : plainLauncherPath)(machine, program, program)
      const text = ask.remove ? undefined : launcherText(machine, ['helper', 'vault'])
      const isOurs = (line: string): boolean =>
        /^\s*token_helper\s*=\s*".*tokctl-(vault|bao)(\.cmd)?"\s*$/.test(line)
      const foreign = (line: string): string | undefined =>
        /^\s*token_helper\s*=\s*"?(.*?)"?\s*$/.exec(line)?.[1]
      const wanted = ask.remove ? [] : [`token_helper = ${JSON.stringify(launcher)}`]
      return {
        changes: [
          ...launcherChange(launcher, text, machine),
          ...lineChanges({ file, before: machine.read(file), wanted, isOurs, foreign }),
        ],
      }
    },

    asked: 'tool',
    async probe(_, machine) {
      if (machine.find(program) === undefined) return undefined
      return comesFromUs(
        machine,
        { words: ['helper', 'vault', 'get'], secret: wholeText },
        { command: [program, 'print', 'token'], secret: wholeText },
      )
    },
  }
}

export const vault = tokenHelper('vault')
export const bao = tokenHelper('bao')
