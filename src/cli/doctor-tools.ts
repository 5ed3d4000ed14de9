import { join } from 'node:path'
import type { Environment } from '../core/environment.ts'
import { lookUpProgram } from '../core/find-program.ts'
import { shellWord } from '../core/shell-word.ts'
import type { Probe } from './doctor-place.ts'
import { type Finding, note, ok, problem } from './finding.ts'

// What `doctor` says of the shells and tools that ask us. Reads their files and runs none of them.

/** Whether this shell completes our command lines. */
export function completionFindings({ env, home }: Environment, probe: Probe): Finding[] {
  const shell = /(?:^|[\\/])(bash|zsh|fish)$/.exec(env['SHELL'] ?? '')?.[1]
  if (shell === undefined) return []
  const data = env['XDG_DATA_HOME'] || join(home, '.local', 'share')
  const config = env['XDG_CONFIG_HOME'] || join(home, '.config')
  const own = {
    bash: join(data, 'bash-completion', 'completions', 'tokctl'),
    zsh: join(home, '.zfunc', '_tokctl'),
    fish: join(config, 'fish', 'completions', 'tokctl.fish'),
  }[shell as 'bash' | 'zsh' | 'fish']
  const others = {
    bash: [
      '/usr/share/bash-completion/completions/tokctl',
      '/usr/local/share/bash-completion/completions/tokctl',
      '/etc/bash_completion.d/tokctl',
    ],
    zsh: ['/usr/share/zsh/vendor-completions/_tokctl', '/usr/local/share/zsh/site-functions/_tokctl'],
    fish: ['/usr/share/fish/vendor_completions.d/tokctl.fish'],
  }[shell as 'bash' | 'zsh' | 'fish']
  const started = { bash: '.bashrc', zsh: '.zshrc', fish: join('.config', 'fish', 'config.fish') }
  const isStarted = /tokctl completion|tokctl\.bash|_tokctl/.test(
    probe.read(join(home, started[shell as 'bash' | 'zsh' | 'fish'])) ?? '',
  )
  if (isStarted || [own, ...others].some(path => probe.exists(path)))
    return [ok('completion', `installed for ${shell}`)]
  return [
    note('completion', `not installed for ${shell}`, `run: tokctl completion ${shell} > ${shellWord(own)}`),
  ]
}

interface Tool {
  readonly name: string
  /** Where it is said to that tool that we are to be asked. */
  readonly files: readonly string[]
  readonly pattern: RegExp
  /** What that tool then starts; one of them must be there. */
  readonly programs: readonly string[]
}

function toolsOf({ env, home }: Environment): Tool[] {
  const config = env['XDG_CONFIG_HOME'] || join(home, '.config')
  return [
    {
      name: 'git',
      files: [join(home, '.gitconfig'), join(config, 'git', 'config'), '/etc/gitconfig'],
      pattern: /^\s*helper\s*=.*\btokctl\b/m,
      programs: ['git-credential-tokctl', 'tokctl'],
    },
    {
      name: 'docker',
      files: [join(env['DOCKER_CONFIG'] || join(home, '.docker'), 'config.json')],
      pattern: /"tokctl"/,
      programs: ['docker-credential-tokctl'],
    },
    {
      name: 'cargo',
      files: [join(env['CARGO_HOME'] || join(home, '.cargo'), 'config.toml')],
      pattern: /cargo-credential-tokctl/,
      programs: ['cargo-credential-tokctl'],
    },
    {
      name: 'terraform',
      files: [env['TF_CLI_CONFIG_FILE'] || join(home, '.terraformrc')],
      pattern: /credentials_helper\s+"tokctl"/,
      programs: ['terraform-credentials-tokctl'],
    },
    {
      name: 'kubectl',
      files: (env['KUBECONFIG'] || join(home, '.kube', 'config')).split(':'),
      pattern: /command:\s*["']?(?:\S*\/)?tokctl\b/,
      programs: ['tokctl'],
    },
  ]
}

/** Which tools are told to ask us, and whether what they then start is there. */
export function helperFindings(environment: Environment, probe: Probe): Finding[] {
  const findings: Finding[] = []
  for (const { name, files, pattern, programs } of toolsOf(environment)) {
    if (!files.some(path => pattern.test(probe.read(path) ?? ''))) continue
    // terraform looks in a place of its own.
    const own = join(environment.home, '.terraform.d', 'plugins', 'terraform-credentials-tokctl')
    const isThere =
      programs.some(program => lookUpProgram(program, environment.env).kind === 'found') ||
      (name === 'terraform' && probe.exists(own))
    findings.push(
      isThere
        ? ok('helper', `${name} asks tokctl`)
        : problem(
            'helper',
            `${name} is told to ask tokctl, and ${programs[0]} is not in PATH`,
            'run: npm install --global tokctl',
          ),
    )
  }
  if (findings.length === 0) findings.push(ok('helper', 'no other tool is told to ask tokctl'))
  return findings
}
