import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { TokctlError } from '../../src/core/errors.ts'
import {
  type OutputFile,
  refuseOtherThanFile,
  removeOutputFile,
  writeOutputFile,
} from '../../src/watch/output-file.ts'
import { type Scratch, scratch } from '../support/run.ts'

function failure(work: () => void): Pick<TokctlError, 'code' | 'message' | 'hint'> | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (!(error instanceof TokctlError)) throw error
    const { code, message, hint } = error
    return { code, message, hint }
  }
}

const others: [kind: string, make: (path: string, at: Scratch) => unknown, found: string][] = [
  ['a directory', path => mkdirSync(path), 'is a directory'],
  ['a named pipe', path => execFileSync('mkfifo', [path]), 'is a named pipe'],
  [
    'a socket',
    async path => {
      const server = createServer()
      await new Promise<void>(resolve => server.listen(path, resolve))
      onTestFinished(() => void server.close())
    },
    'is a socket',
  ],
  [
    'a link to a named pipe',
    (path, at) => {
      execFileSync('mkfifo', [join(at.path, 'pipe')])
      symlinkSync('pipe', path)
    },
    'is a link to what is a named pipe',
  ],
  // As /dev/stdout is one.
  ["a link of the system's", path => symlinkSync('/proc/self/fd/1', path), 'is a link to /proc/self/fd/1'],
]
test.each(others)('%s is neither replaced nor removed', async (_, make, found) => {
  const at = scratch()
  const file: OutputFile = { flag: '--file', path: join(at.path, 'there') }
  await make(file.path, at)
  const { ino } = lstatSync(file.path)
  const refused = {
    code: 'usage',
    message: `--file: ${file.path} ${found}, not a regular file`,
    hint: 'name another one: --file FILE',
  }
  expect(failure(() => refuseOtherThanFile(file))).toEqual(refused)
  expect(failure(() => writeOutputFile(file, 'token-1', 1))).toEqual(refused)
  expect(failure(() => removeOutputFile(file))).toEqual(refused)
  expect(lstatSync(file.path).ino).toBe(ino)
})

test('a regular file, a link that leads nowhere and what is not there yet are replaced and removed', () => {
  const at = scratch()
  symlinkSync('nowhere', join(at.path, 'link'))
  for (const path of [
    at.write('old', 'token-0', 0o644),
    join(at.path, 'link'),
    join(at.path, 'new', 'file'),
  ]) {
    const file: OutputFile = { flag: '--file', path }
    writeOutputFile(file, 'token-1', 1)
    expect([readFileSync(path, 'utf8'), lstatSync(path).isFile(), statSync(path).mode & 0o777]).toEqual([
      'token-1',
      true,
      0o600,
    ])
    removeOutputFile(file)
    removeOutputFile(file)
    expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined()
  }
})

test('what the disk does not do is told with the path and what to do', () => {
  const at = scratch()
  const path = join(at.write('file', ''), 'below')
  expect(failure(() => writeOutputFile({ flag: '--variables', path }, '', 1))).toEqual({
    code: 'output_failed',
    message: `file ${path} cannot be written (ENOTDIR)`,
    hint: 'name another one: --variables FILE',
  })
  expect(failure(() => removeOutputFile({ flag: 'TOKCTL_STATE_DIR', path }))).toEqual({
    code: 'output_failed',
    message: `file ${path} cannot be removed (ENOTDIR)`,
    hint: 'set TOKCTL_STATE_DIR to another directory',
  })
})
