import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { childEnvironment, lastWords, type RunProgram } from '../core/program.ts'
import { readRegularFile } from '../core/read-file.ts'
import { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import type { SecretRef } from './profile.ts'
import { shownPath } from './shown-path.ts'

/** What references are resolved with. The two readers give `undefined` when nothing is kept under the name. */
export interface ResolverPorts {
  readonly environment: Environment
  readonly run: RunProgram
  /** @throws {TokctlError} store errors */
  readSecret(name: string): Promise<Secret | undefined>
  /** @throws {TokctlError} store errors */
  readKeychain(service: string, account: string): Promise<Secret | undefined>
}

const maxBytes = 1024 * 1024
const commandTimeoutMs = 30_000

/**
 * Makes the function that turns a reference into its secret, when a source asks and not before.
 * One line break at the end of a file or of a program's answer is not part of the secret.
 *
 * @returns A function that throws {TokctlError} `secret_unresolved` (with what the reference names, never with what it
 *   holds), `secret_not_kept`, a store error, or what the signal gives as its reason.
 */
export function createResolver(
  ports: ResolverPorts,
): (ref: SecretRef, signal?: AbortSignal) => Promise<Secret> {
  const { environment } = ports
  return async (ref, signal) => {
    signal?.throwIfAborted()
    if ('env' in ref) return fromEnv(ref.env, environment)
    if ('file' in ref) return fromFile(ref.file, environment)
    if ('command' in ref) return fromCommand(ref.command, ports, signal)
    if ('secret' in ref) return (await ports.readSecret(ref.secret)) ?? notKept(ref.secret)
    const { service, account } = ref.keychain
    return (await ports.readKeychain(service, account)) ?? noItem(service, account, environment)
  }
}

function fromEnv(name: string, { env, platform }: Environment): Secret {
  const value = platform === 'win32' ? caseless(env, name) : env[name]
  if (value !== undefined && value !== '') return new Secret(value)
  const state = value === undefined ? 'is not set' : 'is empty'
  throw new TokctlError('secret_unresolved', `environment variable "${printable(name)}" ${state}`, {
    hint: platform === 'win32' ? `run: set ${name}=…` : `run: export ${name}=…`,
  })
}

function caseless(env: Environment['env'], name: string): string | undefined {
  const key = Object.keys(env).find(key => key.toUpperCase() === name.toUpperCase())
  return key === undefined ? undefined : env[key]
}

function fromFile(path: string, { uid, home }: Environment): Secret {
  const file = `secret file ${shownPath(path, home)}`
  const found = readRegularFile(path, maxBytes)
  if ('failure' in found) {
    const why = {
      missing: 'does not exist',
      not_regular: 'is not a regular file',
      too_large: 'is larger than 1 MiB',
      unreadable: `cannot be read (${found.code})`,
    }[found.failure]
    throw new TokctlError('secret_unresolved', `${file} ${why}`)
  }
  if (uid !== undefined) {
    const hint = `run: chmod 600 ${shellWord(path)}`
    if ((found.mode & 0o022) !== 0) {
      throw new TokctlError('secret_unresolved', `${file} can be written by others`, { hint })
    }
    // Container platforms mount secrets as files of root that everybody in the container may read.
    if ((found.mode & 0o004) !== 0 && found.uid !== 0) {
      throw new TokctlError('secret_unresolved', `${file} can be read by everybody`, { hint })
    }
    if (found.uid !== uid && found.uid !== 0) {
      throw new TokctlError('secret_unresolved', `${file} belongs to another user`, {
        hint: `run: sudo chown ${uid} ${shellWord(path)}`,
      })
    }
  }
  const text = trimmed(found.bytes.toString())
  if (text === '') throw new TokctlError('secret_unresolved', `${file} is empty`)
  // What is not UTF-8 would be sent as something else than it is.
  if (text.includes('\ufffd')) throw new TokctlError('secret_unresolved', `${file} is not UTF-8 text`)
  return new Secret(text)
}

async function fromCommand(
  command: readonly string[],
  { run, environment }: ResolverPorts,
  signal: AbortSignal | undefined,
): Promise<Secret> {
  const program = `secret command "${printable(command[0] ?? '')}"`
  const result = await run({
    command,
    env: childEnvironment(environment),
    timeoutMs: commandTimeoutMs,
    signal,
    maxBytes,
  }).catch((error: unknown) => {
    if (!(error instanceof TokctlError) || error.code !== 'command_failed') throw error
    throw new TokctlError('secret_command_failed', `secret reference: ${error.message}`, { hint: error.hint })
  })
  const { exitCode, killedBy, stdout } = result
  if (exitCode !== 0) {
    const how =
      exitCode === undefined ? `was ended by ${killedBy ?? 'a signal'}` : `ended with exit code ${exitCode}`
    const told = lastWords(result)
    throw new TokctlError('secret_command_failed', `${program} ${how}${told === '' ? '' : `: ${told}`}`)
  }
  const text = trimmed(stdout.expose())
  if (text === '') throw new TokctlError('secret_command_failed', `${program} printed nothing`)
  return new Secret(text)
}

function trimmed(text: string): string {
  return text.replace(/\r?\n$/, '')
}

function notKept(name: string): never {
  throw new TokctlError('secret_not_kept', `no secret is kept under the name "${printable(name)}"`, {
    hint: `run: tokctl secret set ${shellWord(name)}`,
  })
}

function noItem(service: string, account: string, { platform }: Environment): never {
  const [s, a] = [shellWord(service), shellWord(account)]
  const hints: Partial<Record<NodeJS.Platform, string>> = {
    linux: `run: secret-tool store --label=${s} service ${s} account ${a}`,
    darwin: `run: security add-generic-password -s ${s} -a ${a} -w`,
  }
  const what = `service "${printable(service)}" and account "${printable(account)}"`
  throw new TokctlError('secret_not_kept', `the keychain has no item for ${what}`, { hint: hints[platform] })
}
