"""Qwen3-14B-Base fine-tuned on a teacher's replies without its thoughts: the study's no-think-SFT twin.

    jaxreason plan --config configs/sft_qwen3_14b_no_think.py --slice v5p-64
    jaxreason sft  --config configs/sft_qwen3_14b_no_think.py:v5p-64 --workdir gs://bucket/sft_no_think

As configs/sft_qwen3_14b_think.py but for the replies. The paper says that they come from the teacher without thinking;
its authors, that they are the thinking teacher's with the thoughts left out, which is what the released column
`no_think_response` holds and what is used here. Replies of a teacher that did not think would be another column:
--config.sft.datasets.teacher.fields.response=COLUMN.
"""

from configs import qwen3


def get_config(target="v5p-64"):
    chosen = qwen3.parse_argument(target, size="14b", response="no_think", target="v5p-64")
    return qwen3.sft(**chosen)
