import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BadInput, type BadInputs, canary, holds, type Want, type World } from '../support/bad-input.ts'

// What is found below the state directory is what somebody may have put there, what a crash left, and what time did to it.

const nobody = 65_534
const kept = { code: 0, stdout: `${canary.access}\n`, asked: 0 } as const
const renewed = { code: 0, stdout: 'fine-token\n', asked: 1 } as const
const signIn = { code: 4, stderr: /run: tokctl login corp/, asked: 0 } as const

const record = (changes: Record<string, unknown>): BadInput => ({
  damagesKept: true,
  before: async world => world.keep(await world.makeRecord(changes)),
})
const text = (content: string): BadInput => ({ damagesKept: true, before: world => world.keep(content) })
const bytes = (change: (path: string, world: World) => void, more: BadInput = {}): BadInput => ({
  kept: 'fresh',
  damagesKept: true,
  before: world => change(world.record, world),
  ...more,
})

const records: BadInputs = [
  ['is empty', bytes(path => writeFileSync(path, '')), signIn],
  ['is torn', bytes(path => truncateSync(path, statSync(path).size - 1)), signIn],
  ['has a flipped bit', bytes(path => flip(path, 40)), signIn],
  ['has a flipped bit in its head', bytes(path => flip(path, 3)), signIn],
  ['is somebody’s JSON', text('{"other":"application"}'), signIn],
  ['is null', text('null'), signIn],
  [
    'was written by a later version',
    record({ v: 99 }),
    { code: 7, stderr: /was written by a newer tokctl\ntokctl: hint: upgrade tokctl/, asked: 0 },
  ],
  ...(['soon', -1, '2030-01-01T00:00:00', true, 1e300, null, []] as const).map(
    end => [`ends at ${JSON.stringify(end)}`, record({ expires_at: end }), renewed] as const,
  ),
  ['lives for centuries', record({ obtained_at: 1.7e12, expires_at: 9e12 }), renewed],
  [
    'begins tomorrow',
    record({ obtained_at: Date.now() + 86_400_000, expires_at: Date.now() + 90_000_000 }),
    renewed,
  ],
  ['holds an empty token', record({ access_token: '', expires_at: Date.now() + 3_600_000 }), renewed],
  [
    'holds a token of two lines',
    record({ access_token: 'a\nb', expires_at: Date.now() + 3_600_000 }),
    renewed,
  ],
  [
    'reaches for the prototype',
    {
      damagesKept: true,
      before: async world =>
        world.keep((await world.makeRecord()).replace('{', '{"__proto__":{"access_token":"evil"},')),
    },
    renewed,
  ],
  ['belongs to another configuration', record({ binding: 'other' }), signIn],
  [
    'was sealed with another key',
    bytes((_, { at }) =>
      writeFileSync(join(at.stateDir, 'store.key'), Buffer.alloc(32, 9).toString('base64')),
    ),
    { code: 7, stderr: /was sealed with another key/ },
  ],
  [
    'has lost its key',
    bytes((_, { at }) => rmSync(join(at.stateDir, 'store.key'))),
    { code: 7, stderr: /the key of .* is gone/ },
  ],
  [
    'is another profile’s, renamed',
    {
      config: twoProfiles(),
      damagesKept: true,
      before: async world => {
        await world.keep(await world.makeRecord({ expires_at: Date.now() + 3_600_000 }))
        renameSync(world.record, world.record.replace('-corp', '-other'))
      },
      args: ['get', 'other'],
    },
    { code: 4, stderr: /run: tokctl login other/ },
  ],
]

function twoProfiles(): string {
  const one =
    '[profile.corp]\nsource = "authorization_code"\nauthorization_endpoint = "IDP/authorize"\ntoken_endpoint = "IDP/token"\nclient_id = "cid"\n'
  return one + one.replace('corp', 'other')
}

function flip(path: string, at: number): void {
  const content = readFileSync(path)
  content[at]! ^= 1
  writeFileSync(path, content)
}

/** Puts something else in a file's place: each is a way to make us read or write what is not ours. */
const attacks: readonly (readonly [name: string, attack: (path: string, world: World) => void])[] = [
  [
    'a link to another file',
    (path, { at }) => {
      const target = at.write('victim', 'victim\n')
      rmSync(path, { force: true })
      symlinkSync(target, path)
    },
  ],
  [
    'a link to nothing',
    (path, { at }) => {
      rmSync(path, { force: true })
      symlinkSync(join(at.path, 'not-there'), path)
    },
  ],
  [
    'a pipe',
    path => {
      rmSync(path, { force: true })
      execFileSync('mkfifo', ['-m', '600', path])
    },
  ],
  [
    'a directory',
    path => {
      rmSync(path, { force: true })
      mkdirSync(path, { mode: 0o700 })
    },
  ],
]
const places: readonly (readonly [
  name: string,
  file: (world: World) => string,
  want: Want,
  kept: 'fresh' | 'expired',
])[] = [
  ['the kept record', ({ record }) => record, { code: 7, stderr: /is a link|is not a file/ }, 'fresh'],
  [
    'the key',
    ({ at }) => join(at.stateDir, 'store.key'),
    { code: 7, stderr: /is a link|is not a file/ },
    'fresh',
  ],
  [
    'the lock',
    ({ at }) => join(at.stateDir, 'locks', 'corp.lock'),
    { code: 7, stderr: /is a link|is a directory|is not a (regular )?file/ },
    'expired',
  ],
  ['the outcome', ({ at }) => join(at.stateDir, 'outcomes', 'corp.json'), renewed, 'expired'],
]

describe.each(attacks)('%s in the place of', (name, attack) => {
  test.each([...places])('%s', async (_, file, want, kept) => {
    const { world } = await holds(
      {
        kept,
        damagesKept: kept === 'fresh',
        before(world) {
          mkdirSync(dirname(file(world)), { recursive: true, mode: 0o700 })
          attack(file(world), world)
        },
      },
      want,
    )
    if (name.startsWith('a link to another')) {
      expect(readFileSync(join(world.at.path, 'victim'), 'utf8')).toBe('victim\n')
    }
    if (name === 'a link to nothing') expect(() => statSync(join(world.at.path, 'not-there'))).toThrow()
  })
})

const owners: BadInputs = [
  [
    'the kept record, which is another user’s',
    bytes(path => chownSync(path, nobody, nobody)),
    { code: 7, stderr: /belongs to another user/ },
  ],
  [
    'the key, which is another user’s',
    bytes((_, { at }) => chownSync(join(at.stateDir, 'store.key'), nobody, nobody)),
    { code: 7, stderr: /belongs to another user/ },
  ],
  [
    'the kept record, which everybody may read',
    bytes(path => chmodSync(path, 0o644)),
    { code: 7, stderr: /is open to other users\ntokctl: hint: run: chmod 600/ },
  ],
  [
    'the key, which a group may read',
    bytes((_, { at }) => chmodSync(join(at.stateDir, 'store.key'), 0o640)),
    { code: 7, stderr: /is open to other users/ },
  ],
  [
    'the state directory, which is another user’s',
    bytes((_, { at }) => chownSync(at.stateDir, nobody, nobody)),
    { code: 7, stderr: /state directory .* belongs to another user/, asked: 0 },
  ],
  [
    'the state directory, which is a link',
    bytes((_, { at }) => {
      renameSync(at.stateDir, `${at.stateDir}.elsewhere`)
      symlinkSync(`${at.stateDir}.elsewhere`, at.stateDir)
    }),
    { code: 7, stderr: /state directory .* is not a directory/ },
  ],
  [
    'the state directory, which is a file',
    { kept: 'nothing', before: ({ at }) => writeFileSync(at.stateDir, '') },
    { code: 7, stderr: /is not a directory/ },
  ],
  [
    'the directory of locks, which is another user’s',
    {
      before({ at }) {
        mkdirSync(join(at.stateDir, 'locks'), { mode: 0o700 })
        chownSync(join(at.stateDir, 'locks'), nobody, nobody)
      },
    },
    { code: 7, stderr: /state directory \S+locks belongs to another user/, asked: 0 },
  ],
  [
    'the lock, which is another user’s',
    {
      before(world) {
        lock('').before?.(world)
        chownSync(join(world.at.stateDir, 'locks', 'corp.lock'), nobody, nobody)
      },
    },
    { code: 7, stderr: /lock file \S+ belongs to another user\ntokctl: hint: run: rm /, asked: 0 },
  ],
  [
    'the state directory, which everybody may enter: it is closed',
    bytes((_, { at }) => chmodSync(at.stateDir, 0o777)),
    kept,
  ],
]

const names: BadInputs = [
  [
    'the kept record: its other name is not written to',
    { before: ({ record, at }) => linkSync(record, join(at.path, 'second')) },
    renewed,
  ],
  [
    'the lock: what it holds is not lost',
    {
      before({ at }) {
        mkdirSync(join(at.stateDir, 'locks'), { mode: 0o700 })
        linkSync(at.write('second', ''), join(at.stateDir, 'locks', 'corp.lock'))
      },
    },
    renewed,
  ],
]

const lock = (content: string | Uint8Array): BadInput => ({
  before({ at }) {
    mkdirSync(join(at.stateDir, 'locks'), { mode: 0o700 })
    writeFileSync(join(at.stateDir, 'locks', 'corp.lock'), content, { mode: 0o600 })
  },
})
const locks: BadInputs = [
  ['nothing', lock(''), renewed],
  ['a process that is dead', lock('{"pid":999999,"host":"here","start":1,"boot":"x"}'), renewed],
  ['a process on another machine', lock('{"pid":1234,"host":"elsewhere"}'), renewed],
  [
    'a process that lives and holds nothing',
    lock(JSON.stringify({ pid: process.pid, purpose: 'login', since: 0 })),
    renewed,
  ],
  ...['"1; rm -rf /"', '4294967297', '0', '-1', 'null', '1e400'].map(
    pid => [`the process ${pid}`, lock(`{"pid":${pid},"purpose":"refresh","since":0}`), renewed] as const,
  ),
  ['bytes that are no text', lock(Buffer.alloc(4096, 0xff)), renewed],
  [
    'a gigabyte of nothing',
    {
      before({ at }) {
        const path = join(at.stateDir, 'locks', 'corp.lock')
        mkdirSync(dirname(path), { mode: 0o700 })
        writeFileSync(path, '', { mode: 0o600 })
        truncateSync(path, 2 ** 30)
      },
    },
    renewed,
  ],
]

const outcome = (failure: Record<string, unknown>, more: Record<string, unknown> = {}): BadInput => ({
  async before(world) {
    const { binding } = JSON.parse(await world.makeRecord())
    const path = join(world.at.stateDir, 'outcomes', 'corp.json')
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, JSON.stringify({ etag: 'e', binding, finished_at: 1, failure, ...more }), {
      mode: 0o600,
    })
  },
})
const told = { code: 'rate_limited', message: 'too often', attempts: 1 }
const outcomes: BadInputs = [
  [
    'lasts until the year 9999, and began long ago',
    outcome({ ...told, at: 1.7e12, until: 253_402_300_799_000 }),
    renewed,
  ],
  [
    'lasts for an hour at most',
    outcome({ ...told, at: Date.now(), until: 253_402_300_799_000 }),
    { code: 5, stderr: /too often/, asked: 0 },
  ],
  [
    'begins in the future',
    outcome({ ...told, at: 253_402_300_000_000, until: 253_402_300_799_000 }),
    renewed,
  ],
  [
    'has a code that nobody knows',
    outcome({ ...told, code: 'toString', at: Date.now(), until: 'changed' }),
    renewed,
  ],
  [
    'paints the terminal',
    outcome({ ...told, message: '\u001b[2J\u202ecured', at: Date.now(), until: Date.now() + 3_000_000 }),
    { code: 5, stderr: /\[2J cured/ },
  ],
  [
    'is no JSON',
    {
      before: ({ at }) => {
        mkdirSync(join(at.stateDir, 'outcomes'), { mode: 0o700 })
        writeFileSync(join(at.stateDir, 'outcomes', 'corp.json'), '\u0000{', { mode: 0o600 })
      },
    },
    renewed,
  ],
]

/** A token that lies in a file, as the profile names it. */
const tokenFile = (make: (path: string, world: World) => void): BadInput => ({
  config: '[profile.corp]\nsource = "static"\ntoken = { file = "~/token" }\n',
  before(world) {
    const path = join(world.at.home, 'token')
    writeFileSync(path, 'file-token\n', { mode: 0o600 })
    make(path, world)
  },
})
const files: BadInputs = [
  ['as it should be', tokenFile(() => {}), { code: 0, stdout: 'file-token\n' }],
  [
    'that is a pipe',
    tokenFile(path => {
      rmSync(path)
      execFileSync('mkfifo', [path])
    }),
    { code: 3, stderr: /is not a regular file/ },
  ],
  [
    'that is a device',
    tokenFile(path => {
      rmSync(path)
      symlinkSync('/dev/zero', path)
    }),
    { code: 3, stderr: /is not a regular file/ },
  ],
  [
    'that everybody may read',
    tokenFile(path => {
      // Only root's may be: containers mount them so.
      chownSync(path, nobody, nobody)
      chmodSync(path, 0o644)
    }),
    { code: 3, stderr: /can be read by everybody/ },
  ],
  [
    'that is another user’s',
    tokenFile(path => chownSync(path, nobody, nobody)),
    { code: 3, stderr: /belongs to another user/ },
  ],
  [
    'that others may write',
    tokenFile(path => chmodSync(path, 0o620)),
    { code: 3, stderr: /can be written by others/ },
  ],
  ['that is not there', tokenFile(path => rmSync(path)), { code: 3, stderr: /does not exist/ }],
  [
    'that is larger than any token',
    tokenFile(path => writeFileSync(path, 'A'.repeat(1_100_000))),
    { code: 3, stderr: /larger than 1 MiB/ },
  ],
  ['that holds two lines', tokenFile(path => writeFileSync(path, 'a\nb\n')), { code: 3 }],
]

for (const [title, table] of Object.entries({
  'a kept record that': records,
  'is refused, or mended:': owners,
  'a second name of': names,
  'a lock file that holds': locks,
  'a remembered failure that': outcomes,
  'a token file': files,
}))
  describe(title, () => {
    test.each([...table])('%s', async (_, input, want) => {
      await holds(input, want)
    })
  })

test('an older record that was put back is tried once, and then a person is asked', async () => {
  const { world } = await holds(
    { answer: { status: 400, body: '{"error":"invalid_grant"}' } },
    { code: 4, asked: 1 },
  )
  expect(await world.run()).toMatchObject({ code: 4 })
  expect(world.requests).toHaveLength(1)
})

test('what a later version wrote is left as it is', async () => {
  const { world } = await holds(record({ v: 99 }), { code: 7 })
  const before = readFileSync(world.record)
  for (const args of [
    ['get', 'corp', '--force'],
    ['refresh', 'corp'],
  ])
    await world.run(args)
  expect(readFileSync(world.record)).toEqual(before)
})

test('a directory of locks that cannot be written keeps nobody from a token that is fresh', async () => {
  await holds(
    {
      kept: 'fresh',
      before({ at }) {
        // A file in its place refuses everybody, root too.
        writeFileSync(join(at.stateDir, 'locks'), '', { mode: 0o600 })
      },
    },
    kept,
  )
})

test('a key that is given as a file may be a link of root’s, and not anybody’s', async () => {
  const { world } = await holds({ kept: 'nothing', config: twoProfiles() }, { code: 4 })
  const key = world.at.write('mounted', Buffer.alloc(32, 7).toString('base64'))
  const link = join(world.at.path, 'link')
  symlinkSync(key, link)
  const env = { TOKCTL_STORE_KEY_FILE: link }
  copyFileSync(key, join(world.at.path, 'copy'))
  expect(await world.run(['get', 'corp'], { env })).toMatchObject({ code: 4 })
  chmodSync(key, 0o644)
  await world.keep(await world.makeRecord())
  expect(await world.run(['get', 'corp'], { env })).toMatchObject({ code: 7, stdout: '' })
})
