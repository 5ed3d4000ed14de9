import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { type CommandNode, commandTree } from '../../src/cli/command-tree.ts'
import { run } from '../support/run.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const page = join(root, 'man', 'tokctl.1')
const { exitCodes, manPage } = (await import(pathToFileURL(join(root, 'scripts', 'man-page.mjs')).href)) as {
  exitCodes: [codes: string, about: string][]
  manPage(tree: CommandNode, version: string, released: string): string
}

test('the packed page is the one that comes of the definitions of the commands', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const packed = readFileSync(page, 'utf8')
  const released = /^\.TH TOKCTL 1 "(.*?)"/m.exec(packed)?.[1] ?? ''
  expect(packed === manPage(await commandTree(), version, released), 'run npm run generate').toBe(true)
})

test('mandoc has nothing against it, but that an unreleased version has no date', async () => {
  const { stdout, stderr } = await run(['-Tlint', '-Wwarning', page], { program: ['mandoc'] })
  const told = `${stdout}${stderr}`
    .split('\n')
    .filter(line => line !== '' && !/WARNING: missing date/.test(line))
  expect(told).toEqual([])
})

test('it shows every command, option and example as they are typed', async () => {
  const { stdout, code } = await run(['-Tutf8', page], { program: ['mandoc', '-O', 'width=200'] })
  expect(code).toBe(0)
  const shown = stdout.replace(/.\u0008/g, '')
  const check = (node: CommandNode): void => {
    for (const { flags, fallback } of node.options) {
      expect(shown).toContain(flags)
      if (fallback !== undefined) expect(shown).toContain(`(default: ${fallback})`)
    }
    for (const line of node.example) expect(shown).toContain(line)
    for (const child of node.commands) check(child)
  }
  check(await commandTree())
  expect(shown).toMatch(/token, header, json, curl, netrc, env \(default: token\)/)
})

test('it tells every variable of ours that a person may set, and the files', () => {
  const told = readFileSync(page, 'utf8').replaceAll('\\', '')
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const variables = new Set(readme.match(/\bTOKCTL_[A-Z_]+\b/g))
  expect([...variables].length).toBeGreaterThan(2)
  for (const name of [...variables, 'NODE_EXTRA_CA_CERTS', '.tokctl.toml']) expect(told).toContain(name)
})

test('it tells every exit code there is', () => {
  const table = readFileSync(join(root, 'src', 'core', 'errors.ts'), 'utf8')
  const used = new Set([...table.matchAll(/^ {2}\w+: \[(\d+), '/gm)].map(([, code]) => Number(code)))
  const told = exitCodes.flatMap(([codes]) => codes.split(', ').map(Number))
  expect(told).toEqual([0, ...[...used].sort((a, b) => a - b)])
})
