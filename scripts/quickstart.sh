#!/usr/bin/env bash
# Sets everything up and runs the tiny study: one base model, RL and SFT twins, evaluation, drift, report.
# Arguments are passed on, for example: bash scripts/quickstart.sh --workdir runs/mine
# shellcheck source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec jaxreason study --config configs/study_tiny.py --workdir runs/study_tiny "$@"
