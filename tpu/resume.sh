#!/usr/bin/env bash
# Runs a command to its end on capacity that may be taken away: creates, sets up and starts whenever the slice is missing
# or the run has stopped, until the command has succeeded. Safe to interrupt and to run again, from any machine.
#   resume.sh [--delete] [--dry-run] [--help] ['jaxreason VERB …']        without one, TPU_COMMAND
# --delete gives the slice back at the end, also after a failure; without it the rent goes on. Exits with 2 if trying again
# would not help: the command refuses its recipe, or the slice is refused (quota, rights); with 1 if after ten tries the
# slice could not be given back.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$here/settings.sh}"
TPU_TAKES=1
TPU_FLAGS=--delete
tpu_begin "$@"

deletes=no words=()
for word in ${TPU_ARGUMENTS[@]+"${TPU_ARGUMENTS[@]}"}; do
  case "$word" in --delete) deletes=yes ;; *) words+=("$word") ;; esac
done
command="$(tpu_command "${words[0]:-}")"
run="$(tpu_run "$command")"
place="$(tpu_place "$command")"
tpu_source

# The run's own status, in the bucket: it can be read when the slice is gone.
said_done() {
  local said
  said="$(gcloud storage cat "$place/status.json" 2>/dev/null)" || return 1
  grep -q "\"run\": \"$run\"" <<<"$said" && grep -q '"state": "done"' <<<"$said"
}

# The state of the command on the hosts: "running" while it runs on any, "none" if on one it has not ended by itself, else
# "exit CODE": 0 if it is 0 everywhere, 2 if it is 2 anywhere. Fails if a host cannot be reached.
on_hosts() {
  local lines codes
  lines="$(tpu_ssh "if [ -f $TPU_HOST ]; then bash $TPU_HOST status $run; else echo status none; fi" |
    grep -o 'status .*')" || return 1
  case "$lines" in
    *running*) echo running ;;
    *none*) echo none ;;
    *)
      codes="$(sort -un <<<"${lines//status exit /}")"
      if grep -qx 2 <<<"$codes"; then echo "exit 2"; else echo "exit $(tail -n 1 <<<"$codes")"; fi
      ;;
  esac
}

# Whether a TPU VM was taken away though its queued resource does not say so yet.
was_taken() {
  local node
  for node in $(tpu_nodes); do
    case "$(tpu_told tpu-vm "$node" 2>/dev/null)" in PREEMPTED | TERMINATED | STOPPED | NONE) return 0 ;; esac
  done
  return 1
}

create() {
  local code=0
  "$here/create.sh" || code=$?
  [ "$code" != 2 ] || end 2 "the slice was refused"
  [ "$code" = 0 ] || sleep "$TPU_POLL_SECONDS"
}

end_if_done() { if said_done; then end 0 "$place is complete"; fi; }

renew() {
  end_if_done
  echo "$TPU_NAME is gone: asking for it again" >&2
  if "$here/delete.sh" --yes; then create; else sleep "$TPU_POLL_SECONDS"; fi
}

give_back() {
  local tries
  for tries in 1 2 3 4 5 6 7 8 9 10; do
    "$here/delete.sh" --yes && return
    [ "$tries" = 10 ] || sleep "$TPU_POLL_SECONDS"
  done
  return 1
}

end() { # CODE MESSAGE
  local code="$1" left="$TPU_NAME goes on costing: tpu/delete.sh ends the rent"
  if [ "$deletes" = yes ]; then
    left="$TPU_NAME was given back"
    if ! give_back; then
      left="$TPU_NAME could not be given back: the rent may go on"
      [ "$code" != 0 ] || code=1
    fi
  fi
  echo "$2; $left" >&2
  exit "$code"
}

trap 'echo "interrupted: slice and run, where there are some, go on and cost; tpu/delete.sh ends the rent" >&2; exit 130' INT TERM
if [ "$TPU_DRY" = yes ]; then
  tpu_do gcloud storage cat "$place/status.json"
  "$here/create.sh" --dry-run
  "$here/setup.sh" --dry-run
  "$here/run.sh" --dry-run "$command"
  [ "$deletes" = no ] || "$here/delete.sh" --dry-run
  exit 0
fi

end_if_done
[ "$(tpu_state)" != UNKNOWN ] || tpu_stop "Google cannot be asked"
while true; do
  case "$(tpu_state)" in
    ACTIVE)
      case "$(on_hosts || echo unknown)" in
        running) ;;
        "exit 0") end 0 "$place is complete" ;;
        "exit 2") end 2 "the command was refused: see tpu/logs.sh all" ;;
        unknown)
          if was_taken; then
            renew
            continue
          fi
          echo "not every host can be reached; trying again" >&2
          ;;
        *)
          if ! { "$here/setup.sh" && "$here/run.sh" "$command"; }; then
            echo "trying again" >&2
          fi
          ;;
      esac
      ;;
    SUSPENDED | FAILED)
      renew
      continue
      ;;
    NONE)
      end_if_done
      create
      continue
      ;;
    *) ;; # on its way, or Google cannot be asked now
  esac
  sleep "$TPU_POLL_SECONDS"
done
