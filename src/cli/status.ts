import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import type { Profile } from '../profile/profile.ts'
import { coloursOf } from './colour.ts'
import type { CommandContext, Define } from './command.ts'
import { isTerminal, terminalSize, writeOut, writePart } from './io.ts'
import { suspend } from './processes.ts'
import { onSignals } from './signals.ts'
import { type Row, rowJson, rowOf } from './status-row.ts'
import { type Canvas, statusTable } from './status-table.ts'

const everyMs = 1000

interface StatusOptions {
  readonly json?: boolean
  readonly watch?: boolean
}

/** `tokctl status [PROFILE]`: what is known of each profile, from the outcome files alone. */
export const define: Define = (program, run) => {
  program
    .command('status')
    .summary("show each token's state")
    .description(
      'Shows each profile with the state of its token, how long it lives, when it is renewed and what failed last. Asks neither the keychain nor the network.',
    )
    .argument('[profile]', 'one profile only')
    .option('--json', 'for programs')
    .option('--watch', 'draw it again each second until Ctrl-C; with --json a line at each change')
    .addHelpText('after', '\nExample:\n  tokctl status --json')
    .action((name: string | undefined, options: StatusOptions) =>
      run(async context => {
        if (options.watch) return watch(name, options.json === true, context)
        const rows = await read(name, context)
        if (options.json) writeOut(`${json(rows)}\n`)
        else writeOut(statusTable(rows, context.clock.now(), await canvasOf(context.environment)))
      }),
    )
}

async function read(
  name: string | undefined,
  { app, clock, environment }: CommandContext,
): Promise<readonly Row[]> {
  const profiles: Profile[] =
    name === undefined ? [...(await app.config()).profiles.values()] : [await app.profile(name)]
  return profiles.map(profile => rowOf(profile, app, environment, clock.now()))
}

function json(rows: readonly Row[]): string {
  return JSON.stringify({ profiles: rows.map(rowJson) })
}

async function canvasOf({ env, platform }: Environment): Promise<Canvas> {
  const colours = await coloursOf(1, env)
  if (!(await isTerminal(1))) return { colours, width: undefined, height: undefined, bar: 'none' }
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''
  const hasBlocks = /utf-?8/i.test(locale) || platform === 'darwin' || platform === 'win32'
  return {
    colours,
    width: terminalSize().columns,
    height: undefined,
    bar: hasBlocks && env['TERM'] !== 'dumb' ? 'blocks' : 'ascii',
  }
}

async function watch(name: string | undefined, asJson: boolean, context: CommandContext): Promise<void> {
  const { clock, environment } = context
  const signal = context.signal()
  if (asJson) {
    let last = ''
    while (!signal.aborted) {
      const line = json(await read(name, context))
      if (line !== last) writePart(`${line}\n`)
      last = line
      await clock.sleep(everyMs, signal)
    }
    throw signal.reason
  }
  if (!(await isTerminal(1)) || environment.env['TERM'] === 'dumb') {
    throw new TokctlError('usage', '--watch draws on a terminal, and there is none', {
      hint: 'run: tokctl status --watch --json',
    })
  }

  const screen = openScreen()
  let wake = new AbortController()
  const redraw = onSignals(['SIGWINCH', 'SIGCONT', 'SIGTSTP'], received => {
    if (received === 'SIGTSTP') {
      screen.close()
      suspend()
    }
    if (received === 'SIGCONT') screen.open()
    wake.abort()
  })
  try {
    screen.open()
    while (!signal.aborted) {
      const rows = await read(name, context)
      const canvas = { ...(await canvasOf(environment)), height: terminalSize().rows }
      screen.draw(statusTable(rows, clock.now(), canvas))
      wake = new AbortController()
      await clock.sleep(everyMs, AbortSignal.any([signal, wake.signal]))
    }
  } finally {
    redraw()
    screen.close()
  }
  throw signal.reason
}

interface Screen {
  open(): void
  draw(text: string): void
  close(): void
}

/** The terminal's other screen, as long as it is drawn on; what was there before comes back. */
function openScreen(): Screen {
  let isOpen = false
  return {
    open() {
      if (!isOpen) writePart('\u001b[?1049h\u001b[?25l')
      isOpen = true
    },
    draw(text) {
      // Stopped, or about to be: what is on the terminal now is somebody else's.
      if (!isOpen) return
      const lines = text.trimEnd().split('\n').slice(0, Math.max(1, terminalSize().rows))
      // Over what is there, each line to its end, in one write: nothing is blank at any moment.
      const drawn = lines.map(line => `${line}\u001b[K`).join('\r\n')
      writePart(`\u001b[?2026h\u001b[H${drawn}\u001b[J\u001b[?2026l`)
    },
    close() {
      if (isOpen) writePart('\u001b[?25h\u001b[?1049l')
      isOpen = false
    },
  }
}
