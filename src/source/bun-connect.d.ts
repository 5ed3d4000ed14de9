// The part of Bun's own sockets that is used; its types would bring a second set of Node's.

declare namespace Bun {
  /** A connection. */
  interface ClientSocket {
    /** @returns How many bytes were taken; the rest is to be offered again when `drain` is told. */
    write(bytes: Uint8Array): number
    /** Closes at once, without a word to the other side. */
    terminate(): void
  }

  interface ClientSocketEvents {
    open(socket: ClientSocket): void
    /** @param error - Why the handshake failed, or the other side is not who it should be. */
    handshake?(socket: ClientSocket, success: boolean, error: Error | null): void
    data(socket: ClientSocket, chunk: Uint8Array): void
    drain(socket: ClientSocket): void
    /** @param error - Why it was cut off; none where the other side ended it, with TLS's own words or without. */
    close(socket: ClientSocket, error?: Error): void
    error(socket: ClientSocket, error: Error): void
    connectError(socket: ClientSocket, error: Error): void
  }

  interface TlsOptions {
    /** In place of the usual authorities. */
    readonly ca?: string[]
    readonly cert?: string
    readonly key?: string
    readonly rejectUnauthorized: true
    /** Asked for in the handshake; empty for none. Without it, and for verification in any case, the host name. */
    readonly serverName?: string
  }

  /** Rejects with what `connectError` is told. Throws where the options cannot be used. */
  function connect(options: {
    readonly hostname: string
    readonly port: number
    readonly tls?: TlsOptions
    readonly socket: ClientSocketEvents
  }): Promise<ClientSocket>
}
