import { connect } from 'node:net'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { listenForRedirect } from '../../src/source/redirect-listener.ts'
import { type FuzzTarget, fuzzTargets } from '../support/fuzz-targets.ts'

const { targets, close } = await fuzzTargets()
afterAll(close)

/** A seed with pieces taken out, doubled, put in and changed; or any bytes at all. */
function inputsOf({ seeds }: FuzzTarget): fc.Arbitrary<Buffer> {
  const change = fc.record({
    at: fc.nat(2000),
    take: fc.nat(12),
    put: fc.oneof(
      fc.uint8Array({ maxLength: 6 }).map(bytes => Buffer.from(bytes)),
      fc
        .constantFrom(
          '"',
          '\\',
          '\n',
          '\r',
          '\0',
          '{',
          '[',
          '}',
          '=',
          '\u202e',
          '1e999',
          '__proto__',
          '\ud800',
        )
        .map(text => Buffer.from(text)),
    ),
  })
  const changed = fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 5 }))
    .map(([seed, changes]) => {
      let bytes: Buffer = Buffer.from(seed)
      for (const { at, take, put } of changes) {
        const from = at % (bytes.length + 1)
        bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + take)])
      }
      return bytes
    })
  const any = fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes))
  return fc.oneof({ weight: 5, arbitrary: changed }, { weight: 1, arbitrary: any })
}

test.each(targets.map(target => [target.name, target] as const))(
  '%s: whatever comes is read, or refused as foreseen',
  (_, target) => {
    for (const seed of target.seeds) target.feed(Buffer.from(seed))
    fc.assert(
      fc.property(inputsOf(target), bytes => target.feed(bytes)),
      { numRuns: 300 },
    )
  },
)

test('redirect callback: whatever comes to the port, only who knows the state is heard, and the port still answers', async () => {
  const page = { status: 400, headers: {}, html: 'no' }
  const listener = await listenForRedirect(0, params => params.get('state') === 'the-state', {
    stranger: page,
    again: page,
  })
  const port = Number(new URL(listener.redirectUri).port)
  const ask = (bytes: Uint8Array): Promise<string> =>
    new Promise(resolve => {
      let text = ''
      const socket = connect(port, '127.0.0.1', () => socket.end(bytes))
      socket.on('data', chunk => (text += chunk.toString('latin1')))
      socket.on('error', () => resolve(text))
      socket.on('close', () => resolve(text))
    })
  let heard = false
  void listener.redirect.then(({ answer }) => {
    heard = true
    return answer(page)
  })
  const good = `GET /callback?code=c&state=other HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`
  const changes = fc.array(fc.tuple(fc.nat(good.length), fc.nat(8), fc.uint8Array({ maxLength: 4 })), {
    maxLength: 4,
  })
  try {
    await fc.assert(
      fc.asyncProperty(changes, async all => {
        let bytes: Buffer = Buffer.from(good)
        for (const [at, take, put] of all)
          bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + take)])
        const answer = await ask(bytes)
        expect(answer).not.toMatch(/the-state/)
        expect(heard).toBe(false)
      }),
      { numRuns: 60 },
    )
    await ask(Buffer.from(good.replace('other', 'the-state')))
    expect(heard).toBe(true)
  } finally {
    await listener.close()
  }
})
