import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** What a worker said, and how it ended. */
export interface WorkerResult {
  readonly kind?: string
  readonly value?: string
  readonly code?: string
  readonly message?: string
  readonly warnings: readonly string[]
  readonly exitCode: number | null
  /** From the start to the end of the process. */
  readonly ms: number
}

/** Builds `store-worker.ts`; the given name keeps two test files apart. Call `remove` when they are done. */
export async function buildStoreWorker(name: string): Promise<{ path: string; remove(): void }> {
  const path = join(root, 'node_modules', '.cache', `tokctl-${name}`, 'store-worker.mjs')
  await build({
    entryPoints: [join(root, 'test', 'support', 'store-worker.ts')],
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['@napi-rs/keyring'],
  })
  return { path, remove: () => rmSync(dirname(path), { recursive: true, force: true }) }
}

/** Starts a worker. It waits for `go`; it is killed when it has not ended 10 s later. */
export function startStoreWorker(
  path: string,
  args: readonly string[],
  env: Record<string, string>,
): { go(): Promise<WorkerResult> } {
  const child = spawn(process.execPath, [path, ...args], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const output: Buffer[] = []
  child.stdout.on('data', (data: Buffer) => output.push(data))
  return {
    go: () =>
      new Promise((resolve, reject) => {
        const started = performance.now()
        const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
        child.once('error', reject)
        child.once('close', exitCode => {
          clearTimeout(timer)
          const text = Buffer.concat(output).toString()
          const said = text === '' ? { warnings: [] } : JSON.parse(text)
          resolve({ ...said, exitCode, ms: performance.now() - started })
        })
        child.stdin.end()
      }),
  }
}
