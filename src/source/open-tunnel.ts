// Straight from its file: the index loads fetch, WebSocket, caches and more, and takes three times as long.
import type { Dispatcher } from 'undici'
import connect from 'undici/lib/api/api-connect.js'

/**
 * CONNECT to a proxy: undici's own, which its index would have put on every dispatcher. A proxy that closes the connection
 * instead of answering is asked once: undici would ask it again and again, without a pause, for as long as the call lasts.
 */
export const openTunnel = async function (this: Dispatcher, options: Dispatcher.ConnectOptions<never>) {
  try {
    return await connect.call(this, options)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'UND_ERR_SOCKET' ? Object.assign(new Error(message), { code: 'ECONNRESET' }) : error
  }
} as typeof connect
