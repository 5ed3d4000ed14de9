import fc from 'fast-check'
import { expect, test } from 'vitest'
import { appended, without, withStore } from '../../src/profile/edit.ts'
import { notWritten } from '../../src/profile/edit-file.ts'

const block = '# about it\n[profile.x]\nsource = "ci"\n'

const starts: [name: string, text: string, want: string][] = [
  ['an empty file', '', block],
  ['a byte-order mark alone', '\ufeff', `\ufeff${block}`],
  ['a file that ends a line', 'a = 1\n', `a = 1\n\n${block}`],
  ['a file that does not', 'a = 1', `a = 1\n\n${block}`],
  ['lines that end as on Windows', 'a = 1\r\n', `a = 1\r\n\r\n${block.replaceAll('\n', '\r\n')}`],
]
test.each(starts)('to %s a table is appended after a blank line', (_, text, want) => {
  expect(appended(text, block)).toBe(want)
})

test.each([
  'a = 1\n',
  'a = 1\n\n\n',
  '[store]\nkind = "file"\n# the end\n',
  '[profile.y]\nsource = "ci"\n',
  '# only words\n',
  'a = 1\r\n',
])('what was appended to %j can be taken out again without a trace', text => {
  expect(without(appended(text, block), 'x')).toBe(text)
})

const stores: [name: string, text: string, want: string | undefined][] = [
  ['no table', 'a = 1\n', 'a = 1\n\n[store]\nkind = "file"\n'],
  [
    'one that names another',
    '[store]\nkind = "auto" # why\n\n[x]\n',
    '[store]\nkind = "file" # why\n\n[x]\n',
  ],
  ['one that names none', '[store]\n# later\n\n[x]\n', '[store]\nkind = "file"\n# later\n\n[x]\n'],
  ['one that ends the file', '[store]', '[store]\nkind = "file"\n'],
  ['lines that end as on Windows', '[store]\r\n[x]\r\n', '[store]\r\nkind = "file"\r\n[x]\r\n'],
  ['a dotted key', "store.kind = 'keychain'\r\n", 'store.kind = "file"\r\n'],
  ['a table in a value', 'store = { kind = "auto" }\n', undefined],
]
test.each(stores)('the store is named where there is %s', (_, text, want) => {
  expect(withStore(text, 'file')).toBe(want)
})

const cases: [name: string, text: string, want: string | undefined][] = [
  ['the only one', '[profile.x]\na = 1\n', ''],
  ['the first', '[profile.x]\na = 1\n\n[profile.y]\nb = 1\n', '[profile.y]\nb = 1\n'],
  ['one between others', '[p]\n\n[profile.x]\na = 1\n\n[q]\n', '[p]\n\n[q]\n'],
  ['the last', '[q]\n\n[profile.x]\na = 1\n', '[q]\n'],
  ['one without a line break at its end', '[q]\n\n[profile.x]\na = 1', '[q]\n'],
  [
    'its comments above, and not those of the file',
    '# file\n\n# x\n# more\n[profile.x]\na = 1\n',
    '# file\n',
  ],
  ['comments among its keys', '[profile.x]\n# why\na = 1\n\n# and why\nb = 2\n\n[q]\n', '[q]\n'],
  ['a comment below its last key', '[profile.x]\na = 1\n# match = []\n\n[q]\n', '[q]\n'],
  ['but not what leads over to the next', '[profile.x]\na = 1\n# about q\n[q]\n', '# about q\n[q]\n'],
  ['nor what stands by itself', '[profile.x]\na = 1\n\n# section\n\n[q]\n', '# section\n\n[q]\n'],
  ['a comment on its lines', '[profile.x] # here\na = 1 # there\n[q] # kept\n', '[q] # kept\n'],
  ['tables below it', '[profile.x]\na = 1\n\n[profile.x.params]\nb = 2\n\n[q]\n', '[q]\n'],
  [
    'tables below it that stand elsewhere',
    '[profile.x]\na = 1\n\n[q]\n\n[profile.x.params]\nb = 2\n',
    '[q]\n',
  ],
  ['a value over several lines', '[profile.x]\na = [\n  1, # one\n\n  2,\n]\n\n[q]\n', '[q]\n'],
  [
    'a text that looks like a header',
    '[q]\na = """\n[profile.x]\n"""\n\n[profile.x]\nb = 1\n',
    '[q]\na = """\n[profile.x]\n"""\n',
  ],
  ['a quoted name', '[profile."x"]\na = 1\n[q]\n', '[q]\n'],
  ['one written on a line', 'profile.x = { a = 1 }\nprofile.y = { a = 1 }\n', 'profile.y = { a = 1 }\n'],
  ['dotted keys', '[profile]\nx.a = 1\nx.b = 2\ny.a = 1\n', '[profile]\ny.a = 1\n'],
  ['but not one whose name begins alike', '[profile.xx]\na = 1\n', undefined],
  ['nor a table of that name elsewhere', '[x]\na = 1\n[defaults.x]\n', undefined],
  ['nor one inside a value', 'profile = { x = { a = 1 }, y = { a = 1 } }\n', undefined],
  ['lines that end as on Windows', '[q]\r\n\r\n[profile.x]\r\na = 1\r\n\r\n[r]\r\n', '[q]\r\n\r\n[r]\r\n'],
]
test.each(cases)('taken out: %s', (_, text, want) => {
  expect(without(text, 'x')).toBe(want)
})

test('whatever stands around it, all other lines stay in their order', () => {
  const other = fc.constantFrom(
    '',
    '# words',
    '[profile.y]\na = 1',
    '[store]\nkind = "file"',
    'b = """\n[profile.x]\n"""',
    '\n',
  )
  fc.assert(
    fc.property(fc.array(other), fc.array(other), (before, after) => {
      const text = [...before, '[profile.x]\na = 1', ...after].map(line => `${line}\n`).join('')
      const left = without(text, 'x')!
      const solid = (text: string): string[] => text.split('\n').filter(line => /^[[ab]|^"""/.test(line))
      const rest = [...before, ...after].map(line => `${line}\n`).join('')
      // A key below the table is one of its own.
      if (/^(?:# words|\s)*b = /.test(after.join('\n'))) return
      expect(solid(left)).toEqual(solid(rest))
    }),
    { numRuns: 300 },
  )
})

test('a disk without room wants room, not another file', () => {
  const hints = ['ENOSPC', 'EDQUOT', 'EROFS'].map(code => notWritten('~/c.toml', code))
  expect(hints.map(({ code, message, hint }) => [code, message, hint])).toEqual([
    [
      'config_invalid',
      'configuration file ~/c.toml cannot be written (ENOSPC)',
      'free some space on that disk, then run the command again',
    ],
    [
      'config_invalid',
      'configuration file ~/c.toml cannot be written (EDQUOT)',
      'free some of your quota, then run the command again',
    ],
    [
      'config_invalid',
      'configuration file ~/c.toml cannot be written (EROFS)',
      'name another one: --config FILE',
    ],
  ])
})
