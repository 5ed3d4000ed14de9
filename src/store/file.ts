// Sealed files under the state directory. On the path of every hit: imports node:fs, node:path and words alone, and what
// opens a file where it is needed.

import { readdirSync, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { syncDirectory, writeFileAtomic } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { printable, TokctlError } from '../core/errors.ts'
import { Secret } from '../core/secret.ts'
import { shellWord } from '../core/shell-word.ts'
import type { StateDir } from '../core/state-dir.ts'
import { fileNameOf, keyOfFileName } from './file-name.ts'
import { keySource } from './key-file.ts'
import { refuseEmpty } from './refuse-empty.ts'
import type { OpenSealed, Sealer, Unsealable } from './seal-head.ts'
import type { Store, StoreKey } from './store.ts'
import { cannot, oursAlone, readTrusted } from './trusted-file.ts'

/** What the file store stands on. */
export interface FileStoreOptions {
  readonly environment: Pick<Environment, 'env' | 'uid' | 'pid'>
  readonly stateDir: StateDir
  /** False where `auto` took files for want of a keychain. */
  readonly keepsRefreshTokens: boolean
  /** How a runtime opens a file sooner than `seal.ts` does; what it does not open, that one looks into. */
  readonly openSealed?: OpenSealed | undefined
  /** How a runtime seals sooner than `seal.ts` does. */
  readonly sealer?: (() => Promise<Sealer>) | undefined
  /** Told of files that are damaged: they read as nothing kept, and the next write replaces them. */
  trace(message: string): void
}

/** Keeps one sealed file per key in `records/`. Makes nothing before the first write. */
export function fileStore(options: FileStoreOptions): Store {
  const { environment, stateDir, keepsRefreshTokens, openSealed, sealer, trace } = options
  const source = keySource(environment, stateDir)
  const trust = oursAlone(environment)
  const pathOf = (key: StoreKey): string => stateDir.file('records', `${fileNameOf(key)}.sealed`)

  function read(path: string): Buffer | undefined {
    stateDir.check()
    return readTrusted(path, trust)
  }

  /** Leaves alone what another key, or a later version, has sealed. */
  function refuseOthers(path: string, found: Unsealable | 'ours' | Secret): void {
    if (found === 'other_key') {
      throw new TokctlError(
        'store_failed',
        `${path} was sealed with another key than ${printable(source.name)}`,
        {
          hint: `give the key it was sealed with, or remove the file: rm ${shellWord(path)}`,
        },
      )
    }
    if (found === 'newer') {
      throw new TokctlError('store_failed', `${path} was written by a newer tokctl`, {
        hint: 'upgrade tokctl',
      })
    }
  }

  function missingKey(path: string): TokctlError {
    return new TokctlError(
      'store_failed',
      `the key of ${path} is gone: there is no ${printable(source.name)}`,
      {
        hint: `put it back, or remove the file: rm ${shellWord(path)}`,
      },
    )
  }

  async function sealAfterLooking(
    bytes: Buffer,
    key: StoreKey,
    value: Secret,
    path: string,
    before: Buffer | undefined,
  ): Promise<Buffer> {
    const { inspectSeal, seal, sealingKey } = await import('./seal.ts')
    const sealing = sealingKey(bytes)
    if (before !== undefined) refuseOthers(path, inspectSeal(sealing, before))
    return seal(sealing, key, value)
  }

  return {
    kind: 'file',
    shared: true,
    keepsRefreshTokens,

    async get(key) {
      const path = pathOf(key)
      const sealed = read(path)
      if (sealed === undefined) return undefined
      const bytes = source.load()
      if (bytes === undefined) throw missingKey(path)
      const opened = await openSealed?.(bytes, key, sealed)
      if (opened !== undefined) return opened
      const { sealingKey, unseal } = await import('./seal.ts')
      const found = unseal(sealingKey(bytes), key, sealed)
      refuseOthers(path, found)
      if (found instanceof Secret) return found
      trace(`${path} is damaged: read as nothing kept`)
      return undefined
    },

    async set(key, value) {
      refuseEmpty(value.expose())
      const path = pathOf(key)
      const before = read(path)
      const bytes = before === undefined ? await source.loadOrMake() : source.load()
      if (bytes === undefined) throw missingKey(path)
      const sealed = await (await sealer?.())?.seal(bytes, key, value, before)
      const whole = sealed ?? (await sealAfterLooking(bytes, key, value, path, before))
      stateDir.ensure('records')
      try {
        writeFileAtomic(path, whole, environment.pid)
      } catch (error) {
        throw cannot('write', path, error)
      }
    },

    async delete(key) {
      const path = pathOf(key)
      const before = read(path)
      if (before === undefined) return false
      const bytes = source.load()
      if (bytes === undefined) throw missingKey(path)
      const { inspectSeal, sealingKey } = await import('./seal.ts')
      refuseOthers(path, inspectSeal(sealingKey(bytes), before))
      try {
        unlinkSync(path)
        syncDirectory(dirname(path))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
        throw cannot('remove', path, error)
      }
      return true
    },

    async list() {
      stateDir.check()
      return keysIn(stateDir.file('records'), '.sealed')
    },

    close() {},
  }
}

/** The keys of the files in a directory whose name ends so; a missing directory has none. */
export function keysIn(directory: string, ending: string): StoreKey[] {
  let names: string[]
  try {
    names = readdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw cannot('list', join(directory), error)
  }
  return names.flatMap(name => {
    const key = name.endsWith(ending) ? keyOfFileName(name.slice(0, name.length - ending.length)) : undefined
    return key === undefined ? [] : [key]
  })
}
