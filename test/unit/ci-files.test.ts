import { chmodSync, chownSync, mkdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { checkWritable, keepIn } from '../../src/cli/ci-files.ts'
import { linkedFile } from '../../src/core/atomic-file.ts'
import { type Scratch, scratch } from '../support/run.ts'

// Where values are kept for later steps: what a path leads to, and what cannot be replaced.

const renaming = vi.hoisted(() => ({ refused: '' }))
vi.mock('node:fs', async original => {
  const fs = await original<typeof import('node:fs')>()
  return {
    ...fs,
    renameSync(from: string, to: string) {
      if (to === renaming.refused) throw Object.assign(new Error('mounted'), { code: 'EBUSY' })
      fs.renameSync(from, to)
    },
  }
})

const lines = new Map([['A', 'A=new']])
let at: Scratch
beforeEach(() => {
  at = scratch()
  renaming.refused = ''
})
const uid = process.getuid?.() ?? 0

describe('a link', () => {
  test('that leads to a link that leads to nothing yet: the last one is made', () => {
    const file = (name: string): string => join(at.path, name)
    symlinkSync('b', file('a'))
    symlinkSync('c', file('b'))
    keepIn(file('a'), lines, { pid: 1, uid })
    expect(readFileSync(file('c'), 'utf8')).toBe('A=new\n')
    expect([readlinkSync(file('a')), readlinkSync(file('b'))]).toEqual(['b', 'c'])
  })

  test('is read from where it lies, not from where the path names it', () => {
    mkdirSync(join(at.path, 'real/deep'), { recursive: true })
    symlinkSync('../x.env', join(at.path, 'real/deep/f'))
    symlinkSync('real/deep', join(at.path, 'dirlink'))
    symlinkSync('dirlink/../y.env', join(at.path, 'g'))
    expect(linkedFile(join(at.path, 'dirlink/f'))).toBe(join(at.path, 'real/x.env'))
    expect(linkedFile(join(at.path, 'g'))).toBe(join(at.path, 'real/y.env'))
  })

  test('in a circle is an error', () => {
    symlinkSync('b', join(at.path, 'a'))
    symlinkSync('a', join(at.path, 'b'))
    expect(() => linkedFile(join(at.path, 'a'))).toThrow('ELOOP')
  })
})

test('a file that is mounted there is written in its place', () => {
  const path = at.write('s.env', `B=${'x'.repeat(100)}\nA=old\nC=1\n`)
  renaming.refused = path
  keepIn(path, lines, { pid: 1, uid })
  expect(readFileSync(path, 'utf8')).toBe(`B=${'x'.repeat(100)}\nC=1\nA=new\n`)
})

test.runIf(uid === 0)("another user's file in a directory like /tmp is refused beforehand", () => {
  const path = at.write('tmp/s.env', 'B=1\n', 0o666)
  chmodSync(join(at.path, 'tmp'), 0o1777)
  chownSync(path, 65_533, 65_533)
  const ask = (asker: number) => () => checkWritable(path, true, { uid: asker })
  expect(ask(65_534)).toThrow('it belongs to another user, who alone may replace it in that directory')
  expect(ask(65_533)).not.toThrow()
  expect(ask(0)).not.toThrow()
})
