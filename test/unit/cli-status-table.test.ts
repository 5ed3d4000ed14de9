import { describe, expect, test } from 'vitest'
import type { Row } from '../../src/cli/status-row.ts'
import { type Canvas, statusTable } from '../../src/cli/status-table.ts'
import { cut, widthOf } from '../../src/cli/text-width.ts'

const now = 1_700_000_000_000
const minute = 60_000
const same = (text: string): string => text
const plain: Canvas['colours'] = { red: same, green: same, yellow: same, cyan: same }
const marked: Canvas['colours'] = {
  red: text => `<r>${text}</r>`,
  green: text => `<g>${text}</g>`,
  yellow: text => `<y>${text}</y>`,
  cyan: same,
}

function row(fields: Partial<Row>): Row {
  return {
    profile: 'corp',
    source: 'client_credentials',
    state: 'fresh',
    store: 'keychain',
    obtainedAt: now - 30 * minute,
    expiresAt: now + 30 * minute,
    refreshAt: now + 25 * minute,
    failure: undefined,
    nextAttemptAt: undefined,
    ...fields,
  }
}

const failed = { code: 'server_error', message: 'token endpoint answered 503', at: now - 2 * minute }
const rows: Row[] = [
  row({}),
  row({
    profile: 'old',
    state: 'stale',
    expiresAt: now + 2 * minute,
    refreshAt: now - minute,
    store: 'file',
  }),
  row({ profile: 'gone', state: 'expired', expiresAt: now - 180 * minute, refreshAt: now - 200 * minute }),
  row({
    profile: 'down',
    state: 'failing',
    obtainedAt: undefined,
    expiresAt: undefined,
    refreshAt: undefined,
    store: undefined,
    failure: failed,
    nextAttemptAt: now + 30_000,
  }),
  row({
    profile: 'me',
    source: 'authorization_code',
    state: 'login_required',
    obtainedAt: undefined,
    expiresAt: undefined,
    refreshAt: undefined,
    store: undefined,
  }),
  row({ profile: 'once', source: 'device_code', refreshAt: undefined }),
  row({ profile: 'ever', expiresAt: undefined, refreshAt: undefined }),
]

function draw(width: number | undefined, bar: Canvas['bar'] = 'none', colours = plain): string[] {
  return statusTable(rows, now, { colours, width, height: undefined, bar }).split('\n').slice(0, -1)
}

test('where nobody looks: plain, whole, one line each', () => {
  expect(draw(undefined)).toEqual([
    'PROFILE  SOURCE              STATE           TIME LEFT      RENEWAL       STORE     LAST FAILURE',
    'corp     client_credentials  fresh           30m            in 25m        keychain',
    'old      client_credentials  stale           2m             due           file',
    'gone     client_credentials  expired         3h ago         -             keychain',
    'down     client_credentials  failing         -              retry in 30s  -         2m ago: token endpoint answered 503',
    'me       authorization_code  sign-in needed  -              by a sign-in  -',
    'once     device_code         fresh           30m            by a sign-in  keychain',
    'ever     client_credentials  fresh           until refused  -             keychain',
  ])
})

test('a bar shows the share of its life that is left: half, a little, none, and nothing where it is unknown', () => {
  const bars = draw(200, 'blocks').slice(1)
  expect(bars[0]).toContain('████░░░░ 30m')
  expect(bars[1]).toContain('█░░░░░░░ 2m')
  expect(bars[2]).toContain('░░░░░░░░ 3h ago')
  expect(bars[6]).toContain('         until refused')
  expect(draw(200, 'ascii')[1]).toContain('####.... 30m')
})

test('colours follow the state and do not count as width', () => {
  const lines = draw(200, 'blocks', marked)
  expect(lines[1]).toMatch(/<g>fresh +<\/g> {2}<g>████░░░░ 30m/)
  expect(lines[2]).toContain('<y>stale')
  expect(lines[3]).toContain('<r>expired')
  expect(lines.map(line => line.replace(/<\/?[rgy]>/g, '').trimEnd())).toEqual(draw(200, 'blocks'))
})

describe('a narrow terminal', () => {
  test.each([20, 40, 50, 60, 72, 80, 100, 140])('no line is wider than %i', width => {
    for (const bar of ['blocks', 'ascii'] as const) {
      for (const line of draw(width, bar)) {
        // Below forty cells only what makes no sense shorter stays.
        expect(widthOf(line), line).toBeLessThanOrEqual(Math.max(width, 46))
      }
    }
  })

  test('loses the store first, then the source, then the renewal; the failure goes below its row', () => {
    expect(draw(200)[0]).toContain('STORE')
    expect(draw(80, 'blocks')[0]).not.toContain('STORE')
    expect(draw(80, 'blocks')[0]).toContain('RENEWAL')
    expect(draw(50, 'blocks')[0]).toMatch(/^PROFILE +STATE +TIME LEFT$/)
    const narrow = draw(50, 'blocks')
    const at = narrow.findIndex(line => line.startsWith('down'))
    expect(narrow[at + 1]).toBe('  2m ago: token endpoint answered 503')
  })
})

test('without a failure there is no column for it', () => {
  const canvas: Canvas = { colours: plain, width: undefined, height: undefined, bar: 'none' }
  expect(statusTable([row({})], now, canvas)).not.toContain('FAILURE')
})

test('one long name gives way before any column does', () => {
  const long = row({ profile: 'n'.repeat(64), source: 'http' })
  const canvas: Canvas = { colours: plain, width: 80, height: undefined, bar: 'blocks' }
  const [head, first] = statusTable([long, row({ source: 'http' })], now, canvas).split('\n')
  expect(head).toMatch(/^PROFILE +SOURCE +STATE +TIME LEFT +RENEWAL +STORE$/)
  expect(first).toMatch(/^n{20,}… {2}http /)
  expect(widthOf(first!)).toBeLessThanOrEqual(80)
})

test('a screen with too few lines says how many profiles are not on it', () => {
  const many = Array.from({ length: 8 }, (_, i) =>
    row({ profile: `p${i}`, ...(i === 1 ? { failure: failed } : {}) }),
  )
  const canvas: Canvas = { colours: plain, width: 60, height: 6, bar: 'none' }
  // The second has a line for its failure.
  const lines = statusTable(many, now, canvas).trimEnd().split('\n')
  expect(lines.map(line => line.slice(0, 11).trimEnd())).toEqual([
    'PROFILE  SO',
    'p0       cl',
    'p1       cl',
    '  2m ago: t',
    'p2       cl',
    'and 5 more',
  ])
  const whole = statusTable(many, now, { ...canvas, height: 10 })
    .trimEnd()
    .split('\n')
  expect(whole).toHaveLength(10)
  expect(whole.at(-1)).toMatch(/^p7 /)
})

test('no profiles is said in words', () => {
  expect(statusTable([], now, { colours: plain, width: 80, height: undefined, bar: 'none' })).toBe(
    'no profiles are configured\n',
  )
})

test.each([
  ['plain', 'abcdef', 4, 'abc…', 4],
  ['wide letters take two cells', '漢字漢字', 5, '漢字…', 5],
  ['what combines takes none', 'e\u0301e\u0301e\u0301', 3, 'e\u0301e\u0301e\u0301', 3],
  ['what fits stays', 'abc', 3, 'abc', 3],
  ['nothing fits', 'abc', 0, '', 0],
])('cutting: %s', (_, text, width, shown, cells) => {
  expect(cut(text, width)).toBe(shown)
  expect(widthOf(cut(text, width))).toBe(cells)
})
