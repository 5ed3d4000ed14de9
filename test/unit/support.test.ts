import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type AuthServer, startAuthServer } from '../support/auth-server.ts'
import { removeFaketimeLeftovers } from '../support/faketime-leftovers.ts'
import { many, run, scratch, start } from '../support/run.ts'

const node = (script: string): string[] => [process.execPath, '-e', script]

async function server(): Promise<AuthServer> {
  const started = await startAuthServer()
  onTestFinished(() => started.close())
  return started
}

const post = (url: string, body = 'grant_type=client_credentials'): Promise<Response> =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })

test('the auth server hands out numbered tokens and keeps a log of form fields', async () => {
  const auth = await server()
  auth.expiresIn = 7
  expect(await (await post(auth.tokenEndpoint, 'grant_type=x&scope=a+b')).json()).toEqual({
    access_token: 'token-1',
    token_type: 'Bearer',
    expires_in: 7,
  })
  auth.expiresIn = undefined
  expect(await (await post(auth.tokenEndpoint)).json()).toEqual({
    access_token: 'token-2',
    token_type: 'Bearer',
  })
  expect(auth.requests[0]).toMatchObject({
    method: 'POST',
    path: '/token',
    params: { grant_type: 'x', scope: 'a b' },
  })
  expect([auth.count(), auth.count('/token'), auth.count('/other')]).toEqual([2, 2, 0])
})

test('a gate holds requests, lets some go, and then all', async () => {
  const auth = await server()
  const gate = auth.hold()
  const answers = [1, 2, 3].map(() => post(auth.tokenEndpoint).then(response => response.status))
  await gate.arrived(3)
  expect([gate.held, auth.maxInFlight]).toEqual([3, 3])
  auth.answer({ status: 204 })
  gate.release(1)
  expect(await Promise.race(answers)).toBe(204)
  expect(gate.held).toBe(2)
  gate.release()
  expect(await Promise.all(answers)).toEqual([204, 204, 204])
  expect((await post(auth.tokenEndpoint)).status).toBe(204)
  await expect(gate.arrived(1, 1)).rejects.toThrow('0 of 1 requests arrived within 1 ms')
})

test('the auth server says 503 with a pause, resets, hangs, and answers discovery meanwhile', async () => {
  const auth = await server()
  auth.unavailable(9)
  const refused = await post(auth.tokenEndpoint)
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '9'])
  auth.answerNext('reset')
  await expect(post(auth.tokenEndpoint)).rejects.toThrow('fetch failed')
  auth.answer('hang')
  const gaveUp = fetch(auth.tokenEndpoint, { method: 'POST', signal: AbortSignal.timeout(50) })
  await expect(gaveUp).rejects.toThrow('timeout')
  const metadata = await fetch(`${auth.url}/.well-known/oauth-authorization-server`)
  expect(await metadata.json()).toMatchObject({ issuer: auth.url, token_endpoint: auth.tokenEndpoint })
})

test('an answer that nobody asked for fails the test that prepared it', async () => {
  const auth = await startAuthServer()
  auth.answerNext('token')
  await expect(auth.close()).rejects.toThrow('1 answers of the auth server were never asked for')
})

test('a process gets an environment built from nothing, and its bytes come back as they are', async () => {
  const at = scratch()
  const script = 'process.stdout.write(Buffer.from([255, 10])); console.error(JSON.stringify(process.env))'
  const { code, signal, stdoutBytes, stderr } = await run([], {
    at,
    program: node(script),
    env: { EXTRA: 'x', TOKCTL_STORE: undefined },
  })
  expect([code, signal, stdoutBytes]).toEqual([0, null, Buffer.from([255, 10])])
  expect(JSON.parse(stderr)).toEqual({
    PATH: process.env['PATH'],
    HOME: at.home,
    TOKCTL_STATE_DIR: at.stateDir,
    EXTRA: 'x',
  })
})

test('a process that does not end in time is killed and fails the test with what it said', async () => {
  const hanging = run([], {
    program: node('console.error("busy"); setInterval(() => {}, 1e6)'),
    timeoutMs: 1500,
  })
  await expect(hanging).rejects.toThrow(/not ended after 1500 ms\nstdout: ""\nstderr: "busy/)
})

test('a started process is observed, signalled and awaited', async () => {
  const started = start([], { program: node('console.error("ready 7"); setInterval(() => {}, 1e6)') })
  expect((await started.waitForStderr(/ready (\d)/))[1]).toBe('7')
  started.kill('SIGTERM')
  expect(await started.done).toMatchObject({ code: null, signal: 'SIGTERM' })
  const ended = start([], { program: node('') })
  await expect(ended.waitForStderr(/never/)).rejects.toThrow('ended without /never/ on stderr')
})

test('processes left behind in a home are found', async () => {
  const at = scratch()
  const child = start([], { at, program: node('console.error("up"); setInterval(() => {}, 1e6)') })
  await child.waitForStderr(/up/)
  expect(at.processes()).toEqual([child.pid])
  child.kill('SIGKILL')
  await child.done
  expect(at.processes()).toEqual([])
})

test('many processes run at once in one home and give their results in order', async () => {
  const { results } = await many(3, [], { program: node('console.log(process.env.HOME)') })
  expect(new Set(results.map(one => one.stdout)).size).toBe(1)
  expect(results.map(one => one.code)).toEqual([0, 0, 0])
})

test('what libfaketime left behind for dead processes is removed, and nothing else', () => {
  const at = scratch()
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  const minute = 60_000
  const names = [
    `faketime_shm_${pid}`,
    `sem.faketime_sem_${pid}`,
    `faketime_shm_${process.pid}`,
    `sem.other_${pid}`,
    `faketime_shm_${pid}.old`,
  ]
  for (const name of names) at.write(`shm/${name}`, '')
  const directory = join(at.path, 'shm')
  expect(removeFaketimeLeftovers(directory)).toEqual([])
  expect(removeFaketimeLeftovers(directory, Date.now() + 2 * minute)).toEqual(names.slice(0, 2))
  expect(readdirSync(directory).sort()).toEqual(names.slice(2).sort())
  expect(removeFaketimeLeftovers(join(at.path, 'none'))).toEqual([])
})
