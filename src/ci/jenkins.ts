import { type CiSystem, fileForShells } from './ci-system.ts'

const title = 'Jenkins'

/**
 * Jenkins: a file to be read by the shell of a step. It hides only what `withCredentials` has bound.
 *
 * @see https://www.jenkins.io/doc/pipeline/steps/credentials-binding/
 */
export const system: CiSystem = {
  title,
  marks: ['JENKINS_URL'],
  plan: (exports, place) => fileForShells(exports, place, title),
}
