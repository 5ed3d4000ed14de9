import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse as parseToml } from 'smol-toml'
import { expect, test } from 'vitest'
import { configSchema } from '../../src/profile/schema.ts'
import { validate } from '../../src/profile/validate.ts'
import { corp } from '../support/corp.ts'
import { fits } from '../support/json-schema.ts'
import { program, type RunOptions, run, type Scratch } from '../support/run.ts'

// Each marked block of docs/recipes.md is run as it stands. The service, npm and docker are stand-ins that check what they get.

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const page = readFileSync(join(root, 'docs', 'recipes.md'), 'utf8')

const stubs: Readonly<Record<string, string>> = {
  curl: `case "$*" in "--fail --silent -H @- https://api.example.com/"*) ;; *) exit 22 ;; esac
[ "$(cat)" = "Authorization: Bearer token-1" ] && echo called >> calls`,
  npm: '[ "$*" = "install --global --ignore-scripts tokctl" ]',
  docker:
    '[ "$*" = "build --secret id=token,env=API_TOKEN ." ] && [ "$API_TOKEN" = token-1 ] && echo called >> calls',
}

interface Home {
  readonly at: Scratch
  readonly count: () => number
  /** Runs a text in a shell that stops at the first failure. */
  sh(text: string, env?: Readonly<Record<string, string>>): Promise<void>
}

async function home(): Promise<Home> {
  const { auth, at, options } = await corp()
  const shim = at.write('bin/tokctl', `#!/bin/sh\nexec "${program.join('" "')}" "$@"\n`, 0o755)
  for (const [name, text] of Object.entries(stubs)) at.write(`bin/${name}`, `#!/bin/sh\n${text}\n`, 0o755)
  const sh: Home['sh'] = async (text, env = {}) => {
    const call: RunOptions = {
      ...options,
      cwd: at.home,
      env: { ...options.env, PATH: `${dirname(shim)}:${process.env['PATH']}`, ...env },
      program: ['sh', '-e', '-c'],
    }
    const { code, stdout, stderr } = await run([text], call)
    expect(code, `${text}\n${stdout}${stderr}`).toBe(0)
    expect(`${stdout}${stderr}`.replaceAll('::add-mask::token-1', '')).not.toContain('token-1')
  }
  return { at, sh, count: () => auth.count() }
}

interface Recipe {
  readonly kind: string
  readonly text: string
  readonly title: string
}

const recipes: Recipe[] = [...page.matchAll(/^<!-- recipe: (\w+) -->\n```\w+\n([\s\S]*?)^```$/gm)].map(
  found => ({
    kind: found[1]!,
    text: found[2]!,
    title: /^## (.*)$/m.exec(page.slice(page.lastIndexOf('\n## ', found.index)))?.[1] ?? '',
  }),
)

function yaml(text: string): unknown {
  const script = 'import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))'
  return JSON.parse(execFileSync('python3', ['-c', script], { input: text, encoding: 'utf8' }))
}

/** What a runner does between two steps: the variables of the file stand in the environment of the next. */
function exported(at: Scratch): Record<string, string> {
  const content = readFileSync(join(at.home, 'github-env'), 'utf8')
  return Object.fromEntries(
    [...content.matchAll(/^(\w+)<<(\S+)\n([\s\S]*?)\n\2$/gm)].map(([, name, , value]) => [name!, value!]),
  )
}

const ways: Readonly<Record<string, (text: string, home: Home) => Promise<void>>> = {
  shell: (text, { sh }) => sh(text),
  docker: (text, { sh }) => sh(text),
  async make(text, { at, sh }) {
    at.write('home/Makefile', text)
    await sh('make -j2 deploy')
    expect(readFileSync(join(at.home, 'calls'), 'utf8')).toBe('called\ncalled\n')
  },
  async config(text) {
    const table = parseToml(text)
    const place = { directory: '/', home: '/', platform: 'linux' } as const
    expect(validate(table, place).problems).toEqual([])
    expect(fits(table, configSchema())).toBe(true)
  },
  async github(text, { at, sh }) {
    const { jobs } = yaml(text) as { jobs: { deploy: { steps: { uses?: string; run: string }[] } } }
    at.write('home/github-env', '')
    const runner = { GITHUB_ACTIONS: 'true', GITHUB_ENV: 'github-env', GITHUB_OUTPUT: 'github-output' }
    // The first brings the configuration, which is there.
    const [{ uses } = {}, ...steps] = jobs.deploy.steps
    expect(uses).toMatch(/^actions\/checkout@/)
    for (const step of steps) await sh(step.run, { ...runner, ...exported(at) })
    expect(exported(at)).toEqual({ API_TOKEN: 'token-1' })
  },
  async gitlab(text, { sh }) {
    const { deploy } = yaml(text) as { deploy: { before_script: string[]; script: string[] } }
    await sh([...deploy.before_script, ...deploy.script].join('\n'), { GITLAB_CI: 'true' })
  },
  async jenkins(text, { sh }) {
    const [, script = ''] = /sh '''\n([\s\S]*?)\n {2}'''/.exec(text) ?? []
    await sh(script, { JENKINS_URL: 'https://jenkins.example.com/' })
  },
  async cron(text, { sh }) {
    const [variable = '', line = ''] = text.trimEnd().split('\n')
    const [name = '', value = ''] = variable.split('=')
    await sh(line.split(' ').slice(5).join(' '), { [name]: value })
  },
  async systemd(text, { sh }) {
    await sh(/^ExecStart=(.*)$/m.exec(text)![1]!)
  },
  async kubernetes(text, { at, sh }) {
    const pod = yaml(text) as { spec: { initContainers: { command: [string, string, string] }[] } }
    const [, , script] = pod.spec.initContainers[0]!.command
    await sh(script.replace('/run/token/', `${at.home}/`))
    expect(readFileSync(join(at.home, 'token'), 'utf8')).toBe('token-1\n')
  },
  async vscode(text, { at, sh }) {
    const { tasks } = JSON.parse(text) as { tasks: { command: string; args: string[] }[] }
    const words = [tasks[0]!.command, ...tasks[0]!.args].map(word => `'${word.replaceAll("'", `'\\''`)}'`)
    at.write('home/.vscode/tasks.json', text)
    await sh(words.join(' '))
  },
}

test('every way of using it has a recipe', () => {
  const titles = [...page.matchAll(/^## (.*)$/gm)].map(([, title]) => title)
  expect(titles).toEqual([
    'Shell',
    'Makefile',
    'GitHub Actions',
    'GitLab',
    'Jenkins',
    'cron',
    'systemd',
    'Docker build secrets',
    'Kubernetes init container',
    'VS Code',
    '.envrc',
  ])
  expect(new Set(recipes.map(({ title }) => title))).toEqual(new Set(titles))
})

test.each(recipes.map(({ kind, title, text }, i) => [title, i, kind, text] as const))(
  'the recipe for %s (block %i) runs as it stands',
  async (_, __, kind, text) => {
    const made = await home()
    await ways[kind]!(text, made)
    if (kind !== 'config') expect(made.count()).toBe(1)
  },
)
