import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

const listener = `require('node:net').createServer().listen({ path: process.argv[1], backlog: 1 }, () => {
  process.stdout.write('ready')
  process.kill(process.pid, 'SIGSTOP')
})`

/** The address of a bus that is stopped and whose queue is full: it takes no connection more until the test has finished. */
export async function startFullBus(): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-fullbus-'))
  const path = join(dir, 'bus')
  // Of Bun the length of the queue cannot be asked.
  const { TOKCTL_TEST_NODE: node = 'node', PATH } = process.env
  const child = spawn(node, ['-e', listener, path], { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH } })
  onTestFinished(async () => {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    rmSync(dir, { recursive: true, force: true })
  })
  await once(child.stdout, 'data')
  for (let isTaken = true; isTaken; ) {
    isTaken = await new Promise(resolve => {
      const connection = connect(path)
      connection.once('connect', () => resolve(true)).once('error', () => resolve(false))
      onTestFinished(() => void connection.destroy())
    })
  }
  return `unix:path=${path}`
}
