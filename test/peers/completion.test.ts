import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { said } from '../../src/cli/completion.ts'
import { protocols } from '../../src/protocol/protocols.ts'
import { clientProfile } from '../support/corp.ts'
import { program, type RunOptions, run, type Scratch, scratch } from '../support/run.ts'

// Each shell is started for real, loads the file that is packed, and completes a line as it does for a person.

const completions = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'completions')
const files = { bash: 'tokctl.bash', zsh: '_tokctl', fish: 'tokctl.fish', powershell: 'tokctl.ps1' } as const

/** A home with three profiles, and another configuration with one. */
function home(): { at: Scratch; options: RunOptions; other: string } {
  const at = scratch()
  const nowhere = 'http://127.0.0.1:9/token'
  const route =
    '[proxy.api]\nprofile = "corp"\nlisten = "127.0.0.1:0"\nupstream = "https://api.example.com"\n'
  at.writeConfig(['corp', 'corp-eu', 'other'].map(name => clientProfile(name, nowhere)).join('\n') + route)
  const other = at.write('other.toml', clientProfile('elsewhere', nowhere))
  at.write('home/notes.txt', '')
  const shim = at.write('bin/tokctl', `#!/bin/sh\nexec "${program.join('" "')}" "$@"\n`, 0o755)
  const env = { PATH: `${dirname(shim)}:${process.env['PATH']}`, TERM: 'dumb', LC_ALL: 'C.UTF-8' }
  return { at, options: { at, env, cwd: at.home }, other }
}

/** What a shell offers for a line with the cursor at its end. */
type Complete = (line: string, options: RunOptions, at: Scratch) => Promise<string[]>

// readline itself cuts the line into words: bash -i on a terminal of its own would tell no more than these do.
const bash: Complete = async (line, options) => {
  const words = line
    .split(/( |=)/)
    .filter((word, i, all) => word !== ' ' && (word !== '' || i === all.length - 1))
  const script = `
source ${completions}/${files.bash}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
[[ $(complete -p tokctl) == 'complete -F _tokctl tokctl' ]] || exit 9
_tokctl tokctl
(( \${#COMPREPLY[@]} == 0 )) || printf '%s\\n' "\${COMPREPLY[@]}"`
  const call = { ...options, program: ['bash', '--norc', '-c', script, 'bash'] }
  return offered(await run(words, call))
}

// zsh completes in its line editor only, so it gets a terminal; compadd tells what it was given.
const zsh: Complete = async (line, options, at) => {
  const told = join(at.path, 'told')
  mkdirSync(join(at.path, 'zdot'), { recursive: true })
  const setUp = at.write(
    'setup.zsh',
    `PS1=
fpath=(${completions} $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then
    builtin compadd "$@"
    return
  fi
  local -a hits
  builtin compadd -O hits "$@"
  (( $#hits )) && print -rl -- $hits >> ${told}
  builtin compadd "$@"
}
told() { print -r -- --END-- >> ${told}; zle kill-whole-line; print -r -- ASKED }
zle -N told
zstyle ':completion:*' completer _complete
zstyle ':completion:*' insert-tab false
bindkey '^I' list-choices
bindkey '^X' told
print -r -- LOADED
`,
  )
  const script = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source ${setUp}"
zpty -r -m shell seen '*LOADED*' || exit 8
zpty -w -n shell "$1"$'\\t'$'\\x18'
zpty -r -m shell seen '*ASKED*' || exit 9
zpty -d shell`
  const driver = { ...options, program: ['zsh', '-f', '-c', script, 'zsh'] }
  const { code, stderr } = await run([line], driver)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const hits = readFileSync(told, 'utf8').split('--END--\n').at(-2) ?? ''
  return hits.split('\n').filter(word => word !== '')
}

const fish: Complete = async (line, options) => {
  const script = `source ${completions}/${files.fish}\ncomplete --do-complete $argv[1]`
  const call = { ...options, program: ['fish', '--no-config', '-c', script] }
  return offered(await run([line], call)).map(word => word.replace(/\t.*/, ''))
}

function offered({
  code,
  stdout,
  stderr,
}: {
  code: number | null
  stdout: string
  stderr: string
}): string[] {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout.split('\n').filter(word => word !== '')
}

const profiles = ['corp', 'corp-eu', 'other']
const cases: [
  line: string,
  want: readonly string[] | { readonly has: readonly string[]; readonly not?: readonly string[] },
][] = [
  [
    'tokctl ',
    { has: ['get', 'login', 'profile', 'helper', 'completion'], not: ['__complete', '--config', 'corp'] },
  ],
  ['tokctl re', ['refresh', 'reject']],
  ['tokctl get ', profiles],
  ['tokctl get cor', ['corp', 'corp-eu']],
  ['tokctl get --force -o json ', profiles],
  ['tokctl get corp ', []],
  ['tokctl get corp -o ', ['token', 'header', 'json', 'curl', 'netrc', 'env']],
  ['tokctl get corp --output j', ['json']],
  ['tokctl get corp --m', ['--min-validity']],
  ['tokctl get --min-validity ', []],
  ['tokctl --verb', ['--verbose']],
  ['tokctl --no-input status ', profiles],
  ['tokctl profile ', { has: ['list', 'show', 'add', 'remove', 'test'], not: ['help', 'corp'] }],
  ['tokctl profile show ', profiles],
  ['tokctl profile add new --provider git', ['github-app', 'github', 'gitlab']],
  ['tokctl helper dock', ['docker']],
  ['tokctl helper git ', ['get', 'store', 'erase', 'capability']],
  ['tokctl helper goauth ', []],
  ['tokctl helper kubectl ot', ['other']],
  ['tokctl proxy ', [...profiles, 'api']],
  ['tokctl watch corp --format ', ['token', 'json', 'curl', 'netrc']],
  ['tokctl exec corp ', profiles],
  ['tokctl exec corp -- tokct', { has: ['tokctl'] }],
  ['tokctl setup kub', ['kubectl']],
  ['tokctl setup kubectl ', profiles],
  ['tokctl ci corp --system j', ['jenkins']],
  ['tokctl completion ', ['bash', 'zsh', 'fish', 'powershell']],
  ['tokctl --config OTHER get ', ['elsewhere']],
  ['tokctl get --config no', ['notes.txt']],
]

describe.each([
  ['bash', bash],
  ['zsh', zsh],
  ['fish', fish],
])('%s completes', (_, complete) => {
  test.each(cases)('%j', async (line, want) => {
    const { at, options, other } = home()
    const found = await complete(line.replace('OTHER', other), options, at)
    if (Array.isArray(want)) expect([...found].sort()).toEqual([...want].sort())
    else {
      const { has, not = [] } = want as { has: string[]; not?: string[] }
      expect(found).toEqual(expect.arrayContaining(has))
      expect(found.filter(word => not.includes(word))).toEqual([])
    }
  })

  test('nothing, in silence, where the configuration cannot be read', async () => {
    const { at, options } = home()
    at.writeConfig('[profile.corp')
    expect(await complete('tokctl get ', options, at)).toEqual([])
  })
})

test('in zsh and fish a value is completed behind its "=" too, and in bash, where "=" is a word', async () => {
  const { at, options } = home()
  const line = 'tokctl get corp --output=he'
  expect(await bash(line, options, at)).toEqual(['header'])
  expect(await fish(line, options, at)).toEqual(['--output=header'])
  expect(await zsh(line, options, at)).toEqual(['header'])
})

test('the files that are packed are what the command prints', async () => {
  expect(readdirSync(completions).sort()).toEqual(Object.values(files).sort())
  for (const [shell, file] of Object.entries(files)) {
    const { stdout, stderr, code } = await run(['completion', shell])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout === readFileSync(join(completions, file), 'utf8'), `${file}: run npm run generate`).toBe(
      true,
    )
  }
})

// What doctor says is done as it stands, and zsh itself tells whether it completes us then.
test('in zsh what doctor names is all there is to do, and it believes nothing less', async () => {
  const { at, options } = home()
  const env = { ...options.env, SHELL: '/usr/bin/zsh' }
  const said = async (): Promise<{ message: string; hint: string | null }> => {
    const { stdout } = await run(['doctor', '--json', '--no-network'], { at, env })
    return JSON.parse(stdout).findings.find(({ check }: { check: string }) => check === 'completion')
  }
  const inForce = async (): Promise<string> => {
    const zsh = ['zsh', '-ic', 'print -r -- "<$_comps[tokctl]>"']
    return (await run([], { at, env: { ...env, HOME: at.home }, program: zsh })).stdout
  }
  const first = await said()
  expect(first.message).toBe('not in force for zsh')
  const [script, ...lines] = first.hint!.replace('run: ', '').split(' && printf ')
  await run(['-c', script!], { at, env: { ...env, HOME: at.home }, program: ['sh'] })
  // The file alone is what zsh never looks at.
  expect(await inForce()).toContain('<>')
  const second = await said()
  expect(second.hint).toBe(`run: printf ${lines.join(' && printf ')}`)
  await run(['-c', second.hint!.replace('run: ', '')], { at, env, program: ['sh'] })
  expect(await inForce()).toContain('<_tokctl>')
  expect(await said()).toEqual({ check: 'completion', level: 'ok', message: 'installed for zsh', hint: null })
})

test('what can follow is known of every protocol', () => {
  expect(Object.keys(said)).toEqual(Object.keys(protocols))
})

test('a shell that is not completed in is told which ones are', async () => {
  expect(await run(['completion', 'tcsh'])).toMatchObject({
    code: 2,
    stdout: '',
    stderr:
      'tokctl: error: "tcsh" is no shell that is completed in\ntokctl: hint: write one of: bash, zsh, fish, powershell\n',
  })
})
