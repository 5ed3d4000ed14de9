import type { Environment } from '../core/environment.ts'
import { withoutDebugging } from '../core/program.ts'
import { leaveSignals } from './signals.ts'

/** Tells whether a process runs on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Stops this process, as Ctrl-Z does one that does not listen. Returns when it goes on. */
export function suspend(): void {
  process.kill(process.pid, 'SIGSTOP')
}

/** Programs that were started here and may end while this process lives. */
let left = 0

/**
 * Puts another program in the place of this process, which keeps its id, its streams and its terminal.
 * Returns where that cannot be done: an old Node, Windows, or a program of ours that another one would have to wait for.
 */
export function replaceProcess(file: string, argv: readonly string[], env: Environment['env']): void {
  const { execve } = process as { execve?(file: string, args: readonly string[], env: object): void }
  if (execve === undefined || process.platform === 'win32' || left > 0) return
  leaveSignals()
  // Node ignores these two, and what is ignored stays so in the next program; what is listened to does not.
  for (const name of ['SIGPIPE', 'SIGXFSZ'] as const) process.on(name, () => {})
  try {
    execve.call(process, file, argv, env)
  } catch {}
}

/**
 * Starts a program that outlives this one and holds none of its streams.
 *
 * @returns `ended` resolves when it has ended, or could not be started.
 */
export async function startDetached(
  self: readonly string[],
  args: readonly string[],
): Promise<{ readonly ended: Promise<void> }> {
  const { spawn } = await import('node:child_process')
  const [program, ...rest] = self
  const env = withoutDebugging(process.env) as NodeJS.ProcessEnv
  const child = spawn(program!, [...rest, ...args], {
    detached: true,
    stdio: 'ignore',
    windowsHide: true,
    env,
  })
  left++
  const ended = new Promise<void>(resolve => {
    const end = (): void => {
      left--
      resolve()
    }
    child.once('exit', end)
    // A renewal that cannot be started is tried again by the next caller.
    child.once('error', end)
  })
  child.unref()
  return { ended }
}
