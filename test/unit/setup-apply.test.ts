import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { applyChanges, restored } from '../../src/setup/apply.ts'
import type { Change, FileChange } from '../../src/setup/setup.ts'
import { readWritten, type Written, writeWritten } from '../../src/setup/written.ts'

// How the changes of `tokctl setup` are made, and what they become when they are taken back.

const ours = 'asks tokctl\n'

interface Place {
  readonly directory: string
  readonly file: string
  readonly backup: string
  readonly written: Written
  text(path?: string): string | undefined
  /** Writes what a person would. */
  edit(text: string): void
  /** Adds our line, as a planner would. */
  setUp(): Promise<readonly string[]>
  /** Takes it away. */
  remove(): Promise<void>
}

const { uid } = userInfo()
const environment = { pid: process.pid, uid }
const run = async (): Promise<void> => {}

function place(): Place {
  const directory = mkdtempSync(join(tmpdir(), 'setup-apply-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'rc')
  const written: Written = { files: new Map(), notes: new Set() }
  const text = (path = file): string | undefined =>
    existsSync(path) ? readFileSync(path, 'utf8') : undefined
  const make = async (change: FileChange, remove: boolean) =>
    applyChanges([change], { environment, written, remove, run })
  return {
    directory,
    file,
    backup: `${file}.tokctl-backup`,
    written,
    text,
    edit: content => writeFileSync(file, content),
    async setUp() {
      const before = text()
      const [applied] = await make({ file, before, after: `${before ?? ''}${ours}`, says: [] }, false)
      return applied!.backups
    },
    async remove() {
      const before = text()
      const after = before!.replaceAll(ours, '')
      await make(restored({ file, before, after, says: [] }, written), true)
    },
  }
}

describe('what is taken back', () => {
  test('is a file that setup made, and nothing is left', async () => {
    const { directory, setUp, remove } = place()
    expect(await setUp()).toEqual([])
    expect(await setUp()).toEqual([])
    await remove()
    expect(readdirSync(directory)).toEqual([])
  })

  test.each([
    ['empty', ''],
    ['of a line without an end', '# mine'],
    ['of blanks', ' \n'],
  ])('leaves a file that was there, %s, as it was', async (_, before) => {
    const { directory, edit, text, setUp, remove } = place()
    edit(before)
    await setUp()
    await remove()
    expect(text()).toBe(before)
    expect(readdirSync(directory)).toEqual(['rc'])
  })

  test('leaves what somebody else wrote into the file since, and the file that setup made with it', async () => {
    const { edit, text, setUp, remove } = place()
    await setUp()
    edit(`${text()}theirs\n`)
    await setUp()
    await remove()
    expect(text()).toBe('theirs\n')

    const made = place()
    await made.setUp()
    made.edit(`${made.text()} `)
    made.edit(made.text()!.trimEnd())
    await made.remove()
    expect(made.text()).toBe(ours.trimEnd())
  })

  test('is what a setup that was killed left half written, too', async () => {
    const { directory, edit, setUp } = place()
    for (const name of ['rc.7.0.tmp', 'rc.tokctl-backup.7.1.tmp', 'rc.mine.tmp', 'other.7.0.tmp']) {
      writeFileSync(join(directory, name), 'half')
    }
    edit('mine\n')
    await setUp()
    expect(readdirSync(directory).sort()).toEqual(['other.7.0.tmp', 'rc', 'rc.mine.tmp', 'rc.tokctl-backup'])
  })

  test('deletes nothing where it is not remembered who made the file', async () => {
    const { text, setUp, remove, written } = place()
    await setUp()
    written.files.clear()
    await remove()
    expect(text()).toBe('')
  })

  test('is the mode too, and a link goes on leading to a file', async () => {
    const { directory, edit, file, setUp, remove, text } = place()
    const link = join(directory, 'link')
    edit('')
    chmodSync(file, 0o640)
    symlinkSync(file, link)
    await setUp()
    expect(statSync(file).mode & 0o777).toBe(0o640)
    await remove()
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(text(link)).toBe('')
    expect(statSync(file).mode & 0o777).toBe(0o640)
  })
})

describe('the backup', () => {
  test('is the first one of several setups: the user’s own state', async () => {
    const { edit, text, backup, setUp } = place()
    edit('mine\n')
    expect(await setUp()).toEqual([backup])
    expect(await setUp()).toEqual([])
    edit(`${text()}more\n`)
    expect(await setUp()).toEqual([])
    expect(text(backup)).toBe('mine\n')
  })

  test('is a new one where nothing of ours was in the file any more', async () => {
    const { edit, text, backup, setUp, remove } = place()
    edit('mine\n')
    await setUp()
    edit('mine, later\n')
    expect(await setUp()).toEqual([backup])
    expect(text(backup)).toBe('mine, later\n')
    await remove()
    expect(text()).toBe('mine, later\n')
    expect(existsSync(backup)).toBe(false)
  })

  test('stays where the file did not become the same again', async () => {
    const { edit, text, backup, setUp, remove } = place()
    edit('mine\n')
    await setUp()
    edit(`new\n${text()}`)
    await remove()
    expect(text()).toBe('new\nmine\n')
    expect(text(backup)).toBe('mine\n')
  })
})

describe('of several changes', () => {
  const change = (file: string, before: string | undefined, after: string | undefined): Change => ({
    file,
    before,
    after,
    says: [],
  })

  test('none is made where one cannot be', async () => {
    const { directory, edit, file, written } = place()
    edit('mine\n')
    chmodSync(file, 0o444)
    const first = join(directory, 'first')
    const both = [change(first, undefined, ours), change(file, 'mine\n', ours)]
    await expect(applyChanges(both, { environment, written, remove: false, run })).rejects.toMatchObject({
      code: 'config_invalid',
      message: `"${file}" is read-only`,
      hint: `run: chmod u+w ${file}`,
    })
    expect(readdirSync(directory)).toEqual(['rc'])
    const other = { ...environment, uid: uid + 1 }
    await expect(
      applyChanges([change(file, 'mine\n', ours)], { environment: other, written, remove: false, run }),
    ).rejects.toMatchObject({ code: 'config_invalid', message: `"${file}" belongs to another user` })
    await expect(
      applyChanges([change(file, 'other\n', ours)], { environment, written, remove: false, run }),
    ).rejects.toMatchObject({ code: 'config_invalid', message: `"${file}" was changed meanwhile` })
  })

  test('those before one that fails are taken back, a program’s too', async () => {
    const { directory, edit, file, text, written } = place()
    edit('mine\n')
    const other = join(directory, 'other')
    writeFileSync(other, 'first\n')
    const changes: Change[] = [
      change(other, 'first\n', `first\n${ours}`),
      { run: ['a', 'program'], rewrites: [file] },
      change(join(file, 'below'), undefined, ours),
    ]
    const broken = applyChanges(changes, {
      environment,
      written,
      remove: false,
      run: async () => edit('rewritten by tokctl\n'),
    })
    await expect(broken).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/below" cannot be written \((EEXIST|ENOTDIR)\)$/),
    })
    expect(text()).toBe('mine\n')
    expect(text(other)).toBe('first\n')
    expect(readdirSync(directory).sort()).toEqual(['other', 'rc'])
    expect(written.files.size).toBe(0)
  })

  test('a program that fails after it has written half leaves the file as it was', async () => {
    const { directory, edit, file, text, written } = place()
    edit('mine\n')
    const failing = applyChanges([{ run: ['a', 'program'], rewrites: [file, join(directory, 'new')] }], {
      environment,
      written,
      remove: false,
      async run() {
        writeFileSync(file, 'half')
        writeFileSync(join(directory, 'new'), 'half')
        throw new Error('interrupted')
      },
    })
    await expect(failing).rejects.toThrow('interrupted')
    expect(text()).toBe('mine\n')
    expect(readdirSync(directory)).toEqual(['rc'])
  })
})

test('what a program rewrote becomes what it was, comments included, where nobody else has changed it since', async () => {
  const { directory, edit, file, text, written } = place()
  edit('# mine\nusers: []\n')
  const rewrite = (content: string, remove: boolean) =>
    applyChanges([{ run: ['a', 'program'], rewrites: [file] }], {
      environment,
      written,
      remove,
      run: async () => edit(content),
    })
  const [applied] = await rewrite('users: [tokctl]\n', false)
  expect(applied!.backups).toEqual([`${file}.tokctl-backup`])
  await rewrite('users: null\n', true)
  expect(text()).toBe('# mine\nusers: []\n')
  expect(readdirSync(directory)).toEqual(['rc'])
})

test('what is remembered is read again, and what is no such thing is nothing', () => {
  const { directory } = place()
  const stateDir = {
    path: directory,
    file: (name: string) => join(directory, name),
    ensure: () => directory,
    check() {},
  }
  const written = {
    files: new Map([['/rc', { created: true, left: 'h' }]]),
    notes: new Set(['a']),
  }
  writeWritten(stateDir, written, process.pid)
  expect(statSync(stateDir.file('setup.json')).mode & 0o777).toBe(0o600)
  expect(readWritten(stateDir)).toEqual(written)
  for (const text of ['', '{', '[]', '{"files":{"/rc":1},"notes":[2]}', '{"files":null,"notes":{}}']) {
    writeFileSync(stateDir.file('setup.json'), text)
    expect(readWritten(stateDir)).toEqual({ files: new Map(), notes: new Set() })
  }
  rmSync(stateDir.file('setup.json'))
  mkdirSync(stateDir.file('setup.json'))
  writeWritten(stateDir, written, process.pid)
  expect(readWritten(stateDir).notes.size).toBe(0)
})
