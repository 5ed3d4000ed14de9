import { join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { removeMember, setMember } from './json-text.ts'
import { isLauncher, onPath } from './launcher.ts'
import { allOrigins, type Origin, originsOf, taken } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Change, Tool } from './setup.ts'

const name = 'docker-credential-tokctl'

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
      ask.remove && ask.profile === undefined ? Object.keys(helpers) : keysOf(originsOf(ask, 'https'))
    if (keys.length === 0 && !ask.remove) {
      throw new TokctlError('usage', 'no profile matches a whole registry, and docker names no part of one', {
        hint: 'write match = ["https://HOST"] in the profile',
      })
    }
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
    const changes: Change[] = after === before ? [] : [{ file, before, after, says }]
    // Others may still be asked for with it.
    const isInUse = ask.remove && ask.profile !== undefined
    const launcher = isInUse ? [] : onPath(name, ['helper', 'docker'], ask, machine)
    const found = launcher.length === 0 && machine.isNamed ? machine.find(name) : undefined
    const isTold = found === undefined || isLauncher(found, machine)
    const next = !isTold
      ? [`set TOKCTL_CONFIG and TOKCTL_STATE_DIR wherever ${found} is started: it is not told them otherwise`]
      : []
    return { changes: [...launcher, ...changes], next }
  },

  asked: 'command',
  async probe(profiles, machine) {
    const file = join(machine.env['DOCKER_CONFIG'] || join(machine.home, '.docker'), 'config.json')
    const helpers = helpersIn(machine.read(file), file)
    const key = keysOf(allOrigins(profiles).filter(({ scheme }) => scheme === 'https')).find(
      each => Object.hasOwn(helpers, each) && helpers[each] === 'tokctl',
    )
    if (key === undefined) return undefined
    if (machine.find(name) === undefined) return false
    const secret = memberText('Secret')
    return comesFromUs(
      machine,
      { words: ['helper', 'docker', 'get'], input: key, secret },
      { command: [name, 'get'], input: key, secret },
    )
  },
}

// Docker names the registry and no part of it: where a profile has a part alone, its token is never the one that is meant.
function keysOf(origins: readonly Origin[]): string[] {
  return origins.flatMap(({ name, host, paths }) => {
    if (host === hub.host) return paths.some(path => path === '' || path === '/v1') ? [hub.key] : []
    return paths.includes('') ? [name] : []
  })
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
