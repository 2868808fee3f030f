#!/usr/bin/env bash
# Gives the slice back, which ends the rent. Asks first, except with --yes. TPU_WORKDIR stays.
#   delete.sh [--yes] [--dry-run] [--help]
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
TPU_FLAGS=--yes
tpu_begin "$@"

if [ "${TPU_ARGUMENTS[0]:-}" != --yes ] && [ "$TPU_DRY" = no ]; then
  read -r -p "Delete $TPU_NAME in $TPU_ZONE of ${TPU_PROJECT:-your project}? [y/N] " answer || answer=n
  [ "$answer" = y ] || exit 1
fi
state="$(tpu_state)"
case "$state$TPU_DRY" in
  NONEno)
    echo "$TPU_NAME: there is none"
    exit 0
    ;;
  UNKNOWN*) tpu_stop "it is not known whether $TPU_NAME is there; the rent may go on" ;;
esac
if ! tpu_gcloud queued-resources delete "$TPU_NAME" --force --quiet; then
  [ "$(tpu_state)" = NONE ] || tpu_stop "$TPU_NAME could not be deleted; the rent goes on"
fi
