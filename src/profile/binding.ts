import { createHash } from 'node:crypto'
import { commonKeys, sourceKeys } from './keys.ts'

/**
 * Hashes all that decides which token a profile gets, so that a token made under another configuration is not served
 * and a failure remembered under it does not count: every property but the name and those whose key is marked
 * `handling` (timing, `match`, `username`). Secrets enter by their reference, never by value. The order of keys does
 * not matter, that of lists does.
 *
 * @returns SHA-256 in hexadecimal over JSON with sorted keys.
 */
export function bindingOf(profile: Readonly<Record<string, unknown>>): string {
  const shaping = Object.entries(profile).filter(([property]) => !isHandling(property))
  return createHash('sha256')
    .update(canonical(Object.fromEntries(shaping)))
    .digest('hex')
}

function isHandling(property: string): boolean {
  if (property === 'name' || property === 'binding') return true
  const key = property.replace(/_ms$/, '')
  return [commonKeys, ...Object.values(sourceKeys)].some(keys => keys[key]?.handling === true)
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  fields.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(',')}}`
}
