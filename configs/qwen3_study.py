"""The study of a Qwen3 base: its SFT and RL twins trained and asked as the paper did. Not a recipe itself.

Twins are trained by the sections of configs/qwen3.py, on one mesh: heads are split over 8 devices, as decoding needs.
"""

from ml_collections import ConfigDict

from configs import paper_benchmarks, qwen3, sections
from jaxreason.plan.slices import find_slice

# The ratios of the deviations of gains behind the published index; `paper_scales` uses them.
MODES = ("v1_relative", "v2_literal", "paper_scales")
LABELS = {"think": "think-SFT", "no_think": "no-think-SFT"}
FILES = {"teacher": "math_sft_40K.jsonl", "math": "math_rl_48k.jsonl"}
# Mean tokens of replies, for --dry-run only. They are assumptions, to be replaced by those of
# the first models' samples.
REPLIES = {"base": 800, "think": 3000, "no_think": 800, "rl": 1300}
RL_REPLY = 3000
LIMITS = (
    "One seed: nothing here says how much another run would differ.",
    "SFT learns the 39,900 questions of a pool that the teacher answered rightly; RL asks all 48,800 of it.",
)


def make(size: str, target: str, response: str, data: str) -> ConfigDict:
    """Makes the study of a size on a slice.

    Args:
      size: a key of `qwen3.SIZES`.
      target: the slice or GPUs.
      response: "think", "no_think", or "" for both SFT twins.
      data: a folder with FILES and the benchmarks' files; "" for the hub.
    """
    rl = qwen3.rl(size, target)
    config = ConfigDict()
    sampler = qwen3.evaluate(config, size, target, paper_benchmarks.MAX_LENGTH)
    config.model.param_dtype = "float32"  # Of training; `study.measured_dtype` is bfloat16.
    config.sft = qwen3.sft(size, "think", target, config.mesh.tensor).sft
    config.rl = rl.rl
    config.eval = paper_benchmarks.evaluation(sampler)
    config.drift = paper_benchmarks.drift()
    rows = find_slice(target).devices // config.mesh.tensor
    config.drift.batch_size = max(8, rows)
    # A text as long as can be on each part of the mesh.
    config.drift.tokens_per_batch = paper_benchmarks.MAX_LENGTH * rows
    config.transfer = sections.transfer(variant="paper", modes=MODES)
    base = qwen3.SIZES[size][0].split("/")[1]
    config.report = sections.report(
        f"When {base} gets better at math, what happens to everything else?",
        "Do SFT on a teacher's replies and RL on checked answers to one pool of questions change the rest differently?",
        LIMITS,
        variant="paper",
    )
    chosen = [response] if response else list(LABELS)
    arms = {f"sft_{name}": _sft_arm(name) for name in chosen}
    arms["rl"] = sections.arm("rl", "RL", "rl")
    config.study = sections.study(base, (0,), arms, measured_dtype="bfloat16")
    config.plan = _plan(size, target, chosen)
    if data:
        _from_files(config, data)
    return config


def _sft_arm(response: str) -> ConfigDict:
    """Makes a twin that learns one column of the teacher's data and is asked as it was trained."""
    thinking = response == "think"
    column = {"datasets": {"teacher": {"fields": {"response": qwen3.RESPONSES[response]}}}}
    changes = {"thinking": thinking, **column}
    return sections.arm("sft", LABELS[response], "sft", changes, asked={"thinking": thinking})


def _plan(size: str, target: str, chosen: list[str]) -> ConfigDict:
    plan = sections.plan(
        qwen3.architecture(size),
        examples=qwen3.SFT_EXAMPLES,
        reply_tokens=RL_REPLY,
        slice=target,
        eval_tokens=REPLIES["base"],
    )
    plan.arms = ConfigDict({"rl": {"eval_tokens": REPLIES["rl"]}})
    for name in chosen:
        about = {"example_tokens": qwen3.EXAMPLE_TOKENS[name], "eval_tokens": REPLIES[name]}
        plan.arms[f"sft_{name}"] = ConfigDict(about)
    return plan


def _from_files(config: ConfigDict, folder: str) -> None:
    config.sft.datasets.teacher.path = f"{folder}/{FILES['teacher']}"
    config.rl.datasets.math.path = f"{folder}/{FILES['math']}"
    config.eval.source = "files"
    config.eval.data_folder = folder
