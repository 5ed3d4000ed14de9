import type { Secret } from './secret.ts'
import type { EpochMs } from './time.ts'

/** Where a credential is good, byte for byte as the tool that uses it says it. */
export interface CredentialPlace {
  readonly protocol: string
  /** With its port; empty for what is no host, such as git's `cert`. */
  readonly host: string
}

/** A credential of another tool's own, handed over to be kept: user and password, or a whole `Authorization` header. */
export interface Credential extends CredentialPlace {
  /** `undefined`: good for the whole host. */
  readonly path: string | undefined
  /** May be empty, which is a name like any other. */
  readonly username: string | undefined
  readonly password: Secret | undefined
  /** The scheme that goes with `credential`. */
  readonly authtype: string | undefined
  readonly credential: Secret | undefined
  /** Of password and credential; `undefined`: unknown. */
  readonly expiresAt: EpochMs | undefined
  /** For whoever can renew the password; never used here. */
  readonly oauthRefreshToken: Secret | undefined
}

/** Which credentials are meant: what is `undefined` here may be anything there. */
export interface CredentialQuery extends CredentialPlace {
  readonly path: string | undefined
  readonly username: string | undefined
  readonly password: Secret | undefined
  readonly credential: Secret | undefined
  /** Whether a header is of use, too; else only what has a password is meant. */
  readonly authtype: boolean
}
