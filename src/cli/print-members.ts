import { TokctlError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import type { Profile } from '../profile/profile.ts'

/**
 * What `get` prints for a profile of named members, in the forms that have room for them: `json` and `env`.
 *
 * @param life - How long they live, as `-o json` tells it.
 * @throws {TokctlError} `usage` for a form that holds one token
 */
export function printMembers(
  members: Readonly<Record<string, Secret>>,
  profile: Profile,
  output: string,
  life: Readonly<Record<string, unknown>>,
): string {
  const values = Object.entries(members).map(([name, value]) => [name, value.expose()] as const)
  if (output === 'json') {
    const shown = { profile: profile.name, members: Object.fromEntries(values), ...life }
    return `${JSON.stringify(shown)}\n`
  }
  if (output === 'env') {
    return values.map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`).join('')
  }
  const message = `profile "${profile.name}" yields named members, which "${output}" has no room for`
  throw new TokctlError('usage', message, {
    hint: `run: tokctl get ${profile.name} -o json`,
    profile: profile.name,
  })
}
