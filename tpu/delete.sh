#!/usr/bin/env bash
# Gives the slice back, and with it the rent ends. Asks first, unless told --yes. TPU_WORKDIR stays.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"

if [ "${1:-}" != --yes ]; then
  read -r -p "Delete $TPU_NAME in $TPU_ZONE of $TPU_PROJECT? [y/N] " answer
  [ "$answer" = y ] || exit 1
fi
if [ "$(tpu_state)" = NONE ]; then
  echo "$TPU_NAME: there is none"
  exit 0
fi
tpu_gcloud queued-resources delete "$TPU_NAME" --force --quiet
