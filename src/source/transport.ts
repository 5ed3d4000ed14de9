import { type ErrorCode, type ErrorDetails, TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'

/** TLS material, as PEM. */
export interface TlsMaterial {
  /** Trusted beside the usual authorities. */
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: Secret | undefined
}

/** One request. It follows no redirect and is never repeated here. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** `https`, or `http` to a loopback host. */
  readonly url: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  readonly tls: TlsMaterial | undefined
  /** For the whole exchange, from name lookup to the last byte of the body. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Milliseconds that the answer is waited for once the first byte went out, where that is longer than what is left. */
  readonly answerTimeoutMs?: number
  /** Called when the first byte goes out. From then on the signal is not heard any more. */
  readonly onSent?: () => void
  /** Called with the answer before anything else is done with it, a trace included. */
  readonly onAnswer?: (response: HttpResponse) => void
}

/** The answer, its body decoded and no larger than 1 MiB. */
export interface HttpResponse {
  readonly status: number
  /** Names in lower case; repeated ones joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** When its first byte came, on the monotonic clock; `undefined` for an answer that came over no wire. */
  readonly headAt?: number
}

/**
 * Sends one request over a fresh connection.
 *
 * @throws {TransportError} `network_error`, `timeout`
 * @throws {TokctlError} `invalid_response` (too large, not decodable), `config_invalid` (a proxy variable, a client
 * certificate, an address that must not be asked), `interrupted`
 */
export type Send = (request: HttpRequest) => Promise<HttpResponse>

/** A failure of the exchange itself: no usable answer came. */
export class TransportError extends TokctlError {
  /** Whether the same request may work a moment later; a certificate that is not trusted stays so. */
  readonly passing: boolean
  /** Whether the request may have reached the server; false where the connection never stood. */
  readonly sent: boolean

  constructor(code: ErrorCode, message: string, passing: boolean, details: ErrorDetails = {}, sent = true) {
    super(code, message, details)
    this.passing = passing
    this.sent = sent
  }

  /** The same failure, of a request that certainly did not go out. */
  unsent(): TransportError {
    const { code, message, passing, hint, profile, retryAfterMs, more } = this
    return new TransportError(code, message, passing, { hint, profile, retryAfterMs, more }, false)
  }
}
