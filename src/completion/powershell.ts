import {
  askCommand,
  askedKinds,
  type CompletedOption,
  type Completion,
  optionWords,
  valueWords,
  type Word,
  type WriteScript,
} from './completion.ts'

/** The completion of PowerShell 5.1 and later. */
export const writePowershell: WriteScript =
  completion => `# PowerShell completion for tokctl: made by "tokctl completion powershell"

Register-ArgumentCompleter -Native -CommandName 'tokctl' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $specs = @{
${completion.commands.map(spec).join('\n')}
    }
    $everywhere = ${table(optionWords(completion.options))}
    $everywhereValues = ${pairs(completion.options)}
    $known = @{
${Object.entries(completion.words)
  .map(([kind, words]) => `        ${quoted(kind)} = @(${words.map(quoted).join(', ')})`)
  .join('\n')}
    }

    $path = ''
    $config = ''
    $kind = ''
    $option = ''
    $count = 0
    $spec = $specs['']
    $before = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        Select-Object -Skip 1 | ForEach-Object { $_.ToString() })
    foreach ($word in $before) {
        if ($kind) {
            if ($option -eq '--config') { $config = $word.Trim('"', "'") }
            $kind = ''
        }
        elseif ($word -eq '--') { return }
        elseif ($word.StartsWith('-')) {
            $option = $word
            $kind = $spec.values[$word]
            if (-not $kind) { $kind = $everywhereValues[$word] }
        }
        elseif ($spec.commands.Contains($word)) {
            $path = "$path $word".Trim()
            $spec = $specs[$path]
        }
        else { $count++ }
    }

    $found = [ordered]@{}
    if (-not $kind -and -not $wordToComplete.StartsWith('-') -and $spec.commands.Count -eq 0 -and $spec.kinds.Count -gt 0) {
        if ($count -lt $spec.kinds.Count) { $kind = $spec.kinds[$count] }
        elseif ($spec.repeats) { $kind = $spec.kinds[-1] }
    }
    if (@(${askedKinds.map(quoted).join(', ')}) -contains $kind) {
        $names = if ($config) { tokctl ${askCommand} "$($kind)s" --config $config 2>$null } else { tokctl ${askCommand} "$($kind)s" 2>$null }
        foreach ($name in $names) { $found[$name] = $name }
    }
    elseif ($kind) { foreach ($name in $known[$kind]) { $found[$name] = $name } }
    elseif ($wordToComplete.StartsWith('-')) {
        foreach ($name in $spec.options.Keys) { $found[$name] = $spec.options[$name] }
        foreach ($name in $everywhere.Keys) { $found[$name] = $everywhere[$name] }
    }
    else { foreach ($name in $spec.commands.Keys) { $found[$name] = $spec.commands[$name] } }

    $found.Keys | Where-Object { $_ -like "$wordToComplete*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $found[$_])
    }
}
`

function spec({ path, commands, options, kinds, repeats }: Completion['commands'][number]): string {
  const fields = [
    `commands = ${table(commands)}`,
    `options = ${table(optionWords(options))}`,
    `values = ${pairs(options)}`,
    `kinds = @(${kinds.map(quoted).join(', ')})`,
    `repeats = $${repeats}`,
  ]
  return `        ${quoted(path)} = @{ ${fields.join('; ')} }`
}

function table(words: readonly Word[]): string {
  return `[ordered]@{ ${words.map(([word, about]) => `${quoted(word)} = ${quoted(about)}`).join('; ')} }`
}

function pairs(options: readonly CompletedOption[]): string {
  const each = valueWords(options).map(pair => {
    const at = pair.indexOf(':')
    return `${quoted(pair.slice(0, at))} = ${quoted(pair.slice(at + 1))}`
  })
  return `@{ ${each.join('; ')} }`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
