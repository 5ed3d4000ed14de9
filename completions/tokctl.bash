# bash completion for tokctl: made by "tokctl completion bash"
# shellcheck shell=bash disable=SC2207,SC2086

_tokctl_spec() {
  commands='' options='' values='' kinds='' repeats=''
  case $1 in
    '') commands='get exec refresh login logout reject status watch ci doctor prune trust untrust init proxy profile helper setup secret completion' ;;
    'get') options='-o --output --force --cached --min-validity --timeout' values='-o:form --output:form --min-validity:- --timeout:-' kinds='profile' ;;
    'exec') options='--min-validity --timeout --pass-env' values='--min-validity:- --timeout:- --pass-env:-' kinds='profile' repeats='1' ;;
    'refresh') options='--if-stale --timeout' values='--timeout:-' kinds='profile' ;;
    'login') options='--device --no-browser --timeout' values='--timeout:-' kinds='profile' ;;
    'logout') options='--all --timeout' values='--timeout:-' kinds='profile' ;;
    'reject') options='--timeout' values='--timeout:-' kinds='profile' ;;
    'status') options='--json --watch' kinds='profile' ;;
    'watch') options='--file --format --template --aws --gce --azure --variables --on-change --on-login-required --pass-token --once --install' values='--file:file --format:format --template:- --aws:- --gce:- --azure:- --variables:file --on-change:- --on-login-required:- --install:-' kinds='profile' repeats='1' ;;
    'ci') options='--system --file --min-validity --timeout' values='--system:system --file:file --min-validity:- --timeout:-' kinds='profile' repeats='1' ;;
    'doctor') options='--json --no-network' ;;
    'prune') options='--dry-run --logins' ;;
    'trust') options='--yes' kinds='file' ;;
    'untrust') kinds='file' ;;
    'init') options='--provider --set --secret-stdin --sealed-files --no-check --no-get' values='--provider:provider --set:-' kinds='-' ;;
    'proxy') options='--upstream --listen --client-auth --max-body --ca-file' values='--upstream:- --listen:- --client-auth:file --max-body:- --ca-file:file' kinds='route' repeats='1' ;;
    'profile') commands='list show add remove test' ;;
    'profile list') options='--json' ;;
    'profile show') options='--json' kinds='profile' ;;
    'profile add') options='--provider --set --list' values='--provider:provider --set:-' kinds='-' ;;
    'profile remove') kinds='profile' ;;
    'profile test') options='--json --timeout' values='--timeout:-' kinds='profile' ;;
    'helper') commands='git docker kubectl aws bazel cargo gcp goauth keyring pnpm terraform vault' ;;
    'helper git') kinds='git-says' ;;
    'helper docker') kinds='docker-says' ;;
    'helper kubectl') kinds='profile' ;;
    'helper aws') kinds='profile' ;;
    'helper bazel') kinds='bazel-says' ;;
    'helper cargo') kinds='cargo-says' ;;
    'helper gcp') kinds='profile' ;;
    'helper goauth') ;;
    'helper keyring') kinds='keyring-says' ;;
    'helper pnpm') kinds='profile' ;;
    'helper terraform') kinds='terraform-says' ;;
    'helper vault') kinds='vault-says' ;;
    'setup') options='--print --remove --list --json --as --audience --store' values='--as:- --audience:-' kinds='tool profile' ;;
    'secret') commands='set list delete' ;;
    'secret set') kinds='-' ;;
    'secret list') ;;
    'secret delete') kinds='-' ;;
    'completion') kinds='shell' ;;
  esac
  options="$options --config --no-input -v --verbose --debug-http --json-errors --version -h --help"
  values="$values --config:file"
}

_tokctl_reply() {
  local IFS=$' \t\n' words=''
  case $1 in
    'provider') words='okta okta-login auth0 auth0-login entra entra-login google-service-account google cognito keycloak keycloak-login github-app github gitlab salesforce spotify twitch slack atlassian databricks snowflake docker-hub npm pypi oidc oidc-login' ;;
    'form') words='token header json curl netrc env' ;;
    'format') words='token json curl netrc' ;;
    'shell') words='bash zsh fish powershell' ;;
    'tool') words='git docker kubectl aws gcp bazel cargo terraform tofu go pip uv pnpm vault bao' ;;
    'system') words='github gitlab azure circleci buildkite bitbucket jenkins plain' ;;
    'git-says') words='get store erase capability' ;;
    'docker-says') words='get store erase list version' ;;
    'bazel-says') words='get' ;;
    'cargo-says') words='get' ;;
    'goauth-says') words='' ;;
    'keyring-says') words='get diagnose' ;;
    'terraform-says') words='get store forget' ;;
    'vault-says') words='get store erase' ;;
    profile | route)
      if [[ -n $config ]]; then
        words=$(tokctl __complete "${1}s" --config "${config/#\~\//$HOME/}" 2>/dev/null </dev/null)
      else
        words=$(tokctl __complete "${1}s" 2>/dev/null </dev/null)
      fi
      ;;
    file)
      compopt -o filenames 2>/dev/null
      IFS=$'\n'
      COMPREPLY=($(compgen -f -- "$cur"))
      return
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

_tokctl() {
  local commands options values kinds repeats
  local cur=${COMP_WORDS[COMP_CWORD]} path='' config='' kind='' option='' count=0 assigned='' i word pair
  COMPREPLY=()
  _tokctl_spec ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
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
      local IFS=$'\n'
      if ((i + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi
      return
    elif [[ $word == -* ]]; then
      option=$word
      for pair in $values; do
        [[ ${pair%:*} == "$word" ]] && kind=${pair#*:}
      done
    elif [[ " $commands " == *" $word "* ]]; then
      path="${path:+$path }$word"
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
