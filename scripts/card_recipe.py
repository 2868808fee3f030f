"""Recipes for `plan_truth.py` on one card: those of a size of Qwen3, shortened, on made-up texts. Needs a model folder.

python scripts/random_model.py 1.7b runs/random_1.7b --tokenizer FOLDER
python scripts/plan_truth.py rl --config scripts/card_recipe.py:rl,1.7b,h200,runs/random_1.7b --folder runs/truth
"""

import json
import pathlib
import tempfile

from ml_collections import ConfigDict

from configs import qwen3, sections

FIELDS = {"id": "id", "prompt": "question", "answer": "answer"}
REPLY = 2016  # Tokens of a reply in RL: random weights end none.
GROUPS, SLOTS = 8, 128  # Prompts of a step, and sequences decoded at the same time.


def get_config(argument: str) -> ConfigDict:
    stage, size, target, model = argument.split(",")
    config = (_sft if stage == "sft" else _rl)(size, target, _texts())
    config.model.path = model
    return config


def _texts() -> str:
    """Writes questions with answers of 100 to 2,500 tokens."""
    path = pathlib.Path(tempfile.mkdtemp()) / "texts.jsonl"
    rows = []
    for index in range(1600):
        text = f"the number {index} plus {index % 7} is what exactly"
        reply = f"{text} so " * (10 + index % 240)
        row = {"id": str(index), "question": text, "answer": str(index), "response": reply}
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def _sft(size: str, target: str, path: str) -> ConfigDict:
    config = qwen3.sft(size, "no_think", target)
    fields = FIELDS | {"response": "response"}
    config.sft.datasets = {"texts": sections.dataset(path, fields, task="math")}
    config.sft.update(batch_size=64, thinking=None)
    return config


def _rl(size: str, target: str, path: str) -> ConfigDict:
    config = qwen3.rl(size, target)
    rl = config.rl
    rl.datasets = {"texts": sections.dataset(path, FIELDS, task="math_strict")}
    rl.update(prompts_per_step=GROUPS, mini_batch_prompts=GROUPS)
    rl.decoding.max_tokens = REPLY
    rl.sampler.update(slots=SLOTS, max_length=2048 + REPLY, page_size=64)
    # All replies are wrong, so no group would be left.
    rl.dynamic_sampling.update(prompts_per_batch=0, max_batches=1, drop_equal=False)
    rl.rewards.update(num_workers=4, overlong_buffer=0, overlong_penalty=0.0)
    rl.validation = sections.validation()
    return config
