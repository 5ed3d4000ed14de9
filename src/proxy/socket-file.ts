import { chmodSync, lstatSync, mkdtempSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { platform } from 'node:os'
import { dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'

/** sockaddr_un(7): the path with its end must fit 108 bytes; 104 where the system is of BSD. */
const maxPathBytes = platform() === 'linux' ? 107 : 103
/** What is made beside it at first: `.tokctl-` and six letters, with a socket inside. */
const hiddenBytes = '/.tokctl-XXXXXX/s'.length

/**
 * Listens at a unix socket that only its owner can reach, from its first moment on. A socket that nobody listens at any
 * more is replaced; anything else at that path stays.
 *
 * @returns What removes it.
 * @throws {TokctlError} `config_invalid`
 */
export async function listenAtSocketFile(server: Server, path: string): Promise<() => void> {
  refuseLongPath(path)
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

/** The system would cut it, listen at what is left, and no client would find it by its name. */
function refuseLongPath(path: string): void {
  const maxDirectory = maxPathBytes - hiddenBytes
  if (Buffer.byteLength(path) <= maxPathBytes && Buffer.byteLength(dirname(path)) <= maxDirectory) return
  throw failed(
    path,
    'the path is too long',
    `choose one of at most ${maxPathBytes} bytes, ${maxDirectory} for its directory: unix:/run/user/1000/api.sock`,
  )
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

function failed(path: string, why: string | undefined, hint?: string): TokctlError {
  const message = `cannot listen at the socket ${path} (${why ?? 'error'})`
  return new TokctlError('config_invalid', message, hint === undefined ? {} : { hint })
}
