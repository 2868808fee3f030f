"""The study's twelve benchmarks as the paper asks them, for the recipes that ask them. Not a recipe itself.

Samples and decoding are the paper's (arXiv 2507.00432v2, A.3.4): T 0.6 and top-p 0.95, 3 samples of MATH-500, GPQA and
LiveCodeBench and 10 of AIME; the others greedily, one sample; 32,768 tokens. One decoding, `paper`, has both ways, so
that a group's mean includes all four of its benchmarks. Each is measured in its released way and in a robust one.
"""

from ml_collections import ConfigDict

from configs import sections

SAMPLES = {
    **{"math500": 3, "aime24": 10, "aime25": 10, "olympiadbench": 1},
    **{"livecodebench": 3, "gpqa_diamond": 3, "acpbench": 1, "headqa": 1},
    **{"coqa": 1, "ifeval": 1, "halueval": 1, "mc_taco": 1},
}
GREEDY = {"temperature": 0.0, "top_p": 1.0}
MAX_LENGTH = 32768  # Prompt and reply together, as in the study.


def evaluation(sampler: ConfigDict) -> ConfigDict:
    """Asks all questions of all twelve benchmarks, from the hub. The chat template decides on
    thinking, as in the released code.
    """
    return sections.evaluation(
        {name: _run(samples) for name, samples in SAMPLES.items()},
        {"paper": sections.decoding(0.6, MAX_LENGTH, top_p=0.95)},
        source="hub",
        sampler=sampler,
        pass_at=(1, 3, 10),
        maj_at=(3, 10),
        grader_workers=16,
        grader_timeout_s=30.0,
    )


def drift() -> ConfigDict:
    """Measures drift on the replies to the paper's prompts, at full length, and on the base's
    replies to training prompts.
    """
    return sections.drift("paper", variant="paper", training_prompts=64, training_tokens=2048)


def _run(samples: int) -> dict:
    overrides = {} if samples > 1 else GREEDY
    variants = ("robust", "paper")
    return {
        "limit": 0,
        "samples": {"paper": samples},
        "variants": variants,
        "overrides": overrides,
    }
