import { join } from 'node:path'
import { launcherChange, launcherPath, launcherText } from './launcher.ts'
import { lineChanges } from './line-setting.ts'
import { originsOf, urlsOf } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
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

  asked: 'command',
  async probe(profiles, machine) {
    const lines = (machine.read(join(machine.home, '.bazelrc')) ?? '').split(/\r?\n/)
    for (const url of urlsOf(profiles)) {
      const { hostname } = new URL(url)
      const helpers = lines.flatMap(line => /^\s*common\s+(.*)$/.exec(line)?.[1] ?? []).map(plainWord)
      const option = `--credential_helper=${hostname}=`
      // Of several for one host the last counts.
      const helper = helpers.findLast(word => word.startsWith(option))?.slice(option.length)
      if (helper === undefined || !/tokctl-bazel(\.cmd)?$/.test(helper)) continue
      const input = JSON.stringify({ uri: url })
      const secret = memberText('Authorization')
      return comesFromUs(
        machine,
        { words: ['helper', 'bazel', 'get'], input, secret },
        { command: [helper, 'get'], input, secret },
      )
    }
    return undefined
  },
}

function plainWord(word: string): string {
  return word.startsWith('"') ? word.replace(/^"|"\s*$/g, '').replace(/\\(["\\])/g, '$1') : word.trim()
}

/**
 * A word of a file that Bazel reads.
 *
 * @see Bazel, `Tokenize` of its client: double quotes, and a backslash before what would end them
 */
function rcWord(word: string): string {
  return /^[\w@%+=:,./*-]+$/.test(word) ? word : `"${word.replace(/["\\]/g, '\\$&')}"`
}
