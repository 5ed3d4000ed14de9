/** A header or a pair of key and value, as it stands in a text. */
export interface Statement {
  /** From the top of the file: the table's own key, or that of the table it stands in and its own. */
  readonly path: readonly string[]
  readonly isHeader: boolean
  /** Lines, counted from 1; a value may end on a later one than it begins. */
  readonly firstLine: number
  readonly lastLine: number
}

/**
 * Tells on which line of a TOML text each key stands: the parser gives values without places.
 * Understands table headers, lists of tables, quoted and dotted keys, inline tables and lists over several lines.
 *
 * @param source - A text that the parser has accepted; on any other the lines may be wrong, but it ends.
 * @returns From a path of keys and list positions to a line, counted from 1. What has no line of its own has that of
 *   the nearest thing around it.
 */
export function indexLines(source: string): (path: readonly string[]) => number {
  return scan(source).lineOf
}

/** Lists the statements of a text that the parser has accepted, in their order. */
export function statementsOf(source: string): Statement[] {
  return scan(source).statements
}

function scan(source: string): { lineOf: (path: readonly string[]) => number; statements: Statement[] } {
  const statements: Statement[] = []
  const starts = [0]
  for (let i = source.indexOf('\n'); i >= 0; i = source.indexOf('\n', i + 1)) starts.push(i + 1)
  const offsets = new Map<string, number>()
  // How many tables a list of tables has so far.
  const counts = new Map<string, number>()
  let at = 0

  function lineAt(offset: number): number {
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (starts[middle]! <= offset) low = middle
      else high = middle
    }
    return low + 1
  }

  function note(path: readonly string[], offset: number): void {
    const key = JSON.stringify(path)
    if (!offsets.has(key)) offsets.set(key, offset)
  }

  function noteAll(base: readonly string[], key: readonly string[], offset: number): void {
    for (let n = 1; n <= key.length; n++) note([...base, ...key.slice(0, n)], offset)
  }

  function take(pattern: RegExp): string {
    pattern.lastIndex = at
    const found = pattern.exec(source)?.[0] ?? ''
    at += found.length
    return found
  }

  function readKey(): string[] {
    const key: string[] = []
    do {
      take(/[ \t]*/y)
      const quote = source[at]
      if (quote === '"') key.push(withoutEscapes(readString(quote)))
      else if (quote === "'") key.push(readString(quote))
      else key.push(take(/[\w-]*/y))
      take(/[ \t]*/y)
    } while (take(/\./y) !== '')
    return key
  }

  // Gives what stands between the quotes, escapes and all.
  function readString(quote: string): string {
    const isLong = source.startsWith(quote.repeat(3), at)
    const mark = isLong ? quote.repeat(3) : quote
    at += mark.length
    const from = at
    while (at < source.length && (isLong || source[at] !== '\n')) {
      if (source.startsWith(mark, at)) {
        const to = at
        at += mark.length
        // Up to two more quotes belong to the text.
        if (isLong) take(quote === '"' ? /"{0,2}/y : /'{0,2}/y)
        return source.slice(from, to)
      }
      at += quote === '"' && source[at] === '\\' ? 2 : 1
    }
    return source.slice(from, at)
  }

  function readValue(path: readonly string[]): void {
    take(/[ \t]*/y)
    const first = source[at]
    if (first === '[') readItems(path)
    else if (first === '{') readFields(path)
    else if (first === '"' || first === "'") readString(first)
    // Between a date and a time may stand a space.
    else take(/\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*|[^\s,\]}#]*/y)
  }

  function readItems(path: readonly string[]): void {
    at++
    for (let n = 0; ; n++) {
      skipBlank()
      const start = at
      if (source[at] === ']') {
        at++
        return
      }
      note([...path, String(n)], at)
      readValue([...path, String(n)])
      skipBlank()
      take(/,/y)
      if (at === start) return
    }
  }

  function readFields(path: readonly string[]): void {
    at++
    for (;;) {
      skipBlank()
      const start = at
      if (source[at] === '}') {
        at++
        return
      }
      const key = readKey()
      noteAll(path, key, start)
      take(/=/y)
      readValue([...path, ...key])
      skipBlank()
      take(/,/y)
      if (at === start) return
    }
  }

  function skipBlank(): void {
    while (take(/[\s\ufeff]+|#[^\n]*/y) !== '');
  }

  // `[a.b]` below `[[a]]` is about the table that the list got last.
  function enter(key: readonly string[], isList: boolean, offset: number): string[] {
    let path: string[] = []
    key.forEach((part, i) => {
      path = [...path, part]
      note(path, offset)
      const name = JSON.stringify(path)
      const count = counts.get(name) ?? 0
      if (isList && i === key.length - 1) {
        counts.set(name, count + 1)
        path = [...path, String(count)]
      } else if (count > 0) path = [...path, String(count - 1)]
    })
    note(path, offset)
    return path
  }

  let table: string[] = []
  for (skipBlank(); at < source.length; skipBlank()) {
    const start = at
    const isHeader = source[at] === '['
    let path: string[]
    if (isHeader) {
      const isList = take(/\[\[?/y).length === 2
      table = enter(readKey(), isList, start)
      path = table
      take(/\]\]?/y)
    } else {
      const key = readKey()
      noteAll(table, key, start)
      path = [...table, ...key]
      if (take(/=/y) !== '') readValue(path)
    }
    statements.push({ path, isHeader, firstLine: lineAt(start), lastLine: lineAt(Math.max(start, at - 1)) })
    // Not TOML: the rest of the line tells nothing.
    if (at === start) take(/[^\n]*/y)
  }

  const lineOf = (path: readonly string[]): number => {
    for (let n = path.length; n > 0; n--) {
      const offset = offsets.get(JSON.stringify(path.slice(0, n)))
      if (offset !== undefined) return lineAt(offset)
    }
    return 1
  }
  return { lineOf, statements }
}

const escapes: Readonly<Record<string, string>> = { b: '\b', t: '\t', n: '\n', f: '\f', r: '\r', e: '\u001b' }

function withoutEscapes(text: string): string {
  return text.replace(
    /\\(?:u([\dA-Fa-f]{4})|U([\dA-Fa-f]{8})|x([\dA-Fa-f]{2})|(.))/g,
    (_, u, long, x, letter) => {
      const hex = u ?? long ?? x
      if (hex === undefined) return escapes[letter as string] ?? letter
      return Number.parseInt(hex, 16) <= 0x10ffff ? String.fromCodePoint(Number.parseInt(hex, 16)) : '\ufffd'
    },
  )
}
