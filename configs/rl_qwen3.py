"""The RL recipe for every size of Qwen3, down to one GPU.

    jaxreason plan --config configs/rl_qwen3.py:0.6b --slice h100
    jaxreason rl   --config configs/rl_qwen3.py:1.7b,h100-8 --workdir runs/rl_1.7b

The argument after the colon has, in any order, a size (14b, 8b, 4b, 1.7b, 0.6b) and a slice or GPUs. Everything that
affects learning is as in configs/rl_qwen3_14b.py.
"""

from configs import qwen3


def get_config(target="0.6b,h100"):
    return qwen3.rl(**qwen3.parse_argument(target, size="0.6b", target="h100-1"))
