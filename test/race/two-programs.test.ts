import { expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { oneFile, onNode, type RunOptions, run, type Started, start } from '../support/run.ts'

// The program on Node and the program as one file share records, locks and outcomes.

function startEach(programs: readonly (readonly string[])[], options: RunOptions): Started[] {
  return programs.map(program => start(['get', 'corp', '-v'], { ...options, program, timeoutMs: 60_000 }))
}

async function allButOneWait(all: readonly Started[]): Promise<void> {
  let waiting = 0
  await new Promise<void>((resolve, reject) => {
    for (const one of all) {
      one.waitForStderr(/waiting for process \d+/, 60_000).then(
        () => ++waiting === all.length - 1 && resolve(),
        error => waiting < all.length - 2 && one.child.exitCode !== null && reject(error),
      )
    }
  })
}

test('thirty-two of each on an expired token: one request, sixty-four equal tokens', async () => {
  const { auth, options } = await corp()
  auth.expiresIn = 0
  expect((await run(['get', 'corp'], { ...options, program: onNode })).stdout).toBe('token-1\n')
  auth.expiresIn = 3600
  const gate = auth.hold()
  const all = startEach(
    Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? onNode : oneFile)),
    options,
  )
  await allButOneWait(all)
  gate.release()
  const results = await Promise.all(all.map(one => one.done))
  expect(new Set(results.map(({ stdout }) => stdout))).toEqual(new Set(['token-2\n']))
  expect(auth.count()).toBe(2)
}, 90_000)

test.each([
  ['Node', 'one file', onNode, oneFile],
  ['one file', 'Node', oneFile, onNode],
] as const)(
  'while %s asks, %s waits for it and names it; killed, it is followed; what is refused is refused for both',
  async (_, __, first, second) => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const [leader] = startEach([first], options) as [Started]
    await gate.arrived(1)
    const [waiter] = startEach([second], options) as [Started]
    const [, pid] = await waiter.waitForStderr(/waiting for process (\d+)/)
    expect(Number(pid)).toBe(leader.pid)
    leader.kill('SIGKILL')
    await gate.arrived(2)
    gate.release()
    expect((await waiter.done).stdout).toBe('token-2\n')
    expect((await run(['get', 'corp'], { ...options, program: first })).stdout).toBe('token-2\n')
    await run(['reject', 'corp'], { ...options, program: second, input: 'token-2\n' })
    auth.answer({ status: 401, body: { error: 'invalid_client' } })
    const asked = auth.count()
    for (const program of [first, second]) {
      expect((await run(['get', 'corp'], { ...options, program })).code).toBe(6)
    }
    // The second one fails by the outcome that the first one left.
    expect(auth.count()).toBe(asked + 1)
  },
)
