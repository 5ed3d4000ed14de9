// Started by bench.mjs with --expose-gc: a cached `get` of the library beside a bare Map lookup in a promise, in turn.
// Prints one line of JSON: nanoseconds and bytes for each call, of both, for each round.

import { performance } from 'node:perf_hooks'
import { memoryUsage } from 'node:process'
import { createTokctl, sourceFrom } from '../dist/lib/index.js'

const calls = 100_000
const rounds = 15

const tokens = createTokctl({
  sources: sourceFrom(async () => ({ accessToken: 'token', expiresInMs: 3_600_000 })),
})
const map = new Map([['corp', await tokens.get('corp')]])

const found = []
for (let round = -3; round < rounds; round++) {
  const base = await measure(() => Promise.resolve(map.get('corp')))
  const value = await measure(() => tokens.get('corp'))
  // The first few are compiled.
  if (round >= 0) found.push({ base, value })
}
tokens.close()
console.log(JSON.stringify(found))

async function measure(get) {
  const begun = performance.now()
  for (let i = 0; i < calls; i++) await get()
  const ns = ((performance.now() - begun) * 1e6) / calls
  return { ns, bytes: allocated(get) }
}

/** Of calls that fit into the young generation, so that nothing is collected meanwhile. */
function allocated(get) {
  const few = 2000
  globalThis.gc()
  const before = memoryUsage().heapUsed
  for (let i = 0; i < few; i++) get()
  return (memoryUsage().heapUsed - before) / few
}
