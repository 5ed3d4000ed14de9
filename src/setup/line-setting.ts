import { appendLines, linesOf, removeLines } from './lines.ts'
import { taken } from './places.ts'
import type { Change } from './setup.ts'

/** Settings that are a line each, anywhere in a file. */
export interface LineSettings {
  readonly file: string
  readonly before: string | undefined
  /** Whole lines. */
  readonly wanted: readonly string[]
  /** Tells a line of ours, of whatever profile and path. */
  isOurs(line: string): boolean
  /** The setting that stands where one of the wanted would, and is somebody else's. */
  foreign?(line: string): string | undefined
}

/**
 * Adds the wanted lines at the end of a file and takes those of ours away that are not wanted any more.
 *
 * @throws {TokctlError} `config_invalid` for somebody else's line in our place
 */
export function lineChanges({ file, before, wanted, isOurs, foreign }: LineSettings): Change[] {
  const lines = before === undefined ? [] : linesOf(before)
  for (const line of lines) {
    const other = isOurs(line) || wanted.length === 0 ? undefined : foreign?.(line)
    if (other !== undefined)
      throw taken(file, 'the setting', other, 'take that line away, then run this again')
  }
  const missing = wanted.filter(line => !lines.includes(line))
  const left = lines.filter(line => isOurs(line) && !wanted.includes(line))
  if (missing.length === 0 && left.length === 0) return []
  const kept = before === undefined ? before : removeLines(before, line => left.includes(line))
  const after = missing.length === 0 ? kept : appendLines(kept, missing)
  const says = [...left.map(line => `- ${line}`), ...missing.map(line => `+ ${line}`)]
  return [{ file, before, after, says }]
}
