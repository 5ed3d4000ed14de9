import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { Intent, Journal, KeptAnswer } from '../../src/store/journal.ts'
import { openJournal } from '../../src/store/journal-file.ts'
import { scratchState } from '../support/state.ts'

const intent: Intent = {
  binding: 'b1',
  refreshToken: 'digest-of-the-refresh-token',
  at: 1_800_000_000_000,
  seed: 'digest-of-the-seed',
  dpopKey: new Secret('{"kty":"EC"}'),
  interruptedAt: 1_700_000_000_000,
}
const answer: KeptAnswer = {
  from: 'token endpoint idp.example.com',
  status: 200,
  headers: { 'content-type': 'application/json' },
  body: '{"access_token":"token-canary","refresh_token":"refresh-canary"}',
  sentAt: 1_800_000_000_000,
  receivedAt: 1_800_000_000_300,
}

function opened(): { journal: Journal; again(): Journal; path: string; directory: string } {
  const { environment, stateDir, path } = scratchState()
  const again = (): Journal => openJournal(stateDir, environment)
  const directory = join(path, 'journal')
  return { journal: again(), again, directory, path: join(directory, 'corp.journal') }
}

test('gives back what was begun and what was answered, to whoever has the key', () => {
  const { journal, again, path } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  expect(again().read('corp', key)).toEqual({ intent, answer: undefined })
  journal.answer('corp', key, answer)
  expect(again().read('corp', key)).toEqual({ intent, answer })
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('nothing in it can be read without the key, and no other profile’s journal passes for it', () => {
  const { journal, again, path, directory } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  journal.answer('corp', key, answer)
  expect(readFileSync(path, 'latin1')).not.toMatch(/canary|digest|idp\.example|kty/)
  expect(again().read('corp', journal.newKey())).toBeUndefined()
  writeFileSync(join(directory, 'other.journal'), readFileSync(path), { mode: 0o600 })
  expect(again().read('other', key)).toBeUndefined()
})

test('the answer goes into room that was made for it: the file does not grow', () => {
  const { journal, path } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  const { size, ino, blocks } = statSync(path)
  expect(blocks * 512).toBeGreaterThanOrEqual(size)
  journal.answer('corp', key, { ...answer, body: 'x'.repeat(30_000) })
  expect(statSync(path)).toMatchObject({ size, ino, blocks })
})

test('an answer that is larger than the room is kept all the same', () => {
  const { journal, again } = opened()
  const key = journal.newKey()
  const large = { ...answer, body: 'x'.repeat(1_000_000) }
  journal.begin('corp', key, intent)
  journal.answer('corp', key, large)
  expect(again().read('corp', key)?.answer).toEqual(large)
})

test('a new intent takes the place of the old one and of its answer', () => {
  const { journal, again } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  journal.answer('corp', key, answer)
  journal.begin('corp', key, { ...intent, at: intent.at + 1 })
  expect(again().read('corp', key)).toEqual({ intent: { ...intent, at: intent.at + 1 }, answer: undefined })
})

test('cut off or changed anywhere, it gives the whole of each part or nothing of it', () => {
  const { journal, again, path } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  journal.answer('corp', key, answer)
  const whole = readFileSync(path)
  const used = 8192 + 4 + 500
  const change = fc.record({ at: fc.nat(used), to: fc.nat(255), length: fc.nat(used) })
  fc.assert(
    fc.property(change, fc.boolean(), ({ at, to, length }, isCut) => {
      const content = Buffer.from(isCut ? whole.subarray(0, length) : whole)
      if (!isCut) content[at] = to
      writeFileSync(path, content)
      const found = again().read('corp', key)
      if (found === undefined) return
      expect(found.intent).toEqual(intent)
      if (found.answer !== undefined) expect(found.answer).toEqual(answer)
    }),
    { numRuns: 500 },
  )
})

test('cleared it leaves nothing, and clearing nothing is no error', () => {
  const { journal, again, directory } = opened()
  journal.clear('corp')
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  journal.clear('corp')
  expect(readdirSync(directory)).toEqual([])
  expect(again().read('corp', key)).toBeUndefined()
})

test('a link in its place is replaced, and what it points to is left alone; one that is read is refused', () => {
  const { journal, again, path, directory } = opened()
  const key = journal.newKey()
  journal.begin('corp', key, intent)
  journal.clear('corp')
  const victim = join(directory, 'victim')
  writeFileSync(victim, 'mine')
  symlinkSync(victim, path)
  expect(() => again().read('corp', key)).toThrow(/is a link/)
  journal.begin('corp', key, intent)
  expect(readFileSync(victim, 'utf8')).toBe('mine')
  expect(again().read('corp', key)?.intent).toEqual(intent)
})

test('a seed that was used is known again without being told, also when the journal is gone', () => {
  const { journal, again, path, directory } = opened()
  const seed = 'ab'.repeat(32)
  expect(journal.knowsSeed('corp', seed)).toBe(false)
  journal.noteSeed('corp', 'cd'.repeat(32))
  journal.noteSeed('corp', seed)
  journal.noteSeed('corp', seed)
  journal.begin('corp', journal.newKey(), intent)
  unlinkSync(path)
  expect(again().knowsSeed('corp', seed)).toBe(true)
  expect(again().knowsSeed('corp', 'ef'.repeat(32))).toBe(false)
  expect(again().knowsSeed('other', seed)).toBe(false)
  expect(JSON.parse(readFileSync(join(directory, 'corp.seeds'), 'utf8'))).toHaveLength(2)
})

test('what is remembered of seeds is not read through a link, out of a pipe, or where it is open to others', () => {
  const { journal, again, directory } = opened()
  journal.noteSeed('corp', 'ab'.repeat(32))
  const path = join(directory, 'corp.seeds')
  chmodSync(path, 0o644)
  expect(() => again().knowsSeed('corp', 'ab')).toThrow(/corp\.seeds is open to other users$/)
  renameSync(path, `${path}.elsewhere`)
  symlinkSync(`${path}.elsewhere`, path)
  expect(() => again().knowsSeed('corp', 'ab')).toThrow(/corp\.seeds is a link$/)
  unlinkSync(path)
  execFileSync('mkfifo', ['-m', '600', path])
  expect(() => again().knowsSeed('corp', 'ab')).toThrow(/corp\.seeds is not a file$/)
})

test.each<[what: string, break_: (path: string) => void, message: RegExp | undefined]>([
  [
    'is a link',
    path => symlinkSync(mkdir(`${path}.elsewhere`), path),
    /state directory \S+journal is not a directory$/,
  ],
  [
    'is another user’s',
    path => chownSync(mkdir(path), 65_534, 65_534),
    /\S+journal belongs to another user$/,
  ],
  ['is open to others: it is closed', path => chmodSync(mkdir(path), 0o777), undefined],
])('a directory of the state that %s', (_, change, message) => {
  const { journal, directory } = opened()
  change(directory)
  const begin = (): void => journal.begin('corp', journal.newKey(), intent)
  if (message !== undefined) expect(begin).toThrow(message)
  else {
    begin()
    expect(statSync(directory).mode & 0o777).toBe(0o700)
  }
})

function mkdir(path: string): string {
  mkdirSync(path, { recursive: true })
  return path
}
