import { statementsOf } from './lines.ts'

// Changes of a configuration that leave everything else as it is, byte for byte. They take and give whole texts; whoever
// calls them reads the result again before it is written.

/** Appends tables, after a blank line. */
export function appended(text: string, tables: string): string {
  const lineBreak = /\r\n/.test(text) ? '\r\n' : '\n'
  const added = tables.replaceAll('\n', lineBreak)
  if (text === '' || text === '\ufeff') return `${text}${added}`
  return `${text}${text.endsWith('\n') ? '' : lineBreak}${lineBreak}${added}`
}

/**
 * Names the store, in the `[store]` table that is there or in a new one.
 *
 * @returns `undefined` where a kind is named within the value of another key.
 */
export function withStore(text: string, kind: string): string | undefined {
  const line = `kind = "${kind}"`
  const statements = statementsOf(text).filter(({ path }) => path[0] === 'store')
  const named = statements.find(({ path }) => path[1] === 'kind')
  const header = statements.find(({ isHeader }) => isHeader)
  if (statements.length === 0) return appended(text, `[store]\n${line}\n`)
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
  if (named !== undefined && named.firstLine === named.lastLine) {
    const at = named.firstLine - 1
    // What follows the value stays: a comment, the end of the line.
    lines[at] = lines[at]!.replace(/=(\s*)(?:"[^"]*"|'[^']*')/, `=$1"${kind}"`)
    return lines.join('')
  }
  if (named !== undefined || header === undefined) return undefined
  const above = lines[header.lastLine - 1]!
  const end = above.endsWith('\r\n') ? '\r\n' : '\n'
  lines[header.lastLine - 1] = above.endsWith('\n') ? above : `${above}${end}`
  lines.splice(header.lastLine, 0, `${line}${end}`)
  return lines.join('')
}

/**
 * Takes a profile out, with the tables below it and its comments: those right above it, those among its keys, and those
 * right below its last key unless they lead over to what follows.
 *
 * @returns `undefined` where no statement of its own makes the profile: it stands inside the value of another.
 */
export function without(text: string, name: string): string | undefined {
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
  const statements = statementsOf(text)
  // Of each line: whose it is, if anybody's.
  const owner: ('gone' | 'kept' | undefined)[] = lines.map(() => undefined)
  const headers = new Set<number>()
  for (const { path, isHeader, firstLine, lastLine } of statements) {
    const isGone = path.length >= 2 && path[0] === 'profile' && path[1] === name
    for (let line = firstLine; line <= lastLine; line++) owner[line - 1] = isGone ? 'gone' : 'kept'
    if (isHeader) headers.add(firstLine - 1)
  }
  if (!owner.includes('gone')) return undefined

  const isBlank = (i: number): boolean => owner[i] === undefined && /^\ufeff?\s*$/.test(lines[i]!)
  const isComment = (i: number): boolean => owner[i] === undefined && !isBlank(i)
  for (let from = 0; from < lines.length; from++) {
    if (!isComment(from)) continue
    let to = from
    while (to + 1 < lines.length && isComment(to + 1)) to++
    const above = owner[from - 1]
    const below = owner[to + 1]
    if (below === 'gone' || (below === undefined && (above === 'gone' || isAmong(from, to)))) {
      owner.fill('gone', from, to + 1)
    }
    from = to
  }
  // Between blank lines, and yet inside the table.
  function isAmong(from: number, to: number): boolean {
    const last = owner.slice(0, from).findLastIndex(one => one !== undefined)
    const next = owner.findIndex((one, i) => i > to && one !== undefined)
    return owner[last] === 'gone' && owner[next] === 'gone' && !headers.has(next)
  }

  const gone = lines.map((_, i) => owner[i] === 'gone')
  for (let i = 0; i < lines.length; i++) {
    if (!gone[i]) continue
    let next = i + 1
    while (next < lines.length && isBlank(next)) next++
    // One blank line parted it from what follows, or at the end from what is before.
    if (gone[next]) gone.fill(true, i + 1, next)
    else if (next > i + 1) gone[i + 1] = true
    else if (next === lines.length) {
      const first = gone.lastIndexOf(false, i)
      if (first >= 0 && isBlank(first)) gone[first] = true
    }
    i = next - 1
  }
  return lines.filter((_, i) => !gone[i]).join('')
}
