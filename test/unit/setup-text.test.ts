import fc from 'fast-check'
import { parse } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { addToSection, iniEntries, removeFromSection, sectionsOf } from '../../src/setup/ini.ts'
import { removeMember, setMember } from '../../src/setup/json-text.ts'
import {
  appendLines,
  insertLines,
  lineEnd,
  linesOf,
  removeLines,
  replaceLine,
} from '../../src/setup/lines.ts'
import { addItem, removeItem, replaceItem } from '../../src/setup/toml-list.ts'
import { quotedWords, shellWords } from '../../src/setup/words.ts'

const isOurs = (line: string): boolean => line.startsWith('ours')

describe('lines', () => {
  test.each<[text: string | undefined, after: string]>([
    [undefined, 'ours 1\nours 2\n'],
    ['', 'ours 1\nours 2\n'],
    ['a\n', 'a\nours 1\nours 2\n'],
    ['a', 'a\nours 1\nours 2'],
    ['a\r\nb\r\n', 'a\r\nb\r\nours 1\r\nours 2\r\n'],
    ['a\r\nb', 'a\r\nb\r\nours 1\r\nours 2'],
    ['\ufeff# c\n', '\ufeff# c\nours 1\nours 2\n'],
  ])('are added to %j with its own line ends', (text, after) => {
    expect(appendLines(text, ['ours 1', 'ours 2'])).toBe(after)
  })

  const text = fc
    .array(fc.tuple(fc.constantFrom('', 'a', '# b', '  c = 1', '[d]'), fc.constantFrom('\n', '\r\n')), {
      maxLength: 6,
    })
    .chain(lines => {
      const whole = lines.map(([line, end]) => line + end).join('')
      return fc.constantFrom(whole, `${whole}last`)
    })

  test('added and taken away again leave no trace, wherever they stood', () => {
    fc.assert(
      fc.property(text, fc.nat(7), (before, at) => {
        expect(removeLines(appendLines(before, ['ours 1', 'ours 2']), isOurs)).toBe(before)
        const inserted = insertLines(before, at, ['ours 1'])
        expect(linesOf(inserted)).toContain('ours 1')
        expect(removeLines(inserted, isOurs)).toBe(before)
      }),
    )
  })

  test('what is not ours stays, and nothing is ours that is not there', () => {
    expect(removeLines('a\nours\nb\n', isOurs)).toBe('a\nb\n')
    expect(removeLines('a\nb', isOurs)).toBe('a\nb')
    expect(removeLines('ours\n', isOurs)).toBe('')
    expect(lineEnd('a\nb\r\n')).toBe('\n')
  })
})

describe('INI', () => {
  const text = '# c\n[a]\nx = 1\n  more\n; d\n\n[ b ]\ny: 2\r\n'

  test('keys are found with their sections; comments and what continues a value are none', () => {
    expect(iniEntries(text)).toEqual([
      { section: 'a', key: 'x', value: '1', line: 2 },
      { section: 'b', key: 'y', value: '2', line: 7 },
    ])
  })

  test.each<[text: string | undefined, after: string]>([
    [undefined, '[a]\nk = v\n'],
    ['[b]\nx = 1', '[b]\nx = 1\n[a]\nk = v'],
    ['# c\n[a]\nx = 1\n', '# c\n[a]\nk = v\nx = 1\n'],
    ['[a]', '[a]\nk = v'],
    ['[b]\r\n[a]\r\n\r\n', '[b]\r\n[a]\r\nk = v\r\n\r\n'],
  ])('a key is added to %j, and taken away again', (text, after) => {
    expect(addToSection(text, 'a', ['k = v'])).toBe(after)
    const line = linesOf(after).indexOf('k = v')
    expect(removeFromSection(after, new Set([line]), sectionsOf(text ?? ''))).toBe(text ?? '')
  })
})

describe('JSON', () => {
  test.each<[name: string, text: string, after: string]>([
    [
      'as docker writes it',
      '{\n\t"auths": {\n\t\t"a": {}\n\t}\n}',
      '{\n\t"auths": {\n\t\t"a": {}\n\t},\n\t"credHelpers": {\n\t\t"h": "tokctl"\n\t}\n}',
    ],
    [
      'with other helpers, indented by four',
      '{\n    "credHelpers": {\n        "x": "ecr-login"\n    },\n    "z": [1, {"a": "}"}]\n}\n',
      '{\n    "credHelpers": {\n        "x": "ecr-login",\n        "h": "tokctl"\n    },\n    "z": [1, {"a": "}"}]\n}\n',
    ],
    ['on one line', '{"a":"\\"{","5":1}', '{"a":"\\"{","5":1,"credHelpers":{"h":"tokctl"}}'],
    ['with helpers on one line', '{"credHelpers":{"x":"y"}}', '{"credHelpers":{"x":"y","h":"tokctl"}}'],
    [
      'with Windows line ends',
      '{\r\n  "a": 1.0\r\n}\r\n',
      '{\r\n  "a": 1.0,\r\n  "credHelpers": {\r\n    "h": "tokctl"\r\n  }\r\n}\r\n',
    ],
    ['empty', '{}', '{\n\t"credHelpers": {\n\t\t"h": "tokctl"\n\t}\n}'],
  ])('a member is set in a text %s, and taken away again', (_, text, after) => {
    expect(setMember(text, 'credHelpers', 'h', '"tokctl"')).toBe(after)
    expect(() => JSON.parse(after)).not.toThrow()
    expect(removeMember(after, 'credHelpers', 'h')).toBe(text)
  })

  test('of several members the first, one in the middle and the last go, and no comma is left over', () => {
    const text = '{ "credHelpers": { "a": "1", "b": "2", "c": "3" } }'
    expect(removeMember(text, 'credHelpers', 'a')).toBe('{ "credHelpers": { "b": "2", "c": "3" } }')
    expect(removeMember(text, 'credHelpers', 'b')).toBe('{ "credHelpers": { "a": "1", "c": "3" } }')
    expect(removeMember(text, 'credHelpers', 'c')).toBe('{ "credHelpers": { "a": "1", "b": "2" } }')
    expect(removeMember(text, 'credHelpers', 'd')).toBe(text)
    expect(setMember(text, 'credHelpers', 'b', '"x"')).toBe(text.replace('"2"', '"x"'))
  })

  test('whatever the object, the member is there afterwards, the rest is the same, and it goes again', () => {
    const any = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 })
    fc.assert(
      fc.property(any, fc.constantFrom(undefined, 2, '\t'), fc.string(), (object, indent, key) => {
        fc.pre(
          !Object.hasOwn(object, 'credHelpers') && !Object.hasOwn(object, '__proto__') && key !== '__proto__',
        )
        const text = JSON.stringify(object, null, indent)
        const set = setMember(text, 'credHelpers', key, '"tokctl"')
        expect(JSON.parse(set)).toEqual({ ...JSON.parse(text), credHelpers: { [key]: 'tokctl' } })
        expect(removeMember(set, 'credHelpers', key)).toBe(text)
      }),
    )
  })
})

describe('lists of TOML', () => {
  const isNew = (value: unknown): boolean => value === 'new'

  test.each<[list: string, after: string]>([
    ['[]', '["new"]'],
    ['[\n  # none\n]', '["new"\n  # none\n]'],
    ['["a"]', '["a", "new"]'],
    ["['a', ]", `['a', "new", ]`],
    ['["a", # me\n]', '["a", "new", # me\n]'],
    ['[\n  "a" # me\n]', '[\n  "a", # me\n  "new"\n]'],
    ['[\n  "a", # me\n  # nor me\n]', '[\n  "a", # me\n  "new",\n  # nor me\n]'],
    ['[\n  "a", "b, #]"]', '[\n  "a", "b, #]", "new"]'],
    ['[\r\n\t"a"\r\n\t, # late\r\n]', '[\r\n\t"a"\r\n\t, # late\r\n\t"new",\r\n]'],
    ['[["a", "b"], { c = ["d"] }]', '[["a", "b"], { c = ["d"] }, "new"]'],
  ])('an item is added to %j, and taken away again', (list, after) => {
    expect(addItem(list, '"new"')).toBe(after)
    expect(removeItem(after, isNew)).toBe(list)
  })

  test.each<[list: string, after: string]>([
    ["['new', 'a']", "['a']"],
    ['["a", "n\\u0065w", "b"] ', '["a", "b"] '],
    ['[\n  "a",\n  "new", # ours\n  "b",\n]', '[\n  "a",\n  # ours\n  "b",\n]'],
    ['[ # "new"\n  "new"]', '[ # "new"\n  ]'],
    ['["a", "new", "new"]', '["a"]'],
  ])('the item goes out of %j, and no comment', (list, after) => {
    expect(removeItem(list, isNew)).toBe(after)
  })

  test('the first takes the new value, and others of the kind go', () => {
    expect(replaceItem('["new", "a", # "new"\n "new"]', isNew, '"x"')).toBe('["x", "a" # "new"\n ]')
    expect(replaceItem('["a"]', isNew, '"x"')).toBe('["a"]')
  })

  test('however it is laid out, it has the item afterwards, and goes back', () => {
    const space = fc.constantFrom('', ' ', '\n', '\n  ', ' # "c", ]\n', '\n# [d\n\t')
    const item = fc.constantFrom('"a"', "'b]'", '"#,c"', '"\\"d"')
    const list = fc
      .tuple(space, fc.array(fc.tuple(item, space, space), { maxLength: 3 }), fc.boolean(), space)
      .map(([first, items, comma, last]) => {
        const all = items.map(([text, before, after], i) =>
          i < items.length - 1 || comma ? `${text}${before},${after}` : text,
        )
        return `[${first}${all.join('')}${last}]`
      })
    fc.assert(
      fc.property(list, text => {
        const added = addItem(text, '"new"')
        const [was, is] = [text, added].map(each => parse(`k = ${each}`)['k'] as unknown[])
        expect(is).toEqual([...was!, 'new'])
        const rest = removeItem(added, isNew)
        expect(parse(`k = ${rest}`)['k']).toEqual(was)
        const comments = (of: string): string[] => of.match(/# ?["[][^\n]*/g) ?? []
        expect(comments(rest)).toEqual(comments(text))
      }),
    )
  })
})

test('words are quoted for who reads them, or refused', () => {
  expect(shellWords(['/usr/bin/node', "/it's/a b", ''])).toBe("/usr/bin/node '/it'\\''s/a b' ''")
  expect(quotedWords(['/a/node', '/a b/x', 'helper'], 'aws')).toBe('/a/node "/a b/x" helper')
  for (const word of ['/a"b', '/$HOME', '/a`b', '/a\\b', "/a'b", '/a;b']) {
    expect(() => quotedWords([word], 'aws')).toThrow(
      expect.objectContaining({
        code: 'usage',
        message: `aws cannot be given the path "${word}"`,
        hint: 'install tokctl at a path without quotes, backslashes, "$" and ";"',
      }),
    )
  }
  for (const [words, what, hint] of [
    [
      ['/usr/bin/env', "TOKCTL_STATE_DIR=/it's"],
      'state directory',
      /^set TOKCTL_STATE_DIR to a path without /,
    ],
    [
      ['/tokctl', '--config', "/it's"],
      'configuration',
      /^name one by --config or TOKCTL_CONFIG at a path without /,
    ],
  ] as const) {
    expect(() => quotedWords(words, 'go')).toThrow(
      expect.objectContaining({
        message: `go cannot be given the ${what} "/it's"`,
        hint: expect.stringMatching(hint),
      }),
    )
  }
})

test('a key above others that are indented is indented as they are, so that they are not read as a part of it', () => {
  const text = '[global]\n    index-url = https://pypi.example.com\n    timeout = 60\n'
  const added = addToSection(text, 'global', ['keyring-provider = subprocess'])
  expect(added).toBe(text.replace('[global]\n', '[global]\n    keyring-provider = subprocess\n'))
  expect(iniEntries(added).map(({ key }) => key)).toEqual(['keyring-provider', 'index-url', 'timeout'])
})

test('a line is put in the place of one of that number, whatever stands in a comment above', () => {
  expect(replaceLine('# A=1\r\nA=1\r\n', 1, 'A=$&2')).toBe('# A=1\r\nA=$&2\r\n')
})

test('a section that was there before keeps its header, and one that somebody wrote into stays', () => {
  const text = '[mine]\nk = v\n[default]\nregion = x\n'
  expect(removeFromSection(text, new Set([1]))).toBe('[default]\nregion = x\n')
  expect(removeFromSection(text, new Set([1]), new Set(['mine']))).toBe('[mine]\n[default]\nregion = x\n')
  const written = '[mine]\nk = v\n# a comment\n[default]\n'
  expect(removeFromSection(written, new Set([1]))).toBe('[mine]\n# a comment\n[default]\n')
})
