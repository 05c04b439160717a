/** `gantry completion SHELL`: a script that completes verbs, options, and the names of containers, images and volumes. */
import type { Output } from './output.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

const OF_CONTAINERS =
  'start stop restart kill pause unpause wait rename rm update attach logs exec cp commit diff top port inspect'.split(
    ' ',
  )
const OF_IMAGES = 'run create push rmi tag history save'.split(' ')

/** What the scripts ask the command for: one name a line. */
const LISTS = {
  containers: `gantry ps -a --format '{{.Names}}' 2>/dev/null`,
  images: `gantry images 2>/dev/null | awk 'NR > 1 && $2 != "<none>" { print $1 ":" $2 }'`,
  volumes: 'gantry volume ls -q 2>/dev/null',
  /** Of a verb in $verb. */
  options: `gantry "$verb" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u`,
}

const VOLUME_VERBS = 'create ls inspect rm prune'
const SYSTEM_VERBS = 'start-all unit clean-up df'

/** `verbs`: all of the command. */
export function completionVerb(shell: Shell, verbs: readonly string[], output: Output): void {
  output.line({ bash, zsh, fish }[shell]([...verbs].toSorted()))
}

function bash(verbs: readonly string[]): string {
  return `# gantry completion bash: load it with  source <(gantry completion bash)
_gantry() {
  local word=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]} words
  if [ "$COMP_CWORD" -eq 1 ]; then words='${verbs.join(' ')}'
  elif [[ $word == -* ]]; then words=$(${LISTS.options})
  else
    case $verb in
      volume) if [ "$COMP_CWORD" -eq 2 ]; then words='${VOLUME_VERBS}'; else words=$(${LISTS.volumes}); fi ;;
      system) words='${SYSTEM_VERBS}' ;;
      container) words=prune ;;
      ${OF_CONTAINERS.join('|')}) words=$(${LISTS.containers}) ;;
      ${OF_IMAGES.join('|')}) words=$(${LISTS.images}) ;;
      completion) words='${SHELLS.join(' ')}' ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  type __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions "$word"
}
complete -o default -F _gantry gantry`
}

function zsh(verbs: readonly string[]): string {
  return `#compdef gantry
# gantry completion zsh: put it where zsh looks, such as  gantry completion zsh > "\${fpath[1]}/_gantry"
_gantry() {
  local verb=\${words[2]} names
  if (( CURRENT == 2 )); then compadd -- ${verbs.join(' ')}; return; fi
  if [[ \${words[CURRENT]} == -* ]]; then names=(\${(f)"$(${LISTS.options})"}); compadd -- $names; return; fi
  case $verb in
    volume) if (( CURRENT == 3 )); then names=(${VOLUME_VERBS}); else names=(\${(f)"$(${LISTS.volumes})"}); fi ;;
    system) names=(${SYSTEM_VERBS}) ;;
    container) names=(prune) ;;
    ${OF_CONTAINERS.join('|')}) names=(\${(f)"$(${LISTS.containers})"}) ;;
    ${OF_IMAGES.join('|')}) names=(\${(f)"$(${LISTS.images})"}) ;;
    completion) names=(${SHELLS.join(' ')}) ;;
  esac
  compadd -- $names || _files
}
if [ "$funcstack[1]" = _gantry ]; then _gantry; else compdef _gantry gantry; fi`
}

function fish(verbs: readonly string[]): string {
  const seen = (words: readonly string[]): string => `__fish_seen_subcommand_from ${words.join(' ')}`
  return `# gantry completion fish: put it into  ~/.config/fish/completions/gantry.fish
function __gantry_containers; ${LISTS.containers}; end
function __gantry_images; ${LISTS.images}; end
function __gantry_volumes; ${LISTS.volumes}; end
function __gantry_options
  set -l verb (commandline -opc)[2]
  ${LISTS.options}
end
complete -c gantry -n __fish_use_subcommand -f -a '${verbs.join(' ')}'
complete -c gantry -n '${seen(OF_CONTAINERS)}' -a '(__gantry_containers)'
complete -c gantry -n '${seen(OF_IMAGES)}' -a '(__gantry_images)'
complete -c gantry -n '${seen(['volume'])}' -f -a '${VOLUME_VERBS} (__gantry_volumes)'
complete -c gantry -n '${seen(['system'])}' -f -a '${SYSTEM_VERBS}'
complete -c gantry -n '${seen(['completion'])}' -f -a '${SHELLS.join(' ')}'
complete -c gantry -n 'not __fish_use_subcommand; and string match -q -- "-*" (commandline -ct)' -f -a '(__gantry_options)'`
}
