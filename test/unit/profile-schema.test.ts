import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { parse as parseToml } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { commonKeys, type KeySpec, type KeyType, sourceKeys } from '../../src/profile/keys.ts'
import { recipeText } from '../../src/profile/recipe-text.ts'
import { recipes } from '../../src/profile/recipes.ts'
import { configSchema } from '../../src/profile/schema.ts'
import { validate } from '../../src/profile/validate.ts'
import { fits } from '../support/json-schema.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const schema = configSchema()
const place = { directory: '/etc/tokctl', home: '/home/x', platform: 'linux' } as const

function problemsOf(config: Record<string, unknown>): string[] {
  return validate(config, place).problems.map(({ path, text }) => `${path.join('.')}: ${text}`)
}

const secrets = [
  { env: 'A' },
  { file: 'a' },
  { command: ['a', ''] },
  { secret: 'a' },
  { keychain: { service: 'a', account: 'b' } },
]
const wrong = [
  '',
  ' ',
  'a\nb',
  7,
  true,
  [],
  {},
  { env: 'A', file: 'b' },
  { env: '$A' },
  { vault: 'x' },
  [''],
  [7],
  'x'.repeat(3),
]

/** For each type what it takes, and beside `wrong` what it does not. */
const samples: Readonly<Record<KeyType, readonly [good: readonly unknown[], bad: readonly unknown[]]>> = {
  text: [['a', 'a b', 'ä'], []],
  texts: [['a', ['a', 'b'], []], [['']]],
  choice: [[], ['none of them']],
  duration: [
    ['5m', '500ms', '90s', '1h', '2d'],
    ['5', '5 m', '1.5h', '-1s', 'm'],
  ],
  instant: [
    ['2027-01-31T12:00:00Z', '2027-01-31 12:00:00.5+01:00'],
    ['2027-01-31', '2027-01-31T12:00:00'],
  ],
  issuer: [
    ['https://idp.example.com', 'http://localhost:8080/a'],
    ['idp.example.com', 'ftp://x', 'https://'],
  ],
  url: [
    ['https://idp.example.com/token?a=b', 'HTTPS://idp.example.com/'],
    ['https://x#f', 'https:///a'],
  ],
  patterns: [[['https://api.example.com', 'git.example.com'], []], ['https://a.example.com']],
  secret: [secrets, [{ keychain: { service: 'a' } }, { profile: 'a' }]],
  path: [['a', '/a', '~/a'], []],
  listen: [
    ['127.0.0.1:8080', '127.1.2.3:0', '[::1]:8080', 'unix:/run/api.sock', 'systemd'],
    ['localhost:8080', '0.0.0.0:80', '127.0.0.1', 'unix:api.sock', '8080'],
  ],
  size: [
    ['64KiB', '10MiB', '2GiB'],
    ['10', '1.5GiB', '10MB'],
  ],
  command: [
    [['a'], ['a', '', 'b']],
    [['a', 7], ['']],
  ],
  params: [
    [{}, { a: 'b', c: '' }],
    [{ a: 1 }, { '': 'a' }],
  ],
  headers: [[{}, { 'x-a': 'b', authorization: { env: 'A' } }], [{ a: 1 }]],
  basic: [
    [
      { username: 'a', password: { env: 'A' } },
      { username: { env: 'B' }, password: { env: 'A' } },
    ],
    [
      { username: 'a' },
      { username: 'a', password: 'b' },
      { username: 'a', password: { env: 'A' }, more: 'x' },
    ],
  ],
  form: [[{}, { a: 'b', password: { env: 'A' } }], [{ a: 1 }]],
  json: [[{ a: [1, true, { env: 'A' }] }, 'a', 1, []], []],
  dotted: [
    ['a', 'data.token', 'items.0.token'],
    ['a..b', '.a'],
  ],
  flag: [
    [true, false],
    ['true', 1],
  ],
  port: [
    [1, 8080, 65_535],
    [0, 65_536, 1.5, '80'],
  ],
  id: [
    [1, '12345'],
    [0, '0', '1a', -1],
  ],
  variable: [
    ['A', '_a1'],
    ['$A', '1A', 'A B'],
  ],
  base_url: [['https://api.example.com/v3/'], ['api']],
  token: [[...secrets, { profile: 'other' }], [{ profile: 7 }]],
  token_type: [
    ['jwt', 'access_token', 'urn:x:y'],
    ['jwtt', 'x y'],
  ],
  key_file: [['a.json', ...secrets], []],
  claims: [[{}, { a: 'b', c: 1, d: true }], [{ a: [] }]],
  permissions: [
    [{}, { contents: 'read', issues: 'write' }],
    [{ contents: 'own' }, { Contents: 'read' }],
  ],
  members: [[{ AccessKeyId: 'Credentials.AccessKeyId' }], [{}, { A: 7 }, { A: '' }]],
}

function sampleOf(spec: KeySpec, isGood: boolean): fc.Arbitrary<unknown> {
  const [good, bad] = samples[spec.type]
  return isGood ? fc.constantFrom(...(spec.values ?? good)) : fc.constantFrom<unknown>(...bad, ...wrong)
}

/** Profiles of one source: mostly right in most keys, so that there is something to tell apart. */
function profiles(source: keyof typeof sourceKeys): fc.Arbitrary<Record<string, unknown>> {
  const { source: _, ...keys } = { ...commonKeys, ...sourceKeys[source] } as Record<string, KeySpec>
  const share = fc.noBias(fc.nat(9999)).map(n => n / 10_000)
  const fields = Object.entries(keys).map(([key, spec]) => {
    const there = spec.required ? 0.97 : often.has(key) ? 0.6 : 0.1
    return fc.tuple(share, share).chain(([a, b]): fc.Arbitrary<readonly [string, unknown][]> => {
      if (a > there) return fc.constant([])
      return sampleOf(spec, b < 0.96).map(value => [[key, value]])
    })
  })
  return fc.tuple(...fields).map(found => ({ source, ...Object.fromEntries(found.flat()) }))
}

/** Keys without which most profiles would be refused. */
const often = new Set([
  'issuer',
  'token_endpoint',
  'client_id',
  'key_file',
  'iss',
  'token_path',
  'app_id',
  'private_key',
])

// What names alone do not tell, or a schema cannot count: each a kind of problem that the validator alone has.
const beyond = [
  /^profile\.it\.json[.:]/,
  /: (client_id|client_secret|private_key|client_certificate|client_key) is missing/,
  /exclude each other/,
  /has no such key; it belongs to/,
  /needs a private key|is signed with a shared secret/,
  /^profile\.\w+\.[\w.]+: unknown profile/,
  /a GET request has no body/,
  /belongs to the (protocol|assertion|transport)/,
  /a secret is not sent as a plain/,
  /is only for localhost|host|port|URL|user name|address|percent|slash|dots|backslash/,
  /says what actor_token is/,
  /no scope that could stand in the assertion/,
  /must be (longer|at most)/,
  /expected the name of a repository/,
  /must not hold a colon/,
  /set twice|not the name of/,
  /an issuer has no query/,
  /expected the path of a file, got what stands in one/,
  /named members are no token/,
  /expected an instant|expected a reference, got a string/,
  /must not be empty|must not hold control characters/,
]

describe('the schema and the validator', () => {
  test.each(Object.keys(sourceKeys) as (keyof typeof sourceKeys)[])(
    'agree on %s: what the validator takes fits, and what fits has no problem that a schema could tell',
    source => {
      const count = { taken: 0, refused: 0 }
      fc.assert(
        fc.property(profiles(source), profile => {
          const config = { profile: { it: profile, other: { source: 'static', token: { env: 'A' } } } }
          const problems = problemsOf(config)
          const isFit = fits(config, schema)
          count[problems.length === 0 ? 'taken' : 'refused']++
          if (problems.length === 0) expect(isFit, JSON.stringify(profile)).toBe(true)
          if (isFit) {
            const others = problems.filter(problem => !beyond.some(pattern => pattern.test(problem)))
            expect(others, JSON.stringify(profile)).toEqual([])
          }
        }),
        { numRuns: 500 },
      )
      expect(count.taken).toBeGreaterThan(5)
      expect(count.refused).toBeGreaterThan(5)
    },
  )

  const shapes: [name: string, config: Record<string, unknown>, isFine: boolean][] = [
    ['nothing', {}, true],
    ['timing and a store', { defaults: { refresh_before: '5m' }, store: { kind: 'file' } }, true],
    ['an unknown table', { profiles: {} }, false],
    ['an unknown key of [store]', { store: { kid: 'file' } }, false],
    ['an unknown store', { store: { kind: 'cloud' } }, false],
    ['an unknown source', { profile: { a: { source: 'oauth' } } }, false],
    ['no source', { profile: { a: {} } }, false],
    ['a misspelled key', { profile: { a: { source: 'static', token: { env: 'A' }, usrname: 'x' } } }, false],
    ['a literal secret', { profile: { a: { source: 'static', token: 'hush' } } }, false],
    ['a name that is none', { profile: { 'a b': { source: 'static', token: { env: 'A' } } } }, false],
    ['a name with a dot', { profile: { 'a.b': { source: 'static', token: { env: 'A' } } } }, true],
    ['no table', { profile: 7 }, false],
  ]
  test.each(shapes)('agree on %s', (_, config, isFine) => {
    expect({ fits: fits(config, schema), valid: problemsOf(config).length === 0 }).toEqual({
      fits: isFine,
      valid: isFine,
    })
  })

  test('every recipe of a provider fits', () => {
    for (const [name, recipe] of Object.entries(recipes)) {
      const given = new Map(recipe.asks.map(({ key, example }) => [key, example]))
      const config = parseToml(recipeText(recipe, 'it', given)) as Record<string, unknown>
      expect(fits(JSON.parse(JSON.stringify(config)), schema), name).toBe(true)
    }
  })

  test('every key is described, as the validator describes it', () => {
    const definitions = schema['definitions'] as Record<
      string,
      { properties: Record<string, { description: string }> }
    >
    for (const [source, keys] of Object.entries(sourceKeys)) {
      for (const [key, { about }] of Object.entries({ ...commonKeys, ...keys })) {
        expect(definitions[source]!.properties[key]!.description).toBe(about)
      }
    }
  })

  test('the file that is packed is the one that comes of the tables', () => {
    const file = readFileSync(join(root, 'schema', 'config.schema.json'), 'utf8')
    expect(file === `${JSON.stringify(schema, null, 2)}\n`, 'run npm run generate').toBe(true)
  })
})
