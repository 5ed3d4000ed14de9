import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { appendLines, linesOf, removeLines, replaceLine } from './lines.ts'
import { taken, urlsOf } from './places.ts'
import { comesFromUs, wordsOf } from './probe.ts'
import type { Machine, Tool } from './setup.ts'
import { quotedWords } from './words.ts'

const isOurs = /tokctl.* helper goauth$/

/** `GOAUTH` in the file that `go env -w` writes. */
export const tool: Tool = {
  about: 'GOAUTH, beside what is there',
  programs: ['go'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = fileOf(machine)
    const before = machine.read(file)
    const lines = before === undefined ? [] : linesOf(before)
    const at = lines.findIndex(line => line.startsWith('GOAUTH='))
    const there = at < 0 ? undefined : lines[at]!.slice('GOAUTH='.length)
    const commands = (there ?? 'netrc').split(';').map(each => each.trim())
    const others = commands.filter(each => !isOurs.test(each))
    const without = before === undefined || at < 0 ? before : removeLines(before, (_, index) => index === at)
    if (ask.remove) {
      if (others.length === commands.length) return { changes: [] }
      // What is taken where nothing is set.
      const isDefault = others.length === 0 || (others.length === 1 && others[0] === 'netrc')
      const rest = isDefault ? without : replaceLine(before!, at, `GOAUTH=${others.join('; ')}`)
      return { changes: [{ file, before, after: rest, says: [`- ${lines[at]}`] }] }
    }
    if (there === 'off') throw taken(file, 'GOAUTH', there, 'run: go env -u GOAUTH')
    const value = [quotedWords([...machine.program, 'helper', 'goauth'], 'go'), ...others].join('; ')
    if (there === value) return { changes: [] }
    const line = `GOAUTH=${value}`
    const after = there === undefined ? appendLines(before, [line]) : replaceLine(before!, at, line)
    return { changes: [{ file, before, after, says: [`+ ${line}`] }] }
  },

  asked: 'command',
  async probe(profiles, machine) {
    // What is in force, a variable of the environment before the file.
    const { stdout } = await machine.run(['go', 'env', 'GOAUTH'])
    if (stdout.trim() === '') {
      throw new TokctlError('usage', 'this go does not know GOAUTH, which came with 1.24')
    }
    const command = stdout.split(';').find(each => isOurs.test(each.trim()))
    const url = urlsOf(profiles).find(each => each.startsWith('https://'))
    if (url === undefined) return undefined
    if (command === undefined) return false
    const input = 'HTTP/1.1 401 Unauthorized\r\n\r\n'
    const secret = (said: string): string | undefined => /^Authorization: (.+)$/m.exec(said)?.[1]
    return comesFromUs(
      machine,
      { words: ['helper', 'goauth', url], input, secret },
      { command: [...wordsOf(command), url], input, secret },
    )
  },
}

function fileOf({ env, home, platform }: Machine): string {
  const named = env['GOENV']
  if (named === 'off') {
    throw new TokctlError('usage', 'GOENV is "off": go reads no file that could be written', {
      hint: 'run: unset GOENV',
    })
  }
  if (named) return named
  if (platform === 'win32') return join(env['APPDATA'] || home, 'go', 'env')
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', 'go', 'env')
  return join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'go', 'env')
}
