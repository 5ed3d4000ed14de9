import { expect, test } from 'vitest'
import { proxyFindings } from '../../src/cli/doctor-proxy.ts'
import type { Environment } from '../../src/core/environment.ts'
import { scratch } from '../support/run.ts'

const table = (name: string, listen: string, more = ''): string =>
  `[proxy.${name}]\nprofile = "corp"\nupstream = "https://api.example.com"\nlisten = "${listen}"\n${more}`

test('a secret for clients is wanted where the system does not say whose a connection is, and nowhere else', async () => {
  const at = scratch()
  at.writeConfig(
    `[profile.corp]\nsource = "static"\ntoken = { env = "T" }\n${table('open', '127.0.0.1:8080')}${table('local', 'unix:/run/api.sock')}${table('asking', '[::1]:0', 'client_auth = "/run/secret"\n')}`,
  )
  const levels = async (platform: NodeJS.Platform, hasTable: boolean) => {
    const environment = { platform, env: {}, home: at.home, cwd: at.home } as unknown as Environment
    const probe = {
      exists: () => hasTable,
      read: () => undefined,
      fileSystem: () => undefined,
      room: () => undefined,
      refusal: () => undefined,
    }
    return proxyFindings(environment, probe, at.configFile)
  }
  for (const [platform, hasTable] of [
    ['darwin', false],
    ['linux', false],
  ] as const) {
    expect(await levels(platform, hasTable)).toEqual([
      {
        check: 'listen',
        level: 'problem',
        message:
          'proxy "open" does not start: this system does not say whose a connection is, so every user of this machine could use port 8080',
        hint: 'write client_auth = "/path/of/a/secret" into [proxy.open], start it with --client-auth, or listen at unix:/path',
      },
      { check: 'listen', level: 'ok', message: 'proxy "local" is reached by this user alone: /run/api.sock' },
      { check: 'listen', level: 'ok', message: 'proxy "asking" asks for a secret at port of its choice' },
    ])
  }
  const [open] = await levels('linux', true)
  expect(open).toEqual({
    check: 'listen',
    level: 'ok',
    message: 'proxy "open" takes connections of this user alone at port 8080',
  })
})
