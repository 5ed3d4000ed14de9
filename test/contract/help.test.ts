import { once } from 'node:events'
import { dirname } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type CommandNode, commandTree } from '../../src/cli/command-tree.ts'
import { corp } from '../support/corp.ts'
import { program, run, start } from '../support/run.ts'

const tree = await commandTree()
const all = flat(tree)
const named = all.map(node => [['tokctl', ...node.path].join(' '), node] as const)

function flat(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(flat)]
}

describe.each(named)('%s --help', (_, node) => {
  test('is printed, and fits a terminal of 24 lines and 80 columns with its prompt', async () => {
    const { code, stdout, stderr } = await run([...node.path, '--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.trimEnd().split('\n')
    expect(lines.length, stdout).toBeLessThanOrEqual(23)
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80)
    expect(stdout).toContain(`\nExample:\n  ${node.example[0]}`)
  })

  test('describes every option and argument', () => {
    expect(node.description).not.toBe('')
    for (const { about, flags } of node.options) expect(about, flags).not.toBe('')
    for (const { about, name } of node.arguments) expect(about, name).not.toBe('')
  })
})

test('what is said of a command fits its column on the first screen', () => {
  for (const { path, summary } of tree.commands)
    expect(summary.length, path.join(' ')).toBeLessThanOrEqual(25)
})

/** What an example needs before it, and what shows that one runs which ends with nobody to end it. */
const special: Readonly<
  Record<
    string,
    { readonly before?: string; readonly config?: string; readonly until?: RegExp; readonly prints?: RegExp }
  >
> = {
  'tokctl login': {
    config: `[profile.corp]
source = "authorization_code"
authorization_endpoint = "https://idp.example.com/authorize"
token_endpoint = "https://idp.example.com/token"
client_id = "cli"
`,
    until: /https:\/\/idp\.example\.com\/authorize/,
  },
  'tokctl trust': {
    before: `mkdir project && cd project
printf '[profile.here]\\nsource = "command"\\ncommand = ["true"]\\n' > .tokctl.toml
tokctl trust --yes ./.tokctl.toml`,
  },
  'tokctl init': { before: 'tokctl profile remove corp' },
  'tokctl proxy': { prints: /^http:\/\/127\.0\.0\.1:8080$/m },
  'tokctl profile add': { before: 'tokctl profile remove corp' },
  'tokctl secret delete': { before: 'echo hush | tokctl secret set corp-client' },
}

/** Stand-ins for what examples call beside us. */
const stubs: Readonly<Record<string, string>> = {
  curl: '#!/bin/sh\ntest "$*" = "-H @- https://api.example.com/" && test "$(cat)" = "Authorization: Bearer token-1"\n',
  op: '#!/bin/sh\necho hush\n',
}

describe('its example', () => {
  test.each(named)('of %s runs as it stands', async (name, node) => {
    const { at, options } = await corp('match = ["https://api.example.com"]\n')
    const { before = '', config, until, prints } = special[name] ?? {}
    if (config !== undefined) at.writeConfig(config)
    const shim = at.write('bin/tokctl', `#!/bin/sh\nexec "${program.join('" "')}" "$@"\n`, 0o755)
    for (const [stub, text] of Object.entries(stubs)) at.write(`bin/${stub}`, text, 0o755)
    const env = {
      ...options.env,
      PATH: `${dirname(shim)}:${process.env['PATH']}`,
      TOKEN: 'token-1',
      GITHUB_ACTIONS: 'true',
      GITHUB_ENV: 'env',
      GITHUB_OUTPUT: 'output',
    }
    const script = `set -e\nmkdir -p ~/.local/share/bash-completion/completions\n${before}\n${node.example.join('\n')}\n`
    const call = { ...options, env, cwd: at.home, program: ['sh', '-c', script] }
    if (until !== undefined) {
      await start([], call).waitForStderr(until)
      return
    }
    if (prints !== undefined) {
      const { child } = start([], call)
      const [said] = await once(child.stdout!, 'data')
      expect(said.toString()).toMatch(prints)
      return
    }
    const { code, stderr } = await run([], call)
    expect(code, `${script}\n${stderr}`).toBe(0)
  })
})
