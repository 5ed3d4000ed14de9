import type { Environment } from '../core/environment.ts'

/** How long `systemd-notify` may take, in milliseconds. */
const notifyMs = 5000

/**
 * Tells the service manager how we are, where one asked to be told.
 * Node has no datagram socket of the unix family, so `systemd-notify` says it; the unit needs `NotifyAccess=all`.
 *
 * @param state - Such as `READY=1`.
 * @see sd_notify(3)
 */
export async function notifyServiceManager(state: string, { env, pid }: Environment): Promise<void> {
  const socket = env['NOTIFY_SOCKET']
  if (socket === undefined || socket === '') return
  const { execFile } = await import('node:child_process')
  await new Promise<void>(resolve => {
    execFile(
      'systemd-notify',
      [`--pid=${pid}`, state],
      { env: { NOTIFY_SOCKET: socket, PATH: env['PATH'] ?? '' }, timeout: notifyMs },
      // A service manager that was not told goes by its own time.
      () => resolve(),
    )
  })
}
