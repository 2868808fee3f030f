#!/usr/bin/env bash
# Sets everything up and passes the tests. Arguments go to pytest: bash scripts/test.sh -m "not slow"
# Parity with Hugging Face needs torch, whose CPU build is for Python 3.11 here, and lm-eval's `hf` model accelerate; without
# them those tests are skipped.
EXTRAS="[test]"
# shellcheck source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ "$series" = 3.11 ] && ! python -c 'import accelerate, torch' 2>/dev/null; then
  python -m ensurepip --upgrade >/dev/null 2>&1 || true
  python -m pip install --quiet --disable-pip-version-check torch==2.13.0 &&
    python -m pip install --quiet --disable-pip-version-check --no-deps accelerate==1.15.0 psutil ||
    echo "torch 2.13.0 and accelerate could not be installed: tests of parity with Hugging Face will be skipped"
fi
ruff check .
ruff format --check .
mypy
# Two workers, a file at a time each, so that what a file shares is made once.
exec python -m pytest -n 2 --dist loadfile "$@"
