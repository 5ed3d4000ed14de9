// What a shell needs to know to complete a command line, and a writer for each shell. Rules:
//  - Commands, options and what is known beforehand stand in the script itself: completing them starts no program.
//  - Only names of the configuration are asked for, by `tokctl __complete profiles` or `routes`, which reads nothing else.
//  - Whatever goes wrong completes nothing, and says nothing.

/** A word, and what it means for people. */
export type Word = readonly [word: string, about: string]

/** What stands in a place: `file`, one of `askedKinds`, a kind with words of its own, or `-` where nothing is known of it. */
export type Kind = string

/** An option: each way to write it, what it is for, and the kind of its value where it takes one. */
export interface CompletedOption {
  readonly names: readonly string[]
  readonly about: string
  readonly kind: Kind | undefined
}

/** What can follow one command. */
export interface CompletedCommand {
  /** Its words joined by spaces; empty for the program itself. */
  readonly path: string
  readonly commands: readonly Word[]
  /** Those of every command are not among them. */
  readonly options: readonly CompletedOption[]
  /** The kind of each argument, in their order. */
  readonly kinds: readonly Kind[]
  /** The last kind may come again and again. */
  readonly repeats: boolean
}

/** All that can be completed. */
export interface Completion {
  readonly commands: readonly CompletedCommand[]
  /** Options that may stand anywhere. */
  readonly options: readonly CompletedOption[]
  /** The words of each kind but `file` and those that are asked for. */
  readonly words: Readonly<Record<Kind, readonly string[]>>
}

/** The kinds whose words the program is asked for, by its command with an `s`: profiles, and what `proxy` can serve. */
export const askedKinds = ['profile', 'route'] as const

/** That command without its `s`; `--config FILE` may follow. */
export const askCommand = '__complete'

/** A writer of a shell's script. */
export type WriteScript = (completion: Completion) => string

/** A text between single quotes, for shells where a quote in it is written `'\''`. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** The options with a value, as `name:kind`, one word for each way to write them. */
export function valueWords(options: readonly CompletedOption[]): string[] {
  return options.flatMap(({ names, kind }) =>
    kind === undefined ? [] : names.map(name => `${name}:${kind}`),
  )
}

/** Each way to write an option, with what it is for. */
export function optionWords(options: readonly CompletedOption[]): Word[] {
  return options.flatMap(({ names, about }) => names.map((name): Word => [name, about]))
}
