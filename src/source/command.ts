import { basename } from 'node:path'
import { printable, TokctlError } from '../core/errors.ts'
import { childEnvironment, lastWords } from '../core/program.ts'
import { Secret } from '../core/secret.ts'
import { isTokenText, type Token } from '../core/token.ts'
import type { CommandProfile } from '../profile/profile.ts'
import { at, type JsonObject, readJsonObject, readMembers, readTokenType } from './answer.ts'
import { expiryOf } from './lifetime.ts'
import type { SourcePorts, TokenSource } from './source.ts'

const maxOutputBytes = 1_048_576

/**
 * A program whose stdout is the token, on one line or as JSON.
 *
 * `fetch` throws `command_failed`, with the last line of stderr; never with anything of stdout.
 */
export function command(profile: CommandProfile, { clock, run, environment }: SourcePorts): TokenSource {
  const name = printable(basename(profile.command[0] ?? ''))
  const fail = (what: string): TokctlError => new TokctlError('command_failed', `command "${name}" ${what}`)

  return {
    async fetch({ timeoutMs, signal }) {
      const obtainedAt = clock.now()
      const startedAt = clock.monotonic()
      const result = await run({
        command: profile.command,
        env: childEnvironment(environment),
        timeoutMs: Math.min(profile.timeout_ms, timeoutMs),
        signal,
        maxBytes: maxOutputBytes,
      }).catch(error => {
        // The caller's time ran out before the program's own: that says nothing of the program.
        const wasImpatient = timeoutMs < profile.timeout_ms && clock.monotonic() - startedAt >= timeoutMs
        if (!wasImpatient || !(error instanceof TokctlError) || error.code !== 'command_failed') throw error
        throw new TokctlError('timeout', error.message, { hint: 'allow more time with --timeout' })
      })
      if (result.exitCode !== 0) {
        const how =
          result.exitCode === undefined
            ? `was ended by ${result.killedBy ?? 'a signal'}`
            : `ended with exit code ${result.exitCode}`
        const said = lastWords(result)
        throw fail(said === '' ? how : `${how}: ${said}`)
      }
      return readOutput(result.stdout.expose(), obtainedAt)
    },
  }

  function readOutput(stdout: string, obtainedAt: number): Token {
    const text = stdout.trim()
    if (text === '') throw fail('printed nothing')
    const common = { scope: undefined, obtainedAt, refreshToken: undefined }
    if (profile.members !== undefined) {
      const json = readJsonObject(text)
      if (json === undefined) throw fail('printed something that is not a JSON object')
      const held = readMembers(json, profile.members, what => fail(`printed JSON ${what}`))
      return { ...common, ...held, tokenType: 'Bearer', expiresAt: expiryIn(json, '', obtainedAt) }
    }
    if (!text.startsWith('{')) {
      if (/[\r\n]/.test(text)) throw fail('printed more than one line')
      if (!isTokenText(text)) throw fail('printed something that is not a token')
      const expiresAt = expiryOf({ accessToken: text }, obtainedAt, 0, profile.default_ttl_ms)
      return { ...common, accessToken: new Secret(text), tokenType: 'Bearer', expiresAt }
    }
    const json = readJsonObject(text)
    if (json === undefined) throw fail('printed JSON that cannot be read')
    const { access_token } = json
    if (typeof access_token !== 'string' || access_token === '')
      throw fail('printed JSON without access_token')
    if (!isTokenText(access_token)) throw fail('printed a token that holds characters no token may have')
    const tokenType = readTokenType(json)
    if (tokenType === undefined) throw fail('printed a token of a type that tokctl cannot use')
    const expiresAt = expiryIn(json, access_token, obtainedAt)
    return { ...common, accessToken: new Secret(access_token), tokenType, expiresAt }
  }

  function expiryIn(json: JsonObject, accessToken: string, obtainedAt: number): number | undefined {
    const { expires_in_path = 'expires_in', expires_at_path = 'expires_at', default_ttl_ms } = profile
    const told = { expiresIn: at(json, expires_in_path), expiresAt: at(json, expires_at_path), accessToken }
    return expiryOf(told, obtainedAt, 0, default_ttl_ms)
  }
}
