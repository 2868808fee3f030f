"""Qwen3-14B-Base fine-tuned on a teacher's replies with its thoughts: the study's think-SFT twin.

    jaxreason plan --config configs/sft_qwen3_14b_think.py --slice v5p-64
    jaxreason sft  --config configs/sft_qwen3_14b_think.py:v5p-64 --workdir gs://bucket/sft_think

What follows the colon is the slice (`2xv5p-64` for two): it sets mesh and micro-batches. Hardware and time: as
`plan` says (docs/plan.md).

Where the paper and its scripts disagree, the paper is followed:
  epochs          1.5, the scripts 2.0                    --config.sft.epochs=2.0 --config.sft.optimizer.warmup_steps=16
Only in the scripts: length 16,384, rate 5e-5, cosine, a tenth of the steps to warm up, one example a row.
Rows of their own are what the batch of 512 examples means; packed rows do the same in fewer positions, at another
number of examples a step: --config.sft.pack=True --config.sft.batch_size=128.
"""

from configs import qwen3


def get_config(target="v5p-64"):
    return qwen3.sft(**qwen3.parse_argument(target, size="14b", response="think", target="v5p-64"))
