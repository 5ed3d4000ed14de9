import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Environment } from '../../src/core/environment.ts'
import { linkLock } from '../../src/core/link-lock.ts'
import { createLock, kernelLock, type LockMechanism } from '../../src/core/lock.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import { systemClock } from '../../src/core/time.ts'
import { lockCalls } from '../support/lock-calls.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
// Below node_modules, so that the worker finds the addon.
const workers = join(root, 'node_modules', '.cache', `tokctl-test-${process.pid}`)
const worker = join(workers, 'lock-worker.js')

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'test', 'support', 'lock-worker.ts')],
    outdir: workers,
    bundle: true,
    // What the other runtime has is loaded there alone.
    splitting: true,
    platform: 'node',
    format: 'esm',
    external: ['bun:ffi'],
  })
  writeFileSync(join(workers, 'package.json'), '{"type":"module"}')
})
afterAll(() => rmSync(workers, { recursive: true, force: true }))

describe.each(['kernel', 'link'])('the %s lock', mechanism => {
  function home(): string {
    const dir = mkdtempSync(join(tmpdir(), 'tokctl-lock-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    return dir
  }

  function start(dir: string, key: string, mode: 'once' | 'hold', timeoutMs = 20_000): Worker {
    return watch(
      spawn(process.execPath, [worker, mechanism, dir, key, mode, String(timeoutMs)], {
        env: {},
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    )
  }

  test('sixty-four processes enter one after another, and never two at once', async () => {
    const dir = home()
    const workers = Array.from({ length: 64 }, () => start(dir, 'corp', 'once', 25_000))
    const codes = await Promise.all(workers.map(w => w.ended))
    expect(codes).toEqual(Array(64).fill(0))
    for (const w of workers) expect(w.lines.slice(-2)).toEqual(['held', 'freed'])
    expect(existsSync(join(dir, 'corp.inside'))).toBe(false)
  })

  test('a holder that is killed is followed by the next at once', async () => {
    const dir = home()
    const holder = start(dir, 'corp', 'hold')
    await holder.says('held')
    const waiter = start(dir, 'corp', 'hold')
    await waiter.says(`waiting ${holder.pid}`)
    rmSync(join(dir, 'corp.inside'))
    holder.child.kill('SIGKILL')
    await waiter.says('held')
    waiter.child.stdin!.write('\n')
    expect(await waiter.ended).toBe(0)
  })

  test('a holder that is stopped keeps the lock: the waiter gives up in its own time, and nobody enters', async () => {
    const dir = home()
    const holder = start(dir, 'corp', 'hold')
    await holder.says('held')
    holder.child.kill('SIGSTOP')
    const waiter = start(dir, 'corp', 'once', 300)
    await waiter.says('timeout')
    holder.child.kill('SIGCONT')
    holder.child.stdin!.write('\n')
    await holder.says('freed')
    const next = start(dir, 'corp', 'once')
    await next.says('freed')
  })

  test('two keys never wait for each other', async () => {
    const dir = home()
    const holder = start(dir, 'corp', 'hold')
    await holder.says('held')
    const other = start(dir, 'other', 'once')
    await other.says('freed')
    expect(other.lines).toEqual(['held', 'freed'])
    holder.child.stdin!.write('\n')
    await holder.ended
  })

  test('a wait ends without the lock when what it was for has happened', async () => {
    const lock = here(home())
    const entered = await lock.withLock(
      'corp',
      { purpose: 'refresh', timeoutMs: 5000, signal: undefined },
      () =>
        lock.withLock(
          'corp',
          { purpose: 'refresh', timeoutMs: 5000, signal: undefined, leave: () => true },
          async () => 'in',
        ),
    )
    expect(entered).toEqual({ kind: 'held', value: { kind: 'left' } })
  })

  test('a signal ends the wait with its reason', async () => {
    const lock = here(home())
    const controller = new AbortController()
    const waiting = lock.withLock('corp', { purpose: 'refresh', timeoutMs: 5000, signal: undefined }, () => {
      const inner = lock.withLock(
        'corp',
        { purpose: 'refresh', timeoutMs: 5000, signal: controller.signal },
        async () => 'in',
      )
      controller.abort(new Error('interrupted'))
      return inner
    })
    await expect(waiting).rejects.toThrow('interrupted')
  })

  test('the lock is free again when the work fails', async () => {
    const lock = here(home())
    const wait = { purpose: 'refresh', timeoutMs: 1000, signal: undefined } as const
    await expect(lock.withLock('corp', wait, () => Promise.reject(new Error('failed')))).rejects.toThrow(
      'failed',
    )
    expect(await lock.withLock('corp', wait, async () => 'in')).toEqual({ kind: 'held', value: 'in' })
  })

  test('the next holder is told of the lease before it, and leaves it as it was if asked to', async () => {
    const lock = here(home())
    const wait = { purpose: 'renewal', timeoutMs: 1000, signal: undefined } as const
    await lock.withLock('corp', wait, async last => expect(last).toBeUndefined())
    const look = { ...wait, purpose: 'reject', keepLease: true } as const
    for (let i = 0; i < 2; i++) {
      await lock.withLock('corp', look, async last =>
        expect(last).toMatchObject({ purpose: 'renewal', pid: process.pid }),
      )
    }
  })

  test('a waiter is never told of a holder that has let go', async () => {
    const lock = here(home())
    const wait = { timeoutMs: 1000, signal: undefined } as const
    await lock.withLock('corp', { ...wait, purpose: 'login' }, async () => {})
    const seen: unknown[] = []
    await lock.withLock('corp', { ...wait, purpose: 'refresh', keepLease: true }, async last => {
      expect(last).toMatchObject({ purpose: 'login', released: true })
      const onWait = (holder: unknown): void => void seen.push(holder)
      await lock.withLock('corp', { ...wait, purpose: 'refresh', timeoutMs: 0, onWait }, async () => {})
    })
    expect(seen).toEqual([undefined])
  })

  test('leaves one file a key behind, and no other', async () => {
    const dir = home()
    const lock = here(dir)
    const wait = { purpose: 'refresh', timeoutMs: 1000, signal: undefined } as const
    for (let i = 0; i < 5; i++) await lock.withLock('Corp', wait, async () => {})
    expect(readdirSync(join(dir, 'locks'))).toHaveLength(1)
    expect(readdirSync(join(dir, 'locks'))[0]).toMatch(/^=corp\.lock/)
  })

  const obstacles: [name: string, put: (file: string) => void, what: string, hint: string][] = [
    ['a link', file => symlinkSync('/nowhere', file), 'is a link', 'run: rm '],
    ['a link to a file', file => symlinkSync('/etc/passwd', file), 'is a link', 'run: rm '],
    ['a directory', file => mkdirSync(file), 'is ', 'run: rm '],
    ['a pipe that nobody writes', file => execFileSync('mkfifo', [file]), 'is not a file', 'run: rm '],
  ]
  test.each(obstacles)('%s in its place is told, with the way out of it', async (_, put, what, hint) => {
    const dir = join(home(), "it's here")
    const lock = here(dir)
    mkdirSync(join(dir, 'locks'), { recursive: true, mode: 0o700 })
    const file = join(dir, 'locks', mechanism === 'kernel' ? 'corp.lock' : 'corp.lock.7')
    put(file)
    const wait = { purpose: 'refresh', timeoutMs: 200, signal: undefined } as const
    const error = await lock.withLock('corp', wait, async () => 'in').catch(error => error)
    expect(error).toMatchObject({ code: 'state_dir_unsafe' })
    expect(error.message).toContain(`lock file ${file} ${what}`)
    expect(error.hint).toContain(hint)
    execFileSync('sh', ['-c', error.hint.replace('run: ', '')])
    expect(await lock.withLock('corp', wait, async () => 'in')).toEqual({ kind: 'held', value: 'in' })
  })

  test('a lock that cannot be written leaves nothing behind, and the work is done where one needs no room', async () => {
    const dir = home()
    const limited = ['-c', 'ulimit -f 0; exec "$@"', 'sh', process.execPath, worker]
    const child = spawn('sh', [...limited, mechanism, dir, 'corp', 'once', '5000'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const tried = watch(child)
    await tried.ended
    expect(tried.lines).toEqual(mechanism === 'kernel' ? ['held', 'freed'] : ['failed state_dir_unsafe'])
    expect(readdirSync(join(dir, 'locks'))).toEqual(mechanism === 'kernel' ? ['corp.lock'] : [])
  })

  function here(dir: string): ReturnType<typeof createLock> {
    const environment = {
      env: { TOKCTL_STATE_DIR: dir },
      platform: process.platform,
      arch: process.arch,
      pid: process.pid,
      uid: process.geteuid?.(),
    } as unknown as Environment
    const made = mechanism === 'kernel' ? kernelLock(lockCalls, false) : linkLock(systemClock, process.pid)
    return createLock(made, stateDir(environment), systemClock, process.pid)
  }
})

const troubles: [code: string, what: string, hint: string][] = [
  ['EACCES', 'may not be written', "run: chmod -R u+rwX '/a b/locks'"],
  ['EROFS', 'is on a disk that cannot be written', 'set TOKCTL_STATE_DIR to a directory that can be written'],
  ['ENOSPC', 'cannot be written: the disk is full', "see: df -h '/a b/locks'"],
  ['ENOLCK', 'cannot be locked (ENOLCK)', 'set TOKCTL_STATE_DIR to a directory on a local disk'],
]
test.each(troubles)(
  'a system that answers %s is told as trouble of the state directory',
  async (code, what, hint) => {
    const refusing: LockMechanism = {
      how: 'not at all',
      tryLock() {
        throw Object.assign(new Error(), { code })
      },
      lastLease: () => undefined,
    }
    const place = { path: '/a b', file: () => '', ensure: () => '/a b/locks', check() {} }
    const wait = { purpose: 'refresh', timeoutMs: 0, signal: undefined } as const
    await expect(
      createLock(refusing, place, systemClock, 1).withLock('corp', wait, async () => 'in'),
    ).rejects.toMatchObject({
      code: 'state_dir_unsafe',
      message: `lock file /a b/locks/corp.lock ${what}`,
      hint,
    })
  },
)

const torn: [name: string, content: string][] = [
  ['empty', ''],
  ['torn', '{"owner":{"host":"h","bo'],
  ['of another shape', 'null'],
]
test.each(torn)('a generation of the link lock that is %s is held by nobody', async (_, content) => {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-lock-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'corp.lock')
  writeFileSync(`${path}.3`, content)
  const held = linkLock(systemClock, process.pid).tryLock(path)
  expect(readdirSync(dir)).toEqual(['corp.lock.4'])
  expect(linkLock(systemClock, process.pid).tryLock(path)).toBeUndefined()
  held?.free()
  expect(linkLock(systemClock, process.pid).tryLock(path)).toBeDefined()
})

test('a link lock is freed where its file cannot be replaced', () => {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-lock-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'corp.lock')
  const first = linkLock(systemClock, 999_999_999)
  const held = linkLock(systemClock, process.pid).tryLock(path)
  expect(first.tryLock(path)).toBeUndefined()
  // The next temporary file cannot be made: its name is taken by a directory.
  for (let i = 0; i < 50; i++) mkdirSync(`${path}.${process.pid}.${i}.tmp`)
  held?.writeLease({ pid: process.pid, purpose: 'refresh', since: 1 })
  held?.free()
  for (let i = 0; i < 50; i++) rmdirSync(`${path}.${process.pid}.${i}.tmp`)
  expect(readdirSync(dir)).toEqual(['corp.lock.1'])
  expect(first.tryLock(path)).toBeDefined()
})

interface Worker {
  readonly pid: number
  readonly child: ChildProcess
  readonly lines: string[]
  readonly ended: Promise<number | null>
  /** Resolves when it has said that line. */
  says(line: string): Promise<void>
}

function watch(child: ChildProcess): Worker {
  const lines: string[] = []
  const watchers = new Set<() => void>()
  let rest = ''
  child.stdout!.on('data', chunk => {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop()!
    lines.push(...parts)
    for (const look of watchers) look()
  })
  const ended = new Promise<number | null>(resolve => child.on('close', resolve))
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  })
  return {
    pid: child.pid!,
    child,
    lines,
    ended,
    says: line =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (lines.includes(line)) resolve()
        }
        watchers.add(look)
        ended.then(() => reject(new Error(`ended without saying "${line}": ${lines.join(', ')}`)))
        look()
      }),
  }
}
