import { isNoTerminal, isTerminal } from './io.ts'

/** Colours for one stream. */
export interface Colours {
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
  cyan(text: string): string
}

const plain = (text: string): string => text
const none: Colours = { red: plain, green: plain, yellow: plain, cyan: plain }

/**
 * Gives the colours of a stream: none where it is no terminal or `NO_COLOR` is set, unless `FORCE_COLOR` asks for them.
 *
 * @see https://no-color.org and https://force-color.org
 */
export async function coloursOf(
  fd: 1 | 2,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Colours> {
  if (env['NO_COLOR']) return none
  const forced = env['FORCE_COLOR']
  const isForced = forced !== undefined && forced !== '0' && forced !== 'false'
  if (!isForced && (forced !== undefined || env['TERM'] === 'dumb')) return none
  if (!isForced && (isNoTerminal(fd) || !(await isTerminal(fd)))) return none
  const { default: kleur } = await import('kleur')
  kleur.enabled = true
  return kleur
}
