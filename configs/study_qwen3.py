"""The controlled study for every size of Qwen3, down to one GPU.

    jaxreason study --config configs/study_qwen3.py:0.6b,h100 --dry-run
    jaxreason study --config configs/study_qwen3.py:4b,h100-8,no_think --workdir runs/study_4b

The argument after the colon has, in any order, a size (14b, 8b, 4b, 1.7b, 0.6b), a slice or GPUs, `think` or `no_think`
for only one SFT twin, and `data=FOLDER` for local files. Everything else is as in configs/study_qwen3_14b.py.
"""

from configs import qwen3, qwen3_study


def get_config(target="0.6b,h100"):
    defaults = {"size": "0.6b", "target": "h100-1", "response": "", "data": ""}
    return qwen3_study.make(**qwen3.parse_argument(target, **defaults))
