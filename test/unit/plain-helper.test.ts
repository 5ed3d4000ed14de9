import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { plainOptions } from '../../src/cli/plain-get.ts'
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
      const { config } = program.opts<{ config?: string }>()
      read = { protocol, words, global: config === undefined ? plainOptions : { config, ...plainOptions } }
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
    [['helper', 'git', '--store', '--timeout', '8h', 'get'], undefined],
    [['helper', 'cargo', '--cargo-plugin'], undefined],
    [['helper', 'vault', '--client', 'bao', 'get'], undefined],
    [['helper', 'keyring', 'get', 'https://pypi.example.com/simple/', ''], undefined],
  ] as const)('%j', async (argv, want) => {
    const expected = { ...(want ?? { protocol: argv[1], words: argv.slice(2) }), global: plainOptions }
    expect(readPlainHelper(argv)).toEqual(expected)
    expect(await readByCommander(argv)).toEqual(expected)
  })

  test('a configuration that was named before it', async () => {
    const argv = ['--config', 'c.toml', 'helper', 'git', 'get']
    const want = { protocol: 'git', words: ['get'], global: { config: 'c.toml', ...plainOptions } }
    expect(readPlainHelper(argv)).toEqual(want)
    expect(await readByCommander(argv)).toEqual(want)
    expect(readPlainHelper(['--config', '-v', 'helper', 'git', 'get'])).toBeUndefined()
  })

  test('what docker’s helpers answer as options is docker’s to answer, and ours everywhere else', () => {
    for (const word of ['--version', '-v']) {
      expect(readPlainHelper(['helper', 'docker', word])).toMatchObject({ protocol: 'docker', words: [word] })
      expect(readPlainHelper(['helper', 'git', word])).toBeUndefined()
    }
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
      '--client',
      '{}',
    )
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 5 }), async argv => {
        const plain = readPlainHelper(argv)
        if (plain !== undefined) expect(await readByCommander(argv)).toEqual(plain)
        const isOther = (word: string): boolean => /^-(?!-cargo-plugin$|-store$|-client$)/.test(word)
        const rest = argv[0] === '--config' ? argv.slice(2) : argv
        if (rest.some(isOther) || rest[0] !== 'helper') expect(plain).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })
})
