import { chmodSync, lstatSync, mkdtempSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'

/** sockaddr_un(7): the path with its end must fit 108 bytes; 104 on macOS. */
const maxPathBytes = 103

/**
 * Listens at a unix socket that only its owner can reach, from its first moment on. A socket that nobody listens at any
 * more is replaced; anything else at that path stays.
 *
 * @returns What removes it.
 * @throws {TokctlError} `config_invalid`
 */
export async function listenAtSocketFile(server: Server, path: string): Promise<() => void> {
  await makeRoom(path)
  let directory: string
  try {
    directory = mkdtempSync(join(dirname(path), '.tokctl-'))
  } catch (error) {
    throw failed(path, (error as NodeJS.ErrnoException).code)
  }
  // Listened at inside of a directory of ours, so that nobody connects before its mode is set.
  const hidden = join(directory, 's')
  try {
    if (Buffer.byteLength(hidden) > maxPathBytes) throw failed(path, 'the path is too long')
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(failed(path, error.code)))
      server.listen(hidden, resolve)
    })
    chmodSync(hidden, 0o600)
    renameSync(hidden, path)
  } catch (error) {
    server.close()
    throw error instanceof TokctlError ? error : failed(path, (error as NodeJS.ErrnoException).code)
  } finally {
    rmdirSync(directory)
  }
  const { ino } = lstatSync(path)
  return () => {
    try {
      // Another proxy may have taken the place meanwhile.
      if (lstatSync(path).ino === ino) unlinkSync(path)
    } catch {}
  }
}

async function makeRoom(path: string): Promise<void> {
  let found: ReturnType<typeof lstatSync>
  try {
    found = lstatSync(path)
  } catch {
    return
  }
  if (!found.isSocket()) throw failed(path, 'there is something else')
  const isAlive = await new Promise<boolean>(resolve => {
    const probe = connect(path, () => {
      probe.destroy()
      resolve(true)
    })
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
  if (isAlive) throw failed(path, 'somebody listens there')
  unlinkSync(path)
}

function failed(path: string, why: string | undefined): TokctlError {
  return new TokctlError('config_invalid', `cannot listen at the socket ${path} (${why ?? 'error'})`)
}
