import {
  askCommand,
  askedKinds,
  type Completion,
  optionWords,
  valueWords,
  type Word,
  type WriteScript,
} from './completion.ts'

/** The completion of fish 3. */
export const writeFish: WriteScript =
  completion => `# fish completion for tokctl: made by "tokctl completion fish"

function __tokctl_spec --argument-names path --no-scope-shadowing
    set commands
    set options
    set values
    set kinds
    set repeats
    switch $path
${completion.commands.map(spec).join('\n')}
    end
    set --append options ${described(optionWords(completion.options))}
    set --append values ${valueWords(completion.options).map(quoted).join(' ')}
end

function __tokctl_words --argument-names kind config current
    switch $kind
${Object.entries(completion.words)
  .map(([kind, words]) => `        case ${quoted(kind)}\n            printf '%s\\n' ${words.join(' ')}`)
  .join('\n')}
        case ${askedKinds.join(' ')}
            if test -n "$config"
                tokctl ${askCommand} {$kind}s --config (string replace --regex '^~/' $HOME/ -- $config) 2>/dev/null </dev/null
            else
                tokctl ${askCommand} {$kind}s 2>/dev/null </dev/null
            end
        case file
            __fish_complete_path $current
    end
end

function __tokctl_complete
    set --local commands
    set --local options
    set --local values
    set --local kinds
    set --local repeats
    set --local path
    set --local config ''
    set --local kind ''
    set --local option ''
    set --local count 0
    set --local current (commandline --current-token)
    set --local words (commandline --tokenize --cut-at-cursor --current-process)
    __tokctl_spec ''
    for i in (seq 2 (count $words))
        set --local word $words[$i]
        if test -n "$kind"
            test "$option" = --config; and set config $word
            set kind ''
        else if test "$word" = --
            __fish_complete_subcommand --commandline $words[(math $i + 1)..] $current 2>/dev/null
            return
        else if string match --quiet -- '--config=*' $word
            set config (string replace -- '--config=' '' $word)
        else if string match --quiet -- '-*' $word
            set option $word
            for pair in $values
                test (string replace --regex ':.*' '' -- $pair) = $word; and set kind (string replace --regex '.*:' '' -- $pair)
            end
        else if string match --quiet -- "$word"\\t'*' $commands
            set path (string trim -- "$path $word")
            __tokctl_spec $path
        else
            set count (math $count + 1)
        end
    end
    if test -n "$kind"
        __tokctl_words $kind "$config" "$current"
    else if string match --quiet -- '--*=*' $current
        set --local name (string replace --regex '=.*' '' -- $current)
        for pair in $values
            test (string replace --regex ':.*' '' -- $pair) = $name; and set kind (string replace --regex '.*:' '' -- $pair)
        end
        for word in (__tokctl_words $kind "$config" (string replace --regex '^[^=]*=' '' -- $current))
            printf '%s=%s\\n' $name $word
        end
    else if string match --quiet -- '-*' $current
        printf '%s\\n' $options
    else if test (count $commands) -gt 0
        printf '%s\\n' $commands
    else if test $count -lt (count $kinds)
        __tokctl_words $kinds[(math $count + 1)] "$config" "$current"
    else if test -n "$repeats"
        __tokctl_words $kinds[-1] "$config" "$current"
    end
end

complete --command tokctl --no-files --keep-order --arguments '(__tokctl_complete)'
`

function spec({ path, commands, options, kinds, repeats }: Completion['commands'][number]): string {
  const fields: [name: string, words: string][] = [
    ['commands', described(commands)],
    ['options', described(optionWords(options))],
    ['values', valueWords(options).map(quoted).join(' ')],
    ['kinds', kinds.join(' ')],
    ['repeats', repeats ? '1' : ''],
  ]
  const set = fields.filter(([, words]) => words !== '')
  return [
    `        case ${quoted(path)}`,
    ...set.map(([name, words]) => `            set ${name} ${words}`),
  ].join('\n')
}

function described(words: readonly Word[]): string {
  return words.map(([word, about]) => `${quoted(word)}\\t${quoted(about)}`).join(' ')
}

// In fish a backslash escapes between single quotes too.
function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
