#!/usr/bin/env bash
# Stops the run on every host: it saves and ends, and run.sh continues from there. The slice stays, and so does the rent.
#   stop.sh [--dry-run] [--help]
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
tpu_begin "$@"
tpu_ssh "bash $TPU_HOST stop" || tpu_stop "not every host could be reached"
