#!/usr/bin/env bash
# Starts a command on every host, detached: it continues if the connection is lost. If the command is still running, it is
# left alone; a run that stopped continues from its last checkpoint in TPU_WORKDIR.
#   run.sh [--dry-run] [--help] ['jaxreason VERB …']        without one, TPU_COMMAND
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
TPU_TAKES=1
tpu_begin "$@"

# The processes of a slice find each other, and slices one another, through the TPU's metadata: no flags are needed.
command="$(tpu_command "${TPU_ARGUMENTS[0]:-}")"
tpu_ssh "bash $TPU_HOST start $(tpu_run "$command") $(tpu_quote "$command")" ||
  tpu_stop "not started on every host; run it again"
