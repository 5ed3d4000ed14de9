import { isUtf8 } from 'node:buffer'
import { dirname } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import type { ConfigBytes } from './compiled.ts'
import { indexLines } from './lines.ts'
import type { Config, StoreKind } from './profile.ts'
import type { ProxySettings } from './proxy-settings.ts'
import type { KeyPath, Problem } from './read-value.ts'
import { validate } from './validate.ts'

/**
 * Reads a configuration and checks it whole.
 *
 * @param shown - The file's path, for people.
 * @throws {TokctlError} `config_invalid`: every problem of the file, each as `FILE:LINE: key: what is wrong`, in the
 *   order of their lines: the first as the message, the others as `more`. A text that is not TOML has one.
 */
export function parseConfig(
  source: ConfigBytes,
  shown: string,
  { home, platform }: Environment,
): Config & { readonly proxies: ReadonlyMap<string, ProxySettings> } {
  const { file, bytes } = source
  const text = decode(bytes, shown)
  const { store, profiles, proxies, problems } = validate(parseToml(text, shown), {
    directory: dirname(file),
    home,
    platform,
  })
  if (problems.length > 0) throw invalid(problems, text, shown)
  return { file, store, profiles, proxies }
}

/** What a configuration says of its store, whatever else is wrong with it; `undefined` of a text that is not TOML. */
export function storeOf(
  { file, bytes }: ConfigBytes,
  { home, platform }: Environment,
): StoreKind | undefined {
  try {
    return validate(parseToml(decode(bytes, file), file), { directory: dirname(file), home, platform }).store
  } catch {
    return undefined
  }
}

function invalid(problems: readonly Problem[], text: string, shown: string): TokctlError {
  const lineOf = indexLines(text)
  const placed = problems.map(problem => ({ ...problem, line: lineOf(problem.path) }))
  placed.sort((a, b) => a.line - b.line)
  const [first, ...more] = placed.map(({ line, path, text }) => `${shown}:${line}: ${dotted(path)}: ${text}`)
  const hint = placed.find(problem => problem.hint !== undefined)?.hint
  return new TokctlError('config_invalid', first!, { hint, more })
}

function dotted(path: KeyPath): string {
  return path.map(key => (/^[\w-]+$/.test(key) ? printable(key) : JSON.stringify(printable(key)))).join('.')
}

function decode(bytes: Buffer, shown: string): string {
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes)
  let line = 1
  let from = 0
  for (
    let end = bytes.indexOf('\n');
    end >= 0 && isUtf8(bytes.subarray(from, end));
    end = bytes.indexOf('\n', from)
  ) {
    from = end + 1
    line++
  }
  throw new TokctlError('config_invalid', `${shown}:${line}: the file is not UTF-8`, {
    hint: 'save it as UTF-8',
  })
}

// Deep enough for any body that a request has, and far from the end of the stack.
const maxDepth = 64

function parseToml(text: string, shown: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text, { maxDepth })
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    throw new TokctlError('config_invalid', `${shown}:${error.line}: ${reasonOf(error)}`)
  }
}

const reasons: readonly (readonly [RegExp, string])[] = [
  [/redefine/, 'this key or table is defined a second time'],
  [/invalid value/, 'not a value: a string needs quotes'],
  [/unfinished string/, 'a string without its end'],
  [/unfinished (?:table|array)/, 'a table or list without its end'],
  [/comma or end of structure/, 'expected a comma, or the end of the table or list'],
  [/end-of-line/, 'expected the end of the line'],
  [/control characters/, 'a control character that TOML does not allow'],
  [/escape/, 'an escape in a string that TOML does not know'],
  [/date/, 'not a date or time'],
  [/numeric|leading zero|underscore|losslessly/, 'not a number that TOML allows'],
  [/nested/, 'nested too deeply'],
  [/key|table array/, 'not a key: expected key = value or [table]'],
]

// The parser's own message goes on to quote the text, where a secret may stand.
function reasonOf(error: TomlError): string {
  const told = error.message.split('\n', 1)[0] ?? ''
  return reasons.find(([pattern]) => pattern.test(told))?.[1] ?? 'not TOML'
}
