// oidc-provider comes without types; this is what the tests use of it.
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'
  export interface KnownToken {
    readonly clientId?: string
    readonly accountId?: string
    readonly scope?: string
    readonly consumed?: number
    /** What it is bound to: the thumbprint of a key, or that of a certificate. */
    readonly jkt?: string
    readonly 'x5t#S256'?: string
  }
  export interface Client {
    readonly clientId: string
  }
  export interface GrantContext {
    readonly oidc: {
      readonly client: Client
      readonly params: Readonly<Record<string, string | undefined>>
    }
    body: object
  }
  export const errors: { readonly InvalidGrant: new (why: string) => Error }
  interface Model<T> {
    new (properties: object): { save(): Promise<string> } & T
    find(token: string): Promise<KnownToken | undefined>
  }
  export default class Provider {
    constructor(issuer: string, configuration: object)
    readonly issuer: string
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
    registerGrantType(
      name: string,
      handle: (ctx: GrantContext) => Promise<void>,
      parameters: readonly string[],
    ): void
    readonly AccessToken: Model<object>
    readonly ClientCredentials: Model<object>
    readonly RefreshToken: Model<object>
    readonly Grant: Model<{ addOIDCScope(scope: string): void }>
    readonly Client: { find(id: string): Promise<Client> }
  }
}
