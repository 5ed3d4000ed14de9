import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'

// How each CI system hides a value in its logs, and how it hands one to what runs later. Pure: what is to be done is said
// here, and done in cli/ci.ts. Rules:
//  - What hides a value comes before all else; where a system cannot hide one, it is said and not passed over.
//  - A value reaches the runner through its own channel, a file or stdin: never through an argument.
//  - No name and no value can end the line, the block or the quotes that it stands in.

/** A value and the name of the variable that is to hold it. */
export interface Export {
  readonly name: string
  readonly value: Secret
  /** What else is to be hidden: the values that this one is made of. */
  readonly parts?: readonly Secret[]
}

/** One thing to do. All of these hold values. */
export type Step =
  /** To the runner, on stdout. */
  | { readonly kind: 'say'; readonly text: string }
  /** To the end of a file that the runner reads. */
  | { readonly kind: 'append'; readonly path: string; readonly text: string }
  /** Into a file of our own: a line for each name, in the place of one that is there. */
  | { readonly kind: 'keep'; readonly path: string; readonly lines: ReadonlyMap<string, string> }
  /** To the stdin of a program of the runner's. */
  | { readonly kind: 'run'; readonly command: readonly string[]; readonly input: string }

/** What is to be done, in this order, and what to tell of it afterwards. */
export interface Plan {
  readonly steps: readonly Step[]
  /** Whether the system hides the values from now on. */
  readonly isMasked: boolean
  /** Where the values are; follows the names and "is" or "are". */
  readonly told: string
}

/** What a system may look at. */
export interface Place {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The file that was asked for by name. */
  readonly file: string | undefined
  /** A text that nobody can have foreseen. */
  random(): string
}

/** A CI system. */
export interface CiSystem {
  readonly title: string
  /** Variables of which each is set where this system is. */
  readonly marks: readonly string[]
  /**
   * @param exports - At least one.
   * @throws {TokctlError} `config_invalid` where the runner gives no place for the values; `usage` for a name or a value that it cannot take
   */
  plan(exports: readonly Export[], place: Place): Plan
}

/** The lines of a value, and of its parts, that are worth hiding: a runner looks for each of them by itself. */
export function linesOf({ value, parts = [] }: Export): string[] {
  const lines = [value, ...parts].flatMap(each => each.expose().split(/\r\n|\r|\n/))
  return [...new Set(lines)].filter(line => line.trim() !== '')
}

/**
 * The path in a variable of the runner's.
 *
 * @throws {TokctlError} `config_invalid`
 */
export function runnerFile({ env }: Place, variable: string, title: string): string {
  const path = env[variable]
  if (path) return path
  throw new TokctlError('config_invalid', `${title} gives this step no ${variable}`, {
    hint: `run it in a step of the job itself, or pass ${variable} on to where it runs`,
  })
}

/**
 * The plan of a system that has no channel of its own, and hides nothing: the file that was asked for, to be read by shells.
 *
 * @throws {TokctlError} `usage` where none was
 */
export function fileForShells(exports: readonly Export[], { file }: Place, title: string): Plan {
  if (file === undefined) {
    throw new TokctlError('usage', `${title} has no way to hand values to later steps but a file`, {
      hint: 'name one: --file tokctl.env',
    })
  }
  const lines = new Map(exports.map(one => [one.name, exportLine(one)]))
  // A shell looks for a name without a slash where it looks for programs.
  const command = `. ${shellWord(file.includes('/') ? file : `./${file}`)}`
  return {
    steps: [{ kind: 'keep', path: file, lines }],
    isMasked: false,
    told: `in ${file}, to be read by: ${command}`,
  }
}

/** @throws {TokctlError} `usage` where a file was asked for and none is used */
export function refuseFile({ file }: Place, title: string): void {
  if (file === undefined) return
  throw new TokctlError('usage', `${title} has a place of its own for values`, { hint: 'leave --file out' })
}

/** `export NAME='value'` for any shell. */
export function exportLine({ name, value }: Export): string {
  return `export ${name}='${value.expose().replaceAll("'", `'\\''`)}'`
}

/** @throws {TokctlError} `usage` for a value of several lines where a system has room for one */
export function refuseLines(exports: readonly Export[], title: string): void {
  for (const { name, value } of exports) {
    if (!/[\r\n]/.test(value.expose())) continue
    throw new TokctlError('usage', `the value for ${name} has several lines, which ${title} cannot hand on`)
  }
}
