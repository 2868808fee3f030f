#!/usr/bin/env bash
# Follows the log of the first host; `tpu/logs.sh all` shows the last lines of every host's.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"

if [ "${1:-}" = all ]; then
  tpu_ssh "hostname; tail -n ${2:-20} jaxreason/logs/run.log"
else
  first="$(tpu_nodes | head -n 1)"
  tpu_gcloud tpu-vm ssh "$first" --worker=0 --command='tail -n 200 -F jaxreason/logs/run.log'
fi
