import { TokctlError } from '../core/errors.ts'

/** Joins words for a POSIX shell; what is plain stands as it is. */
export function shellWords(words: readonly string[]): string {
  return words.map(word => (isPlainWord(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
}

/** Whether any tool, and any shell, takes a word as it is, without quotes. */
export function isPlainWord(word: string): boolean {
  return /^[\w@%+=:,./-]+$/.test(word)
}

/**
 * Joins the words that start this program for a tool that splits at blanks and knows double quotes, with or without a shell.
 *
 * @throws {TokctlError} `usage` for a word that such a tool, or a shell, would read as something else
 */
export function quotedWords(words: readonly string[], tool: string): string {
  return words
    .map((word, index) => {
      if (isPlainWord(word)) return word
      if (!/["'`$\\;\n\r]/.test(word)) return `"${word}"`
      const { what, path, hint } = meaningOf(word, words[index - 1])
      throw new TokctlError('usage', `${tool} cannot be given the ${what} "${path}"`, {
        hint: `${hint} without quotes, backslashes, "$" and ";"`,
      })
    })
    .join(' ')
}

function meaningOf(word: string, before: string | undefined): { what: string; path: string; hint: string } {
  const state = /^TOKCTL_STATE_DIR=(.*)$/s.exec(word)?.[1]
  if (state !== undefined) {
    return { what: 'state directory', path: state, hint: 'set TOKCTL_STATE_DIR to a path' }
  }
  if (before === '--config') {
    return {
      what: 'configuration',
      path: word,
      hint: 'name one by --config or TOKCTL_CONFIG at a path',
    }
  }
  return { what: 'path', path: word, hint: 'install tokctl at a path' }
}
