import { type CiSystem, exportLine, refuseFile, runnerFile } from './ci-system.ts'

const title = 'CircleCI'

/**
 * CircleCI: the file behind `BASH_ENV`, which each later step reads. It hides only what stood in a context or a project.
 *
 * @see https://circleci.com/docs/env-vars/#parameters-and-bash-environment
 */
export const system: CiSystem = {
  title,
  marks: ['CIRCLECI'],
  plan(exports, place) {
    refuseFile(place, title)
    const path = runnerFile(place, 'BASH_ENV', title)
    const text = exports.map(one => `${exportLine(one)}\n`).join('')
    return {
      steps: [{ kind: 'append', path, text }],
      isMasked: false,
      told: 'in the environment of later steps of this job',
    }
  },
}
