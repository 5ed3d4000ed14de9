import { parse } from 'smol-toml'
import { lineEnd } from './lines.ts'

// A list of strings as TOML has it, from its bracket to its bracket, as text: comments, order and the way it is laid out stay.
// What is added and then removed leaves no trace.

interface Item {
  readonly start: number
  /** Behind its last character. */
  end: number
  /** Where the comma behind it stands. */
  comma?: number
}

/** Adds an item behind the others: on a line of its own where the last one has one. */
export function addItem(list: string, item: string): string {
  const last = itemsOf(list).at(-1)
  if (last === undefined) return `[${item}${list.slice(1)}`
  const end = last.comma === undefined ? last.end : last.comma + 1
  const comma = last.comma === undefined ? '' : ','
  const before = last.comma === undefined ? `${list.slice(0, end)},` : list.slice(0, end)
  const indent = /\n([ \t]*)$/.exec(list.slice(0, last.start))?.[1]
  const rest = /^[ \t]*(?:#[^\n]*)?\n/.exec(list.slice(end))?.[0]
  if (indent === undefined || rest === undefined) return `${before} ${item}${comma}${list.slice(end)}`
  return `${before}${rest}${indent}${item}${comma}${lineEnd(rest)}${list.slice(end + rest.length)}`
}

/** Puts an item in the place of the first of those that are meant, and takes the others away. */
export function replaceItem(list: string, isMeant: (value: unknown) => boolean, item: string): string {
  const [first, ...others] = indexesOf(list, isMeant)
  if (first === undefined) return list
  const left = others.reverse().reduce(removeAt, list)
  const { start, end } = itemsOf(left)[first]!
  return left.slice(0, start) + item + left.slice(end)
}

/** Takes the items away that are meant. */
export function removeItem(list: string, isMeant: (value: unknown) => boolean): string {
  return indexesOf(list, isMeant).reverse().reduce(removeAt, list)
}

function removeAt(list: string, index: number): string {
  const items = itemsOf(list)
  const { start, end, comma } = items[index]!
  const before = items[index - 1]
  const [head, tail] = [list.slice(0, start), list.slice(comma === undefined ? end : comma + 1)]
  const isFirst = /\n[ \t]*$/.test(head)
  const rest = /^[ \t]*\r?\n/.exec(tail)?.[0]
  const [kept, left] =
    isFirst && rest !== undefined
      ? [head.replace(/[ \t]*$/, ''), tail.slice(rest.length)]
      : isFirst || before === undefined
        ? [head, comma === undefined ? tail : tail.replace(/^[ \t]+/, '')]
        : [head.replace(/[ \t]*$/, ''), tail]
  // The last one has no comma behind it: the one before was put there for it.
  const spare = comma === undefined ? before?.comma : undefined
  return spare === undefined ? kept + left : kept.slice(0, spare) + kept.slice(spare + 1) + left
}

function indexesOf(list: string, isMeant: (value: unknown) => boolean): number[] {
  return itemsOf(list).flatMap(({ start, end }, index) =>
    isMeant(parsed(list.slice(start, end))) ? [index] : [],
  )
}

function parsed(text: string): unknown {
  try {
    return parse(`value = ${text}`)['value']
  } catch {
    return undefined
  }
}

function itemsOf(list: string): Item[] {
  const items: Item[] = []
  let depth = 0
  for (const { 0: token, index } of list.matchAll(
    /"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[[\]{},]|[^\s"'#[\]{},]+/g,
  )) {
    const end = index + token.length
    if (token.startsWith('#')) continue
    if (token === ']' || token === '}') depth--
    else if (depth === 1 && token === ',') items.at(-1)!.comma = index
    else if (depth === 1) items.push({ start: index, end })
    if (token === '[' || token === '{') depth++
    // The end of what is no string.
    if (depth === 1 && (token === ']' || token === '}')) items.at(-1)!.end = end
  }
  return items
}
