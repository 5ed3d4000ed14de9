// Texts are edited line by line, with the line ends that they have. What is added and then removed leaves no trace.

/** The line end of a text: that of its first line. */
export function lineEnd(text: string): string {
  return /^[^\n]*\r\n/.test(text) ? '\r\n' : '\n'
}

/** The lines of a text, without their ends. The last one is empty where the text ends with a line end. */
export function linesOf(text: string): string[] {
  return text.split('\n').map(line => line.replace(/\r$/, ''))
}

/** Adds lines at the end. A text whose last line has no end keeps it that way. */
export function appendLines(text: string | undefined, lines: readonly string[]): string {
  const end = lineEnd(text ?? '')
  if (text === undefined || text === '' || text.endsWith('\n')) {
    return (text ?? '') + lines.map(line => line + end).join('')
  }
  return text + lines.map(line => end + line).join('')
}

/** Adds lines before the line of that number, counted from 0. */
export function insertLines(text: string, at: number, lines: readonly string[]): string {
  const all = text.split('\n')
  if (at >= all.length) return appendLines(text, lines)
  const end = lineEnd(text)
  const before = all.slice(0, at).map(line => `${line}\n`)
  return before.join('') + lines.map(line => line + end).join('') + all.slice(at).join('\n')
}

/** Puts a line in the place of the one of that number, counted from 0. */
export function replaceLine(text: string, at: number, line: string): string {
  const all = text.split('\n')
  all[at] = line + (all[at]?.endsWith('\r') ? '\r' : '')
  return all.join('\n')
}

/** Takes lines away. */
export function removeLines(text: string, isOurs: (line: string, index: number) => boolean): string {
  const all = text.split('\n')
  const kept = all.filter((line, index) => !isOurs(line.replace(/\r$/, ''), index))
  if (kept.length === all.length) return text
  const wasOpen = all.at(-1) !== '' && kept.length > 0 && kept.at(-1) !== all.at(-1)
  const rest = kept.join('\n')
  // The line before ours had no end until ours came.
  return wasOpen ? rest.replace(/\r$/, '') : rest
}
