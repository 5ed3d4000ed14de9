import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { platform } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { printable, TokctlError } from './errors.ts'
import type { ProgramCall, ProgramResult, RunProgram } from './program.ts'
import { Secret } from './secret.ts'
import { shellWord } from './shell-word.ts'
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
  const child = spawn(file, args, {
    env: call.env as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: !isWindows,
    windowsHide: true,
  })
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

/**
 * Looks a program up: a bare name in the absolute directories of `PATH`, never in the working directory.
 *
 * @throws {TokctlError} `command_failed`
 */
export function findProgram(name: string, env: ProgramCall['env']): string {
  return isWindows ? findOnWindows(name, env) : find(name, env)
}

// The system's own look-up would also take the working directory, where `PATH` names it by `.` or by nothing.
function find(name: string, env: ProgramCall['env']): string {
  if (name === '') throw failed(name, 'was not found')
  if (name.includes('/')) return name
  const found = directories(env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', ':').map(directory =>
    join(directory, name),
  )
  const program = found.find(isProgram)
  if (program !== undefined) return program
  throw found.some(isFile)
    ? failed(name, 'may not be run', `run: chmod +x ${shellWord(found.find(isFile) ?? name)}`)
    : missing(name)
}

function findOnWindows(name: string, env: ProgramCall['env']): string {
  const variable = (wanted: string): string | undefined =>
    env[Object.keys(env).find(key => key.toUpperCase() === wanted) ?? '']
  const endings = ['', ...(variable('PATHEXT') ?? '.COM;.EXE;.BAT;.CMD').split(';')]
  const places = /[\\/]/.test(name)
    ? [name]
    : directories(variable('PATH') ?? '', ';').map(place => join(place, name))
  const program = places.flatMap(place => endings.map(ending => place + ending)).find(isFile)
  if (program === undefined) throw missing(name)
  if (!/\.(?:bat|cmd)$/i.test(program)) return program
  // Arguments of a batch file are read by cmd.exe, whatever quotes are put around them.
  throw failed(name, 'is a batch file, which only a shell can run', 'name the .exe that it starts')
}

function directories(path: string, separator: string): string[] {
  return path.split(separator).filter(isAbsolute)
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return isFile(path)
  } catch {
    return false
  }
}

function notStarted(name: string, error: NodeJS.ErrnoException): TokctlError {
  if (error.code === 'ENOENT') return missing(name)
  if (error.code === 'EACCES') return failed(name, 'may not be run')
  return failed(name, `could not be started (${error.code ?? 'error'})`)
}

function missing(name: string): TokctlError {
  const hint = name.includes('/')
    ? 'check the path in the configuration'
    : 'install it, or write its whole path'
  return failed(name, 'was not found', hint)
}

function failed(name: string, what: string, hint?: string): TokctlError {
  return new TokctlError('command_failed', `program "${printable(name)}" ${what}`, { hint })
}
