// The macOS Keychain and the Windows Credential Manager, through @napi-rs/keyring. Rules:
//  - A native call cannot be stopped. It is waited for as long as the deadline says and then counted in stuck.ts.
//  - What exceeds the platform's item size is sealed in a file whose key is in the item.
//  - Which keys exist is read from files, not from the keychain: its own search reads, and prompts for, every secret.

import { unlinkSync } from 'node:fs'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import type { StateDir } from '../core/state-dir.ts'
import { keysIn } from './file.ts'
import { fileNameOf } from './file-name.ts'
import { denied, failed, KeychainAbsent, locked, tooSlow, unusable } from './keychain-errors.ts'
import { refuseEmpty } from './refuse-empty.ts'
import { newSealingKey, type SealingKey, seal, sealingKey, unseal } from './seal.ts'
import type { Keychain, StoreKey } from './store.ts'
import { countNativeCall } from './stuck.ts'
import { cannot, oursAlone, readTrusted } from './trusted-file.ts'

/** The part of `@napi-rs/keyring`'s AsyncEntry that is used. */
export interface NativeEntry {
  getSecret(): Promise<ArrayLike<number> | null>
  setSecret(secret: Uint8Array): Promise<void>
  getPassword(): Promise<string | null>
  deleteCredential(): Promise<boolean>
}

/** `@napi-rs/keyring`, or a fake that passes the same contract. */
export interface NativeKeyring {
  readonly AsyncEntry: new (service: string, account: string) => NativeEntry
}

/** What the native store stands on. */
export interface NativeKeychainOptions {
  readonly keyring: NativeKeyring
  readonly environment: Pick<Environment, 'platform' | 'uid' | 'pid'>
  readonly stateDir: StateDir
  /** For each native call; 2,000 where it is not given. */
  readonly timeoutMs?: number
  /** For the calls of `get`, where that is to be shorter. */
  readonly readTimeoutMs?: number
  /** Bytes that an item may hold; the platform's own limit where it is not given. */
  readonly maxItemBytes?: number
  /** Told of sealed files that are damaged or gone: they read as nothing kept. */
  trace(message: string): void
}

const serviceOf = { profile: 'tokctl', secret: 'tokctl-secret', credential: 'tokctl-credential' } as const
const directory = 'keychain'
const overflowMark = 'tokctl-sealed:'

/** Keeps items in the platform's keychain. */
export function nativeKeychain(options: NativeKeychainOptions): Keychain {
  const { keyring, environment, stateDir, timeoutMs = 2000, readTimeoutMs = timeoutMs, trace } = options
  // CRED_MAX_CREDENTIAL_BLOB_SIZE; the macOS Keychain has no limit that a token meets.
  const maxItemBytes = options.maxItemBytes ?? (environment.platform === 'win32' ? 2560 : 1024 * 1024)
  const remedy = environment.platform === 'darwin' ? 'run: security unlock-keychain' : 'sign in to Windows'

  async function ask<T>(
    service: string,
    account: string,
    call: (entry: NativeEntry) => Promise<T>,
    limitMs = timeoutMs,
  ): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined
    try {
      const answer = call(new keyring.AsyncEntry(service, account))
      countNativeCall(answer)
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(tooSlow(limitMs)), limitMs)
      })
      return await Promise.race([answer, late])
    } catch (error) {
      throw explain(error, remedy)
    } finally {
      clearTimeout(timer)
    }
  }

  const item = <T>({ kind, name }: StoreKey, call: (entry: NativeEntry) => Promise<T>): Promise<T> =>
    ask(serviceOf[kind], name, call)

  const sealedPath = (key: StoreKey, sealing: SealingKey): string =>
    stateDir.file(directory, `${fileNameOf(key)}~${sealing.id.toString('hex')}.sealed`)

  async function readText(key: StoreKey, limitMs = timeoutMs): Promise<string | undefined> {
    const bytes = await ask(serviceOf[key.kind], key.name, entry => entry.getSecret(), limitMs)
    return bytes === null || bytes.length === 0 ? undefined : Buffer.from(bytes).toString()
  }

  /** The file of an item that overflows; `undefined` for any other item. */
  function overflowOf(text: string): SealingKey | undefined {
    if (!text.startsWith(overflowMark)) return undefined
    const bytes = Buffer.from(text.slice(overflowMark.length), 'base64')
    return bytes.length === 32 ? sealingKey(bytes) : undefined
  }

  function remove(path: string): void {
    try {
      unlinkSync(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw cannot('remove', path, error)
    }
  }

  function write(path: string, content: Uint8Array | string): void {
    stateDir.ensure(directory)
    try {
      writeFileAtomic(path, content, environment.pid)
    } catch (error) {
      throw cannot('write', path, error)
    }
  }

  return {
    kind: 'keychain',
    shared: true,
    keepsRefreshTokens: true,

    async get(key) {
      // Between item and file another process may replace both: the item then names another file.
      for (let attempt = 0; attempt < 3; attempt++) {
        const text = await readText(key, readTimeoutMs)
        if (text === undefined) return undefined
        const sealing = overflowOf(text)
        if (sealing === undefined) return new Secret(text)
        const path = sealedPath(key, sealing)
        stateDir.check()
        const sealed = readTrusted(path, oursAlone(environment))
        if (sealed === undefined) continue
        const found = unseal(sealing, key, sealed)
        if (found instanceof Secret) return found
        if (found === 'newer') {
          throw new TokctlError('store_failed', `${path} was written by a newer tokctl`, {
            hint: 'upgrade tokctl',
          })
        }
        trace(`${path} is damaged: read as nothing kept`)
        return undefined
      }
      trace(`the sealed file of ${key.kind} "${printable(key.name)}" is gone: read as nothing kept`)
      return undefined
    },

    async set(key, value) {
      const text = value.expose()
      refuseEmpty(text)
      const before = await readText(key)
      const old = before === undefined ? undefined : overflowOf(before)
      let content = text
      if (Buffer.byteLength(text) > maxItemBytes || text.startsWith(overflowMark)) {
        // File first, under a name of its own, then the item: at no moment does the item name a file that does not open.
        const sealing = newSealingKey()
        write(sealedPath(key, sealing), seal(sealing, key, value))
        content = `${overflowMark}${sealing.bytes.toString('base64')}`
      }
      write(stateDir.file(directory, `${fileNameOf(key)}.item`), '')
      await item(key, entry => entry.setSecret(Buffer.from(content)))
      if (old !== undefined) remove(sealedPath(key, old))
    },

    async delete(key) {
      const before = await readText(key)
      const found = await item(key, entry => entry.deleteCredential())
      const old = before === undefined ? undefined : overflowOf(before)
      if (old !== undefined) remove(sealedPath(key, old))
      remove(stateDir.file(directory, `${fileNameOf(key)}.item`))
      return found
    },

    async list() {
      stateDir.check()
      return keysIn(stateDir.file(directory), '.item')
    },

    async readItem(service, account) {
      // As a password, because other programs on Windows write UTF-16.
      const text = await ask(service, account, entry => entry.getPassword())
      return text === null || text === '' ? undefined : new Secret(text)
    },

    close() {},
  }
}

// The messages are those of Apple's Security framework and of Windows, as the native package passes them on.
const meanings: readonly [pattern: RegExp, explain: (remedy: string) => TokctlError][] = [
  [/user interaction is not allowed|-25308|keychain is locked/i, locked],
  [
    /user name or passphrase you entered is not correct|-25293|canceled|-128\b|access(_| is )denied/i,
    () => denied('its owner or the system said no'),
  ],
  [
    /no keychain is available|-25291|default keychain could not be found|-25307|no_such_logon_session|logon session does not exist/i,
    () => unusable('there is no keychain in this session', 'sign in at the desktop'),
  ],
  [/not valid utf-?8|bad encoding|not UTF-16/i, () => failed('the keychain item is not text')],
]

function explain(error: unknown, remedy: string): TokctlError {
  if (error instanceof TokctlError) return error
  const message = error instanceof Error ? error.message : String(error)
  const meaning = meanings.find(([pattern]) => pattern.test(message))
  return meaning === undefined ? failed(`the keychain failed: ${printable(message)}`) : meaning[1](remedy)
}

/**
 * Loads the native package.
 *
 * @throws {KeychainAbsent} it is not installed, or has no binary for this platform
 */
export async function loadNativeKeyring(): Promise<NativeKeyring> {
  try {
    return await import('@napi-rs/keyring')
  } catch {
    throw new KeychainAbsent(
      'the package @napi-rs/keyring is not installed',
      'install tokctl with its optional dependencies',
    )
  }
}
