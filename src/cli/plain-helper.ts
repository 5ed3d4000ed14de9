/** `tokctl helper PROTOCOL WORD…` as other tools call it. */
export interface PlainHelper {
  readonly protocol: string
  readonly words: readonly string[]
}

/** Options of protocols that other tools are told, or tell themselves, at each call. */
const known = new Set(['--store', '--cargo-plugin'])

/**
 * Reads `helper PROTOCOL WORD…` without any option of ours: what commander would read, without loading it.
 *
 * @returns `undefined` for every other command line, right or wrong: commander reads it, and tells what is wrong.
 */
export function readPlainHelper(argv: readonly string[]): PlainHelper | undefined {
  const [command, protocol, ...words] = argv
  if (command !== 'helper' || protocol === undefined || protocol.startsWith('-')) return undefined
  return words.some(word => word.startsWith('-') && !known.has(word)) ? undefined : { protocol, words }
}
