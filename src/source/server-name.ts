/**
 * The name that a server is asked for in the TLS handshake: without the dot at its end, and none for an address. Pure.
 *
 * @param hostname - As a URL has it.
 * @see RFC 6066 §3
 */
export function serverName(hostname: string): string {
  const isAddress = /^\d+(\.\d+){3}$|^\[/.test(hostname)
  return isAddress ? '' : hostname.replace(/\.$/, '')
}
