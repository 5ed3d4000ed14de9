import type { Environment } from '../core/environment.ts'
import type { HttpRequest } from './transport.ts'

/** What a wire tells while it carries one request. Whatever comes after `end` or `fail` is ignored. */
export interface WireEvents {
  /** The connection stands, TLS included: the request goes out. */
  connected(): void
  /** @param rawHeaders - Names and values in turn, as they came. */
  head(status: number, rawHeaders: readonly string[]): void
  data(chunk: Uint8Array): void
  end(): void
  fail(error: unknown): void
}

/** Starts one request over a connection of its own, and gives what tears it down. It keeps no time and no limits. */
export type Wire = (events: WireEvents) => () => void

/**
 * Makes the wire for a request that goes straight to its server, as this runtime does it best.
 *
 * @throws {TokctlError} `config_invalid` where certificate and key cannot be used
 */
export type DirectWire = (request: HttpRequest, url: URL, environment: Environment) => Promise<Wire>
