#!/usr/bin/env bash
# Asks for the slice as a queued resource and waits until it is there. Run again it goes on waiting.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"

count="$(tpu_count)"
type="$(tpu_type)"
version="$(tpu_version)"
if [ "$(tpu_state)" = NONE ]; then
  arguments=(--accelerator-type="$type" --runtime-version="$version")
  if [ "$count" = 1 ]; then
    arguments+=(--node-id="$TPU_NAME")
  else
    arguments+=(--node-count="$count" --node-prefix="$TPU_NAME")
  fi
  [ "$TPU_SPOT" = yes ] && arguments+=(--spot)
  tpu_gcloud queued-resources create "$TPU_NAME" "${arguments[@]}"
fi
while true; do
  state="$(tpu_state)"
  echo "$(date '+%H:%M:%S') $TPU_NAME ($TPU_SLICE): $state"
  case "$state" in
    ACTIVE) exit 0 ;;
    FAILED | SUSPENDED | NONE) tpu_fail "the request is $state; tpu/delete.sh, then ask again" ;;
  esac
  sleep 30
done
