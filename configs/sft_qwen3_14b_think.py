"""Qwen3-14B-Base fine-tuned on a teacher's replies with its thoughts: the study's think-SFT twin.

    jaxreason plan --config configs/sft_qwen3_14b_think.py --slice v5p-64
    jaxreason sft  --config configs/sft_qwen3_14b_think.py:v5p-64 --workdir gs://bucket/sft_think

The argument after the colon is the slice (`2xv5p-64` for two): it sets mesh and micro-batches. `plan` computes hardware
and time (docs/plan.md).

The paper's twin is the checkpoint after 1.5 epochs of its scripts' 2.0: the run ends there (epochs=1.5), and its cosine
and warm-up are those of 2.0 epochs (schedule_epochs=2.0, a tenth of 156 steps). To go on to the scripts' end:
  --config.sft.epochs=2.0
A schedule of 1.5 epochs instead:
  --config.sft.schedule_epochs=0 --config.sft.optimizer.warmup_steps=12
Only the scripts state length 16,384, rate 5e-5 and the cosine. They cut longer examples, so a reply may lose its end.
Such examples are counted, and --config.sft.overlong=drop leaves them out.
A step is 512 examples, packed into as few rows of 16,384 tokens as possible. The scripts pad each example to the
longest one of its micro-batch. Loss and gradient are the same.

This recipe names no benchmarks, so no question is left out of training. configs/study_qwen3_14b.py names twelve.
"""

from configs import qwen3


def get_config(target="v5p-64"):
    return qwen3.sft(**qwen3.parse_argument(target, size="14b", response="think", target="v5p-64"))
