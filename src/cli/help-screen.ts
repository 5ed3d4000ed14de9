import { type Command, Help } from 'commander'

// A help screen fits a terminal of 24 lines and 80 columns, its prompt included. There are more commands than lines, so the
// program's own stand in two columns.

const columnWidth = 40

/** Formats the help of a command; that of the program, which has the most to list, in two columns. */
export function formatHelp(command: Command, helper: Help): string {
  if (command.parent !== null) return Help.prototype.formatHelp.call(helper, command, helper)
  const commands = helper
    .visibleCommands(command)
    .map(child => [child.name(), helper.subcommandDescription(child)] as const)
  const options = helper
    .visibleOptions(command)
    .map(option => [helper.optionTerm(option), helper.optionDescription(option)] as const)
  return [
    `Usage: ${helper.commandUsage(command)}`,
    helper.commandDescription(command),
    '',
    ...twoColumns(commands),
    '',
    ...twoColumns(options),
    '',
  ].join('\n')
}

type Row = readonly [term: string, about: string]

function twoColumns(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(([term]) => term.length))
  const cells = rows.map(row => cell(row, width))
  const height = cells.reduce((sum, lines) => sum + lines.length, 0)
  const columns: [string[], string[]] = [[], []]
  for (const lines of cells) columns[columns[0].length < height / 2 ? 0 : 1].push(...lines)
  const [left, right] = columns
  return left.map((line, i) => `${line.padEnd(columnWidth)}${right[i] ?? ''}`.trimEnd())
}

function cell([term, about]: Row, width: number): string[] {
  const room = columnWidth - width - 3
  const lines = ['']
  for (const word of about.split(' ')) {
    const line = lines.at(-1)!
    if (line === '') lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= room) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines.map((line, i) => `${(i === 0 ? term : '').padEnd(width)}  ${line}`)
}
