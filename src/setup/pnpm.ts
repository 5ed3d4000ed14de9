import { join } from 'node:path'
import { launcherChange, launcherPath, launcherText, plainLauncherPath } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { linesOf } from './lines.ts'
import { namedProfile, originsOf, urlsOf } from './places.ts'
import { comesFromUs, wholeText } from './probe.ts'
import type { Change, Machine, Tool } from './setup.ts'

/** `tokenHelper` in the user's `.npmrc`, with a launcher: pnpm up to 10 takes a path and no arguments. */
export const tool: Tool = {
  about: 'tokenHelper in the .npmrc of the user, for each registry that the profile matches',
  programs: ['pnpm'],
  takesProfile: true,

  async plan(ask, machine) {
    const file = fileOf(machine)
    const before = machine.read(file)
    const ours = oursIn(before)
    if (ask.remove && ask.profile === undefined) {
      const launchers = [...new Set(ours.map(({ path }) => path))]
      return {
        changes: [
          ...lineChanges({ file, before, wanted: [], isOurs: line => ours.some(each => each.line === line) }),
          ...launchers.flatMap(path => launcherChange(path, undefined, machine)),
        ],
      }
    }
    const { name } = namedProfile('pnpm', ask)
    const launcher = (ask.remove ? launcherPath : plainLauncherPath)(machine, `pnpm-${name}`, 'pnpm')
    originsOf(ask)
    const keys = urlsOf(ask.profiles).map(url => `${url.replace(/^https?:|\/+$/g, '')}/:tokenHelper`)
    const isOurs = (line: string): boolean => ours.some(each => each.line === line && each.path === launcher)
    const foreign = (line: string): string | undefined =>
      keys.some(key => line.startsWith(key)) ? line.slice(line.indexOf('=') + 1).trim() : undefined
    const wanted = ask.remove ? [] : keys.map(key => `${key}=${launcher}`)
    const text = ask.remove ? undefined : launcherText(machine, ['helper', 'pnpm', name])
    const changes: Change[] = [
      ...launcherChange(launcher, text, machine),
      ...lineChanges({ file, before, wanted, isOurs, foreign }),
    ]
    return { changes }
  },

  asked: 'command',
  async probe(profiles, machine) {
    for (const { path } of oursIn(machine.read(fileOf(machine)))) {
      const profile = profiles.find(({ name }) => path === launcherPath(machine, `pnpm-${name}`))
      if (profile === undefined) continue
      return comesFromUs(
        machine,
        { words: ['helper', 'pnpm', profile.name], secret: wholeText },
        { command: [path], secret: wholeText },
      )
    }
    return undefined
  },
}

function fileOf({ env, home }: Machine): string {
  return env['NPM_CONFIG_USERCONFIG'] || env['npm_config_userconfig'] || join(home, '.npmrc')
}

function oursIn(text: string | undefined): { readonly line: string; readonly path: string }[] {
  return linesOf(text ?? '').flatMap(line => {
    const path = /:tokenHelper\s*=\s*(.*tokctl-pnpm-[^/\\]+?)\s*$/.exec(line)?.[1]
    return path === undefined ? [] : [{ line, path }]
  })
}
