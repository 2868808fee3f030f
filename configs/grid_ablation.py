"""An ablation of what preserves other abilities: the paper's five runs and five more, tiny base, three seeds.

    bash scripts/grid.sh runs/grid              # all of the below, the table and the figure
    jaxreason sft     --config configs/grid_ablation.py --workdir runs/grid/teacher    # the teacher
    jaxreason distill --config configs/grid_ablation.py --workdir runs/grid/teacher    # its eight replies to a question
    jaxreason study   --config configs/grid_ablation.py --workdir runs/grid/study

Hardware: 2 CPU cores, under three hours. The argument after a colon is the folder; without one it is runs/grid.
`runs/grid,more` adds the arms of MORE, which are not in the README's table.

All arms have the same base, questions, steps (60), questions per step (32), replies per question (8), optimizer
and rate. They differ in who writes the replies, the weight of a reply, the KL term and the negative weights
(docs/objective.md). The teacher is the base after SFT on worked answers. It has the base's size, whereas the
paper uses a stronger model.
"""

from ml_collections import ConfigDict

from configs import sections, tiny

SEEDS = (20, 21, 22)
GIVEN = {"samples": {"given": 8}}
# With weights that do not compare replies, groups of equal rewards teach something too.
KEEP_ALL = {"dynamic_sampling": {"drop_equal": False}}
IMITATE = {**KEEP_ALL, "advantage": "right", "policy_loss": {"name": "reinforce"}}
TEACH = {"name": "reinforce", "kl_coefficient": 1.0, "kl_estimator": "full"}

# Name -> label, and the changes that the arm makes to on-policy RL without a KL term.
ARMS = {
    "sft_off": ("Off-policy SFT", {**GIVEN, **IMITATE}),
    "sft_on": ("On-policy SFT", IMITATE),
    "rl_off": ("Off-policy RL, whole group", GIVEN),
    "rl_off_best": (
        "Off-policy RL, best reply",  # The paper takes the gradient of this reply only.
        {**GIVEN, "advantage": "best", "policy_loss": {"name": "reinforce"}},
    ),
    "rl_on": ("On-policy RL", {}),
    "rl_on_kl": ("On-policy RL, KL 0.05", {"policy_loss": {"kl_coefficient": 0.05}}),
    "rl_positive": ("Positive-only RL", {"negatives": 0.0}),
    "sft_iterative": (
        "Iterative SFT, every 15 steps",
        {**IMITATE, "samples": {"refresh_every": 15}},
    ),
    "dft": (
        "Off-policy DFT",
        {**GIVEN, **IMITATE, "policy_loss": {"name": "reinforce", "token_weight": "dft"}},
    ),
    "distill_on": (
        "On-policy distillation",
        {**KEEP_ALL, "advantage": "zero", "policy_loss": TEACH},
    ),
}

# The same for methods of other authors. Self-SFT is configs/distill_tiny.py, whose teacher is the base itself.
MORE = {
    "rl_on_kl_reward": (
        "On-policy RL, KL 0.05 as a reward",
        {"policy_loss": {"kl_coefficient": 0.05, "kl_estimator": "k1", "kl_place": "reward"}},
    ),
    "rl_half": ("RL with half of the negatives", {"negatives": 0.5}),
    "rl_rloo": ("Leave-one-out", {"advantage": "rloo", "policy_loss": {"name": "reinforce"}}),
    "sft_off_kl": (
        "Off-policy SFT, KL to the base",
        {
            **GIVEN,
            **IMITATE,
            "policy_loss": {"name": "reinforce", "kl_coefficient": 0.5, "kl_estimator": "full"},
        },
    ),
    "eaft": (
        "Off-policy EAFT",
        {**GIVEN, **IMITATE, "policy_loss": {"name": "reinforce", "token_weight": "eaft"}},
    ),
    "distill_sampled": (
        "On-policy distillation, sampled",
        {
            **KEEP_ALL,
            "advantage": "zero",
            "policy_loss": {"kl_coefficient": 1.0, "kl_estimator": "k1", "kl_place": "advantage"},
        },
    ),
    "mixed": ("Half given, half sampled", {"samples": {"given": 4}}),
    "rl_self": (
        "On-policy RL, held by its own average",
        {
            "policy_loss": {"kl_coefficient": 0.5, "kl_estimator": "full"},
            "reference": {"model": "average", "decay": 0.9},
        },
    ),
}
TAUGHT = ("distill_on", "distill_sampled")


def get_config(argument: str = "runs/grid"):
    folder, _, more = argument.partition(",")
    if more not in ("", "more"):
        raise ValueError(f"{argument!r}: expected a folder, or a folder and `,more`.")
    folder = folder or "runs/grid"
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions(seed=7)
    config.model = sections.tiny_model(sections.HERE / "tiny_base")
    sampler = sections.sampler(256, 96, prefill_tokens=512, page_size=32)
    config.sft = _teacher()
    config.distill = sections.distill(
        {"math": tiny.bare("rl.jsonl")},
        64,
        96,
        samples=8,
        sampler=sampler,
        teacher={"path": f"{folder}/teacher/model"},
    )
    config.rl = _objective(folder, sampler)
    config.eval = _greedy(tiny.evaluation("test"))
    config.drift = sections.drift(
        "greedy",
        texts_per_benchmark=20,
        max_length=160,
        batch_size=40,
        metrics=("token_kl",),
        training_prompts=64,
        training_tokens=64,
    )
    config.transfer = sections.transfer()
    config.report = sections.report(
        "Which ingredient of math training keeps the rest?",
        "From the same questions and in as many steps: does it matter who writes the replies, or what they weigh?",
        (
            "One base model of 0.45M parameters: what holds here need not hold for large models.",
            "The teacher is no stronger model, but the base after SFT on worked answers.",
        ),
    )
    wanted = ARMS | MORE if more else ARMS
    arms = {name: _arm(name, folder, *arm) for name, arm in wanted.items()}
    if more:
        config.sft_replay = _replay()
        arms["sft_replay"] = sections.arm("sft", "SFT with replay", "sft_replay")
    config.study = sections.study("grid", SEEDS, arms, follow=True)
    return config


def _teacher() -> ConfigDict:
    return sections.sft(
        {"worked": tiny.replies("sft.jsonl")},
        1e-3,
        length=tiny.LENGTH,
        batch_size=16,
        epochs=3.0,
        optimizer={"warmup_steps": 38, "b2": 0.98},
        logprob_chunk=tiny.LENGTH,
    )


def _replay() -> ConfigDict:
    """SFT on worked answers; a fifth of the examples come from the data that the base was made from."""
    section = _teacher()
    section.datasets.replay = tiny.replies("base.jsonl")
    section.datasets.replay.limit = 512
    section.epochs = 1.0
    return section


def _objective(folder: str, sampler: ConfigDict) -> ConfigDict:
    """On-policy RL without a KL term, on questions that come with the teacher's replies."""
    fields = {"id": "id", "prompt": "question", "answer": "answer"}
    questions = sections.dataset(
        f"{folder}/teacher/distill/data/*.jsonl", fields, task="hash_answer", metadata=("replies",)
    )
    return sections.rl(
        {"math": questions},
        3e-4,
        num_steps=60,
        decoding=sections.decoding(1.0, 64),
        sampler=sampler,
        micro_batch_rows=64,
        row_length=tiny.LENGTH,
        logprob_chunk=tiny.LENGTH,
        checkpoint_every=15,
        keep=0,
    )


def _greedy(evaluation: ConfigDict) -> ConfigDict:
    evaluation.decodings = ConfigDict({"greedy": evaluation.decodings.greedy})
    for run in evaluation.benchmarks.values():
        run.samples = ConfigDict({"greedy": 1})
    return evaluation


def _arm(name: str, folder: str, label: str, overrides: dict) -> ConfigDict:
    if name in TAUGHT:
        teacher = {"model": "teacher", "teacher": f"{folder}/teacher/model"}
        overrides = {**overrides, "reference": teacher}
    return sections.arm("rl", label, "rl", overrides)
