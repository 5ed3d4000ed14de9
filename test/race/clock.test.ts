import { expect, test } from 'vitest'
import { ahead } from '../support/corp.ts'
import { rotation } from '../support/rotation.ts'
import { type RunOptions, run } from '../support/run.ts'

// A session through clocks that jump: what is expired is not served, and no jump asks more than once.

const patience = 120_000
const at = (options: RunOptions, offset: string): RunOptions => ({
  ...options,
  env: { ...options.env, ...ahead(offset) },
})

test(
  'after eight hours of sleep an expired token is not served, and one request renews it for all, then without the seed',
  async () => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const awake = at(all.options, '+8h')
    const four = await Promise.all([1, 2, 3, 4].map(() => run(['get', 'me'], awake)))
    for (const one of four) expect(one).toMatchObject({ code: 0, stdout: 'token-canary-2\n', stderr: '' })
    expect(all.sent).toEqual(['seed-canary-1', 'refresh-canary-1'])
    // What was handed over once has been put away since.
    const later = at({ ...all.options, env: { SEED: undefined } }, '+16h')
    expect(await run(['get', 'me'], later)).toMatchObject({
      code: 0,
      stdout: 'token-canary-3\n',
      stderr: '',
    })
  },
  patience,
)

test.each([
  ['a day ahead', '+1d'],
  ['a day behind', '-1d'],
  ['in 2038, after the last second of 32 bits', '+13y'],
])(
  'a clock that is %s: one renewal there, one back, and the session lives',
  async (_, offset) => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const wrong = at(all.options, offset)
    for (let i = 0; i < 2; i++)
      expect(await run(['get', 'me'], wrong)).toMatchObject({
        code: 0,
        stdout: 'token-canary-2\n',
        stderr: '',
      })
    expect(all.sent).toHaveLength(2)
    const back = await run(['get', 'me'], all.options)
    expect(back).toMatchObject({ code: 0, stderr: '' })
    for (let i = 0; i < 2; i++) expect((await run(['get', 'me'], all.options)).stdout).toBe(back.stdout)
    expect(all.sent.length).toBeLessThanOrEqual(3)
    expect(new Set(all.sent).size).toBe(all.sent.length)
    expect(await run(['get', 'me', '--force'], all.options)).toMatchObject({ code: 0 })
  },
  patience,
)
