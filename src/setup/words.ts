import { TokctlError } from '../core/errors.ts'

/** Joins words for a POSIX shell; what is plain stands as it is. */
export function shellWords(words: readonly string[]): string {
  return words
    .map(word => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ')
}

/**
 * Joins words for a tool that splits at blanks and knows double quotes, with or without a shell.
 *
 * @throws {TokctlError} `usage` for a word that such a tool, or a shell, would read as something else
 */
export function quotedWords(words: readonly string[], tool: string): string {
  return words
    .map(word => {
      if (/^[\w@%+=:,./-]+$/.test(word)) return word
      if (!/["'`$\\;\n\r]/.test(word)) return `"${word}"`
      throw new TokctlError('usage', `${tool} cannot be given the path "${word}"`, {
        hint: 'install tokctl where the path has letters, digits, blanks and "-" only',
      })
    })
    .join(' ')
}
