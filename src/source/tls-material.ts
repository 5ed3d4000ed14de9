import { TokctlError } from '../core/errors.ts'
import type { TlsKeys } from '../profile/profile.ts'
import type { SourcePorts } from './source.ts'
import type { TlsMaterial } from './transport.ts'

/**
 * Reads the TLS material of a profile.
 *
 * @returns `undefined` where it has none.
 * @throws {TokctlError} `config_invalid` where a file cannot be read or holds no certificate, or what `resolve` throws
 */
export async function readTlsMaterial(
  { ca_file, client_certificate, client_key }: TlsKeys,
  { resolve }: Pick<SourcePorts, 'resolve'>,
  signal: AbortSignal | undefined,
): Promise<TlsMaterial | undefined> {
  if (ca_file === undefined && client_certificate === undefined && client_key === undefined) return undefined
  const ca = ca_file === undefined ? undefined : await readAuthorities(ca_file)
  const cert =
    client_certificate === undefined ? undefined : (await resolve(client_certificate, signal)).expose()
  // The key may stand in the certificate's own file.
  const key = client_key === undefined ? undefined : await resolve(client_key, signal)
  return { ca, cert, key }
}

const maxBytes = 16 * 1024 * 1024

async function readAuthorities(path: string): Promise<string> {
  const { readRegularFile } = await import('../core/read-file.ts')
  // Not as any file is: a pipe would hold us until somebody writes to it, whatever signal or deadline there is.
  const found = readRegularFile(path, maxBytes)
  if ('failure' in found) {
    const why = {
      missing: 'cannot be read (ENOENT)',
      not_regular: 'is not a regular file',
      too_large: 'is larger than 16 MiB',
      unreadable: `cannot be read (${found.code})`,
    }[found.failure]
    throw new TokctlError('config_invalid', `ca_file ${path} ${why}`)
  }
  const text = found.bytes.toString('utf8')
  // OpenSSL takes a file without any as an empty list, and then trusts nobody without saying why.
  if (/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/.test(text)) return text
  throw new TokctlError('config_invalid', `ca_file ${path} holds no certificate in PEM`)
}
