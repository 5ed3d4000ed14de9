import { build, type Metafile } from 'esbuild'
import { beforeAll, expect, test } from 'vitest'

let inputs: Metafile['inputs']
beforeAll(async () => {
  const { metafile } = await build({
    entryPoints: ['src/source/sources.ts', 'src/source/send.ts'],
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    outdir: 'never-written',
    write: false,
    metafile: true,
    logLevel: 'silent',
  })
  inputs = metafile.inputs
})

/** All modules that loading these loads with them, packages and Node's own included. */
function loadedWith(...entries: string[]): string[] {
  const loaded = new Set<string>()
  const visit = (path: string): void => {
    if (loaded.has(path)) return
    loaded.add(path)
    for (const { kind, path: next } of inputs[path]?.imports ?? []) if (kind !== 'dynamic-import') visit(next)
  }
  for (const entry of entries) visit(`src/source/${entry}`)
  return [...loaded].filter(path => !path.startsWith('src/'))
}

test('a direct request for client credentials loads nothing beside our own files and node:http', () => {
  expect(inputs['src/source/send-direct.ts']).toBeDefined()
  expect(loadedWith('sources.ts', 'client-credentials.ts', 'send.ts', 'send-direct.ts')).toEqual([])
})

test('undici comes with a proxy, and without its index', () => {
  const loaded = loadedWith('send-proxied.ts')
  expect(loaded.some(path => path.endsWith('undici/lib/dispatcher/proxy-agent.js'))).toBe(true)
  expect(
    loaded.filter(path =>
      /undici\/(index\.js|lib\/web\/fetch\/index\.js|lib\/(cache|mock|interceptor)\/)/.test(path),
    ),
  ).toEqual([])
})

test('signing alone loads node:crypto, and TLS material alone node:tls', () => {
  const ours = Object.keys(inputs).filter(path => path.startsWith('src/source/'))
  const users = (module: string): string[] =>
    ours.filter(path =>
      inputs[path]?.imports.some(each => each.path === module && each.kind !== 'dynamic-import'),
    )
  expect(users('node:crypto').sort()).toEqual(['src/source/dpop.ts', 'src/source/jwt.ts'])
  expect(users('node:tls')).toEqual([])
  expect(users('node:http')).toEqual([])
  expect(users('node:https')).toEqual([])
})
