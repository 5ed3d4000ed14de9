import { dirname, join } from 'node:path'
import type { Environment } from '../core/environment.ts'
import { lookUpProgram } from '../core/find-program.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Profile } from '../profile/profile.ts'
import { launcherMark } from '../setup/launcher.ts'
import type { Probe } from './doctor-place.ts'
import { type Finding, note, ok, problem } from './finding.ts'

// What `doctor` says of the shells and tools that ask us. Reads their files and runs none of them.

/** Whether this shell completes our command lines: not only whether the file is there, also whether the shell loads it. */
export function completionFindings(environment: Environment, probe: Probe): Finding[] {
  const shell = /(?:^|[\\/])(bash|zsh|fish)$/.exec(environment.env['SHELL'] ?? '')?.[1]
  if (shell === undefined) return []
  const steps = missingSteps[shell as keyof typeof missingSteps](environment, probe)
  if (steps.length === 0) return [ok('completion', `installed for ${shell}`)]
  return [note('completion', `not in force for ${shell}`, `run: ${steps.join(' && ')}`)]
}

/** What is still to be done in each shell, as commands. */
const missingSteps = {
  bash({ env, home }: Environment, probe: Probe): string[] {
    const own = join(
      env['XDG_DATA_HOME'] || join(home, '.local', 'share'),
      'bash-completion/completions/tokctl',
    )
    const rc = join(home, '.bashrc')
    if (/tokctl completion|tokctl\.bash|completions\/tokctl/.test(uncommented(probe.read(rc)))) return []
    if (probe.exists('/etc/bash_completion.d/tokctl') && isAny(bashCompletion, probe)) return []
    const isThere = isAny([own, ...shared.bash], probe)
    return [
      ...(isThere ? [] : written('bash', own)),
      // What lies there is loaded by the package bash-completion alone.
      ...(isAny(bashCompletion, probe)
        ? []
        : [`echo ${shellWord(`. ${shellWord(own)}`)} >> ${shellWord(rc)}`]),
    ]
  },
  zsh({ env, home }: Environment, probe: Probe): string[] {
    const own = join(home, '.zfunc', '_tokctl')
    const rc = join(env['ZDOTDIR'] || home, '.zshrc')
    const lines = [...zshrcs, rc].flatMap(path => uncommented(probe.read(path)).split('\n'))
    const starts = lines.findLastIndex(line => zshStarts.test(line))
    const isSourced = lines.some(line => /tokctl completion zsh|(?:source|\.)\s+\S*_tokctl/.test(line))
    if (isSourced && starts >= 0) return []
    const isShared = isAny(shared.zsh, probe)
    // zsh looks into the directories that it knows at that moment.
    const at = lines.findIndex(line => line.includes('.zfunc'))
    const isKnown = isShared || (at >= 0 && at <= starts)
    const more = [...(isKnown ? [] : ['fpath=(~/.zfunc $fpath)']), 'autoload -Uz compinit && compinit']
    return [
      ...(isShared || probe.exists(own) ? [] : written('zsh', own)),
      ...(isKnown && starts >= 0
        ? []
        : [`printf '%s\\n' ${more.map(shellWord).join(' ')} >> ${shellWord(rc)}`]),
    ]
  },
  fish({ env, home }: Environment, probe: Probe): string[] {
    const config = join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'fish')
    const own = join(config, 'completions', 'tokctl.fish')
    if (/tokctl completion/.test(uncommented(probe.read(join(config, 'config.fish'))))) return []
    return isAny([own, ...shared.fish], probe) ? [] : written('fish', own)
  },
}

/** Where a package puts them. */
const shared = {
  bash: [
    '/usr/share/bash-completion/completions/tokctl',
    '/usr/local/share/bash-completion/completions/tokctl',
  ],
  zsh: ['/usr/share/zsh/vendor-completions/_tokctl', '/usr/local/share/zsh/site-functions/_tokctl'],
  fish: ['/usr/share/fish/vendor_completions.d/tokctl.fish'],
}

const bashCompletion = [
  '/usr/share/bash-completion/bash_completion',
  '/usr/local/share/bash-completion/bash_completion',
  '/usr/local/etc/profile.d/bash_completion.sh',
  '/opt/homebrew/etc/profile.d/bash_completion.sh',
]
const zshrcs = ['/etc/zsh/zshrc', '/etc/zshrc']
const zshStarts = /\bcompinit\b|oh-my-zsh\.sh|\b(?:antidote|antigen|prezto|zgenom|zimfw|zinit|zplug)\b/

function written(shell: string, file: string): string[] {
  return [`mkdir -p ${shellWord(dirname(file))}`, `tokctl completion ${shell} > ${shellWord(file)}`]
}

function isAny(paths: readonly string[], probe: Probe): boolean {
  return paths.some(path => probe.exists(path))
}

function uncommented(text: string | undefined): string {
  return (text ?? '').replace(/^\s*#.*$/gm, '')
}

interface Tool {
  /** As `setup` calls it. */
  readonly name: string
  /** Where it is said to that tool that we are to be asked. */
  readonly files: readonly string[]
  /** A line that says so. */
  readonly pattern: RegExp
  /** What that tool starts where the line names no path; one of them must be on `PATH`. */
  readonly programs: readonly string[]
  /** Found on `PATH` by that tool, whatever asks: it is we who are asked only where that is a launcher of ours. */
  readonly isShared?: boolean
  /** Its configuration names a profile. */
  readonly takesProfile?: boolean
}

/** Every tool that `setup` knows, and where its configuration is. */
export function toolsAsking({ env, home }: Environment, profiles: readonly Pick<Profile, 'name'>[]): Tool[] {
  const config = env['XDG_CONFIG_HOME'] || join(home, '.config')
  const cargo = env['CARGO_HOME'] || join(home, '.cargo')
  const gcloud = env['CLOUDSDK_CONFIG'] || join(config, 'gcloud')
  const terraform = env['TF_CLI_CONFIG_FILE'] || env['TERRAFORM_CONFIG']
  // As a block, or a member of JSON.
  const block = /credentials_helper\s+"tokctl"|"credentials_helper"\s*:.*"tokctl"|^\s*"tokctl"\s*:\s*\{/
  const plugin = { pattern: block, programs: ['terraform-credentials-tokctl'] }
  const helper = { pattern: /^\s*token_helper\s*=.*tokctl/, programs: ['tokctl'] }
  const keyring = { programs: ['keyring'], isShared: true }
  return [
    {
      name: 'git',
      files: [join(home, '.gitconfig'), join(config, 'git', 'config'), '/etc/gitconfig'],
      pattern: /^\s*helper\s*=.*\btokctl\b/,
      programs: ['git-credential-tokctl', 'tokctl'],
    },
    {
      name: 'docker',
      files: [join(env['DOCKER_CONFIG'] || join(home, '.docker'), 'config.json')],
      pattern: /:\s*"tokctl"/,
      programs: ['docker-credential-tokctl'],
    },
    {
      name: 'kubectl',
      files: (env['KUBECONFIG'] || join(home, '.kube', 'config')).split(':'),
      pattern: /^\s*(?:command:|-)\s*["']?(?:\S*\/)?tokctl(?:\.js)?\b/,
      programs: ['tokctl'],
      takesProfile: true,
    },
    {
      name: 'aws',
      files: [env['AWS_CONFIG_FILE'] || join(home, '.aws', 'config')],
      pattern: /^\s*credential_process\s*=.*\btokctl\b/,
      programs: ['tokctl'],
      takesProfile: true,
    },
    {
      name: 'gcp',
      files: [
        ...profiles.map(({ name }) => join(gcloud, `tokctl-${name}.json`)),
        env['GOOGLE_APPLICATION_CREDENTIALS'] || join(gcloud, 'application_default_credentials.json'),
      ],
      pattern: /"command":\s*".*\btokctl\b/,
      programs: ['tokctl'],
      takesProfile: true,
    },
    {
      name: 'bazel',
      files: [join(home, '.bazelrc')],
      pattern: /--credential_helper=.*tokctl/,
      programs: ['tokctl'],
    },
    {
      name: 'cargo',
      files: [join(cargo, 'config'), join(cargo, 'config.toml')],
      pattern: /cargo-credential-tokctl|tokctl-cargo/,
      programs: ['cargo-credential-tokctl'],
    },
    { name: 'terraform', files: [terraform || join(home, '.terraformrc')], ...plugin },
    { name: 'tofu', files: [terraform || join(home, '.tofurc')], ...plugin },
    {
      name: 'go',
      files: [env['GOENV'] || join(config, 'go', 'env')],
      pattern: /^GOAUTH=.*\btokctl\b/,
      programs: ['tokctl'],
    },
    {
      name: 'pip',
      files: [env['PIP_CONFIG_FILE'] || join(config, 'pip', 'pip.conf'), join(home, '.pip', 'pip.conf')],
      pattern: /^\s*keyring-provider\s*=\s*subprocess/,
      ...keyring,
    },
    {
      name: 'uv',
      files: [env['UV_CONFIG_FILE'] || join(config, 'uv', 'uv.toml')],
      pattern: /^\s*keyring-provider\s*=\s*"subprocess"/,
      ...keyring,
    },
    {
      name: 'pnpm',
      files: [env['NPM_CONFIG_USERCONFIG'] || env['npm_config_userconfig'] || join(home, '.npmrc')],
      pattern: /tokenHelper\s*=.*tokctl/,
      programs: ['tokctl'],
      takesProfile: true,
    },
    { name: 'vault', files: [env['VAULT_CONFIG_PATH'] || join(home, '.vault')], ...helper },
    {
      name: 'bao',
      files: [(env['BAO_CONFIG_PATH'] ?? env['VAULT_CONFIG_PATH']) || join(home, '.bao')],
      ...helper,
    },
  ]
}

/** Which tools are told to ask us, and whether what they then start is there. */
export function helperFindings(
  environment: Environment,
  probe: Probe,
  profiles: readonly Pick<Profile, 'name'>[] = [],
): Finding[] {
  const findings: Finding[] = []
  for (const tool of toolsAsking(environment, profiles)) {
    const lines = tool.files
      .flatMap(path => (probe.read(path) ?? '').split('\n'))
      .filter(line => tool.pattern.test(line))
    if (lines.length === 0) continue
    const missing = missingIn(tool, lines, environment, probe)
    if (missing === undefined) continue
    const { name, takesProfile } = tool
    const again = `run: tokctl setup ${name}${takesProfile ? ' PROFILE' : ''}`
    if (missing.length === 0) findings.push(ok('helper', `${name} asks tokctl`))
    for (const what of missing) {
      const isPath = what.includes('/')
      const where = isPath ? 'is not there' : 'is not in PATH'
      const hint = isPath ? again : 'run: npm install --global tokctl'
      findings.push(problem('helper', `${name} is told to ask tokctl, and ${what} ${where}`, hint))
    }
  }
  if (findings.length === 0) findings.push(ok('helper', 'no other tool is told to ask tokctl'))
  return findings
}

/** What would be started and is not there; `undefined` where it is another's. */
function missingIn(
  { name, programs, isShared }: Tool,
  lines: readonly string[],
  environment: Environment,
  probe: Probe,
): string[] | undefined {
  const paths = lines.flatMap(pathsIn)
  if (paths.length === 0) {
    const found = programs
      .map(program => lookUpProgram(program, environment.env))
      .find(({ kind }) => kind === 'found')
    // terraform looks in a place of its own.
    const plugin = join(environment.home, '.terraform.d', 'plugins', 'terraform-credentials-tokctl')
    const isPlugin = (name === 'terraform' || name === 'tofu') && probe.exists(plugin)
    const path = isPlugin ? plugin : found?.kind === 'found' ? found.file : undefined
    if (path === undefined) return isShared ? undefined : [programs[0]!]
    if (isShared && probe.read(path)?.includes(launcherMark) !== true) return undefined
    paths.push(path)
  }
  const missing = new Set<string>()
  for (const path of paths) {
    if (!probe.exists(path)) missing.add(path)
    const text = probe.read(path)
    // An upgrade of Node takes away what a launcher of ours starts.
    if (text?.includes(launcherMark)) {
      for (const inner of text.split('\n').slice(1).flatMap(pathsIn))
        if (!probe.exists(inner)) missing.add(inner)
    }
  }
  return [...missing]
}

/** The absolute paths in a line; what follows a word, as in a URL, is none. */
function pathsIn(line: string): string[] {
  return line.match(/(?<![\w.$~:/\\-])\/(?!\/)[^\s"'\\;,]+/g) ?? []
}
