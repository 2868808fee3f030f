"""The study's twelve benchmarks, both in its released way and in a robust one, on Qwen3-14B-Base or another model.

    jaxreason eval --config configs/eval_paper.py:v5p-64 --workdir gs://bucket/eval_base
    jaxreason eval --config configs/eval_paper.py:v5p-64 --config.model.path=runs/rl/model --workdir gs://bucket/eval_rl

What follows the colon is size and slice (`4b,h100`): it sets mesh, slots and cache, nothing that is measured. The
questions come from the Hugging Face Hub (GPQA: ask for access there); from files with --config.eval.source=files
--config.eval.data_folder=data (docs/adding_benchmarks.md says which).

With --follow RUN every checkpoint of a training run is evaluated as it appears, with index and KL against step 0.

Samples and decoding are the paper's (arXiv 2507.00432v2, A.3.4): T 0.6 and top-p 0.95, 3 samples of MATH-500, GPQA and
LiveCodeBench and 10 of AIME; the others greedily, one sample; 32,768 tokens. One decoding, `paper`, stands for both,
so that a group's mean takes all four of its benchmarks. Thinking is left to the chat template, as the released code
does. Expected of the base in the paper's way (tables 9 to 11):
  MATH-500 60.4, AIME24 13.0, AIME25 9.3, OlympiadBench 27.9
  GPQA-Diamond 42.6, LiveCodeBench 29.7, ACPBench 10.7, HeadQA 37.6
  CoQA 10.0, MC-TACO 67.7, IFEval 69.2, HaluEval 35.7
Not run at this size yet.
"""

from ml_collections import ConfigDict

from configs import qwen3, sections

SAMPLES = {
    **{"math500": 3, "aime24": 10, "aime25": 10, "olympiadbench": 1},
    **{"livecodebench": 3, "gpqa_diamond": 3, "acpbench": 1, "headqa": 1},
    **{"coqa": 1, "ifeval": 1, "halueval": 1, "mc_taco": 1},
}
GREEDY = {"temperature": 0.0, "top_p": 1.0}
MAX_LENGTH = 32768  # prompt and reply together, as in the study


def get_config(argument=""):
    chosen = qwen3.parse_argument(argument, size="14b", target="v5p-64")
    config = ConfigDict()
    sampler = qwen3.evaluate(config, **chosen, max_length=MAX_LENGTH)
    config.eval = sections.evaluation(
        {name: _run(samples) for name, samples in SAMPLES.items()},
        {"paper": sections.decoding(0.6, MAX_LENGTH, top_p=0.95)},
        source="hub",
        sampler=sampler,
        pass_at=(1, 3, 10),
        maj_at=(3, 10),
        grader_workers=16,
        grader_timeout_s=30.0,
    )
    config.transfer = sections.transfer(variant="paper")
    config.drift = sections.drift("paper", variant="paper", max_length=4096)
    return config


def _run(samples: int) -> dict:
    overrides = {} if samples > 1 else GREEDY
    variants = ("robust", "paper")
    return {
        "limit": 0,
        "samples": {"paper": samples},
        "variants": variants,
        "overrides": overrides,
    }
