import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Export, Place, Plan } from '../../src/ci/ci-system.ts'
import { systemHere, systems } from '../../src/ci/systems.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'

const runner = { GITHUB_ENV: '/env', GITHUB_OUTPUT: '/output', BASH_ENV: '/bash_env' }

function plan(name: string, values: Record<string, string>, place: Partial<Place> = {}): Plan {
  let n = 0
  const exports: Export[] = Object.entries(values).map(([key, value]) => ({
    name: key,
    value: new Secret(value),
  }))
  return systems[name]!.plan(exports, { env: runner, file: undefined, random: () => `r${n++}`, ...place })
}

function text(one: Plan): string {
  return one.steps.map(step => ('text' in step ? step.text : '')).join('')
}

describe('which system it is', () => {
  test.each([
    [{ GITHUB_ACTIONS: 'true', CI: 'true' }, 'GitHub Actions'],
    [{ GITLAB_CI: 'true', CI: 'true' }, 'GitLab'],
    [{ TF_BUILD: 'True' }, 'Azure Pipelines'],
    [{ CIRCLECI: 'true' }, 'CircleCI'],
    [{ BUILDKITE: 'true' }, 'Buildkite'],
    [{ BITBUCKET_BUILD_NUMBER: '7' }, 'Bitbucket'],
    [{ JENKINS_URL: 'https://jenkins.example.com/' }, 'Jenkins'],
    [{ CI: 'true' }, 'a job of no known CI system'],
    [{ GITHUB_ACTIONS: '' }, 'a job of no known CI system'],
    [{}, 'a job of no known CI system'],
  ])('%j: %s', (env, title) => {
    expect(systemHere(env).title).toBe(title)
  })
})

describe('GitHub Actions', () => {
  /** What the runner reads from a file of variables, as its own reader does. */
  function readFile(content: string): Map<string, string> {
    const found = new Map<string, string>()
    const lines = content.split('\n')
    for (let i = 0; i < lines.length - 1; i++) {
      const [name, delimiter] = lines[i]!.split('<<') as [string, string]
      const value: string[] = []
      for (i++; lines[i] !== delimiter; i++) {
        if (i >= lines.length) throw new Error(`no end to ${name}`)
        value.push(lines[i]!)
      }
      found.set(name, value.join('\n'))
    }
    return found
  }

  /** What the runner hides for the commands on stdout. */
  function masked(stdout: string): string[] {
    const unescaped = (data: string): string =>
      data.replaceAll('%0A', '\n').replaceAll('%0D', '\r').replaceAll('%25', '%')
    return stdout
      .split('\n')
      .filter(line => line.startsWith('::add-mask::'))
      .map(line => unescaped(line.slice('::add-mask::'.length)))
  }

  test('masks each line first, then writes both files', () => {
    const { steps } = plan('github', { A: 'one\ntwo\n', B: '100%' })
    expect(steps).toEqual([
      { kind: 'say', text: '::add-mask::one\n::add-mask::two\n::add-mask::100%25\n' },
      {
        kind: 'append',
        path: '/env',
        text: 'A<<tokctl_r0\none\ntwo\n\ntokctl_r0\nB<<tokctl_r1\n100%\ntokctl_r1\n',
      },
      {
        kind: 'append',
        path: '/output',
        text: 'A<<tokctl_r0\none\ntwo\n\ntokctl_r0\nB<<tokctl_r1\n100%\ntokctl_r1\n',
      },
    ])
  })

  test('a value that holds the delimiter gets another one', () => {
    const { steps } = plan('github', { A: 'x\ntokctl_r0\nB<<tokctl_r1' })
    const [, step] = steps
    expect(readFile(step !== undefined && 'text' in step ? step.text : '')).toEqual(
      new Map([['A', 'x\ntokctl_r0\nB<<tokctl_r1']]),
    )
  })

  test('whatever a value holds, the runner reads it back, and hides each of its lines', () => {
    const part = fc.constantFrom(
      '%',
      '%0A',
      '\n',
      '::',
      '::add-mask::',
      '<<',
      'tokctl_r0',
      'B=1',
      '##vso[',
      'x',
      ' ',
    )
    const value = fc.array(part, { minLength: 1, maxLength: 12 }).map(parts => parts.join(''))
    fc.assert(
      fc.property(value, value, (a, b) => {
        const [say, env] = plan('github', { A: a, B: b }).steps as unknown as [
          { text: string },
          { text: string },
        ]
        expect(readFile(env.text)).toEqual(
          new Map([
            ['A', a],
            ['B', b],
          ]),
        )
        const hidden = masked(say.text)
        for (const line of `${a}\n${b}`.split('\n')) if (line.trim() !== '') expect(hidden).toContain(line)
        // Each line of stdout is one of ours.
        for (const line of say.text.trimEnd().split('\n'))
          expect(line === '' || line.startsWith('::add-mask::')).toBe(true)
      }),
    )
  })

  test.each(['GITHUB_TOKEN', 'RUNNER_TEMP', 'NODE_OPTIONS', 'ACTIONS_RUNTIME_TOKEN', 'CI'])(
    '%s is the runner’s own',
    name => {
      expect(() => plan('github', { [name]: 'x' })).toThrow(`keeps variable "${name}" for itself`)
    },
  )

  test('a step without the files is told so', () => {
    expect(() => plan('github', { A: 'x' }, { env: {} })).toThrow('gives this step no GITHUB_ENV')
  })
})

describe('Azure Pipelines', () => {
  test('hides each line first, then sets a variable and an output, escaped as the agent reads it', () => {
    expect(text(plan('azure', { A: '50%\r\n##vso[task.complete]' })).split('\n')).toEqual([
      '##vso[task.setsecret]50%AZP25',
      '##vso[task.setsecret]##vso[task.complete]',
      '##vso[task.setvariable variable=A;issecret=true]50%AZP25%0D%0A##vso[task.complete]',
      '##vso[task.setvariable variable=A;issecret=true;isOutput=true]50%AZP25%0D%0A##vso[task.complete]',
      '',
    ])
  })
})

describe('GitLab', () => {
  test('keeps a line for each name in a dotenv file', () => {
    expect(plan('gitlab', { A: "x'y=z" }).steps).toEqual([
      { kind: 'keep', path: 'tokctl.env', lines: new Map([['A', "A=x'y=z"]]) },
    ])
    expect(plan('gitlab', { A: 'x' }, { file: 'b.env' }).steps[0]).toMatchObject({ path: 'b.env' })
  })

  test('a value of several lines would set other variables, and is refused', () => {
    for (const value of ['a\nB=c', 'a\rB=c']) {
      expect(() => plan('gitlab', { A: value })).toThrow('the value for A has several lines')
    }
  })
})

test('CircleCI: appends what a shell reads back', () => {
  expect(plan('circleci', { A: "x'; rm -rf /; '" }).steps).toEqual([
    { kind: 'append', path: '/bash_env', text: "export A='x'\\''; rm -rf /; '\\'''\n" },
  ])
})

test('Buildkite: its agent hears what to hide, then what to set, and both on stdin', () => {
  const { steps } = plan('buildkite', { A: 'one\ntwo', B: 'x' })
  expect(steps).toEqual([
    {
      kind: 'run',
      command: ['buildkite-agent', 'redactor', 'add', '--format', 'json'],
      input: '{"A":"one\\ntwo","A_0":"one","A_1":"two","B_0":"x"}',
    },
    {
      kind: 'run',
      command: ['buildkite-agent', 'env', 'set', '--input-format=json', '--output-format=quiet', '-'],
      input: '{"A":"one\\ntwo","B":"x"}',
    },
  ])
})

test.each(['bitbucket', 'jenkins', 'plain'])('%s: a file, and only one that was named', name => {
  expect(plan(name, { A: 'x' }, { file: 'f.env' }).steps).toEqual([
    { kind: 'keep', path: 'f.env', lines: new Map([['A', "export A='x'"]]) },
  ])
  const failing = (): Plan => plan(name, { A: 'x' })
  expect(failing).toThrow(TokctlError)
  expect(failing).toThrow('no way to hand values to later steps but a file')
})

test.each(['github', 'azure', 'circleci', 'buildkite'])('%s has no use for a file', name => {
  expect(() => plan(name, { A: 'x' }, { file: 'f.env' })).toThrow('has a place of its own for values')
})

test('only those that can hide a value say that they do', () => {
  const hiding = Object.keys(systems).filter(name => {
    const file = ['bitbucket', 'jenkins', 'plain'].includes(name) ? 'f' : undefined
    return plan(name, { A: 'x' }, { file }).isMasked
  })
  expect(hiding).toEqual(['github', 'azure', 'buildkite'])
})
