import { TokctlError } from '../core/errors.ts'
import { type CiSystem, type Export, linesOf, refuseFile, runnerFile } from './ci-system.ts'

const title = 'GitHub Actions'

// The runner keeps these for itself, and ignores or refuses them in GITHUB_ENV.
const reserved = /^(?:GITHUB_|RUNNER_|ACTIONS_|NODE_OPTIONS$|CI$)/

/**
 * GitHub Actions: `::add-mask::` on stdout, then the files behind `GITHUB_ENV` and `GITHUB_OUTPUT`.
 *
 * @see https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
 */
export const system: CiSystem = {
  title,
  marks: ['GITHUB_ACTIONS'],
  plan(exports, place) {
    refuseFile(place, title)
    for (const { name } of exports) {
      if (!reserved.test(name)) continue
      throw new TokctlError('usage', `${title} keeps variable "${name}" for itself`, {
        hint: 'name another one: PROFILE=MY_TOKEN',
      })
    }
    const files = ['GITHUB_ENV', 'GITHUB_OUTPUT'].map(variable => runnerFile(place, variable, title))
    const masks = exports.flatMap(one => linesOf(one).map(mask))
    const text = exports.map(one => block(one, place.random)).join('')
    return {
      steps: [
        { kind: 'say', text: masks.join('') },
        ...files.map(path => ({ kind: 'append', path, text }) as const),
      ],
      isMasked: true,
      told: 'in the environment of later steps, and an output of this one',
    }
  },
}

// The runner decodes these three in what a command carries.
function mask(line: string): string {
  const data = line.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
  return `::add-mask::${data}\n`
}

function block({ name, value }: Export, random: () => string): string {
  const text = value.expose()
  // A delimiter that the value can end is how CVE-2020-15228 worked.
  let delimiter = `tokctl_${random()}`
  while (text.includes(delimiter)) delimiter = `tokctl_${random()}`
  return `${name}<<${delimiter}\n${text}\n${delimiter}\n`
}
