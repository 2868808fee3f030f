#!/usr/bin/env bash
# What is rented in TPU_ZONE (of this name or any other), what the hosts do, and the last status of the run.
#   status.sh [--dry-run] [--help] ['jaxreason VERB …']        without one, TPU_COMMAND
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
TPU_TAKES=1
tpu_begin "$@"

command="$(tpu_command "${TPU_ARGUMENTS[0]:-}")"
place="$(tpu_place "$command")"
tpu_gcloud queued-resources list || tpu_stop "it is not known what is rented"
tpu_gcloud tpu-vm list || tpu_stop "it is not known what is rented"
if [ "$TPU_DRY" = yes ] || [ "$(tpu_state)" = ACTIVE ]; then
  tpu_ssh "hostname; bash $TPU_HOST status $(tpu_run "$command")" || echo "not every host could be reached" >&2
fi
tpu_do gcloud storage cat "$place/status.json" 2>/dev/null || echo "$place: no run has begun, or it cannot be read"
