import type { EpochMs } from '../core/time.ts'
import type { Token as CoreToken } from '../core/token.ts'
import type { Token } from './token.ts'

/** Shows a token to the program that uses the library. */
export function shownToken(token: CoreToken): Token {
  return new ShownToken(token)
}

class ShownToken implements Token {
  readonly #accessToken: string
  readonly tokenType: string
  readonly scope: string | undefined
  readonly expiresAt: EpochMs | undefined

  constructor(token: CoreToken) {
    this.#accessToken = token.accessToken.expose()
    this.tokenType = token.tokenType
    this.scope = token.scope
    this.expiresAt = token.expiresAt
  }

  get accessToken(): string {
    return this.#accessToken
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    const { tokenType, scope, expiresAt } = this
    return { accessToken: '[redacted]', tokenType, scope, expiresAt }
  }
}
