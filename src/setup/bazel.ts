import { join } from 'node:path'
import { launcherChange, launcherPath, launcherText } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { originsOf } from './places.ts'
import type { Tool } from './setup.ts'

/** `--credential_helper` in `~/.bazelrc`, with a launcher: Bazel gives a helper no arguments. */
export const tool: Tool = {
  about: '--credential_helper in .bazelrc, for each server that a profile matches',
  programs: ['bazel', 'bazelisk'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = join(machine.home, '.bazelrc')
    const before = machine.read(file)
    const launcher = launcherPath(machine, 'bazel')
    const lineOf = (host: string): string => `common ${rcWord(`--credential_helper=${host}=${launcher}`)}`
    const isOurs = (line: string): boolean =>
      /^\s*common\s+"?--credential_helper=.*tokctl-bazel(\.cmd)?"?$/.test(line)
    // A scope is a name of the DNS.
    const origins = ask.remove && ask.profile === undefined ? [] : originsOf(ask)
    const hosts = [...new Set(origins.map(({ host }) => host))].filter(host => !host.startsWith('['))
    const there = new Set((before ?? '').split(/\r?\n/).filter(isOurs))
    const others = [...there].filter(line => !hosts.some(host => line.includes(`=${host}=`)))
    const wanted = ask.remove
      ? ask.profile === undefined
        ? []
        : others
      : [...(ask.profile === undefined ? [] : others), ...hosts.map(lineOf)]
    const foreign = (line: string): string | undefined => {
      const host = /--credential_helper=(?:([^=\s]+)=)?\S+/.exec(line)?.[1]
      return host !== undefined && hosts.includes(host) && !line.trim().startsWith('#')
        ? line.trim()
        : undefined
    }
    const text = wanted.length === 0 ? undefined : launcherText(machine, ['helper', 'bazel'])
    return {
      changes: [
        ...launcherChange(launcher, text, machine),
        ...lineChanges({ file, before, wanted, isOurs, foreign: ask.remove ? () => undefined : foreign }),
      ],
    }
  },
}

/**
 * A word of a file that Bazel reads.
 *
 * @see Bazel, `Tokenize` of its client: double quotes, and a backslash before what would end them
 */
function rcWord(word: string): string {
  return /^[\w@%+=:,./*-]+$/.test(word) ? word : `"${word.replace(/["\\]/g, '\\$&')}"`
}
