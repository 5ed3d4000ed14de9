import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

// SECURITY.md and test/FAULTS.md name the tests that hold what they say: `folder/file.test.ts` "title".

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const reference = /`((?:unit|contract|race|peers|stories)\/[\w-]+\.test\.ts)` "([^"]+)"/g

function rows(file: string): string[] {
  return readFileSync(join(root, file), 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| ') && !line.startsWith('|---'))
    .slice(1)
}

describe.each(['SECURITY.md', 'test/FAULTS.md'])('%s', file => {
  test('names tests that exist', () => {
    const gone = [...readFileSync(join(root, file), 'utf8').matchAll(reference)].filter(([, path, title]) => {
      const text = readFileSync(join(root, 'test', path!), 'utf8').replaceAll("\\'", "'")
      return !text.includes(title!)
    })
    expect(gone.map(([whole]) => whole)).toEqual([])
  })
})

test('each promise of SECURITY.md is held by a test', () => {
  const promises = rows('SECURITY.md')
  expect(promises.length).toBeGreaterThan(15)
  expect(promises.filter(row => [...row.matchAll(reference)].length === 0)).toEqual([])
})

test('each fault is held by a test, or told to be out of reach, with the reason', () => {
  const faults = rows('test/FAULTS.md')
  expect(faults.length).toBeGreaterThan(40)
  expect(
    faults.filter(
      row => [...row.matchAll(reference)].length === 0 && !/out of reach: .{20,}|figure: .{20,}/.test(row),
    ),
  ).toEqual([])
})

test('SECURITY.md is one page', () => {
  expect(readFileSync(join(root, 'SECURITY.md'), 'utf8').split('\n').length).toBeLessThanOrEqual(90)
  expect(readdirSync(root)).toContain('SECURITY.md')
})
