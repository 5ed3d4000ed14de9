import { printable } from '../core/errors.ts'
import { TransportError } from './transport.ts'

/** How far an exchange has come. */
export type Phase = 'connecting' | 'waiting' | 'reading'

/** Who is spoken to, as messages name it. */
export interface Place {
  readonly host: string
  readonly proxy: string | undefined
}

const trustHint = 'set ca_file in the profile, or NODE_EXTRA_CA_CERTS, to a PEM file with the authority'

const certificateFaults: Readonly<Record<string, readonly [what: string, hint?: string]>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: ['is signed by itself', trustHint],
  SELF_SIGNED_CERT_IN_CHAIN: ['is signed by an authority that is not trusted here', trustHint],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ['is signed by an authority that is not trusted here', trustHint],
  UNABLE_TO_GET_ISSUER_CERT: ['is signed by an authority that is not trusted here', trustHint],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['is signed by an authority that is not trusted here', trustHint],
  CERT_UNTRUSTED: ['is signed by an authority that is not trusted here', trustHint],
  CERT_HAS_EXPIRED: [
    'has expired',
    "check this machine's clock; if it is right, the server needs a new certificate",
  ],
  CERT_NOT_YET_VALID: ['is not valid yet', "check this machine's clock"],
  CERT_REVOKED: ['was revoked'],
  CERT_SIGNATURE_FAILURE: ['has a wrong signature'],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    'is for another host',
    'use the host name that the certificate was made for',
  ],
  HOSTNAME_MISMATCH: ['is for another host', 'use the host name that the certificate was made for'],
  INVALID_CA: ['is signed by something that is not an authority'],
  INVALID_PURPOSE: ['was not made for servers'],
  PATH_LENGTH_EXCEEDED: ['has a chain that is too long'],
}

const connectFaults: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections',
  ENOTFOUND: 'is not known to the name service',
  EAI_AGAIN: 'cannot be looked up for now',
  EHOSTUNREACH: 'cannot be reached',
  ENETUNREACH: 'cannot be reached',
  ENETDOWN: 'cannot be reached: the network is down',
  EACCES: 'may not be connected to from here',
  EPERM: 'may not be connected to from here',
  EADDRNOTAVAIL: 'cannot be reached',
}

/**
 * Says in words why an exchange failed: host and cause, and what to do where something can be done.
 * Takes the codes of Node, OpenSSL and undici; never text that holds a URL.
 *
 * @returns A `TransportError`; a mistake of the program stays what it is.
 */
export function describeFailure(error: unknown, phase: Phase, place: Place): Error {
  const failure = inWords(error, phase, place)
  return failure instanceof TransportError && phase === 'connecting' ? failure.unsent() : failure
}

function inWords(error: unknown, phase: Phase, { host, proxy }: Place): Error {
  const codes = codesOf(error)
  if (error instanceof TypeError && codes.length === 0) return error
  const has = (code: string): boolean => codes.includes(code)
  const through = proxy === undefined ? host : `${host} (through proxy ${proxy})`

  const certificate = codes.find(code => Object.hasOwn(certificateFaults, code) || code.startsWith('CERT_'))
  if (certificate !== undefined) {
    const [what, hint] = certificateFaults[certificate] ?? ['is not acceptable']
    return new TransportError('network_error', `certificate of ${through} ${what} (${certificate})`, false, {
      hint,
    })
  }

  const tunnel = tunnelStatus(error)
  if (tunnel !== undefined && proxy !== undefined) {
    const hint =
      tunnel === 407
        ? 'put user and password into the proxy variable: http://USER:PASSWORD@HOST:PORT'
        : undefined
    const message = `proxy ${proxy} refuses to connect to ${host}: it answered ${tunnel}`
    return new TransportError('network_error', message, tunnel !== 407 && tunnel !== 403, { hint })
  }

  const tls = codes.find(code => code.startsWith('ERR_SSL_') || code === 'EPROTO')
  if (tls !== undefined) {
    if (/ALERT.*(CERTIFICATE|UNKNOWN_CA)/.test(tls)) {
      const hint = 'set client_certificate and client_key in the profile'
      return new TransportError(
        'network_error',
        `${through} refuses the client certificate (${tls})`,
        false,
        { hint },
      )
    }
    const hint = /WRONG_VERSION_NUMBER|PACKET_LENGTH|HTTP_REQUEST/.test(tls)
      ? 'the port may speak plain http'
      : undefined
    return new TransportError('network_error', `TLS handshake with ${through} failed (${tls})`, false, {
      hint,
    })
  }

  if (has('HPE_HEADER_OVERFLOW') || has('UND_ERR_HEADERS_OVERFLOW')) {
    return new TransportError('invalid_response', `headers of the answer of ${through} are too large`, false)
  }
  const parse = codes.find(code => code.startsWith('HPE_') && code !== 'HPE_INVALID_EOF_STATE')
  if (parse !== undefined) {
    return new TransportError('invalid_response', `answer of ${through} is not HTTP (${parse})`, false)
  }

  const code = codes.find(known => !known.startsWith('UND_ERR_')) ?? codes[0]
  const named = code === undefined ? '' : ` (${printable(code)})`
  if (phase === 'reading') {
    return new TransportError(
      'network_error',
      `${through} broke off in the middle of its answer${named}`,
      true,
    )
  }
  if (phase === 'waiting') {
    return new TransportError(
      'network_error',
      `${through} closed the connection without an answer${named}`,
      true,
    )
  }
  const nearest = proxy === undefined ? host : `proxy ${proxy}`
  if (has('ETIMEDOUT') || has('UND_ERR_CONNECT_TIMEOUT')) {
    return new TransportError('timeout', `${nearest} cannot be connected to in time${named}`, true)
  }
  const what = (code === undefined ? undefined : connectFaults[code]) ?? 'cannot be connected to'
  return new TransportError('network_error', `${nearest} ${what}${named}`, true)
}

/** The codes of an error, of its causes, and of the attempts of a connection over several addresses. */
function codesOf(error: unknown, depth = 0): string[] {
  if (typeof error !== 'object' || error === null || depth > 4) return []
  const { code, cause, errors, name, message } = error as Record<string, unknown>
  const inner = Array.isArray(errors) ? errors.flatMap(each => codesOf(each, depth + 1)) : []
  const own = typeof code === 'string' ? [code] : name === 'HTTPParserError' ? ['HPE_INVALID_CONSTANT'] : []
  // A handshake that fails while something is written has the bare EPROTO, and what happened in OpenSSL's text.
  const reason = code === 'EPROTO' ? /SSL routines:[^:]*:([a-z0-9 ]+):/.exec(String(message))?.[1] : undefined
  if (reason !== undefined) own.unshift(`ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`)
  return [...own, ...codesOf(cause, depth + 1), ...inner]
}

// undici has no code of its own for a proxy that refuses; the status stands in the message alone.
function tunnelStatus(error: unknown): number | undefined {
  const message = error instanceof Error ? error.message : ''
  const match = /^Proxy response \((\d{3})\)|^Proxy Authentication Required \((407)\)/.exec(message)
  const status = match?.[1] ?? match?.[2]
  return status === undefined ? undefined : Number(status)
}
