import { onTestFinished } from 'vitest'
import { type AuthServer, startAuthServer } from './auth-server.ts'
import { type RunOptions, type Scratch, type Started, scratch, start } from './run.ts'

/** A home with one profile, `corp`, and the server that answers it. */
export interface Corp {
  readonly auth: AuthServer
  readonly at: Scratch
  /** What every run in this home is given. */
  readonly options: RunOptions
}

/** Makes a profile of client_credentials against a server of this test's own. `extra` are lines of the profile. */
export async function corp(extra = ''): Promise<Corp> {
  const auth = await startAuthServer()
  onTestFinished(() => auth.close())
  const at = scratch()
  at.writeConfig(clientProfile('corp', auth.tokenEndpoint, extra))
  return { auth, at, options: { at, env: { CORP_SECRET: 'client-secret-canary' } } }
}

/** The lines of such a profile. */
export function clientProfile(name: string, tokenEndpoint: string, extra = ''): string {
  return [
    `[profile.${name}]`,
    'source = "client_credentials"',
    `token_endpoint = "${tokenEndpoint}"`,
    'client_id = "build-bot"',
    'client_secret = { env = "CORP_SECRET" }',
    extra,
    '',
  ].join('\n')
}

/** Starts `n` processes and resolves when all but `leaders` of them say that they wait for another one. */
export async function startWaiting(
  n: number,
  args: readonly string[],
  options: RunOptions,
  leaders = 1,
): Promise<Started[]> {
  const all = Array.from({ length: n }, () =>
    start([...args, '--verbose'], { timeoutMs: 60_000, ...options }),
  )
  let waiting = 0
  await new Promise<void>((resolve, reject) => {
    for (const one of all) {
      one.waitForStderr(/waiting for process \d+/, 60_000).then(
        () => ++waiting === n - leaders && resolve(),
        error => waiting < n - leaders - 1 && one.child.exitCode !== null && reject(error),
      )
    }
  })
  return all
}

/** A machine whose clock is ahead by that much, such as `+56m`. The clock that measures deadlines is left alone. */
export function ahead(offset: string): Record<string, string> {
  return {
    LD_PRELOAD: '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
    FAKETIME: offset,
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
  }
}
