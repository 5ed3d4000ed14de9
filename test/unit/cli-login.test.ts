import { Command } from 'commander'
import { expect, test } from 'vitest'
import type { CommandContext } from '../../src/cli/command.ts'
import { define } from '../../src/cli/login.ts'

/** What the manager is given when that is typed. */
async function deadlineOf(source: string, ...words: string[]): Promise<number> {
  let asked = 0
  const app = {
    profile: async () => ({
      name: 'me',
      source,
      client_id: 'cli',
      device_authorization_endpoint: 'https://a/',
    }),
    childEnvironment: async () => ({}),
    manager: {
      login: async (_profile: unknown, _person: unknown, timeoutMs: number) => {
        asked = timeoutMs
        throw new Error('enough')
      },
    },
  }
  const context = { app, environment: {}, signal: () => undefined } as unknown as CommandContext
  const program = new Command()
  define(program, work => work(context))
  await expect(program.parseAsync(['node', 'tokctl', 'login', 'me', ...words])).rejects.toThrow('enough')
  return asked
}

test('a sign-in may take five minutes, fifteen on another device, or what --timeout says', async () => {
  expect(await deadlineOf('authorization_code')).toBe(5 * 60_000)
  expect(await deadlineOf('authorization_code', '--device')).toBe(15 * 60_000)
  expect(await deadlineOf('device_code')).toBe(15 * 60_000)
  expect(await deadlineOf('authorization_code', '--timeout', '90s')).toBe(90_000)
})
