import {
  askCommand,
  askedKinds,
  type Completion,
  quoted,
  valueWords,
  type WriteScript,
} from './completion.ts'

/** The completion of bash, 3.2 and later; needs nothing beside it. */
export const writeBash: WriteScript =
  completion => `# bash completion for tokctl: made by "tokctl completion bash"
# shellcheck shell=bash disable=SC2207,SC2086

_tokctl_spec() {
  commands='' options='' values='' kinds='' repeats=''
  case $1 in
${completion.commands.map(spec).join('\n')}
  esac
  options="$options ${completion.options.flatMap(({ names }) => names).join(' ')}"
  values="$values ${valueWords(completion.options).join(' ')}"
}

_tokctl_reply() {
  local IFS=$' \\t\\n' words=''
  case $1 in
${Object.entries(completion.words)
  .map(([kind, words]) => `    ${quoted(kind)}) words=${quoted(words.join(' '))} ;;`)
  .join('\n')}
    ${askedKinds.join(' | ')})
      if [[ -n $config ]]; then
        words=$(tokctl ${askCommand} "\${1}s" --config "\${config/#\\~\\//$HOME/}" 2>/dev/null </dev/null)
      else
        words=$(tokctl ${askCommand} "\${1}s" 2>/dev/null </dev/null)
      fi
      ;;
    file)
      compopt -o filenames 2>/dev/null
      IFS=$'\\n'
      COMPREPLY=($(compgen -f -- "$cur"))
      return
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

_tokctl() {
  local commands options values kinds repeats
  local cur=\${COMP_WORDS[COMP_CWORD]} path='' config='' kind='' option='' count=0 assigned='' i word pair
  COMPREPLY=()
  _tokctl_spec ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # readline makes a word of its own of each "=".
    if [[ $word == '=' ]]; then
      [[ -n $kind ]] || assigned=1
    elif [[ -n $assigned ]]; then
      assigned=''
    elif [[ -n $kind ]]; then
      [[ $option == --config ]] && config=$word
      kind=''
    elif [[ $word == '--' ]]; then
      compopt -o filenames 2>/dev/null
      local IFS=$'\\n'
      if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi
      return
    elif [[ $word == -* ]]; then
      option=$word
      for pair in $values; do
        [[ \${pair%:*} == "$word" ]] && kind=\${pair#*:}
      done
    elif [[ " $commands " == *" $word "* ]]; then
      path="\${path:+$path }$word"
      _tokctl_spec "$path"
    else
      count=$((count + 1))
    fi
  done
  if [[ $cur == '=' ]]; then
    cur=''
    [[ -n $kind ]] || return
  fi
  [[ -z $assigned ]] || return
  if [[ -n $kind ]]; then
    _tokctl_reply "$kind"
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ -n $commands ]]; then
    COMPREPLY=($(compgen -W "$commands" -- "$cur"))
  else
    set -- $kinds
    if ((count < $#)); then
      shift "$count"
    elif [[ -n $repeats ]]; then
      shift $(($# - 1))
    else
      return
    fi
    _tokctl_reply "$1"
  fi
}

complete -F _tokctl tokctl
`

function spec({ path, commands, options, kinds, repeats }: Completion['commands'][number]): string {
  const fields: [name: string, words: readonly string[]][] = [
    ['commands', commands.map(([word]) => word)],
    ['options', options.flatMap(({ names }) => names)],
    ['values', valueWords(options)],
    ['kinds', kinds],
    ['repeats', repeats ? ['1'] : []],
  ]
  const set = fields.filter(([, words]) => words.length > 0)
  return `    ${quoted(path)})${set.map(([name, words]) => ` ${name}=${quoted(words.join(' '))}`).join('')} ;;`
}
