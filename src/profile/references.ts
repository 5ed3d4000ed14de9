import { printable } from '../core/errors.ts'
import { bindingOf } from './binding.ts'
import { nearest } from './nearest.ts'
import type { Problem } from './read-value.ts'
import { referencesOf } from './source-rules.ts'

/** A profile whose binding is not made yet. */
export type Unbound = Readonly<Record<string, unknown>>

/**
 * Finds references to profiles that do not exist, and profiles that need each other in a circle.
 *
 * @returns One problem for each missing profile and for each circle, at the reference that closes it.
 */
export function referenceProblems(profiles: ReadonlyMap<string, Unbound>): Problem[] {
  const problems: Problem[] = []
  const done = new Set<string>()
  const trail: string[] = []

  const visit = (name: string): void => {
    trail.push(name)
    for (const { key, name: needed } of referencesOf(profiles.get(name)!)) {
      const path = ['profile', name, key, 'profile']
      const from = trail.indexOf(needed)
      if (from >= 0) {
        const circle = [...trail.slice(from), needed].map(one => `"${printable(one)}"`).join(' needs ')
        problems.push({ path, text: `a cycle of profiles: ${circle}` })
      } else if (!profiles.has(needed)) {
        const meant = nearest(needed, profiles.keys())
        const text = `unknown profile "${printable(needed)}"`
        problems.push({ path, text: meant === undefined ? text : `${text}; did you mean "${meant}"?` })
      } else {
        if (profiles.get(needed)!['members'] !== undefined) {
          problems.push({ path, text: `profile "${printable(needed)}" yields named members, not one token` })
        }
        if (!done.has(needed)) visit(needed)
      }
    }
    trail.pop()
    done.add(name)
  }
  for (const name of profiles.keys()) if (!done.has(name)) visit(name)
  return problems
}

/** Finds the profiles whose token is a CI runner's identity, or is made from one. */
export function jobBound(profiles: ReadonlyMap<string, Unbound>): Set<string> {
  const bound = new Set<string>()
  const visit = (name: string, trail: readonly string[]): void => {
    const profile = profiles.get(name)
    if (profile === undefined || trail.includes(name)) return
    if (profile['source'] === 'ci') for (const each of [...trail, name]) bound.add(each)
    for (const reference of referencesOf(profile)) visit(reference.name, [...trail, name])
  }
  for (const name of profiles.keys()) visit(name, [])
  return bound
}

/**
 * Hashes what shapes each profile's token, that of the profiles it needs included.
 *
 * @param profiles - Without a circle; what is in one, or missing, is left out of the hash.
 */
export function bindAll(profiles: ReadonlyMap<string, Unbound>): Map<string, string> {
  const bindings = new Map<string, string>()
  const underway = new Set<string>()

  const bind = (name: string): string | undefined => {
    const known = bindings.get(name)
    const profile = profiles.get(name)
    if (known !== undefined || profile === undefined || underway.has(name)) return known
    underway.add(name)
    const needed = referencesOf(profile).map(reference => [reference.key, bind(reference.name)])
    // A profile that needs no other has the hash of its own properties alone.
    const shaping = needed.length === 0 ? profile : { ...profile, needed: Object.fromEntries(needed) }
    const binding = bindingOf(shaping)
    bindings.set(name, binding)
    return binding
  }
  for (const name of profiles.keys()) bind(name)
  return bindings
}
