const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u

/** Cells of a terminal that a character takes: 2 for East Asian wide ones and pictures, 0 for what combines, else 1. */
function cellsOf(char: string): number {
  if (/^\p{M}$/u.test(char)) return 0
  return wide.test(char) ? 2 : 1
}

/** Cells of a terminal that a text takes which has no control characters. */
export function widthOf(text: string): number {
  let width = 0
  for (const char of text) width += cellsOf(char)
  return width
}

/** Cuts a text to so many cells; one that was cut ends with `…`. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let shown = ''
  let left = width - 1
  for (const char of text) {
    left -= cellsOf(char)
    if (left < 0) break
    shown += char
  }
  return width < 1 ? '' : `${shown.trimEnd()}…`
}
