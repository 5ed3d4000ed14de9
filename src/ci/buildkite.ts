import { type CiSystem, linesOf, refuseFile } from './ci-system.ts'

const title = 'Buildkite'

/**
 * Buildkite: its agent is told by stdin, first what to hide, then what to set.
 *
 * @see https://buildkite.com/docs/agent/v3/cli-redactor and https://buildkite.com/docs/agent/v3/cli-env
 */
export const system: CiSystem = {
  title,
  marks: ['BUILDKITE'],
  plan(exports, place) {
    refuseFile(place, title)
    const hidden = exports.flatMap(one => {
      const { name } = one
      const text = one.value.expose()
      const lines = linesOf(one)
      const whole = lines.length > 1 ? [[name, text] as const] : []
      return [...whole, ...lines.map((line, i) => [`${name}_${i}`, line] as const)]
    })
    const set = exports.map(({ name, value }) => [name, value.expose()] as const)
    return {
      steps: [
        run(['redactor', 'add', '--format', 'json'], Object.fromEntries(hidden)),
        run(['env', 'set', '--input-format=json', '--output-format=quiet', '-'], Object.fromEntries(set)),
      ],
      isMasked: true,
      told: 'in the environment of later hooks and phases of this job',
    }
  },
}

function run(words: readonly string[], input: Record<string, string>) {
  return { kind: 'run', command: ['buildkite-agent', ...words], input: JSON.stringify(input) } as const
}
