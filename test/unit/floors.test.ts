import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const src = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'src')

/** A group of files, and what it may import besides itself. */
interface Floor {
  readonly name: string
  readonly holds: RegExp
  readonly on: readonly string[]
  /** Single files of other floors: their interfaces. */
  readonly and?: readonly string[]
}

const interfaces = [
  'store/store.ts',
  'store/record.ts',
  'store/journal.ts',
  'store/seal-head.ts',
  'store/socket.ts',
  'source/source.ts',
  'source/wire.ts',
]
const floors: readonly Floor[] = [
  {
    name: 'words',
    holds:
      /^core\/(token|credential|secret|redaction|errors|time|environment|program|shell-word|tokens)\.ts$/,
    on: [],
  },
  {
    name: 'files',
    holds: /^core\/(state-dir|atomic-file|find-program|own-command|read-file|run-program|start-program)\.ts$/,
    on: ['words'],
  },
  { name: 'profile', holds: /^profile\//, on: ['words', 'files'] },
  { name: 'source', holds: /^source\//, on: ['words', 'files', 'profile'] },
  { name: 'store', holds: /^store\//, on: ['words', 'files', 'profile'] },
  {
    name: 'heart',
    holds:
      /^core\/(attempt|freshness|keep|lease|link-lock|lock|lock-addon|lock-calls|lock-embedded|look|manager|outcome|ports|recover|reject|renewal|runtime|sign-in|singleflight)\.ts$/,
    on: ['words', 'files', 'profile'],
    and: interfaces,
  },
  { name: 'protocol', holds: /^protocol\//, on: ['words'] },
  { name: 'completion', holds: /^completion\//, on: [] },
  { name: 'setup', holds: /^setup\//, on: ['words', 'files', 'profile'] },
  { name: 'app', holds: /^app\.ts$/, on: ['words', 'files', 'profile', 'source', 'store', 'heart'] },
  {
    name: 'library',
    holds: /^library\//,
    on: ['words', 'files', 'profile', 'source', 'store', 'heart', 'app'],
  },
  {
    name: 'services',
    holds: /^(proxy|watch|ci)\//,
    on: ['words', 'files'],
    and: ['profile/match.ts', 'profile/scheme.ts', 'profile/proxy-settings.ts'],
  },
  {
    name: 'top',
    holds: /^(cli\/|index\.ts$|main\.ts$|node\.ts$|bun\.ts$)/,
    on: [
      'words',
      'files',
      'profile',
      'source',
      'store',
      'heart',
      'protocol',
      'completion',
      'setup',
      'app',
      'library',
      'services',
    ],
  },
]

interface Import {
  readonly to: string
  /** Reached only when an `await import()` runs. */
  readonly isLazy: boolean
  /** Erased: costs nothing when the program runs. */
  readonly isType: boolean
}

interface Source {
  readonly imports: readonly Import[]
  /** Of `process`, `console` and `Date.now`, those that it uses. */
  readonly machine: readonly string[]
}

function parse(text: string): Source {
  const imports: Import[] = []
  const machine = new Set<string>()
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      imports.push({
        to: textOf(node.moduleSpecifier),
        isLazy: false,
        isType: node.importClause?.isTypeOnly ?? false,
      })
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      imports.push({ to: textOf(node.moduleSpecifier), isLazy: false, isType: node.isTypeOnly })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      imports.push({ to: textOf(node.arguments[0]!), isLazy: true, isType: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      imports.push({ to: textOf(node.argument.literal), isLazy: false, isType: true })
    } else if (ts.isIdentifier(node) && (node.text === 'process' || node.text === 'console')) {
      if (!isNameOnly(node)) machine.add(node.text)
    } else if (ts.isPropertyAccessExpression(node) && node.getText().replace(/\s/g, '') === 'Date.now') {
      machine.add('Date.now')
    } else if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length) {
      machine.add('Date.now')
    }
    node.forEachChild(visit)
  }
  visit(ts.createSourceFile('it.ts', text, ts.ScriptTarget.Latest, true))
  if (imports.some(({ to }) => /^(node:)?process$/.test(to))) machine.add('process')
  if (imports.some(({ to }) => /^(node:)?console$/.test(to))) machine.add('console')
  return { imports, machine: [...machine].sort() }
}

function textOf(node: ts.Node): string {
  return ts.isStringLiteralLike(node) ? node.text : ''
}

// `x.process` is no use of the global; `globalThis.process` is.
function isNameOnly(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent))
    return parent.name === node && parent.expression.getText() !== 'globalThis'
  return (ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent)) && parent.name === node
}

const sources = new Map<string, Source>(
  readdirSync(src, { recursive: true, encoding: 'utf8' })
    .map(path => path.split(sep).join('/'))
    .filter(path => path.endsWith('.ts') && !path.endsWith('.d.ts'))
    .map(path => [path, parse(readFileSync(join(src, path), 'utf8'))]),
)

function target(from: string, to: string): string | undefined {
  return to.startsWith('.') ? posix.join(posix.dirname(from), to) : undefined
}

function floorOf(path: string): Floor | undefined {
  return floors.find(floor => floor.holds.test(path))
}

/** Files that are loaded as soon as this one is. */
function loadedWith(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen
  seen.add(entry)
  for (const { to, isLazy, isType } of sources.get(entry)?.imports ?? []) {
    if (!isLazy && !isType) loadedWith(target(entry, to) ?? to, seen)
  }
  return seen
}

describe('the floors', () => {
  test('every file stands on exactly one', () => {
    for (const path of sources.keys()) {
      expect(
        floors.filter(floor => floor.holds.test(path)).map(floor => floor.name),
        path,
      ).toHaveLength(1)
    }
  })

  test('no file imports from a floor that its own does not stand on', () => {
    const wrong: string[] = []
    for (const [path, { imports }] of sources) {
      const floor = floorOf(path)
      for (const { to } of imports) {
        const file = target(path, to)
        if (file === undefined || floor === undefined) continue
        const below = floorOf(file)?.name ?? 'nowhere'
        const isAllowed = below === floor.name || floor.on.includes(below) || floor.and?.includes(file)
        if (!isAllowed) wrong.push(`${path} (${floor.name}) imports ${file} (${below})`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('imports name files with their extension, built-ins with node:, and no package but the pinned ones', () => {
    const known =
      /^(\.{1,2}\/[\w./-]+\.ts|node:[\w/]+|commander|kleur|smol-toml|undici\/lib\/[\w./-]+\.js|fs-native-extensions|@napi-rs\/keyring)$/
    // Of the one-file program, which no other one loads.
    const ofBun = ['bun:ffi', 'fs-native-extensions/prebuilds/win32-x64/fs-native-extensions.node']
    const wrong = [...sources].flatMap(([path, { imports }]) =>
      imports
        // Its index would load ten times what is used; its types are there alone.
        .filter(
          ({ to, isType }) =>
            to !== '' && !known.test(to) && !ofBun.includes(to) && !(isType && to === 'undici'),
        )
        .map(({ to }) => `${path} imports ${to}`),
    )
    expect(wrong).toEqual([])
  })
})

describe('the machine', () => {
  test('process and console stand in four files of cli/, main.ts and what starts it alone, Date.now in core/time.ts alone', () => {
    const places: Record<string, string[]> = {}
    for (const [path, { machine }] of sources) {
      for (const name of machine) places[name] = [...(places[name] ?? []), path]
    }
    for (const paths of Object.values(places)) paths.sort()
    expect(places).toEqual({
      process: [
        'bun.ts',
        'cli/io.ts',
        'cli/processes.ts',
        'cli/prompt.ts',
        'cli/signals.ts',
        'main.ts',
        'node.ts',
      ],
      'Date.now': ['core/time.ts'],
    })
  })

  test.each<[text: string, found: string[]]>([
    ['const a = process.env', ['process']],
    ["import { kill } from 'node:process'", ['process']],
    ['globalThis.process.exit(1)', ['process']],
    ['child.process.exit(1); const a = { process: 1 }', []],
    ['console.log(1)', ['console']],
    ['const a = Date.now(); const b = new Date(a)', ['Date.now']],
    ['const a = new Date()', ['Date.now']],
    ['// process and console\nconst a = "Date.now()"', []],
  ])('finds in %j: %j', (text, found) => {
    expect(parse(text).machine).toEqual(found)
  })
})

describe('what starting the program loads', () => {
  test('is nothing that a hit does not need', () => {
    const heavy = [
      /^undici/,
      /^commander$/,
      /^kleur$/,
      /^smol-toml$/,
      /^fs-native-extensions$/,
      /^@napi-rs\/keyring$/,
      /^node:(http|https|net|tls|dns|child_process|worker_threads|zlib|readline|crypto|stream|tty|os)(\/|$)/,
      /^source\/(?!source\.ts$)/,
      /^profile\/(validate|parse)\.ts$/,
      /^core\/link-lock\.ts$/,
    ]
    const loaded = [...loadedWith('node.ts')]
    expect(loaded).toContain('cli/get.ts')
    expect(loaded.filter(path => heavy.some(pattern => pattern.test(path)))).toEqual([])
  })

  test('knows what is loaded lazily, and what is only a type', () => {
    expect(parse("import type { A } from 'undici'\nconst b = await import('kleur')").imports).toEqual([
      { to: 'undici', isLazy: false, isType: true },
      { to: 'kleur', isLazy: true, isType: false },
    ])
  })
})
