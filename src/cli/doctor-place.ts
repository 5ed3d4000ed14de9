import { accessSync, constants, existsSync, lstatSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { App } from '../app.ts'
import type { Environment } from '../core/environment.ts'
import { doing } from '../core/lease.ts'
import { readRegularFile } from '../core/read-file.ts'
import { shellWord } from '../core/shell-word.ts'
import { fileStem } from '../core/state-dir.ts'
import { type EpochMs, formatDuration } from '../core/time.ts'
import { shownPath } from '../profile/shown-path.ts'
import { type Finding, note, ok, problem, problemsOf } from './finding.ts'

// What `doctor` says of the place it runs in: the machine, the state directory, the locks.

const maxFileBytes = 4 * 1024 * 1024

/** What is asked of the machine, so that a test can be another one. */
export interface Probe {
  exists(path: string): boolean
  /** `undefined` where it cannot be read. */
  read(path: string): string | undefined
  /** The number of the file system that a path is on. */
  fileSystem(path: string): number | undefined
  /** Bytes that this user may still write there. */
  room(path: string): number | undefined
  /** The system's code for why nothing can be made in a directory; `undefined` where something can. */
  refusal(path: string): string | undefined
}

/** This machine. */
export const machine: Probe = {
  exists: existsSync,
  read(path) {
    const found = readRegularFile(path, maxFileBytes)
    return 'failure' in found ? undefined : found.bytes.toString('utf8')
  },
  fileSystem(path) {
    try {
      return statfsSync(path).type
    } catch {
      return undefined
    }
  },
  room(path) {
    try {
      const { bavail, bsize, files, ffree } = statfsSync(path)
      // Without a number for a new file there is no room, however many bytes are left; some file systems count none.
      return files > 0 && ffree === 0 ? 0 : bavail * bsize
    } catch {
      return undefined
    }
  },
  refusal(path) {
    try {
      accessSync(path, constants.W_OK | constants.X_OK)
      return undefined
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'error'
    }
  },
}

const ciSystems: readonly (readonly [variable: string, name: string])[] = [
  ['GITHUB_ACTIONS', 'GitHub Actions'],
  ['GITLAB_CI', 'GitLab CI'],
  ['TF_BUILD', 'Azure Pipelines'],
  ['CIRCLECI', 'CircleCI'],
  ['BUILDKITE', 'Buildkite'],
  ['BITBUCKET_BUILD_NUMBER', 'Bitbucket Pipelines'],
  ['JENKINS_URL', 'Jenkins'],
  ['CI', 'a CI system'],
]

/** Where this runs, as far as it matters: WSL, a container, over SSH, in CI. */
export function surroundings({ env }: Pick<Environment, 'env'>, probe: Probe): Finding[] {
  const found: string[] = []
  if (env['WSL_DISTRO_NAME'] || /microsoft/i.test(probe.read('/proc/version') ?? ''))
    found.push('in the Windows Subsystem for Linux')
  const isContainer =
    probe.exists('/.dockerenv') ||
    probe.exists('/run/.containerenv') ||
    env['container'] !== undefined ||
    env['KUBERNETES_SERVICE_HOST'] !== undefined ||
    /docker|kubepods|containerd|lxc/.test(probe.read('/proc/1/cgroup') ?? '')
  if (isContainer) found.push('in a container')
  if (env['SSH_CONNECTION'] || env['SSH_TTY']) found.push('over SSH')
  const ci = ciSystems.find(([variable]) => env[variable] && env[variable] !== 'false')
  if (ci !== undefined) found.push(`under ${ci[1]}`)
  return found.map(place => note('place', `runs ${place}`))
}

// statfs(2), and the kernel's own list where that has none.
const networkFileSystems: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x01021997, '9P'],
])

// A disk of this machine that outlives a restart, and a directory that nobody else has.
const elsewhere = 'run: export TOKCTL_STATE_DIR="/var/tmp/tokctl-$(id -u)"'

/** Owner, mode and file system of the state directory. To be asked before anything that would mend it by itself. */
export function stateFindings(path: string, environment: Environment, probe: Probe): Finding[] {
  const { uid, home, platform } = environment
  const shown = shownPath(path, home)
  const found = lstat(path)
  if (found === undefined) {
    const above = existing(dirname(path))
    const shownAbove = shownPath(above, home)
    if (!isDirectory(above))
      return [problem('state', `${shown} cannot be made: ${shownAbove} is not a directory`, elsewhere)]
    const refusal = probe.refusal(above)
    if (refusal !== undefined)
      return [problem('state', `${shown} cannot be made: ${unwritable(shownAbove, refusal)}`, elsewhere)]
    const full = fullFinding(above, shownAbove, probe)
    return full ?? [note('state', `${shown} does not exist yet; it is made at the first call`)]
  }
  const findings: Finding[] = []
  if (!found.isDirectory()) {
    return [problem('state', `${shown} is not a directory`, elsewhere)]
  }
  if (platform !== 'win32') {
    if (uid !== undefined && found.uid !== uid) {
      return [problem('state', `${shown} belongs to another user`, elsewhere)]
    }
    const mode = found.mode & 0o777
    if ((mode & 0o077) !== 0) {
      const text = `${shown} is open to other users (mode ${mode.toString(8).padStart(4, '0')})`
      findings.push(problem('state', text, `run: chmod 700 ${shellWord(path)}`))
    }
  }
  const refusal = findings.length === 0 ? probe.refusal(path) : undefined
  if (refusal !== undefined) findings.push(problem('state', unwritable(shown, refusal), elsewhere))
  findings.push(...(fullFinding(path, shown, probe) ?? []))
  const network = platform === 'linux' ? networkName(probe.fileSystem(path)) : undefined
  if (network !== undefined) {
    findings.push(
      problem(
        'state',
        `${shown} is on a network file system (${network}), where a lock may not hold`,
        elsewhere,
      ),
    )
  }
  if (findings.length > 0) return findings
  return [ok('state', platform === 'win32' ? shown : `${shown}, mode 0700, yours, on a local disk`)]
}

function unwritable(shown: string, code: string): string {
  return code === 'EROFS' ? `${shown} is on a read-only file system` : `${shown} cannot be written (${code})`
}

// A renewal makes room for its answer beforehand, and writes a record and an outcome beside what was there.
const neededBytes = 65_536

function fullFinding(path: string, shown: string, probe: Probe): Finding[] | undefined {
  const room = probe.room(path)
  if (room === undefined || room >= neededBytes) return undefined
  const text = `the disk of ${shown} is full: what is renewed could not be kept`
  return [problem('state', text, `free some space, see: df -h ${shellWord(path)}`)]
}

function networkName(type: number | undefined): string | undefined {
  // On some machines the number comes with a sign.
  return type === undefined ? undefined : networkFileSystems.get(type >>> 0)
}

function lstat(path: string): (ReturnType<typeof lstatSync> & { uid: number; mode: number }) | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}

// What a link leads to is what would be made in.
function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

function existing(path: string): string {
  return lstat(path) !== undefined || dirname(path) === path ? path : existing(dirname(path))
}

/** Longer than a renewal takes, and as long as a sign-in on another device may. */
const longMs = { others: 120_000, login: 900_000 } as const

/** Whether a lock can be taken, with what, and who holds the ones of the profiles. */
export async function lockFindings(app: App, names: readonly string[], now: EpochMs): Promise<Finding[]> {
  if (lstat(app.stateDir.path) === undefined) return []
  const findings: Finding[] = []
  try {
    const lock = await app.lock()
    const once = { purpose: 'edit', timeoutMs: 0, signal: undefined, keepLease: true } as const
    for (const name of [...names.flatMap(name => [name, `@watch-${name}`]), '@configuration']) {
      // Nobody has ever held one that has no file, and looking should make none.
      if (lstat(app.stateDir.file('locks', `${fileStem(name)}.lock`)) === undefined) continue
      const result = await lock.withLock(name, once, async () => {})
      if (result.kind !== 'timeout') continue
      const { holder } = result
      const profile = name.replace(/^@watch-/, '')
      const what = name === '@configuration' ? 'the configuration' : `profile "${profile}"`
      if (holder === undefined) {
        findings.push(note('lock', `${what} is held by a process that does not say which`))
        continue
      }
      const heldMs = Math.max(0, now - holder.since)
      const text = `${what} is being ${doing(holder)} by process ${holder.pid} since ${formatDuration(heldMs)}`
      const isLong =
        holder.purpose !== 'watch' && heldMs > longMs[holder.purpose === 'login' ? 'login' : 'others']
      findings.push(isLong ? problem('lock', text, `if it hangs: kill ${holder.pid}`) : note('lock', text))
    }
    if (findings.length === 0) findings.push(ok('lock', `nobody holds one; locks are ${lock.how}`))
  } catch (error) {
    findings.push(...problemsOf('lock', error))
  }
  return findings
}
