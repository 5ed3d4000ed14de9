import { dirname, join } from 'node:path'
import { TokctlError } from '../core/errors.ts'
import { namedProfile } from './places.ts'
import { comesFromUs, memberText } from './probe.ts'
import type { Change, Machine, Tool } from './setup.ts'
import { quotedWords, shellWords } from './words.ts'

const idToken = 'urn:ietf:params:oauth:token-type:id_token'

/** A credential configuration file for Google's libraries, which run an executable where they are allowed to. */
export const tool: Tool = {
  about: 'a credential configuration file that runs tokctl',
  programs: ['gcloud'],
  takesProfile: true,

  async plan(ask, machine) {
    const isForeign = (text: string): boolean => !/tokctl[^\n]* helper gcp /.test(text)
    if (ask.remove) {
      const files = filesIn(machine).filter(file => ask.as === undefined || file === fileOf(ask.as, machine))
      const changes = files.flatMap((file): Change[] => {
        const before = machine.read(file)
        const of = / helper gcp ([^\s"]+)/.exec(before ?? '')?.[1]
        const isMeant = ask.profile === undefined || of === ask.profile.name
        return before === undefined || isForeign(before) || !isMeant
          ? []
          : [{ file, before, after: undefined, isOurs: true, says: [] }]
      })
      return { changes }
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
    const content = {
      type: 'external_account',
      audience,
      subject_token_type: idToken,
      token_url: 'https://sts.googleapis.com/v1/token',
      credential_source: {
        executable: {
          command: command(machine, profile.name),
          timeout_millis: 30_000,
        },
      },
    }
    const after = `${JSON.stringify(content, null, 2)}\n`
    const says = after
      .trimEnd()
      .split('\n')
      .map(line => `+ ${line}`)
    const changes: Change[] = before === after ? [] : [{ file, before, after, isOurs: true, says }]
    const next = [
      `export GOOGLE_APPLICATION_CREDENTIALS=${shellWords([file])}`,
      'export GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1',
    ]
    return { changes, next }
  },

  asked: 'command',
  async probe(_, machine) {
    for (const file of filesIn(machine)) {
      const { audience = '', type = idToken, line } = readConfiguration(machine.read(file) ?? '')
      const profile = /tokctl[^\n]* helper gcp (\S+)$/.exec(line)?.[1]
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

// Python's library splits at blanks and knows no quotes.
function command(machine: Machine, profile: string): string {
  const words = [...machine.program, 'helper', 'gcp', profile]
  const blank = words.find(word => /\s/.test(word))
  if (blank === undefined) return quotedWords(words, 'gcp')
  throw new TokctlError('usage', `gcp cannot be given the path "${blank}", which has a blank in it`)
}

function audienceOf(profile: object): string | undefined {
  const { audience } = profile as { audience?: string }
  return audience?.startsWith('//iam.googleapis.com/') ? audience : undefined
}
