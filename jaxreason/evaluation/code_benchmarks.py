"""LiveCodeBench of the study's second group, and HumanEval and MBPP: programs are run (docs/code_execution.md)."""

from jaxreason.evaluation.benchmark_spec import Benchmark, Hub, QuestionSource, Variant, ask

PROBLEM = "{prompt}\n\n{instruction}"
# The study's format: a sentence that depends on the kind of problem, directly followed by the problem.
STUDY_PROBLEM = "{study_instruction}{prompt}"
COMPLETE = (
    "```python\n{begun}\n```\n\nComplete this Python function. You may think first. End with the whole "
    "function and what it needs in one block that begins with ```python."
)
WRITE = (
    "{prompt}\n\nThese tests must hold:\n```python\n{shown}\n```\n\nYou may think first. End with the "
    "whole Python function and what it needs in one block that begins with ```python."
)

# release_v2, as in the study: 400 problems in test.jsonl and 111 in test2.jsonl. The hub's dataset has a program of its
# own that picks these files by `version_tag`; here they are read without it.
_LIVECODEBENCH = QuestionSource(
    fields={"prompt": "prompt", "id": "id"},
    files={"": "benchmarks/livecodebench/test[.2]*jsonl"},
    hub={
        "": Hub("livecodebench/code_generation_lite", "test", {"files": "test.jsonl,test2.jsonl"}),
    },
    metadata=("tests", "function", "difficulty", "platform", "contest_date"),
    options={"rows": "livecodebench"},
)
_HUMANEVAL = QuestionSource(
    fields={"prompt": "prompt", "id": "id"},
    files={"": "general/humaneval.jsonl"},
    hub={"": Hub("openai/openai_humaneval", "test")},
    metadata=("function", "test"),
    options={"rows": "humaneval"},
)
_MBPP = QuestionSource(
    fields={"prompt": "prompt", "id": "id"},
    files={"": "general/mbpp.jsonl"},
    hub={"": Hub("google-research-datasets/mbpp", "test", {"name": "sanitized"})},
    metadata=("assertions", "imports", "setup"),
    options={"rows": "mbpp"},
)

CODE_BENCHMARKS: dict[str, Benchmark] = {
    "livecodebench": Benchmark(
        label="LiveCodeBench",
        group="other",
        prompts={
            "program": ask(_LIVECODEBENCH, PROBLEM, "code"),
            "paper": ask(_LIVECODEBENCH, STUDY_PROBLEM, "code_paper"),
        },
        variants={"robust": Variant("program", "code"), "paper": Variant("paper", "code_paper")},
    ),
    "humaneval": Benchmark(
        label="HumanEval",
        group="other",
        prompts={"function": ask(_HUMANEVAL, COMPLETE, "humaneval")},
        variants={"robust": Variant("function", "humaneval")},  # Not in the study.
    ),
    "mbpp": Benchmark(
        label="MBPP",
        group="other",
        prompts={"function": ask(_MBPP, WRITE, "mbpp")},
        variants={"robust": Variant("function", "mbpp")},  # Not in the study.
    ),
}
