"""The controlled study on Qwen3-14B-Base: think-SFT, no-think-SFT and RL twins, twelve benchmarks, drift and index.

    jaxreason study --config configs/study_qwen3_14b.py:v5p-64 --dry-run
    jaxreason study --config configs/study_qwen3_14b.py:v5p-64 --workdir gs://bucket/study

The argument after the colon is the slice; `--dry-run` lists its stages, chip-hours and disk. Base, questions, replies
and benchmarks come from the Hugging Face Hub (GPQA: ask for access there), or with `:v5p-64,data=FOLDER` from local
files: math_sft_40K.jsonl and math_rl_48k.jsonl, with the columns that the hub's have, and the benchmarks as
docs/adding_benchmarks.md says.

The twins are trained by the settings of configs/sft_qwen3_14b_think.py, sft_qwen3_14b_no_think.py and rl_qwen3_14b.py,
which list where paper and scripts disagree. Their training leaves out the questions of all twelve benchmarks; the paper
tells of no such step (--config.decontamination.enabled=False).

Each is asked as it was trained: base and RL with the chat template's default, think-SFT with thinking on, no-think-SFT
with it off. The paper's code never passes this switch, so it asked its no-think twin with the default. Otherwise
scores, index and drift use the paper's way of asking and the paper's scales; the robust scores stand beside them.

Expected (tables 9 to 11 and section 2.1 of arXiv 2507.00432v2): means of math, other, non-reasoning of the base 27.7,
30.2, 45.7; think-SFT 49.8, 45.3, 21.1; no-think-SFT 32.3, 44.1, 29.0; RL 53.8, 51.0, 53.2; index on the latter two of
think-SFT 52.2 and -104.1, no-think-SFT 165.4 and -278.9, RL 82.3 and 52.2. This has not been run at this size yet.
"""

from configs import qwen3, qwen3_study


def get_config(target="v5p-64"):
    chosen = qwen3.parse_argument(target, target="v5p-64", data="")
    return qwen3_study.make(size="14b", response="", **chosen)
