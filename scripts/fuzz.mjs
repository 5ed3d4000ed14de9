// `npm run fuzz [SECONDS] [NAME]`: feeds what the code has not yet run. Kept out of CI, since it ends by the clock.
// Inputs that run a block which none before them ran are kept, and the next are made from them. The first that breaks
// something is written down, and ends the run.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const seconds = Number(process.argv[2] ?? 60)
const wanted = process.argv[3]
if (!(seconds > 0)) {
  console.error('fuzz: how many seconds? for example: npm run fuzz 60 "token answer"')
  process.exit(2)
}

const directory = mkdtempSync(join(tmpdir(), 'tokctl-fuzz-code-'))
const bundle = join(directory, 'targets.mjs')
await build({
  entryPoints: [join(root, 'test', 'support', 'fuzz-targets.ts')],
  outfile: bundle,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  banner: {
    js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
  },
  logLevel: 'error',
})
const { fuzzTargets } = await import(pathToFileURL(bundle).href)
const { targets, close } = await fuzzTargets()

const session = new Session()
session.connect()
const post = (method, params) => {
  let answer
  // Without a thread of its own the inspector answers at once.
  session.post(method, params, (error, result) => {
    if (error) throw new Error(error.message)
    answer = result
  })
  return answer
}
post('Profiler.enable')
post('Profiler.startPreciseCoverage', { callCount: false, detailed: true })

const seen = new Set()
/** How many blocks ran since the last look that never ran before. */
function news() {
  let found = 0
  for (const { url, functions } of post('Profiler.takePreciseCoverage').result) {
    if (!url.endsWith('targets.mjs')) continue
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) {
        const block = `${startOffset}-${endOffset}`
        if (count > 0 && !seen.has(block)) {
          seen.add(block)
          found++
        }
      }
    }
  }
  return found
}

const below = n => Math.floor(Math.random() * n)
const words = [
  '"',
  '\\',
  '\n',
  '\r',
  '\0',
  '{',
  '}',
  '[',
  ']',
  '=',
  ':',
  ',',
  '-',
  '1e999',
  'null',
  '__proto__',
  '\u202e',
]

function mutate(parent, corpus) {
  let bytes = parent
  for (let i = below(4); i >= 0; i--) {
    const at = below(bytes.length + 1)
    const other = corpus[below(corpus.length)]
    const put = [
      () => Buffer.from([below(256)]),
      () => Buffer.from(words[below(words.length)]),
      () => Buffer.alloc(0),
      () => other.subarray(below(other.length), below(other.length) + below(32)),
    ][below(4)]()
    bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + below(8))])
  }
  return bytes.subarray(0, 65_536)
}

let broken = false
try {
  const chosen = targets.filter(({ name }) => wanted === undefined || name.includes(wanted))
  for (const target of chosen) {
    const corpus = target.seeds.map(seed => Buffer.from(seed))
    for (const seed of corpus) target.feed(seed)
    news()
    const until = Date.now() + (seconds * 1000) / chosen.length
    let runs = 0
    while (Date.now() < until && !broken) {
      // Looking costs much more than feeding, so that it is done for ten at a time, and all ten are kept.
      const tried = Array.from({ length: 10 }, () => mutate(corpus[below(corpus.length)], corpus))
      for (const bytes of tried) {
        runs++
        try {
          target.feed(bytes)
        } catch (error) {
          const file = join(root, `fuzz-${target.name.replaceAll(' ', '-')}.bin`)
          writeFileSync(file, bytes)
          console.error(`${target.name}: ${error.stack}\nthe input is in ${file}`)
          broken = true
          break
        }
      }
      if (news() > 0) corpus.push(...tried)
    }
    console.log(`${target.name}: ${runs} inputs, ${corpus.length} kept, ${seen.size} blocks in all`)
    if (broken) break
  }
} finally {
  close()
  rmSync(directory, { recursive: true, force: true })
}
process.exitCode = broken ? 1 : 0
