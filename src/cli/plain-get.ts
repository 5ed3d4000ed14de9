import type { GlobalOptions } from './command.ts'
import type { GetOptions } from './get.ts'

/** `tokctl get PROFILE` as it is written in scripts. */
export interface PlainGet {
  readonly name: string
  readonly options: GetOptions
  readonly global: GlobalOptions
}

/**
 * Reads `get PROFILE` with no other options than `--config FILE`, `-o FORM` and `--output FORM`, each once: what commander
 * would read, without loading it.
 *
 * @returns `undefined` for every other command line, right or wrong: commander reads it, and tells what is wrong.
 */
export function readPlainGet(argv: readonly string[]): PlainGet | undefined {
  const words: string[] = []
  let config: string | undefined
  let output: string | undefined
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (!word.startsWith('-')) {
      words.push(word)
      continue
    }
    const value = argv[++i]
    if (value === undefined || value.startsWith('-')) return undefined
    if (word === '--config' && config === undefined) config = value
    // Before its command it is nobody's option.
    else if ((word === '-o' || word === '--output') && output === undefined && words.length > 0)
      output = value
    else return undefined
  }
  const [command, name] = words
  if (command !== 'get' || name === undefined || words.length > 2) return undefined
  return {
    name,
    options: { output: output ?? defaultOutput },
    global: config === undefined ? plainOptions : { config, ...plainOptions },
  }
}

/** What a command line says that names none of them. */
export const plainOptions: GlobalOptions = {
  input: true,
  verbose: false,
  debugHttp: false,
  debug: false,
  jsonErrors: false,
}

/** What is printed where no form is named. */
export const defaultOutput = 'token'
