/**
 * A value that must not be shown: string conversion, JSON and inspection all say `[redacted]`.
 * `grep 'expose('` lists every place where one leaves.
 */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** Gives the value itself. Each call is a place where a secret may leak, and is reviewed as one. */
  expose(): string {
    return this.#value
  }

  /** Tells whether both hold the same value, in time that depends on the lengths alone. */
  equals(other: Secret): boolean {
    const a = this.#value
    const b = other.#value
    let difference = a.length ^ b.length
    for (let i = 0; i < a.length && i < b.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
    return difference === 0
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[redacted]'
  }
}
