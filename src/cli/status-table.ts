import { type EpochMs, formatDuration } from '../core/time.ts'
import type { Colours } from './colour.ts'
import type { Row, State } from './status-row.ts'
import { cut, widthOf } from './text-width.ts'

// The table of `status`. Pure: what it is drawn for is handed in.

/** What a table is drawn for. */
export interface Canvas {
  readonly colours: Colours
  /** Cells of a line; `undefined` where nobody looks, who would need it cut. */
  readonly width: number | undefined
  /** Lines of the screen; `undefined` where it may go on. */
  readonly height: number | undefined
  /** How a bar looks: `blocks` where the terminal shows them, `none` where nobody looks. */
  readonly bar: 'blocks' | 'ascii' | 'none'
}

const labels: Readonly<Record<State, string>> = {
  fresh: 'fresh',
  stale: 'stale',
  expired: 'expired',
  absent: 'absent',
  local: 'local',
  failing: 'failing',
  refused: 'refused',
  login_required: 'sign-in needed',
}

interface Column {
  readonly title: string
  /** The first to be left out where the line is too narrow. */
  readonly spared?: number
  cell(row: Row, now: EpochMs): string
}

const barCells = 8
const gap = 2
/** What a longer name gives way to before any column is left out. */
const nameCells = 20
/** What a failure needs to be worth its place in the line; with less it goes below. */
const failureCells = 24

const columns: readonly Column[] = [
  { title: 'PROFILE', cell: row => row.profile },
  { title: 'SOURCE', spared: 2, cell: row => row.source },
  { title: 'STATE', cell: row => labels[row.state] },
  { title: 'TIME LEFT', cell: timeLeft },
  { title: 'RENEWAL', spared: 3, cell: renewal },
  { title: 'STORE', spared: 1, cell: row => row.store ?? '-' },
]

/** Draws the rows, each line with its line feed. */
export function statusTable(rows: readonly Row[], now: EpochMs, canvas: Canvas): string {
  if (rows.length === 0) return 'no profiles are configured\n'
  const { colours, width, height } = canvas
  const hasFailure = rows.some(row => row.failure !== undefined)
  const drawn = columns.map(column => ({
    column,
    cells: rows.map(row => cellOf(column, row, now, canvas)),
  }))
  const room = width ?? Number.POSITIVE_INFINITY
  const sizeOf = ({ column, cells }: (typeof drawn)[number]): number =>
    Math.max(widthOf(column.title), ...cells.map(widthOf))
  const lineSize = (): number => drawn.reduce((sum, one) => sum + sizeOf(one) + gap, -gap)
  const spare = Math.max(0, sizeOf(drawn[0]!) - nameCells)
  for (const order of [1, 2, 3]) {
    const at = drawn.findIndex(({ column }) => column.spared === order)
    if (lineSize() - spare > room && at >= 0) drawn.splice(at, 1)
  }
  const isBeside = hasFailure && room - lineSize() - gap >= failureCells
  const sizes = drawn.map(sizeOf)
  // The last thing that can give way is the longest name.
  sizes[0] = Math.max(4, sizes[0]! - Math.max(0, lineSize() - room))

  const lineOf = (cells: readonly string[], state?: State): string =>
    cells
      .map((cell, i) => {
        const title = drawn[i]?.column.title
        const text = pad(cut(cell, sizes[i] ?? room), i === cells.length - 1 ? 0 : sizes[i]!)
        return state !== undefined && (title === 'STATE' || title === 'TIME LEFT')
          ? painted(state, text, colours)
          : text
      })
      .join(' '.repeat(gap))
      .trimEnd()

  const head = lineOf([
    ...drawn.map(({ column }) => column.title),
    ...(hasFailure && (isBeside || width === undefined) ? ['LAST FAILURE'] : []),
  ])
  const left = room - sizes.reduce((sum, size) => sum + size + gap, 0)
  const linesOf = (row: Row, i: number): string[] => {
    const cells = drawn.map(({ cells }) => cells[i]!)
    const failure = row.failure === undefined ? undefined : failureText(row.failure, now)
    if (failure === undefined) return [lineOf(cells, row.state)]
    if (isBeside) return [lineOf([...cells, cut(failure, left)], row.state)]
    return [lineOf(cells, row.state), `  ${cut(failure, room - 2)}`]
  }
  return `${[head, ...fitting(rows.map(linesOf), (height ?? Number.POSITIVE_INFINITY) - 1)].join('\n')}\n`
}

/** As many as there are lines for, and how many more there are. */
function fitting(rows: readonly (readonly string[])[], height: number): string[] {
  if (rows.flat().length <= height) return rows.flat()
  let count = rows.length
  while (count > 0 && rows.slice(0, count).flat().length > height - 1) count--
  return [...rows.slice(0, count).flat(), `and ${rows.length - count} more`]
}

function cellOf(column: Column, row: Row, now: EpochMs, { bar }: Canvas): string {
  const text = column.cell(row, now)
  if (column.title !== 'TIME LEFT' || bar === 'none') return text
  return `${drawBar(row, now, bar)} ${text}`
}

function drawBar({ obtainedAt, expiresAt }: Row, now: EpochMs, bar: 'blocks' | 'ascii'): string {
  const [full, empty] = bar === 'blocks' ? ['█', '░'] : ['#', '.']
  if (expiresAt === undefined || obtainedAt === undefined) return ' '.repeat(barCells)
  const share = (expiresAt - now) / Math.max(1, expiresAt - obtainedAt)
  // Some life is at least one cell.
  const cells = share <= 0 ? 0 : Math.min(barCells, Math.max(1, Math.round(share * barCells)))
  return full!.repeat(cells) + empty!.repeat(barCells - cells)
}

function timeLeft({ expiresAt, obtainedAt, state }: Row, now: EpochMs): string {
  if (expiresAt === undefined) return obtainedAt === undefined && state !== 'local' ? '-' : 'until refused'
  return expiresAt > now ? formatDuration(expiresAt - now) : `${formatDuration(now - expiresAt)} ago`
}

function renewal({ refreshAt, nextAttemptAt, state, expiresAt }: Row, now: EpochMs): string {
  if (nextAttemptAt !== undefined && state !== 'fresh')
    return `retry in ${formatDuration(Math.max(1000, nextAttemptAt - now))}`
  if (state === 'refused') return 'after a change'
  if (state === 'login_required') return 'by a sign-in'
  if (state === 'failing') return 'when asked'
  // Only what a person began has an end and nothing that renews it.
  if (state === 'fresh' && expiresAt !== undefined && refreshAt === undefined) return 'by a sign-in'
  if (refreshAt === undefined || (expiresAt ?? 0) <= now) return '-'
  return refreshAt > now ? `in ${formatDuration(refreshAt - now)}` : 'due'
}

function failureText({ message, at }: NonNullable<Row['failure']>, now: EpochMs): string {
  return `${formatDuration(Math.max(0, now - at))} ago: ${message}`
}

function painted(state: State, text: string, { green, yellow, red }: Colours): string {
  switch (state) {
    case 'fresh':
    case 'local':
      return green(text)
    case 'stale':
    case 'absent':
      return yellow(text)
    default:
      return red(text)
  }
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)))
}
