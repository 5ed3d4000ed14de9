import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { run, scratch } from '../support/run.ts'

const demo = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'scripts', 'demo.mjs')

test('the demo shows forty shells and one request, fits a screen, and leaves nothing behind', async () => {
  const at = scratch()
  const { code, stdout, stderr } = await run([], {
    at,
    program: [process.execPath, demo],
    env: { TMPDIR: at.path, TOKCTL_STATE_DIR: undefined, TOKCTL_STORE: undefined },
    timeoutMs: 60_000,
  })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout.split('\n').length).toBeLessThanOrEqual(24)
  expect(stdout).not.toMatch(/WARNING|NOTICE/)
  const counts = [...stdout.matchAll(/^ {2}\d+ ms; the server has counted (\d) token requests?$/gm)].map(
    ([, n]) => n,
  )
  expect(counts).toEqual(['1', '1', '2'])
  expect(stdout).toMatch(/^\S+ {4}printed 40 times$/m)
  expect(readdirSync(at.path)).toEqual(['home'])
}, 90_000)
