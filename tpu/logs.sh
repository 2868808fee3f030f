#!/usr/bin/env bash
# Follows the log of the first host; `all` shows the last lines of every host's.
#   logs.sh [--dry-run] [--help] [all [LINES]]
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
TPU_TAKES=2
tpu_begin "$@"
case "${TPU_ARGUMENTS[0]:-all}" in all) ;; *) tpu_fail "${TPU_ARGUMENTS[0]}: not expected here; --help tells what is" ;; esac

if [ "${TPU_ARGUMENTS[0]:-}" = all ]; then
  lines="${TPU_ARGUMENTS[1]:-20}"
  [[ "$lines" =~ ^[0-9]+$ ]] || tpu_fail "$lines: expected a number of lines"
  tpu_ssh "bash $TPU_HOST log $lines" || tpu_stop "not every host could be reached"
else
  first="$(tpu_nodes | head -n 1)"
  tpu_gcloud tpu-vm ssh "$first" --worker=0 --command='tail -n 200 -F jaxreason/logs/run.log'
fi
