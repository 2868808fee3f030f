#!/usr/bin/env bash
# Starts TPU_COMMAND on every host, detached: it goes on when the connection is lost. A run that is still going is left
# alone, and one that stopped continues from its last checkpoint in TPU_WORKDIR. Its exit code is in jaxreason/run.exit.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"

case "$TPU_WORKDIR" in
  gs://*) ;;
  *) tpu_fail "TPU_WORKDIR=$TPU_WORKDIR: expected gs://bucket/folder, which all hosts can reach" ;;
esac
# The processes of a slice find each other, and slices one another, by what the TPU's metadata say: no flags.
command="${1:-$TPU_COMMAND} --workdir $TPU_WORKDIR"
tpu_ssh "set -e
  cd jaxreason
  if [ -f run.pid ] && kill -0 \"\$(cat run.pid)\" 2>/dev/null; then
    echo \"\$(hostname): still running as \$(cat run.pid)\"
    exit 0
  fi
  mkdir -p logs
  rm -f run.exit
  PATH=\$PWD/.venv/bin:\$PATH nohup bash -c \"$command; code=\\\$?; echo exit code \\\$code; echo \\\$code >run.exit\" >logs/run.log 2>&1 </dev/null &
  echo \$! >run.pid
  echo \"\$(hostname): started as \$(cat run.pid)\""
