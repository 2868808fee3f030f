#!/usr/bin/env bash
# Measures on one GPU what docs/performance.md says of GPUs, in parts of less than ten minutes each:
#   bash scripts/card.sh load|attention|update|start|plan FOLDER [h100|h200] [TOKENIZER]
# Results are appended to files in FOLDER. TOKENIZER is a folder with Qwen3's: `plan` needs it, and `start` loads that of
# the tiny model without it. PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:?one of load, attention, update, start, plan} folder=${2:?a folder for the results}
card=${3:-h200} tokenizer=${4:-}
python=${PYTHON:-python}
mkdir -p "$folder"
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$folder/programs} PYTHONPATH=${PYTHONPATH:-}:$PWD

bench() { "$python" scripts/bench.py "$@" --out "$folder/$part.jsonl" 2>&1 | tee -a "$folder/$part.log"; }

case $part in
  load)
    bench load --kind chat --size 14b --dtype bfloat16 --slots 256 --requests 1000 --rate inf 8
    bench load --kind chat --size 14b --dtype bfloat16 --slots 256 --requests 1000 \
      --prefill-tokens 4096 --prefill-block 64
    bench load --kind reasoning --size 4b --dtype bfloat16 --slots 256 --requests 512 --pages 7400
    ;;
  attention)
    "$python" scripts/attention_speed.py --seconds 300 2>&1 | tee -a "$folder/attention.log"
    ;;
  update)
    for remat in none weight_dots_attention attention; do
      bench update --size 1.7b --dtype bfloat16 --attention cudnn --remat "$remat" --unroll 28 \
        --rows 22 --length 2048 --packed 11 --chunk 1024 --repeats 3
    done
    bench train --size 1.7b --dtype bfloat16 --attention cudnn --remat none --unroll 28 \
      --rows 4 --length 4096 --chunk 1024 --repeats 3 --sides jaxreason
    ;;
  start)
    "$python" scripts/random_model.py 4b "$folder/random_4b" --tokenizer "${tokenizer:-configs/tiny_base}"
    "$python" scripts/start_time.py --path "$folder/random_4b" --dtype bfloat16 --slots 256 \
      --max-length 2048 --repeats 2 2>&1 | tee -a "$folder/start.log"
    ;;
  plan)
    for size in 0.6b 1.7b; do
      model=$folder/random_$size
      "$python" scripts/random_model.py "$size" "$model" --tokenizer "${tokenizer:?a folder with a tokenizer}"
      for stage in sft rl; do
        "$python" scripts/plan_truth.py "$stage" --prompt-tokens 40 --folder "$folder/truth_${stage}_$size" \
          --config "scripts/card_recipe.py:$stage,$size,$card,$model" 2>&1 | tee -a "$folder/plan.log"
      done
    done
    ;;
  *)
    echo "card.sh: no part $part; expected load, attention, update, start or plan" >&2
    exit 2
    ;;
esac
