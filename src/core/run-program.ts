import { type ChildProcess, spawn } from 'node:child_process'
import { platform } from 'node:os'
import { printable, TokctlError } from './errors.ts'
import { findProgram, noSuchProgram } from './find-program.ts'
import type { ProgramCall, ProgramResult, RunProgram } from './program.ts'
import { Secret } from './secret.ts'
import { startProgram } from './start-program.ts'
import { formatDuration, maxTimerMs } from './time.ts'

const isWindows = platform() === 'win32'
// How long an answer may still trickle in after its program has ended: only what already is in the pipe counts.
const drainMs = 100
const stderrBytes = 16 * 1024

/**
 * Runs a program without a shell and without a terminal, in a process group of its own, so that what it starts ends
 * with it when time is up or the caller leaves. A bare name is looked up in the absolute directories of the child's
 * `PATH`. What a program leaves running in the background does not hold up its answer.
 *
 * @throws {TokctlError} `command_failed`; what the signal gives as its reason
 */
export const runProgram: RunProgram = async call => {
  call.signal?.throwIfAborted()
  const [name = '', ...args] = call.command
  const file = findProgram(name, call.env)
  const child = await startProgram(file, args, {
    env: call.env as NodeJS.ProcessEnv,
    ...(call.cwd === undefined ? {} : { cwd: call.cwd }),
    stdio: [call.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: !isWindows,
    windowsHide: true,
  }).catch(error => {
    throw notStarted(name, error)
  })
  // It may end without having read it.
  child.stdin?.on('error', () => {}).end(call.input)
  return follow(child, call)
}

function follow(child: ChildProcess, call: ProgramCall): Promise<ProgramResult> {
  const { timeoutMs, signal, maxBytes } = call
  const name = call.command[0] ?? ''
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = []
    let stdoutBytes = 0
    let stderr = Buffer.alloc(0)
    let failure: unknown
    let ended: { code: number | null; killedBy: NodeJS.Signals | null } | undefined

    const stop = (why: unknown): void => {
      if (failure !== undefined) return
      failure = why
      clearTimeout(deadline)
      void end(child).then(finish)
    }
    const onAbort = (): void => stop(signal?.reason)
    const deadline = setTimeout(
      () => stop(failed(name, `did not end within ${formatDuration(timeoutMs)}`)),
      Math.min(timeoutMs, maxTimerMs),
    )
    signal?.addEventListener('abort', onAbort)

    const finish = (): void => {
      clearTimeout(deadline)
      signal?.removeEventListener('abort', onAbort)
      // A grandchild may hold the other ends for as long as it likes.
      child.stdout?.destroy()
      child.stderr?.destroy()
      child.unref()
      if (failure !== undefined) reject(failure)
      resolve({
        exitCode: ended?.code ?? undefined,
        killedBy: ended?.killedBy ?? undefined,
        stdout: new Secret(Buffer.concat(stdout).toString()),
        stderr: stderr.toString(),
      })
    }

    child.stdout?.on('data', (chunk: Buffer) => {
      stdoutBytes += chunk.length
      if (stdoutBytes > maxBytes) stop(failed(name, `answered more than ${maxBytes} bytes`))
      else stdout.push(chunk)
    })
    child.stderr?.on('data', (chunk: Buffer) => {
      // What failed is told last.
      stderr = Buffer.concat([stderr, chunk]).subarray(-stderrBytes)
    })
    child.once('error', error => {
      failure ??= notStarted(name, error)
      finish()
    })
    child.once('close', (code, killedBy) => {
      ended ??= { code, killedBy }
      if (failure === undefined) finish()
    })
    child.once('exit', (code, killedBy) => {
      ended = { code, killedBy }
      setTimeout(() => settle(), drainMs).unref()
    })

    // Without an end of file, the answer is whole once a turn of the loop has brought nothing: a busy machine may be
    // late with what is in the pipe, however long we wait by the clock.
    const settle = (seen = -1): void => {
      if (failure !== undefined) return
      const now = stdoutBytes
      if (seen === now) finish()
      else setImmediate(() => setImmediate(() => settle(now)))
    }
  })
}

// Asks the whole group to end, and kills after a second what has not. Only a shell, or the global that no file here may
// use, can signal a group; a shell also sees to it when we have ended ourselves.
const endGroup = `
kill -s TERM -- "-$1" || exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
  kill -s 0 -- "-$1" || exit
  sleep 0.1
done
kill -s KILL -- "-$1"`

function end(child: ChildProcess): Promise<void> {
  const pid = String(child.pid)
  const [killer, ...args] = isWindows
    ? ['taskkill.exe', '/pid', pid, '/t', '/f']
    : ['/bin/sh', '-c', endGroup, 'sh', pid]
  const options = isWindows ? { windowsHide: true } : { env: { PATH: '/usr/bin:/bin' }, detached: true }
  return new Promise(resolve => {
    const done = (): void => {
      child.kill('SIGKILL')
      resolve()
    }
    spawn(killer!, args, { ...options, stdio: 'ignore' })
      .once('error', done)
      .once('close', done)
  })
}

function notStarted(name: string, error: NodeJS.ErrnoException): TokctlError {
  if (error.code === 'ENOENT') return noSuchProgram(name)
  if (error.code === 'EACCES') return failed(name, 'may not be run')
  return failed(name, `could not be started (${error.code ?? 'error'})`)
}

function failed(name: string, what: string): TokctlError {
  return new TokctlError('command_failed', `program "${printable(name)}" ${what}`)
}
