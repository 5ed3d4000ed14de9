import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Certificates } from './certificates.ts'
import type { OidcProvider } from './oidc-provider.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** oidc-provider needs Node: it runs there, where another runtime runs the tests. */
export async function startRemoteOidcProvider({
  ca,
  server,
}: Pick<Certificates, 'ca' | 'server'>): Promise<OidcProvider> {
  // Below node_modules, so that it finds the packages.
  const dir = join(root, 'node_modules', '.cache', `tokctl-test-oidc-${process.pid}`)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  await build({
    entryPoints: [join(root, 'test', 'support', 'oidc-provider-process.ts')],
    outdir: dir,
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    external: ['oidc-provider', 'jose', 'esbuild'],
  })
  // `npm test` names the Node that it runs on.
  const { TOKCTL_TEST_NODE: node = 'node', PATH } = process.env
  const child = spawn(node, [join(dir, 'oidc-provider-process.js')], {
    env: { PATH },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.write(`${JSON.stringify({ ca, server })}\n`)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const { port, ...told } = JSON.parse(line)
  const ask = async (name: string, ...args: string[]): Promise<never> => {
    const asked = { method: 'POST', body: JSON.stringify({ name, args }) }
    const answer = (await fetch(`http://127.0.0.1:${port}/`, asked)) as { json(): Promise<unknown> }
    return ((await answer.json()) as { value: never }).value
  }
  return {
    ...told,
    requests: () => ask('requests'),
    clientOf: token => ask('clientOf', token),
    find: token => ask('find', token),
    refreshTokenFor: (client, scope, at = told.issuer) => ask('refreshTokenFor', client, scope, at),
    async close() {
      const ended = once(child, 'exit')
      child.stdin.end()
      await ended
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
