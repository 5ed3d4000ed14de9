import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The program on Node. */
export const onNode: readonly string[] = [process.execPath, join(root, 'bin', 'tokctl.js')]
/** The program and its runtime in one file. */
export const oneFile: readonly string[] = [join(root, 'dist', 'bin', 'tokctl')]

const { TOKCTL_TEST_PROGRAM: named } = process.env

/** The program as a user starts it: on Node, or what TOKCTL_TEST_PROGRAM names. */
export const program: readonly string[] = named === undefined ? onNode : [resolve(named)]

/** The file of the program, or of another name that it answers to: what npm, or who unpacked it, puts on PATH. */
export function programFile(name = 'tokctl'): string {
  return named === undefined ? join(root, 'bin', `${name}.js`) : join(dirname(resolve(named)), name)
}

/** The same as words of a command line. */
export function programNamed(name: string): string[] {
  return named === undefined ? [process.execPath, programFile(name)] : [programFile(name)]
}

/**
 * The program under strace, which stops it only at the calls that are looked at.
 *
 * @param log - Where the calls are written.
 * @param calls - As `trace=` takes them.
 * @param more - Further options of strace.
 */
export function straced(
  log: string,
  calls: string,
  more: readonly string[] = [],
  traced: readonly string[] = program,
): string[] {
  return ['strace', '-f', '--seccomp-bpf', '-qq', ...more, '-e', `trace=${calls}`, '-o', log, ...traced]
}

/** A home of its own for one test: configuration, state and everything else that is written. */
export interface Scratch {
  /** Absolute, without links. */
  readonly path: string
  readonly home: string
  readonly stateDir: string
  /** Where `tokctl` looks without being told. */
  readonly configFile: string
  /** Writes the configuration, readable by its owner alone. @returns Its path. */
  writeConfig(toml: string): string
  /** Writes a file (0600), its directories included. @returns Its path. */
  write(name: string, content: string | Uint8Array, mode?: number): string
  /** Ids of the processes started in this home that still run, those that were left behind in the background too. Linux only. */
  processes(): number[]
}

/** How a process is started. */
export interface RunOptions {
  /** The home; a new one without it. */
  readonly at?: Scratch
  /** Added to an environment of PATH, HOME, TOKCTL_STATE_DIR and TOKCTL_STORE=file; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Written to stdin, which then ends; without it stdin is empty. */
  readonly input?: string | Uint8Array
  /** Leaves stdin open, for a test that types. */
  readonly keepInput?: boolean
  /** Written as the configuration of the home before the start. */
  readonly config?: string
  readonly cwd?: string
  /** Fails the test, and kills the process, when it has not ended by then; 20 s. */
  readonly timeoutMs?: number
  /** Another program than tokctl: `['strace', '-f', ...program]`. */
  readonly program?: readonly string[]
}

/** How a process ended. */
export interface RunResult {
  /** `null` when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  /** What was written, byte for byte. */
  readonly stdoutBytes: Buffer
  readonly stderr: string
  /** From the start to the end of its output. */
  readonly ms: number
}

/** A process that runs. */
export interface Started {
  readonly pid: number
  readonly child: ChildProcess
  readonly stdout: string
  readonly stderr: string
  /** Resolves once stderr matches; rejects when the process ends before, or after 20 s. */
  waitForStderr(pattern: RegExp, withinMs?: number): Promise<RegExpExecArray>
  kill(signal: NodeJS.Signals): void
  /** Resolves when it has ended and its output is read to the end, as `$(…)` would. */
  readonly done: Promise<RunResult>
}

/** Makes a home that is removed, and whose processes are ended, when the test has finished. */
export function scratch(): Scratch {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'tokctl-test-')))
  const home = join(path, 'home')
  const configFile = join(home, '.config', 'tokctl', 'config.toml')
  mkdirSync(home, { mode: 0o700 })

  function write(name: string, content: string | Uint8Array, mode = 0o600): string {
    const file = join(path, name)
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    writeFileSync(file, content)
    chmodSync(file, mode)
    return file
  }

  const made: Scratch = {
    path,
    home,
    stateDir: join(path, 'state'),
    configFile,
    write,
    writeConfig: toml => write(join('home', '.config', 'tokctl', 'config.toml'), toml),
    processes: () => processesWith(path),
  }
  onTestFinished(() => {
    for (const pid of made.processes()) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {}
    }
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
  })
  return made
}

/** Runs the program to its end. Rejects when it does not end in time. */
export function run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return start(args, options).done
}

/** Starts the program and lets it run; the test's end kills it. */
export function start(args: readonly string[], options: RunOptions = {}): Started {
  const at = options.at ?? scratch()
  if (options.config !== undefined) at.writeConfig(options.config)
  const command = [...(options.program ?? program), ...args]
  const begun = performance.now()
  const child = spawn(command[0]!, command.slice(1), {
    cwd: options.cwd ?? at.home,
    env: environment(at, options.env),
    stdio: 'pipe',
  })
  const out: Buffer[] = []
  const err: Buffer[] = []
  const onStderr = new Set<() => void>()
  child.stdout.on('data', chunk => out.push(chunk))
  child.stderr.on('data', chunk => {
    err.push(chunk)
    for (const look of onStderr) look()
  })
  // The program may end without having read its input.
  child.stdin.on('error', () => {})
  if (options.keepInput !== true) child.stdin.end(options.input ?? '')

  const stdout = (): string => Buffer.concat(out).toString()
  const stderr = (): string => Buffer.concat(err).toString()
  const said = (): string => `\nstdout: ${JSON.stringify(stdout())}\nstderr: ${JSON.stringify(stderr())}`
  const timeoutMs = options.timeoutMs ?? 20_000

  const done = new Promise<RunResult>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      // A child of the program may still hold the other end of our pipes.
      child.stdout.destroy()
      child.stderr.destroy()
      reject(new Error(`${command.join(' ')}: not ended after ${timeoutMs} ms${said()}`))
    }, timeoutMs)
    child.on('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const ms = performance.now() - begun
      resolve({ code, signal, stdout: stdout(), stdoutBytes: Buffer.concat(out), stderr: stderr(), ms })
    })
  })
  // A test that fails elsewhere never awaits it.
  done.catch(() => {})
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  })

  return {
    get pid() {
      return child.pid!
    },
    child,
    get stdout() {
      return stdout()
    },
    get stderr() {
      return stderr()
    },
    waitForStderr: (pattern, withinMs = 20_000) =>
      new Promise((resolve, reject) => {
        const finish = (settle: () => void): void => {
          clearTimeout(timer)
          onStderr.delete(look)
          settle()
        }
        const look = (): void => {
          const match = pattern.exec(stderr())
          if (match !== null) finish(() => resolve(match))
        }
        const timer = setTimeout(
          () =>
            finish(() => reject(new Error(`stderr did not match ${pattern} within ${withinMs} ms${said()}`))),
          withinMs,
        )
        onStderr.add(look)
        child.on('close', () =>
          finish(() => reject(new Error(`ended without ${pattern} on stderr${said()}`))),
        )
        look()
      }),
    kill: signal => {
      child.kill(signal)
    },
    done,
  }
}

/**
 * Runs the program `n` times at once, in one home.
 *
 * @returns The results in order of the start, and the wall time from the first start to the last end.
 */
export async function many(
  n: number,
  args: readonly string[],
  options: RunOptions & { readonly withinMs?: number } = {},
): Promise<{ readonly results: RunResult[]; readonly ms: number }> {
  const { config, withinMs = 30_000, ...rest } = options
  const at = rest.at ?? scratch()
  if (config !== undefined) at.writeConfig(config)
  const begun = performance.now()
  const started = Array.from({ length: n }, () => start(args, { timeoutMs: withinMs, ...rest, at }))
  const results = await Promise.all(started.map(one => one.done))
  const ms = performance.now() - begun
  if (ms > withinMs) throw new Error(`${n} processes took ${Math.round(ms)} ms, more than ${withinMs} ms`)
  return { results, ms }
}

/** The environment of a child: what `RunOptions.env` says, over the few variables that every start has. */
export function environment(at: Scratch, env: RunOptions['env'] = {}): Record<string, string> {
  const given: Record<string, string | undefined> = {
    PATH: process.env['PATH'],
    HOME: at.home,
    TOKCTL_STATE_DIR: at.stateDir,
    TOKCTL_STORE: 'file',
    ...env,
  }
  return Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

function processesWith(path: string): number[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(path)
      } catch {
        return false
      }
    })
    .map(Number)
}
