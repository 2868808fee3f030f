"""Qwen3-14B-Base fine-tuned on a teacher's replies without its thoughts: the study's no-think-SFT twin.

    jaxreason plan --config configs/sft_qwen3_14b_no_think.py --slice v5p-64
    jaxreason sft  --config configs/sft_qwen3_14b_no_think.py:v5p-64 --workdir gs://bucket/sft_no_think

This is configs/sft_qwen3_14b_think.py with other replies. The paper says that they come from the teacher without
thinking. Its authors say that they are the thinking teacher's replies with the thoughts removed. The released column
`no_think_response` holds the latter, and it is used here. For replies of a teacher that did not think, name their
column: --config.sft.datasets.teacher.fields.response=COLUMN.
"""

from configs import qwen3


def get_config(target="v5p-64"):
    chosen = qwen3.parse_argument(target, size="14b", response="no_think", target="v5p-64")
    return qwen3.sft(**chosen)
