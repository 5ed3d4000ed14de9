import { expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { run } from '../support/run.ts'

// One machine runs the jobs of many: what one job is, or was given for what it is, no other job gets.

const part = (json: object): string => Buffer.from(JSON.stringify(json)).toString('base64url')
const exp = Math.floor(Date.now() / 1000) + 3600
const identity = (job: string): string => `${part({ alg: 'none' })}.${part({ sub: job, exp })}.x`

async function home() {
  const { auth, at } = await corp()
  at.writeConfig(`[profile.runner]
source = "ci"
provider = "gitlab"
[profile.deploy]
source = "token_exchange"
token_endpoint = "${auth.tokenEndpoint}"
subject_token = { profile = "runner" }
`)
  const inJob = (job: string) => ({ at, env: { GITLAB_CI: 'true', CI_JOB_ID: job, ID_TOKEN: identity(job) } })
  return { auth, at, inJob }
}

test('a job gets its own identity, and never that of the job before it', async () => {
  const { at, inJob } = await home()
  expect((await run(['get', 'runner'], inJob('1'))).stdout).toBe(`${identity('1')}\n`)
  expect((await run(['get', 'runner'], inJob('2'))).stdout).toBe(`${identity('2')}\n`)
  const outside = await run(['get', 'runner'], { at })
  expect(outside.stdout).toBe('')
  expect(outside.code).not.toBe(0)
})

test('what one job was given for its identity is kept for that job alone', async () => {
  const { auth, inJob } = await home()
  expect((await run(['get', 'deploy'], inJob('1'))).stdout).toBe('token-1\n')
  expect((await run(['get', 'deploy'], inJob('1'))).stdout).toBe('token-1\n')
  expect(auth.count()).toBe(1)
  expect((await run(['get', 'deploy'], inJob('2'))).stdout).toBe('token-2\n')
  expect(auth.requests.map(({ params }) => params['subject_token'])).toEqual([identity('1'), identity('2')])
})
