import { system as azure } from './azure.ts'
import { system as bitbucket } from './bitbucket.ts'
import { system as buildkite } from './buildkite.ts'
import type { CiSystem } from './ci-system.ts'
import { system as circleci } from './circleci.ts'
import { system as github } from './github.ts'
import { system as gitlab } from './gitlab.ts'
import { system as jenkins } from './jenkins.ts'
import { system as plain } from './plain.ts'

/** Every CI system, one file each. Where the marks of several are set, the first of them it is. */
export const systems: Readonly<Record<string, CiSystem>> = {
  github,
  gitlab,
  azure,
  circleci,
  buildkite,
  bitbucket,
  jenkins,
  plain,
}

/** Finds the system that this is. */
export function systemHere(env: Readonly<Record<string, string | undefined>>): CiSystem {
  return Object.values(systems).find(({ marks }) => marks.every(mark => env[mark])) ?? plain
}
