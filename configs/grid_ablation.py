"""The ablation on the tiny base: who writes the replies, what they weigh, and what holds the policy, at matched steps.

    jaxreason study --config configs/grid_ablation.py --dry-run
    jaxreason study --config configs/grid_ablation.py --workdir runs/grid

Every arm is the one objective of docs/objective.md with other fields: 60 steps of 256 replies to the tiny study's math
questions, at one rate, three seeds. Replies are the worked ones of the questions' file (off-policy) or the policy's.
The teacher of distillation is an arm of its own, trained once on the worked replies at the tiny study's highest rate.
Hardware: 2 CPU cores; `--dry-run` says how long. Not run yet.
"""

from ml_collections import ConfigDict

from configs import sections, study_tiny, tiny

SEEDS = (20, 21, 22)
STEPS, REPLIES, GROUP = 60, 256, 8
TEACHER = f"{{workdir}}/teacher/seed_{SEEDS[0]}/model"
ALONE = {
    "drop_equal": False,
    "max_batches": 1,
}  # replies weigh the same whatever the others of their group earn
KL = {"name": "reinforce", "kl_coefficient": 1.0, "kl_estimator": "full"}


def get_config():
    config = study_tiny.get_config()
    config.rl.update(
        num_steps=STEPS,
        prompts_per_step=REPLIES // GROUP,
        mini_batch_prompts=REPLIES // GROUP,
        group_size=GROUP,
    )
    config.rl_given = config.rl.copy_and_resolve_references()
    config.rl_given.datasets = {"math": tiny.replies("sft.jsonl")}
    config.rl_given.update(
        prompts_per_step=REPLIES,
        mini_batch_prompts=REPLIES,
        group_size=1,
        samples={"given": 1, "refresh_every": 1},
        advantage="one",
        dynamic_sampling=ALONE,
    )
    config.report.title = "Which ingredient of training decides what else changes?"
    config.report.question = (
        "Does the source of the replies, their weight, a negative gradient "
        "or a KL decide how far math transfers?"
    )
    config.study = sections.study("grid", SEEDS, _arms())
    return config


def _arms() -> dict[str, ConfigDict]:
    imitate = {
        "advantage": "right",
        "policy_loss": {"name": "reinforce"},
        "dynamic_sampling": ALONE,
    }
    distil = {"advantage": "zero", "dynamic_sampling": ALONE, "policy_loss": KL}
    distil |= {"reference": {"model": "teacher", "teacher": TEACHER}}
    return {
        "teacher": sections.arm(
            "sft",
            "SFT, the teacher",
            "sft",
            {"optimizer": {"learning_rate": 1e-3}},
            seeds=SEEDS[:1],
        ),
        "sft_off": _arm("off-policy SFT", "rl_given", policy_loss={"name": "reinforce"}),
        "sft_dft": _arm(
            "DFT", "rl_given", policy_loss={"name": "reinforce", "token_weight": "dft"}
        ),
        "sft_on": _arm("on-policy SFT", **imitate),
        "sft_iterative": _arm(
            "iterative SFT", **imitate, samples={"given": 0, "refresh_every": 10}
        ),
        "rl": _arm("on-policy RL, no KL"),
        "rl_kl": _arm("on-policy RL, KL", policy_loss={"kl_coefficient": 0.05}),
        "rl_positive": _arm("positive-only RL", negatives=0.0),
        "distilled": _arm("on-policy distillation", **distil),
    }


def _arm(label: str, section: str = "rl", **changes) -> ConfigDict:
    return sections.arm("rl", label, section, changes)
