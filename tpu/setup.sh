#!/usr/bin/env bash
# Installs jaxreason at TPU_REVISION on every host of the slice. Run again it updates.
set -euo pipefail
# shellcheck source=settings.sh
source "${TPU_SETTINGS:-$(dirname "$0")/settings.sh}"

tpu_ssh "set -e
  if [ ! -d jaxreason ]; then git clone --quiet '$TPU_SOURCE' jaxreason; fi
  cd jaxreason
  git fetch --quiet origin '$TPU_REVISION'
  git checkout --quiet --detach FETCH_HEAD
  if [ ! -d .venv ]; then
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
      python3 -m venv .venv
    else # Ubuntu 22.04 has 3.10
      python3 -m pip install --quiet --user uv
      python3 -m uv venv --quiet --seed --python 3.12 .venv
    fi
  fi
  .venv/bin/pip install --quiet --upgrade pip
  .venv/bin/pip install --quiet -e '.[tpu]'
  .venv/bin/python -c 'import jaxreason, jax; print(\"jax\", jax.__version__)'"
