import { printable, TokctlError } from '../core/errors.ts'
import type { Profile } from '../profile/profile.ts'
import type { Machine, Tool } from '../setup/setup.ts'

interface Row {
  readonly tool: string
  readonly installed: boolean
  readonly configured: boolean
  /** `undefined`: it cannot be asked. */
  readonly works: boolean | undefined
  /** What said so: the tool itself, or the command that it would run. */
  readonly asked: Tool['asked'] | undefined
  readonly problem: string | undefined
}

/** Each is some processes, and one signal is to end them all. */
const atOnce = 4

/**
 * What `tokctl setup --list` prints: of each tool whether it is installed, set up, and answers when it is asked itself.
 *
 * @param broken - Why there are no profiles to ask for, where the configuration cannot be read.
 */
export async function listTools(
  tools: readonly (readonly [name: string, tool: Tool])[],
  profiles: readonly Profile[],
  machine: Machine,
  isJson: boolean,
  broken: string | undefined,
): Promise<string> {
  const rows: Row[] = []
  for (let i = 0; i < tools.length; i += atOnce) {
    const some = tools.slice(i, i + atOnce).map(([name, tool]) => rowOf(name, tool, profiles, machine))
    rows.push(...(await Promise.all(some)).map(row => (isLeftOpen(row) ? { ...row, problem: broken } : row)))
  }
  if (isJson) {
    const shown = rows.map(row => ({
      ...row,
      works: row.works ?? null,
      asked: row.asked ?? null,
      problem: row.problem ?? null,
    }))
    return `${JSON.stringify({ tools: shown })}\n`
  }
  const yes = (is: boolean | undefined): string => (is === undefined ? '-' : is ? 'yes' : 'no')
  const table = [
    ['TOOL', 'INSTALLED', 'SET UP', 'WORKS', 'ASKED', ''],
    ...rows.map(({ tool, installed, configured, works, asked, problem = '' }) => [
      tool,
      yes(installed),
      yes(configured),
      yes(works),
      asked === undefined ? '-' : asked === 'tool' ? 'the tool' : 'its command',
      problem,
    ]),
  ]
  const widths = table[0]!.map((_, i) => Math.max(...table.map(row => row[i]!.length)))
  return table
    .map(
      row =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

function isLeftOpen({ installed, configured, works, problem }: Row): boolean {
  return installed && configured && works !== true && problem === undefined
}

async function rowOf(name: string, tool: Tool, profiles: readonly Profile[], machine: Machine): Promise<Row> {
  const installed = tool.programs.some(program => machine.find(program) !== undefined)
  let row: Row = {
    tool: name,
    installed,
    configured: false,
    works: undefined,
    asked: undefined,
    problem: undefined,
  }
  try {
    // What could be taken back is what is there.
    const ask = {
      remove: true,
      profile: undefined,
      profiles,
      as: undefined,
      audience: undefined,
      store: false,
    }
    const configured = (await tool.plan(ask, machine)).changes.length > 0
    if (!installed || !configured) return { ...row, configured }
    row = { ...row, configured, works: false, asked: tool.asked }
    const works = await tool.probe(profiles, machine)
    return works === undefined ? { ...row, works, asked: undefined } : { ...row, works }
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    return installed ? { ...row, problem: printable(error.message) } : row
  }
}
