// The Linux keychain: org.freedesktop.secrets on the session bus. Rules:
//  - Nothing here ever asks to unlock or runs a prompt: locked is an answer, not an invitation.
//  - A hit is three round trips: greeting and introduction in one write, session and search in the next, then the secret.
//  - The introduction is a call that needs no record of its caller. gnome-keyring (42 to 50 at least) makes that record beside
//    the first call, not before it, and aborts with all that it holds when OpenSession, a search or a property comes first.
//    Measured on two busy cores: 4 aborts in about 10,000 connections without the introduction, none in 21,000 with it.
//    https://gitlab.gnome.org/GNOME/gnome-keyring/-/issues/195
//  - The session is plain, because the bus is this user's own socket.
//  - A connection lives as long as somebody waits on it, so that nothing holds up the end of the process.
//
// https://specifications.freedesktop.org/secret-service/

import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { type Bus, type Caller, type MethodCall, openBus, parseAddresses } from './dbus.ts'
import { DBusError, type Value, type Variant } from './dbus-codec.ts'
import { denied, failed, KeychainAbsent, locked, tooSlow, unusable } from './keychain-errors.ts'
import { refuseEmpty } from './refuse-empty.ts'
import type { OpenSocket } from './socket.ts'
import type { Keychain, StoreKey } from './store.ts'

/** What the Secret Service store stands on. */
export interface SecretServiceOptions {
  readonly environment: Pick<Environment, 'env' | 'uid'>
  /** For each whole operation, connecting included; 2,000 where it is not given. */
  readonly timeoutMs?: number
  /** For `get`, where that is to be shorter. */
  readonly readTimeoutMs?: number
  /** @see OpenStoreOptions.busSocket */
  readonly busSocket?: (() => Promise<OpenSocket | undefined>) | undefined
}

type Ask = (call: Omit<MethodCall, 'destination'>, answer: string) => Promise<Value[]>
type Found = { session: string; unlocked: string[]; locked: string[] }

const destination = 'org.freedesktop.secrets'
const root = '/org/freedesktop/secrets'
const defaultCollection = `${root}/aliases/default`
const serviceOf = { profile: 'tokctl', secret: 'tokctl-secret', credential: 'tokctl-credential' } as const
const unlockRemedy = 'log in to the desktop, or run: gnome-keyring-daemon --unlock'

/** Keeps items in the default collection of the Secret Service. Opens nothing before it is used. */
export function secretService(options: SecretServiceOptions): Keychain {
  const { environment, timeoutMs = 2000, readTimeoutMs = timeoutMs } = options
  let shared: { readonly bus: Bus; users: number; isIntroduced: boolean } | undefined

  async function operate<T>(work: (ask: Ask) => Promise<T>, limitMs = timeoutMs): Promise<T> {
    const caller = callerFor(limitMs)
    let connection: typeof shared
    const timer = setTimeout(() => connection?.bus.leave(caller, tooSlow(limitMs)), limitMs)
    try {
      const openSocket = shared === undefined ? await socketOpener(options) : undefined
      shared ??= { bus: connect(environment, openSocket!, caller), users: 0, isIntroduced: false }
      connection = shared
      connection.users++
      const ask = asking(connection.bus, caller)
      if (!connection.isIntroduced) await defaultPath(ask)
      connection.isIntroduced = true
      return await work(ask)
    } catch (error) {
      // Whoever comes next tries a new connection; who shares this one has a deadline of his own.
      if (shared === connection && !isAnswer(error)) shared = undefined
      throw explain(error)
    } finally {
      clearTimeout(timer)
      if (connection !== undefined) release(connection)
    }
  }

  // Not at once: the answer comes first, and what is asked next, such as reading back what was written, needs no new greeting.
  function release(connection: NonNullable<typeof shared>): void {
    connection.users--
    setImmediate(() => {
      if (connection.users > 0) return
      connection.bus.close()
      if (shared === connection) shared = undefined
    })
  }

  function read(attributes: ReadonlyMap<string, string>, limitMs?: number): Promise<Buffer | undefined> {
    return operate(async ask => {
      // An item may be replaced between search and reading.
      for (let attempt = 0; attempt < 3; attempt++) {
        const found = await search(ask, attributes)
        if (found.unlocked.length === 0) return nothing(ask, found)
        const secret = await newest(ask, found)
        if (secret !== undefined) return secret
      }
      return undefined
    }, limitMs)
  }

  return {
    kind: 'keychain',
    shared: true,
    keepsRefreshTokens: true,

    async get(key) {
      const bytes = await read(lookupOf(key), readTimeoutMs)
      // What is not text is another program's: as good as missing, and the next write replaces it.
      const text = bytes === undefined ? undefined : textOf(bytes)
      return text === undefined || text === '' ? undefined : new Secret(text)
    },

    set: (key, value) =>
      operate(async ask => {
        const content = value.expose()
        refuseEmpty(content)
        const [found, state] = await Promise.all([search(ask, lookupOf(key)), collectionState(ask)])
        refuseUnless(state)
        const [item, prompt] = (await ask(
          {
            path: state.path,
            interface: 'org.freedesktop.Secret.Collection',
            member: 'CreateItem',
            signature: 'a{sv}(oayays)b',
            body: [
              propertiesOf(key),
              [found.session, Buffer.alloc(0), Buffer.from(content), 'text/plain; charset=utf8'],
              true,
            ],
          },
          'oo',
        )) as [string, string]
        refusePrompt(prompt)
        // Another program's item of that name would be read, or shown by secret-tool, instead of ours.
        await deleteAll(
          ask,
          found.unlocked.filter(path => path !== item),
        )
      }),

    delete: key =>
      operate(async ask => {
        const found = await search(ask, lookupOf(key))
        if (found.locked.length > 0) throw locked(unlockRemedy)
        if (found.unlocked.length === 0) await nothing(ask, found)
        await deleteAll(ask, found.unlocked)
        return found.unlocked.length > 0
      }),

    list: () =>
      operate(async ask => {
        const kinds = ['profile', 'secret', 'credential'] as const
        const found = await Promise.all(
          kinds.map(kind => search(ask, new Map([['service', serviceOf[kind]]]))),
        )
        if (found.some(({ locked }) => locked.length > 0)) throw locked(unlockRemedy)
        if (found.every(({ unlocked }) => unlocked.length === 0)) await nothing(ask, found[0]!)
        const keys = await Promise.all(
          kinds.flatMap((kind, i) => found[i]!.unlocked.map(path => keyOf(ask, kind, path))),
        )
        const unique = new Map(
          keys.flatMap(key => (key === undefined ? [] : [[`${key.kind} ${key.name}`, key]])),
        )
        return [...unique.values()]
      }),

    async readItem(service, account) {
      const bytes = await read(
        new Map([
          ['service', service],
          ['account', account],
        ]),
      )
      if (bytes === undefined || bytes.length === 0) return undefined
      const text = textOf(bytes)
      if (text === undefined) throw failed(`the keychain item of service "${printable(service)}" is not text`)
      return new Secret(text)
    },

    close() {
      shared?.bus.close()
      shared = undefined
    },
  }
}

/** Whose time begins with his first look at the clock, which is taken where a socket blocks alone: loading it costs Node much. */
function callerFor(limitMs: number): Caller {
  let until: number | undefined
  return {
    leftMs() {
      const now = performance.now()
      until ??= now + limitMs
      return until - now
    },
  }
}

async function socketOpener({ busSocket }: SecretServiceOptions): Promise<OpenSocket> {
  return (await busSocket?.()) ?? (await import('./net-socket.ts')).netSocket
}

function connect(
  { env, uid }: SecretServiceOptions['environment'],
  openSocket: OpenSocket,
  caller: Caller,
): Bus {
  const runtimeDir = env['XDG_RUNTIME_DIR'] || undefined
  const named = env['DBUS_SESSION_BUS_ADDRESS']
  if (!named && runtimeDir === undefined) {
    throw new KeychainAbsent(
      'neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names a session bus',
      'run this in a login session',
    )
  }
  return openBus(parseAddresses(named || 'unix:runtime=yes', runtimeDir), uid, openSocket, caller)
}

/** Every answer of one operation comes from one and the same service, in the shape that was expected. */
function asking(bus: Bus, caller: object): Ask {
  let owner: string | undefined
  return async (call, answer) => {
    const reply = await bus.call({ destination, ...call }, caller)
    owner ??= reply.sender
    if (reply.sender !== owner || reply.signature !== answer) {
      throw new DBusError('malformed', 'not the answer that was asked for')
    }
    return reply.body
  }
}

async function search(ask: Ask, attributes: ReadonlyMap<string, string>): Promise<Found> {
  const service = { path: root, interface: 'org.freedesktop.Secret.Service' }
  const plain = ['plain', { signature: 's', value: '' }]
  const [[, session], [unlocked, locked]] = await Promise.all([
    ask({ ...service, member: 'OpenSession', signature: 'sv', body: plain }, 'vo'),
    ask({ ...service, member: 'SearchItems', signature: 'a{ss}', body: [new Map(attributes)] }, 'aoao'),
  ])
  return { session: session as string, unlocked: unlocked as string[], locked: locked as string[] }
}

async function property(ask: Ask, path: string, owner: 'Item' | 'Collection', name: string): Promise<Value> {
  const [variant] = await ask(
    {
      path,
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      signature: 'ss',
      body: [`org.freedesktop.Secret.${owner}`, name],
    },
    'v',
  )
  return (variant as Variant).value
}

/** What found nothing: really nothing, a locked collection that may hold it, or no collection at all. */
async function nothing(ask: Ask, found: Found): Promise<undefined> {
  if (found.locked.length > 0) throw locked(unlockRemedy)
  refuseUnless(await collectionState(ask))
}

/** The default collection, `/` where there is none. Needs no record of the caller. */
async function defaultPath(ask: Ask): Promise<string> {
  const [path] = await ask(
    {
      path: root,
      interface: 'org.freedesktop.Secret.Service',
      member: 'ReadAlias',
      signature: 's',
      body: ['default'],
    },
    'o',
  )
  return path as string
}

interface CollectionState {
  readonly path: string
  readonly isLocked: boolean
}

async function collectionState(ask: Ask): Promise<CollectionState | undefined> {
  try {
    return {
      path: defaultCollection,
      isLocked: (await property(ask, defaultCollection, 'Collection', 'Locked')) === true,
    }
  } catch (error) {
    if (!isGone(error)) throw error
  }
  // Not every service answers under the alias.
  const path = await defaultPath(ask)
  if (path === '/') return undefined
  return { path, isLocked: (await property(ask, path, 'Collection', 'Locked')) === true }
}

function refuseUnless(state: CollectionState | undefined): asserts state is CollectionState {
  if (state === undefined) {
    throw unusable(
      'the keychain has no default collection yet',
      'log in to the desktop once, or make one in its password manager',
    )
  }
  if (state.isLocked) throw locked(unlockRemedy)
}

function refusePrompt(prompt: string): void {
  if (prompt !== '/') throw locked(unlockRemedy)
}

/** Reads the item that was modified last; `undefined` where one of them went away meanwhile. */
async function newest(ask: Ask, { unlocked, session }: Found): Promise<Buffer | undefined> {
  const item = {
    interface: 'org.freedesktop.Secret.Item',
    member: 'GetSecret',
    signature: 'o',
    body: [session],
  }
  const secretOf = async (path: string): Promise<Buffer> => {
    const [secret] = await ask({ path, ...item }, '(oayays)')
    return (secret as Value[])[2] as Buffer
  }
  try {
    if (unlocked.length === 1) return await secretOf(unlocked[0]!)
    const items = await Promise.all(
      unlocked.map(async path => {
        const [value, modified] = await Promise.all([secretOf(path), property(ask, path, 'Item', 'Modified')])
        return { value, modified: modified as bigint }
      }),
    )
    return items.reduce((best, item) => (item.modified > best.modified ? item : best)).value
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

async function deleteAll(ask: Ask, paths: readonly string[]): Promise<void> {
  await Promise.all(
    paths.map(async path => {
      try {
        const [prompt] = await ask({ path, interface: 'org.freedesktop.Secret.Item', member: 'Delete' }, 'o')
        refusePrompt(prompt as string)
      } catch (error) {
        if (!isGone(error)) throw error
      }
    }),
  )
}

async function keyOf(ask: Ask, kind: StoreKey['kind'], path: string): Promise<StoreKey | undefined> {
  try {
    const attributes = await property(ask, path, 'Item', 'Attributes')
    const name = attributes instanceof Map ? attributes.get('account') : undefined
    return typeof name === 'string' && name !== '' ? { kind, name } : undefined
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

function lookupOf({ kind, name }: StoreKey): Map<string, string> {
  return new Map([
    ['service', serviceOf[kind]],
    ['account', name],
  ])
}

function propertiesOf(key: StoreKey): Map<Value, Value> {
  // `account` is what keytar looks for, `username` what @napi-rs/keyring does.
  const attributes = lookupOf(key)
    .set('username', key.name)
    .set('xdg:schema', 'org.freedesktop.Secret.Generic')
  const label = key.kind === 'profile' ? `tokctl: ${key.name}` : `tokctl ${key.kind}: ${key.name}`
  return new Map<Value, Value>([
    ['org.freedesktop.Secret.Item.Label', { signature: 's', value: label }],
    ['org.freedesktop.Secret.Item.Attributes', { signature: 'a{ss}', value: attributes }],
  ])
}

function textOf(bytes: Buffer): string | undefined {
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) ? text : undefined
}

function isAnswer(error: unknown): boolean {
  return error instanceof DBusError
    ? error.kind === 'answered'
    : error instanceof TokctlError && error.code !== 'store_timeout'
}

const gone = new Set([
  'org.freedesktop.Secret.Error.NoSuchObject',
  'org.freedesktop.DBus.Error.UnknownObject',
  'org.freedesktop.DBus.Error.UnknownMethod',
  'org.freedesktop.DBus.Error.UnknownInterface',
])

function isGone(error: unknown): boolean {
  return error instanceof DBusError && gone.has(error.errorName ?? '')
}

function explain(error: unknown): unknown {
  if (!(error instanceof DBusError)) return error
  const { message } = error
  switch (error.kind) {
    case 'unreachable':
      return new KeychainAbsent(
        `nobody listens on the session bus, ${printable(message)}`,
        'run this in a login session',
      )
    case 'unsafe':
      return denied(`the session bus cannot be trusted, ${printable(message)}`)
    case 'refused':
      return denied(printable(message))
    case 'exhausted':
      return unusable(message, 'close what is open, or raise its limit (ulimit -n)')
    case 'closed':
      return unusable(printable(message), 'try again')
    case 'malformed':
      return failed(`the keychain gave an answer that makes no sense: ${message}`)
    case 'answered':
      return explainAnswer(error.errorName ?? '')
  }
}

function explainAnswer(name: string): TokctlError {
  const shown = printable(name)
  switch (name.replace(/^org\.freedesktop\.(DBus|Secret)\.Error\./, '')) {
    case 'ServiceUnknown':
    case 'NameHasNoOwner':
    case 'Spawn.ServiceNotFound':
      return new KeychainAbsent(
        'nothing on the session bus offers org.freedesktop.secrets',
        'start a keyring such as gnome-keyring or KeePassXC',
      )
    case 'IsLocked':
      return locked(unlockRemedy)
    case 'AccessDenied':
    case 'AuthFailed':
    case 'InteractiveAuthorizationRequired':
      return denied(shown)
    case 'NoReply':
    case 'Disconnected':
      return unusable('the keychain service ended while it was asked', 'start it again')
    default:
      if (name.includes('.Spawn.'))
        return unusable(`the keychain service does not start (${shown})`, 'start it')
      return failed(`the keychain answered with an error (${shown})`)
  }
}
