import { describe, expect, test } from 'vitest'
import { clientProfile, corp, startWaiting } from '../support/corp.ts'
import { type RunResult, run, start } from '../support/run.ts'

const patience = 90_000

function tokensOf(results: RunResult[]): Set<string> {
  return new Set(results.map(({ stdout }) => stdout))
}

describe('sixty-four at once', () => {
  test(
    'on an empty cache: one request, sixty-four equal tokens',
    async () => {
      const { auth, options } = await corp()
      const gate = auth.hold()
      const all = await startWaiting(64, ['get', 'corp'], options)
      gate.release()
      const results = await Promise.all(all.map(one => one.done))
      expect(tokensOf(results)).toEqual(new Set(['token-1\n']))
      expect(results.map(({ code }) => code)).toEqual(Array(64).fill(0))
      expect(auth.count()).toBe(1)
    },
    patience,
  )

  test(
    'on an expired token: one request, sixty-four equal tokens',
    async () => {
      const { auth, options } = await corp()
      auth.expiresIn = 0
      expect((await run(['get', 'corp'], options)).stdout).toBe('token-1\n')
      auth.expiresIn = 3600
      const gate = auth.hold()
      const all = await startWaiting(64, ['get', 'corp'], options)
      gate.release()
      const results = await Promise.all(all.map(one => one.done))
      expect(tokensOf(results)).toEqual(new Set(['token-2\n']))
      expect(auth.count()).toBe(2)
    },
    patience,
  )

  test(
    'while the server answers 503: one process asks, and its failure is everybody’s',
    async () => {
      const { auth, options } = await corp()
      auth.unavailable(30)
      const gate = auth.hold()
      const all = await startWaiting(64, ['get', 'corp'], options)
      gate.release()
      const results = await Promise.all(all.map(one => one.done))
      expect(results.map(({ code }) => code)).toEqual(Array(64).fill(5))
      for (const { stdout, stderr } of results) {
        expect(stdout).toBe('')
        expect(stderr).toMatch(/^tokctl: error: .*503/m)
      }
      expect(auth.count()).toBe(1)
    },
    patience,
  )

  test(
    'while the server hangs: one request, and nobody waits for longer than its own timeout',
    async () => {
      const { auth, options } = await corp()
      auth.answer('hang')
      const all = await startWaiting(64, ['get', 'corp', '--timeout', '12s'], options)
      const results = await Promise.all(all.map(one => one.done))
      expect(results.map(({ code }) => code)).toEqual(Array(64).fill(5))
      expect(auth.count()).toBe(1)
      for (const { ms } of results) expect(ms).toBeLessThan(20_000)
    },
    patience,
  )

  test(
    'while the server resets: one process tries, and its failure is everybody’s',
    async () => {
      const { auth, options } = await corp()
      auth.answer('reset')
      const gate = auth.hold()
      const all = await startWaiting(64, ['get', 'corp'], options)
      gate.release()
      const results = await Promise.all(all.map(one => one.done))
      expect(results.map(({ code }) => code)).toEqual(Array(64).fill(5))
      expect(auth.maxInFlight).toBe(1)
      // The attempts of one caller: a client_credentials request may be repeated.
      expect(auth.count()).toBe(3)
    },
    patience,
  )
})

test(
  'ten forced at once: one request, and nobody gets the old token',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    const gate = auth.hold()
    const all = await startWaiting(10, ['get', 'corp', '--force'], options)
    gate.release()
    const results = await Promise.all(all.map(one => one.done))
    expect(tokensOf(results)).toEqual(new Set(['token-2\n']))
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'a leader that is killed is replaced by one of the waiters',
  async () => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const leader = start(['get', 'corp'], options)
    await gate.arrived(1)
    const waiters = await startWaiting(8, ['get', 'corp'], options, 0)
    for (const { stderr } of waiters) expect(stderr).toContain(`waiting for process ${leader.pid}`)
    leader.kill('SIGKILL')
    await leader.done
    await gate.arrived(1)
    gate.release()
    const results = await Promise.all(waiters.map(one => one.done))
    expect(results.map(({ code }) => code)).toEqual(Array(8).fill(0))
    expect(tokensOf(results).size).toBe(1)
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'a leader that is stopped keeps its lead: who waits gives up in its own time and names it',
  async () => {
    const { auth, options } = await corp()
    const gate = auth.hold()
    const leader = start(['get', 'corp'], options)
    await gate.arrived(1)
    leader.kill('SIGSTOP')
    const waiter = await run(['get', 'corp', '--timeout', '1s'], options)
    expect(waiter).toMatchObject({ code: 5, stdout: '' })
    expect(waiter.stderr).toContain(
      `is being renewed by process ${leader.pid}, which did not finish within 1s`,
    )
    leader.kill('SIGCONT')
    gate.release()
    expect(await leader.done).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(auth.count()).toBe(1)
  },
  patience,
)

test(
  'two profiles never wait for each other',
  async () => {
    const { auth, at, options } = await corp()
    at.writeConfig(clientProfile('a', `${auth.url}/a`) + clientProfile('b', `${auth.url}/b`))
    const gate = auth.hold('/a')
    const held = start(['get', 'a'], options)
    await gate.arrived(1)
    expect(await run(['get', 'b'], options)).toMatchObject({ code: 0, stdout: 'token-1\n' })
    gate.release()
    expect(await held.done).toMatchObject({ code: 0 })
  },
  patience,
)

test(
  'twenty profiles times sixteen processes: twenty requests',
  async () => {
    const { auth, at, options } = await corp()
    const names = Array.from({ length: 20 }, (_, i) => `p${i}`)
    at.writeConfig(names.map(name => clientProfile(name, `${auth.url}/${name}`)).join('\n'))
    // Eighty at a time, so that the machine is busy and not beside itself.
    for (let first = 0; first < names.length; first += 5) {
      const gate = auth.hold()
      const some = names.slice(first, first + 5)
      const all = some.flatMap(name =>
        Array.from({ length: 16 }, () => start(['get', name], { timeoutMs: patience, ...options })),
      )
      await gate.arrived(5, patience)
      gate.release()
      const results = await Promise.all(all.map(one => one.done))
      expect(results.map(({ code }) => code)).toEqual(Array(80).fill(0))
      expect(tokensOf(results).size).toBe(5)
    }
    for (const name of names) expect(auth.count(`/${name}`)).toBe(1)
  },
  patience,
)
