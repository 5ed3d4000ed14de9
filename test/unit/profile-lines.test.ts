import fc from 'fast-check'
import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { indexLines } from '../../src/profile/lines.ts'

const source = `# [profile.comment]
top = 1
[profile.corp] # = here
a = "# no [comment"
b.c."d.e" = '"'
list = [ # a list
  "x",
  { y = 1, z = [2,
    3] },
]
long = """
[profile.trap]
a = \\"""
"""""
raw = '''
b = 1'''' # end
when = 1979-05-27 07:32:00Z
after = 1
"quo\\u0074ed key" = true
inline = { p = { q = 1 }, 'r s'.t = "}" }

[ "profile" . 'corp' . sub ]
n = 0x1f
[profile."dotted.name"]
n = 1
[[many]]
n = 1
[many.part]
n = 2
[[many]]
n = 3
[many.part]
n = 4
`

const cases: [path: string[], line: number][] = [
  [['top'], 2],
  [['profile'], 3],
  [['profile', 'corp'], 3],
  [['profile', 'corp', 'a'], 4],
  [['profile', 'corp', 'b'], 5],
  [['profile', 'corp', 'b', 'c', 'd.e'], 5],
  [['profile', 'corp', 'list'], 6],
  [['profile', 'corp', 'list', '0'], 7],
  [['profile', 'corp', 'list', '1', 'y'], 8],
  [['profile', 'corp', 'list', '1', 'z', '1'], 9],
  [['profile', 'corp', 'long'], 11],
  [['profile', 'corp', 'raw'], 15],
  [['profile', 'corp', 'when'], 17],
  [['profile', 'corp', 'after'], 18],
  [['profile', 'corp', 'quoted key'], 19],
  [['profile', 'corp', 'inline', 'p', 'q'], 20],
  [['profile', 'corp', 'inline', 'r s', 't'], 20],
  [['profile', 'corp', 'sub'], 22],
  [['profile', 'corp', 'sub', 'n'], 23],
  [['profile', 'dotted.name', 'n'], 25],
  [['many', '0'], 26],
  [['many', '0', 'n'], 27],
  [['many', '0', 'part', 'n'], 29],
  [['many', '1', 'n'], 31],
  [['many', '1', 'part', 'n'], 33],
  [['profile', 'corp', 'missing'], 3],
  [['profile', 'trap', 'a'], 3],
  [['profile', 'corp', 'list', '1', 'missing', 'deeper'], 8],
  [['nowhere'], 1],
  [[], 1],
]
test.each(cases)('%j stands on line %i', (path, line) => {
  parse(source)
  expect(indexLines(source)(path)).toBe(line)
  expect(indexLines(`\ufeff${source.replaceAll('\n', '\r\n')}`)(path)).toBe(line)
})

test('every key that the parser finds has the line on which it was written', () => {
  const key = fc.constantFrom('a', 'b', '"c d"', "'e.f'", 'g.h', '"\\u0069"')
  const value: fc.Arbitrary<string> = fc.letrec<{ any: string }>(tie => ({
    any: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(
        '1',
        '"]}"',
        "'#'",
        '"""\na = 1\n"""',
        "'''\n[x]\n'''",
        '2027-01-01 10:00:00Z',
        '"\\""',
      ),
      fc
        .array(tie('any'), { maxLength: 3 })
        .map(items => `[ # ]\n${items.map(item => `${item},\n`).join('')}]`),
      fc.tuple(key, tie('any')).map(([name, item]) => `{ ${name} = ${item} }`),
    ),
  })).any
  fc.assert(
    fc.property(fc.array(fc.tuple(key, value), { maxLength: 6 }), pairs => {
      const blocks = pairs.map(([name, item], i) => `[t${i}]\n${name} = ${item}\n`)
      const lineOf = indexLines(blocks.join(''))
      let line = 1
      blocks.forEach((block, i) => {
        const table = (parse(block) as Record<string, object>)[`t${i}`]!
        expect(lineOf([`t${i}`])).toBe(line)
        for (const name of Object.keys(table)) expect(lineOf([`t${i}`, name])).toBe(line + 1)
        line += block.split('\n').length - 1
      })
    }),
  )
})

test('a text that is no TOML is read to its end all the same', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', "'", '=', '.', ',', '\n', '#', 'a', '\\') }),
      text => {
        expect(indexLines(text)(['a', 'b'])).toBeGreaterThan(0)
      },
    ),
    { numRuns: 2000 },
  )
})
