import { type App, createApp } from './app.ts'
import type { CommandContext, GlobalOptions } from './cli/command.ts'
import { printToken } from './cli/get.ts'
import { isNoTerminal, isTerminal, monotonic, readEnvironment, refuseReports, tell } from './cli/io.ts'
import { plainOptions, readPlainGet } from './cli/plain-get.ts'
import { readPlainHelper } from './cli/plain-helper.ts'
import { startDetached } from './cli/processes.ts'
import type { RunWith } from './cli/program.ts'
import { type ReportOptions, report, warn } from './cli/report.ts'
import { abortOnSignals, endProcess, holdSignals, untilReleased } from './cli/signals.ts'
import type { Runtime } from './core/runtime.ts'
import { type ResidentClock, systemClock } from './core/time.ts'
import type { OpenSocket } from './store/socket.ts'

declare const __VERSION__: string
declare const __COMMIT__: string

const clock: ResidentClock = { ...systemClock, monotonic }

/** Waiting in silence for longer than this looks like a hang. */
const silentWaitMs = 2000

/** Runs the program: argv in, exit code out. */
export async function main(runtime: Runtime): Promise<void> {
  refuseReports()
  const argv = commandLine(runtime)
  let app: App | undefined
  let exitCode = 0
  let wasHit = false
  // Until more than a cached token is to be served, a question to the bus has nothing to hold up.
  let mayBlock = false
  // Read before the rest, so that a command line that is wrong is told in the form that was asked for.
  let options: ReportOptions = {
    json: argv.includes('--json-errors'),
    debug: argv.includes('--debug'),
    env: process.env,
  }
  const settle = (): void => {
    app?.close()
    if (!wasHit) runtime.saveCodeCache()
  }
  const runWith: RunWith = async (given, work, command) => {
    const global = { ...given, input: given.input && process.env['TOKCTL_NO_INPUT'] !== '1' }
    options = { ...options, json: global.jsonErrors, debug: global.debug, config: global.config }
    const started = start(runtime, global, {
      isHelper: command === 'helper',
      onMiss() {
        wasHit = false
        mayBlock = false
      },
      busSocket: platform => runtime.busSocket(platform, mayBlock),
      exitWith(code) {
        exitCode = code
      },
      settle,
    })
    app = started.app
    wasHit = true
    await work(started)
  }
  try {
    const plain = readPlainGet(argv)
    const helper = readPlainHelper(argv)
    mayBlock = plain !== undefined || helper !== undefined
    if (plain !== undefined) await runWith(plain.global, printToken(plain.name, plain.options), 'get')
    else if (helper !== undefined) {
      const { speak } = await import('./cli/helper.ts')
      await runWith(helper.global, speak(helper.protocol, helper.words), 'helper')
    } else if (argv[0] === '__complete') {
      const { complete } = await import('./cli/complete.ts')
      await runWith(plainOptions, complete(argv.slice(1)), 'helper')
    } else await (await import('./cli/program.ts')).runCommand(argv, versionText(runtime), runWith)
  } catch (error) {
    exitCode = await report(error, options)
  }
  await untilReleased()
  settle()
  // A stuck native call outlives process.exit; its output is written, so nothing is lost but the exit code.
  if (app?.isStuck()) process.kill(process.pid, 'SIGKILL')
  await endProcess(exitCode)
}

/** What `bin/*-tokctl.js` add, where the program is one file that other names are links to. */
const helperNames: Readonly<Record<string, string>> = {
  'cargo-credential-tokctl': 'cargo',
  'docker-credential-tokctl': 'docker',
  'git-credential-tokctl': 'git',
  'terraform-credentials-tokctl': 'terraform',
}

function commandLine({ script }: Runtime): string[] {
  const words = process.argv.slice(2)
  if (script !== undefined) return words
  const { argv0 } = process
  const file = argv0.slice(Math.max(argv0.lastIndexOf('/'), argv0.lastIndexOf('\\')) + 1)
  const protocol = helperNames[file.toLowerCase().endsWith('.exe') ? file.slice(0, -'.exe'.length) : file]
  return protocol === undefined ? words : ['helper', protocol, ...words]
}

function versionText({ name }: Runtime): string {
  return `tokctl ${__VERSION__} (${__COMMIT__}) ${name} ${process.platform} ${process.arch}`
}

function renewal(force: boolean): string[] {
  return ['refresh', ...(force ? [] : ['--if-stale']), '--no-input']
}

interface RunHooks {
  /** Another tool reads what is said: no warnings, no word about waiting. */
  readonly isHelper: boolean
  onMiss(): void
  busSocket(platform: string): Promise<OpenSocket | undefined>
  exitWith(code: number): void
  settle(): void
}

function start(runtime: Runtime, options: GlobalOptions, hooks: RunHooks): CommandContext {
  const { isHelper, onMiss, busSocket, exitWith, settle } = hooks
  const environment = readEnvironment(runtime.script)
  // A tool that calls a helper leaves no place for an option of ours.
  const { TOKCTL_VERBOSE: asked } = environment.env
  const isVerbose = options.verbose || asked === '1' || asked === 'http'
  const logsHttp = options.debugHttp || asked === 'http'
  let waitTold = false
  let signal: AbortSignal | undefined
  let renewHere: ((profile: string) => Promise<unknown>) | undefined
  const trace = (message: string | (() => string)): void => {
    if (isVerbose) tell(`tokctl: ${typeof message === 'string' ? message : message()}\n`)
  }
  const app = createApp({
    environment,
    clock,
    configFlag: options.config,
    notices: {
      warn: isHelper && !isVerbose ? () => {} : warn,
      trace,
      wireLog: logsHttp ? line => tell(`tokctl: http: ${line}\n`) : undefined,
      hold: holdSignals,
      onMiss,
      waiting(profile, holder, waitedMs) {
        const who = holder === undefined ? 'another process' : `process ${holder.pid}`
        if (isHelper || waitedMs < silentWaitMs ? !isVerbose : isNoTerminal(2)) return
        // Between taking the lock and saying so a holder has no name yet.
        if (waitTold || (holder === undefined && waitedMs < silentWaitMs)) return
        waitTold = true
        const say = (): void => tell(`tokctl: waiting for ${who}, which renews profile "${profile}"\n`)
        if (isVerbose) say()
        else isTerminal(2).then(isOne => isOne && say())
      },
    },
    busSocket: () => busSocket(environment.platform),
    openSealed: runtime.openSealed,
    sealer: runtime.sealer,
    lockCalls: () => runtime.lockCalls(environment.platform, environment.arch),
    directWire: runtime.directWire,
    async renewLater(configFile, profile, force) {
      // A renewal by force goes on for a caller that could not wait, and outlives this process.
      if (renewHere !== undefined && !force) return { ended: renewHere(profile) }
      const config = configFile === undefined ? [] : ['--config', configFile]
      return startDetached(environment.self, [...renewal(force), ...config, profile])
    },
  })
  return {
    app,
    clock,
    runtime,
    environment,
    options,
    exitWith,
    settle,
    renewHere(renew) {
      renewHere = renew
    },
    signal() {
      signal ??= abortOnSignals()
      return signal
    },
  }
}
