import type { Environment } from '../core/environment.ts'
import type { Profile } from './profile.ts'

// What tells one job from another, by each CI system's own names. None of them is a secret.
const jobVariables = [
  'GITHUB_REPOSITORY',
  'GITHUB_RUN_ID',
  'GITHUB_RUN_ATTEMPT',
  'GITHUB_JOB',
  'CI_JOB_ID',
  'BUILD_BUILDID',
  'SYSTEM_JOBID',
  'CIRCLE_WORKFLOW_JOB_ID',
  'BUILDKITE_JOB_ID',
  'BITBUCKET_STEP_UUID',
] as const

/**
 * Binds a profile whose token is a CI job's own to the job that runs now: on a machine that runs many, no other job is served
 * it, and neither is a shell without one. Any other profile is given back as it is.
 */
export async function ofThisJob<P extends Profile>(profile: P, { env }: Environment): Promise<P> {
  if (profile.job_bound !== true) return profile
  const { createHash } = await import('node:crypto')
  const job = JSON.stringify([profile.binding, ...jobVariables.map(name => env[name] ?? null)])
  return { ...profile, binding: createHash('sha256').update(job).digest('hex') }
}
