import { type CiSystem, refuseLines } from './ci-system.ts'

const title = 'GitLab'
const defaultFile = 'tokctl.env'

/**
 * GitLab: a dotenv file for `artifacts: reports: dotenv`. It hides only what was a masked variable before the job began.
 *
 * @see https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsdotenv
 */
export const system: CiSystem = {
  title,
  marks: ['GITLAB_CI'],
  plan(exports, place) {
    // No quotes, no escapes: a value is all that follows the first "=".
    refuseLines(exports, title)
    const path = place.file ?? defaultFile
    const lines = new Map(exports.map(({ name, value }) => [name, `${name}=${value.expose()}`]))
    return {
      steps: [{ kind: 'keep', path, lines }],
      isMasked: false,
      told: `in ${path}; later jobs have it where this one declares artifacts: reports: dotenv: ${path}`,
    }
  },
}
