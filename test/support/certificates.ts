import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A private certificate authority with what it signed; all PEM. */
export interface Certificates {
  readonly dir: string
  readonly caFile: string
  readonly ca: string
  /** For 127.0.0.1 and localhost. */
  readonly server: { readonly cert: string; readonly key: string }
  /** For another.test alone. */
  readonly other: { readonly cert: string; readonly key: string }
  readonly expired: { readonly cert: string; readonly key: string }
  /** `CN=tokctl-client`. */
  readonly client: { readonly cert: string; readonly key: string }
  remove(): void
}

/** Makes them with the `openssl` program, in a directory of their own. */
export function makeCertificates(): Certificates {
  const dir = mkdtempSync(join(tmpdir(), 'tokctl-certificates-'))
  const file = (name: string): string => join(dir, name)
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: dir })
  }
  const key = (name: string): string[] => [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    file(`${name}.key`),
  ]
  openssl(
    'req',
    '-x509',
    ...key('ca'),
    '-subj',
    '/CN=tokctl test authority',
    '-days',
    '30',
    '-out',
    file('ca.crt'),
  )

  const issue = (name: string, subject: string, names: string | undefined, ...validity: string[]) => {
    openssl('req', '-new', ...key(name), '-subj', subject, '-out', file(`${name}.csr`))
    writeFileSync(file(`${name}.ext`), names === undefined ? '' : `subjectAltName=${names}\n`)
    openssl(
      'x509',
      '-req',
      '-in',
      file(`${name}.csr`),
      '-CA',
      file('ca.crt'),
      '-CAkey',
      file('ca.key'),
      '-set_serial',
      String(Math.floor(Math.random() * 1e9)),
      '-extfile',
      file(`${name}.ext`),
      ...validity,
      '-out',
      file(`${name}.crt`),
    )
    return { cert: readFileSync(file(`${name}.crt`), 'utf8'), key: readFileSync(file(`${name}.key`), 'utf8') }
  }
  return {
    dir,
    caFile: file('ca.crt'),
    ca: readFileSync(file('ca.crt'), 'utf8'),
    server: issue('server', '/CN=localhost', 'IP:127.0.0.1,DNS:localhost', '-days', '30'),
    other: issue('other', '/CN=another.test', 'DNS:another.test', '-days', '30'),
    expired: issue('expired', '/CN=localhost', 'IP:127.0.0.1,DNS:localhost', '-days', '-1'),
    client: issue('client', '/CN=tokctl-client', undefined, '-days', '30'),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  }
}
