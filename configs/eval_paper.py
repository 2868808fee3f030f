"""The study's twelve benchmarks, both in its released way and in a robust one, on Qwen3-14B-Base or another model.

    jaxreason eval --config configs/eval_paper.py:v5p-64 --workdir gs://bucket/eval_base
    jaxreason eval --config configs/eval_paper.py:v5p-64 --config.model.path=runs/rl/model --workdir gs://bucket/eval_rl

The argument after the colon is size and slice (`4b,h100`). It sets mesh, slots and cache, and nothing that is measured.
The questions come from the Hugging Face Hub (GPQA: ask for access there), or from files with --config.eval.source=files
--config.eval.data_folder=data (docs/adding_benchmarks.md lists them).

With --follow RUN every checkpoint of a training run is evaluated as it appears, with index and KL against step 0.

Samples and decoding are the paper's (configs/paper_benchmarks.py). Expected scores of the base, asked in the
paper's way (tables 9 to 11):
  MATH-500 60.4, AIME24 13.0, AIME25 9.3, OlympiadBench 27.9
  GPQA-Diamond 42.6, LiveCodeBench 29.7, ACPBench 10.7, HeadQA 37.6
  CoQA 10.0, MC-TACO 67.7, IFEval 69.2, HaluEval 35.7
This has not been run at this size yet.
"""

from ml_collections import ConfigDict

from configs import paper_benchmarks, qwen3, sections


def get_config(argument=""):
    chosen = qwen3.parse_argument(argument, size="14b", target="v5p-64")
    config = ConfigDict()
    sampler = qwen3.evaluate(config, **chosen, max_length=paper_benchmarks.MAX_LENGTH)
    config.eval = paper_benchmarks.evaluation(sampler)
    config.transfer = sections.transfer(variant="paper")
    config.drift = paper_benchmarks.drift()
    return config
