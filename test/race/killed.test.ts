import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { type Rotation, rotation } from '../support/rotation.ts'
import { program, type RunOptions, run, type Scratch, scratch, start } from '../support/run.ts'

// A thin slice of what `npm run reliability` does at length.

const patience = 120_000
const lost = /needs a new refresh token: .*: a renewal was interrupted at \S+Z, and its answer was lost\n/

/** Holds the next answer after the server has done its part. */
function committed({ auth, rotate }: Rotation): { done: Promise<void>; release(): void } {
  let release!: () => void
  let tell!: () => void
  const done = new Promise<void>(resolve => (tell = resolve))
  const open = new Promise<void>(resolve => (release = resolve))
  auth.answerNext(async request => {
    const answer = rotate(request)
    tell()
    await open
    return answer
  })
  return { done, release }
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 143],
] as const)(
  'a renewal that was sent waits for its answer through %s, and keeps it',
  async (signal, exitCode) => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const answer = committed(all)
    const one = start(['get', 'me', '--force'], all.options)
    await answer.done
    one.kill(signal)
    one.kill(signal)
    answer.release()
    const { code, stdout } = await one.done
    // The signal and the answer may come in either order; either way the session is kept.
    expect([
      [exitCode, ''],
      [0, 'token-canary-2\n'],
    ]).toContainEqual([code, stdout])
    expect(await run(['get', 'me'], all.options)).toMatchObject({ code: 0, stdout: 'token-canary-2\n' })
    expect(await run(['get', 'me', '--force'], all.options)).toMatchObject({ stdout: 'token-canary-3\n' })
    expect(new Set(all.sent).size).toBe(all.sent.length)
  },
  patience,
)

test(
  'a terminal that is closed does not end a renewal that was sent',
  async () => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const answer = committed(all)
    const shell = `exec ${program.join(' ')} get me --force`
    const typed = start(['-qec', shell, '/dev/null'], {
      ...all.options,
      program: ['script'],
      keepInput: true,
    })
    await answer.done
    // The terminal goes with the program that holds its other end.
    typed.kill('SIGKILL')
    await typed.done
    answer.release()
    await gone(all.at)
    expect(await run(['get', 'me'], all.options)).toMatchObject({ code: 0, stdout: 'token-canary-2\n' })
  },
  patience,
)

/** Somebody who begins to sign in on another device, at a server that has no other question than whether the code is good. */
async function signingIn() {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(`[profile.me]
source = "device_code"
token_endpoint = "${auth.url}/token"
device_authorization_endpoint = "${auth.url}/device"
client_id = "cli"
`)
  const device = { device_code: 'd', user_code: 'AB-CD', verification_uri: `${auth.url}/`, interval: 1 }
  const session = { access_token: 'token-1', token_type: 'Bearer', expires_in: 600, refresh_token: 'r' }
  auth.answer(({ path }) => ({ body: path === '/device' ? device : session }))
  return { auth, at }
}

test(
  'a sign-in that the server has been asked to redeem is kept through every signal, and its wait for a person is not',
  async () => {
    await Promise.all(
      (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map(async signal => {
        const { auth, at } = await signingIn()
        auth.answerNext({
          body: { device_code: 'd', user_code: 'AB-CD', verification_uri: `${auth.url}/`, interval: 60 },
        })
        const waiting = start(['login', 'me'], { at })
        await waiting.waitForStderr(/AB-CD/)
        waiting.kill(signal)
        expect((await waiting.done).stderr).not.toContain('signed in:')
        const gate = auth.hold('/token')
        const one = start(['login', 'me'], { at })
        await gate.arrived(1)
        one.kill(signal)
        one.kill(signal)
        gate.release()
        // The signal and the answer may come in either order.
        expect([signal === 'SIGINT' ? 130 : 143, 0]).toContain((await one.done).code)
        expect(await run(['get', 'me'], { at }), signal).toMatchObject({ code: 0, stdout: 'token-1\n' })
      }),
    )
  },
  patience,
)

test(
  'nobody is asked to sign in for a session that cannot be kept',
  async () => {
    const { auth, at } = await signingIn()
    at.write('state/records', '')
    const { code, stderr } = await run(['login', 'me'], { at })
    expect({ code, stderr }).toEqual({ code: 7, stderr: expect.stringContaining(at.stateDir) })
    expect(stderr).not.toContain('AB-CD')
    expect(auth.count()).toBe(0)
  },
  patience,
)

test(
  'a caller whose time runs out leaves a process that sees the renewal through',
  async () => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const answer = committed(all)
    const hurried = start(['get', 'me', '--force', '--timeout', '29s'], all.options)
    await answer.done
    const [worker] = all.at.processes().filter(pid => pid !== hurried.pid)
    expect(readFileSync(`/proc/${worker}/cmdline`, 'utf8').split('\0')).toContain('refresh')
    expect(await run(['get', 'me', '--force', '--timeout', '300ms'], all.options)).toMatchObject({ code: 5 })
    // Its own session: what ends the shell and all that was started from it does not reach it.
    process.kill(hurried.pid, 'SIGKILL')
    await hurried.done
    answer.release()
    await gone(all.at)
    expect(await run(['get', 'me'], all.options)).toMatchObject({ code: 0, stdout: 'token-canary-2\n' })
    expect(all.sent).toEqual(['seed-canary-1', 'refresh-canary-1'])
  },
  patience,
)

test(
  'killed before the answer: the good token is served, the old refresh token tried once, and the reason told',
  async () => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const answer = committed(all)
    const one = start(['get', 'me', '--force'], all.options)
    await answer.done
    one.kill('SIGKILL')
    await one.done
    answer.release()
    expect(await run(['get', 'me'], all.options)).toMatchObject({ code: 0, stdout: 'token-canary-1\n' })
    for (let i = 0; i < 2; i++) {
      const { code, stderr } = await run(['refresh', 'me'], all.options)
      expect({ code, stderr }).toEqual({ code: 4, stderr: expect.stringMatching(lost) })
    }
    expect(await run(['get', 'me'], all.options)).toMatchObject({ code: 0, stdout: 'token-canary-1\n' })
    expect(all.sent.slice(1)).toEqual(['refresh-canary-1', 'refresh-canary-1', 'refresh-canary-1'])
    const anew = all.begin()
    expect(await run(['get', 'me', '--force'], anew)).toMatchObject({ code: 0, stdout: 'token-canary-3\n' })
  },
  patience,
)

test(
  'a record that is damaged does not make a used seed a new one',
  async () => {
    const all = await rotation()
    await run(['get', 'me'], all.options)
    const record = join(all.at.stateDir, 'records', 'profile.me.sealed')
    const [name] = readdirSync(join(all.at.stateDir, 'records'))
    writeFileSync(join(all.at.stateDir, 'records', name ?? record), 'damaged')
    const { code, stderr } = await run(['get', 'me'], all.options)
    expect({ code, stderr }).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('what came of it cannot be read any more'),
    })
    expect(all.sent).toEqual(['seed-canary-1'])
    expect(await run(['get', 'me', '--force'], all.begin())).toMatchObject({ stdout: 'token-canary-2\n' })
  },
  patience,
)

/** What one traced renewal did, killed at the given call or not at all. */
async function traced(at: Scratch, options: RunOptions, inject?: string) {
  const log = join(at.path, 'strace.log')
  const what = 'trace=fsync,rename,unlink,pwrite64'
  const faults = inject === undefined ? [] : ['-e', `inject=${inject}`]
  // Not with --seccomp-bpf: strace injects no signal then.
  const tracer = ['strace', '-f', '-qq', '-y', '-e', what, ...faults, '-o', log, ...program]
  const ended = await run(['get', 'me', '--force'], { ...options, program: tracer })
  const calls = readFileSync(log, 'utf8').split('\n')
  const answer = calls.findIndex(line => /pwrite64\(\d+<[^>]*\.journal>.*, 8192\)/.test(line))
  const isSealed =
    answer >= 0 && calls.slice(answer).some(line => /fsync\(\d+<[^>]*\.journal>\) += 0/.test(line))
  return { ...ended, calls, isSealed }
}

test(
  'killed at every write to the disk: nothing is torn, nothing is in the clear, and with the answer sealed no login is lost',
  async () => {
    const all = await rotation()
    let { options } = all
    await run(['get', 'me'], options)
    const whole = await traced(all.at, options)
    expect(whole).toMatchObject({ code: 0, isSealed: true })
    const points = ['fsync', 'rename', 'unlink', 'pwrite64'].flatMap(name =>
      whole.calls
        .filter(line => new RegExp(`^\\d+ +${name}\\(`).test(line))
        .map((_, i) => `${name}:signal=KILL:when=${i + 1}`),
    )
    expect(points.length).toBeGreaterThan(12)
    const losses: string[] = []
    for (const point of points) {
      const before = all.rotations
      const { isSealed, code, signal } = await traced(all.at, options, point)
      expect(signal === 'SIGKILL' || code === 137, `${point} ended with ${code}`).toBe(true)
      const next = await run(['get', 'me', '--force', '--verbose'], options)
      expect(next.stderr, point).not.toContain('damaged')
      if (next.code !== 0) {
        expect(
          { code: next.code, isSealed, asked: all.rotations > before },
          `${point}: ${next.stderr}`,
        ).toEqual({
          code: 4,
          isSealed: false,
          asked: true,
        })
        losses.push(point)
        options = all.begin()
        await run(['get', 'me', '--force'], options)
      }
      expect(inTheClear(all.at), point).toEqual([])
    }
    // The answer's own write and its fsync are the two where it is not yet on disk.
    expect(losses.length, losses.join(' ')).toBeLessThanOrEqual(2)
  },
  patience * 2,
)

test(
  'a disk that fails at any fsync, or is full: the token or exit 7, and never a login lost',
  async () => {
    const all = await rotation()
    const { options } = all
    await run(['get', 'me'], options)
    const whole = await traced(all.at, options)
    const syncs = whole.calls.filter(line => /^\d+ +fsync\(/.test(line))
    const directory = (name: string): number => syncs.findLastIndex(line => line.includes(`/${name}>)`)) + 1
    const [intent, kept] = [directory('journal'), directory('records')]
    expect([intent > 0, kept]).toEqual([true, syncs.length])
    for (let n = 1; n <= syncs.length; n++) {
      const error = n % 2 === 0 ? 'EIO' : 'ENOSPC'
      const before = all.sent.length
      const { code, stdout } = await traced(all.at, options, `fsync:error=${error}:when=${n}`)
      if (code === 0 && n !== intent) expect(stdout).toMatch(/^token-canary-\d+\n$/)
      else expect({ code, sent: all.sent.length - before }, `${error} ${n}`).toEqual({ code: 7, sent: 0 })
      const next = await run(['get', 'me', '--force'], options)
      expect(next, `${error} at fsync ${n}: ${next.stderr}`).toMatchObject({ code: 0 })
    }
    // As long as nobody knows whether the record is on the disk, the journal stays.
    const { code, stdout, stderr } = await traced(all.at, options, `fsync:error=EIO:when=${kept}+`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^token-canary-\d+\n$/) })
    expect(stderr).toMatch(/^tokctl: warning: the token is not kept: cannot write \S+ \(EIO\)\n/)
    expect(readdirSync(join(all.at.stateDir, 'journal'))).toContain('me.journal')
    expect(await run(['get', 'me'], options)).toMatchObject({ code: 0, stdout })
    expect(new Set(all.sent).size).toBe(all.sent.length)
  },
  patience * 2,
)

/** Files of ours that hold a token as it is. */
function inTheClear({ stateDir }: Scratch): string[] {
  return readdirSync(stateDir, { recursive: true, encoding: 'utf8' }).filter(name => {
    const path = join(stateDir, name)
    return statSync(path).isFile() && readFileSync(path, 'latin1').includes('canary')
  })
}

async function gone(at: Scratch): Promise<void> {
  while (at.processes().length > 0) await new Promise(resolve => setImmediate(resolve))
}
