import { dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import type { Change, Machine, SetupAsk } from './setup.ts'
import { shellWords } from './words.ts'

// Tools that start a program and give it no arguments of our choosing get one that knows them: a launcher.

/** Stands in every launcher, so that one is told from what somebody else put there. */
export const launcherMark = 'written by tokctl setup'

/** The path of a launcher. */
export function launcherPath({ launchers, platform }: Machine, name: string): string {
  return join(launchers, platform === 'win32' ? `tokctl-${name}.cmd` : `tokctl-${name}`)
}

/**
 * The path of a launcher for a tool that gives it to a shell, or splits it at blanks, and knows no quotes.
 *
 * @throws {TokctlError} `usage` for one that would be read as something else
 */
export function plainLauncherPath(machine: Machine, name: string, tool: string): string {
  const path = launcherPath(machine, name)
  if (!/[\s"'`$%&;|<>()*?#~!]/.test(machine.platform === 'win32' ? path.replaceAll('~', '') : path))
    return path
  throw new TokctlError('usage', `${tool} cannot be given the path "${path}"`, {
    hint: 'set TOKCTL_STATE_DIR to a path without blanks and quotes',
  })
}

/**
 * The text of a launcher: it starts tokctl with these words and whatever it is given.
 *
 * @param fallback - A program that is asked in its turn where tokctl has no answer to `get`.
 */
export function launcherText(
  { program, platform }: Machine,
  words: readonly string[],
  fallback?: string,
): string {
  if (platform === 'win32') {
    const line = [...program, ...words].map(word => `"${word.replaceAll('%', '%%')}"`).join(' ')
    return `@rem ${launcherMark}\r\n@${line} %*\r\n`
  }
  const line = shellWords([...program, ...words])
  if (fallback === undefined) return `#!/bin/sh\n# ${launcherMark}\nexec ${line} "$@"\n`
  // Only `get` is ours to answer; what we have no answer for is the other one's.
  const first = `case " $* " in\n  *" get "*)\n    ${line} "$@"\n    code=$?\n    [ $code -eq 1 ] || exit $code\nesac`
  return `#!/bin/sh\n# ${launcherMark}\n${first}\nexec ${shellWords([fallback])} "$@"\n`
}

/** The change that writes a launcher, or takes it away; none where all is as it should be. */
export function launcherChange(file: string, text: string | undefined, machine: Machine): readonly Change[] {
  const before = scriptAt(file, machine)
  const isThere = before !== undefined || machine.find(file) !== undefined
  if (before === text && (before !== undefined || !isThere)) return []
  if (isThere && before?.includes(launcherMark) !== true) {
    if (text === undefined) return []
    throw new TokctlError('config_invalid', `"${file}" is there already, and is not ours`, {
      hint: 'move it away, then run this again',
    })
  }
  const says =
    text === undefined
      ? []
      : text
          .trimEnd()
          .split(/\r?\n/)
          .map(line => `+ ${line}`)
  return [{ file, before, after: text, isOurs: true, mode: 0o700, says }]
}

/**
 * Sees to it that a tool finds a program of a fixed name on `PATH`: one of the package, or else a launcher in
 * `~/.local/bin`.
 *
 * @param around - Whether a program of that name that is not ours is asked where tokctl has no answer.
 * @throws {TokctlError} `usage` where nothing that could be written would be found
 */
export function onPath(
  name: string,
  words: readonly string[],
  { remove }: Pick<SetupAsk, 'remove'>,
  machine: Machine,
  around = false,
): readonly Change[] {
  const directory = join(machine.home, '.local', 'bin')
  const file = join(directory, name)
  const script = scriptAt(file, machine)
  if (remove) return script === undefined ? [] : launcherChange(file, undefined, machine)
  const found = machine.find(name)
  // The package's own program may be there: a script where npm's prefix is ~/.local, or else the binary.
  const isPackaged =
    found === file &&
    (script === undefined || (!script.includes(launcherMark) && script.includes("tokctl.js'")))
  const isOurs = found === file && !isPackaged
  const path = (machine.env['PATH'] ?? '').split(':')
  const comesFirst = (other: string): boolean =>
    path.includes(directory) && path.indexOf(directory) < path.indexOf(other)
  // One of the package is as good, unless it would have to know what was named.
  const isEnough = !around && !(machine.isNamed && found !== undefined && comesFirst(dirname(found)))
  if (found !== undefined && !isOurs && isEnough) return []
  const hint = `run: npm install --global tokctl, or put ${directory} first on PATH`
  if (machine.platform === 'win32' || !path.includes(directory)) {
    throw new TokctlError('usage', `"${name}" is started by its name, and there is none on PATH`, { hint })
  }
  const other = path
    .filter(each => each.startsWith('/') && each !== directory)
    .find(each => machine.find(join(each, name)) !== undefined)
  if (other !== undefined && !comesFirst(other)) {
    const message = `"${join(other, name)}" comes before "${directory}" on PATH, so that it would be asked instead`
    throw new TokctlError('usage', message, { hint: `put ${directory} first on PATH` })
  }
  const fallback = other === undefined || !around ? undefined : join(other, name)
  const text = launcherText(machine, words, fallback)
  return launcherChange(file, text, machine)
}

/** Whether the program that `PATH` has under that name is a launcher. */
export function isLauncher(file: string, machine: Machine): boolean {
  return scriptAt(file, machine)?.includes(launcherMark) === true
}

// A program that is one file of many megabytes, or no text, is none.
function scriptAt(file: string, machine: Machine): string | undefined {
  try {
    return machine.read(file)
  } catch {
    return undefined
  }
}
