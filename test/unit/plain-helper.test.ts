import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readPlainHelper } from '../../src/cli/plain-helper.ts'
import { newProgram } from '../../src/cli/program.ts'

/** What commander reads from a command line of `helper`; `undefined` where it refuses it. */
async function readByCommander(argv: readonly string[]): Promise<unknown> {
  const program = newProgram('').configureOutput({ writeOut() {}, writeErr() {} })
  let read: unknown
  program
    .command('helper')
    .argument('<protocol>')
    .argument('[words...]')
    .allowUnknownOption()
    .action((protocol: string, words: string[]) => {
      read = { protocol, words }
    })
  for (const command of program.commands) command.copyInheritedSettings(program)
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch {
    return undefined
  }
  return read
}

describe('a plain helper call is read without commander, and as commander reads it', () => {
  test.each([
    [['helper', 'git', 'get'], { protocol: 'git', words: ['get'] }],
    [['helper', 'kubectl', 'corp'], { protocol: 'kubectl', words: ['corp'] }],
    [['helper', 'vault'], { protocol: 'vault', words: [] }],
    [['helper', 'git', '--store', 'get'], undefined],
    [['helper', 'cargo', '--cargo-plugin'], undefined],
    [['helper', 'keyring', 'get', 'https://pypi.example.com/simple/', ''], undefined],
  ] as const)('%j', async (argv, want) => {
    const expected = want ?? { protocol: argv[1], words: argv.slice(2) }
    expect(readPlainHelper(argv)).toEqual(expected)
    expect(await readByCommander(argv)).toEqual(expected)
  })

  test('whatever it reads, commander reads the same; what has another option it leaves to commander', async () => {
    const word = fc.constantFrom(
      'helper',
      'git',
      'get',
      '',
      '-',
      '--',
      '-v',
      '--config',
      'c.toml',
      '--cargo-plugin',
      '--store',
      '{}',
    )
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 5 }), async argv => {
        const plain = readPlainHelper(argv)
        if (plain !== undefined) expect(await readByCommander(argv)).toEqual(plain)
        const isOther = (word: string): boolean => /^-(?!-cargo-plugin$|-store$)/.test(word)
        if (argv.some(isOther) || argv[0] !== 'helper') expect(plain).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })
})
