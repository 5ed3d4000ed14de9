import { dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { launcherChange, launcherText, plainLauncherPath } from './launcher.ts'
import { namedProfile } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Change, FileChange, Machine, Tool } from './setup.ts'
import { isPlainWord, shellWords } from './words.ts'

const launcher = /^\S*tokctl-gcp-([^\s/\\]+?)(?:\.cmd)?$/
const idToken = 'urn:ietf:params:oauth:token-type:id_token'

/** A credential configuration file for Google's libraries, which run an executable where they are allowed to. */
export const tool: Tool = {
  about: 'a credential configuration file that runs tokctl',
  programs: ['gcloud'],
  takesProfile: true,

  async plan(ask, machine) {
    const isForeign = (text: string): boolean => profileOf(text) === undefined
    if (ask.remove) {
      const files = filesIn(machine).filter(file => ask.as === undefined || file === fileOf(ask.as, machine))
      const changes = files.flatMap((file): FileChange[] => {
        const before = machine.read(file)
        const of = profileOf(before ?? '')
        const isMeant = ask.profile === undefined || of === ask.profile.name
        return before === undefined || of === undefined || !isMeant
          ? []
          : [{ file, before, after: undefined, isOurs: true, says: [] }]
      })
      return { changes: [...changes, ...leftLaunchers(changes, machine)] }
    }
    const profile = namedProfile('gcp', ask)
    const file = fileOf(ask.as ?? profile.name, machine)
    const before = machine.read(file)
    if (before !== undefined && isForeign(before)) {
      throw new TokctlError('config_invalid', `"${file}" is there already, and is not ours`, {
        hint: `run: tokctl setup gcp ${profile.name} --as ANOTHER-NAME`,
      })
    }
    const audience = ask.audience ?? audienceOf(profile)
    if (audience === undefined) {
      throw new TokctlError(
        'usage',
        'setup gcp: --audience is missing: the provider of the workload identity pool',
        {
          hint: `run: tokctl setup gcp ${profile.name} --audience //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`,
        },
      )
    }
    const start = startOf(machine, profile.name)
    const content = {
      type: 'external_account',
      audience,
      subject_token_type: idToken,
      token_url: 'https://sts.googleapis.com/v1/token',
      credential_source: {
        executable: {
          command: start.command,
          timeout_millis: 30_000,
        },
      },
    }
    const after = `${JSON.stringify(content, null, 2)}\n`
    const says = after
      .trimEnd()
      .split('\n')
      .map(line => `+ ${line}`)
    const change: FileChange = { file, before, after, isOurs: true, says }
    const changes = before === after ? [] : [change]
    const next = [
      `export GOOGLE_APPLICATION_CREDENTIALS=${shellWords([file])}`,
      'export GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1',
    ]
    return { changes: [...start.changes, ...changes, ...leftLaunchers(changes, machine)], next }
  },

  asked: 'command',
  async probe(_, machine) {
    for (const file of filesIn(machine)) {
      const text = machine.read(file) ?? ''
      const { audience = '', type = idToken, line } = readConfiguration(text)
      const profile = profileOf(text)
      if (profile === undefined) continue
      const env = {
        GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE: audience,
        GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE: type,
        GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE: '0',
      }
      const secret = memberText('(?:id_token|saml_response)')
      return comesFromUs(
        machine,
        { words: ['helper', 'gcp', profile], env, secret },
        { command: line.split(/\s+/), env, secret },
      )
    }
    return undefined
  },
}

/** What setup may have written, under whatever names, of profiles that are there no more too. */
function filesIn(machine: Machine): string[] {
  const directory = dirname(fileOf('', machine))
  return machine
    .list(directory)
    .filter(name => /^tokctl-.+\.json$/.test(name))
    .map(name => join(directory, name))
}

function readConfiguration(text: string): { audience?: string; type?: string; line: string } {
  try {
    const { audience, subject_token_type: type, credential_source } = JSON.parse(text)
    return { audience, type, line: `${credential_source.executable.command}` }
  } catch {
    return { line: '' }
  }
}

function fileOf(name: string, { env, home, platform }: Machine): string {
  const usual =
    platform === 'win32'
      ? join(env['APPDATA'] || home, 'gcloud')
      : join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'gcloud')
  return join(env['CLOUDSDK_CONFIG'] || usual, `tokctl-${name}.json`)
}

// Python's library splits at blanks and knows no quotes: what would want them stands in a launcher.
function startOf(machine: Machine, profile: string): { command: string; changes: readonly Change[] } {
  const words = ['helper', 'gcp', profile]
  const all = [...machine.program, ...words]
  if (all.every(isPlainWord)) return { command: all.join(' '), changes: [] }
  const command = plainLauncherPath(machine, `gcp-${profile}`, 'gcp')
  return { command, changes: launcherChange(command, launcherText(machine, words), machine) }
}

/** Those that nothing starts any more once these changes are made. */
function leftLaunchers(changes: readonly FileChange[], machine: Machine): Change[] {
  const launcherIn = (text: string | undefined): string | undefined =>
    launcher.exec(readConfiguration(text ?? '').line)?.[0]
  const gone = new Set(changes.map(({ before }) => launcherIn(before)))
  const others = filesIn(machine).filter(file => !changes.some(change => change.file === file))
  const used = [...others.map(file => machine.read(file)), ...changes.map(({ after }) => after)].map(
    launcherIn,
  )
  return [...gone].flatMap(path =>
    path === undefined || used.includes(path) ? [] : launcherChange(path, undefined, machine),
  )
}

/** The profile that a file of ours names; `undefined` for somebody else's file. */
function profileOf(text: string): string | undefined {
  const { line } = readConfiguration(text)
  return /tokctl.* helper gcp (\S+)$/.exec(line)?.[1] ?? launcher.exec(line)?.[1]
}

function audienceOf(profile: object): string | undefined {
  const { audience } = profile as { audience?: string }
  return audience?.startsWith('//iam.googleapis.com/') ? audience : undefined
}
