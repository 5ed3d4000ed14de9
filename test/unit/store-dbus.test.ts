import { chownSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Bus, type BusAddress, type MethodCall, openBus, parseAddresses } from '../../src/store/dbus.ts'
import { encodeMessage, Frames, type Message } from '../../src/store/dbus-codec.ts'
import type { OpenSocket } from '../../src/store/socket.ts'
import { busSockets } from '../support/bus-sockets.ts'

const netSocket = busSockets[0]![1]

const uid = process.getuid?.()
const guid = '0123456789abcdef0123456789abcdef'
const greeting = '\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n'
const ping: MethodCall = { destination: 'org.example', path: '/', interface: 'org.example.A', member: 'Ping' }

const addresses: [text: string, want: BusAddress[]][] = [
  ['unix:path=/run/user/1000/bus', [{ path: '/run/user/1000/bus', guid: undefined }]],
  [`unix:path=/tmp/a,guid=${guid}`, [{ path: '/tmp/a', guid }]],
  [`unix:guid=${guid},path=/tmp/a`, [{ path: '/tmp/a', guid }]],
  [`unix:abstract=/tmp/dbus-x,guid=${guid}`, [{ path: '\0/tmp/dbus-x', guid }]],
  [
    'unix:path=/tmp/a;unix:path=/tmp/b',
    [
      { path: '/tmp/a', guid: undefined },
      { path: '/tmp/b', guid: undefined },
    ],
  ],
  ['unix:path=/tmp/with%20blank%2c%3b', [{ path: '/tmp/with blank,;', guid: undefined }]],
  ['unix:runtime=yes', [{ path: '/run/me/bus', guid: undefined }]],
  ['unix:path=/tmp/%zz;unix:path=/tmp/b', [{ path: '/tmp/b', guid: undefined }]],
  ['tcp:host=localhost,port=1', []],
  ['autolaunch:;unixexec:path=/bin/sh', []],
  ['unix:', []],
  ['', []],
  ['nonsense', []],
]
test.each(addresses)('reads the address %j', (text, want) => {
  expect(parseAddresses(text, '/run/me')).toEqual(want)
})

/** A server that says what it is told to; `turns` holds what came between two of its own answers. */
interface FakeBus {
  readonly address: BusAddress
  /** Resolves with the messages of the next write that holds any. */
  next(): Promise<Message[]>
  say(bytes: Uint8Array | string): void
  hangUp(): void
}

async function fakeBus(path = join(home(), 'bus')): Promise<FakeBus> {
  let socket: Socket | undefined
  let begun = false
  const frames = new Frames()
  const arrived: Message[][] = []
  let wake = (): void => {}
  const server: Server = createServer(connection => {
    socket = connection
    connection.on('error', () => {})
    connection.on('data', data => {
      let rest: Buffer = data
      if (!begun) {
        expect(data.toString('latin1').startsWith(greeting)).toBe(true)
        rest = data.subarray(greeting.length)
        begun = true
      }
      arrived.push(frames.push(rest))
      wake()
    })
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  onTestFinished(() => {
    socket?.destroy()
    server.close()
  })
  return {
    address: { path, guid: undefined },
    async next() {
      while (arrived.length === 0) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
      return arrived.shift()!
    },
    say: bytes => void socket!.write(bytes),
    hangUp: () => void socket!.destroy(),
  }
}

function home(): string {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-fakebus-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function reply(to: number, body: string, type = 2): Buffer {
  const errorName = type === 3 ? 'org.example.Error.No' : undefined
  return encodeMessage({
    type,
    serial: 99,
    replySerial: to,
    sender: ':1.9',
    ...(errorName && { errorName }),
    signature: 's',
    body: [body],
  })
}

function opened(...addresses: BusAddress[]): Bus {
  const bus = openBus(addresses, uid, netSocket)
  onTestFinished(() => bus.close())
  return bus
}

test('greets and asks in one write, and tells answers apart by their serial', async () => {
  const server = await fakeBus()
  const bus = opened(server.address)
  const first = bus.call(ping, {})
  const second = bus.call({ ...ping, member: 'Pong' }, {})
  const sent = await server.next()
  expect(sent.map(({ member }) => member)).toEqual(['Hello', 'Ping', 'Pong'])
  server.say(`DATA\r\nOK ${guid}\r\n`)
  server.say(
    Buffer.concat([
      reply(sent[0]!.serial, ':1.2'),
      reply(sent[2]!.serial, 'two'),
      reply(sent[1]!.serial, 'one'),
    ]),
  )
  expect((await first).body).toEqual(['one'])
  expect((await second).body).toEqual(['two'])
})

test('a greeting that comes byte by byte, its last byte with the first answer, is understood', async () => {
  const server = await fakeBus()
  const call = opened(server.address).call(ping, {})
  const sent = await server.next()
  for (const byte of `DATA\r\nOK ${guid}\r`) server.say(byte)
  server.say(Buffer.concat([Buffer.from('\n'), reply(sent[1]!.serial, 'here')]))
  expect((await call).body).toEqual(['here'])
})

test('an error reply carries its name', async () => {
  const server = await fakeBus()
  const call = opened(server.address).call(ping, {})
  const sent = await server.next()
  server.say(`OK ${guid}\r\n`)
  server.say(reply(sent[1]!.serial, 'a text that is not shown', 3))
  await expect(call).rejects.toMatchObject({
    kind: 'answered',
    errorName: 'org.example.Error.No',
    message: 'an error reply',
  })
})

test('an answer that nobody waits for changes nothing', async () => {
  const server = await fakeBus()
  const call = opened(server.address).call(ping, {})
  const sent = await server.next()
  server.say(`OK ${guid}\r\n`)
  server.say(Buffer.concat([reply(4711, 'foreign'), reply(0, 'none'), reply(sent[1]!.serial, 'mine')]))
  expect((await call).body).toEqual(['mine'])
})

test('a caller that leaves is gone at once, and the connection serves the others', async () => {
  const server = await fakeBus()
  const bus = opened(server.address)
  const leaver = {}
  const left = bus.call(ping, leaver)
  const stays = bus.call(ping, {})
  const sent = await server.next()
  const reason = new Error('left')
  bus.leave(leaver, reason)
  await expect(left).rejects.toBe(reason)
  server.say(`OK ${guid}\r\n`)
  server.say(Buffer.concat([reply(sent[1]!.serial, 'late'), reply(sent[2]!.serial, 'on time')]))
  expect((await stays).body).toEqual(['on time'])
})

describe('whoever waits is told', () => {
  const failures: [name: string, act: (server: FakeBus) => void, want: object][] = [
    [
      'that he is not let in',
      s => s.say('REJECTED EXTERNAL\r\n'),
      { kind: 'refused', message: 'the bus does not let this user in' },
    ],
    ['that he is not let in, after DATA', s => s.say('DATA\r\nREJECTED\r\n'), { kind: 'refused' }],
    ['that the other side is no bus', s => s.say('x'.repeat(2000)), { kind: 'refused' }],
    ['that the bus hung up', s => s.hangUp(), { kind: 'closed', message: 'the bus closed the connection' }],
    ['of nonsense', s => s.say(`OK ${guid}\r\n${'\xff'.repeat(40)}`), { kind: 'malformed' }],
    [
      'of a message too large',
      s =>
        s.say(
          Buffer.concat([
            Buffer.from(`OK ${guid}\r\n`),
            Buffer.from('6c020001ffffff7f0000000000000000', 'hex'),
          ]),
        ),
      { kind: 'malformed', message: 'malformed message: message too large' },
    ],
  ]
  test.each(failures)('%s', async (_, act, want) => {
    const server = await fakeBus()
    const bus = opened(server.address)
    const calls = [bus.call(ping, {}), bus.call(ping, {})]
    const told = Promise.allSettled(calls)
    await server.next()
    act(server)
    for (const result of await told) {
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'Error', ...want } })
    }
    await expect(bus.call(ping, {})).rejects.toMatchObject(want)
  })

  test('that there is no bus', async () => {
    const path = join(home(), 'nobody')
    await expect(opened({ path, guid: undefined }).call(ping, {})).rejects.toMatchObject({
      kind: 'unreachable',
      message: `${path} (ENOENT)`,
    })
    await expect(opened().call(ping, {})).rejects.toMatchObject({
      kind: 'unreachable',
      message: 'no address of a unix socket',
    })
  })

  test('that the connection was closed', async () => {
    const server = await fakeBus()
    const bus = opened(server.address)
    const call = bus.call(ping, {})
    await server.next()
    bus.close()
    await expect(call).rejects.toMatchObject({ kind: 'closed', message: 'the connection was closed' })
  })
})

describe('an address that gives no connection', () => {
  const a = join('/', 'run', 'a', 'bus')
  const cases: [code: string, kind: string, message: string][] = [
    ...['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ECONNREFUSED', 'EPROTOTYPE', 'ENOTSOCK'].map(
      (code): [string, string, string] => [code, 'unreachable', `${a} (${code})`],
    ),
    ['EAGAIN', 'closed', 'the bus takes no more connections'],
    ['EACCES', 'refused', `the session bus may not be used, ${a} (EACCES)`],
    ['EPERM', 'refused', `the session bus may not be used, ${a} (EPERM)`],
    ...['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'].map((code): [string, string, string] => [
      code,
      'exhausted',
      `nothing is left for a connection to the session bus (${code})`,
    ]),
    ['ELOOP', 'closed', `the session bus cannot be reached, ${a} (ELOOP)`],
    ['EIO', 'closed', `the session bus cannot be reached, ${a} (EIO)`],
  ]
  /** Fails with that code, at once or as an event. */
  const failing = (code: string, isEvent: boolean): OpenSocket => {
    return (_, { failed }) => {
      const error = Object.assign(new Error(code), { code })
      if (!isEvent) throw error
      queueMicrotask(() => failed(error))
      return { write() {}, close() {} }
    }
  }
  // No such address is looked at: nobody owns an abstract name.
  const at = (path: string): BusAddress => ({ path: `\0${path}`, guid })

  test.each(cases)('%s: %s, at once and as an event', async (code, kind, message) => {
    for (const isEvent of [false, true]) {
      const bus = openBus([at(a)], uid, failing(code, isEvent))
      const told = bus.call(ping, {})
      await expect(told).rejects.toMatchObject({ kind, message: message.replace(a, `\0${a}`) })
    }
  })

  test('there is no bus only where that is so of every address', async () => {
    for (const order of [
      ['EAGAIN', 'ENOENT'],
      ['ENOENT', 'EAGAIN'],
      ['ENOENT', 'EAGAIN', 'EACCES', 'ECONNREFUSED'],
    ]) {
      const left = [...order]
      const openSocket: OpenSocket = (path, ...more) => failing(left.shift()!, true)(path, ...more)
      const bus = openBus(order.map(at), uid, openSocket)
      await expect(bus.call(ping, {})).rejects.toMatchObject({ kind: 'closed' })
      expect(left).toEqual([])
    }
  })

  test('all addresses share the time of one caller', async () => {
    const times: number[] = []
    const openSocket: OpenSocket = (path, events, leftMs) => {
      times.push(leftMs())
      return failing('EAGAIN', false)(path, events, leftMs)
    }
    openBus(['a', 'b', 'c'].map(at), uid, openSocket, { leftMs: () => 1200 })
      .call(ping, {})
      .catch(() => {})
    expect(times).toEqual([400, 600, 1200])
  })

  test('a connection that is reset as it begins is one that was closed, and no other address is tried', async () => {
    const path = join(home(), 'bus')
    const server = createServer(connection => void connection.on('error', () => {}).destroy())
    await new Promise<void>(resolve => server.listen(path, resolve))
    onTestFinished(() => void server.close())
    const lost = { kind: 'closed', message: 'the bus closed the connection' }
    const none = { path: join(home(), 'none'), guid: undefined }
    await expect(opened({ path, guid: undefined }, none).call(ping, {})).rejects.toMatchObject(lost)
    const reset = openBus([at(a), none], uid, failing('ECONNRESET', true))
    await expect(reset.call(ping, {})).rejects.toMatchObject(lost)
  })
})

test('takes the first address where somebody listens', async () => {
  const server = await fakeBus()
  const bus = opened({ path: join(home(), 'gone'), guid: undefined }, server.address)
  const call = bus.call(ping, {})
  const sent = await server.next()
  server.say(`OK ${guid}\r\n`)
  server.say(reply(sent[1]!.serial, 'second'))
  expect((await call).body).toEqual(['second'])
})

describe('gives nothing to a server that may be somebody else’s', () => {
  test('a socket file of another user, or a link to one', async () => {
    const server = await fakeBus()
    const isRoot = uid === 0
    if (isRoot) chownSync(server.address.path, 12345, 12345)
    const me = isRoot ? 0 : uid! + 1
    const foreign = { kind: 'unsafe', message: `${server.address.path} belongs to another user` }
    await expect(openBus([server.address], me, netSocket).call(ping, {})).rejects.toMatchObject(foreign)
    const link = join(home(), 'link')
    symlinkSync(server.address.path, link)
    await expect(
      openBus([{ path: link, guid: undefined }], me, netSocket).call(ping, {}),
    ).rejects.toMatchObject({
      kind: 'unsafe',
      message: `${link} belongs to another user`,
    })
  })

  test('a bus with another guid than the address names', async () => {
    const server = await fakeBus()
    const call = opened({ ...server.address, guid: 'f'.repeat(32) }).call(ping, {})
    await server.next()
    server.say(`OK ${guid}\r\n`)
    await expect(call).rejects.toMatchObject({ kind: 'unsafe', message: 'another bus listens there' })
  })

  test.skipIf(process.platform !== 'linux')(
    'an abstract address without a guid, and with one it is used',
    async () => {
      const name = `tokctl-test-${process.pid}-${guid}`
      const server = await fakeBus(`\0${name}`)
      await expect(opened({ path: `\0${name}`, guid: undefined }).call(ping, {})).rejects.toMatchObject({
        kind: 'unsafe',
        message: `${name} comes without a guid`,
      })
      const call = opened({ path: `\0${name}`, guid }).call(ping, {})
      const sent = await server.next()
      server.say(`OK ${guid}\r\n`)
      server.say(reply(sent[1]!.serial, 'abstract'))
      expect((await call).body).toEqual(['abstract'])
    },
  )
})
