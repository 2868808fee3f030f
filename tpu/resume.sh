#!/usr/bin/env bash
# Keeps a run going on capacity that is taken away: creates, sets up and starts whenever the slice is not there or the
# run has stopped, until the command has ended well on every host. Safe to interrupt and to run again, from any machine:
# it then starts the command once more, which ends at once where all is complete. Ends with 2 when the command does,
# since starting a recipe that is refused again would not help.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$here/settings.sh}"

started=no # by us: the exit code that lies there may be of another command, or of an older recipe
while true; do
  case "$(tpu_state)" in
    ACTIVE)
      status="$(tpu_status)" || status=unknown
      case "$started $status" in
        *running | "yes unknown") ;;
        "yes exit 0") break ;;
        "yes exit 2") tpu_fail "the command was refused: see tpu/logs.sh all" ;;
        *)
          if "$here/setup.sh" && "$here/run.sh" "$@"; then
            started=yes
          else
            echo "hosts cannot be reached; trying again" >&2
          fi
          ;;
      esac
      ;;
    SUSPENDED | FAILED)
      echo "$TPU_NAME is gone: asking for it again" >&2
      "$here/delete.sh" --yes
      "$here/create.sh" || true
      continue
      ;;
    NONE)
      "$here/create.sh" || true
      continue
      ;;
    *) ;;
  esac
  sleep "${TPU_POLL_SECONDS:-120}"
done
echo "$TPU_WORKDIR is complete; tpu/delete.sh ends the rent"
