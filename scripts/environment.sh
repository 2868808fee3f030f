# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh: makes .venv with the exact versions that were tested, and activates it.
# PYTHON chooses the interpreter (3.11 or newer). Done once: a stamp remembers what was installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${PYTHON:-}" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      PYTHON=$candidate
      break
    fi
  done
fi
if [ -z "${PYTHON:-}" ] || ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "jaxreason needs Python 3.11 or newer; found: $(python3 --version 2>&1). Set PYTHON=/path/to/python3.11." >&2
  exit 1
fi

series=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pins=scripts/pins-py311.txt
[ "$series" = 3.11 ] || pins=scripts/pins-py312.txt
VENV=${VENV:-.venv}
wanted=$(cat "$pins" pyproject.toml | cksum)-$series-${EXTRAS:-}
if [ "$(cat "$VENV/jaxreason-stamp" 2>/dev/null || true)" != "$wanted" ]; then
  echo "Installing jaxreason into $VENV (Python $series, versions of $pins)"
  # Pins and project in one call, so that nothing can move a pinned version afterwards.
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --allow-existing --python "$PYTHON" "$VENV"
    uv pip install --quiet --python "$VENV/bin/python" -r "$pins" --editable ".${EXTRAS:-}"
  else
    "$PYTHON" -m venv "$VENV"
    # The pins name everything, so pip need not resolve. What is imported is compiled then, and the rest never.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$pins" --editable .
  fi
  echo "$wanted" > "$VENV/jaxreason-stamp"
fi
PATH=$(CDPATH='' cd "$VENV" && pwd)/bin:$PATH
export PATH
# Where this is set (in many containers it is), every process would compile all modules that it imports.
unset PYTHONDONTWRITEBYTECODE
