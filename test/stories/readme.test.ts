import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { program, run, scratch } from '../support/run.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

interface Step {
  readonly command: string
  /** What is shown under the command; `…` stands for anything within a line, or for any lines. */
  readonly output: string
}

function blocks(mark: string): string[] {
  return [...readme.matchAll(new RegExp(`<!-- ${mark} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``, 'g'))].map(
    ([, text]) => text!,
  )
}

function steps(block: string): Step[] {
  return block
    .split(/^\$ /m)
    .slice(1)
    .map(part => {
      const [command = '', ...output] = part.trimEnd().split('\n')
      return { command, output: output.join('\n') }
    })
}

function matches(shown: string, written: string): boolean {
  const pattern = shown
    .split('…')
    .map(piece => piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/[ \t]+/g, '[ \\t]+'))
    .join('[\\s\\S]*?')
  return new RegExp(`^\\s*${pattern}\\s*$`).test(written)
}

test('what README shows is what happens, command by command', async () => {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  const [config = ''] = blocks('story: config')
  at.writeConfig(config.replace('https://idp.example.com', auth.url))
  const shim = at.write('bin/tokctl', `#!/bin/sh\nexec "${program.join('" "')}" "$@"\n`, 0o755)
  const env = {
    PATH: `${dirname(shim)}:${process.env['PATH']}`,
    CORP_CLIENT_SECRET: 'hush',
    TOKCTL_STORE: 'file',
  }
  const told = blocks('story').flatMap(steps)
  expect(told.length).toBeGreaterThan(8)
  for (const { command, output } of told) {
    const { stdout } = await run(['-c', `{ ${command}\n} 2>&1`], { at, env, program: ['/bin/sh'] })
    expect(matches(output, stdout), `$ ${command}\n${stdout}\nREADME has:\n${output}`).toBe(true)
  }
  // One for forty processes, one after the token was refused, one that was asked for.
  expect(auth.count('/token')).toBe(3)
})

describe('README', () => {
  test('has the exit codes of the error table', () => {
    const shown = [...readme.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, codes]) =>
      codes!.split(', ').map(Number),
    )
    const table = readFileSync(join(root, 'src', 'core', 'errors.ts'), 'utf8')
    const used = new Set([...table.matchAll(/^ {2}\w+: \[(\d+), '/gm)].map(([, code]) => Number(code)))
    expect(shown).toEqual([0, ...[...used].sort((a, b) => a - b)])
  })

  test('names the version that npm pack makes', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    expect(readme).toContain(`./tokctl-${version}.tgz`)
  })

  test.each([
    ['a … c', 'a b c', true],
    ['a … c', 'a b d', false],
    ['40 token-1', '     40 token-1\n', true],
    ['token-1', 'token-12', false],
    ['', '', true],
    ['', 'x', false],
  ])('a shown %j and a written %j: %s', (shown, written, expected) => {
    expect(matches(shown, written)).toBe(expected)
  })
})
