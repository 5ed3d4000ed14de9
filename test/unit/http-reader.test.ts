import { expect, test } from 'vitest'
import { httpReader } from '../../src/source/http-reader.ts'

// What Node does not count: test/contract/transport.test.ts has the rest, for both.
test('the extensions of all chunks together are no longer than a head may be', () => {
  let body = ''
  const reader = httpReader({
    head: () => {},
    data: chunk => {
      body += Buffer.from(chunk).toString()
    },
    end: () => {},
  })
  const chunk = Buffer.from(`1;${'x'.repeat(1023)}\r\na\r\n`)
  reader.take(Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'))
  for (let sent = 0; sent < 16; sent++) reader.take(chunk)
  expect(body).toBe('a'.repeat(16))
  expect(() => reader.take(Buffer.from('1;\r\n'))).toThrow('HPE_CHUNK_EXTENSIONS_OVERFLOW')
})
