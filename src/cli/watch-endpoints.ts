import { randomBytes } from 'node:crypto'
import { readFileSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileStem } from '../core/state-dir.ts'
import { systemClock } from '../core/time.ts'
import type { TokenCache } from '../library/token-cache.ts'
import type { Profile } from '../profile/profile.ts'
import { type Endpoint, readListen, startEndpoint } from '../watch/identity-endpoint.ts'
import { identityProtocols } from '../watch/identity-replies.ts'
import { type OutputFile, writeOutputFile } from '../watch/output-file.ts'
import type { CommandContext } from './command.ts'
import { kindsOf, variablesFile, type WatchOptions } from './watch-options.ts'

/**
 * Starts what answers the SDKs of clouds, and writes down where they find it.
 *
 * @throws {TokctlError} `usage` for an address that cannot be listened at; `output_failed`
 */
export async function startEndpoints(
  profile: Profile,
  options: WatchOptions,
  tokens: TokenCache,
  context: CommandContext,
): Promise<{ close(): Promise<void> }> {
  const { app, environment } = context
  const kinds = kindsOf(options)
  if (kinds.length === 0) return { async close() {} }
  const { pid, platform } = environment
  // Linux alone says whose a connection is.
  const uid = platform === 'linux' ? environment.uid : undefined
  const directory = app.stateDir.ensure('watch')
  const stem = fileStem(profile.name)
  const secretFile: OutputFile = { flag: 'TOKCTL_STATE_DIR', path: join(directory, `${stem}.secret`) }
  const envFile = variablesFile(options, context) ?? {
    flag: 'TOKCTL_STATE_DIR',
    path: join(directory, `${stem}.env`),
  }
  const secret = randomBytes(32).toString('base64url')
  const endpoints: Endpoint[] = []
  const variables: Record<string, string> = {}
  try {
    for (const kind of kinds) {
      const endpoint = await startEndpoint({
        protocol: identityProtocols[kind],
        profile: profile.name,
        tokens,
        clock: systemClock,
        secret,
        address: readListen(`--${kind}`, options[kind]!),
        uid,
      })
      endpoints.push(endpoint)
      Object.assign(variables, identityProtocols[kind].variables(endpoint.origin, secret, secretFile.path))
    }
    // No line feed at its end: SDKs send what is in it.
    writeOutputFile(secretFile, secret, pid)
    const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`)
    writeOutputFile(envFile, lines.join(''), pid)
  } catch (error) {
    await Promise.all(endpoints.map(endpoint => endpoint.close()))
    throw error
  }
  return {
    async close() {
      await Promise.all(endpoints.map(endpoint => endpoint.close()))
      for (const { path } of [secretFile, envFile]) removeOwn(path, secret)
    },
  }
}

// Another watch of the next minute may have put its own there.
function removeOwn(file: string, secret: string): void {
  try {
    const content = readFileSync(file, 'utf8')
    if (content.includes(secret) || !content.includes('IDENTITY_HEADER')) unlinkSync(file)
  } catch {}
}
