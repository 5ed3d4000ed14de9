import { lineEnd } from './lines.ts'

// JSON as text, so that order, indentation and what other programs wrote stay as they are.

interface Member {
  readonly key: string
  readonly start: number
  readonly value: number
  readonly end: number
}

interface ObjectText {
  readonly open: number
  readonly close: number
  readonly members: readonly Member[]
}

/**
 * Sets a member of an object in the root object, which is made where it is missing.
 *
 * @param text - A JSON object, as `JSON.parse` takes it.
 * @param value - As JSON.
 */
export function setMember(text: string, outer: string, key: string, value: string): string {
  const root = objectAt(text, skipSpace(text, 0))
  const there = root.members.find(member => member.key === outer)
  if (there === undefined) {
    const isFlat = isOnOneLine(text, root)
    const [end, unit] = isFlat ? ['', ''] : [lineEnd(text), unitOf(text, root)]
    const colon = isFlat ? ':' : ': '
    const inner = `${JSON.stringify(key)}${colon}${value}`
    return addMember(
      text,
      root,
      `${JSON.stringify(outer)}${colon}{${end}${unit}${unit}${inner}${end}${unit}}`,
      unit,
    )
  }
  const object = objectAt(text, there.value)
  const old = object.members.find(member => member.key === key)
  if (old !== undefined) return text.slice(0, old.value) + value + text.slice(old.end)
  const isFlat = isOnOneLine(text, root)
  const unit = isFlat ? '' : unitOf(text, root)
  return addMember(text, object, `${JSON.stringify(key)}${isFlat ? ':' : ': '}${value}`, unit + unit, unit)
}

/** Takes a member of an object in the root object away, and that object with it where nothing else is in it. */
export function removeMember(text: string, outer: string, key: string): string {
  const root = objectAt(text, skipSpace(text, 0))
  const there = root.members.find(member => member.key === outer)
  if (there === undefined) return text
  const object = objectAt(text, there.value)
  if (!object.members.some(member => member.key === key)) return text
  return object.members.length === 1 ? cut(text, root, outer) : cut(text, object, key)
}

function addMember(text: string, object: ObjectText, member: string, indent: string, close = ''): string {
  const last = object.members.at(-1)
  const end = indent === '' && isOnOneLine(text, object) ? '' : lineEnd(text)
  if (last !== undefined) return `${text.slice(0, last.end)},${end}${indent}${member}${text.slice(last.end)}`
  return `${text.slice(0, object.open + 1)}${end}${indent}${member}${end}${close}${text.slice(object.close)}`
}

function cut(text: string, { open, close, members }: ObjectText, key: string): string {
  const at = members.findIndex(member => member.key === key)
  if (members.length === 1) return text.slice(0, open + 1) + text.slice(close)
  const [from, to] =
    at === 0 ? [members[0]!.start, members[1]!.start] : [members[at - 1]!.end, members[at]!.end]
  return text.slice(0, from) + text.slice(to)
}

function isOnOneLine(text: string, { open, close, members }: ObjectText): boolean {
  return members.length > 0 && !text.slice(open, close).includes('\n')
}

function unitOf(text: string, { open, members }: ObjectText): string {
  const first = members[0]
  return (first && /\n([ \t]+)$/.exec(text.slice(open, first.start))?.[1]) || '\t'
}

function objectAt(text: string, open: number): ObjectText {
  const members: Member[] = []
  let at = skipSpace(text, open + 1)
  while (text[at] !== '}') {
    const start = at
    at = skipValue(text, at)
    const key = JSON.parse(text.slice(start, at)) as string
    const value = skipSpace(text, skipSpace(text, at) + 1)
    const end = skipValue(text, value)
    members.push({ key, start, value, end })
    at = skipSpace(text, end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return { open, close: at, members }
}

function skipSpace(text: string, at: number): number {
  let next = at
  while (next < text.length && /[\s\ufeff]/.test(text[next]!)) next++
  return next
}

function skipValue(text: string, at: number): number {
  const first = text[at]
  if (first === '"') {
    const string = /"(?:[^"\\]|\\.)*"/y
    string.lastIndex = at
    return at + (string.exec(text)?.[0].length ?? 1)
  }
  if (first !== '{' && first !== '[') {
    const word = /[^\s,}\]]+/y
    word.lastIndex = at
    return at + (word.exec(text)?.[0].length ?? 1)
  }
  let next = at + 1
  for (let depth = 1; depth > 0; ) {
    const char = text[next]
    if (char === '"') {
      next = skipValue(text, next)
      continue
    }
    if (char === '{' || char === '[') depth++
    if (char === '}' || char === ']') depth--
    next++
  }
  return next
}
