import type { GlobalOptions } from './command.ts'
import { plainOptions } from './plain-get.ts'

/** `tokctl helper PROTOCOL WORD…` as other tools call it. */
export interface PlainHelper {
  readonly protocol: string
  readonly words: readonly string[]
  readonly global: GlobalOptions
}

/** Options of protocols that other tools are told, or tell themselves, at each call. */
const known = new Set(['--store', '--timeout', '--cargo-plugin', '--client'])
/** What docker's own helpers answer themselves. */
const ofDocker = new Set(['--version', '-v'])

/**
 * Reads `helper PROTOCOL WORD…` without any option of ours but a `--config FILE` before it, as `tokctl setup` writes it:
 * what commander would read, without loading it.
 *
 * @returns `undefined` for every other command line, right or wrong: commander reads it, and tells what is wrong.
 */
export function readPlainHelper(argv: readonly string[]): PlainHelper | undefined {
  const [option, config] = argv
  const isNamed = option === '--config' && config !== undefined && !config.startsWith('-')
  const [command, protocol, ...words] = isNamed ? argv.slice(2) : argv
  if (command !== 'helper' || protocol === undefined || protocol.startsWith('-')) return undefined
  const isKnown = (word: string): boolean =>
    !word.startsWith('-') ||
    known.has(word) ||
    (protocol === 'docker' && words.length === 1 && ofDocker.has(word))
  if (!words.every(isKnown)) return undefined
  return { protocol, words, global: isNamed ? { config, ...plainOptions } : plainOptions }
}
