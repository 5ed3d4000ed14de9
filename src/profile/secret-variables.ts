import type { Environment } from '../core/environment.ts'
import { variableName } from '../core/program.ts'
import type { Profile } from './profile.ts'

/**
 * Names the variables that a program started for one profile has no business with: those that others take secrets from.
 *
 * @param own - The profile that the program works for; `undefined` for a program that works for none, a browser for one.
 * @returns Without those that `own` names itself, as a secret or in `pass_env`.
 */
export function withheldFrom(
  own: Profile | undefined,
  profiles: Iterable<Profile>,
  platform: Environment['platform'],
): Set<string> {
  const withheld = new Set<string>()
  for (const profile of profiles) collect(profile, withheld)
  if (own === undefined) return withheld
  const needed = new Set<string>(own.source === 'command' ? own.pass_env : [])
  collect(own, needed)
  const isNeeded = new Set(Array.from(needed, name => variableName(name, platform)))
  return new Set([...withheld].filter(name => !isNeeded.has(variableName(name, platform))))
}

// Wherever a secret may be named: a key, a header, a field of a body, however deep.
function collect(value: unknown, into: Set<string>): void {
  if (typeof value !== 'object' || value === null) return
  const members = Object.entries(value)
  const [first] = members
  if (members.length === 1 && first?.[0] === 'env' && typeof first[1] === 'string') into.add(first[1])
  for (const [key, member] of members) {
    if (key === 'token_env' && typeof member === 'string') into.add(member)
    collect(member, into)
  }
}
