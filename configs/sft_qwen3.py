"""The think- and no-think-SFT recipes for every size of Qwen3, down to one GPU.

    jaxreason plan --config configs/sft_qwen3.py:0.6b --slice h100
    jaxreason sft  --config configs/sft_qwen3.py:4b,h200,no_think --workdir runs/sft_4b

The argument after the colon has, in any order, a size (14b, 8b, 4b, 1.7b, 0.6b), a slice or GPUs (v5p-64, h100, h200-8
…), and think or no_think. Everything that affects learning is as in configs/sft_qwen3_14b_think.py.
"""

from configs import qwen3


def get_config(target="0.6b,h100,think"):
    return qwen3.sft(**qwen3.parse_argument(target, size="0.6b", response="think", target="h100-1"))
