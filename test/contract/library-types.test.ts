import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const execute = promisify(execFile)

/** A project that has installed the packed library, TypeScript and the types of Node, and nothing else of ours. */
const project = mkdtempSync(join(tmpdir(), 'tokctl-project-'))
const modules = join(project, 'node_modules')

beforeAll(async () => {
  mkdirSync(join(modules, '@types'), { recursive: true })
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOKCTL_')))
  const args = ['pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', project]
  const { stdout } = await execute('npm', args, { cwd: root, env })
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
  await execute('tar', ['-xzf', join(project, filename), '-C', modules])
  renameSync(join(modules, 'package'), join(modules, 'tokctl'))
  for (const name of ['typescript', 'undici', 'undici-types', '@types/node']) {
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  writeFileSync(join(project, 'package.json'), '{"type":"module"}')
}, 120_000)
afterAll(() => rmSync(project, { recursive: true, force: true }))

async function check(files: Readonly<Record<string, string>>, more: object = {}): Promise<string> {
  for (const [name, content] of Object.entries(files)) writeFileSync(join(project, name), content)
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2022'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    allowJs: true,
    checkJs: true,
    noEmit: true,
    ...more,
  }
  const config = join(project, 'tsconfig.json')
  writeFileSync(config, JSON.stringify({ compilerOptions, files: Object.keys(files) }))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const call = execute(process.execPath, [tsc, '-p', config], { cwd: project })
  return call.then(
    () => '',
    error => error.stdout as string,
  )
}

const typed = `
import { createTokctl, sourceFrom, TokctlError } from 'tokctl'
import type { ErrorCode, GetOptions, Interceptor, Source, Tokctl, TokctlOptions, Token } from 'tokctl'

const options: TokctlOptions = { config: 'x.toml', store: 'file', onWarning: line => void line.length }
const tokens: Tokctl = createTokctl(options)
const ask: GetOptions = { minValidityMs: 1, force: true, signal: AbortSignal.timeout(1) }
const token: Token = await tokens.get('corp', ask)
const text: string = token.accessToken
const at: number | undefined = token.expiresAt
await tokens.reject('corp', token)
await tokens.reject('corp', text)
await tokens.forget('corp')
const mine: typeof fetch = tokens.fetch('corp')
const one: Source = sourceFrom(async ({ profile, signal, timeoutMs }) => ({ accessToken: \`\${profile}\${signal.aborted}\${timeoutMs}\` }))
createTokctl({ sources: one }).close()
createTokctl({ sources: { a: one } }).close()
const interceptor: Interceptor = tokens.interceptor('corp', { origin: 'https://api.example.com' })
try {
} catch (error) {
  if (error instanceof TokctlError) {
    const code: ErrorCode = error.code
    // @ts-expect-error the codes are a closed union
    const not: ErrorCode = 'no_such_code'
    void [code, not]
  }
}
// @ts-expect-error a token is not made by hand
new Token()
// @ts-expect-error an unknown option
createTokctl({ confg: 'x' })
// @ts-expect-error a profile is named
await tokens.get()
void [at, mine, interceptor]
`

test('the packed library type-checks in a project of its own, libraries included, and ships only what is public', async () => {
  const plain = `
import { createTokctl } from 'tokctl'
const { accessToken } = await createTokctl().get('corp')
accessToken.length
`
  expect(await check({ 'typed.ts': typed, 'plain.js': plain })).toBe('')
  const types = readdirSync(join(modules, 'tokctl', 'dist', 'types'), { recursive: true, encoding: 'utf8' })
  expect(types.filter(name => name.endsWith('.d.ts')).sort()).toEqual([
    'core/errors.d.ts',
    'core/time.d.ts',
    'index.d.ts',
    'library/api.d.ts',
    'library/source-from.d.ts',
    'library/token.d.ts',
  ])
}, 240_000)

test("its interceptor fits undici's own types, and a bundler's way of finding modules", async () => {
  const undici = `
import { createTokctl } from 'tokctl'
import { Agent, interceptors, Pool, type Dispatcher } from 'undici'
const tokens = createTokctl()
const agent: Dispatcher = new Agent().compose(tokens.interceptor('corp'), interceptors.redirect())
const pool: Dispatcher = new Pool('https://api.example.com').compose([tokens.interceptor('corp')])
void [agent, pool]
`
  const bundler = { module: 'preserve', moduleResolution: 'bundler', skipLibCheck: true }
  expect(await check({ 'undici.ts': undici, 'typed.ts': typed }, bundler)).toBe('')
}, 240_000)
