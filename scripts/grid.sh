#!/usr/bin/env bash
# The ablation grid from the tiny base to its table and figure; after a kill, the same command continues.
#     bash scripts/grid.sh [folder]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-runs/grid}")
recipe=configs/grid_ablation.py:$folder
jaxreason sft --config "$recipe" --workdir "$folder/teacher"
jaxreason distill --config "$recipe" --workdir "$folder/teacher"
jaxreason study --config "$recipe" --workdir "$folder/study"
python scripts/grid.py "$folder" --png "$folder/grid.png"
