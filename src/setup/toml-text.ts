import { isDeepStrictEqual } from 'node:util'
import { parse } from 'smol-toml'
import { printable, TokctlError } from '../core/errors.ts'
import { type Statement, statementsOf } from '../profile/lines.ts'

// TOML as text. Whatever is done to one is parsed and held against what it should have become: a text that is put together
// in a way nobody thought of is refused and stays as it is.

/** A parsed table. */
export type Table = Record<string, unknown>

/** @throws {TokctlError} `config_invalid` */
export function parseToml(text: string, file: string): Table {
  try {
    return parse(text.replace(/^\ufeff/, '')) as Table
  } catch (error) {
    const why = printable(String((error as Error).message).split('\n')[0] ?? '')
    throw new TokctlError('config_invalid', `${file}: ${why}`, { hint: 'mend it, then run this again' })
  }
}

/**
 * Passes an edit that made of a text what it should.
 *
 * @param hint - What a person is to write instead.
 * @throws {TokctlError} `config_invalid`
 */
export function checkedToml(after: string, want: Table, file: string, hint: string): string {
  let found: unknown
  try {
    found = parse(after.replace(/^\ufeff/, ''))
  } catch {}
  // Dates and tables of the parser have prototypes of their own.
  if (isDeepStrictEqual(structuredClone(found), structuredClone(want))) return after
  throw new TokctlError('config_invalid', `${file}: is written in a way that cannot be edited here`, { hint })
}

/** Finds a key where it stands. */
export function statementOf(text: string, path: readonly string[]): Statement | undefined {
  return statementsOf(text).find(
    statement => !statement.isHeader && isDeepStrictEqual([...statement.path], [...path]),
  )
}

/** Finds the header of a table. */
export function headerOf(text: string, name: string): Statement | undefined {
  return statementsOf(text).find(
    statement => statement.isHeader && isDeepStrictEqual([...statement.path], [name]),
  )
}
