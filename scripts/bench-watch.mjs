// The row of `npm run bench` for a resident `tokctl watch`: the processor time that it takes while nothing is to be done.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'

const profiles = 500
/** Each profile is looked at every ten seconds: one window has one look at each of them. */
const windowMs = 10_000
const windows = 3
const readyMs = 120_000

/** What a window must not take of one processor: a hundredth. */
const target = 0.01

/** Told under the table when the row is not reached. */
export const watchCauses = {
  watch:
    'What is done between renewals is one look at each profile every ten seconds: two calls of `stat`, no request.',
}

/** Adds the row; `bench` has what all rows are taken with. */
export async function addWatch({ add, skip, newHome, server }) {
  const name = `\`watch\` of ${profiles} profiles between two renewals: processor time ÷ time`
  const ticks = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout)
  if (process.platform !== 'linux' || !(ticks > 0)) return skip(name, target, '/proc tells it')
  await server.answer({ lifeS: 86_400, afterMs: 0 })
  const { env, watch } = newHome('watched', server, 'file', {}, profiles)
  const [program, ...words] = watch(Array.from({ length: profiles }, (_, i) => `p${i}`))
  const before = await server.requests()
  const child = spawn(program, words, { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = once(child, 'exit')
  try {
    const limit = performance.now() + readyMs
    while ((await server.requests()) < before + profiles) {
      if (child.exitCode !== null || performance.now() > limit) throw new Error('the watch got no tokens')
      await pause(200)
    }
    // The last one is still being kept, and what was made by the way is thrown away.
    await pause(windowMs)
    const processorMs = () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ')
      return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticks
    }
    const found = []
    for (let i = 0; i < windows; i++) {
      const at = { processor: processorMs(), time: performance.now() }
      await pause(windowMs)
      const seconds = (performance.now() - at.time) / 1000
      found.push({ base: 1000, value: (processorMs() - at.processor) / seconds })
    }
    if ((await server.requests()) !== before + profiles) throw new Error('a token was renewed in between')
    add(name, target, found, { cause: 'watch' })
  } finally {
    child.kill('SIGTERM')
    await ended
  }
}
