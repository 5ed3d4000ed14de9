import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { define } from '../../src/cli/get.ts'
import { readPlainGet } from '../../src/cli/plain-get.ts'
import { globalOptions, newProgram } from '../../src/cli/program.ts'

/** What commander reads from a command line of `get`; `undefined` where it refuses it. */
async function readByCommander(argv: readonly string[]): Promise<unknown> {
  const program = newProgram('').configureOutput({ writeOut() {}, writeErr() {} })
  let ran = false
  define(program, async () => {
    ran = true
  })
  for (const command of program.commands) command.copyInheritedSettings(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch {
    return undefined
  }
  const [get] = program.commands
  return ran ? { name: get!.args[0], options: get!.opts(), global: globalOptions(program) } : undefined
}

const plain: [argv: string[], name: string, output: string, config: string | undefined][] = [
  [['get', 'corp'], 'corp', 'token', undefined],
  [['get', 'corp', '-o', 'json'], 'corp', 'json', undefined],
  [['get', 'corp', '--output', 'header'], 'corp', 'header', undefined],
  [['get', '-o', 'curl', 'corp'], 'corp', 'curl', undefined],
  [['--config', 'a b.toml', 'get', 'corp'], 'corp', 'token', 'a b.toml'],
  [['get', 'corp', '--config', 'c.toml', '-o', 'env'], 'corp', 'env', 'c.toml'],
  [['get', '-o', 'fault', '--config', 'get', 'get'], 'get', 'fault', 'get'],
  [['get', ''], '', 'token', undefined],
]

describe('a plain get is read without commander, and as commander reads it', () => {
  test.each(plain)('%j', async (argv, name, output, config) => {
    const global = { input: true, verbose: false, debugHttp: false, debug: false, jsonErrors: false }
    const want = { name, options: { output }, global: config === undefined ? global : { ...global, config } }
    expect(readPlainGet(argv)).toStrictEqual(want)
    expect(await readByCommander(argv)).toStrictEqual(want)
  })

  const words = [
    ...['get', 'corp', 'c', '', '-', '--', 'json', 'refresh', '__proto__'],
    ...['-o', '-ojson', '--output', '--output=json', '--config', '--config=c', '--out', '--con', '--configs'],
    ...['--force', '--cached', '--min-validity', '5m', '--timeout', '-h', '--help', '--version', '-v', '-vo'],
    ...['--verbose', '--debug', '--json-errors', '--no-input', '--no-config', '--input'],
  ]
  const anyLine = fc.array(fc.constantFrom(...words), { maxLength: 7 })
  // Mostly right, so that the comparison is mostly of something.
  const getLine = fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom('corp', '-o', '--output', '--config') },
        fc.constantFrom(...words),
      ),
      {
        maxLength: 5,
      },
    )
    .chain(rest => fc.nat(rest.length).map(at => [...rest.slice(0, at), 'get', ...rest.slice(at)]))

  test('no command line at all is read in another way', async () => {
    let compared = 0
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyLine, getLine), async argv => {
        const found = readPlainGet(argv)
        if (found === undefined) return
        compared++
        expect(await readByCommander(argv)).toStrictEqual(found)
      }),
      { numRuns: 5000 },
    )
    expect(compared).toBeGreaterThan(50)
  })
})

test.each([
  [[]],
  [['get']],
  [['get', 'corp', 'other']],
  [['refresh', 'corp']],
  [['corp', 'get']],
  [['get', 'corp', '--force']],
  [['get', 'corp', '-v']],
  [['get', 'corp', '--json-errors']],
  [['get', 'corp', '--no-input']],
  [['get', 'corp', '-o']],
  [['get', 'corp', '-o', '-o']],
  [['get', 'corp', '-o', 'json', '--output', 'env']],
  [['get', 'corp', '--config', 'a', '--config', 'b']],
  [['get', 'corp', '--output=json']],
  [['get', 'corp', '--', 'x']],
  [['get', '--', 'corp']],
  [['get', '-']],
  [['-o', 'json', 'get', 'corp']],
  [['get', 'corp', '--help']],
])('%j is left to commander', argv => {
  expect(readPlainGet(argv)).toBeUndefined()
})
