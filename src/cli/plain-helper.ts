/** `tokctl helper PROTOCOL WORD…` as other tools call it. */
export interface PlainHelper {
  readonly protocol: string
  readonly words: readonly string[]
}

/**
 * Reads `helper PROTOCOL WORD…` without any option: what commander would read, without loading it.
 *
 * @returns `undefined` for every other command line, right or wrong: commander reads it, and tells what is wrong.
 */
export function readPlainHelper(argv: readonly string[]): PlainHelper | undefined {
  const [command, protocol, ...words] = argv
  if (command !== 'helper' || protocol === undefined) return undefined
  return argv.some(word => word.startsWith('-')) ? undefined : { protocol, words }
}
