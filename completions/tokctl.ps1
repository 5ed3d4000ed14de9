# PowerShell completion for tokctl: made by "tokctl completion powershell"

Register-ArgumentCompleter -Native -CommandName 'tokctl' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $specs = @{
        '' = @{ commands = [ordered]@{ 'get' = 'print an access token'; 'exec' = 'run a program with tokens'; 'refresh' = 'renew a token now'; 'login' = 'sign in'; 'logout' = 'sign out and forget'; 'reject' = 'report a refused token'; 'status' = 'show each token''s state'; 'watch' = 'keep tokens fresh'; 'ci' = 'hand tokens to a CI job'; 'doctor' = 'find what is wrong'; 'prune' = 'drop what nobody can use'; 'trust' = 'trust a project''s file'; 'untrust' = 'end that trust'; 'init' = 'make a first profile'; 'proxy' = 'a proxy that adds tokens'; 'profile' = 'list and edit profiles'; 'helper' = 'answer another tool'; 'setup' = 'connect another tool'; 'secret' = 'keep secrets'; 'completion' = 'complete in a shell' }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'get' = @{ commands = [ordered]@{  }; options = [ordered]@{ '-o' = 'what to print: token, header, json, curl, netrc, env'; '--output' = 'what to print: token, header, json, curl, netrc, env'; '--force' = 'ask for a new token, however good the kept one is'; '--cached' = 'never touch the network; fail when nothing usable is kept'; '--min-validity' = 'the token must live at least this long'; '--timeout' = 'for the whole call, waiting included (default: 30s)' }; values = @{ '-o' = 'form'; '--output' = 'form'; '--min-validity' = '-'; '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'exec' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--min-validity' = 'the tokens must live at least this long'; '--timeout' = 'for the tokens, waiting included (default: 30s)'; '--pass-env' = 'a secret of a profile that the program needs' }; values = @{ '--min-validity' = '-'; '--timeout' = '-'; '--pass-env' = '-' }; kinds = @('profile'); repeats = $true }
        'refresh' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--if-stale' = 'only if the kept token is near its end or gone'; '--timeout' = 'for the whole call, waiting included (default: 30s)' }; values = @{ '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'login' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--device' = 'show a code for another device instead of opening a browser here'; '--no-browser' = 'show the address instead of opening it'; '--timeout' = 'for the whole sign-in (default: 5m, on another device 15m)' }; values = @{ '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'logout' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--all' = 'every profile'; '--timeout' = 'for each profile, waiting included (default: 30s)' }; values = @{ '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'reject' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--timeout' = 'for the whole call, waiting included (default: 30s)' }; values = @{ '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'status' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--json' = 'for programs'; '--watch' = 'draw it again each second until Ctrl-C; with --json a line at each change' }; values = @{  }; kinds = @('profile'); repeats = $false }
        'watch' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--file' = 'write it there (0600); {profile} is the name'; '--format' = 'token, json, curl, netrc'; '--template' = 'such as "{token} {expires_at}"'; '--aws' = 'answer the AWS SDKs there'; '--gce' = 'answer the Google SDKs there'; '--azure' = 'answer the Azure SDKs there'; '--variables' = 'write what these SDKs need to know there (0600)'; '--on-change' = 'run this when the token is another than before'; '--on-login-required' = 'run this when a person must sign in'; '--pass-token' = 'put the token into its environment, as TOKEN'; '--once' = 'renew what is stale, write it, and end'; '--install' = 'write a user unit that does this: systemd' }; values = @{ '--file' = 'file'; '--format' = 'format'; '--template' = '-'; '--aws' = '-'; '--gce' = '-'; '--azure' = '-'; '--variables' = 'file'; '--on-change' = '-'; '--on-login-required' = '-'; '--install' = '-' }; kinds = @('profile'); repeats = $true }
        'ci' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--system' = 'one of github, gitlab, azure, circleci, buildkite, bitbucket, jenkins, plain (default: as found)'; '--file' = 'a file for the values, where the system has no place for them'; '--min-validity' = 'the tokens must live at least this long'; '--timeout' = 'for the tokens, waiting included (default: 30s)' }; values = @{ '--system' = 'system'; '--file' = 'file'; '--min-validity' = '-'; '--timeout' = '-' }; kinds = @('profile'); repeats = $true }
        'doctor' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--json' = 'for programs'; '--no-network' = 'ask no server' }; values = @{  }; kinds = @(); repeats = $false }
        'prune' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--dry-run' = 'say what would be dropped, and drop nothing'; '--logins' = 'drop logins and valid tokens too that no profile here can use' }; values = @{  }; kinds = @(); repeats = $false }
        'trust' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--yes' = 'do not ask, for scripts' }; values = @{  }; kinds = @('file'); repeats = $false }
        'untrust' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('file'); repeats = $false }
        'init' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--provider' = 'what gives the token: see "tokctl profile add --list"'; '--set' = 'what the provider needs, or any other key of the profile'; '--secret-stdin' = 'read the secret from stdin'; '--sealed-files' = 'keep secrets and sessions in files, not in a keychain'; '--no-check' = 'do not ask the server whether it is there'; '--no-get' = 'do not get a token at the end' }; values = @{ '--provider' = 'provider'; '--set' = '-' }; kinds = @('-'); repeats = $false }
        'proxy' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--upstream' = 'its path is put before that of requests'; '--listen' = '127.0.0.1:PORT, [::1]:PORT, unix:/path, systemd'; '--client-auth' = 'ask clients for the secret written there'; '--max-body' = 'longest body of a request (default: 1GiB)'; '--ca-file' = 'authorities for the upstream, beside the usual ones' }; values = @{ '--upstream' = '-'; '--listen' = '-'; '--client-auth' = 'file'; '--max-body' = '-'; '--ca-file' = 'file' }; kinds = @('route'); repeats = $true }
        'profile' = @{ commands = [ordered]@{ 'list' = 'Lists the profiles, one a line: name, source, URLs.'; 'show' = 'Shows one profile with all its settings. A secret is shown as the reference it is, never as its value.'; 'add' = 'write a profile for a provider'; 'remove' = 'take a profile out of the configuration'; 'test' = 'fetch a token once and show what it is like' }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'profile list' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--json' = 'for programs' }; values = @{  }; kinds = @(); repeats = $false }
        'profile show' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--json' = 'for programs' }; values = @{  }; kinds = @('profile'); repeats = $false }
        'profile add' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--provider' = 'what gives the token; --list shows them'; '--set' = 'what the provider needs, or any other key of the profile'; '--list' = 'list the providers, with what each of them needs' }; values = @{ '--provider' = 'provider'; '--set' = '-' }; kinds = @('-'); repeats = $false }
        'profile remove' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('profile'); repeats = $false }
        'profile test' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--json' = 'for programs'; '--timeout' = 'for the whole call (default: 30s)' }; values = @{ '--timeout' = '-' }; kinds = @('profile'); repeats = $false }
        'helper' = @{ commands = [ordered]@{ 'git' = 'answer git'; 'docker' = 'answer docker'; 'kubectl' = 'answer kubectl'; 'aws' = 'answer aws'; 'bazel' = 'answer bazel'; 'cargo' = 'answer cargo'; 'gcp' = 'answer gcp'; 'goauth' = 'answer goauth'; 'keyring' = 'answer keyring'; 'pnpm' = 'answer pnpm'; 'terraform' = 'answer terraform'; 'vault' = 'answer vault' }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'helper git' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('git-says'); repeats = $false }
        'helper docker' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('docker-says'); repeats = $false }
        'helper kubectl' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('profile'); repeats = $false }
        'helper aws' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('profile'); repeats = $false }
        'helper bazel' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('bazel-says'); repeats = $false }
        'helper cargo' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('cargo-says'); repeats = $false }
        'helper gcp' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('profile'); repeats = $false }
        'helper goauth' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'helper keyring' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('keyring-says'); repeats = $false }
        'helper pnpm' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('profile'); repeats = $false }
        'helper terraform' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('terraform-says'); repeats = $false }
        'helper vault' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('vault-says'); repeats = $false }
        'setup' = @{ commands = [ordered]@{  }; options = [ordered]@{ '--print' = 'only show it'; '--remove' = 'take it back'; '--list' = 'what is installed, set up, and works'; '--json' = 'the list, for programs'; '--as' = 'kubectl, aws, gcp: name of the entry'; '--audience' = 'gcp: the provider'; '--store' = 'git: as its only helper, which keeps other passwords too' }; values = @{ '--as' = '-'; '--audience' = '-' }; kinds = @('tool', 'profile'); repeats = $false }
        'secret' = @{ commands = [ordered]@{ 'set' = 'Keeps a secret: asked for at a terminal without showing it, else read from stdin.'; 'list' = 'Lists the names of the kept secrets, one a line.'; 'delete' = 'Forgets a kept secret.' }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'secret set' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('-'); repeats = $false }
        'secret list' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @(); repeats = $false }
        'secret delete' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('-'); repeats = $false }
        'completion' = @{ commands = [ordered]@{  }; options = [ordered]@{  }; values = @{  }; kinds = @('shell'); repeats = $false }
    }
    $everywhere = [ordered]@{ '--config' = 'the configuration'; '--no-input' = 'never ask anything'; '-v' = 'say what was decided'; '--verbose' = 'say what was decided'; '--debug-http' = 'show requests, without secrets'; '--json-errors' = 'errors as one line of JSON'; '--version' = 'print the version'; '-h' = 'print this help'; '--help' = 'print this help' }
    $everywhereValues = @{ '--config' = 'file' }
    $known = @{
        'provider' = @('okta', 'okta-login', 'auth0', 'auth0-login', 'entra', 'entra-login', 'google-service-account', 'google', 'cognito', 'keycloak', 'keycloak-login', 'github-app', 'github', 'gitlab', 'salesforce', 'spotify', 'twitch', 'slack', 'atlassian', 'databricks', 'snowflake', 'docker-hub', 'npm', 'pypi', 'oidc', 'oidc-login')
        'form' = @('token', 'header', 'json', 'curl', 'netrc', 'env')
        'format' = @('token', 'json', 'curl', 'netrc')
        'shell' = @('bash', 'zsh', 'fish', 'powershell')
        'tool' = @('git', 'docker', 'kubectl', 'aws', 'gcp', 'bazel', 'cargo', 'terraform', 'tofu', 'go', 'pip', 'uv', 'pnpm', 'vault', 'bao')
        'system' = @('github', 'gitlab', 'azure', 'circleci', 'buildkite', 'bitbucket', 'jenkins', 'plain')
        'git-says' = @('get', 'store', 'erase', 'capability')
        'docker-says' = @('get', 'store', 'erase', 'list', 'version')
        'bazel-says' = @('get')
        'cargo-says' = @('get')
        'goauth-says' = @()
        'keyring-says' = @('get', 'diagnose')
        'terraform-says' = @('get', 'store', 'forget')
        'vault-says' = @('get', 'store', 'erase')
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
    if (@('profile', 'route') -contains $kind) {
        $names = if ($config) { tokctl __complete "$($kind)s" --config $config 2>$null } else { tokctl __complete "$($kind)s" 2>$null }
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
