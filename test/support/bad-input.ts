import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import { loadProfile } from '../../src/profile/load.ts'
import { fileStore } from '../../src/store/file.ts'
import { decodeRecord } from '../../src/store/record.ts'
import { rawAnswer, startRawServer } from './raw-server.ts'
import { program, type RunResult, type Scratch, type Started, scratch, start } from './run.ts'

// One world for every bad input: a server, a profile with a kept session, and a sink. Whatever is tried, the same seven
// things are looked at afterwards; the case itself says what the answer has to be.

/** What must never be seen outside of the one place it is meant for. */
export const canary = {
  access: 'canary-access-4b1d',
  refresh: 'canary-refresh-77e2',
  client: 'canary-client-c03a',
} as const

/** An answer of the server. `IDP` in it stands for the server's own address. */
export interface Said {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

/** One bad input. */
export interface BadInput {
  /** In place of the usual configuration; `IDP` stands for the server's address. `false` writes none. */
  readonly config?: string | Uint8Array | false
  /** Lines that are added to the profile. */
  readonly lines?: string
  /** What the token endpoint says; a fine token without it. `silent` never answers. */
  readonly answer?: Said | 'silent' | ((world: World) => Said | Promise<Said>)
  /** What discovery says: a profile with `issuer` is used. */
  readonly discovery?: string
  /** What is kept: a session whose token has expired, one whose token is fresh, nothing, or this very text. */
  readonly kept?: 'expired' | 'fresh' | 'nothing' | { readonly text: string }
  /** Changes the machine, once all else is in place. */
  readonly before?: (world: World) => void | Promise<void>
  readonly args?: readonly string[]
  readonly input?: string | Uint8Array
  /** Signs in: visits where the browser was to go, or comes back without having been there. */
  readonly person?: (address: URL, world: World) => Promise<void>
  /** Leaves stdin open: the program must end by itself. */
  readonly keepInput?: boolean
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  readonly program?: readonly string[]
  /** The kept session is what the case is about: it need not be there afterwards. */
  readonly damagesKept?: boolean
}

/** Where it happens. */
export interface World {
  readonly at: Scratch
  /** The server's address. */
  readonly idp: string
  /** Requests to the token endpoint, and to any other but discovery. */
  readonly requests: readonly string[]
  readonly sink: { readonly connections: number; readonly port: number }
  /** The path of the kept record. */
  readonly record: string
  /** A record of the profile, of its present configuration. */
  makeRecord(changes?: Record<string, unknown>): Promise<string>
  keep(text: string): Promise<void>
  /** The refresh token that is kept now. */
  session(): Promise<string | undefined>
  start(args?: readonly string[], more?: Partial<BadInput>): Started
  run(args?: readonly string[], more?: Partial<BadInput>): Promise<RunResult>
}

/** What came of it. */
export interface Met extends RunResult {
  readonly world: World
}

const hour = 3_600_000
const plainConfig = `[profile.corp]
source = "authorization_code"
ENDPOINTS
client_id = "cid"
client_secret = { env = "CORP_CLIENT_SECRET" }
match = ["https://git.corp.test", "https://reg.corp.test"]
`
const named = 'authorization_endpoint = "IDP/authorize"\ntoken_endpoint = "IDP/token"'

/** Tries a bad input through the real program, and looks at the seven things. */
export async function meet(input: BadInput): Promise<Met> {
  const world = await makeWorld(input)
  await input.before?.(world)
  const before = await world.session().catch(() => undefined)
  const open = looseFiles(world)
  const started = world.start()
  if (input.person !== undefined) {
    const [address] = await started.waitForStderr(/\S+\/authorize\?\S+/)
    await input.person(new URL(address), world)
  }
  const result = await started.done
  await look(input, world, { session: before, open }, result)
  return { ...result, world }
}

async function makeWorld(input: BadInput): Promise<World> {
  const at = scratch()
  mkdirSync(join(at.path, 'tmp'), { mode: 0o700 })
  const requests: string[] = []
  const server = await startRawServer(({ text, socket }) => {
    const path = /^\S+ (\S+)/.exec(text)?.[1] ?? ''
    if (path.startsWith('/.well-known/')) {
      const document = input.discovery?.replaceAll('IDP', idp) ?? ''
      socket.end(rawAnswer(200, { 'Content-Type': 'application/json' }, document))
      return
    }
    requests.push(text)
    if (input.answer !== 'silent') void reply(socket)
  })
  async function reply(socket: Socket): Promise<void> {
    const said = typeof input.answer === 'function' ? await input.answer(world) : input.answer
    const { status = 200, headers = {}, body = fine } = (said === 'silent' ? undefined : said) ?? {}
    const all = Object.fromEntries(
      Object.entries({ 'Content-Type': 'application/json', ...headers }).map(([name, value]) => [
        name,
        value.replaceAll('IDP', idp),
      ]),
    )
    socket.end(rawAnswer(status, all, typeof body === 'string' ? body.replaceAll('IDP', idp) : body))
  }
  onTestFinished(() => server.close())
  const idp = `http://127.0.0.1:${server.port}`
  const sink = await startSink()
  if (input.config !== false) {
    const endpoints = input.discovery === undefined ? named : 'issuer = "IDP"'
    const config = input.config ?? `${plainConfig.replace('ENDPOINTS', endpoints)}${input.lines ?? ''}\n`
    at.write(
      'home/.config/tokctl/config.toml',
      typeof config === 'string' ? config.replaceAll('IDP', idp) : config,
    )
  }

  const environment: Environment = {
    env: { HOME: at.home, TOKCTL_STATE_DIR: at.stateDir },
    platform: process.platform,
    arch: process.arch,
    pid: process.pid,
    uid: process.getuid?.(),
    cwd: at.home,
    home: at.home,
    self: [],
  }
  const state = stateDir(environment)
  const store = fileStore({ environment, stateDir: state, keepsRefreshTokens: true, trace() {} })
  const key = { kind: 'profile', name: 'corp' } as const

  const world: World = {
    at,
    idp,
    requests,
    sink,
    record: join(at.stateDir, 'records', 'profile-corp.sealed'),
    async makeRecord(changes = {}) {
      const { profile } = await loadProfile(environment, state, 'corp')
      const now = Date.now()
      return JSON.stringify({
        v: 1,
        etag: 'before',
        binding: profile.binding,
        access_token: canary.access,
        token_type: 'Bearer',
        obtained_at: now - 2 * hour,
        expires_at: now - hour,
        refresh_token: canary.refresh,
        rejected: [],
        ...changes,
      })
    },
    keep: text => store.set(key, new Secret(text)),
    async session() {
      const text = existsSync(world.record) ? await store.get(key) : undefined
      const record = text === undefined ? undefined : decodeRecord(text)
      return typeof record === 'object' ? record.refreshToken?.expose() : undefined
    },
    run: (args, more) => world.start(args, more).done,
    start(args = input.args ?? ['get', 'corp', '--timeout', '12s'], more = {}) {
      const { env, program: command, cwd, keepInput, input: stdin } = { ...input, ...more }
      return start(args, {
        at,
        cwd: cwd ?? at.home,
        ...(stdin === undefined ? {} : { input: stdin }),
        ...(keepInput === undefined ? {} : { keepInput }),
        program: [
          '/usr/bin/time',
          '-q',
          '-o',
          join(at.path, 'tmp', 'memory'),
          '-f',
          '%M',
          ...(command ?? program),
        ],
        timeoutMs: 30_000,
        env: {
          CORP_CLIENT_SECRET: canary.client,
          TMPDIR: join(at.path, 'tmp'),
          // Whatever leaves this machine goes to the sink.
          HTTPS_PROXY: `http://127.0.0.1:${sink.port}`,
          HTTP_PROXY: `http://127.0.0.1:${sink.port}`,
          NO_PROXY: '127.0.0.1,localhost',
          ...env,
        },
      })
    },
  }
  const kept = input.kept ?? (input.config === undefined ? 'expired' : 'nothing')
  if (kept === 'expired') await world.keep(await world.makeRecord())
  else if (kept === 'fresh') {
    const now = Date.now()
    await world.keep(await world.makeRecord({ obtained_at: now - 1000, expires_at: now + hour }))
  } else if (typeof kept === 'object') await world.keep(kept.text)
  return world
}

/** A token that is fine. */
export const fine = JSON.stringify({ access_token: 'fine-token', token_type: 'Bearer', expires_in: 3600 })

async function startSink(): Promise<{ readonly connections: number; readonly port: number }> {
  let connections = 0
  const server = createServer(socket => {
    connections++
    socket.destroy()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  return {
    get connections() {
      return connections
    },
    port,
  }
}

const exitCodes = [0, 1, 2, 3, 4, 5, 6, 7, 130, 143]
const maxKilobytes = 256 * 1024

async function look(
  { answer, damagesKept }: BadInput,
  world: World,
  before: { readonly session: string | undefined; readonly open: ReadonlySet<string> },
  { code, stdout, stderr }: RunResult,
): Promise<void> {
  const wrong: string[] = []
  const secrets = [canary.refresh, canary.client, ...(code === 0 ? [] : [canary.access])]
  for (const secret of secrets) if (stdout.includes(secret)) wrong.push(`1: ${secret} is on stdout`)
  for (const secret of Object.values(canary))
    if (stderr.includes(secret)) wrong.push(`1: ${secret} is on stderr`)
  for (const path of filesBelow(world.at.path)) {
    const bytes = isSmallFile(path) ? readFileSync(path, 'latin1') : ''
    for (const secret of Object.values(canary))
      if (bytes.includes(secret)) wrong.push(`1: ${secret} is in ${path}`)
  }
  const memory = Number(
    readFileSync(join(world.at.path, 'tmp', 'memory'), 'utf8')
      .trim()
      .split('\n')
      .at(-1),
  )
  if (!(memory < maxKilobytes)) wrong.push(`2: it took ${memory} KiB of memory`)
  if (code === null || !exitCodes.includes(code)) wrong.push(`3: it ended with ${code}`)
  if (/^ +at |which is a bug/m.test(stderr)) wrong.push(`3: it was not foreseen: ${stderr}`)
  if (world.sink.connections > 0) wrong.push('4: something was sent to the sink')
  if (before.session !== undefined && damagesKept !== true) {
    const after = await world.session()
    const said = typeof answer === 'object' && typeof answer.body === 'string' ? answer.body : ''
    if (after === undefined || (after !== before.session && !said.includes(after)))
      wrong.push(`5: the session was lost`)
  }
  if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(stderr))
    wrong.push(`6: stderr holds control characters: ${JSON.stringify(stderr)}`)
  for (const path of looseFiles(world)) if (!before.open.has(path)) wrong.push(`7: ${path} is open to others`)
  for (const path of filesBelow(world.at.stateDir))
    if (path.endsWith('.tmp')) wrong.push(`7: ${path} was left behind`)
  const left = readdirSync(join(world.at.path, 'tmp')).filter(name => name !== 'memory')
  if (left.length > 0) wrong.push(`7: ${left.join(', ')} was left behind in the temporary directory`)
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
}

/** What others may get at below the state directory. */
function looseFiles({ at }: World): Set<string> {
  return new Set(
    filesBelow(at.stateDir).filter(path => {
      const found = lstatSync(path)
      const allowed = found.isDirectory() ? 0o700 : 0o600
      return !found.isSymbolicLink() && (found.mode & 0o777 & ~allowed) !== 0
    }),
  )
}

function isSmallFile(path: string): boolean {
  const found = lstatSync(path)
  return found.isFile() && found.size < 10_000_000
}

function filesBelow(path: string): string[] {
  if (!existsSync(path) || !lstatSync(path).isDirectory()) return []
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).map(name => join(path, name))
}

/** What a case has to end in. What is left out is the usual: nothing on stdout. */
export interface Want {
  readonly code: number
  readonly stdout?: string | RegExp
  readonly stderr?: RegExp
  /** Requests to the server, discovery aside. */
  readonly asked?: number
}

/** A table of bad inputs: a name, the input, and what it has to end in. */
export type BadInputs = readonly (readonly [name: string, input: BadInput, want: Want])[]

/** Tries a case of a table. */
export async function holds(input: BadInput, { code, stdout = '', stderr, asked }: Want): Promise<Met> {
  const met = await meet(input)
  expect({ code: met.code, stderr: met.stderr }).toMatchObject({ code })
  if (typeof stdout === 'string') expect(met.stdout).toBe(stdout)
  else expect(met.stdout).toMatch(stdout)
  if (stderr !== undefined) expect(met.stderr).toMatch(stderr)
  if (asked !== undefined) expect(met.world.requests).toHaveLength(asked)
  return met
}

/** The browser comes back with these parameters beside the state that was sent. */
export function comesBack(parameters: Readonly<Record<string, string>>): NonNullable<BadInput['person']> {
  return async address => {
    const back = new URL(address.searchParams.get('redirect_uri') ?? '')
    const state = address.searchParams.get('state') ?? ''
    for (const [name, value] of Object.entries({ state, ...parameters })) back.searchParams.set(name, value)
    await fetch(back)
  }
}
