#!/usr/bin/env bash
# Sets everything up and runs the tests, without those that are marked slow. Other arguments go to pytest.
#   bash scripts/test.sh                       the default suite
#   bash scripts/test.sh --slow                every test, as CI does
#   bash scripts/test.sh tests/rl -k grpo      some of them
# Tests of parity with Hugging Face need torch and accelerate. If these cannot be installed, the tests are skipped.
EXTRAS="[test]"
# shellcheck source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if ! python -c 'import accelerate, torch' 2>/dev/null; then
  python -m ensurepip --upgrade >/dev/null 2>&1 || true
  python -m pip install --quiet --disable-pip-version-check --no-compile torch==2.13.0 &&
    python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps accelerate==1.15.0 psutil ||
    echo "torch 2.13.0 and accelerate could not be installed: tests of parity with Hugging Face will be skipped"
fi
ruff check .
ruff format --check .
mypy
marked="not slow"
if [ "${1:-}" = --slow ]; then
  marked=""
  shift
fi
# Two workers share two cores. More threads of numpy's products would only wait for each other.
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
# Each takes a whole file, so that what a file shares is made once, in the order of tests/conftest.py.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$marked" "$@"
