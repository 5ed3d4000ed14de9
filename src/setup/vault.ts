import { join } from 'node:path'
import { launcherChange, launcherPath, launcherText, plainLauncherPath } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { comesFromUs, wholeText } from './probe.ts'
import type { Machine, Tool } from './setup.ts'

/** `token_helper` of Vault's or OpenBao's configuration, with a launcher: it takes a path and no arguments. */
function tokenHelper(program: 'vault' | 'bao'): Tool {
  // They read their addresses from different variables.
  const words = ['helper', 'vault', '--client', program]
  return {
    about: `token_helper in ~/.${program}`,
    programs: [program],
    takesProfile: false,

    async plan(ask, machine) {
      const file = fileOf(program, machine)
      const launcher = (ask.remove ? launcherPath : plainLauncherPath)(machine, program, program)
      const text = ask.remove ? undefined : launcherText(machine, words)
      const isOurs = (line: string): boolean =>
        /^\s*token_helper\s*=\s*".*tokctl-(vault|bao)(\.cmd)?"\s*$/.test(line)
      const foreign = (line: string): string | undefined =>
        /^\s*token_helper\s*=\s*"?(.*?)"?\s*$/.exec(line)?.[1]
      const wanted = ask.remove ? [] : [`token_helper = ${JSON.stringify(launcher)}`]
      const address = `${program.toUpperCase()}_ADDR`
      return {
        changes: [
          ...launcherChange(launcher, text, machine),
          ...lineChanges({ file, before: machine.read(file), wanted, isOurs, foreign }),
        ],
        next: [
          `name the server by ${address} and never by -address, of which a helper is not told: the token for ${address} would go there`,
        ],
      }
    },

    asked: 'tool',
    async probe(_, machine) {
      if (machine.find(program) === undefined) return undefined
      return comesFromUs(
        machine,
        { words: [...words, 'get'], secret: wholeText },
        { command: [program, 'print', 'token'], secret: wholeText },
      )
    },
  }
}

function fileOf(program: 'vault' | 'bao', { env, home }: Machine): string {
  const vault = env['VAULT_CONFIG_PATH']
  // OpenBao takes the variable of Vault where there is none of its own.
  const named = program === 'vault' ? vault : (env['BAO_CONFIG_PATH'] ?? vault)
  return named || join(home, `.${program}`)
}

export const vault = tokenHelper('vault')
export const bao = tokenHelper('bao')
