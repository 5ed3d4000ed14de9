import { expect, test } from 'vitest'
import { createSingleflight } from '../../src/core/singleflight.ts'

function held<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: Error): void } {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

test('calls of one key share one start and its value', async () => {
  const flights = createSingleflight<number>()
  const gate = held<number>()
  let starts = 0
  const start = (): Promise<number> => {
    starts++
    return gate.promise
  }
  const callers = Array.from({ length: 100 }, () => flights.run('a', undefined, start))
  gate.resolve(7)
  expect(await Promise.all(callers)).toEqual(Array(100).fill(7))
  expect(starts).toBe(1)
})

test('a failure is shared by those who joined, and by nobody who comes later', async () => {
  const flights = createSingleflight<number>()
  const gate = held<number>()
  const callers = [1, 2, 3].map(() => flights.run('a', undefined, () => gate.promise))
  gate.reject(new Error('down'))
  for (const caller of callers) await expect(caller).rejects.toThrow('down')
  expect(await flights.run('a', undefined, async () => 8)).toBe(8)
})

test('keys do not wait for each other', async () => {
  const flights = createSingleflight<number>()
  const never = flights.run('a', undefined, () => new Promise(() => {}))
  expect(await flights.run('b', undefined, async () => 2)).toBe(2)
  void never
})

test('an aborted caller leaves with its reason, and the flight goes on for the others', async () => {
  const flights = createSingleflight<number>()
  const gate = held<number>()
  const leaver = new AbortController()
  const first = flights.run('a', leaver.signal, () => gate.promise)
  const second = flights.run('a', undefined, () => gate.promise)
  leaver.abort(new Error('gone'))
  await expect(first).rejects.toThrow('gone')
  gate.resolve(9)
  expect(await second).toBe(9)
})

test('a caller whose signal fired before it came leaves at once', async () => {
  const flights = createSingleflight<number>()
  await expect(flights.run('a', AbortSignal.abort(new Error('gone')), async () => 1)).rejects.toThrow('gone')
})
