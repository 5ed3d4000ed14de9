/** One end of a connection to a socket of this machine. */
export interface Socket {
  /** What the other side does not take yet goes out once it does; where it blocks, while it is waited for. */
  write(data: Uint8Array): void
  /** Ends it; nothing is told of it any more. */
  close(): void
  /**
   * Only where it blocks: holds up the whole process until something was told, for at most so many milliseconds. Such a
   * socket is open from the start, and tells nothing at any other time.
   *
   * @returns Whether something was told.
   */
  wait?(ms: number): boolean
}

/** What becomes of a socket. */
export interface SocketEvents {
  opened(): void
  received(data: Buffer): void
  failed(error: Error): void
  /** The other side has gone. */
  ended(): void
}

/**
 * Connects; an abstract path starts with NUL.
 *
 * @param leftMs - For how many milliseconds from now that may hold up the process, where it blocks.
 * @throws {Error} with the system's code, where that is known at once
 */
export type OpenSocket = (path: string, events: SocketEvents, leftMs: () => number) => Socket
