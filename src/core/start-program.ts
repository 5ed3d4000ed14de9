import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'

/**
 * Starts a program. One that is a script without a first line that names its interpreter is run by the shell, as
 * execvp(3) does it: Node does so by itself, Bun does not.
 *
 * @throws The system's error
 */
export async function startProgram(
  file: string,
  args: readonly string[],
  options: SpawnOptions,
): Promise<ChildProcess> {
  try {
    const child = spawn(file, args, options)
    if (child.pid !== undefined) return child
    const [error] = await once(child, 'error')
    throw error
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOEXEC') throw error
    return spawn('/bin/sh', [file, ...args], options)
  }
}
