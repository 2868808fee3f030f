#!/usr/bin/env bash
# Keeps a run going on capacity that is taken away: creates, sets up and starts whenever the slice is not there or the
# run has stopped, until the run is complete. Safe to interrupt and to run again, from any machine.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$here/settings.sh}"

until gcloud storage ls "$TPU_WORKDIR/done.json" >/dev/null 2>&1; do
  state="$(tpu_state)"
  case "$state" in
    ACTIVE)
      if ! { "$here/setup.sh" && "$here/run.sh" "$@"; }; then echo "hosts cannot be reached; trying again" >&2; fi
      ;;
    SUSPENDED | FAILED)
      echo "$TPU_NAME is $state: asking for it again" >&2
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
