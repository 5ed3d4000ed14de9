import { type CiSystem, fileForShells } from './ci-system.ts'

const title = 'Bitbucket'

/**
 * Bitbucket: a file to be read by later commands of the same step. Its output variables are for what may be seen: their
 * values stand in the log of each later step.
 *
 * @see https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/
 */
export const system: CiSystem = {
  title,
  marks: ['BITBUCKET_BUILD_NUMBER'],
  plan: (exports, place) => fileForShells(exports, place, title),
}
