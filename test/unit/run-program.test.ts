import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { ProgramCall } from '../../src/core/program.ts'
import { runProgram } from '../../src/core/run-program.ts'
import { failureOf } from '../support/config-home.ts'
import { scratch } from '../support/run.ts'

const node = process.execPath

function call(command: readonly string[], changes: Partial<ProgramCall> = {}): ProgramCall {
  return {
    command,
    env: { PATH: process.env['PATH'] },
    timeoutMs: 20_000,
    signal: undefined,
    maxBytes: 65_536,
    ...changes,
  }
}

/** A port that programs connect to: `came` resolves with the next, and its end shows that the program has ended. */
async function door(): Promise<{ port: string; came(): Promise<Socket> }> {
  const waiting: Socket[] = []
  const wanted: ((socket: Socket) => void)[] = []
  const server = createServer(socket => {
    socket.on('error', () => {})
    const next = wanted.shift()
    if (next === undefined) waiting.push(socket)
    else next(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of waiting) socket.destroy()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? String(address.port) : ''
  return {
    port,
    came: () => {
      const there = waiting.shift()
      return there === undefined ? new Promise(resolve => wanted.push(resolve)) : Promise.resolve(there)
    },
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    socket.once('close', () => resolve())
    socket.resume()
  })
}

const connect = `require('node:net').connect(Number(process.env.PORT), '127.0.0.1').on('error', () => {})`
const deaf = `process.on('SIGTERM', () => {}); ${connect}`

describe('a program', () => {
  test('gives what it wrote and how it ended', async () => {
    const script = 'process.stdout.write("a\\n\u00e4"); process.stderr.write("why\\n"); process.exitCode = 7'
    const result = await runProgram(call([node, '-e', script]))
    expect(result).toMatchObject({ exitCode: 7, killedBy: undefined, stderr: 'why\n' })
    expect(result.stdout.expose()).toBe('a\n\u00e4')
    expect(inspect(result)).not.toContain('\u00e4')
  })

  test('that a signal ended is told with the signal', async () => {
    const result = await runProgram(call([node, '-e', 'process.kill(process.pid, "SIGKILL")']))
    expect(result).toMatchObject({ exitCode: undefined, killedBy: 'SIGKILL' })
  })

  test('gets its arguments as they are, no shell in between, and an empty stdin', async () => {
    const args = ['$HOME', '`id`', 'a b', '', "'", '*', '"; exit 3']
    const script = `process.stdin.resume().on('end', () => console.log(JSON.stringify(process.argv.slice(1))))`
    const { stdout } = await runProgram(call([node, '-e', script, '--', ...args]))
    expect(JSON.parse(stdout.expose())).toEqual(args)
  })

  test('gets the environment it is given and no other', async () => {
    const script = 'console.log(JSON.stringify(process.env))'
    const { stdout } = await runProgram(call([node, '-e', script], { env: { A: '1', B: undefined } }))
    expect(JSON.parse(stdout.expose())).toEqual({ A: '1' })
  })

  test('leads a session of its own, where no terminal is', async () => {
    const { stdout } = await runProgram(call(['sh', '-c', 'cat /proc/$$/stat']))
    const [pid, , , , group, session, terminal] = stdout.expose().split(' ')
    expect([group, session, terminal]).toEqual([pid, pid, '0'])
  })

  test('may say a lot on stderr: the end of it is kept', async () => {
    const script = 'process.stderr.write("x".repeat(1e6) + "the end")'
    const { stderr } = await runProgram(call([node, '-e', script]))
    expect(stderr.length).toBeLessThan(20_000)
    expect(stderr.endsWith('xthe end')).toBe(true)
  })

  test('whose answer fills the limit is heard out, one byte more and it is not', async () => {
    const write = (bytes: number): string[] => [node, '-e', `process.stdout.write("x".repeat(${bytes}))`]
    const { stdout } = await runProgram(call(write(300_000), { maxBytes: 300_000 }))
    expect(stdout.expose().length).toBe(300_000)
    expect(await failureOf(() => runProgram(call(write(300_001), { maxBytes: 300_000 })))).toMatchObject({
      code: 'command_failed',
      message: `program "${node}" answered more than 300000 bytes`,
    })
  })

  test('that writes without end is ended', async () => {
    expect(await failureOf(() => runProgram(call(['yes'], { maxBytes: 1000 })))).toMatchObject({
      code: 'command_failed',
      message: 'program "yes" answered more than 1000 bytes',
    })
  })

  test('that leaves something running in the background is not waited for beyond its own end', async () => {
    const { port, came } = await door()
    const script = `
      const { spawn } = require('node:child_process')
      const child = spawn(process.execPath, ['-e', ${JSON.stringify(connect)}], { stdio: 'inherit' })
      child.unref()
      process.stdout.write('token'.repeat(20000))
      process.exitCode = 0`
    const { stdout, exitCode } = await runProgram(
      call([node, '-e', script], { env: { PORT: port }, maxBytes: 200_000 }),
    )
    expect(exitCode).toBe(0)
    expect(stdout.expose()).toBe('token'.repeat(20_000))
    // It still runs, and holds the other end of the pipe; now it may end.
    const background = await came()
    background.destroy()
  })
})

describe('in time', () => {
  const family = `
    const { spawn } = require('node:child_process')
    spawn(process.execPath, ['-e', ${JSON.stringify(deaf)}], { stdio: 'inherit' })
    ${connect}`

  test('a program that does not end is ended, even where what it started holds its output', async () => {
    const script = 'trap "" TERM; sleep 600 & sleep 600; sleep 600'
    expect(await failureOf(() => runProgram(call(['sh', '-c', script], { timeoutMs: 200 })))).toMatchObject({
      code: 'command_failed',
      message: 'program "sh" did not end within 200ms',
    })
  })

  test('a caller that leaves takes the program along, and its reason comes back', async () => {
    const { port, came } = await door()
    const controller = new AbortController()
    const reason = new Error('gone')
    const running = runProgram(call([node, '-e', family], { env: { PORT: port }, signal: controller.signal }))
    const outcome = expect(running).rejects.toBe(reason)
    const both = [await came(), await came()]
    controller.abort(reason)
    await Promise.all(both.map(closed))
    await outcome
  })

  test('a caller that has left starts nothing', async () => {
    const at = scratch()
    const mark = join(at.path, 'mark')
    const reason = new Error('gone')
    await expect(runProgram(call(['touch', mark], { signal: AbortSignal.abort(reason) }))).rejects.toBe(
      reason,
    )
    expect(existsSync(mark)).toBe(false)
  })
})

describe('a name', () => {
  test('that no directory of PATH holds is told with what to do', async () => {
    expect(await failureOf(() => runProgram(call(['tokctl-no-such-program'])))).toMatchObject({
      code: 'command_failed',
      message: 'program "tokctl-no-such-program" was not found',
      hint: 'install it, or write its whole path',
    })
    expect(await failureOf(() => runProgram(call(['/no/such/program'])))).toMatchObject({
      code: 'command_failed',
      message: 'program "/no/such/program" was not found',
      hint: 'check the path in the configuration',
    })
    expect(await failureOf(() => runProgram(call(['\u001b[2Jx'])))).toMatchObject({
      code: 'command_failed',
      message: 'program "[2Jx" was not found',
    })
    expect(await failureOf(() => runProgram(call([])))).toMatchObject({ code: 'command_failed' })
  })

  test('is looked up in the absolute directories of PATH alone, never in the working directory', async () => {
    const at = scratch()
    at.write('cwd/planted', '#!/bin/sh\necho planted\n', 0o755)
    at.write('bin/real', '#!/bin/sh\necho real\n', 0o755)
    const cwd = process.cwd()
    process.chdir(join(at.path, 'cwd'))
    onTestFinished(() => process.chdir(cwd))
    for (const path of ['.', '', ':', '.:/usr/bin', '../cwd', '/usr/bin:']) {
      expect(await failureOf(() => runProgram(call(['planted'], { env: { PATH: path } })))).toMatchObject({
        code: 'command_failed',
        message: 'program "planted" was not found',
      })
    }
    const { stdout } = await runProgram(call(['real'], { env: { PATH: `.:${join(at.path, 'bin')}` } }))
    expect(stdout.expose()).toBe('real\n')
  })

  test('passes over directories and files that may not be run', async () => {
    const at = scratch()
    mkdirSync(join(at.path, 'a', 'tool'), { recursive: true })
    const plain = at.write('b b/tool', '#!/bin/sh\n', 0o644)
    at.write('c/tool', '#!/bin/sh\necho c\n', 0o755)
    const path = ['a', 'b b'].map(name => join(at.path, name)).join(':')
    expect(await failureOf(() => runProgram(call(['tool'], { env: { PATH: path } })))).toMatchObject({
      code: 'command_failed',
      message: 'program "tool" may not be run',
      hint: `run: chmod +x '${plain}'`,
    })
    const { stdout } = await runProgram(call(['tool'], { env: { PATH: `${path}:${join(at.path, 'c')}` } }))
    expect(stdout.expose()).toBe('c\n')
    expect(await failureOf(() => runProgram(call([plain])))).toMatchObject({
      code: 'command_failed',
      message: `program "${plain}" may not be run`,
    })
    expect(readFileSync(plain, 'utf8')).toBe('#!/bin/sh\n')
  })
})
