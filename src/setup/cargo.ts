import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { statementsOf } from '../profile/lines.ts'
import { launcherChange, launcherPath, launcherText, plainLauncherPath } from './launcher.ts'
import { appendLines, insertLines, removeLines } from './lines.ts'
import { urlsOf } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Change, Machine, Tool } from './setup.ts'
import { addItem, removeItem, replaceItem } from './toml-list.ts'
import { checkedToml, headerOf, parseToml, statementOf, type Table } from './toml-text.ts'

const key = 'global-credential-providers'
/** What Cargo takes where nothing is set. */
const usual = 'cargo:token'
const mark = '# written by tokctl setup'
const isOurs = (provider: unknown): boolean =>
  typeof provider === 'string' && /tokctl-cargo(\.cmd)?$/.test(provider)

/** `registry.global-credential-providers`, with a launcher: later ones are asked first, and what is not ours is not found. */
export const tool: Tool = {
  about: 'registry.global-credential-providers of config.toml',
  programs: ['cargo'],
  takesProfile: false,

  async plan(ask, machine) {
    const launcher = (ask.remove ? launcherPath : plainLauncherPath)(machine, 'cargo', 'cargo')
    const file = fileOf(machine)
    const before = machine.read(file)
    const text = ask.remove ? undefined : launcherText(machine, ['helper', 'cargo'])
    const after = ask.remove ? without(before, file) : withOurs(before, file, launcher)
    const change: Change = {
      file,
      before,
      after,
      says: [`${ask.remove ? '-' : '+'} registry.${key}: "${launcher}"`],
    }
    return { changes: [...launcherChange(launcher, text, machine), ...(after === before ? [] : [change])] }
  },

  asked: 'command',
  async probe(profiles, machine) {
    const file = fileOf(machine)
    const provider = providersIn(machine.read(file) ?? '', file).providers?.find(isOurs)
    const [url] = urlsOf(profiles)
    if (provider === undefined || url === undefined) return undefined
    const registry = { 'index-url': `sparse+${url}` }
    const input = `${JSON.stringify({ v: 1, registry, kind: 'get', operation: 'read' })}\n`
    const secret = memberText('token')
    return comesFromUs(
      machine,
      { words: ['helper', 'cargo', '--cargo-plugin'], input, secret },
      { command: [...`${provider}`.split(/\s+/), '--cargo-plugin'], input, secret },
    )
  },
}

function fileOf({ env, home, read }: Machine): string {
  const directory = env['CARGO_HOME'] || join(home, '.cargo')
  // The old name, which comes first where both are there.
  const old = join(directory, 'config')
  return read(old) === undefined ? join(directory, 'config.toml') : old
}

function providersIn(text: string, file: string): { table: Table; providers: unknown[] | undefined } {
  const table = parseToml(text, file)
  const { registry } = table as { registry?: Table }
  const providers = registry?.[key]
  if (providers === undefined || Array.isArray(providers)) return { table, providers }
  throw new TokctlError('config_invalid', `${file}: registry.${key}: expected a list`, {
    hint: 'write a list there, then run this again',
  })
}

function withOurs(before: string | undefined, file: string, launcher: string): string {
  const text = before ?? ''
  const { table, providers } = providersIn(text, file)
  const item = JSON.stringify(launcher)
  const hint = `add ${item} to ${key} of [registry] there, then run this again`
  if (providers?.includes(launcher)) return text
  const first = providers?.findIndex(isOurs) ?? -1
  const others = providers?.filter((each, index) => index === first || !isOurs(each)) ?? [usual]
  const want = first < 0 ? [...others, launcher] : others.map(each => (isOurs(each) ? launcher : each))
  const wanted = { ...table, registry: { ...(table['registry'] as Table | undefined), [key]: want } }
  const edited =
    providers === undefined
      ? withLine(before, `${key} = ["${usual}", ${item}]  ${mark}`)
      : editList(text, list => (first < 0 ? addItem(list, item) : replaceItem(list, isOurs, item)))
  return checkedToml(edited, wanted, file, hint)
}

function withLine(before: string | undefined, line: string): string {
  const header = headerOf(before ?? '', 'registry')
  if (header !== undefined) return insertLines(before ?? '', header.lastLine, [line])
  // A table that dotted keys have made can have no header.
  const statements = statementsOf(before ?? '')
  const end = statements.findIndex(({ isHeader }) => isHeader)
  const top = end < 0 ? statements : statements.slice(0, end)
  const dotted = top.find(({ path }) => path[0] === 'registry')
  if (dotted !== undefined) return insertLines(before ?? '', dotted.lastLine, [`registry.${line}`])
  return appendLines(before, ['[registry]', line])
}

function without(before: string | undefined, file: string): string | undefined {
  if (before === undefined) return undefined
  const { table, providers } = providersIn(before, file)
  const ours = providers?.find(isOurs)
  if (providers === undefined || ours === undefined) return before
  const statement = statementOf(before, ['registry', key])
  const lines = before.split('\n')
  const { [key]: _, ...registry } = table['registry'] as Table
  const isWhole =
    statement !== undefined &&
    statement.firstLine === statement.lastLine &&
    providers.join() === [usual, ours].join() &&
    lines[statement.firstLine - 1]!.trimEnd().endsWith(mark)
  const hint = `take ${JSON.stringify(ours)} out of ${key} of [registry] there, then run this again`
  if (!isWhole) {
    const edited = editList(before, list => removeItem(list, isOurs))
    const rest = providers.filter(each => !isOurs(each))
    return checkedToml(edited, { ...table, registry: { ...registry, [key]: rest } }, file, hint)
  }
  const at = statement.firstLine - 1
  const header = headerOf(before, 'registry')
  const isLast =
    header?.lastLine === at &&
    lines
      .slice(at + 1)
      .join('')
      .trim() === ''
  const after = removeLines(before, (_, index) => index === at || (isLast && index === at - 1))
  const { registry: __, ...rest } = table
  const isGone = isLast && Object.keys(registry).length === 0
  return checkedToml(after, isGone ? rest : { ...table, registry }, file, hint)
}

/** Changes the list as it is written, from its bracket to its bracket. */
function editList(text: string, edit: (list: string) => string): string {
  const statement = statementOf(text, ['registry', key])
  if (statement === undefined) return text
  const lines = text.split('\n')
  const before = lines
    .slice(0, statement.firstLine - 1)
    .map(line => `${line}\n`)
    .join('')
  const own = lines.slice(statement.firstLine - 1, statement.lastLine).join('\n')
  const open = own.indexOf('[', own.indexOf(key) + key.length)
  const close = endOfList(own, open)
  return (
    before +
    own.slice(0, open) +
    edit(own.slice(open, close)) +
    own.slice(close) +
    text.slice(before.length + own.length)
  )
}

function endOfList(text: string, open: number): number {
  let depth = 0
  const token = /"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[[\]]/g
  token.lastIndex = open
  for (let found = token.exec(text); found !== null; found = token.exec(text)) {
    if (found[0] === '[') depth++
    if (found[0] === ']' && --depth === 0) return found.index + 1
  }
  return text.length
}
