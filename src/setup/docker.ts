import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { removeMember, setMember } from './json-text.ts'
import { onPath } from './launcher.ts'
import { originsOf, taken } from './places.ts'
import type { Change, Tool } from './setup.ts'

/** Docker Hub goes by this name and no other. */
const hub = { host: 'index.docker.io', key: 'https://index.docker.io/v1/' }

/** `credHelpers` of `config.json`, which podman, skopeo and buildah read too. */
export const tool: Tool = {
  about: 'credHelpers of config.json, for each registry that a profile matches',
  programs: ['docker', 'podman', 'skopeo', 'buildah'],
  takesProfile: false,

  async plan(ask, machine) {
    const file = join(machine.env['DOCKER_CONFIG'] || join(machine.home, '.docker'), 'config.json')
    const before = machine.read(file)
    const helpers = helpersIn(before, file)
    const keys =
      ask.remove && ask.profile === undefined
        ? Object.keys(helpers)
        : originsOf(ask, 'https').map(({ name, host }) => (host === hub.host ? hub.key : name))
    let after = before
    const says: string[] = []
    for (const key of keys) {
      const there = Object.hasOwn(helpers, key) ? helpers[key] : undefined
      if (ask.remove) {
        if (there !== 'tokctl') continue
        after = removeMember(after!, 'credHelpers', key)
        says.push(`- credHelpers: "${key}": "tokctl"`)
      } else if (there !== 'tokctl') {
        if (there !== undefined) {
          throw taken(file, `credHelpers."${key}"`, String(there), 'take that line away, then run this again')
        }
        after =
          after === undefined || after.trim() === ''
            ? `{\n\t"credHelpers": {\n\t\t${JSON.stringify(key)}: "tokctl"\n\t}\n}\n`
            : setMember(after, 'credHelpers', key, '"tokctl"')
        says.push(`+ credHelpers: "${key}": "tokctl"`)
      }
    }
    const isEmpty = ask.remove && after !== undefined && /^\s*\{\s*\}\s*$/.test(after)
    const changes: Change[] =
      after === before ? [] : [{ file, before, after: isEmpty ? undefined : after, says }]
    // Others may still be asked for with it.
    const isInUse = ask.remove && ask.profile !== undefined
    const launcher = isInUse ? [] : onPath('docker-credential-tokctl', ['helper', 'docker'], ask, machine)
    return { changes: [...launcher, ...changes] }
  },

  async probe(_, machine) {
    const name = 'docker-credential-tokctl'
    return machine.find(name) === undefined ? false : (await machine.run([name, 'list'])).exitCode === 0
  },
}

function helpersIn(text: string | undefined, file: string): Readonly<Record<string, unknown>> {
  if (text === undefined || text.trim() === '') return {}
  let found: unknown
  try {
    found = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch {
    throw new TokctlError('config_invalid', `${file}: is not JSON`, { hint: 'mend it, then run this again' })
  }
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  const helpers = isObject(found) ? (found['credHelpers'] ?? {}) : undefined
  if (isObject(helpers)) return helpers
  throw new TokctlError('config_invalid', `${file}: expected an object, and credHelpers an object in it`)
}
