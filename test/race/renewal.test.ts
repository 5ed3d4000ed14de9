import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ahead, corp } from '../support/corp.ts'
import { run, start } from '../support/run.ts'

const patience = 60_000

test(
  'a stale token is printed at once, and one process outlives the shell to renew it',
  async () => {
    const { auth, at, options } = await corp()
    await run(['get', 'corp'], options)
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    const gate = auth.hold()

    // `run` resolves when stdout and stderr are at their end, as `$(…)` does: the renewal must not hold them open.
    const first = await run(['get', 'corp'], stale)
    expect(first).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    await gate.arrived(1)

    const renewals = at.processes()
    expect(renewals).toHaveLength(1)
    const [pid] = renewals
    for (const fd of ['0', '1', '2']) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe('/dev/null')
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    expect({ session: Number(stat[3]), terminal: stat[4] }).toEqual({ session: pid, terminal: '0' })
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain('client-secret-canary')

    // While it runs nobody waits and nobody starts another.
    for (let i = 0; i < 5; i++) {
      expect(await run(['get', 'corp'], stale)).toMatchObject({ code: 0, stdout: 'token-1\n', stderr: '' })
    }
    expect(at.processes()).toEqual(renewals)
    expect(auth.count()).toBe(2)

    gate.release()
    await gone(pid!)
    expect(await run(['get', 'corp'], stale)).toMatchObject({ code: 0, stdout: 'token-2\n', stderr: '' })
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'twenty calls with a stale token start one renewal',
  async () => {
    const { auth, options } = await corp()
    await run(['get', 'corp'], options)
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    const gate = auth.hold()
    const calls = await Promise.all(Array.from({ length: 20 }, () => start(['get', 'corp'], stale).done))
    expect(new Set(calls.map(({ stdout }) => stdout))).toEqual(new Set(['token-1\n']))
    await gate.arrived(1)
    gate.release()
    expect(auth.count()).toBe(2)
  },
  patience,
)

test(
  'a renewal that fails leaves the valid token served, with one warning and no further request',
  async () => {
    const { auth, at, options } = await corp()
    await run(['get', 'corp'], options)
    const stale = { ...options, env: { ...options.env, ...ahead('+57m') } }
    auth.unavailable(600)
    const gate = auth.hold()
    await run(['get', 'corp'], stale)
    await gate.arrived(1)
    const [renewal] = at.processes()
    gate.release()
    await gone(renewal!)
    const served = await run(['get', 'corp'], stale)
    expect(served).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(served.stderr).toMatch(
      /^tokctl: warning: using a token that expires in \d+s?m?; refresh failed: .*503.*\n$/,
    )
    expect(at.processes()).toEqual([])
    expect(auth.count()).toBe(2)
  },
  patience,
)

// A process is gone when the system has no directory for it any more, or only its exit code is left.
async function gone(pid: number): Promise<void> {
  for (;;) {
    if (!readdirSync('/proc').includes(String(pid))) return
    try {
      if (/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return
    } catch {
      return
    }
    await new Promise(resolve => setImmediate(resolve))
  }
}
