import { isIPv4, isIPv6 } from 'node:net'
import type { TlsKeys } from './profile.ts'

/** A literal loopback address with its port, a unix socket, or the socket that the service manager opened. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'inherited' }

/** One table `[proxy.NAME]`. */
export interface ProxySettings extends TlsKeys {
  readonly name: string
  /** Whose token is added. */
  readonly profile: string
  readonly listen: ListenAddress
  /** Without a slash at its end. */
  readonly upstream: string
  /** Absolute path of the file that a secret for clients is written to at each start. */
  readonly client_auth?: string
  /** Bytes of a request's body. */
  readonly max_body: number
}

/** What a request's body may have where nothing is said: 1 GiB. */
export const defaultMaxBody = 1_073_741_824

/**
 * Reads where to listen: `127.0.0.1:8080`, `[::1]:8080`, `unix:/path` or `systemd`. Port 0 is any that is free.
 *
 * @returns A text is why it cannot be.
 */
export function parseListen(text: string): ListenAddress | string {
  if (text === 'systemd') return { kind: 'inherited' }
  if (text.startsWith('unix:')) {
    const path = text.slice(5)
    return /^\/[^\0]+$/.test(path)
      ? { kind: 'unix', path }
      : 'a socket has an absolute path: unix:/run/user/1000/api.sock'
  }
  const found = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text)
  if (found === null) return 'expected 127.0.0.1:8080, [::1]:8080, unix:/path or systemd'
  const host = found[1] ?? found[2] ?? ''
  const port = Number(found[3])
  if (port > 65_535) return 'a port is a number up to 65535'
  const isLoopback =
    found[1] === undefined
      ? isIPv4(host) && host.startsWith('127.')
      : isIPv6(host) && /^(0*:)*:?0*1$/.test(host)
  if (isLoopback) return { kind: 'tcp', host: found[1] === undefined ? host : '::1', port }
  // A name is whatever the resolver says today.
  return 'only a literal loopback address is listened at: 127.0.0.1 or [::1]'
}

const units = { KiB: 1024, MiB: 1_048_576, GiB: 1_073_741_824 } as const

/** Reads a size such as `64KiB`, `10MiB` or `2GiB`; `undefined` for anything else. */
export function parseSize(text: string): number | undefined {
  const found = /^(\d{1,6})(KiB|MiB|GiB)$/.exec(text)
  return found === null ? undefined : Number(found[1]) * units[found[2] as keyof typeof units]
}
