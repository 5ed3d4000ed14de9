import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Secret } from '../core/secret.ts'
import type { Token } from '../core/token.ts'
import type { ListenAddress } from '../profile/proxy-settings.ts'

/** Proves to the upstream that we hold the key that a token is bound to (RFC 9449 §7). */
export interface Prover {
  /** What the upstream last gave to be put into proofs. */
  nonce(): string | undefined
  /**
   * Keeps the nonce of an answer.
   *
   * @param sent - What the proof of its request had.
   * @returns Whether it is another one.
   */
  keepNonce(value: string | undefined, sent: string | undefined): boolean
  /**
   * The proof for one request.
   *
   * @param path - As it is sent.
   * @throws {TokctlError} `config_invalid` for a key that is none
   */
  proof(key: Secret, accessToken: Secret, method: string, path: string): string
}

/** One address that is listened at and the one upstream behind it. */
export interface ProxyRoute {
  /** For metrics and messages. */
  readonly name: string
  readonly listen: ListenAddress
  /** `http` or `https`; its path, without a slash at the end, is put before that of each request. */
  readonly upstream: { readonly origin: string; readonly host: string; readonly path: string }
  /** Makes the connections to the upstream: proxies and certificates are its own affair. */
  readonly dispatcher: Dispatcher
  /** A connection of its own, made the same way. */
  connect(): Promise<Duplex>
  readonly profile: string
  /** The value of Authorization for a token: its scheme and itself. @throws {TokctlError} `config_invalid` for named members */
  authorization(token: Token): string
  readonly prover: Prover
  /** What clients must show beside being here. */
  readonly clientSecret: Secret | undefined
  /** Bytes of a request's body. */
  readonly maxBodyBytes: number
}
