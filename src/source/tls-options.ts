import type { SecureContext } from 'node:tls'
import type { Environment } from '../core/environment.ts'
import { TokctlError } from '../core/errors.ts'
import type { TlsMaterial } from './transport.ts'

/** What a TLS connection is made with. The server is verified, whatever NODE_TLS_REJECT_UNAUTHORIZED says. */
export interface TlsOptions {
  readonly rejectUnauthorized: true
  readonly secureContext?: SecureContext
}

/** The material itself, with the usual authorities beside those of the profile. */
export interface TlsKeys {
  readonly ca?: string[]
  readonly cert?: string
  readonly key?: string
}

/**
 * Turns the material of a profile into options for `tls.connect`.
 *
 * @throws {TokctlError} `config_invalid` where certificate and key cannot be used
 */
export async function tlsOptions(material: TlsMaterial, environment: Environment): Promise<TlsOptions> {
  return { rejectUnauthorized: true, secureContext: (await checked(material, environment)).context }
}

/**
 * Turns the material of a profile into what a runtime's own TLS takes.
 *
 * @throws As `tlsOptions`.
 */
export async function tlsKeys(material: TlsMaterial, environment: Environment): Promise<TlsKeys> {
  return (await checked(material, environment)).keys
}

async function checked(
  { ca, cert, key }: TlsMaterial,
  { env }: Environment,
): Promise<{ readonly keys: TlsKeys; readonly context: SecureContext }> {
  const { createSecureContext, rootCertificates } = await import('node:tls')
  const keys = {
    // `ca` takes the place of the runtime's own list and of NODE_EXTRA_CA_CERTS, so both are given again.
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ...(await extraAuthorities(env)), ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: key.expose() }),
  }
  try {
    return { keys, context: createSecureContext(keys) }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH' ? 'do not belong together' : 'cannot be used'
    throw new TokctlError(
      'config_invalid',
      `client_certificate and client_key ${why} (${code ?? 'not PEM'})`,
      {
        hint: 'both are PEM: the certificate first in its file, the key without a passphrase',
      },
    )
  }
}

async function extraAuthorities(env: Environment['env']): Promise<string[]> {
  const path = env['NODE_EXTRA_CA_CERTS']
  if (!path) return []
  const { readFile } = await import('node:fs/promises')
  // Node itself goes on without a file that it cannot read.
  return readFile(path, 'utf8').then(
    text => [text],
    () => [],
  )
}
