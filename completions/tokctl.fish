# fish completion for tokctl: made by "tokctl completion fish"

function __tokctl_spec --argument-names path --no-scope-shadowing
    set commands
    set options
    set values
    set kinds
    set repeats
    switch $path
        case ''
            set commands 'get'\t'print an access token' 'exec'\t'run a program with tokens' 'refresh'\t'renew a token now' 'login'\t'sign in' 'logout'\t'sign out and forget' 'reject'\t'report a refused token' 'status'\t'show each token\'s state' 'watch'\t'keep tokens fresh' 'ci'\t'hand tokens to a CI job' 'doctor'\t'find what is wrong' 'prune'\t'drop what nobody can use' 'trust'\t'trust a project\'s file' 'untrust'\t'end that trust' 'init'\t'make a first profile' 'proxy'\t'a proxy that adds tokens' 'profile'\t'list and edit profiles' 'helper'\t'answer another tool' 'setup'\t'connect another tool' 'secret'\t'keep secrets' 'completion'\t'complete in a shell'
        case 'get'
            set options '-o'\t'what to print: token, header, json, curl, netrc, env' '--output'\t'what to print: token, header, json, curl, netrc, env' '--force'\t'ask for a new token, however good the kept one is' '--cached'\t'never touch the network; fail when nothing usable is kept' '--min-validity'\t'the token must live at least this long' '--timeout'\t'for the whole call, waiting included (default: 30s)'
            set values '-o:form' '--output:form' '--min-validity:-' '--timeout:-'
            set kinds profile
        case 'exec'
            set options '--min-validity'\t'the tokens must live at least this long' '--timeout'\t'for the tokens, waiting included (default: 30s)' '--pass-env'\t'a secret of a profile that the program needs'
            set values '--min-validity:-' '--timeout:-' '--pass-env:-'
            set kinds profile
            set repeats 1
        case 'refresh'
            set options '--if-stale'\t'only if the kept token is near its end or gone' '--timeout'\t'for the whole call, waiting included (default: 30s)'
            set values '--timeout:-'
            set kinds profile
        case 'login'
            set options '--device'\t'show a code for another device instead of opening a browser here' '--no-browser'\t'show the address instead of opening it' '--timeout'\t'for the whole sign-in (default: 5m, on another device 15m)'
            set values '--timeout:-'
            set kinds profile
        case 'logout'
            set options '--all'\t'every profile' '--timeout'\t'for each profile, waiting included (default: 30s)'
            set values '--timeout:-'
            set kinds profile
        case 'reject'
            set options '--timeout'\t'for the whole call, waiting included (default: 30s)'
            set values '--timeout:-'
            set kinds profile
        case 'status'
            set options '--json'\t'for programs' '--watch'\t'draw it again each second until Ctrl-C; with --json a line at each change'
            set kinds profile
        case 'watch'
            set options '--file'\t'write it there (0600); {profile} is the name' '--format'\t'token, json, curl, netrc' '--template'\t'such as "{token} {expires_at}"' '--aws'\t'answer the AWS SDKs there' '--gce'\t'answer the Google SDKs there' '--azure'\t'answer the Azure SDKs there' '--variables'\t'write what these SDKs need to know there (0600)' '--on-change'\t'run this when the token is another than before' '--on-login-required'\t'run this when a person must sign in' '--pass-token'\t'put the token into its environment, as TOKEN' '--once'\t'renew what is stale, write it, and end' '--install'\t'write a user unit that does this: systemd'
            set values '--file:file' '--format:format' '--template:-' '--aws:-' '--gce:-' '--azure:-' '--variables:file' '--on-change:-' '--on-login-required:-' '--install:-'
            set kinds profile
            set repeats 1
        case 'ci'
            set options '--system'\t'one of github, gitlab, azure, circleci, buildkite, bitbucket, jenkins, plain (default: as found)' '--file'\t'a file for the values, where the system has no place for them' '--min-validity'\t'the tokens must live at least this long' '--timeout'\t'for the tokens, waiting included (default: 30s)'
            set values '--system:system' '--file:file' '--min-validity:-' '--timeout:-'
            set kinds profile
            set repeats 1
        case 'doctor'
            set options '--json'\t'for programs' '--no-network'\t'ask no server'
        case 'prune'
            set options '--dry-run'\t'say what would be dropped, and drop nothing' '--logins'\t'drop logins and valid tokens too that no profile here can use'
        case 'trust'
            set options '--yes'\t'do not ask, for scripts'
            set kinds file
        case 'untrust'
            set kinds file
        case 'init'
            set options '--provider'\t'what gives the token: see "tokctl profile add --list"' '--set'\t'what the provider needs, or any other key of the profile' '--secret-stdin'\t'read the secret from stdin' '--sealed-files'\t'keep secrets and sessions in files, not in a keychain' '--no-check'\t'do not ask the server whether it is there' '--no-get'\t'do not get a token at the end'
            set values '--provider:provider' '--set:-'
            set kinds -
        case 'proxy'
            set options '--upstream'\t'its path is put before that of requests' '--listen'\t'127.0.0.1:PORT, [::1]:PORT, unix:/path, systemd' '--client-auth'\t'ask clients for the secret written there' '--max-body'\t'longest body of a request (default: 1GiB)' '--ca-file'\t'authorities for the upstream, beside the usual ones'
            set values '--upstream:-' '--listen:-' '--client-auth:file' '--max-body:-' '--ca-file:file'
            set kinds route
            set repeats 1
        case 'profile'
            set commands 'list'\t'Lists the profiles, one a line: name, source, URLs.' 'show'\t'Shows one profile with all its settings. A secret is shown as the reference it is, never as its value.' 'add'\t'write a profile for a provider' 'remove'\t'take a profile out of the configuration' 'test'\t'fetch a token once and show what it is like'
        case 'profile list'
            set options '--json'\t'for programs'
        case 'profile show'
            set options '--json'\t'for programs'
            set kinds profile
        case 'profile add'
            set options '--provider'\t'what gives the token; --list shows them' '--set'\t'what the provider needs, or any other key of the profile' '--list'\t'list the providers, with what each of them needs'
            set values '--provider:provider' '--set:-'
            set kinds -
        case 'profile remove'
            set kinds profile
        case 'profile test'
            set options '--json'\t'for programs' '--timeout'\t'for the whole call (default: 30s)'
            set values '--timeout:-'
            set kinds profile
        case 'helper'
            set commands 'git'\t'answer git' 'docker'\t'answer docker' 'kubectl'\t'answer kubectl' 'aws'\t'answer aws' 'bazel'\t'answer bazel' 'cargo'\t'answer cargo' 'gcp'\t'answer gcp' 'goauth'\t'answer goauth' 'keyring'\t'answer keyring' 'pnpm'\t'answer pnpm' 'terraform'\t'answer terraform' 'vault'\t'answer vault'
        case 'helper git'
            set kinds git-says
        case 'helper docker'
            set kinds docker-says
        case 'helper kubectl'
            set kinds profile
        case 'helper aws'
            set kinds profile
        case 'helper bazel'
            set kinds bazel-says
        case 'helper cargo'
            set kinds cargo-says
        case 'helper gcp'
            set kinds profile
        case 'helper goauth'
        case 'helper keyring'
            set kinds keyring-says
        case 'helper pnpm'
            set kinds profile
        case 'helper terraform'
            set kinds terraform-says
        case 'helper vault'
            set kinds vault-says
        case 'setup'
            set options '--print'\t'only show it' '--remove'\t'take it back' '--list'\t'what is installed, set up, and works' '--json'\t'the list, for programs' '--as'\t'kubectl, aws, gcp: name of the entry' '--audience'\t'gcp: the provider' '--store'\t'git: as its only helper, which keeps other passwords too'
            set values '--as:-' '--audience:-'
            set kinds tool profile
        case 'secret'
            set commands 'set'\t'Keeps a secret: asked for at a terminal without showing it, else read from stdin.' 'list'\t'Lists the names of the kept secrets, one a line.' 'delete'\t'Forgets a kept secret.'
        case 'secret set'
            set kinds -
        case 'secret list'
        case 'secret delete'
            set kinds -
        case 'completion'
            set kinds shell
    end
    set --append options '--config'\t'the configuration' '--no-input'\t'never ask anything' '-v'\t'say what was decided' '--verbose'\t'say what was decided' '--debug-http'\t'show requests, without secrets' '--json-errors'\t'errors as one line of JSON' '--version'\t'print the version' '-h'\t'print this help' '--help'\t'print this help'
    set --append values '--config:file'
end

function __tokctl_words --argument-names kind config current
    switch $kind
        case 'provider'
            printf '%s\n' okta okta-login auth0 auth0-login entra entra-login google-service-account google cognito keycloak keycloak-login github-app github gitlab salesforce spotify twitch slack atlassian databricks snowflake docker-hub npm pypi oidc oidc-login
        case 'form'
            printf '%s\n' token header json curl netrc env
        case 'format'
            printf '%s\n' token json curl netrc
        case 'shell'
            printf '%s\n' bash zsh fish powershell
        case 'tool'
            printf '%s\n' git docker kubectl aws gcp bazel cargo terraform tofu go pip uv pnpm vault bao
        case 'system'
            printf '%s\n' github gitlab azure circleci buildkite bitbucket jenkins plain
        case 'git-says'
            printf '%s\n' get store erase capability
        case 'docker-says'
            printf '%s\n' get store erase list version
        case 'bazel-says'
            printf '%s\n' get
        case 'cargo-says'
            printf '%s\n' get
        case 'goauth-says'
            printf '%s\n' 
        case 'keyring-says'
            printf '%s\n' get diagnose
        case 'terraform-says'
            printf '%s\n' get store forget
        case 'vault-says'
            printf '%s\n' get store erase
        case profile route
            if test -n "$config"
                tokctl __complete {$kind}s --config (string replace --regex '^~/' $HOME/ -- $config) 2>/dev/null </dev/null
            else
                tokctl __complete {$kind}s 2>/dev/null </dev/null
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
        else if string match --quiet -- "$word"\t'*' $commands
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
            printf '%s=%s\n' $name $word
        end
    else if string match --quiet -- '-*' $current
        printf '%s\n' $options
    else if test (count $commands) -gt 0
        printf '%s\n' $commands
    else if test $count -lt (count $kinds)
        __tokctl_words $kinds[(math $count + 1)] "$config" "$current"
    else if test -n "$repeats"
        __tokctl_words $kinds[-1] "$config" "$current"
    end
end

complete --command tokctl --no-files --keep-order --arguments '(__tokctl_complete)'
