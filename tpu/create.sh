#!/usr/bin/env bash
# Asks for the slice as a queued resource and waits until it exists. If it is run again, it continues to wait.
#   create.sh [--dry-run] [--help]
# Exits with 2 if the request is refused (quota, rights, names), so that asking again would not help; with 1 if it may help.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
tpu_begin "$@"

count="$(tpu_count)"
type="$(tpu_type)"
version="$(tpu_version)"
state="$(tpu_state)"
[ "$state" != UNKNOWN ] || tpu_stop "it is not known whether $TPU_NAME is there"
if [ "$state" = NONE ]; then
  arguments=(--accelerator-type="$type" --runtime-version="$version")
  if [ "$count" = 1 ]; then
    arguments+=(--node-id="$TPU_NAME")
  else
    arguments+=(--node-count="$count" --node-prefix="$TPU_NAME")
  fi
  [ "$TPU_SPOT" = yes ] && arguments+=(--spot)
  if [ "$TPU_DRY" = yes ]; then
    tpu_gcloud queued-resources create "$TPU_NAME" "${arguments[@]}"
    exit 0
  fi
  if ! said="$(tpu_gcloud queued-resources create "$TPU_NAME" "${arguments[@]}" 2>&1)"; then
    last="$(tpu_error "$said")"
    # The request may have succeeded if only the answer was lost; the code below waits for it.
    if [ "$(tpu_state)" = NONE ]; then
      case "$said" in
        *[Qq]uota* | *PERMISSION_DENIED* | *INVALID_ARGUMENT* | *"not have permission"*) tpu_fail "refused: $last" ;;
        *) tpu_stop "the request could not be made: $last" ;;
      esac
    fi
  fi
fi
silent=0
while true; do
  state="$(tpu_state)"
  echo "$(date '+%H:%M:%S') $TPU_NAME ($TPU_SLICE): $state"
  case "$state" in
    ACTIVE) exit 0 ;;
    UNKNOWN)
      silent=$((silent + 1))
      [ "$silent" -lt 20 ] || tpu_stop "Google does not answer; the request for $TPU_NAME goes on"
      ;;
    FAILED | SUSPENDED | NONE) tpu_stop "the request is $state; tpu/delete.sh, then ask again" ;;
  esac
  sleep "${TPU_WAIT_SECONDS:-30}"
done
