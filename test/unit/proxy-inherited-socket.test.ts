import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { exposureOf } from '../../src/proxy/inherited-socket.ts'

const uid = process.getuid?.() ?? 0

/** A socket that listens at this path, and its number. */
async function listenAt(path: string): Promise<number> {
  const server = createServer().listen(path)
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server as unknown as { _handle: { fd: number } })._handle.fd
}

const cases: [what: string, change: (path: string, directory: string) => void, want: RegExp | undefined][] = [
  ['this user’s with mode 0600', () => {}, undefined],
  ['what a group may write', path => chmodSync(path, 0o620), /has mode 0620$/],
  ['what systemd makes where nothing is said', path => chmodSync(path, 0o666), /has mode 0666$/],
  ['that of another user', path => chownSync(path, 1, 1), /s belongs to another user$/],
  ['one whose file is gone', path => unlinkSync(path), /it cannot be looked at \(ENOENT\)$/],
  [
    'one whose file was replaced',
    path => {
      unlinkSync(path)
      writeFileSync(path, '')
    },
    /is another file by now$/,
  ],
  [
    'one whose directory others can write',
    (_, directory) => chmodSync(directory, 0o777),
    /can be written by others$/,
  ],
  [
    'one among those of others, in a sticky directory',
    (_, directory) => chmodSync(directory, 0o1777),
    undefined,
  ],
  [
    'one in a directory of another user',
    (_, directory) => chownSync(directory, 1, 1),
    /d belongs to another user$/,
  ],
]
test.each(cases)('of the sockets of a service manager it knows %s', async (_, change, want) => {
  const above = mkdtempSync(join(tmpdir(), 'tokctl-socket-'))
  onTestFinished(() => rmSync(above, { recursive: true, force: true }))
  const directory = join(above, 'd')
  mkdirSync(directory, { mode: 0o700 })
  const path = join(directory, 's')
  const fd = await listenAt(path)
  chmodSync(path, 0o600)
  change(path, directory)
  if (want === undefined) expect(exposureOf(fd, uid)).toBeUndefined()
  else expect(exposureOf(fd, uid)).toMatch(want)
})

test('of an abstract socket it knows that it is no file, and of what is no socket nothing', async () => {
  const fd = await listenAt(`\0tokctl-test-${process.pid}`)
  expect(exposureOf(fd, uid)).toBe('it has no whole path, and whoever knows its name reaches it')
  expect(exposureOf(0, uid)).toMatch(/^the system does not say where it is$|^it cannot be looked at/)
})
