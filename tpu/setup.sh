#!/usr/bin/env bash
# Installs jaxreason at TPU_REVISION on every host of the slice, and gives each the secrets that are set here. If it
# is run again, it updates.
#   setup.sh [--dry-run] [--help]
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"
tpu_begin "$@"
tpu_source

# Sent in a file by scp, because everyone on the machine can read a command line.
file="$(mktemp)" # for its owner alone
trap 'rm -f "$file"' EXIT
for name in $TPU_SECRETS; do
  [ -z "${!name:-}" ] || printf '%s=%s\n' "$name" "$(tpu_quote "${!name}")" >>"$file"
done
if [ -s "$file" ]; then
  for node in $(tpu_nodes); do
    tpu_gcloud tpu-vm scp "$file" "$node:.jaxreason_secrets" --worker=all >&2 ||
      [ "$TPU_DRY" = yes ] || tpu_stop "the secrets could not be copied to $node"
  done
fi

source_="$(tpu_quote "$TPU_SOURCE")"
revision="$(tpu_quote "$TPU_REVISION")"
tpu_ssh "set -e
if [ -f $TPU_HOST ]; then bash $TPU_HOST idle; fi
if [ ! -d jaxreason ]; then git clone --quiet -- $source_ jaxreason; fi
cd jaxreason
git fetch --quiet -- $source_ $revision
git checkout --quiet --detach FETCH_HEAD
bash tpu/host.sh install" || tpu_stop "not every host is set up; run it again"
