import { closeSync, constants, fsyncSync, linkSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { syncDirectory } from '../core/atomic-file.ts'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import { shellWord } from '../core/shell-word.ts'
import type { StateDir } from '../core/state-dir.ts'
import type { SealingKey } from './seal.ts'
import { cannot, oursAlone, readTrusted } from './trusted-file.ts'

/** Where the key of sealed files comes from. */
export interface KeySource {
  /** For a message: the variable's or the file's name. */
  readonly name: string
  /**
   * The key, 32 bytes; `undefined` where none was made yet.
   *
   * @throws {TokctlError} `store_failed`
   */
  load(): Buffer | undefined
  /**
   * The key, 32 bytes, made where there is none. However many processes ask at once, all get the same.
   *
   * @throws {TokctlError} `store_failed`, `state_dir_unsafe`
   */
  loadOrMake(): Promise<Buffer>
}

const hint = 'make one with: openssl rand -base64 32'

/** `TOKCTL_STORE_KEY`, else the file that `TOKCTL_STORE_KEY_FILE` names, else `store.key` in the state directory. */
export function keySource(
  environment: Pick<Environment, 'env' | 'uid' | 'pid'>,
  stateDir: StateDir,
): KeySource {
  const { env, uid } = environment
  const given = env['TOKCTL_STORE_KEY']
  if (given) {
    const load = (): Buffer => {
      const bytes = fromBase64(given)
      if (bytes === undefined) {
        throw new TokctlError('store_failed', 'TOKCTL_STORE_KEY is not 32 bytes in base64', { hint })
      }
      return bytes
    }
    return { name: 'TOKCTL_STORE_KEY', load, loadOrMake: async () => load() }
  }
  const file = env['TOKCTL_STORE_KEY_FILE']
  if (file) {
    const load = (): Buffer => {
      // Mounted secrets are links, belong to root, and are readable by a group.
      const content = readTrusted(file, { uid, forbidden: 0o027, followLinks: true })
      if (content === undefined) {
        throw new TokctlError('store_failed', `TOKCTL_STORE_KEY_FILE names ${file}, which does not exist`, {
          hint: `run: (umask 077; openssl rand -base64 32 > ${shellWord(file)})`,
        })
      }
      return parseKeyFile(file, content)
    }
    return { name: file, load, loadOrMake: async () => load() }
  }
  return besides(stateDir.file('store.key'), environment, stateDir)
}

function besides(path: string, environment: Pick<Environment, 'uid' | 'pid'>, stateDir: StateDir): KeySource {
  function load(): Buffer | undefined {
    const content = readTrusted(path, oursAlone(environment))
    return content === undefined ? undefined : parseKeyFile(path, content)
  }
  return {
    name: path,
    load,
    async loadOrMake() {
      const found = load()
      if (found !== undefined) return found
      stateDir.ensure()
      make(path, (await import('./seal.ts')).newSealingKey(), environment.pid)
      // Perhaps another process was first: its key is the key.
      const made = load()
      if (made === undefined) throw new TokctlError('store_failed', `the key file ${path} went away at once`)
      return made
    },
  }
}

/** Puts a whole key file in place, unless there is one by then. */
function make(path: string, key: SealingKey, pid: number): void {
  const temporary = `${path}.${pid}.${key.id.toString('hex')}.tmp`
  try {
    write(temporary, key)
    try {
      linkSync(temporary, path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // A file system without links: a crash in the next instant would leave a file that is no key, and is told as such.
      if (code !== 'EEXIST') write(path, key)
    }
    syncDirectory(dirname(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannot('write', path, error)
  } finally {
    try {
      unlinkSync(temporary)
    } catch {}
  }
}

function write(path: string, key: SealingKey): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  try {
    writeSync(fd, `${key.bytes.toString('base64')}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function parseKeyFile(path: string, content: Buffer): Buffer {
  const bytes = content.length === 32 ? content : fromBase64(content.toString('latin1'))
  if (bytes === undefined)
    throw new TokctlError('store_failed', `${path} does not hold a key of 32 bytes`, { hint })
  return bytes
}

function fromBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]{43}=?$/.test(text.trim()) ? Buffer.from(text.trim(), 'base64') : undefined
}
