// What was a secret in this process, the last used last: what is about to be shown is held against it.
const live = new Set<string>()
const mostLive = 256
/** A text as long as this is a whole document, which is never quoted whole. */
const longest = 65_536

/** Takes a text for a secret without keeping it as one: what is made of a secret and would tell it. */
export function rememberSecret(value: string): void {
  if (value === '' || value.length > longest) return
  live.delete(value)
  live.add(value)
  // A process that stays makes the same few again and again; what it has not used for long is no longer its own.
  if (live.size > mostLive) live.delete(live.values().next().value!)
}

/** A word of a language is shorter. */
const shortestToken = 16
const mostParts = 64

/** Takes what a program printed for a secret in its parts as well: its lines, its long words, and the texts in JSON. */
export function rememberParts(printed: Secret): void {
  const text = printed.expose().slice(0, longest)
  const lines = text.split(/[\r\n]+/).map(line => line.trim())
  const words = text.split(/[\s"'=:,;<>()[\]{}]+/).filter(word => word.length >= shortestToken)
  for (const part of [...words.slice(0, mostParts), ...lines.slice(0, mostParts)]) rememberSecret(part)
  try {
    // What is escaped there is quoted as it was meant. A text with blanks tells a person what is wrong.
    JSON.parse(text, (_, value) => typeof value === 'string' && !/\s/.test(value) && rememberSecret(value))
  } catch {}
}

/** The values that were secrets in this process, as far back as they are remembered. */
export function liveSecrets(): Iterable<string> {
  return live
}

/**
 * A value that must not be shown: string conversion, JSON and inspection all say `[redacted]`.
 * `grep 'expose('` lists every place where one leaves.
 */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
    rememberSecret(value)
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
