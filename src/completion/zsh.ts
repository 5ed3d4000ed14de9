import {
  askCommand,
  askedKinds,
  type Completion,
  optionWords,
  quoted,
  valueWords,
  type Word,
  type WriteScript,
} from './completion.ts'

/** The completion of zsh 5: as `_tokctl` on its path, or sourced. */
export const writeZsh: WriteScript = completion => `#compdef tokctl
# zsh completion for tokctl: made by "tokctl completion zsh"

_tokctl_spec() {
  subcommands=() flags=() values=() kinds=() repeats=
  case $1 in
${completion.commands.map(spec).join('\n')}
  esac
  flags+=(${described(optionWords(completion.options))})
  values+=(${valueWords(completion.options).map(quoted).join(' ')})
}

_tokctl_reply() {
  local -a found
  case $1 in
${Object.entries(completion.words)
  .map(([kind, words]) => `    (${quoted(kind)}) found=(${words.map(quoted).join(' ')}) ;;`)
  .join('\n')}
    (${askedKinds.join('|')})
      if [[ -n $config ]]; then
        found=(\${(f)"$(tokctl ${askCommand} \${1}s --config "\${config/#\\~\\//$HOME/}" 2>/dev/null </dev/null)"})
      else
        found=(\${(f)"$(tokctl ${askCommand} \${1}s 2>/dev/null </dev/null)"})
      fi
      ;;
    (file)
      _files
      return
      ;;
    (*) return 1 ;;
  esac
  compadd -- $found
}

_tokctl() {
  local -a subcommands flags values kinds
  local repeats cur=$words[CURRENT] path_= config= kind= option= count=0 i word pair
  _tokctl_spec ''
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    if [[ -n $kind ]]; then
      [[ $option == --config ]] && config=\${(Q)word}
      kind=
    elif [[ $word == -- ]]; then
      shift i words
      ((CURRENT -= i))
      _normal
      return
    elif [[ $word == --config=* ]]; then
      config=\${(Q)word#*=}
    elif [[ $word == -* ]]; then
      option=$word
      for pair in $values; do
        [[ \${pair%:*} == $word ]] && kind=\${pair#*:}
      done
    elif (( \${subcommands[(I)$word:*]} )); then
      path_=\${path_:+$path_ }$word
      _tokctl_spec $path_
    else
      ((count += 1))
    fi
  done
  if [[ -n $kind ]]; then
    _tokctl_reply $kind
  elif [[ $cur == --*=* ]]; then
    for pair in $values; do
      [[ \${pair%:*} == \${cur%%=*} ]] && kind=\${pair#*:}
    done
    compset -P '*='
    _tokctl_reply $kind
  elif [[ $cur == -* ]]; then
    _describe -o option flags
  elif (( $#subcommands )); then
    _describe command subcommands
  elif (( count < $#kinds )); then
    _tokctl_reply $kinds[count+1]
  elif [[ -n $repeats ]]; then
    _tokctl_reply $kinds[-1]
  else
    return 1
  fi
}

if [[ $funcstack[1] == _tokctl ]]; then
  _tokctl "$@"
else
  compdef _tokctl tokctl
fi
`

function spec({ path, commands, options, kinds, repeats }: Completion['commands'][number]): string {
  const fields: [name: string, words: string][] = [
    ['subcommands', described(commands)],
    ['flags', described(optionWords(options))],
    ['values', valueWords(options).map(quoted).join(' ')],
    ['kinds', kinds.join(' ')],
  ]
  const set = fields.filter(([, words]) => words !== '').map(([name, words]) => ` ${name}=(${words})`)
  return `    (${quoted(path)})${set.join('')}${repeats ? ' repeats=1' : ''} ;;`
}

// `_describe` ends a word at its first colon.
function described(words: readonly Word[]): string {
  return words.map(([word, about]) => quoted(`${word}:${about}`)).join(' ')
}
