import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { corp } from '../support/corp.ts'
import { program, run, type Started, scratch, start } from '../support/run.ts'

// `script` gives the program a real terminal; what it writes to its stderr arrives on our stdout.
const quoted = program.map(word => `'${word}'`).join(' ')
const inTerminal = (args: string): string[] => ['-qefc', `${quoted} ${args}`, '/dev/null']

async function shows(started: Started, pattern: RegExp): Promise<void> {
  while (!pattern.test(started.stdout)) {
    if (started.child.exitCode !== null) throw new Error(`ended with ${JSON.stringify(started.stdout)}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

test('waiting for longer than two seconds says so on a terminal, once, with the holder’s process id', async () => {
  const { auth, options } = await corp()
  const gate = auth.hold()
  const leader = start(['get', 'corp'], options)
  await gate.arrived(1)
  const waiter = start(inTerminal('get corp'), { ...options, program: ['script'] })
  await shows(waiter, /waiting/)
  gate.release()
  await leader.done
  const { stdout } = await waiter.done
  expect(stdout).toBe(`tokctl: waiting for process ${leader.pid}, which renews profile "corp"\r\ntoken-1\r\n`)
})

// Closes the terminal of the program once a line comes, and tells how that ended.
const closer = `import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
sys.stdin.readline()
os.close(terminal)
_, status = os.waitpid(pid, 0)
print("exit", os.WEXITSTATUS(status), "signal", os.WTERMSIG(status), "core", os.WCOREDUMP(status))`

test('a terminal that is closed ends it with a code, and leaves no core', async () => {
  const { auth, options } = await corp()
  const gate = auth.hold()
  const args = ['-c', closer, ...program, 'get', 'corp']
  const closing = start(args, { ...options, program: ['python3'], keepInput: true })
  await gate.arrived(1)
  closing.child.stdin!.end('\n')
  expect((await closing.done).stdout).toBe('exit 143 signal 0 core False\n')
  gate.release()
})

test('without a terminal it waits in silence', async () => {
  const { auth, options } = await corp()
  const gate = auth.hold()
  const leader = start(['get', 'corp'], options)
  await gate.arrived(1)
  const waiter = start(['get', 'corp', '--timeout', '3s'], options)
  expect(await waiter.done).toMatchObject({ code: 5, stdout: '' })
  expect((await waiter.done).stderr).not.toContain('waiting')
  gate.release()
  await leader.done
})

test('an error is coloured on a terminal', async () => {
  const { stdout } = await run(inTerminal('get'), { program: ['script'], env: { TERM: 'xterm' } })
  expect(stdout).toContain('\u001b[31mtokctl: error:\u001b[39m missing required argument')
})

test('a secret is asked for on a terminal without being shown', async () => {
  const at = scratch()
  at.writeConfig('[profile.p]\nsource = "static"\ntoken = { secret = "asked" }\n')
  const asking = start(inTerminal('secret set asked'), { at, program: ['script'], keepInput: true })
  await shows(asking, /not shown/)
  asking.child.stdin!.write('hidden-cx\u007fanary\r')
  expect(await asking.done).toMatchObject({ code: 0, stdout: 'value of "asked" (not shown): \r\n' })
  expect(await run(['get', 'p'], { at })).toMatchObject({ code: 0, stdout: 'hidden-canary\n' })
})

test('Ctrl-C at the hidden prompt keeps nothing and is exit 130', async () => {
  const at = scratch()
  at.writeConfig('')
  const asking = start(inTerminal('secret set asked'), { at, program: ['script'], keepInput: true })
  await shows(asking, /not shown/)
  asking.child.stdin!.write('half\u0003')
  expect(await asking.done).toMatchObject({ code: 130 })
  expect(await run(['secret', 'list'], { at })).toMatchObject({ stdout: '' })
})

test('Ctrl-C ends the program that gives the token too', async () => {
  const at = scratch()
  const marker = at.write('pid', '')
  at.writeConfig(
    `[profile.p]\nsource = "command"\ncommand = ["sh", "-c", "echo $$ > ${marker}; exec sleep 60"]\n`,
  )
  const getting = start(['get', 'p'], { at })
  while (readFileSync(marker, 'utf8') === '') await new Promise(resolve => setImmediate(resolve))
  getting.kill('SIGINT')
  expect(await getting.done).toMatchObject({ code: 130, stdout: '', stderr: '' })
  // The system takes a moment to clear away what was killed.
  while (at.processes().length > 0) await new Promise(resolve => setImmediate(resolve))
})
