import { appendLines, insertLines, linesOf, removeLines } from './lines.ts'

/** A key with its place, counted in lines from 0. */
export interface IniEntry {
  readonly section: string
  readonly key: string
  readonly value: string
  readonly line: number
}

/** Lists the keys of an INI text. What belongs to the value before it, as a line that is indented further does, is left out. */
export function iniEntries(text: string): IniEntry[] {
  const entries: IniEntry[] = []
  let section = ''
  let indent = Number.POSITIVE_INFINITY
  for (const [line, content] of linesOf(text).entries()) {
    const header = sectionOf(content)
    if (header !== undefined) {
      section = header
      indent = Number.POSITIVE_INFINITY
    }
    const found = /^(\s*)([^\s=:#;[][^=:]*?)\s*[=:]\s*(.*?)\s*$/.exec(content)
    if (found === null || found[1]!.length > indent) continue
    indent = found[1]!.length
    entries.push({ section, key: found[2]!, value: found[3]!, line })
  }
  return entries
}

/** Adds lines to a section, right below its header; makes the section where there is none. */
export function addToSection(text: string | undefined, section: string, lines: readonly string[]): string {
  const all = linesOf(text ?? '')
  const header = all.findIndex(line => sectionOf(line) === section)
  if (text === undefined || header < 0) return appendLines(text, [`[${section}]`, ...lines])
  if (header === all.length - 1) return appendLines(text, lines)
  // What stands below with a larger indentation would be read as a part of our value.
  const first = iniEntries(text).find(entry => entry.line > header)
  const indent = first?.section === section ? (/^\s*/.exec(all[first.line]!)?.[0] ?? '') : ''
  return insertLines(
    text,
    header + 1,
    lines.map(line => indent + line),
  )
}

/**
 * Takes lines away, and the header above them where nothing is left below it.
 *
 * @param were - Sections whose headers stay all the same.
 */
export function removeFromSection(
  text: string,
  ours: ReadonlySet<number>,
  were: ReadonlySet<string> = new Set(),
): string {
  const lines = linesOf(text)
  const gone = new Set(ours)
  for (const [header, line] of lines.entries()) {
    const section = sectionOf(line)
    if (section === undefined || were.has(section)) continue
    const next = lines.findIndex((each, index) => index > header && sectionOf(each) !== undefined)
    const below = lines.map((each, index) => ({ each, index })).slice(header + 1, next < 0 ? undefined : next)
    const hadOurs = below.some(({ index }) => ours.has(index))
    if (hadOurs && below.every(({ each, index }) => ours.has(index) || each.trim() === '')) gone.add(header)
  }
  return removeLines(text, (_, index) => gone.has(index))
}

/** The sections that a text has headers of. */
export function sectionsOf(text: string): Set<string> {
  return new Set(linesOf(text).flatMap(line => sectionOf(line) ?? []))
}

function sectionOf(line: string): string | undefined {
  return /^\s*\[([^\]]*)\]/.exec(line)?.[1]?.trim()
}
