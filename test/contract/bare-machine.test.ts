import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { startAuthServer } from '../support/auth-server.ts'
import { clientProfile } from '../support/corp.ts'
import { many, run, scratch } from '../support/run.ts'

// A root directory with Node, the program and the profile in it, and nothing else: no home, no user database, no keychain,
// no shell, no /proc, no certificates.

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const nobody = 65_534

/** Makes such a machine; what runs on it is given nothing but the secret. */
async function machine(user: number) {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  const to = join(at.path, 'machine')
  const put = (from: string, path: string): void => {
    mkdirSync(dirname(join(to, path)), { recursive: true })
    copyFileSync(from, join(to, path))
  }
  put(process.execPath, 'node')
  chmodSync(join(to, 'node'), 0o755)
  const libraries = execFileSync('ldd', [process.execPath], { encoding: 'utf8' })
  for (const [path] of libraries.matchAll(/\/\S+/g)) put(path, path)
  for (const name of ['bin', 'dist/cli', 'package.json'])
    cpSync(join(root, name), join(to, 'app', name), { recursive: true })
  for (const name of [
    'fs-native-extensions',
    'require-addon',
    'which-runtime',
    'bare-addon-resolve',
    'bare-module-resolve',
    'bare-semver',
  ]) {
    const options = {
      recursive: true,
      dereference: true,
      filter: (path: string) => !/prebuilds\/(?!linux-)\w/.test(path),
    }
    cpSync(join(root, 'node_modules', name), join(to, 'app/node_modules', name), options)
  }
  mkdirSync(join(to, 'tmp'))
  chmodSync(join(to, 'tmp'), 0o1777)
  writeFileSync(join(to, 'tokctl.toml'), clientProfile('corp', auth.tokenEndpoint))
  chownSync(join(to, 'tokctl.toml'), user, user)
  chmodSync(join(to, 'tokctl.toml'), 0o600)
  const none = { PATH: undefined, HOME: undefined, TOKCTL_STATE_DIR: undefined, TOKCTL_STORE: undefined }
  const program = [
    '/usr/sbin/chroot',
    `--userspec=${user}:${user}`,
    to,
    '/node',
    '/app/bin/tokctl.js',
    '--config',
    '/tokctl.toml',
  ]
  return { auth, to, options: { at, program, env: { ...none, CORP_SECRET: 'client-secret-canary' } } }
}

test.each([
  ['root', 0],
  ['a user that nobody knows', nobody],
])(
  'twenty steps of a job of %s ask once, on a machine with nothing but Node',
  async (_, user) => {
    const { auth, to, options } = await machine(user)
    const { results } = await many(20, ['get', 'corp'], { ...options, withinMs: 60_000, timeoutMs: 60_000 })
    expect(results.map(({ code, stdout }) => ({ code, stdout }))).toEqual(
      Array.from({ length: 20 }, () => ({ code: 0, stdout: 'token-1\n' })),
    )
    expect(auth.count()).toBe(1)
    const later = await run(['get', 'corp'], options)
    expect(later).toMatchObject({ code: 0, stdout: 'token-1\n' })
    expect(auth.count()).toBe(1)

    // Nobody else can read what was kept, and no secret of it is in clear.
    const made = readdirSync(to, { recursive: true, encoding: 'utf8' }).filter(path =>
      /(^|\/)(tokctl-\d+|\.local)(\/|$)/.test(path),
    )
    expect(made.length).toBeGreaterThan(3)
    for (const path of made) {
      const found = lstatSync(join(to, path))
      expect(found.mode & 0o077, path).toBe(0)
      expect(found.uid, path).toBe(user)
      if (!found.isFile()) continue
      const content = readFileSync(join(to, path), 'latin1')
      expect(content).not.toContain('token-1')
      expect(content).not.toContain('canary')
    }
  },
  120_000,
)
