import { closeSync } from 'node:fs'
import { TokctlError } from '../core/errors.ts'

let leave = (): void => {}

/** Ends what `abortOnSignals` makes of signals: the work is done, or another program's from here on. */
export function leaveSignals(): void {
  leave()
}

let holds = 0
let onRelease = (): void => {}

/**
 * Keeps signals from ending the process: they are heard, and count once what is held has ended.
 *
 * @returns What ends that.
 */
export function holdSignals(): () => void {
  holds++
  return () => {
    holds--
    if (holds === 0) onRelease()
  }
}

/** Resolves once nothing is held any more: a caller may leave before, the process may not end. */
export function untilReleased(): Promise<void> {
  return new Promise(resolve => {
    onRelease = resolve
    if (holds === 0) resolve()
  })
}

let wasSignalled = false

/** Ends the process with that code, also where its terminal is gone. */
export async function endProcess(exitCode: number): Promise<void> {
  // Node gives a terminal back as it found it. Of one that was closed it cannot, and aborts, with a core dump of all it held.
  if (wasSignalled) {
    const { isatty } = await import('node:tty')
    for (const fd of [0, 1, 2]) if (!isatty(fd)) closeQuietly(fd)
  }
  process.exit(exitCode)
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // Closed before.
  }
}

function endSoon(exitCode: number): void {
  setTimeout(() => (holds > 0 ? endSoon(exitCode) : void endProcess(exitCode)), 1000).unref()
}

/**
 * Turns SIGINT, SIGTERM and SIGHUP into an abort, so that programs that were started end too and the lock is freed.
 * A second signal, or a second without an end, ends the process at once, unless signals are held.
 */
export function abortOnSignals(): AbortSignal {
  const controller = new AbortController()
  const listeners: [name: NodeJS.Signals, listener: () => void][] = []
  for (const [name, code, exitCode] of [
    ['SIGINT', 'interrupted', 130],
    ['SIGTERM', 'terminated', 143],
    ['SIGHUP', 'terminated', 143],
  ] as const) {
    const listener = (): void => {
      wasSignalled = true
      if (controller.signal.aborted && holds === 0) return void endProcess(exitCode)
      endSoon(exitCode)
      controller.abort(new TokctlError(code, code))
    }
    process.on(name, listener)
    listeners.push([name, listener])
  }
  // Node answers this signal by listening for a debugger, which would show all that is in memory.
  process.on('SIGUSR1', () => {})
  leave = () => {
    for (const [name, listener] of listeners) process.off(name, listener)
  }
  return controller.signal
}

/**
 * Hears signals instead of doing what the system does with them.
 *
 * @returns What ends that.
 */
export function onSignals(
  names: readonly NodeJS.Signals[],
  listener: (name: NodeJS.Signals) => void,
): () => void {
  const hear = (name: NodeJS.Signals): void => {
    wasSignalled = true
    listener(name)
  }
  for (const name of names) process.on(name, hear)
  return () => {
    for (const name of names) process.off(name, hear)
  }
}
