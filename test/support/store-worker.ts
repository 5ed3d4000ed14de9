import type { Environment } from '../../src/core/environment.ts'
import { TokctlError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import { stateDir } from '../../src/core/state-dir.ts'
import type { StoreKind } from '../../src/profile/profile.ts'
import { openStore } from '../../src/store/stores.ts'

// A process that asks a store one thing, says what came of it in one line of JSON, closes, and must then end by itself.
// Arguments: store kind, `get` or `set`, profile, value. It begins when its stdin ends.

const [kind, action, name, value] = process.argv.slice(2) as [StoreKind, 'get' | 'set', string, string]
const environment: Environment = {
  env: process.env,
  platform: process.platform,
  arch: process.arch,
  pid: process.pid,
  uid: process.geteuid?.(),
  cwd: process.cwd(),
  home: process.env['HOME'] ?? '/',
  self: [],
}

for await (const _ of process.stdin);
const warnings: string[] = []
let result: object
try {
  const store = await openStore({
    kind,
    recorded: undefined,
    environment,
    stateDir: stateDir(environment),
    warn: message => warnings.push(message),
  })
  const key = { kind: 'profile', name } as const
  if (action === 'set') await store.set(key, new Secret(value))
  result = { kind: store.kind, value: (await store.get(key))?.expose() }
  store.close()
} catch (error) {
  if (!(error instanceof TokctlError)) throw error
  result = { code: error.code, message: error.message }
}
console.log(JSON.stringify({ ...result, warnings }))
